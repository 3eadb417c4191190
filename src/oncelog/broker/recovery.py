"""From a journal to the state that served: replay is opening each entry and evolving its events.

The same evolve that serves; nothing is decided here (law 2). Must not know sockets or requests.
"""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterable
from typing import NamedTuple

from oncelog.journal import ReplayedEntry
from oncelog.machine.events import REGISTRY, decode_events
from oncelog.machine.evolve import evolve
from oncelog.machine.moment import At
from oncelog.machine.state import State

STEP_ENTRIES = 4096
STEP_EVENTS_BYTES = 1 << 20


class Replayed(NamedTuple):
    """The end of a replay. age_ms: the service age that the newest entry carries; 0 for an empty journal."""

    entries: int
    age_ms: int


class ReplayMismatch(RuntimeError):
    """An entry's events and its payload disagree; the message names the position."""


def replay(state: State, entries: Iterable[ReplayedEntry]) -> Replayed:
    """Evolve every entry into `state`.

    Raises ReplayMismatch where an entry does not add up, and what decoding and evolving raise.
    """
    steps = replay_in_steps(state, entries)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def replay_in_steps(state: State, entries: Iterable[ReplayedEntry]) -> Generator[int, None, Replayed]:
    """The same, which yields the count of entries now and then, for others to have a turn."""
    count = step_began = step_bytes = 0
    age_ms = 0
    collects = gc.isenabled()
    gc.disable()
    try:
        for entry in entries:
            count += 1
            age_ms = entry.age_ms
            if entry.events:
                at = At(entry.position, entry.wall_ms, entry.age_ms)
                for event in decode_events(REGISTRY, entry.events):
                    evolve(state, event, at)
                if at.payload_offset != entry.payload_size:
                    raise ReplayMismatch(
                        f"the events of journal entry {entry.position} speak of {at.payload_offset} payload "
                        f"bytes, but it holds {entry.payload_size}"
                    )
            step_bytes += len(entry.events)
            if step_bytes >= STEP_EVENTS_BYTES or count - step_began >= STEP_ENTRIES:
                step_began, step_bytes = count, 0
                yield count
    finally:
        if collects:
            gc.enable()
    return Replayed(count, age_ms)
