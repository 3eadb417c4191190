"""Internal topics: which changes of the state are records of __consumer_offsets and __transaction_state.

Every change of a key (a committed offset, a group's generation, a transactional id) takes the next offset of
its partition, and the key remembers where its record lies; its older record is gone, as if it were compacted
at once. A key that goes leaves a tombstone for a day. Only evolve calls what changes something here. It must
not know how a record is encoded: that is done when somebody fetches it.

Topics are deleted without a look at who refers to them. Offsets of a deleted topic keep their records, with
the name that it had, until the sweep that forgets them (groups.py) leaves their tombstones.
"""

from __future__ import annotations

import struct

from oncelog.machine.group_state import CommittedOffset, Group
from oncelog.machine.moment import At
from oncelog.machine.state import (
    INTERNAL_PARTITIONS,
    InternalPartition,
    InternalTopic,
    State,
    Tombstone,
    TopicPartition,
    TransactionalId,
)

TOMBSTONE_KEPT_MS = 24 * 3600 * 1000
"""Kafka's delete.retention.ms."""
TOMBSTONES_MAX = 100_000
"""Of one topic, about 600 bytes each; beyond it the oldest go before their time."""
TOMBSTONES_PER_SWEEP_MAX = 100
DELETED_NAMES_MAX = 10_000
"""Beyond it the oldest are forgotten, and records that would tell them are left out."""

_PARTITION_BITS = 6
_VALUE_VERSION_BIT = 1 << _PARTITION_BITS
_OFFSET_SHIFT = _PARTITION_BITS + 1
assert INTERNAL_PARTITIONS <= 1 << _PARTITION_BITS


def partition_of(name: str) -> int:
    """The partition in which Kafka keeps a group or transactional id: by Java's hash of its name."""
    encoded = name.encode("utf-16-be", "surrogatepass")
    hashed = 0
    for unit in struct.unpack(f">{len(encoded) // 2}H", encoded):
        hashed = (31 * hashed + unit) & 0xFFFFFFFF
    # Kafka makes the signed number positive; of the one that has no positive counterpart it makes 0.
    positive = hashed if hashed < 1 << 31 else (1 << 32) - hashed
    return 0 if positive == 1 << 31 else positive % INTERNAL_PARTITIONS


# --- where the record of a transactional id lies, as one number ---


def _packed(offset: int, value_version: int, partition: int) -> int:
    return offset << _OFFSET_SHIFT | value_version << _PARTITION_BITS | partition


def record_offset(record: int) -> int:
    """The offset of a transactional id's record."""
    return record >> _OFFSET_SHIFT


def record_value_version(record: int) -> int:
    """The version of its value: 0 where transaction.version was 0 when it was written."""
    return int(bool(record & _VALUE_VERSION_BIT))


def _record_partition(record: int) -> int:
    return record & _VALUE_VERSION_BIT - 1


# --- what changes ---


def offset_changed(
    state: State, group: Group, place: TopicPartition, before: CommittedOffset | None, at: At
) -> int:
    """The group has a new offset there; returns where its record lies."""
    topic = state.internal.consumer_offsets
    partition = topic.partition(group.internal_partition)
    if before is not None:
        return _move(partition, before.record, at)
    if topic.tombstones and (name := topic_name(state, place[0])) is not None:
        _unbury(topic, (group.id, name, place[1]))
    return _add(state, partition, group.id, place, at)


def group_changed(state: State, group: Group, at: At) -> None:
    """The group has another generation, assignment or member."""
    topic = state.internal.consumer_offsets
    partition = topic.partition(group.internal_partition)
    if group.record >= 0:
        group.record = _move(partition, group.record, at)
    else:
        _unbury(topic, (group.id, "", -1))
        group.record = _add(state, partition, group.id, None, at)
    group.changed_wall_ms = at.wall_ms


def transaction_changed(state: State, transaction: TransactionalId, at: At) -> None:
    """Anything about a transactional id is another than before."""
    topic = state.internal.transaction_state
    record = transaction.record
    if record >= 0:
        number = _record_partition(record)
        offset = _move(topic.partition(number), record_offset(record), at)
    else:
        number = partition_of(transaction.name)
        _unbury(topic, (transaction.name, "", -1))
        offset = _add(state, topic.partition(number), transaction.name, None, at)
    value_version = int(state.feature_levels["transaction.version"] > 0)
    transaction.record = _packed(offset, value_version, number)


def offset_deleted(
    state: State, group: Group, place: TopicPartition, committed: CommittedOffset, at: At
) -> None:
    """The group's offset there was forgotten.

    Where the topic was deleted and another one has its name, the group may have committed to that: its record
    is the newer one of the same key, and a tombstone behind it would take it back.
    """
    topic = state.internal.consumer_offsets
    partition = topic.partition(group.internal_partition)
    partition.records.take(committed.record)
    name = topic_name(state, place[0])
    if name is None:
        return
    namesake = state.topic_ids.get(name, place[0])
    if namesake == place[0] or (namesake, place[1]) not in group.offsets:
        _bury(topic, partition, (group.id, name, place[1]), at)


def group_deleted(state: State, group: Group, at: At) -> None:
    """The group was forgotten with its offsets."""
    for place, committed in group.offsets.items():
        offset_deleted(state, group, place, committed, at)
    if group.record >= 0:
        topic = state.internal.consumer_offsets
        partition = topic.partition(group.internal_partition)
        partition.records.take(group.record)
        _bury(topic, partition, (group.id, "", -1), at)


def transaction_expired(state: State, transaction: TransactionalId, at: At) -> None:
    """The transactional id was forgotten."""
    topic = state.internal.transaction_state
    partition = topic.partition(_record_partition(transaction.record))
    partition.records.take(record_offset(transaction.record))
    _bury(topic, partition, (transaction.name, "", -1), at)


def topic_deleted(state: State, topic_id: bytes, name: str) -> None:
    """Records that name the topic go on doing so."""
    names = state.internal.deleted_names
    names[topic_id] = name
    if len(names) > DELETED_NAMES_MAX:
        names.popitem(last=False)


def topic_name(state: State, topic_id: bytes) -> str | None:
    """The name of a topic, or the one that it had; None where that is forgotten."""
    topic = state.shown_topic(topic_id)
    return state.internal.deleted_names.get(topic_id) if topic is None else topic.name


# --- records come and go ---


def _next_offset(partition: InternalPartition, at: At) -> int:
    offset = partition.log_end_offset
    partition.log_end_offset = offset + 1
    at.touched[partition] = None
    return offset


def _move(partition: InternalPartition, offset: int, at: At) -> int:
    new_offset = partition.log_end_offset
    partition.log_end_offset = new_offset + 1
    at.touched[partition] = None
    partition.records.move(offset, new_offset)
    return new_offset


def _add(state: State, partition: InternalPartition, owner: str, place: TopicPartition | None, at: At) -> int:
    topic = partition.topic
    assert isinstance(topic, InternalTopic)
    if not topic.is_listed:
        topic.is_listed = True
        state.topics_version += 1
    offset = _next_offset(partition, at)
    partition.records.append(offset, owner, place)
    return offset


def _bury(topic: InternalTopic, partition: InternalPartition, key: tuple[str, str, int], at: At) -> None:
    _unbury(topic, key)
    offset = _next_offset(partition, at)
    record = _packed(offset, 0, partition.index)
    tombstone = topic.tombstones[key] = Tombstone(*key, record, at.wall_ms, at.age_ms)
    partition.records.append(offset, tombstone, None)
    _sweep(topic, at)


def _unbury(topic: InternalTopic, key: tuple[str, str, int]) -> None:
    """The key has a newer record."""
    tombstone = topic.tombstones.pop(key, None)
    if tombstone is not None:
        partition = topic.partition(_record_partition(tombstone.record))
        partition.records.take(record_offset(tombstone.record))


def _sweep(topic: InternalTopic, at: At) -> None:
    """Drop tombstones that had their day; there are new ones only where this is called."""
    tombstones = topic.tombstones
    for _ in range(TOMBSTONES_PER_SWEEP_MAX):
        key, oldest = next(iter(tombstones.items()))
        is_due = at.age_ms - oldest.kept_since_age_ms >= TOMBSTONE_KEPT_MS
        if not is_due and len(tombstones) <= TOMBSTONES_MAX:
            return
        partition = topic.partition(_record_partition(oldest.record))
        if record_offset(oldest.record) == partition.log_end_offset - 1:
            # Consumers wait for a partition's last offset: this tombstone stays until another record follows.
            tombstones[key] = oldest._replace(kept_since_age_ms=at.age_ms)
            tombstones.move_to_end(key)
        else:
            del tombstones[key]
            partition.records.take(record_offset(oldest.record))
