"""The faulty disk keeps its promises of bad behaviour; every crash test of the journal stands on them."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable

import pytest

from oncelog.disk.faulty import Crashed, Fault, FaultyDisk


def found_after_crashes(prepare: Callable[[FaultyDisk], None], path: str) -> set[bytes | None]:
    """Every content of `path` that a crash left, over many seeds; None: the file was not there."""
    found: set[bytes | None] = set()
    for seed in range(300):
        disk = FaultyDisk()
        prepare(disk)
        after = disk.crash(random.Random(seed))
        found.add(after.content(path) if after.exists(path) else None)
    return found


def durable_file(disk: FaultyDisk, content: bytes = b"") -> None:
    file = disk.create("/f")
    file.write([content], 0)
    file.sync()
    disk.sync_directory("/")


def test_what_is_synced_survives() -> None:
    assert found_after_crashes(lambda disk: durable_file(disk, b"abc"), "/f") == {b"abc"}


def test_an_unsynced_write_is_kept_dropped_or_torn() -> None:
    old, new = b"o" * 2048, b"n" * 2048

    def prepare(disk: FaultyDisk) -> None:
        durable_file(disk, old)
        disk.open("/f").write([new], 0)

    found = found_after_crashes(prepare, "/f")
    assert {old, new} <= found
    assert any(content and b"o" in content and b"n" in content for content in found), "torn"
    assert any(content and content[:512] == b"o" * 512 and b"n" in content for content in found), "reordered"


def test_any_subset_of_unsynced_writes_may_survive() -> None:
    def prepare(disk: FaultyDisk) -> None:
        durable_file(disk, b"..")
        file = disk.open("/f")
        file.write([b"a"], 0)
        file.write([b"b"], 1)

    assert {b"..", b"a.", b".b", b"ab"} <= found_after_crashes(prepare, "/f")


def test_a_durable_write_survives_and_leaves_others_unsynced() -> None:
    def prepare(disk: FaultyDisk) -> None:
        durable_file(disk, b"....")
        file = disk.open("/f")
        file.write([b"aa"], 0)
        file.write([b"bb"], 1, durable=True)

    found = found_after_crashes(prepare, "/f")
    assert {b".bb.", b"abb."} <= found
    assert all(content is not None and content[1:] == b"bb." for content in found)


def test_a_name_needs_a_synced_directory() -> None:
    def prepare(disk: FaultyDisk) -> None:
        file = disk.create("/f")
        file.write([b"x"], 0)
        file.sync()

    assert found_after_crashes(prepare, "/f") == {b"x", None}


def test_renames_and_removals_may_vanish() -> None:
    def rename(disk: FaultyDisk) -> None:
        durable_file(disk, b"x")
        disk.rename("/f", "/g")

    assert found_after_crashes(rename, "/g") == {b"x", None}
    assert found_after_crashes(rename, "/f") == {b"x", None}

    def remove(disk: FaultyDisk) -> None:
        durable_file(disk, b"x")
        disk.remove("/f")

    assert found_after_crashes(remove, "/f") == {b"x", None}


def test_files_go_with_their_directory() -> None:
    def prepare(disk: FaultyDisk) -> None:
        disk.make_directory("/d")
        file = disk.create("/d/f")
        file.write([b"x"], 0)
        file.sync()
        disk.sync_directory("/d")

    assert found_after_crashes(prepare, "/d/f") == {b"x", None}


def test_a_kill_keeps_the_page_cache_and_a_crash_after_it_does_not() -> None:
    disk = FaultyDisk()
    durable_file(disk, b"old")
    disk.open("/f").write([b"new"], 0)
    after = disk.kill()
    assert after.content("/f") == b"new"
    contents = {after.clone().crash(random.Random(seed)).content("/f") for seed in range(50)}
    assert {b"old", b"new"} <= contents


def test_the_same_seed_gives_the_same_disk() -> None:
    def once() -> bytes:
        disk = FaultyDisk()
        durable_file(disk, b"o" * 5000)
        disk.open("/f").write([b"n" * 5000], 0)
        return disk.crash(random.Random(5)).content("/f")

    assert once() == once()


def test_a_failed_sync_leaves_pages_that_lie() -> None:
    disk = FaultyDisk([Fault("sync", 2)])
    durable_file(disk, b"old")
    file = disk.open("/f")
    file.write([b"new"], 0)
    with pytest.raises(OSError, match="error") as raised:
        file.sync()
    assert raised.value.errno == errno.EIO
    assert file.read(3, 0) == b"new"
    file.sync()
    assert disk.crash(random.Random(1)).content("/f") == b"old", "the second sync proves nothing"


def test_a_failed_write_is_not_on_the_disk() -> None:
    disk = FaultyDisk([Fault("write", 2), Fault("write", 3, keeps_pages=False)])
    durable_file(disk, b"old")
    file = disk.open("/f")
    for _ in range(2):
        with pytest.raises(OSError, match="error"):
            file.write([b"new"], 0, durable=True)
    file.sync()
    assert disk.crash(random.Random(1)).content("/f") == b"old"


def test_short_writes_are_repeated() -> None:
    disk = FaultyDisk([Fault("write", 2, short_bytes=3), Fault("write", 3, short_bytes=2)])
    durable_file(disk, b"")
    file = disk.open("/f")
    file.write([b"ab", b"cdef", b"", b"gh"], 1, durable=True)
    assert disk.calls["write"] == 4
    assert disk.crash(random.Random(1)).content("/f") == b"\0abcdefgh"


def test_a_full_disk_writes_what_fits_and_then_refuses() -> None:
    disk = FaultyDisk(capacity_bytes=10)
    file = disk.create("/f")
    with pytest.raises(OSError, match="space") as raised:
        file.write([b"0123456789ABC"], 0)
    assert raised.value.errno == errno.ENOSPC
    assert disk.content("/f") == b"0123456789"
    file.write([b"overwriting needs no space"[:10]], 0)
    assert disk.free_bytes("/") == 0


@pytest.mark.parametrize(("when", "may_be"), [("before", {b"old"}), ("after", {b"new"})])
def test_power_goes_at_a_call(when: str, may_be: set[bytes]) -> None:
    disk = FaultyDisk([Fault("write", 2, crash=when)])
    durable_file(disk, b"old")
    file = disk.open("/f")
    with pytest.raises(Crashed):
        file.write([b"new"], 0, durable=True)
    with pytest.raises(Crashed):
        file.read(1, 0)
    assert disk.crash(random.Random(1)).content("/f") in may_be


def test_power_goes_during_a_durable_write() -> None:
    found = set()
    for seed in range(100):
        disk = FaultyDisk([Fault("write", 2, crash="during")])
        durable_file(disk, b"old")
        with pytest.raises(Crashed):
            disk.open("/f").write([b"new"], 0, durable=True)
        found.add(disk.crash(random.Random(seed)).content("/f"))
    assert {b"old", b"new"} <= found


def test_sync_can_be_made_a_lie() -> None:
    def prepare(disk: FaultyDisk) -> None:
        disk.sync_is_noop = True
        durable_file(disk, b"x")
        disk.open("/f").write([b"y"], 0, durable=True)

    assert None in found_after_crashes(prepare, "/f")


def test_a_clone_shares_nothing() -> None:
    disk = FaultyDisk()
    durable_file(disk, b"old")
    copy = disk.clone()
    disk.open("/f").write([b"new"], 0)
    disk.create("/g")
    assert copy.content("/f") == b"old"
    assert not copy.exists("/g")


def test_a_flipped_bit_stays() -> None:
    disk = FaultyDisk()
    durable_file(disk, b"\x00\x01")
    disk.flip("/f", 1, 0x80)
    assert disk.content("/f") == b"\x00\x81"
    assert disk.crash(random.Random(1)).content("/f") == b"\x00\x81"
