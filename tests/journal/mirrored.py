"""A FaultyDisk whose files lie in a directory as well, written by the disk code of another system: whatever
both are told, both must say the same.

Faults, lost power and damage are the FaultyDisk's alone; the directory is then made to look like it. Used by
every test of the journal where ONCELOG_TEST_SYSTEM is set.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from oncelog.disk import Disk, Lock, faulty
from oncelog.disk.file import Buffer, File
from oncelog.journal.directory import LOCK_NAME
from tests.support.other_systems import system_named

Inner, InnerFile = faulty.FaultyDisk, faulty.FaultyFile


class MirroredDisk(Inner):
    """twin: the disk of the other system."""

    twin: Disk

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._directory = tempfile.TemporaryDirectory(prefix="mirrored-")
        self.root = self._directory.name

    # --- what tests do to it ---

    def clone(self) -> MirroredDisk:
        return _with_twin(super().clone())

    def crash(self, chance: random.Random) -> MirroredDisk:
        return _with_twin(super().crash(chance))

    def kill(self) -> MirroredDisk:
        self.is_dead = True
        return self.clone()

    def flip(self, path: str, offset: int, mask: int) -> None:
        super().flip(path, offset, mask)
        self.bring(path)

    def bring(self, path: str) -> None:
        """Make the directory look like what is in memory; an open file stays the same one."""
        where = self.root + path
        if path not in self._names:
            if os.path.exists(where):
                os.remove(where)
            return
        with open(where, "r+b" if os.path.exists(where) else "w+b", buffering=0) as file:
            file.truncate(0)
            file.write(self.content(path))

    @contextmanager
    def both(self, *paths: str) -> Iterator[None]:
        """Within, both are told; when something is raised, the directory follows what is in memory."""
        try:
            yield
        except BaseException:
            for path in paths:
                if self._names.get(path, self) is not None:
                    self.bring(path)
            raise

    # --- the calls ---

    def create(self, path: str) -> File:
        with self.both(path):
            self.twin.create(self.root + path).close()
            return super().create(path)

    def exists(self, path: str) -> bool:
        found = super().exists(path)
        assert self.twin.exists(self.root + path) is found, path
        return found

    def list(self, path: str) -> list[str]:
        found = super().list(path)
        there = [name for name in self.twin.list(self.root + path) if name != LOCK_NAME]
        assert there == found, "locks alone are files only there"
        return found

    def make_directory(self, path: str) -> None:
        super().make_directory(path)
        self.twin.make_directory(self.root + path)

    def rename(self, old: str, new: str) -> None:
        super().rename(old, new)
        self.twin.rename(self.root + old, self.root + new)

    def remove(self, path: str) -> None:
        super().remove(path)
        self.twin.remove(self.root + path)

    def sync_directory(self, path: str) -> None:
        super().sync_directory(path)
        self.twin.sync_directory(self.root + path)

    def lock(self, path: str, owner: str) -> Lock:
        return _BothLocks(super().lock(path, owner), self.twin.lock(self.root + path, owner))


class _BothLocks:
    def __init__(self, *locks: Lock) -> None:
        self._locks = locks

    def release(self) -> None:
        for lock in self._locks:
            lock.release()


class MirroredFile(InnerFile):
    """An open file, twice."""

    def __init__(self, disk: MirroredDisk, inode: Any, path: str) -> None:
        super().__init__(disk, inode, path)
        self._disk: MirroredDisk = disk
        self._twin = disk.twin.open(disk.root + path, for_writing=True)

    def write_some(self, buffers: Sequence[Buffer], offset: int, durable: bool) -> int:
        with self._disk._lock, self._disk.both(self._path):
            written = super().write_some(buffers, offset, durable)
            self._twin.write(_first(buffers, written), offset, durable=durable)
            return written

    def read_some(self, buffer: memoryview, offset: int) -> int:
        with self._disk._lock:
            count = super().read_some(buffer, offset)
            if not any(fault.call == "read" for fault in self._disk.faults):
                assert self._twin.read(len(buffer), offset) == bytes(buffer[:count])
            return count

    def read_nowait(self, size_bytes: int, offset: int) -> bytes | None:
        with self._disk._lock:
            found = super().read_nowait(size_bytes, offset)
            assert self._twin.read_nowait(size_bytes, offset) in (found, None)
            return found

    def sync(self) -> None:
        with self._disk._lock, self._disk.both(self._path):
            super().sync()
            self._twin.sync()

    def truncate(self, size_bytes: int) -> None:
        with self._disk._lock, self._disk.both(self._path):
            super().truncate(size_bytes)
            self._twin.truncate(size_bytes)

    def size(self) -> int:
        with self._disk._lock:
            found = super().size()
            assert self._twin.size() == found
            return found

    def close(self) -> None:
        super().close()
        self._twin.close()


def _first(buffers: Sequence[Buffer], size_bytes: int) -> list[Buffer]:
    """The buffers as far as they were written."""
    kept: list[Buffer] = []
    for buffer in buffers:
        kept.append(memoryview(buffer)[:size_bytes])
        size_bytes -= len(kept[-1])
    return kept


def _with_twin(disk: Inner) -> MirroredDisk:
    assert isinstance(disk, MirroredDisk)
    for path, inode in sorted(disk._names.items()):
        if inode is None:
            os.makedirs(disk.root + path, exist_ok=True)
        else:
            disk.bring(path)
    return disk


def mirror_on(system: str) -> None:
    """From now on, every FaultyDisk is a MirroredDisk."""
    MirroredDisk.twin = system_named(system).disk()
    faulty.FaultyDisk = MirroredDisk  # type: ignore[misc]
    faulty.FaultyFile = MirroredFile  # type: ignore[misc,assignment]
