"""The operating system's disk. Uses what the system has: one durable write per call where it knows RWF_DSYNC,
reads that never wait where it knows RWF_NOWAIT, F_FULLFSYNC where a plain sync stops at the drive's cache.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Sequence

from oncelog.disk import Lock, LockedError
from oncelog.disk.file import Buffer, File

_WRITE_DURABLE: int | None = getattr(os, "RWF_DSYNC", None)
_READ_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)
_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)
_NOT_SUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_BUFFERS_MAX = 512
"""Buffers per system call; systems allow 1024."""


def _sync(descriptor: int) -> None:
    if _FULL_SYNC is not None:
        fcntl.fcntl(descriptor, _FULL_SYNC)
    elif hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)


class RealFile(File):
    """A file descriptor. Closing it while another thread uses it is the caller's error."""

    def __init__(self, path: str, flags: int) -> None:
        self._descriptor = os.open(path, flags | os.O_CLOEXEC, 0o644)
        self._writes_durably = _WRITE_DURABLE is not None
        self._reads_nowait = _READ_NOWAIT is not None

    def write_some(self, buffers: Sequence[Buffer], offset: int, durable: bool) -> int:
        buffers = buffers[:_BUFFERS_MAX]
        if not durable:
            return os.pwritev(self._descriptor, buffers, offset)
        if self._writes_durably:
            assert _WRITE_DURABLE is not None
            try:
                return os.pwritev(self._descriptor, buffers, offset, _WRITE_DURABLE)
            except OSError as refused:
                # The flag is refused before anything is written, so this is no failed write.
                if refused.errno != errno.EOPNOTSUPP:
                    raise
                self._writes_durably = False
        written = os.pwritev(self._descriptor, buffers, offset)
        _sync(self._descriptor)
        return written

    def read_some(self, buffer: memoryview, offset: int) -> int:
        return os.preadv(self._descriptor, [buffer], offset)

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
            if failed.errno not in _NOT_SUPPORTED:
                raise
            self._reads_nowait = False
            return None
        return bytes(buffer) if count == size_bytes else None

    def sync(self) -> None:
        _sync(self._descriptor)

    def truncate(self, size_bytes: int) -> None:
        os.ftruncate(self._descriptor, size_bytes)

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class RealLock:
    """An flock: it goes with the process, however that ends."""

    def __init__(self, path: str, owner: str) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 200, 0).decode(errors="replace").strip()
            self.release()
            raise LockedError(path, holder) from None
        except BaseException:
            self.release()
            raise
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, owner.encode(), 0)

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class RealDisk:
    """Paths of the operating system."""

    def create(self, path: str) -> File:
        return RealFile(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)

    def open(self, path: str, *, for_writing: bool = False) -> File:
        return RealFile(path, os.O_RDWR if for_writing else os.O_RDONLY)

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def list(self, path: str) -> list[str]:
        return sorted(os.listdir(path))

    def make_directory(self, path: str) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path)
        if not os.path.isdir(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new)

    def remove(self, path: str) -> None:
        os.remove(path)

    def sync_directory(self, path: str) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if _FULL_SYNC is not None:
                fcntl.fcntl(descriptor, _FULL_SYNC)
            else:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lock(self, path: str, owner: str) -> Lock:
        return RealLock(path, owner)

    def free_bytes(self, path: str) -> int:
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize
