"""What is durable on systems other than this one, each call of theirs counted: see
`tests/support/other_systems.py` for how, and docs/platforms.md for what that shows and what not.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from oncelog.disk import Disk
from tests.support.other_systems import MacOS, System, Windows, system_named


def made(system: System, tmp_path: Path) -> tuple[Disk, str]:
    return system.disk(), str(tmp_path / "f")


# --- macOS ---


@pytest.fixture(params=["macos", "macos-10"])
def macos(request: pytest.FixtureRequest) -> MacOS:
    system = system_named(request.param)
    assert isinstance(system, MacOS)
    return system


def test_on_macos_whatever_is_durable_was_fully_synced(macos: MacOS, tmp_path: Path) -> None:
    disk, path = made(macos, tmp_path)
    file = disk.create(path)
    file.write([b"a"], 0)
    file.zero_fill(0, 4096)
    assert macos.calls == [], "nothing was to be durable"
    file.write([b"b" * 4096], 0, durable=True)
    file.sync()
    disk.sync_directory(str(tmp_path))
    assert macos.calls == [("F_FULLFSYNC", path), ("F_FULLFSYNC", path), ("F_FULLFSYNC", str(tmp_path))]


def test_where_a_file_system_refuses_a_full_sync_it_gets_a_plain_one(macos: MacOS, tmp_path: Path) -> None:
    macos.refuses_full_sync = errno.ENOTSUP
    disk, path = made(macos, tmp_path)
    file = disk.create(path)
    file.write([b"a"], 0, durable=True)
    disk.sync_directory(str(tmp_path))
    assert macos.calls == [
        ("F_FULLFSYNC", path),
        ("fsync", path),
        ("F_FULLFSYNC", str(tmp_path)),
        ("fsync", str(tmp_path)),
    ]


def test_a_full_sync_that_fails_is_no_refusal(macos: MacOS, tmp_path: Path) -> None:
    macos.refuses_full_sync = errno.EIO
    disk, path = made(macos, tmp_path)
    file = disk.create(path)
    for durable in (lambda: file.write([b"a"], 0, durable=True), file.sync):
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            durable()
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        disk.sync_directory(str(tmp_path))
    assert {call for call, _ in macos.calls} == {"F_FULLFSYNC"}, "a second sync proves nothing"


# --- Windows ---


@pytest.fixture
def windows() -> Windows:
    system = system_named("windows")
    assert isinstance(system, Windows)
    return system


def test_on_windows_whatever_is_durable_was_flushed(windows: Windows, tmp_path: Path) -> None:
    disk, path = made(windows, tmp_path)
    file = disk.create(path)
    file.write([b"a"], 0)
    file.zero_fill(0, 4096)
    assert windows.calls == [], "nothing was to be durable"
    file.write([b"b" * 4096, b"c"], 0, durable=True)
    file.sync()
    assert windows.calls == [("fsync", path)] * 2


def test_on_windows_a_file_is_flushed_under_its_new_name(windows: Windows, tmp_path: Path) -> None:
    disk, path = made(windows, tmp_path)
    disk.create(path).close()
    disk.rename(path, path + "2")
    disk.sync_directory(str(tmp_path))
    assert windows.calls == [("fsync", path + "2")]


def test_the_windows_that_tests_have_keeps_what_is_open(windows: Windows, tmp_path: Path) -> None:
    disk, path = made(windows, tmp_path)
    file = disk.create(path)
    for change in (lambda: disk.rename(path, path + "2"), lambda: disk.remove(path)):
        with pytest.raises(PermissionError):
            change()
    file.close()
    disk.remove(path)


def test_on_windows_a_lock_that_fails_for_another_reason_is_not_taken_for_held(
    windows: Windows, tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    vars(windows.modules["msvcrt"])["locking"] = fail
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        windows.disk().lock(str(tmp_path / "LOCK"), "process 17")
