"""Records of the internal topics, encoded from the state for whoever fetches them or looks for a time.

The state knows which key each offset is about; what is told of the key is what the state holds of it, which
no change since has touched: a change would have given the key another offset. Must not know what is durable:
who asks names the offset that must not be reached.
"""

from __future__ import annotations

from collections.abc import Iterator

from oncelog.machine.group_state import CommittedOffset, Group
from oncelog.machine.internal_topics import record_value_version, topic_name
from oncelog.machine.record_index import Entry
from oncelog.machine.state import (
    InternalPartition,
    State,
    Tombstone,
    TransactionalId,
    TransactionState,
)
from oncelog.wire.coordinator_records import (
    GROUP_METADATA_TYPE,
    OFFSET_COMMIT_TYPE,
    TRANSACTION_TYPE,
    GroupMetadataKey,
    GroupMetadataMember,
    GroupMetadataValue,
    OffsetCommitKey,
    OffsetCommitValue,
    TransactionLogKey,
    TransactionLogPartitions,
    TransactionLogValue,
    key_bytes,
    value_bytes,
)
from oncelog.wire.records import HEADER_SIZE, RECORD_OVERHEAD_BYTES_MAX, Record, compacted_batch

RECORDS_PER_FETCH_MAX = 2000
"""Of all internal partitions that one fetch names: some 20 ms."""
BYTES_PER_FETCH_MAX = 1 << 20

_OFFSET_VALUE_VERSION = 4
_OFFSET_VALUE_VERSION_WITH_EXPIRY = 1
_GROUP_VALUE_VERSION = 3
_CLIENT_TRANSACTION_VERSION = 2


def batch_from(
    state: State,
    partition: InternalPartition,
    offset: int,
    limit: int,
    leader_epoch: int,
    *,
    bytes_max: int,
    records_max: int,
) -> tuple[bytes, int]:
    """One batch of the records from `offset` on and below `limit`, and how many it has; b"" without any.

    The first record may be larger than `bytes_max`, as a batch in a log may.
    """
    records: list[Record] = []
    size_bytes = HEADER_SIZE
    for record in _records(state, partition, offset, limit):
        size_bytes += RECORD_OVERHEAD_BYTES_MAX + len(record.key or b"") + len(record.value or b"")
        if records and (size_bytes > bytes_max or len(records) >= records_max):
            break
        records.append(record)
    return (compacted_batch(records, leader_epoch) if records else b""), len(records)


def has_records(partition: InternalPartition, offset: int, limit: int) -> bool:
    """Whether there is a record from `offset` on and below `limit`."""
    first = partition.records.first_offset(offset)
    return first is not None and first < limit


def offsets_and_timestamps(
    state: State, partition: InternalPartition, offset: int
) -> Iterator[tuple[int, int]]:
    """Of each record from `offset` on, in order. To be used up before the state changes."""
    for entry in partition.records.entries(offset):
        yield entry.offset, _timestamp(state, entry, is_of_groups=_is_of_groups(state, partition))


def _is_of_groups(state: State, partition: InternalPartition) -> bool:
    return partition.topic is state.internal.consumer_offsets


def _records(state: State, partition: InternalPartition, offset: int, limit: int) -> Iterator[Record]:
    is_of_groups = _is_of_groups(state, partition)
    for entry in partition.records.entries(offset):
        if entry.offset >= limit:
            return
        encoded = _encode_of_groups(state, entry) if is_of_groups else _encode_of_transactions(state, entry)
        if encoded is not None:
            timestamp = _timestamp(state, entry, is_of_groups=is_of_groups)
            yield Record(entry.offset, timestamp, *encoded)


def _timestamp(state: State, entry: Entry, *, is_of_groups: bool) -> int:
    owner = entry.owner
    if isinstance(owner, Tombstone):
        return owner.wall_ms
    if not is_of_groups:
        return state.transactions[owner].updated_wall_ms
    group = state.groups[owner]
    return group.changed_wall_ms if entry.place is None else group.offsets[entry.place].committed_wall_ms


# --- __consumer_offsets ---


def _encode_of_groups(state: State, entry: Entry) -> tuple[bytes, bytes | None] | None:
    """Key and value; None where the name of a topic that was deleted long ago is forgotten."""
    owner, place = entry.owner, entry.place
    if isinstance(owner, Tombstone):
        return _group_key(owner.owner, owner.topic, owner.partition), None
    group = state.groups[owner]
    if place is None:
        assert group.record == entry.offset, "a key remembers the offset of its record"
        return _group_key(owner, "", -1), _generation_value(group)
    name = topic_name(state, place[0])
    if name is None:
        return None
    committed = group.offsets[place]
    assert committed.record == entry.offset, "a key remembers the offset of its record"
    return _group_key(owner, name, place[1]), _offset_value(place[0], committed)


def _group_key(group_id: str, topic: str, partition: int) -> bytes:
    if not topic:
        return key_bytes(GROUP_METADATA_TYPE, GroupMetadataKey(group=group_id))
    key = OffsetCommitKey(group=group_id, topic=topic, partition=partition)
    return key_bytes(OFFSET_COMMIT_TYPE, key)


def _offset_value(topic_id: bytes, committed: CommittedOffset) -> bytes:
    value = OffsetCommitValue(
        offset=committed.offset,
        leader_epoch=committed.leader_epoch,
        metadata=committed.metadata,
        commit_timestamp=committed.committed_wall_ms,
        topic_id=topic_id,
    )
    if committed.expires_age_ms < 0:
        return value_bytes(value, _OFFSET_VALUE_VERSION)
    kept_ms = committed.expires_age_ms - committed.committed_age_ms
    value.expire_timestamp = committed.committed_wall_ms + kept_ms
    return value_bytes(value, _OFFSET_VALUE_VERSION_WITH_EXPIRY)


def _generation_value(group: Group) -> bytes:
    assignments = group.assignments or {}
    members = []
    for member in group.members.values():
        said = {protocol.name: protocol.metadata for protocol in member.protocols}
        members.append(
            GroupMetadataMember(
                member_id=member.member_id,
                group_instance_id=member.group_instance_id,
                client_id=member.client_id,
                client_host=member.client_host,
                rebalance_timeout=member.rebalance_timeout_ms,
                session_timeout=member.session_timeout_ms,
                subscription=said.get(group.protocol or "", b""),
                assignment=assignments.get(member.member_id, b""),
            )
        )
    value = GroupMetadataValue(
        protocol_type=group.protocol_type,
        generation=group.generation,
        protocol=group.protocol,
        leader=group.leader,
        current_state_timestamp=group.changed_wall_ms,
        members=members,
    )
    return value_bytes(value, _GROUP_VALUE_VERSION)


# --- __transaction_state ---


def _encode_of_transactions(state: State, entry: Entry) -> tuple[bytes, bytes | None]:
    owner = entry.owner
    if isinstance(owner, Tombstone):
        return _transaction_key(owner.owner), None
    return _transaction_key(owner), _transaction_value(state, state.transactions[owner])


def _transaction_key(transactional_id: str) -> bytes:
    return key_bytes(TRANSACTION_TYPE, TransactionLogKey(transactional_id=transactional_id))


def _transaction_value(state: State, transaction: TransactionalId) -> bytes:
    is_empty = transaction.state is TransactionState.EMPTY
    value = TransactionLogValue(
        producer_id=transaction.producer_id,
        previous_producer_id=transaction.previous_producer_id,
        producer_epoch=transaction.producer_epoch,
        transaction_timeout_ms=transaction.timeout_ms,
        transaction_status=transaction.state,
        transaction_partitions=None if is_empty else _covered(state, transaction),
        transaction_last_update_timestamp_ms=transaction.updated_wall_ms,
        transaction_start_timestamp_ms=transaction.started_wall_ms,
        client_transaction_version=_client_transaction_version(transaction),
    )
    return value_bytes(value, record_value_version(transaction.record))


def _client_transaction_version(transaction: TransactionalId) -> int:
    """Second-generation ends move the epoch on (KIP-890); of others, Kafka's default."""
    has_ended = transaction.state in (TransactionState.COMPLETE_COMMIT, TransactionState.COMPLETE_ABORT)
    moved_on = transaction.last_epoch >= 0 and not transaction.ended_by_coordinator
    return _CLIENT_TRANSACTION_VERSION if has_ended and moved_on else 0


def _covered(state: State, transaction: TransactionalId) -> list[TransactionLogPartitions]:
    covered: dict[str, set[int]] = {}
    for topic_id, index in transaction.partitions:
        name = topic_name(state, topic_id)
        if name is not None:
            covered.setdefault(name, set()).add(index)
    if transaction.groups:
        covered[state.internal.consumer_offsets.name] = set(transaction.groups.values())
    return [
        TransactionLogPartitions(topic=name, partition_ids=sorted(indexes))
        for name, indexes in sorted(covered.items())
    ]
