"""A disk whose files are read and never changed, for those who only look at what a stopped broker left.

Writes into a file are taken for done and go nowhere: the journal makes its end clean and durable when it is
read, which is for the next broker to do. Names can't be changed at all. Must not know what the bytes are.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NoReturn

from oncelog.disk import Disk, Lock
from oncelog.disk.file import Buffer, File


class UnchangedDisk:
    """Another disk, for reading only; its lock is taken as usual."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def open(self, path: str, *, for_writing: bool = False) -> File:  # noqa: ARG002
        return UnchangedFile(self._disk.open(path))

    def exists(self, path: str) -> bool:
        return self._disk.exists(path)

    def list(self, path: str) -> list[str]:
        return self._disk.list(path)

    def lock(self, path: str, owner: str) -> Lock:
        return self._disk.lock(path, owner)

    def free_bytes(self, path: str) -> int:
        return self._disk.free_bytes(path)

    def sync_directory(self, path: str) -> None:
        pass

    def create(self, path: str) -> File:
        _refuse(path)

    def make_directory(self, path: str) -> None:
        _refuse(path)

    def rename(self, old: str, new: str) -> None:  # noqa: ARG002
        _refuse(old)

    def remove(self, path: str) -> None:
        _refuse(path)


class UnchangedFile(File):
    """An open file that stays as it is."""

    def __init__(self, file: File) -> None:
        self._file = file

    def write_some(self, buffers: Sequence[Buffer], offset: int, durable: bool) -> int:  # noqa: ARG002
        return sum(map(len, buffers))

    def read_some(self, buffer: memoryview, offset: int) -> int:
        return self._file.read_some(buffer, offset)

    def read_nowait(self, size_bytes: int, offset: int) -> bytes | None:
        return self._file.read_nowait(size_bytes, offset)

    def sync(self) -> None:
        pass

    def truncate(self, size_bytes: int) -> None:
        pass

    def size(self) -> int:
        return self._file.size()

    def close(self) -> None:
        self._file.close()


def _refuse(path: str) -> NoReturn:
    raise io.UnsupportedOperation(f"{path} is only looked at")
