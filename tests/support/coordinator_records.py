"""Records of __consumer_offsets and __transaction_state, decoded by kio and not by us.

kio has no schemas of these records; the classes here are written from Kafka's definitions of them
(OffsetCommitKey.json and its neighbours) in the form of kio's own, and kio's readers do the rest; they want
types, not names of types, so that annotations are not postponed here. Knows nothing of oncelog.
"""

import struct
import uuid
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, ClassVar, NamedTuple

from kio.serial import entity_reader
from kio.static.constants import EntityType
from kio.static.primitive import i16


def _of(kafka_type: str, **more: Any) -> Any:
    metadata = {"kafka_type": kafka_type} | ({"tag": more.pop("tag")} if "tag" in more else {})
    return field(metadata=metadata, **more)


class _Entity:
    __slots__ = ()
    __type__: ClassVar = EntityType.data
    __version__: ClassVar[i16] = i16(0)
    __flexible__: ClassVar[bool] = False


class _Flexible(_Entity):
    __slots__ = ()
    __flexible__: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetCommitKey(_Entity):
    group: str = _of("string")
    topic: str = _of("string")
    partition: int = _of("int32")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMetadataKey(_Entity):
    group: str = _of("string")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionLogKey(_Entity):
    transactional_id: str = _of("string")


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetCommitValue1(_Entity):
    offset: int = _of("int64")
    metadata: str = _of("string")
    commit_timestamp: int = _of("int64")
    expire_timestamp: int = _of("int64")


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetCommitValue3(_Entity):
    offset: int = _of("int64")
    leader_epoch: int = _of("int32")
    metadata: str = _of("string")
    commit_timestamp: int = _of("int64")


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetCommitValue4(_Flexible):
    offset: int = _of("int64")
    leader_epoch: int = _of("int32")
    metadata: str = _of("string")
    commit_timestamp: int = _of("int64")
    topic_id: uuid.UUID | None = _of("uuid", tag=0, default=None)  # noqa: RUF009


@dataclass(frozen=True, slots=True, kw_only=True)
class Member(_Entity):
    member_id: str = _of("string")
    group_instance_id: str | None = _of("string")
    client_id: str = _of("string")
    client_host: str = _of("string")
    rebalance_timeout: int = _of("int32")
    session_timeout: int = _of("int32")
    subscription: bytes = _of("bytes")
    assignment: bytes = _of("bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMetadataValue3(_Entity):
    protocol_type: str = _of("string")
    generation: int = _of("int32")
    protocol: str | None = _of("string")
    leader: str | None = _of("string")
    current_state_timestamp: int = _of("int64")
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Partitions0(_Entity):
    topic: str = _of("string")
    partition_ids: tuple[int, ...] = _of("int32")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionLogValue0(_Entity):
    producer_id: int = _of("int64")
    producer_epoch: int = _of("int16")
    transaction_timeout_ms: int = _of("int32")
    transaction_status: int = _of("int8")
    transaction_partitions: tuple[Partitions0, ...] | None
    transaction_last_update_timestamp_ms: int = _of("int64")
    transaction_start_timestamp_ms: int = _of("int64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Partitions1(_Flexible):
    topic: str = _of("string")
    partition_ids: tuple[int, ...] = _of("int32")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionLogValue1(_Flexible):
    producer_id: int = _of("int64")
    previous_producer_id: int = _of("int64", tag=0, default=-1)
    next_producer_id: int = _of("int64", tag=1, default=-1)
    producer_epoch: int = _of("int16")
    next_producer_epoch: int = _of("int16", tag=3, default=-1)
    transaction_timeout_ms: int = _of("int32")
    transaction_status: int = _of("int8")
    transaction_partitions: tuple[Partitions1, ...] | None
    transaction_last_update_timestamp_ms: int = _of("int64")
    transaction_start_timestamp_ms: int = _of("int64")
    client_transaction_version: int = _of("int16", tag=2, default=0)


OFFSETS: dict[int, tuple[Any, dict[int, Any]]] = {
    1: (OffsetCommitKey, {1: OffsetCommitValue1, 3: OffsetCommitValue3, 4: OffsetCommitValue4}),
    2: (GroupMetadataKey, {3: GroupMetadataValue3}),
}
TRANSACTIONS: dict[int, tuple[Any, dict[int, Any]]] = {
    0: (TransactionLogKey, {0: TransactionLogValue0, 1: TransactionLogValue1}),
}


PARTITIONS = 50
"""Of each of both topics, by default."""


class Told(NamedTuple):
    """A record's key and value; the value is None where the key is gone. version: of the value."""

    key: Any
    value: Any
    version: int | None


def partition_of(name: str) -> int:
    """By Java's String.hashCode, as far as ASCII goes."""
    hashed = reduce(lambda so_far, byte: (31 * so_far + byte) & 0xFFFFFFFF, name.encode("ascii"), 0)
    (signed,) = struct.unpack(">i", struct.pack(">I", hashed))
    return int(abs(signed)) % PARTITIONS


def decode(topic: str, key: bytes, value: bytes | None) -> Told:
    """What a record of an internal topic says, every byte of it."""
    kinds = OFFSETS if topic == "__consumer_offsets" else TRANSACTIONS
    key_class, value_classes = kinds[_number(key)]
    decoded_key = _whole(key_class, key)
    if value is None:
        return Told(decoded_key, None, None)
    version = _number(value)
    return Told(decoded_key, _whole(value_classes[version], value), version)


def _number(data: bytes) -> int:
    (number,) = struct.unpack_from(">h", data)
    return int(number)


def _whole(kind: Any, data: bytes) -> Any:
    decoded, size = entity_reader(kind)(data, 2)
    assert size == len(data) - 2, f"{len(data) - 2 - size} bytes follow {decoded}"
    return decoded
