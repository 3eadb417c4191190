"""The operating system's disk. Which system's is chosen here, and nowhere else."""

from __future__ import annotations

import contextlib
import errno
import os
import sys

from oncelog.disk import Lock, LockedError
from oncelog.disk.descriptor import BINARY
from oncelog.disk.file import File

if sys.platform == "win32":
    from oncelog.disk import windows as system
else:
    from oncelog.disk import posix as system

OWNER_BYTES_MAX = 200


class RealLock:
    """A locked file that says who has locked it."""

    def __init__(self, path: str, owner: str) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | BINARY, 0o644)
        try:
            is_held = system.lock(self._descriptor)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            if not is_held:
                holder = os.read(self._descriptor, OWNER_BYTES_MAX).decode(errors="replace").strip()
                raise LockedError(path, holder)
        except BaseException:
            self.release()
            raise
        # On a full disk the lock holds all the same; its owner then stays unnamed.
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, owner.encode())

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class RealDisk:
    """Paths of the operating system."""

    def create(self, path: str) -> File:
        return system.SystemFile(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)

    def open(self, path: str, *, for_writing: bool = False) -> File:
        return system.SystemFile(path, os.O_RDWR if for_writing else os.O_RDONLY)

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
        system.rename(old, new)

    def remove(self, path: str) -> None:
        os.remove(path)

    def sync_directory(self, path: str) -> None:
        system.sync_directory(path)

    def lock(self, path: str, owner: str) -> Lock:
        return RealLock(path, owner)

    def free_bytes(self, path: str) -> int:
        return system.free_bytes(path)
