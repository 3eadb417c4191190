"""The keys and values of records in __consumer_offsets and __transaction_state, as Kafka writes them.

In a record both begin with a number: a key with the type of its record, a value with its version. A key that
is gone has a null value. Sources: OffsetCommitKey, OffsetCommitValue, GroupMetadataKey, GroupMetadataValue,
TransactionLogKey and TransactionLogValue. Must not know when a record is written.
"""

from __future__ import annotations

import struct

from oncelog.wire.definition import (
    ZERO_UUID,
    Message,
    Struct,
    array,
    bytes_,
    field,
    int8,
    int16,
    int32,
    int64,
    string,
    uuid,
)

OFFSET_COMMIT_TYPE = 1
GROUP_METADATA_TYPE = 2
TRANSACTION_TYPE = 0
KEY_VERSION = 0

_prefix = struct.Struct(">h").pack


class OffsetCommitKey(Message, versions="0"):
    """A group's offset of one partition."""

    group: str = field(string)
    topic: str = field(string)
    partition: int = field(int32)


class OffsetCommitValue(Message, versions="0-4", flexible="4+"):
    """A committed offset. Only version 1 says when it expires whatever else is true."""

    offset: int = field(int64)
    leader_epoch: int = field(int32, versions="3+", default=-1, ignorable=True)
    metadata: str = field(string)
    commit_timestamp: int = field(int64)
    expire_timestamp: int = field(int64, versions="1", default=-1, ignorable=True)
    topic_id: bytes = field(uuid, versions="4+", tag=0, tagged="4+", default=ZERO_UUID, ignorable=True)


class GroupMetadataKey(Message, versions="0"):
    """A group's generation."""

    group: str = field(string)


class GroupMetadataMember(Struct):
    """A member of a generation. subscription: what it said under the protocol that the group uses."""

    member_id: str = field(string)
    group_instance_id: str | None = field(string, versions="3+", nullable="3+", default=None, ignorable=True)
    client_id: str = field(string)
    client_host: str = field(string)
    rebalance_timeout: int = field(int32, versions="1+", default=-1, ignorable=True)
    session_timeout: int = field(int32)
    subscription: bytes = field(bytes_)
    assignment: bytes = field(bytes_)


class GroupMetadataValue(Message, versions="0-4", flexible="4+"):
    """A generation of a group that the classic protocol made."""

    protocol_type: str = field(string)
    generation: int = field(int32)
    protocol: str | None = field(string, nullable="0+")
    leader: str | None = field(string, nullable="0+")
    current_state_timestamp: int = field(int64, versions="2+", default=-1, ignorable=True)
    members: list[GroupMetadataMember] = field(array(GroupMetadataMember))


class TransactionLogKey(Message, versions="0"):
    """A transactional id."""

    transactional_id: str = field(string)


class TransactionLogPartitions(Struct):
    """Partitions of one topic."""

    topic: str = field(string)
    partition_ids: list[int] = field(array(int32))


class TransactionLogValue(Message, versions="0-1", flexible="1+"):
    """What is known of a transactional id. Partitions are null before its producer's first transaction."""

    producer_id: int = field(int64)
    previous_producer_id: int = field(int64, versions="1+", tag=0, tagged="1+", default=-1, ignorable=True)
    next_producer_id: int = field(int64, versions="1+", tag=1, tagged="1+", default=-1, ignorable=True)
    producer_epoch: int = field(int16)
    next_producer_epoch: int = field(int16, versions="1+", tag=3, tagged="1+", default=-1, ignorable=True)
    transaction_timeout_ms: int = field(int32)
    transaction_status: int = field(int8)
    transaction_partitions: list[TransactionLogPartitions] | None = field(
        array(TransactionLogPartitions), nullable="0+"
    )
    transaction_last_update_timestamp_ms: int = field(int64)
    transaction_start_timestamp_ms: int = field(int64)
    client_transaction_version: int = field(
        int16, versions="1+", tag=2, tagged="1+", default=0, ignorable=True
    )


def key_bytes(record_type: int, key: Message) -> bytes:
    """A key as it lies in a record."""
    return _prefix(record_type) + key.encode(KEY_VERSION)


def value_bytes(value: Message, version: int) -> bytes:
    """A value as it lies in a record."""
    return _prefix(version) + value.encode(version)
