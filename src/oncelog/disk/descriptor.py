"""A file of the operating system, as far as all systems have it alike; `posix` and `windows` add the rest.

Must not know which system it is.
"""

from __future__ import annotations

import os

from oncelog.disk.file import File

BINARY: int = getattr(os, "O_BINARY", 0)
"""Without it, Windows would change what looks like the end of a line."""


class DescriptorFile(File):
    """A file descriptor. Closing it while another thread uses it is the caller's error."""

    def __init__(self, path: str, flags: int) -> None:
        self._descriptor = os.open(path, flags | BINARY, 0o644)

    def truncate(self, size_bytes: int) -> None:
        os.ftruncate(self._descriptor, size_bytes)

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
