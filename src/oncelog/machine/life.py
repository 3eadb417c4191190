"""The lives of transactional ids: what happened last to each, packed, so that it outlives journal files.

Who initialized it, how its transactions ended and that it was forgotten: of each id the last 20 events, and
of all together 16 MiB, of which ids that nothing has happened to for longest lose theirs first. The newest by
which somebody was fenced is one of the 20 however long ago it was: who took over commits, and who was fenced
may notice late. Only evolve writes here, and nothing that is decided looks at it. Long names are cut, and of
a transaction over many partitions some are named and all are counted. No other module knows a byte of the
layout.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import IntEnum
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from oncelog.machine.events import EndReason

if TYPE_CHECKING:
    from oncelog.machine.events import TransactionalIdInitialized, TransactionEnded
    from oncelog.machine.moment import At
    from oncelog.machine.state import TransactionalId

EVENTS_MAX = 20
"""Kept of one transactional id."""
LIVES_BYTES_MAX = 16 << 20
"""Of all ids together; no limit that can be set, since evolve goes by it."""
LIFE_OVERHEAD_BYTES = 400
EVENT_OVERHEAD_BYTES = 48
"""What a life takes besides its name's characters, and an event besides its bytes: objects and tables."""
PLACES_MAX = 8
GROUPS_MAX = 4
NAME_CHARACTERS_MAX = 60
"""Of a client id, a host or a group, in these events."""

Producer = tuple[int, int]
"""A producer id and epoch."""


class Kind(IntEnum):
    INITIALIZED = 0
    COMMITTED = 1
    ABORTED = 2
    EXPIRED = 3


class Place(NamedTuple):
    """A partition in a transaction that ended. first_offset: of what it wrote there, or -1: nothing."""

    topic_id: bytes
    partition: int
    first_offset: int
    marker_offset: int


class LifeEvent(NamedTuple):
    """One event in the life of a transactional id.

    before, after: the producer that it had and has, NOBODY where there is none.
    fences: the producer before was given to somebody who did not ask for this.
    reason: an EndReason; of a transaction that ended.
    began_wall_ms, took_ms: -1 where no transaction was open.
    place_count, group_count: how many there were; places and groups name the first of them. Of each group is
        told how many offsets there were.
    gap_follows: what happened next is not kept.
    """

    kind: Kind
    position: int
    wall_ms: int
    before: Producer
    after: Producer
    fences: bool
    client_id: str | None = None
    host: str = ""
    timeout_ms: int = -1
    reason: EndReason = EndReason.CLIENT
    began_wall_ms: int = -1
    took_ms: int = -1
    place_count: int = 0
    places: tuple[Place, ...] = ()
    group_count: int = 0
    groups: tuple[tuple[str, int], ...] = ()
    gap_follows: bool = False


NOBODY: Producer = (-1, -1)

# Each event begins with a byte of kind, reason, whether it fences and whether a gap follows; then come entry,
# wall clock, the producers before and after. Of a transaction that ended: when it began, how long it took,
# how many partitions and groups, those that are named, and whoever asked for it.
_INITIALIZED = Struct(">Bqqqhqhi")
_ENDED = Struct(">BqqqhqhqqII")
_EXPIRED = Struct(">Bqqqh")
_PLACE = Struct(">16siqq")
_GROUP = Struct(">BI")
_LENGTH = Struct(">H")
_FRAME = Struct(">II")

_KIND_BITS, _REASON_SHIFT, _GAP_FOLLOWS, _FENCES = 0x03, 2, 0x40, 0x80

_pack_initialized = _INITIALIZED.pack
_pack_ended = _ENDED.pack
_pack_place = _PLACE.pack


class Lives:
    """The lives of all transactional ids, those that nothing has happened to for longest first."""

    __slots__ = ("_bytes", "_bytes_max", "_lives")

    def __init__(self, bytes_max: int = LIVES_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._lives: OrderedDict[str, list[bytes]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._lives)

    @property
    def size_bytes(self) -> int:
        """What they take, by this module's reckoning; never more than the bound."""
        return self._bytes

    # --- for evolve ---

    def initialized(self, event: TransactionalIdInitialized, before: Producer, at: At) -> None:
        """before: the producer that the id had until now."""
        name = event.transactional_id
        life = self._lives.get(name)
        # The epoch that an abort for a newer producer leaves is given to nobody.
        is_claimed = before[0] >= 0 and not (life and _reason_of(life[-1]) is EndReason.NEWER_PRODUCER)
        is_its_own = event.last_epoch >= 0 and event.last_epoch == before[1]
        is_moved = before != (event.producer_id, event.producer_epoch)
        caller = _caller(event.client_id, event.host)
        packed = _pack_initialized(
            Kind.INITIALIZED | (_FENCES if is_claimed and is_moved and not is_its_own else 0),
            at.position,
            at.wall_ms,
            *before,
            event.producer_id,
            event.producer_epoch,
            event.timeout_ms,
        )
        self._append(name, packed + caller)

    def ended(
        self, event: TransactionEnded, transaction: TransactionalId, first_offsets: list[int], at: At
    ) -> None:
        """transaction: as it was before it ended. first_offsets: of what it wrote, for each marker, or -1."""
        markers = event.markers
        groups = transaction.groups
        reason = event.reason
        began_age_ms = transaction.started_age_ms
        is_open = began_age_ms >= 0
        packed = _pack_ended(
            (1 if event.committed else 2) | reason << _REASON_SHIFT | (_FENCES if reason else 0),
            at.position,
            at.wall_ms,
            event.producer_id,
            event.producer_epoch,
            event.next_producer_id,
            event.next_producer_epoch,
            transaction.started_wall_ms if is_open else -1,
            at.age_ms - began_age_ms if is_open else -1,
            len(markers),
            len(groups),
        )
        for number, marker in enumerate(markers):
            if number == PLACES_MAX:
                break
            packed += _pack_place(marker.topic_id, marker.partition, first_offsets[number], marker.offset)
        if groups:
            packed += _packed_groups(transaction)
        self._append(event.transactional_id, packed + _caller(event.client_id, event.host))

    def expired(self, name: str, before: Producer, at: At) -> None:
        """The id is forgotten; its life is not."""
        self._append(name, _EXPIRED.pack(Kind.EXPIRED, at.position, at.wall_ms, *before))

    def _append(self, name: str, event: bytes) -> None:
        life = self._lives.get(name)
        if life is None:
            self._lives[name] = [event]
            self._bytes += _cost(name) + len(event)
        else:
            life.append(event)
            self._lives.move_to_end(name)
            if len(life) <= EVENTS_MAX:
                self._bytes += len(event) + EVENT_OVERHEAD_BYTES
            else:
                self._bytes += len(event) - len(_take_one(life))
        if self._bytes > self._bytes_max:
            self._evict()

    def _evict(self) -> None:
        """Ids that nothing has happened to for longest lose theirs, until the rest is within the bound."""
        while self._bytes > self._bytes_max and self._lives:
            self._bytes -= _size(*self._lives.popitem(last=False))

    # --- for those who look ---

    def of(self, name: str) -> list[LifeEvent]:
        """What is kept of this id, oldest first."""
        return [_unpacked(event) for event in self._lives.get(name, ())]

    def packed(self) -> bytes:
        """All of it as it lies, in its order, for comparing and storing; the inverse is `from_packed`."""
        parts = []
        for name, life in self._lives.items():
            encoded = name.encode("utf-8", "surrogatepass")
            parts += [_FRAME.pack(len(encoded), len(life)), encoded]
            for event in life:
                parts += [_LENGTH.pack(len(event)), event]
        return b"".join(parts)

    @classmethod
    def from_packed(cls, packed: bytes, bytes_max: int = LIVES_BYTES_MAX) -> Lives:
        lives = cls(bytes_max)
        position = 0
        while position < len(packed):
            name_bytes, count = _FRAME.unpack_from(packed, position)
            start = position + _FRAME.size
            position = start + name_bytes
            name = packed[start:position].decode("utf-8", "surrogatepass")
            life = lives._lives[name] = []
            for _ in range(count):
                start = position + _LENGTH.size
                position = start + _LENGTH.unpack_from(packed, position)[0]
                life.append(packed[start:position])
            lives._bytes += _size(name, life)
        return lives


def _take_one(life: list[bytes]) -> bytes:
    """Take out the oldest, or the second where the oldest is the newest by which somebody was fenced."""
    first = life[0]
    if first[0] & _GAP_FOLLOWS:
        is_kept = not life[-1][0] & _FENCES
    else:
        is_kept = bool(first[0] & _FENCES) and not any(each[0] & _FENCES for each in life[1:])
        if is_kept:
            life[0] = bytes((first[0] | _GAP_FOLLOWS,)) + first[1:]
    return life.pop(1 if is_kept else 0)


def _size(name: str, life: list[bytes]) -> int:
    return _cost(name) + sum(map(len, life)) + (len(life) - 1) * EVENT_OVERHEAD_BYTES


def _cost(name: str) -> int:
    """What a life takes, its events not counted but that there is one. Some characters take four bytes."""
    return LIFE_OVERHEAD_BYTES + (len(name) if name.isascii() else 4 * len(name))


# --- packing ---


def _caller(client_id: str | None, host: str) -> bytes:
    """Who asked: host alone, or client id and host. A host has no zero byte in it; a client id may."""
    caller = host if client_id is None else f"{client_id}\0{host}"
    if len(caller) > NAME_CHARACTERS_MAX:
        host = host[:NAME_CHARACTERS_MAX]
        caller = host if client_id is None else f"{client_id[:NAME_CHARACTERS_MAX]}\0{host}"
    return caller.encode()


def _packed_groups(transaction: TransactionalId) -> bytes:
    parts = []
    for number, group in enumerate(transaction.groups):
        if number == GROUPS_MAX:
            break
        name = group[:NAME_CHARACTERS_MAX].encode()
        parts.append(_GROUP.pack(len(name), len(transaction.offsets.get(group, ()))) + name)
    return b"".join(parts)


def _reason_of(event: bytes) -> EndReason:
    return EndReason(event[0] >> _REASON_SHIFT & 0x03)


def _unpacked(event: bytes) -> LifeEvent:
    told = _unpacked_facts(event)
    return told._replace(gap_follows=True) if event[0] & _GAP_FOLLOWS else told


def _unpacked_facts(event: bytes) -> LifeEvent:
    kind = Kind(event[0] & _KIND_BITS)
    if kind is Kind.EXPIRED:
        _, entry, wall_ms, *before = _EXPIRED.unpack(event)
        return LifeEvent(kind, entry, wall_ms, (before[0], before[1]), NOBODY, False)
    fences = bool(event[0] & _FENCES)
    if kind is Kind.INITIALIZED:
        told = _INITIALIZED.unpack_from(event)
        client_id, host = _read_caller(event[_INITIALIZED.size :])
        return LifeEvent(
            kind, told[1], told[2], (told[3], told[4]), (told[5], told[6]), fences, client_id, host,
            timeout_ms=told[7],
        )  # fmt: skip
    told = _ENDED.unpack_from(event)
    place_count, group_count = told[9:11]
    places_end = _ENDED.size + min(place_count, PLACES_MAX) * _PLACE.size
    places = tuple(Place(*each) for each in _PLACE.iter_unpack(event[_ENDED.size : places_end]))
    groups, end = _read_groups(event, places_end, min(group_count, GROUPS_MAX))
    client_id, host = _read_caller(event[end:])
    return LifeEvent(
        kind, told[1], told[2], (told[3], told[4]), (told[5], told[6]), fences, client_id, host,
        reason=_reason_of(event), began_wall_ms=told[7], took_ms=told[8],
        place_count=place_count, places=places, group_count=group_count, groups=groups,
    )  # fmt: skip


def _read_caller(packed: bytes) -> tuple[str | None, str]:
    client_id, zero, host = packed.decode().rpartition("\0")
    return (client_id if zero else None), host


def _read_groups(event: bytes, position: int, count: int) -> tuple[tuple[tuple[str, int], ...], int]:
    """The groups, and where they end."""
    groups = []
    for _ in range(count):
        name_bytes, offsets = _GROUP.unpack_from(event, position)
        position += _GROUP.size + name_bytes
        groups.append((event[position - name_bytes : position].decode(), offsets))
    return tuple(groups), position
