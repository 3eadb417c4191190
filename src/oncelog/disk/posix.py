"""The calls of POSIX systems. Uses what the system has: one durable write per call where it knows RWF_DSYNC,
past the page cache where it knows O_DIRECT, reads that never wait where it knows RWF_NOWAIT, and F_FULLFSYNC
where a plain sync stops at the drive's cache (macOS).

Descriptors are not inherited: `os.open` sees to that. Must not be imported on Windows.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Sequence

from oncelog.disk.descriptor import DescriptorFile
from oncelog.disk.direct import NOT_SUPPORTED, WRITE_DURABLE, DirectWriter
from oncelog.disk.file import Buffer

_READ_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)
_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)
_HAS_VECTORS = hasattr(os, "pwritev") and hasattr(os, "preadv")
"""macOS has had them since its version 11."""
_FULL_SYNC_REFUSED = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL})
"""What network file systems answer to F_FULLFSYNC; it says that nothing was tried."""
_BUFFERS_MAX = 512
"""Buffers per system call; systems allow 1024."""


def sync(descriptor: int) -> None:
    """Make what was written durable, the file's size included."""
    if _FULL_SYNC is not None:
        try:
            fcntl.fcntl(descriptor, _FULL_SYNC)
        except OSError as refused:
            if refused.errno not in _FULL_SYNC_REFUSED:
                raise
            os.fsync(descriptor)
    elif hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)


def _sync_name(descriptor: int) -> None:
    """The same for a directory."""
    if _FULL_SYNC is not None:
        sync(descriptor)
    else:
        os.fsync(descriptor)


class SystemFile(DescriptorFile):
    """A file as this system reads and writes it best."""

    def __init__(self, path: str, flags: int) -> None:
        super().__init__(path, flags)
        self._direct = None if flags & os.O_ACCMODE == os.O_RDONLY else DirectWriter.open(path)
        self._writes_durably = WRITE_DURABLE is not None
        self._reads_nowait = _READ_NOWAIT is not None

    def write_some(self, buffers: Sequence[Buffer], offset: int, durable: bool) -> int:
        buffers = buffers[:_BUFFERS_MAX]
        if not durable:
            return self._write_plainly(buffers, offset)
        if self._direct is not None:
            size_bytes = sum(map(len, buffers))
            if size_bytes and DirectWriter.fits(offset, size_bytes):
                try:
                    return self._direct.write_some(buffers, size_bytes, offset)
                except OSError as refused:
                    self._give_up_direct(refused)
        if self._writes_durably:
            assert WRITE_DURABLE is not None
            try:
                return os.pwritev(self._descriptor, buffers, offset, WRITE_DURABLE)
            except OSError as refused:
                # The flag is refused before anything is written, so this is no failed write.
                if refused.errno != errno.EOPNOTSUPP:
                    raise
                self._writes_durably = False
        written = self._write_plainly(buffers, offset)
        sync(self._descriptor)
        return written

    def _write_plainly(self, buffers: Sequence[Buffer], offset: int) -> int:
        if _HAS_VECTORS:
            return os.pwritev(self._descriptor, buffers, offset)
        return os.pwrite(self._descriptor, b"".join(buffers), offset)

    def _give_up_direct(self, refused: OSError) -> None:
        """Go on without direct writes where they are refused; that is before anything is written."""
        if refused.errno not in NOT_SUPPORTED:
            raise refused
        assert self._direct is not None
        self._direct.close()
        self._direct = None

    def zero_fill(self, offset: int, size_bytes: int) -> None:
        while self._direct is not None and size_bytes and DirectWriter.fits(offset, size_bytes):
            try:
                written = self._direct.zero_some(size_bytes, offset)
            except OSError as refused:
                self._give_up_direct(refused)
                break
            offset += written
            size_bytes -= written
        super().zero_fill(offset, size_bytes)

    def read_some(self, buffer: memoryview, offset: int) -> int:
        if _HAS_VECTORS:
            return os.preadv(self._descriptor, [buffer], offset)
        found = os.pread(self._descriptor, len(buffer), offset)
        buffer[: len(found)] = found
        return len(found)

    def read_nowait(self, size_bytes: int, offset: int) -> bytes | None:
        if not self._reads_nowait:
            return None
        assert _READ_NOWAIT is not None
        buffer = bytearray(size_bytes)
        try:
            count = os.preadv(self._descriptor, [buffer], offset, _READ_NOWAIT)
        except BlockingIOError:
            return None
        except OSError as failed:
            if failed.errno not in NOT_SUPPORTED:
                raise
            self._reads_nowait = False
            return None
        return bytes(buffer) if count == size_bytes else None

    def sync(self) -> None:
        sync(self._descriptor)

    def close(self) -> None:
        super().close()
        if self._direct is not None:
            self._direct.close()


def rename(old: str, new: str) -> None:
    """Give a file another name, in place of what has it; durable after `sync_directory`."""
    os.rename(old, new)


def sync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _sync_name(descriptor)
    finally:
        os.close(descriptor)


def lock(descriptor: int) -> bool:
    """An flock, which goes with the process, however that ends. False: another one holds it."""
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def free_bytes(path: str) -> int:
    """What this process may still use on the file system of `path`."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize
