"""A journal whose durability the test controls: the test says what becomes of what is appended.

Holding, an entry stays in flight until `confirm` or `fail`, or for ever; letting go, each is confirmed at
once. What was confirmed can be replayed by another broker, as after a crash. Must not know the machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from oncelog.journal import (
    FIRST_POSITION,
    Confirm,
    EntryToWrite,
    JournalError,
    JournalErrorKind,
    Post,
    ReplayedEntry,
    Written,
)


class Entry(NamedTuple):
    """An entry as it was when it was appended."""

    position: int
    wall_ms: int
    age_ms: int
    events: bytes
    payload: bytes
    seal: bool


class HeldJournal:
    """One journal. post: as any journal's; `confirmed` are entries that an earlier one left behind.

    is_cold: payloads can't be had without waiting, as when the page cache has lost them.
    """

    def __init__(self, post: Post, confirmed: Sequence[Entry] = ()) -> None:
        self.confirmed = list(confirmed)
        self.appended: list[Entry] = []
        self.is_holding = False
        self.is_cold = False
        self._post = post
        self._in_flight: tuple[Entry, Confirm] | None = None
        self._last: tuple[Entry, Confirm] | None = None
        self._is_closed = False

    # --- what the test does ---

    @property
    def in_flight(self) -> Entry | None:
        """What was appended and neither confirmed nor failed."""
        return None if self._in_flight is None else self._in_flight[0]

    def hold(self) -> None:
        """From now on nothing becomes durable by itself."""
        self.is_holding = True

    def let_go(self) -> None:
        """Confirm what is in flight, and from now on everything that follows."""
        self.is_holding = False
        if self._in_flight is not None:
            self.confirm()

    def confirm(self, post: Post | None = None) -> Entry:
        """The entry in flight is durable. post: another way for this answer to come back."""
        entry, confirm = self._land()
        self.confirmed.append(entry)
        (post or self._post)(confirm, Written(entry.position, entry.payload, None))
        return entry

    def fail(self) -> Entry:
        """The write of the entry in flight failed."""
        entry, confirm = self._land()
        error = JournalError(JournalErrorKind.WRITE_FAILED, f"writing journal entry {entry.position} failed")
        self._post(confirm, Written(entry.position, entry.payload, error))
        return entry

    def claim_success(self, post: Post) -> None:
        """Say once more, and against the promise, that the last entry is durable."""
        assert self._last is not None
        entry, confirm = self._last
        post(confirm, Written(entry.position, entry.payload, None))

    def _land(self) -> tuple[Entry, Confirm]:
        assert self._in_flight is not None, "nothing is in flight"
        landed, self._in_flight = self._in_flight, None
        return landed

    # --- what the broker does ---

    @property
    def next_position(self) -> int:
        return self.confirmed[-1].position + 1 if self.confirmed else FIRST_POSITION

    @property
    def size_bytes(self) -> int:
        return sum(len(entry.events) + len(entry.payload) for entry in self.confirmed)

    @property
    def replayed_bytes(self) -> int:
        return self.size_bytes

    def replay(self) -> Iterator[ReplayedEntry]:
        for entry in self.confirmed:
            yield ReplayedEntry(entry.position, entry.wall_ms, entry.age_ms, entry.events, len(entry.payload))

    def append(self, entry: EntryToWrite, confirm: Confirm) -> None:
        assert not self._is_closed, "append to a closed journal"
        assert self._in_flight is None, "one append is in flight at a time"
        assert entry.position == self.next_position, "positions count up without gaps"
        kept = Entry(
            entry.position, entry.wall_ms, entry.age_ms, entry.events, b"".join(entry.payload), entry.seal
        )
        self.appended.append(kept)
        self._in_flight = self._last = (kept, confirm)
        if not self.is_holding:
            self.confirm()

    def read_payload(self, position: int, offset: int, size_bytes: int) -> bytes:
        for entry in self.confirmed:
            if entry.position == position:
                return entry.payload[offset : offset + size_bytes]
        raise JournalError(JournalErrorKind.READ_FAILED, f"journal entry {position} is not there")

    def read_payload_nowait(self, position: int, offset: int, size_bytes: int) -> bytes | None:
        return None if self.is_cold else self.read_payload(position, offset, size_bytes)

    def free_bytes(self) -> int:
        return 1 << 40

    def close(self) -> None:
        self._is_closed = True
