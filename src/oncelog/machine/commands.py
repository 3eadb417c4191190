"""Commands: intentions as plain values, and the replies that decide gives to them.

A command carries all that its decision needs, what its sender expects of the state included, and only
hashable values: no buffer, no connection, no future. Must not know sockets, the journal or the clock.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from oncelog.machine.group_state import Member
from oncelog.wire.errors import ErrorCode
from oncelog.wire.records import BatchHeader

ANY_SEQUENCE = -1

# --- producers and transactions ---


class ProduceBatch(NamedTuple):
    """One record batch of a Produce request: where it should go, its parsed header and its size in bytes.

    first_sequence_max: the last that a partition may take as the first of a producer that it does not know,
    where an earlier batch was refused (KAFKA-14904).
    """

    topic_id: bytes
    partition: int
    header: BatchHeader
    size: int
    first_sequence_max: int = ANY_SEQUENCE


class Produce(NamedTuple):
    """Append these batches, each to its partition; one whole Produce request. The bytes travel beside it.

    version: the request's API version, which tells how a transactional batch joins its transaction (KIP-890).
    """

    transactional_id: str | None
    batches: tuple[ProduceBatch, ...]
    version: int
    client_id: str | None
    host: str


class ProduceResult(NamedTuple):
    """What became of one batch; a reply to Produce has one for each, in the order of the batches.

    base_offset: the batch's first offset, that of its first appending where it is a duplicate, or -1.
    appended: the log has grown by it; false for a duplicate, whose error is NONE all the same.
    message: for people, where there is more to say than the error's name.
    timestamp_range_ms: with INVALID_TIMESTAMP, the earliest and the latest timestamp that were acceptable.
    """

    error: ErrorCode
    base_offset: int
    log_append_time_ms: int
    log_start_offset: int
    appended: bool
    message: str | None = None
    timestamp_range_ms: tuple[int, int] | None = None


class InitProducerId(NamedTuple):
    """Give me a producer id and an epoch that fences what came before (KIP-98, KIP-360).

    producer_id, producer_epoch: what the sender holds, or -1 and -1 where it expects nothing.
    """

    transactional_id: str | None
    timeout_ms: int
    producer_id: int
    producer_epoch: int
    client_id: str | None
    host: str


class InitProducerIdReply(NamedTuple):
    error: ErrorCode
    producer_id: int = -1
    producer_epoch: int = -1


class AddPartitionsToTxn(NamedTuple):
    """Let the transaction cover these partitions; with verify_only, say whether it does (KIP-890).

    partitions: (topic id, index); a topic id that doesn't exist stands for a topic that doesn't.
    """

    transactional_id: str
    producer_id: int
    producer_epoch: int
    partitions: tuple[tuple[bytes, int], ...]
    verify_only: bool
    client_id: str | None
    host: str


class AddPartitionsToTxnReply(NamedTuple):
    """One error per partition, in the order asked; error is the one that they all share, or NONE."""

    error: ErrorCode
    partition_errors: tuple[ErrorCode, ...]


class AddOffsetsToTxn(NamedTuple):
    """Let the transaction cover committed offsets of this group."""

    transactional_id: str
    producer_id: int
    producer_epoch: int
    group_id: str
    client_id: str | None
    host: str


class AddOffsetsToTxnReply(NamedTuple):
    error: ErrorCode


class OffsetToCommit(NamedTuple):
    """A consumer's next offset in one partition; leader_epoch is -1 where the consumer doesn't know it."""

    topic_id: bytes
    partition: int
    offset: int
    leader_epoch: int
    metadata: str | None


class TxnOffsetCommit(NamedTuple):
    """Commit these offsets when the transaction commits (KIP-98, KIP-447).

    version: the request's API version; from 5 on the group joins the transaction by this alone (KIP-890).
    generation_id, member_id, group_instance_id: -1, "" and None where the sender doesn't name itself.
    """

    transactional_id: str
    group_id: str
    producer_id: int
    producer_epoch: int
    generation_id: int
    member_id: str
    group_instance_id: str | None
    version: int
    offsets: tuple[OffsetToCommit, ...]
    client_id: str | None
    host: str


class TxnOffsetCommitReply(NamedTuple):
    """One error per offset, in the order asked."""

    errors: tuple[ErrorCode, ...]


class EndTxn(NamedTuple):
    """Commit or abort the open transaction.

    transactions_v2: the request is of the second generation (version 5 on), where each transaction has an
    epoch
        of its own (KIP-890).
    """

    transactional_id: str
    producer_id: int
    producer_epoch: int
    commit: bool
    transactions_v2: bool
    client_id: str | None
    host: str


class EndTxnReply(NamedTuple):
    """producer_id and producer_epoch are those of the next transaction, or -1 and -1 with an error."""

    error: ErrorCode
    producer_id: int = -1
    producer_epoch: int = -1


class AbortTimedOutTransaction(NamedTuple):
    """Abort the transaction of this producer and epoch if it is past its timeout; sent by the broker."""

    transactional_id: str
    producer_id: int
    producer_epoch: int


class AbortOnPartitions(NamedTuple):
    """Abort the open transaction of this producer and epoch that covers these partitions (KIP-664).

    transactions_v2: the epoch is the one of the marker that is to be written, one above the transaction's
        (KIP-1228); before, the two are the same.
    """

    producer_id: int
    producer_epoch: int
    partitions: tuple[tuple[bytes, int], ...]
    transactions_v2: bool
    client_id: str | None
    host: str


class AbortOnPartitionsReply(NamedTuple):
    """One error per partition, in the order asked."""

    partition_errors: tuple[ErrorCode, ...]


class ExpireTransactionalId(NamedTuple):
    """Forget a transactional id without an open transaction that nobody has used for so long."""

    transactional_id: str
    producer_id: int
    producer_epoch: int
    idle_ms: int


class ExpireProducers(NamedTuple):
    """Let a partition forget those of these producers that are idle for so long, without a transaction."""

    topic_id: bytes
    partition: int
    producer_ids: tuple[int, ...]
    idle_ms: int


class HousekeepingReply(NamedTuple):
    """The broker's answer to itself: NONE, or why nothing was done."""

    error: ErrorCode


# --- topics, configs, features ---


class CreateTopic(NamedTuple):
    """Create a topic under an id that nobody has used.

    partition_count: -1 where assignments tell it. replication_factor: 1, or -1 for the default.
    assignments: the brokers of each partition, where the sender wants to choose them.
    """

    topic_id: bytes
    name: str
    partition_count: int
    replication_factor: int = -1
    assignments: tuple[tuple[int, tuple[int, ...]], ...] = ()
    configs: tuple[tuple[str, str], ...] = ()
    validate_only: bool = False


class CreateTopicReply(NamedTuple):
    """partition_count: how many it has (or would have), -1 with an error."""

    error: ErrorCode
    message: str | None
    partition_count: int = -1


class DeleteTopic(NamedTuple):
    """Delete a topic with everything in it."""

    topic_id: bytes


class CreatePartitions(NamedTuple):
    """Let a topic have this many partitions. assignments: the brokers of each new one, or None."""

    topic_id: bytes
    partition_count: int
    assignments: tuple[tuple[int, ...], ...] | None = None
    validate_only: bool = False


class ConfigOperation(IntEnum):
    """What IncrementalAlterConfigs does to a config, by Kafka's numbers; the last two for lists (KIP-339)."""

    SET = 0
    DELETE = 1
    APPEND = 2
    SUBTRACT = 3


class ConfigChange(NamedTuple):
    name: str
    operation: ConfigOperation
    value: str | None


class AlterTopicConfigs(NamedTuple):
    """Change a topic's overrides. replaces_all: those that are not named are removed (AlterConfigs)."""

    topic_id: bytes
    changes: tuple[ConfigChange, ...]
    replaces_all: bool = False
    validate_only: bool = False


class AlterBrokerConfigs(NamedTuple):
    """Change overrides of broker configs. resource: "1" for the broker, "" for all brokers."""

    resource: str
    changes: tuple[ConfigChange, ...]
    replaces_all: bool = False
    validate_only: bool = False


class FeatureUpdate(NamedTuple):
    """A feature's new level.

    may_downgrade: a lower level than now is meant; None where the sender's upgrade type is unknown.
    """

    feature: str
    level: int
    may_downgrade: bool | None


class UpdateFeatures(NamedTuple):
    """Finalize these levels, all or none."""

    updates: tuple[FeatureUpdate, ...]
    validate_only: bool = False


class AdminReply(NamedTuple):
    """NONE, or an error with a sentence about it where Kafka has one."""

    error: ErrorCode
    message: str | None = None


# --- groups and committed offsets ---


class StartGeneration(NamedTuple):
    """Let a rebalance of a group be complete: these are its members now; without any, the group is Empty.

    generation: the one that the sender takes for the current one; the new one is the next.
    """

    group_id: str
    generation: int
    protocol_type: str
    protocol: str | None
    leader: str | None
    members: tuple[Member, ...]


class StoreAssignment(NamedTuple):
    """What the leader assigned to the members of a generation; members without an entry get nothing."""

    group_id: str
    generation: int
    assignments: tuple[tuple[str, bytes], ...]


class ReplaceStaticMember(NamedTuple):
    """A static member came back: it keeps its place and assignment under a new member id (KIP-345)."""

    group_id: str
    generation: int
    old_member_id: str
    member: Member


class CommitOffsets(NamedTuple):
    """Commit these offsets now, outside of any transaction.

    generation_id, member_id, group_instance_id: -1, "" and None where the sender doesn't name itself.
    retention_ms: how long to keep them whatever else is true, or -1.
    """

    group_id: str
    generation_id: int
    member_id: str
    group_instance_id: str | None
    version: int
    retention_ms: int
    offsets: tuple[OffsetToCommit, ...]


class CommitOffsetsReply(NamedTuple):
    """One error per offset, in the order asked."""

    errors: tuple[ErrorCode, ...]


class DeleteOffsets(NamedTuple):
    """Forget the group's offsets of these partitions, pending ones included (KIP-496)."""

    group_id: str
    partitions: tuple[tuple[bytes, int], ...]


class DeleteOffsetsReply(NamedTuple):
    """One error per partition, in the order asked; error is the one that they all share, or NONE."""

    error: ErrorCode
    partition_errors: tuple[ErrorCode, ...]


class DeleteGroup(NamedTuple):
    """Forget a group without members, with its offsets, pending ones included."""

    group_id: str


class ExpireOffsets(NamedTuple):
    """Forget the group's offsets of these partitions as far as nobody needs them; sent by the broker itself.

    An Empty group that is left without offsets is forgotten, too. retention_ms: offsets.retention.minutes.
    """

    group_id: str
    partitions: tuple[tuple[bytes, int], ...]
    retention_ms: int


class GroupReply(NamedTuple):
    error: ErrorCode
