"""An open file: what a disk must supply, and the loops over it that repeat what came out short.

Every kind of disk shares the loops, so that short writes are tested by a disk that makes them.
"""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Sequence

Buffer = bytes | bytearray | memoryview

ZEROS = bytes(1 << 20)


class File(ABC):
    """Reads and writes at offsets; nothing is kept between calls. Callable from several threads."""

    # --- what a disk supplies ---

    @abstractmethod
    def write_some(self, buffers: Sequence[Buffer], offset: int, durable: bool) -> int:
        """One system call; returns how many bytes were written, perhaps fewer than given."""

    @abstractmethod
    def read_some(self, buffer: memoryview, offset: int) -> int:
        """One system call; returns how many bytes were read, perhaps fewer than wanted; 0 at the end."""

    @abstractmethod
    def read_nowait(self, size_bytes: int, offset: int) -> bytes | None:
        """Exactly these bytes where all are in the page cache, else None; None too where one can't tell."""

    @abstractmethod
    def sync(self) -> None:
        """Make everything written so far durable, the file's size included. Never retry a failed one."""

    @abstractmethod
    def truncate(self, size_bytes: int) -> None:
        """Cut or extend with zeros; durable after `sync`."""

    @abstractmethod
    def size(self) -> int:
        """The file's length in bytes."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file; idempotent."""

    # --- what every disk shares ---

    def write(self, buffers: Sequence[Buffer], offset: int, *, durable: bool = False) -> None:
        """Write all of the buffers, one after the other; durable: on return they are on the disk."""
        remaining = sum(map(len, buffers))
        while True:
            written = self.write_some(buffers, offset, durable)
            remaining -= written
            assert remaining >= 0, "more was written than given"
            if remaining == 0:
                return
            if written == 0:
                raise OSError(errno.EIO, "a write made no progress")
            buffers = _after(buffers, written)
            offset += written

    def zero_fill(self, offset: int, size_bytes: int) -> None:
        """Write zeros, so that later writes there change no metadata; durable after `sync`."""
        while size_bytes:
            step = min(size_bytes, len(ZEROS))
            self.write([memoryview(ZEROS)[:step]], offset)
            offset += step
            size_bytes -= step

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill the buffer; returns how much of it, less than all only at the end of the file."""
        filled = 0
        while filled < len(buffer):
            count = self.read_some(buffer[filled:], offset + filled)
            if count == 0:
                break
            filled += count
        return filled

    def read(self, size_bytes: int, offset: int) -> bytes:
        """These bytes; fewer only at the end of the file."""
        buffer = bytearray(size_bytes)
        filled = self.read_into(memoryview(buffer), offset)
        return bytes(memoryview(buffer)[:filled])


def _after(buffers: Sequence[Buffer], count: int) -> list[Buffer]:
    """What remains of the buffers after their first `count` bytes."""
    rest: list[Buffer] = []
    for buffer in buffers:
        if count >= len(buffer):
            count -= len(buffer)
        else:
            rest.append(memoryview(buffer)[count:] if count else buffer)
            count = 0
    return rest
