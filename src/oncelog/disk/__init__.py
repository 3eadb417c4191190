"""The only door to files: everything that touches the data directory goes through a `Disk`.

`real.RealDisk` is the operating system's; `faulty.FaultyDisk` keeps everything in memory, tells what is
synced from what is not, and fails or loses power when told to. `workers` has the threads that make system
calls. Must not know what the bytes are.
"""

from __future__ import annotations

from typing import Protocol

from oncelog.disk.file import Buffer, File

__all__ = ["Buffer", "Disk", "File", "Lock", "LockedError"]


class LockedError(Exception):
    """Another process holds the lock. owner: what that process wrote into the lock file; may be empty."""

    def __init__(self, path: str, owner: str) -> None:
        super().__init__(f"{path} is locked by {owner or 'another process'}")
        self.owner = owner


class Lock(Protocol):
    """A lock that is held until it is released or the process ends."""

    def release(self) -> None:
        """Let go; idempotent."""
        ...


class Disk(Protocol):
    """Files and directories by their paths. Every method raises OSError as the operating system does.

    A file that was created, renamed or removed is durably so only after `sync_directory` of its directory.
    """

    def create(self, path: str) -> File:
        """A new, empty file, open for reading and writing; one that is there is emptied."""
        ...

    def open(self, path: str, *, for_writing: bool = False) -> File:
        """A file that exists."""
        ...

    def exists(self, path: str) -> bool: ...

    def list(self, path: str) -> list[str]:
        """The names in a directory, sorted."""
        ...

    def make_directory(self, path: str) -> None:
        """Make one directory; it may exist already."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Rename within one directory, replacing what is at `new`."""
        ...

    def remove(self, path: str) -> None: ...

    def sync_directory(self, path: str) -> None: ...

    def lock(self, path: str, owner: str) -> Lock:
        """Hold the lock file at `path`, or raise LockedError at once. owner: who we are, for people."""
        ...

    def free_bytes(self, path: str) -> int:
        """The space that this process may still use on the file system that holds `path`."""
        ...
