"""The Go program of tests/franz_go/program: built once, kept in build/, and driven by its verbs.

Knows how it is built and talked to; what its lines should say is the tests' affair.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).parent / "program"
KEPT = ROOT / "build" / "franz-go"
BUILD_TIMEOUT_S = 300
STOP_TIMEOUT_S = 60.0
USUAL_PLACES = (Path("/usr/local/go/bin"), Path("/usr/lib/go/bin"))

Line = dict[str, Any]


class GoMissing(Exception):
    """Why franz-go cannot be run here, in words."""


class ProgramFailed(AssertionError):
    """The program ended otherwise than it should. The message holds what it said."""


def built() -> Path:
    """The program, built of these sources if it isn't there yet."""
    found = shutil.which("go") or next(
        (str(path / "go") for path in USUAL_PLACES if (path / "go").exists()), None
    )
    if found is None:
        raise GoMissing("franz-go was left out: Go is not installed")
    sources = sorted([*SOURCE.glob("*.go"), SOURCE / "go.mod", SOURCE / "go.sum"])
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    program = KEPT / f"franz-{digest}"
    if not program.exists():
        _build(found, program)
    return program


def _build(go: str, program: Path) -> None:
    """Without optimization and without C, which halves the time."""
    KEPT.mkdir(parents=True, exist_ok=True)
    made = program.with_name(f"{program.name}.{os.getpid()}.part")
    command = [go, "build", "-trimpath", "-gcflags=all=-N -l", "-ldflags=-s -w", "-o", str(made), "."]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"}
    done = subprocess.run(
        command, cwd=SOURCE, env=environment, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S
    )
    if done.returncode != 0:
        raise GoMissing(f"franz-go was left out: go could not build it: {done.stderr.strip()[-500:]}")
    for older in KEPT.glob("franz-*"):
        if older != made:
            older.unlink()
    made.rename(program)


class Program:
    """A run of a program that tells things in lines of JSON. They are in `lines` as they come."""

    def __init__(self, command: Sequence[str]) -> None:
        self.lines: list[Line] = []
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, name="lines", daemon=True),
            threading.Thread(target=self._read_errors, name="errors", daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(json.loads(line))

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors.extend(self._process.stderr)

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def finish(self, timeout_s: float = STOP_TIMEOUT_S) -> list[Line]:
        """Wait until it ends by itself; what it told."""
        status = self._process.wait(timeout_s)
        for reader in self._readers:
            reader.join(timeout_s)
        if status != 0:
            raise ProgramFailed(f"it ended with {status}: {''.join(self._errors)[-2000:]}\n{self.lines[-3:]}")
        return self.lines

    def stop(self) -> list[Line]:
        """Tell it to stop, and wait until it has; what it told."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        return self.finish()

    def kill(self) -> None:
        """kill -9: it gets no chance to do anything."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_running:
            self.kill()


class Franz(Program):
    """One run of a verb of franz-go's program."""

    def __init__(self, bootstrap: str, verb: str, **flags: object) -> None:
        super().__init__([str(built()), verb, f"--bootstrap={bootstrap}", *words_of(flags)])


def words_of(flags: Mapping[str, object]) -> list[str]:
    """As words of a command line."""
    return [f"--{name.replace('_', '-')}={_word(value)}" for name, value in flags.items()]


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def franz(bootstrap: str, verb: str, **flags: object) -> list[Line]:
    """A run of a verb that ends by itself; what it told."""
    with Franz(bootstrap, verb, **flags) as running:
        return running.finish()
