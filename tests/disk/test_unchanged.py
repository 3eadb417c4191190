"""A disk for looking only: it reads like the disk behind it, and that disk stays as it was."""

from __future__ import annotations

import pytest

from oncelog.disk import LockedError
from oncelog.disk.faulty import FaultyDisk
from oncelog.disk.unchanged import UnchangedDisk


@pytest.fixture
def behind() -> FaultyDisk:
    disk = FaultyDisk()
    file = disk.create("/f")
    file.write([b"abcdef"], 0)
    file.close()
    return disk


def test_files_are_read_and_writes_go_nowhere(behind: FaultyDisk) -> None:
    disk = UnchangedDisk(behind)
    file = disk.open("/f", for_writing=True)
    file.write([b"XY", b"Z"], 1, durable=True)
    file.zero_fill(0, 6)
    file.truncate(2)
    file.sync()
    disk.sync_directory("/")
    assert (file.read(100, 0), file.size()) == (b"abcdef", 6)
    file.close()
    again = behind.open("/f")
    assert again.read(100, 0) == b"abcdef"
    again.close()


def test_names_can_not_be_changed(behind: FaultyDisk) -> None:
    disk = UnchangedDisk(behind)
    for change in (
        lambda: disk.create("/g"),
        lambda: disk.remove("/f"),
        lambda: disk.rename("/f", "/g"),
        lambda: disk.make_directory("/d"),
    ):
        with pytest.raises(OSError, match="is only looked at"):
            change()
    assert behind.exists("/f")
    assert not behind.exists("/g")


def test_its_lock_is_the_real_one(behind: FaultyDisk) -> None:
    lock = UnchangedDisk(behind).lock("/LOCK", "somebody who looks")
    with pytest.raises(LockedError):
        behind.lock("/LOCK", "a broker")
    lock.release()
    behind.lock("/LOCK", "a broker").release()
