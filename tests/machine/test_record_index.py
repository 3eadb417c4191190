"""The index of an internal partition's records, against a dict of offsets to keys."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oncelog.machine.record_index import CHUNK_ENTRIES_LOW, CHUNK_ENTRIES_MAX, RecordIndex

Key = tuple[str, tuple[bytes, int] | None]


class Indexed:
    """An index beside a dict of the same records; each key's newest record is its only one."""

    def __init__(self) -> None:
        self.index = RecordIndex()
        self.records: dict[int, Key] = {}
        self.end = 0

    def add(self, count: int, *, with_place: bool) -> None:
        for _ in range(count):
            place = (b"topic", self.end) if with_place else None
            self.index.append(self.end, "owner", place)
            self.records[self.end] = ("owner", place)
            self.end += 1

    def move(self, number: int) -> None:
        offset = sorted(self.records)[number % len(self.records)]
        self.index.move(offset, self.end)
        self.records[self.end] = self.records.pop(offset)
        self.end += 1

    def take(self, first: int, count: int) -> None:
        for offset in sorted(self.records)[first : first + count]:
            assert self.index.take(offset) == self.records.pop(offset)

    def check(self) -> None:
        expected = [(offset, *self.records[offset]) for offset in sorted(self.records)]
        assert list(self.index.entries()) == expected
        assert self.index.count == len(expected)
        for offset in (0, 1, self.end // 3, self.end // 2, self.end - 1, self.end):
            rest = [entry for entry in expected if entry[0] >= offset]
            assert list(self.index.entries(offset)) == rest
            assert self.index.first_offset(offset) == (rest[0][0] if rest else None)
        sizes = [len(chunk.offsets) for chunk in self.index._chunks]
        assert all(0 < size <= CHUNK_ENTRIES_MAX for size in sizes)
        for one, other in pairwise(sizes):
            assert min(one, other) > CHUNK_ENTRIES_LOW or one + other > CHUNK_ENTRIES_MAX, (
                "bounded by the keys"
            )


STEPS = st.one_of(
    st.tuples(st.just("add"), st.integers(1, CHUNK_ENTRIES_MAX), st.booleans()),
    st.tuples(st.just("move"), st.integers(0, 5000), st.integers(1, 60)),
    st.tuples(st.just("take"), st.integers(0, 2000), st.integers(1, CHUNK_ENTRIES_MAX)),
)


@settings(
    derandomize=True, max_examples=50, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
@given(st.lists(STEPS, max_size=25))
def test_it_holds_the_newest_record_of_each_key(steps: list[tuple[str, int, int]]) -> None:
    indexed = Indexed()
    for what, number, more in steps:
        if what == "add":
            indexed.add(number, with_place=bool(more))
        elif what == "take":
            indexed.take(number, more)
        elif indexed.records:
            for step in range(more):
                indexed.move(number + 7 * step)
    indexed.check()


def test_changes_without_end_leave_as_many_entries_as_keys() -> None:
    """Ten thousand keys, each changed again and again in an order of its own."""
    indexed = Indexed()
    indexed.add(10_000, with_place=True)
    for number in range(0, 300_000, 7):
        offset = indexed.index.first_offset((number * 31) % indexed.end)
        assert offset is not None
        indexed.index.move(offset, indexed.end)
        indexed.records[indexed.end] = indexed.records.pop(offset)
        indexed.end += 1
    indexed.check()
    assert len(indexed.index._chunks) <= 4 * 10_000 // CHUNK_ENTRIES_MAX
