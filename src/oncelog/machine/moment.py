"""When and where a decision happens: the values that decide and evolve are handed instead of asking a clock.

Must not know how positions are assigned or where the time comes from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from oncelog.machine.state import Partition


class Time(NamedTuple):
    """The time of a decision.

    wall_ms: Unix time as the clock read it; may go back; dates records.
    age_ms: monotonic over the life of the data directory, without downtime; drives timeouts and expiry.
    """

    wall_ms: int
    age_ms: int


class At:
    """Where evolve stands inside one journal entry; one object per entry, advanced by evolve.

    payload_offset: where in the entry's payload the next batch lies. Events carry no location: batches lie
    in the payload in the order of their events, so evolve adds up their lengths.
    touched: partitions whose log end, last stable offset or log start moved, or that were created.
    removed: partitions that this entry deleted.
    """

    __slots__ = ("age_ms", "payload_offset", "position", "removed", "touched", "wall_ms")

    def __init__(self, position: int, wall_ms: int, age_ms: int) -> None:
        self.position = position
        self.wall_ms = wall_ms
        self.age_ms = age_ms
        self.payload_offset = 0
        self.touched: dict[Partition, None] = {}
        self.removed: list[Partition] = []
