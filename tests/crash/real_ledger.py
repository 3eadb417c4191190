"""What clients were told, what audits found, and whether the two agree. Pure: no client, process or clock.

Three kinds of work:
- *plain*: an idempotent producer writes 0, 1, 2, ... to each partition, so a record's value is its offset;
- *transactions*: number n writes its records to each of ten partitions, and n + 1 as ten consumer offsets;
- *group*: members read the plain records and commit how far they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

PLAIN_PARTITIONS = 4
TRANSACTION_PARTITIONS = 10
TRANSACTION_OFFSETS = 10
SLOTS = 300
"""Consumer offsets that transactions take in turn, so that one which was lost can be seen for a while."""
UNKNOWN_OFFSET_MAX = -1
"""A client that hears that its batch was there already may not know where, and says so by such an offset."""


class Outcome(Enum):
    """What a producer was told about a transaction."""

    NOTHING = "nothing"
    COMMITTED = "committed"
    ABORTED = "aborted"


class Part(NamedTuple):
    """One record of a transaction: which one it is of how many that it has in this partition."""

    transaction: int
    place: int
    of: int

    def encode(self) -> bytes:
        return f"{self.transaction} {self.place} {self.of}".encode()

    @classmethod
    def decode(cls, value: bytes) -> Part:
        return cls(*map(int, value.split()))


@dataclass
class Told:
    """Written by the clients' threads, each its own fields; read by whoever checks."""

    sent: list[int] = field(default_factory=lambda: [0] * PLAIN_PARTITIONS)
    """By partition: how many plain records were handed to the producer."""
    acknowledged: list[int] = field(default_factory=lambda: [0] * PLAIN_PARTITIONS)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    seen: list[int] = field(default_factory=lambda: [0] * PLAIN_PARTITIONS)
    """By partition: the group has seen all records before this one."""
    group_committed: list[int] = field(default_factory=lambda: [0] * PLAIN_PARTITIONS)
    group_commits: int = 0
    violations: list[str] = field(default_factory=list)

    @property
    def in_flight(self) -> int:
        return sum(self.sent) - sum(self.acknowledged)

    def count(self, outcome: Outcome) -> int:
        return list(self.outcomes.values()).count(outcome)

    def acknowledge(self, partition: int, number: int, offset: int | None) -> None:
        """The producer was told that this record is stored. It is told so in order, per partition."""
        if number != self.acknowledged[partition]:
            self.violations.append(
                f"plain {partition}: {number} acknowledged instead of {self.acknowledged[partition]}"
            )
        if offset is not None and offset > UNKNOWN_OFFSET_MAX and offset != number:
            self.violations.append(f"plain {partition}: {number} acknowledged with offset {offset}")
        self.acknowledged[partition] = number + 1

    def see(self, partition: int, offset: int, value: int, expected: int | None) -> None:
        """A member of the group has read this record; expected: where it should have gone on, if it knows."""
        if value != offset:
            self.violations.append(f"group: plain {partition} has {value} at offset {offset}")
        if expected is not None and offset != expected:
            self.violations.append(f"group: plain {partition} went from {expected - 1} to {offset}")
        if offset > self.seen[partition]:
            self.violations.append(f"group: plain {partition} skipped {self.seen[partition]} to {offset - 1}")
        self.seen[partition] = max(self.seen[partition], offset + 1)

    def group_commit(self, partition: int, offset: int) -> None:
        self.group_committed[partition] = offset
        self.group_commits += 1


@dataclass
class Found:
    """What can be read, grown from audit to audit."""

    plain: list[list[int]] = field(default_factory=lambda: [[] for _ in range(PLAIN_PARTITIONS)])
    """By partition: the values, in the order of their offsets, which have no gaps here."""
    parts: list[list[Part]] = field(default_factory=lambda: [[] for _ in range(TRANSACTION_PARTITIONS)])
    """By partition: the committed records."""
    transaction_offsets: list[int] = field(default_factory=list)
    """By slot."""
    group_offsets: list[int] = field(default_factory=list)
    open_partitions: int = 0
    """How many partitions end in records of a transaction that is still open."""


def check(told: Told, found: Found) -> list[str]:
    """Everything in which they contradict each other, as sentences. Nobody writes meanwhile."""
    return [*_plain(told, found), *_transactions(told, found), *_group(told, found)]


def unacknowledged(told: Told, found: Found) -> int:
    """How many plain records are in the log without their producer having been told."""
    return sum(max(len(values) - acked, 0) for values, acked in zip(found.plain, told.acknowledged))


def _plain(told: Told, found: Found) -> Iterable[str]:
    for partition, values in enumerate(found.plain):
        yield from (
            f"plain {partition}: {value} at offset {offset}"
            for offset, value in enumerate(values)
            if value != offset
        )
        if len(values) < told.acknowledged[partition]:
            yield f"plain {partition}: ends at {len(values)}, told were {told.acknowledged[partition]}"
        if len(values) > told.sent[partition]:
            yield f"plain {partition}: ends at {len(values)}, sent were {told.sent[partition]}"


def _transactions(told: Told, found: Found) -> Iterable[str]:
    by_partition: list[list[int]] = []
    for partition, parts in enumerate(found.parts):
        numbers, problems = whole_transactions(parts)
        yield from (f"transactions {partition}: {problem}" for problem in problems)
        by_partition.append(numbers)
    there = by_partition[0]
    yield from (
        f"transactions {partition}: has other transactions than partition 0: "
        f"{sorted(set(numbers) ^ set(there))[:5]} or their order"
        for partition, numbers in enumerate(by_partition)
        if numbers != there
    )
    if there != sorted(set(there)):
        yield "transactions: not in order, or one is there twice"
    yield from _outcomes(told.outcomes, set(there))
    expected = {slot: number + 1 for number in there for slot in slots(number)}
    for slot, offset in enumerate(found.transaction_offsets):
        if max(offset, 0) != expected.get(slot, 0):
            yield f"transactions: offset {offset} in slot {slot} instead of {expected.get(slot, 0)}"


def slots(transaction: int) -> list[int]:
    """Where this transaction commits its number as consumer offsets."""
    return [(transaction * TRANSACTION_OFFSETS + each) % SLOTS for each in range(TRANSACTION_OFFSETS)]


def _outcomes(outcomes: Mapping[int, Outcome], there: set[int]) -> Iterable[str]:
    for number, outcome in outcomes.items():
        if outcome is Outcome.COMMITTED and number not in there:
            yield f"transaction {number} was committed and is not there"
        if outcome is Outcome.ABORTED and number in there:
            yield f"transaction {number} was aborted and is there"
    yield from (f"transaction {number} never began" for number in sorted(there - outcomes.keys()))


def whole_transactions(parts: Sequence[Part]) -> tuple[list[int], list[str]]:
    """The transactions in one partition, and those that are there in part."""
    numbers: list[int] = []
    problems: list[str] = []
    expected: Part | None = None
    for part in parts:
        if expected is None:
            expected = part._replace(place=0)
        if part != expected:
            problems.append(f"{part} instead of {expected}")
        if part.place == 0:
            numbers.append(part.transaction)
        expected = None if part.place + 1 >= part.of else part._replace(place=part.place + 1)
    if expected is not None:
        problems.append(f"ends before {expected}")
    return numbers, problems


def _group(told: Told, found: Found) -> Iterable[str]:
    for partition, offset in enumerate(found.group_offsets):
        committed, seen = told.group_committed[partition], told.seen[partition]
        if not committed <= max(offset, 0) <= seen:
            yield f"group: plain {partition} is at {offset}, committed was {committed}, seen {seen}"
