"""What the system grants and tells a process, also on systems that have less to tell."""

from __future__ import annotations

import builtins
import errno
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from oncelog.broker import process
from oncelog.broker.process import NO_LIMIT, OpenFiles

INFINITY = 2**63 - 1
"""As macOS has it; Linux has -1."""


class Limits(types.ModuleType):
    """A `resource` that grants soft limits up to `granted_max`."""

    RLIMIT_NOFILE, RLIM_INFINITY, RUSAGE_SELF = 7, INFINITY, 0

    def __init__(self, soft: int, hard: int, granted_max: int) -> None:
        super().__init__("resource")
        self.limits = (soft, hard)
        self._granted_max = granted_max

    def getrlimit(self, _kind: int) -> tuple[int, int]:
        return self.limits

    def setrlimit(self, _kind: int, limits: tuple[int, int]) -> None:
        if limits[0] > self._granted_max:
            raise ValueError("current limit exceeds maximum limit")
        self.limits = limits

    def getrusage(self, _who: int) -> types.SimpleNamespace:
        return types.SimpleNamespace(ru_maxrss=5000)


@pytest.mark.parametrize(
    ("soft", "hard", "granted_max", "raised"),
    [
        (1024, 4096, INFINITY, 4096),
        (4096, 4096, 0, 4096),
        (256, INFINITY, 10_240, 10_240),
        (1024, INFINITY, 1 << 20, 1 << 20),
        (20_000, INFINITY, 10_240, 20_000),
        (INFINITY, INFINITY, 0, INFINITY),
        (256, INFINITY, 300, 256),
    ],
)
def test_the_soft_limit_of_open_files_is_raised_as_far_as_it_goes(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, granted_max: int, raised: int
) -> None:
    resource = Limits(soft, hard, granted_max)
    monkeypatch.setitem(sys.modules, "resource", resource)
    process.raise_open_files_limit()
    assert resource.limits == (raised, hard)
    told = tuple(NO_LIMIT if limit == INFINITY else limit for limit in (raised, hard))
    assert process.open_files() == OpenFiles(*told)


@pytest.mark.parametrize(("platform", "resident_bytes"), [("darwin", 5000), ("freebsd14", 5000 * 1024)])
def test_memory_where_linux_does_not_tell(
    monkeypatch: pytest.MonkeyPatch, platform: str, resident_bytes: int
) -> None:
    def no_such_file(path: Any, *_others: Any, **_named: Any) -> None:
        raise FileNotFoundError(errno.ENOENT, "no /proc here", path)

    monkeypatch.setattr(builtins, "open", no_such_file)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setitem(sys.modules, "resource", Limits(1, 1, 1))
    found = process.resident_bytes()
    monkeypatch.undo()
    assert found == resident_bytes


@pytest.mark.parametrize("ask", [process.open_files, process.resident_bytes, process.raise_open_files_limit])
def test_windows_tells_nothing(monkeypatch: pytest.MonkeyPatch, ask: Callable[[], object]) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "resource", None)
    assert ask() is None
