"""Level 0: what is hot comes from memory, what is cold from the journal, and what is damaged from nowhere."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oncelog.disk.faulty import FaultyDisk
from oncelog.disk.workers import InlineWorker
from oncelog.journal import JournalError, JournalErrorKind
from oncelog.machine.extents import Extent
from oncelog.store.level0 import PayloadCache, Reader, damage_in
from oncelog.wire.records import build_batch, control_batch, stamp
from tests.journal.harness import FIRST_FILE, opened


def stored_batch(base_offset: int, *values: bytes, timestamp: int = 1000) -> bytes:
    """A batch as the engine lays it into an entry."""
    return b"".join(stamp(build_batch([(timestamp, None, value) for value in values]), base_offset, 0))


def extent_of(batches: Sequence[bytes], base_offset: int, last_offset: int, **place: Any) -> Extent:
    values = {"position": 1, "payload_offset": 0, "stamped": True} | place
    return Extent(
        base_offset,
        last_offset,
        1000,
        values["position"],
        values["payload_offset"],
        sum(map(len, batches)),
        values["stamped"],
    )


class Payloads:
    """A journal's payloads with a page cache that is told what it holds."""

    def __init__(self, payloads: dict[int, bytes], hot: bool) -> None:
        self.payloads = payloads
        self.is_hot = hot
        self.reads: list[str] = []
        self.error: Exception | None = None

    def read_payload(self, position: int, offset: int, size_bytes: int) -> bytes:
        self.reads.append("waiting")
        if self.error is not None:
            raise self.error
        return self.payloads[position][offset : offset + size_bytes]

    def read_payload_nowait(self, position: int, offset: int, size_bytes: int) -> bytes | None:
        self.reads.append("nowait")
        if self.error is not None:
            raise self.error
        return self.payloads[position][offset : offset + size_bytes] if self.is_hot else None


class HeldWorker(InlineWorker):
    """Jobs wait until the test runs them, as they do for a thread."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], object]] = []

    def submit(self, job: Callable[[], object]) -> None:
        self.jobs.append(job)

    def run(self) -> None:
        jobs, self.jobs = self.jobs, []
        for job in jobs:
            job()


class Reading:
    """A reader over some payloads, and what it answered."""

    def __init__(self, payloads: Any, cache_bytes_max: int = 0) -> None:
        self.worker = HeldWorker()
        self.posted: list[tuple[Any, ...]] = []
        self.answers: list[list[bytes | None]] = []
        self.cache = PayloadCache(cache_bytes_max)
        self.reader = Reader(
            payloads, self.cache, post=lambda *call: self.posted.append(call), worker=self.worker
        )

    def read(self, *extents: Extent) -> None:
        self.reader.read(
            extents,
            lambda buffers: self.answers.append([None if each is None else bytes(each) for each in buffers]),
        )

    def run_posted(self) -> None:
        posted, self.posted = self.posted, []
        for callback, *arguments in posted:
            callback(*arguments)


FIRST, SECOND = stored_batch(0, b"a", b"b"), stored_batch(2, b"c")
MARKER = control_batch(0, 0, 9, 1, 1000, True, 0)


# --- the cache ---


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(0, 120))
def test_the_cache_holds_the_newest_payloads_within_its_bound(sizes: list[int], bytes_max: int) -> None:
    cache = PayloadCache(bytes_max)
    for position, size in enumerate(sizes, start=1):
        cache.put(position, bytes([position]) * size)
        assert cache.size_bytes <= bytes_max
    kept = [
        position
        for position, size in enumerate(sizes, start=1)
        if size and cache.get(Extent(0, 0, 0, position, 0, size, True)) is not None
    ]
    assert sum(sizes[position - 1] for position in kept) == cache.size_bytes
    filled = [position for position, size in enumerate(sizes, start=1) if size]
    assert kept == filled[len(filled) - len(kept) :], "the oldest went first"
    dropped = filled[: len(filled) - len(kept)]
    if dropped:
        assert cache.size_bytes + sizes[dropped[-1] - 1] > bytes_max, "no more went than had to"


def test_the_cache_gives_just_the_extent() -> None:
    cache = PayloadCache(1000)
    cache.put(7, FIRST + SECOND)
    found = cache.get(extent_of([SECOND], 2, 2, position=7, payload_offset=len(FIRST)))
    assert found is not None
    assert bytes(found) == SECOND
    assert cache.get(extent_of([SECOND], 2, 2, position=8)) is None


# --- where bytes come from ---


def test_what_is_cached_is_answered_at_once_without_reading() -> None:
    payloads = Payloads({}, hot=False)
    reading = Reading(payloads, cache_bytes_max=1000)
    reading.cache.put(1, FIRST + SECOND)
    reading.read(extent_of([FIRST, SECOND], 0, 2))
    assert reading.answers == [[FIRST + SECOND]]
    assert payloads.reads == []


def test_what_the_page_cache_has_is_answered_at_once() -> None:
    payloads = Payloads({1: FIRST + SECOND}, hot=True)
    reading = Reading(payloads)
    reading.read(extent_of([FIRST, SECOND], 0, 2))
    assert reading.answers == [[FIRST + SECOND]]
    assert payloads.reads == ["nowait"]


def test_what_is_cold_is_read_by_the_worker_and_answered_by_post() -> None:
    payloads = Payloads({1: FIRST, 2: SECOND}, hot=False)
    reading = Reading(payloads, cache_bytes_max=len(SECOND))
    reading.cache.put(2, SECOND)
    reading.read(extent_of([FIRST], 0, 1), extent_of([SECOND], 2, 2, position=2))
    assert (reading.answers, payloads.reads) == ([], ["nowait"])
    reading.worker.run()
    assert reading.answers == [], "the answer comes by post, never in the worker's thread"
    reading.run_posted()
    assert reading.answers == [[FIRST, SECOND]]


def test_nothing_to_read_is_answered_at_once() -> None:
    reading = Reading(Payloads({}, hot=False))
    reading.read()
    assert reading.answers == [[]]


def test_a_closed_reader_answers_no_more() -> None:
    reading = Reading(Payloads({1: FIRST}, hot=False))
    reading.reader.close()
    reading.read(extent_of([FIRST], 0, 1))
    assert (reading.worker.jobs, reading.answers) == ([], [])


def test_a_control_batch_that_partitions_share_is_read_for_each() -> None:
    reading = Reading(Payloads({1: MARKER}, hot=True))
    reading.read(extent_of([MARKER], 17, 17, stamped=False), extent_of([MARKER], 4, 4, stamped=False))
    assert reading.answers == [[MARKER, MARKER]]


# --- damage ---


@pytest.mark.parametrize("hot", [True, False])
def test_no_single_changed_byte_is_ever_served(hot: bool, caplog: pytest.LogCaptureFixture) -> None:
    whole = FIRST + SECOND
    extent = extent_of([FIRST, SECOND], 0, 2)
    for at in range(len(whole)):
        for mask in (0x01, 0x80):
            changed = bytearray(whole)
            changed[at] ^= mask
            reading = Reading(Payloads({1: bytes(changed)}, hot))
            reading.read(extent)
            reading.worker.run()
            reading.run_posted()
            assert reading.answers == [[None]], (at, mask)
    assert "offsets 0 to 2 in journal entry 1 are damaged and not served" in caplog.text


def test_no_changed_byte_of_a_shared_control_batch_is_served_but_its_unset_offset() -> None:
    extent = extent_of([MARKER], 17, 17, stamped=False)
    assert damage_in(extent, MARKER) == ""
    for at in range(8, len(MARKER)):
        changed = bytearray(MARKER)
        changed[at] ^= 0x04
        assert damage_in(extent, bytes(changed)), at


def test_whole_batches_in_the_wrong_place_are_damage() -> None:
    assert damage_in(extent_of([FIRST, SECOND], 0, 2), FIRST + SECOND) == ""
    assert damage_in(extent_of([FIRST, SECOND], 0, 2), SECOND + FIRST)
    assert damage_in(extent_of([FIRST], 5, 6), FIRST)
    assert damage_in(extent_of([FIRST], 0, 2), FIRST), "a batch is missing at the end"
    assert damage_in(extent_of([FIRST], 0, 1), FIRST[:-1])
    assert damage_in(extent_of([FIRST], 0, 1), FIRST + SECOND[:30])
    assert damage_in(extent_of([FIRST], 0, 1), bytes(len(FIRST)))


def test_one_damaged_extent_does_not_hide_the_others() -> None:
    reading = Reading(Payloads({1: FIRST, 2: bytes(len(SECOND))}, hot=False))
    reading.read(extent_of([FIRST], 0, 1), extent_of([SECOND], 2, 2, position=2))
    reading.worker.run()
    reading.run_posted()
    assert reading.answers == [[FIRST, None]]


@pytest.mark.parametrize(
    "error", [JournalError(JournalErrorKind.READ_FAILED, "the disk does not answer"), IndexError(1)]
)
def test_a_failed_read_is_logged_and_answered_as_missing(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    payloads = Payloads({1: FIRST}, hot=True)
    payloads.error = error
    reading = Reading(payloads)
    reading.read(extent_of([FIRST], 0, 1))
    reading.worker.run()
    reading.run_posted()
    assert reading.answers == [[None]]
    assert f"journal entry 1 could not be read: {error}" in caplog.text


def test_damage_on_the_disk_of_a_real_journal_is_not_served() -> None:
    disk = FaultyDisk()
    journal, _, writer = opened(disk)
    writer.append(b"events", FIRST, SECOND)
    extent = extent_of([FIRST, SECOND], 0, 2)
    place = disk.content(FIRST_FILE).index(FIRST)
    chance = random.Random(4)
    for _ in range(50):
        at, mask = place + chance.randrange(extent.size), 1 << chance.randrange(8)
        reading = Reading(journal)
        reading.read(extent)
        assert reading.answers == [[FIRST + SECOND]], "whole, and found without a thread"
        disk.flip(FIRST_FILE, at, mask)
        reading.read(extent)
        reading.worker.run()
        reading.run_posted()
        assert reading.answers[1:] == [[None]]
        disk.flip(FIRST_FILE, at, mask)
