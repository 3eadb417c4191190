"""The operating system's disk. Uses what the system has: one durable write per call where it knows RWF_DSYNC,
past the page cache where it knows O_DIRECT, reads that never wait where it knows RWF_NOWAIT, and F_FULLFSYNC
where a plain sync stops at the drive's cache.

Why past the page cache: what is written durably is not read back from there (readers have a cache of their
own), and copying it in costs the processor more than everything else that is done to a batch.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import threading
from collections.abc import Sequence

from oncelog.disk import Lock, LockedError
from oncelog.disk.file import Buffer, File

_WRITE_DURABLE: int | None = getattr(os, "RWF_DSYNC", None)
_READ_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)
_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)
_DIRECT: int = getattr(os, "O_DIRECT", 0)
_NOT_SUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_BUFFERS_MAX = 512
"""Buffers per system call; systems allow 1024."""


DIRECT_BLOCK_BYTES = 4096
"""Direct writes begin and end on multiples of this, in the file and in memory."""
DIRECT_BUFFER_BYTES_MAX = 4 << 20
ZEROS_BYTES = 512 << 10
"""Zeros are written in pieces of this: an entry on its way to the same disk waits for one of them only."""


def _sync(descriptor: int) -> None:
    if _FULL_SYNC is not None:
        fcntl.fcntl(descriptor, _FULL_SYNC)
    elif hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)


class DirectWriter:
    """Durable writes of whole blocks that leave the page cache alone. Any thread may write, one at a time.

    Reads through the page cache see what was written: the system drops the pages that a direct write covers.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._guard = threading.Lock()
        self._buffer = memoryview(mmap.mmap(-1, 16 * DIRECT_BLOCK_BYTES))

    @classmethod
    def open(cls, path: str) -> DirectWriter | None:
        """None where the system or the file system has no such writes."""
        if not _DIRECT or _WRITE_DURABLE is None:
            return None
        try:
            return cls(os.open(path, os.O_WRONLY | _DIRECT | os.O_CLOEXEC))
        except OSError as refused:
            if refused.errno not in _NOT_SUPPORTED:
                raise
            return None

    @staticmethod
    def fits(offset: int, size_bytes: int) -> bool:
        return offset % DIRECT_BLOCK_BYTES == 0 and size_bytes % DIRECT_BLOCK_BYTES == 0

    def write_some(self, buffers: Sequence[Buffer], size_bytes: int, offset: int) -> int:
        """Collect the buffers in memory that begins on a block, and write them durably with one call."""
        assert _WRITE_DURABLE is not None
        with self._guard:
            into = self._room(size_bytes)
            at = 0
            for buffer in buffers:
                end = at + len(buffer)
                if end > len(into):
                    into[at:] = memoryview(buffer)[: len(into) - at]
                    at = len(into)
                    break
                into[at:end] = buffer
                at = end
            return os.pwritev(self._descriptor, [into[:at]], offset, _WRITE_DURABLE)

    def _room(self, size_bytes: int) -> memoryview:
        """A power of two of memory, kept for the next write: new memory costs more than the copy into it."""
        wanted = min(1 << (size_bytes - 1).bit_length(), DIRECT_BUFFER_BYTES_MAX)
        if len(self._buffer) < wanted:
            self._buffer = memoryview(mmap.mmap(-1, wanted))
        return self._buffer

    def zero_some(self, size_bytes: int, offset: int) -> int:
        """Write zeros, not durably."""
        return os.pwritev(self._descriptor, [_ALIGNED_ZEROS[: min(size_bytes, len(_ALIGNED_ZEROS))]], offset)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


_ALIGNED_ZEROS = memoryview(mmap.mmap(-1, ZEROS_BYTES))


class RealFile(File):
    """A file descriptor. Closing it while another thread uses it is the caller's error."""

    def __init__(self, path: str, flags: int) -> None:
        self._descriptor = os.open(path, flags | os.O_CLOEXEC, 0o644)
        self._direct = None if flags & os.O_ACCMODE == os.O_RDONLY else DirectWriter.open(path)
        self._writes_durably = _WRITE_DURABLE is not None
        self._reads_nowait = _READ_NOWAIT is not None

    def write_some(self, buffers: Sequence[Buffer], offset: int, durable: bool) -> int:
        buffers = buffers[:_BUFFERS_MAX]
        if not durable:
            return os.pwritev(self._descriptor, buffers, offset)
        if self._direct is not None:
            size_bytes = sum(map(len, buffers))
            if size_bytes and DirectWriter.fits(offset, size_bytes):
                try:
                    return self._direct.write_some(buffers, size_bytes, offset)
                except OSError as refused:
                    self._give_up_direct(refused)
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

    def _give_up_direct(self, refused: OSError) -> None:
        """Go on without direct writes where they are refused; that is before anything is written."""
        if refused.errno not in _NOT_SUPPORTED:
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
        if self._direct is not None:
            self._direct.close()


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
        # On a full disk the lock holds all the same; its owner then stays unnamed.
        with contextlib.suppress(OSError):
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
