"""A journal on the disks of other systems: the bytes, the recovery and the refusals that it has on this one.

The history is the same on each; the disk in memory, which has no system below it, says what is right.
"""

from __future__ import annotations

import errno
import os
import posixpath
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from oncelog.disk import Disk
from oncelog.disk.faulty import FaultyDisk
from oncelog.disk.real import RealDisk
from oncelog.journal import EntryToWrite, JournalError, JournalErrorKind, Written
from oncelog.journal.file import FileJournal
from tests.journal.harness import FIRST_FILE, PATH, Entry, open_journal, opened, replay, with_content
from tests.support import other_systems
from tests.support.waiting import wait_for

KIB = 1 << 10


class Below:
    """A disk under the path that the harness uses."""

    def __init__(self, disk: Disk, root: Path) -> None:
        self._disk = disk
        self._root = root

    def __getattr__(self, name: str) -> Callable[..., object]:
        method: Callable[..., object] = getattr(self._disk, name)

        def call(path: str, *others: object, **named: object) -> object:
            if name == "rename":
                others = tuple(f"{self._root}{each}" for each in others)
            return method(f"{self._root}{path}", *others, **named)

        return call


@pytest.fixture(params=["real", *other_systems.NAMES])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    real = RealDisk() if request.param == "real" else other_systems.system_named(request.param).disk()
    return Below(real, tmp_path)  # type: ignore[return-value]


def write_history(disk: Disk) -> list[Entry]:
    """Twice opened and closed, with files that roll and one entry that is larger than a file."""
    chance = random.Random(11)
    sent: list[Entry] = []
    for sizes in ((0, 10, 5000, 70_000, 3), tuple(chance.randrange(20_000) for _ in range(30))):
        journal, entries, writer = opened(disk)
        assert entries == with_content(sent)
        for size in sizes:
            writer.append(b"events", chance.randbytes(size))
        assert [written.error for written in writer.outcomes] == [None] * len(sizes)
        for entry in writer.sent:
            read = journal.read_payload(entry.position, 0, len(entry.payload)) if entry.payload else b""
            assert read == entry.payload
        sent += writer.sent
        journal.close()
    return sent


def files_in(disk: Disk) -> dict[str, bytes]:
    """Every file below the harness's path but the lock, whose holder is a process."""
    names = [f"{PATH}/meta.json", *(f"{PATH}/journal/{name}" for name in disk.list(f"{PATH}/journal"))]
    found = {}
    for name in names:
        if disk.exists(name):
            file = disk.open(name)
            found[name] = file.read(file.size(), 0)
            file.close()
    return found


def test_the_same_history_gives_the_same_bytes(disk: Disk) -> None:
    in_memory = FaultyDisk()
    assert write_history(disk) == write_history(in_memory)
    written = files_in(disk)
    assert len(written) > 5
    assert written == files_in(in_memory)


def test_a_torn_entry_at_the_end_is_cut_and_the_log_goes_on(disk: Disk) -> None:
    journal, _, writer = opened(disk)
    for size in (100, 9000):
        writer.append(b"events", bytes([size % 251]) * size)
    journal.close()
    file = disk.open(FIRST_FILE, for_writing=True)
    content = file.read(file.size(), 0)
    at = content.rindex(bytes([9000 % 251]) * 100)
    file.write([bytes(len(content) - at)], at)
    file.sync()
    file.close()

    journal, entries, again = opened(disk)
    assert entries == writer.sent[:1]
    again.append(b"after", b"x" * 5000)
    journal.close()
    assert opened(disk).entries == [*writer.sent[:1], *again.sent]


def test_damage_before_the_end_is_refused(disk: Disk) -> None:
    write_history(disk)
    file = disk.open(FIRST_FILE, for_writing=True)
    before = file.read(1, 4096 + 20)
    file.write([bytes([before[0] ^ 1])], 4096 + 20)
    file.close()
    with pytest.raises(JournalError) as refused:
        replay(open_journal(disk))
    assert refused.value.kind is JournalErrorKind.DAMAGED


def test_what_was_in_the_making_is_removed_at_the_start(disk: Disk) -> None:
    sent = write_history(disk)
    disk.create(f"{PATH}/journal/0000000099.journal.part").close()
    assert opened(disk).entries == with_content(sent)
    assert not any(name.endswith(".part") for name in disk.list(f"{PATH}/journal"))


def test_a_directory_has_one_owner(disk: Disk) -> None:
    journal, _, _ = opened(disk)
    with pytest.raises(JournalError, match="process") as refused:
        open_journal(disk)
    assert refused.value.kind is JournalErrorKind.IN_USE
    journal.close()
    opened(disk).journal.close()


def test_a_file_that_cannot_be_finished_leaves_nothing_in_the_making(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, _, writer = opened(disk)
    file = disk.create(f"{PATH}/other")
    file.close()

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(type(file), "sync", fail)
    writer.append(b"events", b"x" * 50_000)
    assert disk.list(f"{PATH}/journal") == [posixpath.basename(FIRST_FILE)], "the next one could not be made"
    journal.close()


def test_threads_write_while_others_read(disk: Disk) -> None:
    """Real threads: rolling, filling ahead and reading at once."""

    def begun(seed: int) -> FileJournal:
        return FileJournal.open(
            disk,
            PATH,
            post=lambda confirm, written: confirm(written),
            file_bytes_max=256 * KIB,
            random_bytes=random.Random(seed).randbytes,
        )

    done: list[Written] = []
    journal = begun(3)
    assert list(journal.replay()) == []
    stop = threading.Event()
    wrong: list[object] = []

    def read_all_the_time() -> None:
        chance = random.Random(5)
        while not stop.is_set():
            if done:
                position = chance.randrange(len(done)) + 1
                for read in (journal.read_payload, journal.read_payload_nowait):
                    found = read(position, 0, 8)
                    if found is not None and found != position.to_bytes(8, "big"):
                        wrong.append((position, found))

    readers = [threading.Thread(target=read_all_the_time) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for position in range(1, 201):
            payload = position.to_bytes(8, "big") * (500 + position)
            journal.append(EntryToWrite(position, 0, 0, b"events", [payload], False), done.append)
            wait_for(lambda: len(done) == position, "a confirmation", pause_s=0.0002)  # noqa: B023
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert [written.error for written in done] == [None] * 200
    assert wrong == []
    journal.close()

    journal = begun(4)
    assert [entry.position for entry in journal.replay()] == list(range(1, 201))
    assert journal.read_payload(200, 0, 8) == (200).to_bytes(8, "big")
    journal.close()
    assert len(disk.list(f"{PATH}/journal")) >= 4
