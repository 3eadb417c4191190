"""What the simulated clients were told, and whether what the broker shows afterwards agrees with it.

Pure bookkeeping over answers; it must not know the broker, the disk or time. A disagreement raises Violation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any, NamedTuple

from oncelog.wire.records import iterate_batches, iterate_records

Place = tuple[str, int]
"""A topic's name and a partition's index."""


class Violation(AssertionError):
    """The broker broke its word; the message says how."""


class Outcome(Enum):
    """What a transaction's producer knows of it."""

    OPEN = "open"
    COMMITTING = "committing"
    ABORTING = "aborting"
    COMMITTED = "committed"
    ABORTED = "aborted"
    UNKNOWN = "unknown"
    """Its producer ended before it heard the answer to its commit."""


MAY_BE_VISIBLE = frozenset({Outcome.COMMITTING, Outcome.COMMITTED, Outcome.UNKNOWN})


class Batch(NamedTuple):
    """What counts of a fetched batch. control: "commit" or "abort" for a marker, else empty."""

    base_offset: int
    last_offset: int
    producer_id: int
    is_transactional: bool
    control: str
    values: tuple[bytes, ...]


def decode_batches(buffer: bytes | memoryview) -> list[Batch]:
    found = []
    for header, batch in iterate_batches(buffer):
        records = list(iterate_records(batch))
        control = ""
        if header.is_control:
            key = records[0].key or b""
            control = "commit" if key[3] else "abort"
        found.append(
            Batch(
                header.base_offset,
                header.base_offset + header.last_offset_delta,
                header.producer_id,
                header.is_transactional,
                control,
                tuple(record.value or b"" for record in records),
            )
        )
    return found


def visible_records(batches: Sequence[Batch], aborted: Sequence[Any] | None) -> Iterator[tuple[int, bytes]]:
    """Offset and value of what a read_committed consumer hands on, as consumers find it out."""
    waiting = sorted(aborted or (), key=lambda each: each.first_offset)
    hidden: set[int] = set()
    at = 0
    for batch in batches:
        while at < len(waiting) and waiting[at].first_offset <= batch.last_offset:
            hidden.add(waiting[at].producer_id)
            at += 1
        if batch.control:
            if batch.control == "abort":
                hidden.discard(batch.producer_id)
        elif not (batch.is_transactional and batch.producer_id in hidden):
            for place, value in enumerate(batch.values):
                yield batch.base_offset + place, value


class Ledger:
    """All that was told to any client of one world."""

    def __init__(self) -> None:
        self.transactional_ids: list[str] = []
        self.outcomes: dict[str, dict[int, Outcome]] = {}
        self.acknowledged_offsets: dict[Place, dict[bytes, int | None]] = {}
        self.shown: dict[Place, dict[int, bytes]] = {}
        self.high_watermarks: dict[Place, int] = {}
        self.last_stable_offsets: dict[Place, int] = {}
        self.group_offsets: dict[str, int] = {}
        self.counts: Counter[str] = Counter()

    # --- producers ---

    def acknowledged(self, place: Place, value: bytes, offset: int | None) -> None:
        """offset: None where the broker only said that it has the record already."""
        self.counts["records acknowledged"] += 1
        self.acknowledged_offsets.setdefault(place, {})[value] = offset
        if offset is not None:
            self._show(place, offset, value)

    def began(self, name: str, number: int) -> None:
        self.outcomes[name][number] = Outcome.OPEN

    def is_ending(self, name: str, number: int, commits: bool) -> None:
        self.outcomes[name][number] = Outcome.COMMITTING if commits else Outcome.ABORTING

    def ended(self, name: str, number: int, commits: bool) -> None:
        self.counts["transactions committed" if commits else "transactions aborted"] += 1
        self.outcomes[name][number] = Outcome.COMMITTED if commits else Outcome.ABORTED

    def fenced(self, name: str) -> None:
        """A new producer has taken over the transactional id: what was open is aborted."""
        for number, outcome in self.outcomes[name].items():
            if outcome is Outcome.COMMITTING:
                self.counts["transactions of unknown outcome"] += 1
                self.outcomes[name][number] = Outcome.UNKNOWN
            elif outcome in (Outcome.OPEN, Outcome.ABORTING):
                self.counts["transactions fenced or timed out"] += 1
                self.outcomes[name][number] = Outcome.ABORTED

    # --- consumers ---

    def _show(self, place: Place, offset: int, value: bytes) -> None:
        before = self.shown.setdefault(place, {}).setdefault(offset, value)
        if before != value:
            raise Violation(f"{place} showed {before!r} at offset {offset}, and now {value!r}")

    def watermarks_shown(self, place: Place, high: int, stable: int, start: int) -> None:
        """Law 7: none of them ever goes back."""
        self.must_reach(place, high, stable)
        if start != 0 or stable > high:
            raise Violation(f"{place} showed log start {start}, last stable {stable}, high watermark {high}")
        self.high_watermarks[place] = high
        self.last_stable_offsets[place] = stable

    def must_reach(self, place: Place, high: int, stable: int) -> None:
        before = self.high_watermarks.get(place, 0), self.last_stable_offsets.get(place, 0)
        if high < before[0] or stable < before[1]:
            raise Violation(
                f"{place} showed high watermark {before[0]} and last stable offset {before[1]}, "
                f"and now {high} and {stable}"
            )

    def read_committed_shown(self, place: Place, part: Any, position: int) -> int:
        """Records of one partition of a Fetch; returns where to go on."""
        batches = decode_batches(part.records or b"")
        for offset, value in visible_records(batches, part.aborted_transactions):
            if offset >= position:
                self.counts["records consumed"] += 1
                self._show(place, offset, value)
                self.may_show(place, value)
        return batches[-1].last_offset + 1 if batches else position

    def may_show(self, place: Place, value: bytes) -> None:
        """A record of a transaction is shown to read_committed only once its commit was asked for."""
        name, number = split(value)
        if name in self.outcomes and self.outcomes[name][number] not in MAY_BE_VISIBLE:
            outcome = self.outcomes[name][number].value
            raise Violation(f"{place} shows a record of {name}'s transaction {number}, which is {outcome}")

    def offset_shown(self, group: str, offset: int) -> None:
        """A group's committed offset is that of a committed transaction, and never goes back."""
        if offset < self.group_offsets.get(group, -1):
            raise Violation(f"{group} showed offset {self.group_offsets[group]}, and now {offset}")
        self.group_offsets[group] = offset
        name = group.removeprefix("group-")
        if offset > 0 and self.outcomes[name][offset - 1] not in MAY_BE_VISIBLE:
            outcome = self.outcomes[name][offset - 1].value
            raise Violation(f"{group} shows the offset of transaction {offset - 1}, which is {outcome}")


def split(value: bytes) -> tuple[str, int]:
    """The producer and the number that a record's value names."""
    name, _, number = value.decode().rpartition(":")
    return name, int(number)
