"""What all disks do alike: the rest of the program can't tell them apart until something goes wrong.

The real disk is run as this system has it, and as others have it (`tests/support/other_systems.py`).
"""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from oncelog.disk import Disk, LockedError
from oncelog.disk.faulty import FaultyDisk
from oncelog.disk.real import RealDisk
from tests.support import other_systems

Place = tuple[Disk, str]


@pytest.fixture(params=["real", *other_systems.NAMES])
def real_disk(request: pytest.FixtureRequest) -> Disk:
    """The operating system's disk, of this system and of others."""
    return RealDisk() if request.param == "real" else other_systems.system_named(request.param).disk()


@pytest.fixture(params=["real", *other_systems.NAMES, "faulty"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "faulty":
        return FaultyDisk(), ""
    if request.param == "real":
        return RealDisk(), str(tmp_path)
    return other_systems.system_named(request.param).disk(), str(tmp_path)


def test_what_is_written_is_read_back(place: Place) -> None:
    disk, base = place
    file = disk.create(f"{base}/f")
    file.write([b"abc", memoryview(b"def"), b""], 2)
    file.write([b"XY"], 10, durable=True)
    file.sync()
    assert file.size() == 12
    assert file.read(100, 0) == b"\0\0abcdef\0\0XY"
    assert file.read(3, 4) == b"cde"
    assert file.read(5, 50) == b""
    buffer = bytearray(b"........")
    assert file.read_into(memoryview(buffer), 8) == 4
    assert buffer == b"\0\0XY...."
    file.close()
    file.close()
    again = disk.open(f"{base}/f")
    assert again.read(100, 0) == b"\0\0abcdef\0\0XY"
    again.close()


def test_zero_fill_and_truncate(place: Place) -> None:
    disk, base = place
    file = disk.create(f"{base}/f")
    file.zero_fill(0, (1 << 20) + 5)
    assert file.size() == (1 << 20) + 5
    file.write([b"1"], 7)
    file.zero_fill(4, 8)
    assert file.read(20, 0) == bytes(20)
    file.truncate(3)
    assert file.size() == 3
    file.truncate(6)
    assert file.read(10, 0) == bytes(6)


def test_names(place: Place) -> None:
    disk, base = place
    disk.make_directory(f"{base}/d")
    disk.make_directory(f"{base}/d")
    disk.create(f"{base}/d/b").close()
    disk.create(f"{base}/d/a").close()
    disk.sync_directory(f"{base}/d")
    assert disk.list(f"{base}/d") == ["a", "b"]
    disk.rename(f"{base}/d/a", f"{base}/d/c")
    disk.remove(f"{base}/d/b")
    assert disk.list(f"{base}/d") == ["c"]
    assert disk.exists(f"{base}/d/c")
    assert not disk.exists(f"{base}/d/a")
    for missing in (disk.open, disk.remove, disk.list):
        with pytest.raises(FileNotFoundError):
            missing(f"{base}/d/zzz")
    for make in (disk.create, disk.make_directory):
        with pytest.raises(FileNotFoundError):
            make(f"{base}/nowhere/f")
    assert disk.free_bytes(f"{base}/d") > 0


def test_creating_what_exists_empties_it(place: Place) -> None:
    disk, base = place
    disk.create(f"{base}/f").write([b"old"], 0)
    assert disk.create(f"{base}/f").size() == 0


def test_a_file_takes_the_place_of_another_and_what_is_open_stays_readable(place: Place) -> None:
    disk, base = place
    for name in "ab":
        file = disk.create(f"{base}/{name}")
        file.write([name.encode() * 10], 0)
        file.sync()
        file.close()
    disk.rename(f"{base}/a", f"{base}/b")
    assert disk.list(base or "/") == ["b"]
    assert disk.open(f"{base}/b").read(20, 0) == b"a" * 10


def test_many_buffers_and_long_ones_come_back_in_order(place: Place) -> None:
    disk, base = place
    file = disk.create(f"{base}/f")
    many = [bytes([number % 251]) * (number % 7) for number in range(3000)]
    file.write(many, 3, durable=True)
    assert file.read(1 << 20, 3) == b"".join(many)
    long = [bytes([number]) * (9 << 20) for number in (1, 2, 3)]
    file.write(long, 3)
    assert file.read(28 << 20, 3) == b"".join(long)
    lines = b"a\nb\r\nc\x1ad"
    file.write([lines], 3, durable=True)
    assert file.read(len(lines), 3) == lines


def test_threads_read_and_write_one_file_at_offsets_of_their_own(place: Place) -> None:
    disk, base = place
    file = disk.create(f"{base}/f")
    file.write([bytes([number]) * 100 for number in range(8)], 0)
    wrong: list[object] = []

    def use(number: int) -> None:
        for _ in range(300):
            file.write([bytes([number]) * 100], number * 100)
            found = file.read(100, number * 100)
            if found != bytes([number]) * 100:
                wrong.append((number, found))

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert file.size() == 800


def test_a_lock_is_held_once(place: Place) -> None:
    disk, base = place
    lock = disk.lock(f"{base}/LOCK", "process 17")
    with pytest.raises(LockedError, match="process 17"):
        disk.lock(f"{base}/LOCK", "process 18")
    lock.release()
    lock.release()
    disk.lock(f"{base}/LOCK", "process 18").release()


@pytest.mark.parametrize("name", other_systems.NAMES)
def test_a_lock_of_another_system_is_held_against_other_processes(tmp_path: Path, name: str) -> None:
    lock = RealDisk().lock(str(tmp_path / "LOCK"), "process 17")
    disk = other_systems.system_named(name).disk()
    with pytest.raises(LockedError, match="process 17"):
        disk.lock(str(tmp_path / "LOCK"), "process 18")
    lock.release()


def test_a_lock_is_held_on_a_full_disk_too(
    real_disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(type(real_disk).lock.__globals__["os"], "write", full)
    lock = real_disk.lock(str(tmp_path / "LOCK"), "process 17")
    with pytest.raises(LockedError, match="another process"):
        real_disk.lock(str(tmp_path / "LOCK"), "process 18")
    lock.release()


def test_reading_without_waiting(place: Place) -> None:
    disk, base = place
    file = disk.create(f"{base}/f")
    file.write([b"abcdef"], 0)
    found = file.read_nowait(3, 1)
    assert found in (b"bcd", None)
    assert file.read_nowait(30, 1) is None


def test_a_real_file_needs_a_directory_to_be_one(real_disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(NotADirectoryError):
        real_disk.make_directory(str(tmp_path / "f"))


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="the system has no reads that never wait")
def test_a_file_just_written_is_read_without_waiting(tmp_path: Path) -> None:
    file = RealDisk().create(str(tmp_path / "f"))
    # Not durably: such writes may go past the page cache.
    file.write([bytes(100_000)], 0)
    if file.read_nowait(10, 0) is None:
        pytest.skip("this file system does not support it")
    assert file.read_nowait(100_000, 0) == bytes(100_000)
