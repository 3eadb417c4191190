"""How much memory this process may still take, as far as the system says. Knows nothing of what it is for."""

from __future__ import annotations

from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


def free_bytes() -> int | None:
    """What is available, or what the container may have where that is less; None where neither is told."""
    known = [size for size in (available_bytes(), container_bytes()) if size is not None]
    return min(known, default=None)


def available_bytes() -> int | None:
    """What Linux says is available without swapping; None where it does not say."""
    for line in _lines(MEMINFO):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def container_bytes() -> int | None:
    """The limit of the control group, where there is one: what the host has available says nothing of it."""
    text = "".join(_lines(CONTAINER_LIMIT)).strip()
    return int(text) if text.isdecimal() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
