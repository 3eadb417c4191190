"""A disk in memory that behaves as badly as a real one may, for tests and simulation.

What is written is visible at once, as through a page cache, but durable only once synced. `crash` loses
power: of everything unsynced each piece is kept, dropped or torn, as the given random numbers have it, and
the new disk that it returns is what the machine finds when it starts again. `kill` ends the process only: the
page cache survives. Faults come by script: the nth call of a kind fails, writes short, or loses power.
"""

from __future__ import annotations

import errno
import os
import posixpath
import random
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from oncelog.disk import Lock, LockedError
from oncelog.disk.file import Buffer, File

SECTOR_BYTES = 512
"""What a drive writes wholly or not at all, but for a torn sector now and then."""


class Crashed(BaseException):
    """The power is gone; every call of this disk raises it from now on. No handler of errors catches it."""


class Fault(NamedTuple):
    """What goes wrong with the nth call (from 1) of a kind: write, sync, create, rename, remove, truncate,
    make_directory, sync_directory, read; "any" counts all of them but reads.

    error: the errno that it raises; with short_bytes the write stops there instead, without an error.
    keeps_pages: the page cache shows what a failed write or sync never brought to the disk, marked clean,
        so that a later sync that succeeds will not bring it there either (as ext4, XFS and Btrfs do).
    crash: power goes "before", "during" or "after" the call.
    """

    call: str
    nth: int
    error: int = errno.EIO
    short_bytes: int = 0
    keeps_pages: bool = True
    crash: str = ""


class _Write(NamedTuple):
    offset: int
    data: bytes


class _Truncate(NamedTuple):
    size_bytes: int


class _Inode:
    """A file's bytes: as reads see them, as the platter has them, and the changes between."""

    __slots__ = ("durable", "unsynced", "visible")

    def __init__(self) -> None:
        self.visible = bytearray()
        self.durable = bytearray()
        self.unsynced: list[_Write | _Truncate] = []

    def clone(self) -> _Inode:
        copy = _Inode()
        copy.visible[:] = self.visible
        copy.durable[:] = self.durable
        copy.unsynced = self.unsynced.copy()
        return copy

    def sync(self) -> None:
        for change in self.unsynced:
            _apply(self.durable, change)
        self.unsynced = []


class _Naming(NamedTuple):
    """A change of a directory: `gone` is no longer there; `name` is, as `inode` (None: a directory)."""

    gone: str
    name: str
    inode: _Inode | None


def _apply(image: bytearray, change: _Write | _Truncate) -> None:
    if isinstance(change, _Truncate):
        if len(image) > change.size_bytes:
            del image[change.size_bytes :]
        else:
            image.extend(bytes(change.size_bytes - len(image)))
        return
    end = change.offset + len(change.data)
    if len(image) < change.offset:
        image.extend(bytes(change.offset - len(image)))
    image[change.offset : end] = change.data


def _apply_name(names: dict[str, _Inode | None], change: _Naming) -> None:
    names.pop(change.gone, None)
    if change.name:
        names[change.name] = change.inode


def _survive(inode: _Inode, chance: random.Random) -> bytearray:
    """What a loss of power leaves of a file."""
    image = bytearray(inode.durable)
    for change in inode.unsynced:
        luck = chance.random()
        if luck < 0.4:
            _apply(image, change)
        elif luck < 0.75 and isinstance(change, _Write):
            _tear(image, change, chance)
    return image


def _tear(image: bytearray, change: _Write, chance: random.Random) -> None:
    """Apply a part of one write: up to some byte, or any of its sectors, one of them perhaps as garbage."""
    if chance.random() < 0.3:
        _apply(image, _Write(change.offset, change.data[: chance.randrange(len(change.data) + 1)]))
        return
    start = change.offset
    kept_share = chance.choice((0.1, 0.5, 0.9))
    while start < change.offset + len(change.data):
        end = min(start - start % SECTOR_BYTES + SECTOR_BYTES, change.offset + len(change.data))
        piece = change.data[start - change.offset : end - change.offset]
        # A sector that is written as it already was has nothing to tear.
        if image[start:end] != piece and chance.random() < kept_share:
            is_garbage = chance.random() < 0.05
            _apply(image, _Write(start, chance.randbytes(len(piece)) if is_garbage else piece))
        start = end


class FaultyDisk:
    """Files in memory, under absolute paths; "/" is there from the start.

    capacity_bytes: what all files together may hold before writes get ENOSPC.
    sync_is_noop: syncs and durable writes report success and do nothing, for testing the tests.
    calls: how often each kind of call was made. faults: what is still to go wrong.
    """

    def __init__(self, faults: Sequence[Fault] = (), capacity_bytes: int = 1 << 40) -> None:
        self.faults = list(faults)
        self.capacity_bytes = capacity_bytes
        self.sync_is_noop = False
        self.is_dead = False
        self.calls: Counter[str] = Counter()
        self._lock = threading.RLock()
        self._locked: dict[str, str] = {}
        self._names: dict[str, _Inode | None] = {"/": None}
        self._durable_names: dict[str, _Inode | None] = {"/": None}
        self._unsynced_names: dict[str, list[_Naming]] = {}

    # --- what tests do to it ---

    def clone(self) -> FaultyDisk:
        """A copy that shares nothing, without faults and locks; open files stay with this disk."""
        with self._lock:
            copy = FaultyDisk(capacity_bytes=self.capacity_bytes)
            inodes: dict[int, _Inode] = {}

            def twin(inode: _Inode | None) -> _Inode | None:
                if inode is None:
                    return None
                if id(inode) not in inodes:
                    inodes[id(inode)] = inode.clone()
                return inodes[id(inode)]

            copy._names = {name: twin(inode) for name, inode in self._names.items()}
            copy._durable_names = {name: twin(inode) for name, inode in self._durable_names.items()}
            copy._unsynced_names = {
                directory: [change._replace(inode=twin(change.inode)) for change in changes]
                for directory, changes in self._unsynced_names.items()
            }
            return copy

    def crash(self, chance: random.Random) -> FaultyDisk:
        """Lose power; returns the disk as it is found afterwards. This one is dead."""
        with self._lock:
            self.is_dead = True
            names = dict(self._durable_names)
            for directory in sorted(self._unsynced_names):
                for change in self._unsynced_names[directory]:
                    if chance.random() < 0.6:
                        _apply_name(names, change)
            found = FaultyDisk(capacity_bytes=self.capacity_bytes)
            survivors: dict[int, _Inode] = {}
            for name in sorted(names):
                inode = names[name]
                if not _has_parents(name, names):
                    continue
                if inode is not None and id(inode) not in survivors:
                    survivor = _Inode()
                    survivor.durable = _survive(inode, chance)
                    survivor.visible = bytearray(survivor.durable)
                    survivors[id(inode)] = survivor
                found._names[name] = None if inode is None else survivors[id(inode)]
            found._durable_names = dict(found._names)
            return found

    def kill(self) -> FaultyDisk:
        """End the process that uses this disk; the page cache, clean pages that lie included, lives on."""
        with self._lock:
            self.is_dead = True
            return self.clone()

    def flip(self, path: str, offset: int, mask: int) -> None:
        """Damage one byte where it lies, unnoticed by anyone."""
        inode = self._inode(path)
        inode.visible[offset] ^= mask
        if offset < len(inode.durable):
            inode.durable[offset] ^= mask

    def content(self, path: str) -> bytes:
        """A file's bytes as reads see them."""
        return bytes(self._inode(path).visible)

    # --- the calls ---

    @contextmanager
    def _call(self, kind: str) -> Iterator[Fault | None]:
        """Count a call, and yield the fault that applies to it. Power may go before or after."""
        with self._lock:
            self._check_alive()
            self.calls[kind] += 1
            if kind != "read":
                self.calls["any"] += 1
            due = None
            for fault in self.faults:
                if fault.call in (kind, "any") and fault.nth == self.calls[fault.call]:
                    due = fault
            if due is not None and due.crash == "before":
                self._die()
            yield due
            if due is not None and due.crash:
                self._die()

    def _check_alive(self) -> None:
        if self.is_dead:
            raise Crashed

    def _die(self) -> None:
        self.is_dead = True
        raise Crashed

    def _change_name(self, kind: str, gone: str, name: str, inode: _Inode | None) -> None:
        with self._call(kind) as fault:
            _raise(fault, name or gone)
            change = _Naming(gone, name, inode)
            _apply_name(self._names, change)
            self._unsynced_names.setdefault(posixpath.dirname(name or gone), []).append(change)

    def _inode(self, path: str) -> _Inode:
        inode = self._names.get(path)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return inode

    def create(self, path: str) -> File:
        if posixpath.dirname(path) not in self._names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        inode = _Inode()
        self._change_name("create", "", path, inode)
        return FaultyFile(self, inode, path)

    def open(self, path: str, *, for_writing: bool = False) -> File:  # noqa: ARG002
        with self._lock:
            self._check_alive()
            return FaultyFile(self, self._inode(path), path)

    def exists(self, path: str) -> bool:
        with self._lock:
            self._check_alive()
            return path in self._names

    def list(self, path: str) -> list[str]:
        with self._lock:
            self._check_alive()
            if path not in self._names:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            return sorted(
                posixpath.basename(name)
                for name in self._names
                if name != "/" and posixpath.dirname(name) == path
            )

    def make_directory(self, path: str) -> None:
        if posixpath.dirname(path) not in self._names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if path not in self._names:
            self._change_name("make_directory", "", path, None)

    def rename(self, old: str, new: str) -> None:
        self._change_name("rename", old, new, self._inode(old))

    def remove(self, path: str) -> None:
        self._inode(path)
        self._change_name("remove", path, "", None)

    def sync_directory(self, path: str) -> None:
        with self._call("sync_directory") as fault:
            if fault is not None and fault.crash == "during":
                self._die()
            _raise(fault, path)
            if not self.sync_is_noop:
                for change in self._unsynced_names.pop(path, []):
                    _apply_name(self._durable_names, change)

    def lock(self, path: str, owner: str) -> Lock:
        with self._lock:
            self._check_alive()
            if path in self._locked:
                raise LockedError(path, self._locked[path])
            self._locked[path] = owner
            return FaultyLock(self._locked, path)

    def free_bytes(self, path: str) -> int:  # noqa: ARG002
        with self._lock:
            self._check_alive()
            used = sum(len(inode.visible) for inode in self._names.values() if inode is not None)
            return max(0, self.capacity_bytes - used)


def _has_parents(name: str, names: dict[str, _Inode | None]) -> bool:
    while name != "/":
        name = posixpath.dirname(name)
        if name not in names:
            return False
    return True


def _raise(fault: Fault | None, path: str) -> None:
    """The fault's error, unless the fault is a loss of power or a short write."""
    if fault is not None and not fault.crash and not fault.short_bytes:
        raise OSError(fault.error, os.strerror(fault.error), path)


class FaultyLock:
    """Held within one FaultyDisk; another disk, after a crash or a kill, knows nothing of it."""

    def __init__(self, locked: dict[str, str], path: str) -> None:
        self._locked = locked
        self._path = path

    def release(self) -> None:
        self._locked.pop(self._path, None)


class FaultyFile(File):
    """An open file of a FaultyDisk."""

    def __init__(self, disk: FaultyDisk, inode: _Inode, path: str) -> None:
        self._disk = disk
        self._inode = inode
        self._path = path

    def write_some(self, buffers: Sequence[Buffer], offset: int, durable: bool) -> int:
        with self._disk._call("write") as fault:
            data = b"".join(buffers)
            if fault is not None and fault.short_bytes:
                data = data[: fault.short_bytes]
            grows_bytes = max(0, offset + len(data) - len(self._inode.visible))
            if grows_bytes > (free_bytes := self._disk.free_bytes(self._path)):
                data = data[: max(0, len(data) - grows_bytes + free_bytes)]
                if not data:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path)
            write = _Write(offset, data)
            is_failure = fault is not None and not fault.crash and not fault.short_bytes
            if not is_failure or (fault is not None and fault.keeps_pages):
                _apply(self._inode.visible, write)
            _raise(fault, self._path)
            if not durable or self._disk.sync_is_noop or (fault is not None and fault.crash == "during"):
                self._inode.unsynced.append(write)
            else:
                # Only this range becomes durable; it is ordered after what is unsynced below it.
                _apply(self._inode.durable, write)
                self._inode.unsynced = [_without(change, write) for change in self._inode.unsynced]
            return len(data)

    def read_some(self, buffer: memoryview, offset: int) -> int:
        with self._disk._call("read") as fault:
            _raise(fault, self._path)
            data = self._inode.visible[offset : offset + len(buffer)]
            buffer[: len(data)] = data
            return len(data)

    def read_nowait(self, size_bytes: int, offset: int) -> bytes | None:
        with self._disk._lock:
            self._disk._check_alive()
            data = bytes(self._inode.visible[offset : offset + size_bytes])
            return data if len(data) == size_bytes else None

    def sync(self) -> None:
        with self._disk._call("sync") as fault:
            if fault is not None and fault.crash == "during":
                self._disk._die()
            if fault is not None and not fault.crash:
                self._inode.unsynced = []
                if not fault.keeps_pages:
                    self._inode.visible[:] = self._inode.durable
            _raise(fault, self._path)
            if not self._disk.sync_is_noop:
                self._inode.sync()

    def truncate(self, size_bytes: int) -> None:
        with self._disk._call("truncate") as fault:
            _raise(fault, self._path)
            _apply(self._inode.visible, _Truncate(size_bytes))
            self._inode.unsynced.append(_Truncate(size_bytes))

    def size(self) -> int:
        with self._disk._lock:
            self._disk._check_alive()
            return len(self._inode.visible)

    def close(self) -> None:
        """Nothing is kept open."""


def _without(change: _Write | _Truncate, durable: _Write) -> _Write | _Truncate:
    """An unsynced change, with the part that a later durable write covers as that write has it."""
    if isinstance(change, _Truncate):
        return change
    start = max(change.offset, durable.offset)
    end = min(change.offset + len(change.data), durable.offset + len(durable.data))
    if start >= end:
        return change
    data = bytearray(change.data)
    data[start - change.offset : end - change.offset] = durable.data[
        start - durable.offset : end - durable.offset
    ]
    return _Write(change.offset, bytes(data))
