"""Other operating systems, as far as this program can tell: what they lack is taken away, what they have is
put in its place, and what they forbid fails as it does there.

`system_named` gives the disk code as such a system would run it, in this process. Run as a program, it turns
its whole process into such a system and goes on as `oncelog`. It shows that the branches for these systems
do what their authors meant; what the systems themselves do is beyond it.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import importlib
import os
import shutil
import signal
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

if __name__ == "__main__":
    # Run as a program, from wherever.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import oncelog.disk
from oncelog.disk import Disk

LINUX_NAMES = (
    *(name for name in dir(os) if name.startswith("RWF_")),
    *("O_DIRECT", "fdatasync", "posix_fallocate", "posix_fadvise", "copy_file_range", "splice"),
)
"""What macOS has not, of what one might use for files."""
POSIX_NAMES = (
    *LINUX_NAMES,
    *("pread", "pwrite", "preadv", "pwritev", "readv", "writev", "sendfile", "statvfs", "fstatvfs", "sync"),
    *("O_CLOEXEC", "O_DIRECTORY", "O_ACCMODE", "O_DSYNC", "O_SYNC", "O_NOFOLLOW", "O_NONBLOCK"),
    *("fork", "forkpty", "getuid", "geteuid", "getgid", "getegid", "getgroups", "getpriority", "nice"),
    *("sysconf", "sched_getaffinity", "sched_yield", "uname", "chown", "fchown", "mkfifo", "getloadavg"),
)
"""What Windows has not."""
VECTORS = ("preadv", "pwritev")
MODULES = tuple(f"oncelog.disk.{name}" for name in ("descriptor", "direct", "posix", "windows", "real"))
O_BINARY = 0x8000
F_FULLFSYNC = 51
LK_NBLCK = 2


class System:
    """One of them. calls: what was synced, as (call, path), in order.

    refuses_full_sync: the errno that F_FULLFSYNC ends with.
    """

    def __init__(self, platform: str, missing: tuple[str, ...]) -> None:
        self.platform = platform
        self.missing = missing
        self.calls: list[tuple[str, str]] = []
        self.refuses_full_sync = 0
        self.os = types.ModuleType("os")
        self.os.__dict__.update(vars(os))
        self.modules: dict[str, types.ModuleType | None] = {}

    def take_away(self, module: types.ModuleType) -> None:
        """What the system has not."""
        for name in self.missing:
            if hasattr(module, name):
                delattr(module, name)

    def put_in_place(self, module: types.ModuleType) -> None:
        """What it has otherwise than this one."""
        fsync = os.fsync

        def recorded(descriptor: int) -> None:
            self.calls.append(("fsync", path_of(descriptor)))
            fsync(descriptor)

        module.fsync = recorded  # type: ignore[attr-defined]

    def disk(self) -> Disk:
        """The real disk as it runs there."""
        with self.imports():
            disk: Disk = importlib.import_module("oncelog.disk.real").RealDisk()
            return disk

    @contextmanager
    def imports(self) -> Iterator[None]:
        """Within, modules of the disk are imported anew, and as there."""
        replaced = {"os": self.os, **self.modules, **dict.fromkeys(MODULES)}
        before = {name: sys.modules.get(name) for name in replaced}
        attributes = {name: vars(oncelog.disk).pop(name.rpartition(".")[2], None) for name in MODULES}
        platform = sys.platform
        sys.modules.update({name: module for name, module in replaced.items() if name not in MODULES})  # type: ignore[misc]
        for name in MODULES:
            sys.modules.pop(name, None)
        sys.platform = self.platform
        try:
            yield
        finally:
            sys.platform = platform
            for name, module in before.items():
                sys.modules.pop(name, None)
                if module is not None:
                    sys.modules[name] = module
            for name, module in attributes.items():
                vars(oncelog.disk).pop(name.rpartition(".")[2], None)
                if module is not None:
                    setattr(oncelog.disk, name.rpartition(".")[2], module)


class MacOS(System):
    """has_vectors: preadv and pwritev, since macOS 11."""

    def __init__(self, has_vectors: bool) -> None:
        super().__init__("darwin", LINUX_NAMES if has_vectors else (*LINUX_NAMES, *VECTORS))
        self.modules = {"fcntl": self._fcntl()}

    def _fcntl(self) -> types.ModuleType:
        module = types.ModuleType("fcntl")
        vars(module).update({name: vars(fcntl)[name] for name in ("flock", "LOCK_EX", "LOCK_NB")})

        def call(descriptor: int, command: int) -> int:
            assert command == F_FULLFSYNC
            self.calls.append(("F_FULLFSYNC", path_of(descriptor)))
            if self.refuses_full_sync:
                raise OSError(self.refuses_full_sync, os.strerror(self.refuses_full_sync))
            return 0

        vars(module).update(F_FULLFSYNC=F_FULLFSYNC, fcntl=call)
        return module


class Windows(System):
    """What is open keeps its name, positions belong to descriptors, and locks are of bytes."""

    def __init__(self) -> None:
        super().__init__("win32", POSIX_NAMES)
        self.modules = {"msvcrt": self._msvcrt(), "fcntl": None, "resource": None, "uvloop": None}
        self.is_strict = True
        self._open: dict[int, str] = {}

    def _msvcrt(self) -> types.ModuleType:
        module = types.ModuleType("msvcrt")

        def locking(descriptor: int, mode: int, size_bytes: int) -> None:
            assert (mode, size_bytes) == (LK_NBLCK, 1)
            # What is locked can be read by nobody else.
            assert os.lseek(descriptor, 0, os.SEEK_CUR) > os.fstat(descriptor).st_size
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _denied("") from None

        vars(module).update(LK_NBLCK=LK_NBLCK, locking=locking)
        return module

    def put_in_place(self, module: types.ModuleType) -> None:
        super().put_in_place(module)
        here = types.SimpleNamespace(
            **{name: vars(os)[name] for name in ("open", "close", "replace", "remove")}
        )
        fsync = vars(module)["fsync"]

        def open_file(path: str, flags: int, mode: int = 0o777, **named: Any) -> int:
            assert flags & O_BINARY or not self.is_strict, "the ends of lines would be changed"
            if os.path.isdir(path):
                raise _denied(path)
            descriptor: int = here.open(path, flags & ~O_BINARY, mode, **named)
            self._open[descriptor] = os.path.realpath(path)
            return descriptor

        def close(descriptor: int) -> None:
            self._open.pop(descriptor, None)
            here.close(descriptor)

        def replace(old: str, new: str) -> None:
            self._check_not_open(old, new)
            here.replace(old, new)

        def rename(old: str, new: str) -> None:
            if os.path.exists(new):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)
            replace(old, new)

        def remove(path: Any, **named: Any) -> None:
            self._check_not_open(path)
            here.remove(path, **named)

        def flush(descriptor: int) -> None:
            if fcntl.fcntl(descriptor, fcntl.F_GETFL) & 3 == os.O_RDONLY:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            fsync(descriptor)

        changed: dict[str, Callable[..., Any]] = {
            "open": open_file,
            "close": close,
            "replace": replace,
            "rename": rename,
            "remove": remove,
            "unlink": remove,
            "fsync": flush,
        }
        vars(module).update(changed, O_BINARY=O_BINARY, O_NOINHERIT=0)

    def _check_not_open(self, *paths: str) -> None:
        for path in paths:
            if os.path.realpath(path) in self._open.values():
                raise _denied(path)


def _denied(path: str) -> PermissionError:
    return PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def path_of(descriptor: int) -> str:
    """Where an open file lies."""
    return os.readlink(f"/proc/self/fd/{descriptor}")


NAMES = ("macos", "macos-10", "windows")
BARE = "bare"
"""A system that has nothing of what some have and others do not, under this one's name."""


def system_named(name: str) -> System:
    """One of NAMES, or BARE, its `os` ready."""
    if name == BARE:
        system = System(sys.platform, POSIX_NAMES)
        system.modules = dict.fromkeys(("fcntl", "msvcrt", "resource", "uvloop"))
    else:
        system = Windows() if name == "windows" else MacOS(has_vectors=name == "macos")
    system.take_away(system.os)
    system.put_in_place(system.os)
    return system


def become(name: str) -> None:
    """Turn this process into such a system, for good."""
    # The standard library is this system's, so what of it looks at the system is loaded before.
    for module in ("ctypes", "logging.handlers", "subprocess", "tempfile", "uuid"):
        importlib.import_module(module)
    system = system_named(name)
    if isinstance(system, Windows):
        system.is_strict = False
        _library_of_windows()
    for module in [each for each in sys.modules if each in MODULES]:
        del sys.modules[module]
    system.put_in_place(os)
    system.take_away(os)
    sys.modules.update(system.modules)  # type: ignore[arg-type]
    sys.platform = system.platform


def _library_of_windows() -> None:
    """What the standard library has otherwise there, of what is used."""
    from tests.support.proactor import ProactorLoop

    statvfs = os.statvfs

    def disk_usage(path: str) -> types.SimpleNamespace:
        found = statvfs(path)
        return types.SimpleNamespace(free=found.f_bavail * found.f_frsize)

    asyncio.new_event_loop = ProactorLoop  # type: ignore[assignment]
    shutil.disk_usage = disk_usage  # type: ignore[assignment]
    signal.SIGBREAK = signal.SIGUSR1  # type: ignore[attr-defined]


if __name__ == "__main__":
    _, system_name, *arguments = sys.argv
    become(system_name)
    from oncelog.cli.main import main

    sys.exit(main(arguments))
