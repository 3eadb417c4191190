"""How much memory this process may still take, as far as the system says. Knows nothing of what it is for."""

from __future__ import annotations

from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Beside it lie memory.current, what the container takes, and memory.stat, what that is."""


def free_bytes() -> int | None:
    """What is available, or left of the container's where that is less; None where neither is told."""
    known = [size for size in (available_bytes(), container_bytes()) if size is not None]
    return min(known, default=None)


def available_bytes() -> int | None:
    """What Linux says is available without swapping; None where it does not say."""
    for line in _lines(MEMINFO):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def container_bytes() -> int | None:
    """What is left of the control group's limit, where there is one; the host's memory says nothing of it.

    Pages of files that were not used lately count as free: the system takes them back before it kills.
    """
    limit = "".join(_lines(CONTAINER_LIMIT)).strip()
    if not limit.isdecimal():
        return None
    current = "".join(_lines(CONTAINER_LIMIT.with_name("memory.current"))).strip()
    used_bytes = int(current) if current.isdecimal() else 0
    for line in _lines(CONTAINER_LIMIT.with_name("memory.stat")):
        if line.startswith("inactive_file "):
            used_bytes -= int(line.split()[1])
    return max(int(limit) - max(used_bytes, 0), 0)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
