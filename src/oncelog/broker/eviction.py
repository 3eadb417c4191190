"""Eviction: when nearly as many producers are remembered as may be, those that are idle for longest go early.

One walk counts for how long they have been idle, the next forgets the longest idle, no more than needed.
Never one that was used in the last 15 minutes: clients give a batch up after two (delivery.timeout.ms), so
no retry of a batch that was stored comes when its producer has been forgotten. While the process stood still
nobody could be heard, so idleness from before does not count until what came meanwhile was read. Where all
are in use nobody is forgotten, and the machine refuses new ones. Must not know what forgetting means;
machine/ decides that, and keeps those with open transactions.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping

from oncelog.broker.deadlines import Deadlines
from oncelog.broker.engine import Engine, EngineFailed
from oncelog.broker.remembered import Remembered

log = logging.getLogger("oncelog.eviction")

IDLE_UNIT_MS = 15 * 60_000
"""Who is idle for less is not evicted, and idleness is counted in units of it."""
UNITS_MAX = 10_000
LEFT_SHARE, MADE_SHARE = 16, 8
"""With less than a sixteenth of the limit left, an eighth is made."""
LOOK_INTERVAL_MS = 1000
PAUSE_MS = 10_000
"""After a walk, for it may have found nobody."""
STEP_ITEMS = 1000
STEP_PAUSE_MS = 10
STOOD_STILL_MS = 5000


class Eviction:
    """The eviction of one kind of what is remembered. evicted: how many went early since the start."""

    def __init__(self, engine: Engine, deadlines: Deadlines, remembered: Remembered) -> None:
        self.evicted = 0
        self.option = remembered.option
        self._engine = engine
        self._deadlines = deadlines
        self._remembered = remembered
        self._wanted = max(1, remembered.limit // MADE_SHARE)
        self._is_full = False
        self._walk: Iterator[int] | None = None
        self._due_age_ms = 0
        self._after(LOOK_INTERVAL_MS)

    def _after(self, delay_ms: int) -> None:
        self._due_age_ms = self._engine.age_ms() + delay_ms
        self._deadlines.after(delay_ms, self._go_on)

    def _go_on(self) -> None:
        if self._engine.age_ms() - self._due_age_ms > STOOD_STILL_MS:
            self._walk = None
            self._after(LOOK_INTERVAL_MS)
        elif self._walk is None:
            self._look()
        else:
            self._step(self._walk)

    def _look(self) -> None:
        room = self._remembered.room()
        self._say(is_full=room <= 0)
        if room > self._remembered.limit // LEFT_SHARE:
            self._after(LOOK_INTERVAL_MS)
        else:
            self._walk = self._make_room()
            self._after(STEP_PAUSE_MS)

    def _step(self, walk: Iterator[int]) -> None:
        walked = 0
        try:
            while walked < STEP_ITEMS:
                walked += next(walk)
        except StopIteration:
            self._walk = None
            self._after(PAUSE_MS)
        except EngineFailed:
            return
        else:
            self._after(STEP_PAUSE_MS)

    def _make_room(self) -> Iterator[int]:
        """Both walks; yields the items that were passed."""
        remembered = self._remembered
        idle: Counter[int] = Counter()
        for chunk in remembered.chunks():
            age_ms = self._engine.age_ms()
            idle.update(
                min((age_ms - used_age_ms) // IDLE_UNIT_MS, UNITS_MAX) for used_age_ms in chunk.used_age_ms
            )
            yield chunk.size
        units = units_to_evict(idle, self._wanted - remembered.room())
        if units is None:
            return
        for chunk in remembered.chunks():
            room = remembered.room()
            if room >= self._wanted:
                break
            chunk.forget(units * IDLE_UNIT_MS, self._wanted - room)
            self.evicted += remembered.room() - room
            yield chunk.size

    def _say(self, *, is_full: bool) -> None:
        if is_full and not self._is_full:
            log.error(
                "there is no room for new producers: %d %s are remembered (%s), and those that were not used "
                "for 15 minutes are being forgotten early; new ones are refused until there is room",
                self._remembered.limit - self._remembered.room(),
                self._remembered.name,
                self._remembered.option,
            )
        elif self._is_full and not is_full:
            log.warning("there is room for new producers again (%s)", self._remembered.option)
        self._is_full = is_full


def units_to_evict(idle: Mapping[int, int], wanted: int) -> int | None:
    """How many units of idleness make one go early, if so many are wanted; None where nobody may.

    idle: how many have been idle for so many units.
    """
    units, found = None, 0
    for units in sorted((each for each in idle if each > 0), reverse=True):
        found += idle[units]
        if found >= wanted:
            break
    return units
