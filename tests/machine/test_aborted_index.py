"""The aborted index: which aborted transactions overlap a range of offsets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oncelog.machine.aborted_index import AbortedIndex, AbortedTransaction


def test_an_entry_is_given_back_as_it_was_appended():
    index = AbortedIndex()
    index.append(7, 3, 10, 11)
    assert len(index) == 1
    assert index.entry(0) == AbortedTransaction(7, 3, 10, 11)


def test_overlapping_is_what_begins_before_the_end_and_ends_at_or_after_the_start():
    index = AbortedIndex()
    index.append(7, 3, 10, 11)
    assert index.overlapping(0, 3) == []
    assert index.overlapping(0, 4) == [(7, 3)]
    assert index.overlapping(10, 20) == [(7, 3)], "a fetch that starts at the marker"
    assert index.overlapping(11, 20) == []


def test_a_marker_above_the_range_counts():
    index = AbortedIndex()
    index.append(7, 3, 1000, 1001)
    assert index.overlapping(4, 5) == [(7, 3)]


def test_the_walk_stops_where_nothing_later_can_overlap():
    index = AbortedIndex()
    index.append(1, 0, 10, 11)
    index.append(2, 11, 20, 21)
    index.append(3, 21, 30, 31)
    assert index.overlapping(0, 11) == [(1, 0)]
    assert index.overlapping(0, 12) == [(1, 0), (2, 11)]


def test_a_long_transaction_that_ends_late_is_found_behind_short_ones():
    """The last stable offset of the short ones stays at the long one's beginning, so the walk goes on."""
    index = AbortedIndex()
    index.append(2, 5, 6, 1)
    index.append(3, 7, 8, 1)
    index.append(1, 1, 9, 10)
    assert index.overlapping(2, 3) == [(1, 1)]
    assert index.overlapping(0, 100) == [(2, 5), (3, 7), (1, 1)]


def test_what_lies_below_an_offset_is_dropped():
    index = AbortedIndex()
    index.append(1, 0, 10, 11)
    index.append(2, 11, 20, 21)
    index.drop_before(11)
    assert [index.entry(i).producer_id for i in range(len(index))] == [2]
    again = AbortedIndex.from_packed(index.packed())
    assert again.overlapping(0, 100) == [(2, 11)]


@given(
    st.lists(st.tuples(st.sampled_from("bbae"), st.integers(0, 3)), max_size=60),
    st.integers(0, 60),
    st.integers(1, 60),
)
def test_overlapping_agrees_with_looking_at_every_transaction(steps, start, length):
    """Random logs of transactions: b appends a record, a aborts, e commits; each takes one offset."""
    index, open_since, aborted = AbortedIndex(), {}, []
    for offset, (step, producer_id) in enumerate(steps):
        if step == "b":
            open_since.setdefault(producer_id, offset)
        else:
            first = open_since.pop(producer_id, None)
            if first is not None and step == "a":
                aborted.append((producer_id, first, offset))
                index.append(producer_id, first, offset, min(open_since.values(), default=offset + 1))
    end = start + length
    assert index.overlapping(start, end) == [
        (producer_id, first) for producer_id, first, marker in aborted if first < end and marker >= start
    ]
