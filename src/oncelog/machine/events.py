"""Events: facts as they are journaled, each with everything spelled out.

Declared in the definition form of `oncelog.wire`, so that their codecs are made from the declarations.
A changed event is a new version of its kind; a retired kind number is never used again.
Must not know where an entry lies or how it becomes durable.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from enum import IntEnum

from oncelog.wire import codec
from oncelog.wire.definition import (
    EVENT_HEADER_BYTES,
    DecodeError,
    Event,
    Struct,
    array,
    bool_,
    bytes_,
    field,
    int8,
    int16,
    int32,
    int64,
    string,
    uuid,
)

# --- topics, configs, features: kinds 1 to 9 ---


class TopicConfig(Struct):
    """A config of a topic or broker. value: None where the override was removed."""

    name: str = field(string)
    value: str | None = field(string, nullable="1+", default=None)


class TopicCreated(Event, kind=1, versions="1"):
    """A topic was created; its partitions are numbered from 0. configs: its own overrides."""

    topic_id: bytes = field(uuid)
    name: str = field(string)
    partition_count: int = field(int32)
    configs: list[TopicConfig] = field(array(TopicConfig))


class TopicDeleted(Event, kind=2, versions="1"):
    """A topic was deleted with everything in it; its id never comes back."""

    topic_id: bytes = field(uuid)
    name: str = field(string)


class PartitionsCreated(Event, kind=3, versions="1"):
    """A topic has more partitions now: this many."""

    topic_id: bytes = field(uuid)
    partition_count: int = field(int32)


class TopicConfigsChanged(Event, kind=4, versions="1"):
    """Overrides of a topic's configs were set or removed; those not named stay as they were."""

    topic_id: bytes = field(uuid)
    changes: list[TopicConfig] = field(array(TopicConfig))


class BrokerConfigsChanged(Event, kind=5, versions="1"):
    """Overrides of broker configs were set or removed. resource: the broker's id, or "" for all brokers."""

    resource: str = field(string)
    changes: list[TopicConfig] = field(array(TopicConfig))


class FeatureLevelChanged(Event, kind=6, versions="1"):
    """A feature's finalized level is another one now; 0 is off."""

    feature: str = field(string)
    level: int = field(int16)


# --- producers and transactions: kinds 10 to 29 ---


class EndReason(IntEnum):
    """Who ended a transaction.

    Its producer, a newer producer of its transactional id, its timeout, or somebody who administers the
    broker.
    """

    CLIENT = 0
    NEWER_PRODUCER = 1
    TIMEOUT = 2
    ADMIN = 3


class BatchAppended(Event, kind=10, versions="1"):
    """A batch was appended to a partition; the bytes are the next in the entry's payload.

    is_log_append_time: the topic dates records by the entry's wall clock, which max_timestamp then is.
    """

    topic_id: bytes = field(uuid)
    partition: int = field(int32)
    base_offset: int = field(int64)
    last_offset_delta: int = field(int32)
    max_timestamp: int = field(int64)
    size: int = field(int32)
    producer_id: int = field(int64, default=-1)
    producer_epoch: int = field(int16, default=-1)
    base_sequence: int = field(int32, default=-1)
    is_transactional: bool = field(bool_)
    is_log_append_time: bool = field(bool_)


class ProducerIdAssigned(Event, kind=11, versions="1"):
    """A producer without a transactional id was given an id; its epoch is 0."""

    producer_id: int = field(int64)
    client_id: str | None = field(string, nullable="1+", default=None)
    host: str = field(string)


class TransactionalIdInitialized(Event, kind=12, versions="1"):
    """A transactional id was given a producer id and epoch that fence all earlier ones.

    previous_producer_id: the id that this one was rotated from, or -1.
    last_epoch: the epoch that the sender held, or -1; a retry is known by it.
    """

    transactional_id: str = field(string)
    producer_id: int = field(int64)
    producer_epoch: int = field(int16)
    previous_producer_id: int = field(int64, default=-1)
    last_epoch: int = field(int16, default=-1)
    timeout_ms: int = field(int32)
    client_id: str | None = field(string, nullable="1+", default=None)
    host: str = field(string)


class TransactionPartition(Struct):
    topic_id: bytes = field(uuid)
    partition: int = field(int32)


class TransactionPartitionsAdded(Event, kind=13, versions="1"):
    """The transaction covers these partitions too; it begins with this where none was open."""

    transactional_id: str = field(string)
    producer_id: int = field(int64)
    producer_epoch: int = field(int16)
    partitions: list[TransactionPartition] = field(array(TransactionPartition))


class TransactionGroupAdded(Event, kind=14, versions="1"):
    """The transaction covers committed offsets of this group; it begins with this where none was open."""

    transactional_id: str = field(string)
    producer_id: int = field(int64)
    producer_epoch: int = field(int16)
    group_id: str = field(string)


class TransactionOffset(Struct):
    """A consumer's next offset in one partition."""

    topic_id: bytes = field(uuid)
    partition: int = field(int32)
    offset: int = field(int64)
    leader_epoch: int = field(int32, default=-1)
    metadata: str = field(string)


class TransactionOffsetsAdded(Event, kind=15, versions="1"):
    """The transaction would commit these offsets of a group; the group joins the transaction with it."""

    transactional_id: str = field(string)
    producer_id: int = field(int64)
    producer_epoch: int = field(int16)
    group_id: str = field(string)
    offsets: list[TransactionOffset] = field(array(TransactionOffset))


class TransactionMarker(Struct):
    """The offset of the transaction's marker in one partition."""

    topic_id: bytes = field(uuid)
    partition: int = field(int32)
    offset: int = field(int64)


class GroupOffsets(Struct):
    group_id: str = field(string)
    offsets: list[TransactionOffset] = field(array(TransactionOffset))


class TransactionEnded(Event, kind=16, versions="1"):
    """A transaction was committed or aborted, in all its partitions and groups at once.

    Its markers share one control batch, the next bytes in the entry's payload; there is none without markers.
    producer_id, producer_epoch: the producer whose transaction it was.
    marker_epoch: the epoch that the markers carry, and that its partitions refuse older ones by from now on.
    next_producer_id, next_producer_epoch: whose the next transaction is.
    offsets: the group offsets that were committed; empty when it was aborted.
    reason: an EndReason.
    """

    transactional_id: str = field(string)
    producer_id: int = field(int64)
    producer_epoch: int = field(int16)
    committed: bool = field(bool_)
    reason: int = field(int8)
    marker_epoch: int = field(int16)
    next_producer_id: int = field(int64)
    next_producer_epoch: int = field(int16)
    markers: list[TransactionMarker] = field(array(TransactionMarker))
    offsets: list[GroupOffsets] = field(array(GroupOffsets))
    client_id: str | None = field(string, nullable="1+", default=None)
    host: str = field(string)


class TransactionalIdExpired(Event, kind=17, versions="1"):
    """A transactional id that nobody used was forgotten, with the producer ids that it owned."""

    transactional_id: str = field(string)


class ProducersForgotten(Event, kind=18, versions="1"):
    """A partition forgot producers that were idle; their next batch may begin at any sequence."""

    topic_id: bytes = field(uuid)
    partition: int = field(int32)
    producer_ids: list[int] = field(array(int64))


# --- groups and committed offsets: kinds 30 to 49 ---


class GroupMemberProtocol(Struct):
    name: str = field(string)
    metadata: bytes = field(bytes_)


class GroupMember(Struct):
    """A member as the coordinator knew it; its protocols are in its order of preference."""

    member_id: str = field(string)
    group_instance_id: str | None = field(string, nullable="1+", default=None)
    client_id: str = field(string)
    client_host: str = field(string)
    session_timeout_ms: int = field(int32)
    rebalance_timeout_ms: int = field(int32)
    protocols: list[GroupMemberProtocol] = field(array(GroupMemberProtocol))


class GenerationStarted(Event, kind=30, versions="1"):
    """A rebalance was complete: the group has these members, who wait for their leader's assignment.

    Without members the group is Empty and has neither protocol nor leader.
    """

    group_id: str = field(string)
    generation: int = field(int32)
    protocol_type: str = field(string)
    protocol: str | None = field(string, nullable="1+", default=None)
    leader: str | None = field(string, nullable="1+", default=None)
    members: list[GroupMember] = field(array(GroupMember))


class GroupAssignment(Struct):
    member_id: str = field(string)
    assignment: bytes = field(bytes_)


class AssignmentStored(Event, kind=31, versions="1"):
    """The leader's assignment of a generation: one entry for each member."""

    group_id: str = field(string)
    generation: int = field(int32)
    assignments: list[GroupAssignment] = field(array(GroupAssignment))


class StaticMemberReplaced(Event, kind=32, versions="1"):
    """A static member came back under a new member id and took its own place."""

    group_id: str = field(string)
    old_member_id: str = field(string)
    member: GroupMember = field(GroupMember)


class GroupOffset(Struct):
    """A consumer's next offset in one partition."""

    topic_id: bytes = field(uuid)
    partition: int = field(int32)
    offset: int = field(int64)
    leader_epoch: int = field(int32, default=-1)
    metadata: str = field(string)


class OffsetsCommitted(Event, kind=33, versions="1"):
    """Offsets were committed outside of a transaction; the group begins with it where there was none.

    expires_age_ms: when they are forgotten whatever else is true, or -1.
    """

    group_id: str = field(string)
    expires_age_ms: int = field(int64, default=-1)
    offsets: list[GroupOffset] = field(array(GroupOffset))


class GroupPartition(Struct):
    topic_id: bytes = field(uuid)
    partition: int = field(int32)


class OffsetsDeleted(Event, kind=34, versions="1"):
    """The group's offsets of these partitions are forgotten, pending ones included."""

    group_id: str = field(string)
    partitions: list[GroupPartition] = field(array(GroupPartition))


class GroupDeleted(Event, kind=35, versions="1"):
    """The group is forgotten with all its offsets, pending ones included."""

    group_id: str = field(string)


# --- decoding ---


class UnknownEvent(RuntimeError):
    """A journal holds an event that this release doesn't know: it was written by a newer one."""


class EventRegistry:
    """Events by kind number and version, each version that ever was included."""

    def __init__(self, events: Iterable[type[Event]]) -> None:
        self.kinds: dict[int, type[Event]] = {}
        self._decoders: dict[tuple[int, int], Callable[..., tuple[Event, int]]] = {}
        for event in events:
            assert event.kind not in self.kinds, f"two events have the kind {event.kind}"
            self.kinds[event.kind] = event

    def decoder(self, kind: int, version: int) -> Callable[..., tuple[Event, int]]:
        """The function that decodes the fields of an event. Raises UnknownEvent."""
        decode = self._decoders.get((kind, version))
        if decode is None:
            event = self.kinds.get(kind)
            if event is None or not event.first_version <= version <= event.version:
                raise UnknownEvent(
                    f"the journal holds an event of kind {kind} version {version}, which this release"
                    " doesn't know; it was written by a newer one"
                )
            decode = self._decoders[kind, version] = codec.decoder(event, version, True, False)
        return decode


REGISTRY = EventRegistry(
    declared
    for declared in list(globals().values())
    if isinstance(declared, type) and issubclass(declared, Event) and declared.kind
)
"""Every event that this module declares."""

_read_frame = struct.Struct(">HBI").unpack_from


def decode_events(registry: EventRegistry, buffer: bytes | memoryview) -> list[Event]:
    """The events of one journal entry. Raises UnknownEvent, and DecodeError on what nobody has written."""
    data = bytes(buffer)
    view = memoryview(data)
    position, size = 0, len(data)
    events: list[Event] = []
    try:
        while position < size:
            kind, version, length = _read_frame(data, position)
            position += EVENT_HEADER_BYTES
            end = position + length
            if end > size:
                raise DecodeError(f"an event of kind {kind} ends behind its entry")
            event, position = registry.decoder(kind, version)(data, view, position, end)
            if position != end:
                raise DecodeError(f"an event of kind {kind} has {end - position} bytes too many")
            events.append(event)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise DecodeError(f"an event is malformed: {error}") from None
    return events
