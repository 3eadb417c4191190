"""The producer window: sequences, epochs, duplicates, markers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oncelog.machine import producer_window as pw
from oncelog.machine.producer_window import Placing, RememberedBatch, Window

MAX = 2**31 - 1


def stored(*batches: tuple[int, int], epoch: int = 0) -> bytes:
    """A window after batches of (base sequence, record count), each at base offset 1000 + its number."""
    window = None
    for number, (base, count) in enumerate(batches):
        window = pw.appended(window, epoch, base, count - 1, 1000 + number, 5000 + number, 100 + number)
    assert window is not None
    return window


def place(
    window: bytes | None, base: int, count: int = 1, *, epoch: int = 0, starts_at_zero: bool = False
) -> Placing:
    last = pw.sequence_after(base, count - 1)
    return pw.place(window, epoch, base, last, starts_at_zero=starts_at_zero)


def test_a_window_unpacks_to_what_was_stored():
    assert pw.unpack(stored((0, 3), (3, 2))) == Window(
        epoch=0,
        last_sequence=4,
        run=5,
        age_ms=101,
        last_timestamp=5001,
        batches=(RememberedBatch(0, 2, 1000, 5000), RememberedBatch(3, 4, 1001, 5001)),
    )


def test_a_window_with_five_batches_is_small():
    assert len(stored(*[(n, 1) for n in range(9)])) == 26 + 5 * 24


def test_an_unknown_producer_may_start_anywhere():
    assert place(None, 0) is Placing.NEXT
    assert place(None, 77) is Placing.NEXT


def test_an_unknown_producer_of_a_second_generation_transaction_must_start_at_zero():
    assert place(None, 77, starts_at_zero=True) is Placing.OUT_OF_ORDER
    assert place(None, 0, starts_at_zero=True) is Placing.NEXT


def test_the_next_sequence_is_next_and_a_gap_is_not():
    window = stored((0, 3))
    assert place(window, 3) is Placing.NEXT
    assert place(window, 4) is Placing.OUT_OF_ORDER


def test_each_of_the_last_five_batches_is_a_duplicate_with_its_own_offset():
    window = stored(*[(n * 2, 2) for n in range(7)])
    for number in range(2, 7):
        assert place(window, number * 2, 2) is Placing.DUPLICATE
        assert pw.duplicate_of(window, number * 2, number * 2 + 1).base_offset == 1000 + number


def test_older_batches_of_the_run_are_older_duplicates():
    window = stored(*[(n * 2, 2) for n in range(7)])
    assert place(window, 2, 2) is Placing.OLDER_DUPLICATE
    assert place(window, 0, 2) is Placing.OLDER_DUPLICATE


def test_what_came_before_the_run_was_never_stored_here():
    window = stored(*[(100 + n, 1) for n in range(7)])
    assert place(window, 100) is Placing.OLDER_DUPLICATE
    assert place(window, 99) is Placing.OUT_OF_ORDER
    assert place(window, 98, 3) is Placing.OUT_OF_ORDER


def test_a_batch_that_overlaps_a_remembered_one_without_being_it_is_out_of_order():
    window = stored(*[(n * 4, 4) for n in range(7)])
    assert place(window, 24, 3) is Placing.OUT_OF_ORDER
    assert place(window, 25, 3) is Placing.OUT_OF_ORDER
    assert place(window, 26, 4) is Placing.OUT_OF_ORDER
    assert place(window, 6, 4) is Placing.OUT_OF_ORDER, "reaches into the oldest remembered batch"


def test_a_newer_epoch_starts_at_zero_and_forgets_the_batches():
    window = stored((0, 3))
    assert place(window, 3, epoch=1) is Placing.OUT_OF_ORDER
    assert place(window, 0, epoch=1) is Placing.NEXT
    newer = pw.appended(window, 1, 0, 1, 9, 9, 9)
    assert pw.unpack(newer).batches == (RememberedBatch(0, 1, 9, 9),)
    assert pw.unpack(newer).run == 2
    assert place(newer, 0, 3, epoch=1) is Placing.OUT_OF_ORDER, "the older epoch's batch is forgotten"


def test_an_older_epoch_is_old_even_for_a_duplicate():
    window = stored((0, 3), epoch=4)
    assert place(window, 0, 3, epoch=3) is Placing.OLD_EPOCH


def test_sequences_wrap_to_zero():
    window = stored((MAX, 1))
    assert place(window, 0) is Placing.NEXT
    assert place(window, 1) is Placing.OUT_OF_ORDER


def test_a_batch_may_span_the_wrap_and_its_duplicate_is_known():
    window = stored((MAX - 10, 20))
    assert pw.unpack(window).last_sequence == 8
    assert place(window, 9) is Placing.NEXT
    assert place(window, MAX - 10, 20) is Placing.DUPLICATE


def test_older_duplicates_are_known_across_the_wrap():
    window = stored(*[(pw.sequence_after(MAX - 3, n), 1) for n in range(9)])
    assert place(window, MAX - 3) is Placing.OLDER_DUPLICATE
    assert place(window, MAX - 3, 2) is Placing.OLDER_DUPLICATE
    assert place(window, MAX - 4) is Placing.OUT_OF_ORDER


def test_a_run_of_half_the_circle_still_tells_ahead_from_behind():
    window = None
    for base in (0, 2**30, 2**31 - 5, *range(2**31 - 4, 2**31)):
        count = {0: 2**30, 2**30: 2**30 - 5}.get(base, 1)
        window = pw.appended(window, 0, base, count - 1, 0, 0, 0)
    assert pw.unpack(window).run == pw.RUN_MAX
    assert place(window, 0) is Placing.NEXT
    assert place(window, 1) is Placing.OUT_OF_ORDER


def test_a_marker_of_the_same_epoch_leaves_the_sequence():
    window = pw.marked(stored((0, 3)), 0, 777, 888)
    assert place(window, 3) is Placing.NEXT
    assert place(window, 0, 3) is Placing.DUPLICATE
    assert (pw.unpack(window).last_timestamp, pw.age_ms_of(window)) == (777, 888)


def test_a_marker_of_a_newer_epoch_fences_and_the_next_batch_starts_at_zero():
    window = pw.marked(stored((0, 3)), 1, 777, 888)
    assert pw.epoch_of(window) == 1
    assert place(window, 3) is Placing.OLD_EPOCH
    assert place(window, 3, epoch=1) is Placing.OUT_OF_ORDER
    assert place(window, 0, epoch=1) is Placing.NEXT
    assert place(window, 3, epoch=2) is Placing.OUT_OF_ORDER
    assert place(window, 0, epoch=2) is Placing.NEXT


def test_a_marker_for_an_unknown_producer_fences_older_epochs():
    window = pw.marked(None, 5, 777, 888)
    assert place(window, 0, epoch=4) is Placing.OLD_EPOCH
    assert place(window, 0, epoch=5) is Placing.NEXT
    assert place(window, 1, epoch=5) is Placing.OUT_OF_ORDER


def test_an_epoch_never_goes_back():
    with pytest.raises(AssertionError):
        pw.appended(stored((0, 1), epoch=3), 2, 0, 0, 0, 0, 0)
    with pytest.raises(AssertionError):
        pw.marked(stored((0, 1), epoch=3), 2, 0, 0)


@given(
    start=st.one_of(st.integers(0, 5), st.integers(MAX - 12, MAX)),
    counts=st.lists(st.integers(1, 4), min_size=1, max_size=12),
    probe=st.integers(-20, 60),
    probe_count=st.integers(1, 5),
)
def test_placing_agrees_with_a_plain_list_of_batches(start, counts, probe, probe_count):
    """Against absolute sequences in a list: what is the next, a remembered, an older or an unknown batch."""
    window, batches, absolute = None, [], start
    for number, count in enumerate(counts):
        window = pw.appended(window, 0, absolute & MAX, count - 1, number, 0, 0)
        batches.append((absolute, absolute + count - 1))
        absolute += count
    first, last = start + probe, start + probe + probe_count - 1
    if first == absolute:
        expected = Placing.NEXT
    elif (first, last) in batches[-5:]:
        expected = Placing.DUPLICATE
    elif first >= start and last < batches[-5:][0][0]:
        expected = Placing.OLDER_DUPLICATE
    else:
        expected = Placing.OUT_OF_ORDER
    assert pw.place(window, 0, first & MAX, last & MAX) is expected
