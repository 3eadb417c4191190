"""Valid requests of any API and version, with values drawn from small pools so that they reach deep.

Names, producer ids and partitions are those that `prepare` made exist on the broker, or near misses: a
handful of each, so that what requests create stays bounded however many are sent.
"""

from __future__ import annotations

import random
from typing import Any

from oncelog.wire.definition import FieldSpec, FieldType, Message, Struct
from tests.support.batches import batch

TOPICS = tuple(f"hostile-{n}" for n in range(6))
GROUPS = tuple(f"group-{n}" for n in range(6))
TRANSACTIONAL_IDS = tuple(f"transaction-{n}" for n in range(6))
MEMBERS = ("", "member-1", "member-2")
CONFIGS = ("retention.ms", "cleanup.policy", "max.message.bytes", "message.timestamp.type", "no.such.config")
PARTITIONS = 4

LONG_WAIT_MS = 300
"""What may wait at all waits no longer than this, so that a second without an answer means a fault."""

TEXTS = {
    "group_id": GROUPS,
    "groups": GROUPS,
    "group_ids": GROUPS,
    "groups_names": GROUPS,
    "transactional_id": TRANSACTIONAL_IDS,
    "v3_and_below_transactional_id": TRANSACTIONAL_IDS,
    "key": GROUPS + TRANSACTIONAL_IDS,
    "coordinator_keys": GROUPS + TRANSACTIONAL_IDS,
    "member_id": MEMBERS,
    "group_instance_id": ("", "instance-1", "instance-2"),
    "protocol_type": ("consumer",),
    "protocol_name": ("range", "roundrobin"),
    "resource_name": (*TOPICS, "1", "", "no-such-topic"),
    "config_names": CONFIGS,
    "client_software_name": ("hostile",),
    "client_software_version": ("1.0",),
    "feature": ("transaction.version", "metadata.version", "kraft.version", "no.such"),
    "value": ("1", "-1", "delete", "compact", "LogAppendTime", "1000000000000"),
    "states_filter": ("Stable", "Empty", "Dead", "?"),
    "types_filter": ("classic", "consumer"),
}
NUMBERS: dict[str, tuple[int, ...]] = {
    "producer_id": (-1, 0, 1, 2, 3, 4, 5),
    "producer_epoch": (-1, 0, 0, 0, 1, 2),
    "partition": tuple(range(PARTITIONS + 1)),
    "index": tuple(range(PARTITIONS + 1)),
    "partition_index": tuple(range(PARTITIONS + 1)),
    "partitions": tuple(range(PARTITIONS + 1)),
    "partition_indexes": tuple(range(PARTITIONS + 1)),
    "acks": (-1, 1, -1, 0, 2),
    "replica_id": (-1, -1, -1, 0),
    "timeout_ms": (100,),
    "transaction_timeout_ms": (1000, 60_000),
    "session_timeout_ms": (100, 200),
    "rebalance_timeout_ms": (100, 200),
    "max_wait_ms": (0, 1, 20),
    "min_bytes": (0, 1, 100),
    "max_bytes": (0, 1000, 65_536),
    "partition_max_bytes": (0, 100, 20_000),
    "fetch_offset": (0, 0, 1, 5, 1 << 40),
    "committed_offset": (0, 1, 100),
    "offset": (0, 1, 5),
    "timestamp": (-1, -2, -3, -4, -5, -6, 0, 1_700_000_000_000, 1 << 50),
    "current_leader_epoch": (-1, -1, 0, 1),
    "leader_epoch": (-1, 0, 1),
    "isolation_level": (0, 1),
    "session_id": (0, 0, 1),
    "session_epoch": (-1, 0, 1),
    "generation_id": (-1, 0, 1, 2),
    "generation_id_or_member_epoch": (-1, 0, 1),
    "key_type": (0, 1, 2),
    "resource_type": (2, 4, 2, 1),
    "config_operation": (0, 1, 2, 3),
    "num_partitions": (-1, 1, 2),
    "count": (1, 4, 5, 6),
    "replication_factor": (-1, 1),
    "max_version_level": (0, 1, 2),
    "upgrade_type": (1, 2, 3),
}
TOPIC_NAMES = frozenset({"Topic", "Topics"})


class Generator:
    """Draws valid requests. topic_ids: those of TOPICS that exist on the broker."""

    def __init__(self, seed: int, topic_ids: tuple[bytes, ...]) -> None:
        self.random = random.Random(seed)
        self._topic_ids = topic_ids or (bytes(16),)

    def request(self, request: type[Message], version: int) -> Message:
        made: Message = self._struct(request, version)
        return made

    def _struct(self, cls: type[Struct], version: int) -> Any:
        values = {}
        for spec in cls.fields:
            if version not in spec.versions:
                continue
            if spec.tag is not None and self.random.random() < 0.7:
                continue
            if version in spec.nullable and self.random.random() < 0.2:
                values[spec.name] = None
            else:
                values[spec.name] = self._value(cls, spec, spec.type, version)
        return cls(**values)

    def _value(self, cls: type[Struct], spec: FieldSpec, type_: FieldType, version: int) -> Any:
        draw = self.random
        if type_.name == "array":
            most = 3 if type_.element.name == "struct" else 4
            count = min(draw.randrange(most + 1), draw.randrange(most + 1))
            return [self._value(cls, spec, type_.element, version) for _ in range(count or draw.randrange(2))]
        if type_.name == "struct":
            return self._struct(type_.element, version)
        if type_.name == "string":
            return draw.choice(_texts(cls, spec.name))
        if type_.name == "records":
            return self.records()
        if type_.name == "bytes":
            return draw.choice((b"", b"\0\0\0\0\0\1", bytes(40)))
        if type_.name == "uuid":
            return draw.choice((*self._topic_ids, draw.choice(self._topic_ids), bytes(16), b"\7" * 16))
        if type_.name == "bool":
            return draw.random() < 0.5
        if type_.name == "float64":
            return draw.random()
        return draw.choice(NUMBERS.get(spec.name, (0, 1, 2, -1)))

    def records(self) -> bytes:
        """One good batch, of a producer or of none."""
        draw = self.random
        values = [bytes(draw.randrange(40))] * draw.randrange(1, 4)
        if draw.random() < 0.4:
            return batch(values)
        return batch(
            values,
            producer_id=draw.randrange(6),
            epoch=draw.randrange(3),
            sequence=draw.choice((0, 1, 2, 3)),
            transactional=draw.random() < 0.5,
        )


def _texts(cls: type[Struct], name: str) -> tuple[str, ...]:
    known = TEXTS.get(name)
    if known is not None:
        return known
    if name == "name":
        if "Config" in cls.__name__:
            return CONFIGS
        if "Protocol" in cls.__name__:
            return ("range", "roundrobin")
    if "topic" in name or name in ("name", "names"):
        return TOPICS
    return ("", "text", "some longer text than the other")
