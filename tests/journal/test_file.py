"""Appending to journal files and reading them back, and what happens when the disk refuses."""

from __future__ import annotations

import errno
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oncelog.disk.faulty import Fault, FaultyDisk, FaultyFile
from oncelog.disk.real import RealDisk
from oncelog.disk.workers import ThreadWorker
from oncelog.journal import EntryToWrite, JournalError, JournalErrorKind, Written
from oncelog.journal import file as file_module
from oncelog.journal.file import FileJournal
from oncelog.journal.format import BLOCK_BYTES
from tests.journal.harness import (
    FILE_BYTES_MAX,
    PATH,
    Entry,
    disk_with,
    open_journal,
    opened,
    replay,
)
from tests.support.waiting import wait_for

KIB = 1 << 10


def test_a_new_journal_is_empty_and_begins_at_position_1() -> None:
    journal, entries, _ = opened(FaultyDisk())
    assert entries == []
    assert journal.next_position == 1


def test_what_was_appended_comes_back_whole_and_in_order() -> None:
    disk = FaultyDisk()
    journal, _, writer = opened(disk)
    writer.append(b"first", b"abc", memoryview(b"defg")[1:])  # type: ignore[arg-type]
    writer.append(b"", b"")
    writer.append(b"third")
    writer.append(b"", seal=True)
    assert journal.read_payload(1, 0, 6) == b"abcefg"
    assert journal.next_position == 5
    journal.close()

    journal = open_journal(disk)
    entries = replay(journal)
    assert entries == writer.sent, "seals and entries without content included"
    assert entries[0].payload == b"abcefg"
    assert journal.next_position == 5


def test_the_cluster_id_stays_and_differs_between_directories() -> None:
    disk = FaultyDisk()
    first = open_journal(disk, seed=1)
    first.close()
    again = open_journal(disk, seed=2)
    assert again.cluster_id == first.cluster_id
    assert open_journal(FaultyDisk(), seed=3).cluster_id != first.cluster_id


def test_parts_of_a_payload_are_read_with_and_without_waiting() -> None:
    journal, _, writer = opened(FaultyDisk())
    writer.append(b"events", b"0123456789")
    for read in (journal.read_payload, journal.read_payload_nowait):
        assert read(1, 3, 4) == b"3456"
        assert read(1, 0, 10) == b"0123456789"
        for place in ((1, 5, 6), (1, -1, 2), (2, 0, 1), (0, 0, 1)):
            with pytest.raises(IndexError):
                read(*place)


def test_a_closed_journal_reads_no_more_and_can_be_closed_again() -> None:
    journal, _, writer = opened(FaultyDisk())
    writer.append(b"events", b"payload")
    journal.close()
    journal.close()
    with pytest.raises(JournalError) as raised:
        journal.read_payload(1, 0, 7)
    assert raised.value.kind is JournalErrorKind.CLOSED


def test_files_roll_by_size_and_all_stay_readable() -> None:
    disk = FaultyDisk()
    journal, _, writer = opened(disk)
    for number in range(40):
        writer.append(b"events", bytes([number]) * 5000)
    assert len(disk.list(f"{PATH}/journal")) >= 6
    for entry in writer.sent:
        assert journal.read_payload(entry.position, 0, 5000) == entry.payload
        assert journal.read_payload_nowait(entry.position, 4990, 10) == entry.payload[-10:]
    journal.close()
    journal, entries, again = opened(disk)
    assert entries == writer.sent
    again.append(b"after")
    journal.close()
    assert opened(disk).entries == writer.sent + again.sent


def test_a_file_stays_within_its_size_unless_one_entry_is_larger() -> None:
    disk = FaultyDisk()
    journal, _, writer = opened(disk)
    for size in (10, 3 * FILE_BYTES_MAX, 10, 10):
        writer.append(b"events", b"x" * size)
    journal.close()
    assert opened(disk).entries == writer.sent
    sizes = [len(disk.content(f"{PATH}/journal/{name}")) for name in disk.list(f"{PATH}/journal")]
    assert sum(size > FILE_BYTES_MAX for size in sizes) == 1


def test_entries_longer_than_the_replay_window_come_back() -> None:
    disk = FaultyDisk()
    journal, _, writer = opened(disk, file_bytes_max=32 << 20)
    for size in (100, 9 << 20, 100):
        writer.append(b"e" * 3000, random.Random(size).randbytes(size))
    journal.close()
    assert opened(disk, file_bytes_max=32 << 20).entries == writer.sent


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=3000), st.integers(0, 40_000)), max_size=30),
    st.lists(st.booleans(), min_size=30, max_size=30),
)
def test_any_entries_come_back_equal_over_any_restarts(
    contents: list[tuple[bytes, int]], restarts: list[bool]
) -> None:
    disk = FaultyDisk()
    journal, _, writer = opened(disk)
    sent: list[Entry] = []
    for (events, payload_size), restart in zip(contents, restarts, strict=False):
        writer.append(events, random.Random(payload_size).randbytes(payload_size))
        sent.append(writer.sent[-1])
        if restart:
            journal.close()
            journal, entries, writer = opened(disk, seed=len(sent))
            assert entries == sent
    assert journal.size_bytes >= sum(len(entry.payload) for entry in sent)
    journal.close()
    assert opened(disk).entries == sent


def test_what_there_is_to_replay_is_known_before() -> None:
    """Over closed files, one that a crash left open, an entry longer than a file, and a start's seal."""
    disk, sent = disk_with(*[5000] * 30)
    _, _, writer = opened(disk)
    writer.append(b"events" * 20_000)
    events_bytes = sum(len(entry.events) for entry in sent) + 6 * 20_000
    assert open_journal(disk.clone()).contents() == (len(sent) + 2, events_bytes)


def test_replay_tells_its_progress() -> None:
    disk, _ = disk_with(*[5000] * 30)
    journal = open_journal(disk)
    total, seen = journal.size_bytes, []
    for _ in journal.replay():
        seen.append(journal.replayed_bytes)
    assert seen == sorted(set(seen)), "each entry is told, however many of them are read at once"
    assert journal.replayed_bytes <= total


# --- failing ---


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_after_a_failed_write_every_append_fails(error: int) -> None:
    disk = FaultyDisk()
    journal, _, writer = opened(disk)
    writer.append(b"good")
    disk.faults.append(Fault("write", disk.calls["write"] + 1, error))
    kind = JournalErrorKind.FULL if error == errno.ENOSPC else JournalErrorKind.WRITE_FAILED
    writes = disk.calls["write"] + 1
    for _ in range(3):
        failed = writer.append(b"never acknowledged").error
        assert failed is not None
        assert failed.kind is kind
        assert "entry 2" in str(failed)
    assert disk.calls["write"] == writes, "a failed write is never tried again"
    journal.close()


def test_a_failed_write_that_the_page_cache_shows_is_durable_before_it_is_replayed() -> None:
    disk = FaultyDisk()
    _, _, writer = opened(disk)
    writer.append(b"good", b"payload")
    disk.faults.append(Fault("write", disk.calls["write"] + 1, keeps_pages=True))
    assert writer.append(b"in the page cache only", b"payload").error is not None
    disk = disk.kill()
    _, entries, _ = opened(disk)
    assert entries == writer.sent, "the page cache shows it, so replay may"
    for seed in range(20):
        assert opened(disk.clone().crash(random.Random(seed))).entries == entries, "shown means durable"


def test_what_cannot_be_encoded_fails_loudly_and_for_good() -> None:
    journal, _, writer = opened(FaultyDisk())
    writer.append(b"good")
    outcomes: list[Written] = []
    journal.append(EntryToWrite(2, 1 << 70, 0, b"", (), False), outcomes.append)
    journal.append(EntryToWrite(2, 0, 0, b"", (), False), outcomes.append)
    journal.post_of_test.run()  # type: ignore[attr-defined]
    assert [outcome.error is not None for outcome in outcomes] == [True, True]


def test_a_gap_in_the_positions_is_refused() -> None:
    journal, _, writer = opened(FaultyDisk())
    writer.append(b"good")
    outcomes: list[Written] = []
    journal.append(EntryToWrite(3, 0, 0, b"", (), False), outcomes.append)
    journal.post_of_test.run()  # type: ignore[attr-defined]
    assert outcomes[0].error is not None


def test_a_failed_fill_stops_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The zeros' sync failed: nobody knows what else of the file did not reach the disk."""
    monkeypatch.setattr(file_module, "FILL_STEP_BYTES_FIRST", 32 * KIB)
    disk = FaultyDisk()
    _, _, writer = opened(disk, file_bytes_max=256 * KIB)
    disk.faults.append(Fault("sync", disk.calls["sync"] + 2))
    outcomes = [writer.append(b"events", bytes(5000)) for _ in range(6)]
    assert outcomes[-1].error is not None
    assert opened(disk.kill(), file_bytes_max=256 * KIB).entries[: len(writer.confirmed)] == writer.confirmed


def test_a_full_disk_ends_filling_but_not_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_module, "FILL_STEP_BYTES_FIRST", 32 * KIB)
    disk = FaultyDisk()
    _, _, writer = opened(disk, file_bytes_max=256 * KIB)
    disk.capacity_bytes = 100 * KIB
    while writer.append(b"events", bytes(3000)).error is None:
        pass
    failed = writer.outcomes[-1].error
    assert failed is not None
    assert failed.kind is JournalErrorKind.FULL
    assert len(writer.confirmed) > 14, "the space that there was has been used"
    journal, entries, again = opened(disk.kill(), file_bytes_max=256 * KIB)
    assert entries[: len(writer.confirmed)] == writer.confirmed, "a full disk can still be opened and read"
    assert len(entries) <= len(writer.confirmed) + 1
    assert journal.read_payload(1, 0, 3000) == bytes(3000)
    failed = again.append(b"events", bytes(9000)).error
    assert failed is not None
    assert failed.kind is JournalErrorKind.FULL


def test_the_error_of_a_next_file_that_could_not_be_made_comes_when_it_is_needed() -> None:
    disk = FaultyDisk()
    journal, _, writer = opened(disk)
    disk.faults.append(Fault("create", disk.calls["create"] + 1, errno.ENOSPC))
    while writer.append(b"events", bytes(9000)).error is None:
        pass
    failed = writer.outcomes[-1].error
    assert failed is not None
    assert failed.kind is JournalErrorKind.FULL
    assert "journal file 2" in str(failed)
    assert len(writer.confirmed) == 4, "the first file has been used to its end"
    journal.close()
    assert opened(disk).entries == writer.confirmed


def test_the_part_of_a_next_file_that_did_not_fit_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_module, "FILL_STEP_BYTES_FIRST", 32 * KIB)
    disk = FaultyDisk()
    _, _, writer = opened(disk)
    disk.capacity_bytes = 50 * KIB
    writer.append(b"events")
    assert not any(name.endswith(".part") for name in disk.list(f"{PATH}/journal"))


def test_short_writes_are_completed() -> None:
    disk = FaultyDisk()
    journal, _, writer = opened(disk)
    for nth, short_bytes in ((1, 10), (3, 4096), (4, 76), (6, 77)):
        disk.faults.append(Fault("write", disk.calls["write"] + nth, short_bytes=short_bytes))
    for number in range(4):
        writer.append(b"events" * 20, bytes([number]) * 6000)
    assert len(writer.confirmed) == 4
    journal.close()
    for seed in range(5):
        assert opened(disk.clone().crash(random.Random(seed))).entries == writer.confirmed


def test_a_failed_index_costs_nothing() -> None:
    disk = FaultyDisk()
    journal, _, writer = opened(disk)
    disk.faults.append(Fault("truncate", 1))
    for number in range(30):
        writer.append(b"events", bytes([number]) * 5000)
    assert len(writer.confirmed) == 30
    journal.close()
    journal, entries, _ = opened(disk)
    assert entries == writer.sent
    journal.close()
    assert opened(disk).entries == writer.sent, "the index was written at the next start"


# --- durability at each confirmation ---


def test_whatever_is_confirmed_survives_a_loss_of_power_right_then() -> None:
    disk = FaultyDisk()
    _, _, writer = opened(disk)
    chance = random.Random(7)
    for number in range(60):
        writer.append(b"events", chance.randbytes(chance.choice((0, 10, 4000, 20_000))))
        after = opened(disk.clone().crash(random.Random(number))).entries
        assert after == writer.confirmed


# --- the real disk, and threads ---


def test_the_page_cache_of_a_real_disk_is_read_without_waiting(tmp_path: Path) -> None:
    journal, _, writer = opened(RealDiskAt(tmp_path))
    writer.append(b"events", b"payload" * 1000)
    assert journal.read_payload_nowait(1, 7, 7) in (b"payload", None), "None where the system cannot tell"
    assert journal.read_payload(1, 7, 7) == b"payload"
    file = RealDisk().open(str(tmp_path / "data/journal/0000000001.journal"))
    file.read(1, 0)
    if file.read_nowait(1, 0) is not None:
        assert journal.read_payload_nowait(1, 7, 7) == b"payload", "reading it once has brought it there"
    journal.close()


class RealDiskAt(RealDisk):
    """The real disk under the path that the harness uses."""

    def __init__(self, root: Path) -> None:
        root = str(root)  # type: ignore[assignment]
        for name in (
            "create",
            "open",
            "exists",
            "list",
            "make_directory",
            "remove",
            "sync_directory",
            "lock",
        ):
            method = getattr(super(), name)
            setattr(self, name, self._below(root, method))  # type: ignore[arg-type]
        rename = super().rename
        self.rename = lambda old, new: rename(f"{root}{old}", f"{root}{new}")  # type: ignore[method-assign]

    @staticmethod
    def _below(root: str, method: Callable[..., object]) -> Callable[..., object]:
        return lambda path, *others, **named: method(f"{root}{path}", *others, **named)


def test_an_entry_is_never_overwritten_by_zeros_that_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer gets to the end of what is filled while the next stretch of zeros is about to be written."""
    monkeypatch.setattr(file_module, "FILL_STEP_BYTES_FIRST", 32 * KIB)
    is_filling, may_fill, is_waited_for = threading.Event(), threading.Event(), threading.Event()
    zero_fill = FaultyFile.zero_fill

    def held_zero_fill(file: FaultyFile, offset: int, size_bytes: int) -> None:
        if offset > BLOCK_BYTES:
            is_filling.set()
            may_fill.wait(10)
        zero_fill(file, offset, size_bytes)

    monkeypatch.setattr(FaultyFile, "zero_fill", held_zero_fill)

    class Preparer(ThreadWorker):
        def wait(self) -> None:
            is_waited_for.set()
            super().wait()

    done: list[Written] = []
    disk = FaultyDisk()
    journal = FileJournal.open(
        disk,
        PATH,
        post=lambda confirm, written: confirm(written),
        file_bytes_max=256 * KIB,
        random_bytes=random.Random(3).randbytes,
        writer=ThreadWorker("writer"),
        preparer=Preparer("preparer"),
    )
    list(journal.replay())
    payload = b"p" * 15_000
    journal.append(EntryToWrite(1, 0, 0, b"events", [payload], False), done.append)
    wait_for(lambda: len(done) == 1, "the first entry's confirmation", pause_s=0.0002)
    assert is_filling.wait(10)
    journal.append(EntryToWrite(2, 0, 0, b"events", [payload], False), done.append)
    wait_for(lambda: len(done) == 2 or is_waited_for.is_set(), "the second entry's turn", pause_s=0.0002)
    may_fill.set()
    wait_for(lambda: len(done) == 2, "the second entry's confirmation")
    journal.close()
    assert [written.error for written in done] == [None] * 2
    entries = opened(disk.crash(random.Random(1)), file_bytes_max=256 * KIB).entries
    assert [entry.payload for entry in entries] == [payload] * 2
