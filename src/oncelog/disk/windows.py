"""The calls of Windows: no reads and writes at offsets, so one at a time moves the file's position; no names
to sync, so a file is flushed again under its new one; and locks that keep others from reading what is locked.

A durable write is a write and a flush (`os.fsync` is _commit, which is FlushFileBuffers). What is open can be
neither renamed nor removed here. Must not be imported on other systems.
"""

from __future__ import annotations

import errno
import msvcrt
import os
import shutil
import sys
import threading
from collections.abc import Sequence

from oncelog.disk.descriptor import BINARY, DescriptorFile
from oncelog.disk.file import Buffer

assert sys.platform == "win32", "the calls of Windows, and this is another system"

LOCKED_BYTE = 1 << 30
"""Far behind all that a lock file holds, for its holder's name is read while it is locked."""
WRITE_BYTES_MAX = 16 << 20
"""What is joined for one system call: a file is written by one buffer at a time here."""
_LOCKED = frozenset({errno.EACCES, errno.EDEADLK, errno.EAGAIN})


class SystemFile(DescriptorFile):
    """A file whose position belongs to whoever has the guard."""

    def __init__(self, path: str, flags: int) -> None:
        super().__init__(path, flags)
        self._guard = threading.Lock()

    def write_some(self, buffers: Sequence[Buffer], offset: int, durable: bool) -> int:
        piece = buffers[0] if len(buffers) == 1 else _joined(buffers)
        with self._guard:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            written = os.write(self._descriptor, piece)
        if durable:
            os.fsync(self._descriptor)
        return written

    def read_some(self, buffer: memoryview, offset: int) -> int:
        with self._guard:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            found = os.read(self._descriptor, len(buffer))
        buffer[: len(found)] = found
        return len(found)

    def read_nowait(self, size_bytes: int, offset: int) -> bytes | None:  # noqa: ARG002
        return None

    def sync(self) -> None:
        os.fsync(self._descriptor)


def _joined(buffers: Sequence[Buffer]) -> bytes:
    """The buffers, or their first ones where they are too much for one call; one of them at least."""
    chosen: list[Buffer] = []
    size_bytes = 0
    for buffer in buffers:
        size_bytes += len(buffer)
        if chosen and size_bytes > WRITE_BYTES_MAX:
            break
        chosen.append(buffer)
    return b"".join(chosen)


def rename(old: str, new: str) -> None:
    """Give a file another name, in place of what has it, and flush it under that name."""
    os.replace(old, new)
    descriptor = os.open(new, os.O_RDWR | BINARY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: str) -> None:
    """Nothing that a program is offered for this; NTFS journals names itself."""


def lock(descriptor: int) -> bool:
    """A lock on one byte, which goes with the process, however that ends. False: another one holds it."""
    os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except OSError as refused:
        if refused.errno not in _LOCKED:
            raise
        return False
    return True


def free_bytes(path: str) -> int:
    """What this process may still use on the volume of `path`."""
    return shutil.disk_usage(path).free
