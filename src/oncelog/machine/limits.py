"""Limits of the machine: numbers that decide refuses by, as one value that is handed in.

Evolve must not read them: events carry what was decided, so that other limits never change what an old
journal means.
"""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """What decide refuses by; tests use small ones to reach the edges.

    producer_epoch_max: the largest epoch that a client is ever given; Kafka keeps Short.MAX for fencing
        alone, so markers may carry one more than this and answers never do.
    transaction_max_timeout_ms: Kafka's transaction.max.timeout.ms.
    transactional_ids_max: about 450 bytes each while no transaction is open.
    producers_max: producers that partitions remember, each counted once in every partition that it wrote to:
        300 bytes each at most. Partitions of open transactions count, too: their ends leave markers there.
    transaction_partitions_max: one commit is one journal entry, which names every partition; of groups, too.
    transaction_offsets_max: the same, for the group offsets that one transaction may hold.
    transaction_metadata_characters_max: the same, for the texts with these offsets, all groups together.
    partitions_max: of all topics together, about 2 KB each while they are empty.
    partitions_per_request_max: Kafka's limit of what one CreateTopics or CreatePartitions may create.
    groups_max: about 1 KB each while they are idle.
    group_members_max: Kafka's group.max.size; a generation is one event, which names every member.
    group_offsets_max: partitions that one group may have committed offsets of, about 300 bytes each.
    offset_metadata_characters_max: Kafka's offset.metadata.max.bytes.
    """

    producer_epoch_max: int = 32_766
    transaction_max_timeout_ms: int = 900_000
    transactional_ids_max: int = 1_000_000
    producers_max: int = 1_000_000
    transaction_partitions_max: int = 10_000
    transaction_offsets_max: int = 100_000
    transaction_metadata_characters_max: int = 16 * 1024 * 1024
    partitions_max: int = 100_000
    partitions_per_request_max: int = 10_000
    groups_max: int = 100_000
    group_members_max: int = 10_000
    group_offsets_max: int = 100_000
    offset_metadata_characters_max: int = 4096


STANDARD_LIMITS = Limits()
