"""The producer window: what a partition remembers of one producer, packed into one immutable `bytes`.

Named functions over the layout; no other module knows a byte of it. A producer id that the partition doesn't
remember has no window (None). It must not know transactional ids, topics or the log.

Sequences are numbers modulo 2**31 (KIP-98): after 2147483647 comes 0, also within a batch.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import NamedTuple

SEQUENCES = 1 << 31
BATCHES_MAX = 5
"""Batches remembered per producer (Kafka's NUM_BATCHES_TO_RETAIN: what a client may have in flight)."""

RUN_MAX = 1 << 30
"""Where counting a run stops: half the circle, so that "behind" and "ahead" stay two different things."""

# epoch, last sequence (-1: no batch in this epoch), run, age_ms of the last change, last timestamp; then,
# oldest first, each remembered batch: base sequence, last sequence, base offset, timestamp.
_HEADER = Struct(">hiIqq")
_BATCH = Struct(">iiqq")
_HEADER_SIZE = _HEADER.size
_FULL_SIZE = _HEADER_SIZE + BATCHES_MAX * _BATCH.size
_SECOND_BATCH = _HEADER_SIZE + _BATCH.size
_SEQUENCE_MASK = SEQUENCES - 1

_read_header = _HEADER.unpack_from
_write_header = _HEADER.pack
_write_batch = _BATCH.pack
_read_epoch_and_sequence = Struct(">hi").unpack_from
_iterate_batches = _BATCH.iter_unpack
_read_epoch_sequence_and_run = Struct(">hiI").unpack_from


class Placing(IntEnum):
    """Where a batch stands in its producer's order of sequences."""

    NEXT = 0
    OLD_EPOCH = 1
    DUPLICATE = 2
    OLDER_DUPLICATE = 3
    OUT_OF_ORDER = 4


NEXT, OLD_EPOCH, DUPLICATE, OLDER_DUPLICATE, OUT_OF_ORDER = Placing


class RememberedBatch(NamedTuple):
    base_sequence: int
    last_sequence: int
    base_offset: int
    timestamp: int


class Window(NamedTuple):
    """A window unpacked, for those who look at it: DescribeProducers, tests, people.

    run: sequences stored without a gap since the producer's first batch of this epoch here.
    """

    epoch: int
    last_sequence: int
    run: int
    age_ms: int
    last_timestamp: int
    batches: tuple[RememberedBatch, ...]


def sequence_after(sequence: int, count: int) -> int:
    """The sequence that lies so many after this one."""
    return (sequence + count) & _SEQUENCE_MASK


def is_after(sequence: int, other: int) -> bool:
    """Whether the sequence comes later than the other, as far as numbers on a circle tell."""
    return 0 < (sequence - other) & _SEQUENCE_MASK <= RUN_MAX


def is_next(window: bytes, epoch: int, base_sequence: int) -> bool:
    """Whether the batch goes on in the epoch; the short way to most of what `place` finds to be NEXT.

    Not for sequence 0, which may also be the first: `place` knows.
    """
    return _read_epoch_and_sequence(window) == (epoch, base_sequence - 1)


def place(
    window: bytes | None, epoch: int, base_sequence: int, last_sequence: int, *, starts_at_zero: bool = False
) -> Placing:
    """Place a batch in a producer's sequence order.

    starts_at_zero: a producer without batches here must begin at sequence 0 (KIP-890: its epoch is of this
        transaction alone). Without it, a producer that isn't remembered may begin anywhere.
    Source: KIP-98; Kafka's ProducerAppendInfo.checkSequence, but for older duplicates, which Kafka takes for
    gaps, so that a client stores them again under a new epoch.
    """
    if window is None:
        return OUT_OF_ORDER if starts_at_zero and base_sequence else NEXT
    stored_epoch, stored_sequence = _read_epoch_and_sequence(window)
    if epoch == stored_epoch:
        if base_sequence == (stored_sequence + 1) & _SEQUENCE_MASK:
            return NEXT
        return _place_behind(window, stored_sequence, base_sequence, last_sequence)
    if epoch < stored_epoch:
        return OLD_EPOCH
    return OUT_OF_ORDER if base_sequence else NEXT


def _place_behind(window: bytes, stored_sequence: int, base_sequence: int, last_sequence: int) -> Placing:
    if len(window) == _HEADER_SIZE:
        return OUT_OF_ORDER
    for base, last, _, _ in _iterate_batches(window[_HEADER_SIZE:]):
        if base == base_sequence and last == last_sequence:
            return DUPLICATE
    # An older batch was stored whole: it began within the run and ended before the oldest remembered batch.
    # One that overlaps a remembered batch without being it was never sent like this.
    _, _, run = _read_epoch_sequence_and_run(window)
    oldest_base: int = _BATCH.unpack_from(window, _HEADER_SIZE)[0]
    remembered = (stored_sequence - oldest_base) & _SEQUENCE_MASK
    from_base = (stored_sequence - base_sequence) & _SEQUENCE_MASK
    from_last = (stored_sequence - last_sequence) & _SEQUENCE_MASK
    if remembered < from_last <= from_base < run:
        return OLDER_DUPLICATE
    return OUT_OF_ORDER


def duplicate_of(window: bytes, base_sequence: int, last_sequence: int) -> RememberedBatch:
    """The remembered batch that `place` found to be the same."""
    for batch in _iterate_batches(window[_HEADER_SIZE:]):
        if batch[0] == base_sequence and batch[1] == last_sequence:
            return RememberedBatch(*batch)
    raise AssertionError("no such batch is remembered")


def appended(
    window: bytes | None,
    epoch: int,
    base_sequence: int,
    last_offset_delta: int,
    base_offset: int,
    timestamp: int,
    age_ms: int,
) -> bytes:
    """The window after a batch that was placed NEXT."""
    last_sequence = (base_sequence + last_offset_delta) & _SEQUENCE_MASK
    batch = _write_batch(base_sequence, last_sequence, base_offset, timestamp)
    run = min(last_offset_delta + 1, RUN_MAX)
    if window is not None:
        stored_epoch, _, stored_run = _read_epoch_sequence_and_run(window)
        if stored_epoch == epoch:
            run += stored_run
            if run > RUN_MAX:
                run = RUN_MAX
            header = _write_header(epoch, last_sequence, run, age_ms, timestamp)
            first_kept = _SECOND_BATCH if len(window) == _FULL_SIZE else _HEADER_SIZE
            return header + window[first_kept:] + batch
        assert epoch > stored_epoch, "a producer's epoch never goes back"
    return _write_header(epoch, last_sequence, run, age_ms, timestamp) + batch


def marked(window: bytes | None, epoch: int, timestamp: int, age_ms: int) -> bytes:
    """The window after a transaction's marker.

    A marker of the same epoch (EndTxn up to version 4) leaves the batches, and the sequence goes on; one of a
    newer epoch fences the older ones, also where the producer was not remembered, and the next batch begins
    at 0.
    """
    if window is not None:
        stored_epoch, last_sequence, run, _, _ = _read_header(window)
        if stored_epoch == epoch:
            return _write_header(epoch, last_sequence, run, age_ms, timestamp) + window[_HEADER_SIZE:]
        assert epoch > stored_epoch, "a producer's epoch never goes back"
    return _write_header(epoch, -1, 0, age_ms, timestamp)


def epoch_of(window: bytes) -> int:
    return int(_read_epoch_and_sequence(window)[0])


def age_ms_of(window: bytes) -> int:
    """The age at which the producer was last heard of here; expiry counts from it."""
    return int(_read_header(window)[3])


def unpack(window: bytes) -> Window:
    epoch, last_sequence, run, age_ms, last_timestamp = _read_header(window)
    batches = tuple(RememberedBatch(*batch) for batch in _iterate_batches(window[_HEADER_SIZE:]))
    return Window(epoch, last_sequence, run, age_ms, last_timestamp, batches)
