"""Durable writes past the page cache, where the system knows O_DIRECT and RWF_DSYNC: on Linux.

Why past the page cache: what is written durably is not read back from there (readers have a cache of their
own), and copying it in costs the processor more than everything else that is done to a batch.
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
from collections.abc import Sequence

from oncelog.disk.file import Buffer

WRITE_DURABLE: int | None = getattr(os, "RWF_DSYNC", None)
DIRECT: int = getattr(os, "O_DIRECT", 0)
NOT_SUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)

DIRECT_BLOCK_BYTES = 4096
"""Direct writes begin and end on multiples of this, in the file and in memory."""
DIRECT_BUFFER_BYTES_MAX = 4 << 20
ZEROS_BYTES = 512 << 10
"""Zeros are written in pieces of this: an entry on its way to the same disk waits for one of them only."""


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
        if not DIRECT or WRITE_DURABLE is None:
            return None
        try:
            return cls(os.open(path, os.O_WRONLY | DIRECT))
        except OSError as refused:
            if refused.errno not in NOT_SUPPORTED:
                raise
            return None

    @staticmethod
    def fits(offset: int, size_bytes: int) -> bool:
        return offset % DIRECT_BLOCK_BYTES == 0 and size_bytes % DIRECT_BLOCK_BYTES == 0

    def write_some(self, buffers: Sequence[Buffer], size_bytes: int, offset: int) -> int:
        """Collect the buffers in memory that begins on a block, and write them durably with one call."""
        assert WRITE_DURABLE is not None
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
            return os.pwritev(self._descriptor, [into[:at]], offset, WRITE_DURABLE)

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
