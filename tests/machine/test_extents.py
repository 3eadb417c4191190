"""Extents: packed places of batches, found by offset."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oncelog.machine.extents import CHUNK_EXTENTS, Extent, Extents


def filled(count: int, batch_offsets: int = 3) -> Extents:
    """That many extents, each of so many offsets and in an entry of its own."""
    extents = Extents()
    for number in range(count):
        base = number * batch_offsets
        extents.append(base, base + batch_offsets - 1, 1000 + number, number, 0, 100, True)
    return extents


def test_an_extent_is_given_back_as_it_was_appended():
    extents = Extents()
    extents.append(5, 9, -1, 2**60, 2**31 - 1, 2**31 - 1, False)
    assert extents.extent(0) == Extent(5, 9, -1, 2**60, 2**31 - 1, 2**31 - 1, False)
    assert len(extents) == 1


def test_adjacent_batches_of_one_entry_are_one_extent():
    extents = Extents()
    extents.append(0, 4, 50, 7, 0, 100, True)
    extents.append(5, 5, 40, 7, 100, 70, True)
    assert len(extents) == 1
    assert extents.extent(0) == Extent(0, 5, 50, 7, 0, 170, True)


@pytest.mark.parametrize(
    ("position", "payload_offset", "stamped"),
    [(8, 100, True), (7, 101, True), (7, 100, False)],
    ids=["another entry", "not adjacent", "unstamped"],
)
def test_other_batches_stay_apart(position, payload_offset, stamped):
    extents = Extents()
    extents.append(0, 4, 50, 7, 0, 100, True)
    extents.append(5, 5, 60, position, payload_offset, 78, stamped)
    assert len(extents) == 2
    assert extents.extent(1) == Extent(5, 5, 60, position, payload_offset, 78, stamped)


def test_nothing_is_merged_into_an_unstamped_batch():
    extents = Extents()
    extents.append(0, 0, 50, 7, 0, 78, False)
    extents.append(1, 1, 50, 7, 78, 100, True)
    assert len(extents) == 2


def test_a_merged_extent_keeps_the_larger_timestamp():
    extents = Extents()
    extents.append(0, 0, 50, 7, 0, 10, True)
    extents.append(1, 1, 60, 7, 10, 10, True)
    extents.append(2, 2, 55, 7, 20, 10, True)
    assert extents.extent(0).max_timestamp == 60


@pytest.mark.parametrize(
    "count", [0, 1, 2, CHUNK_EXTENTS - 1, CHUNK_EXTENTS, CHUNK_EXTENTS + 1, 3 * CHUNK_EXTENTS]
)
def test_every_offset_is_found_over_chunk_borders(count):
    extents = filled(count)
    for number in {0, 1, CHUNK_EXTENTS - 1, CHUNK_EXTENTS, CHUNK_EXTENTS + 1, count - 1}:
        if 0 <= number < count:
            assert [extents.find(number * 3 + k) for k in range(3)] == [number] * 3
    assert extents.find(count * 3) == len(extents) == count


def test_whole_chunks_are_dropped_and_the_rest_is_still_found():
    extents = filled(3 * CHUNK_EXTENTS + 5)
    assert extents.drop_before(2 * CHUNK_EXTENTS) == 2 * CHUNK_EXTENTS
    first = extents.extent(0)
    assert first.base_offset == 2 * CHUNK_EXTENTS * 3
    assert extents.find(first.base_offset + 4) == 1
    assert extents.find(0) == 0
    assert extents.drop_before(2**60) == CHUNK_EXTENTS, "the chunk that is being filled stays"
    assert len(extents) == 5


def test_extents_survive_packing():
    extents = filled(CHUNK_EXTENTS + 7)
    again = Extents.from_packed(extents.packed())
    assert [again.extent(i) for i in range(len(again))] == [extents.extent(i) for i in range(len(extents))]
    again.append(10**9, 10**9, 0, 10**9, 0, 1, True)
    assert len(again) == len(extents) + 1


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(0, 3), st.integers(1, 50), st.booleans()),
        min_size=1,
        max_size=60,
    )
)
def test_extents_tell_where_every_batch_lies(batches):
    """Against a plain list: whatever was merged, each batch is found at its own bytes."""
    extents, position, payload_offset, offset, plain = Extents(), 0, 0, 0, []
    for count, step, size, stamped in batches:
        if step:
            position, payload_offset = position + step, 0
        extents.append(offset, offset + count - 1, offset, position, payload_offset, size, stamped)
        plain.append((offset, offset + count - 1, position, payload_offset, size))
        offset, payload_offset = offset + count, payload_offset + size
    for base, last, position, payload_offset, size in plain:
        found = extents.extent(extents.find(base))
        assert extents.find(last) == extents.find(base)
        assert found.position == position
        assert found.base_offset <= base <= last <= found.last_offset
        assert found.payload_offset <= payload_offset
        assert payload_offset + size <= found.payload_offset + found.size
    assert sum(extents.extent(i).size for i in range(len(extents))) == sum(size for *_, size in plain)


def test_the_first_extent_that_reaches_a_timestamp_is_found():
    extents = Extents()
    for number, timestamp in enumerate([10, 30, 20, 40]):
        extents.append(number, number, timestamp, number, 0, 1, True)
    assert [extents.first_reaching(t) for t in (5, 10, 11, 30, 31, 41)] == [0, 0, 1, 1, 3, 4]
    assert extents.newest_timestamp() == 40
    assert Extents().newest_timestamp() == -1


def test_the_size_is_that_of_all_extents_that_are_kept():
    extents = filled(3 * CHUNK_EXTENTS)
    end = 9 * CHUNK_EXTENTS
    extents.append(end, end, 0, 2**40, 0, 70, True)
    extents.append(end + 1, end + 1, 0, 2**40, 70, 30, True)
    assert extents.size_bytes == 300 * CHUNK_EXTENTS + 100
    extents.drop_before(CHUNK_EXTENTS)
    assert extents.size_bytes == 200 * CHUNK_EXTENTS + 100
    assert Extents.from_packed(extents.packed()).size_bytes == extents.size_bytes
