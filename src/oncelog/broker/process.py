"""What the system tells of this process, and grants it. Where a system does not say, the answer is None.

Must not know what asks: metrics, `serve` and `doctor` do.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NamedTuple

OPEN_FILES_WHERE_UNLIMITED = (1 << 20, 10_240)
"""Soft limits that are tried, in order, where the hard limit is none: Linux grants no more than fs.nr_open,
macOS no more than OPEN_MAX, which is the last of these."""


NO_LIMIT = -1


class OpenFiles(NamedTuple):
    """How many files and connections may be open at once; NO_LIMIT where there is none."""

    soft: int
    hard: int


def open_files() -> OpenFiles | None:
    """The limits of open files, where the system has such limits: Windows does not."""
    if sys.platform == "win32":
        return None
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    return OpenFiles(*(NO_LIMIT if limit == resource.RLIM_INFINITY else limit for limit in limits))


def raise_open_files_limit() -> None:
    """Raise the soft limit as far as the system lets it."""
    limits = open_files()
    if sys.platform == "win32" or limits is None:
        return
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for wanted in OPEN_FILES_WHERE_UNLIMITED if limits.hard == NO_LIMIT else (limits.hard,):
        if limits.soft == NO_LIMIT or limits.soft >= wanted:
            return
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return


def resident_bytes() -> int | None:
    """The memory in use as Linux counts it now; on other POSIX systems the most that there ever was."""
    if sys.platform == "win32":
        return None
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # macOS counts bytes here, the others kibibytes.
        return most if sys.platform == "darwin" else most * 1024
