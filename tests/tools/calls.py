"""A call of a command-line tool: how it is made, and what tells that it did what it should.

Knows processes and text only; which tools there are, and what they ask of a broker, is said elsewhere.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

TIMEOUT_S = 60.0

Runner = Callable[[list[str], bytes], tuple[int, str]]
"""Runs a command with its input; (exit status, all that it printed)."""


@dataclass(frozen=True)
class Call:
    """One command. In its words and its input {bootstrap} and what `remembers` has captured are filled in.

    says: patterns that its output must have.
    fails_because: why it cannot work on this broker; then it must fail, and its output must have `says`.
    hides_failure: the tool exits with 0 all the same; then its output alone tells.
    """

    name: str
    words: tuple[str, ...]
    says: tuple[str, ...] = ()
    keeps_silent_about: tuple[str, ...] = ()
    stdin: str = ""
    remembers: str = ""
    fails_because: str = ""
    hides_failure: bool = False


@dataclass(frozen=True)
class Tool:
    """A tool, its calls in their order, and why it can't be run here (None: it can).

    prepare: what is done between the first call and the second, with HOST:PORT of the broker.
    """

    title: str
    absence: Callable[[], str | None]
    calls: tuple[Call, ...]
    prepare: Callable[[str], None] = lambda _: None


@dataclass(frozen=True)
class Outcome:
    """How one call ended. wrong: what is not as it should be, "" when all is."""

    tool: str
    call: str
    word: str
    reason: str
    wrong: str = ""


def run_process(command: list[str], stdin: bytes) -> tuple[int, str]:
    """The command as a process of its own."""
    try:
        done = subprocess.run(
            command,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        return -1, (late.stdout or b"").decode(errors="replace") + f"\n(still running after {TIMEOUT_S} s)"
    return done.returncode, done.stdout.decode(errors="replace")


def make(tool: Tool, call: Call, memory: dict[str, str], run: Runner = run_process) -> Outcome:
    """Make one call and judge it. memory: what to fill in, and where what it tells is kept."""
    words = [_filled(word, memory) for word in call.words]
    status, output = run(words, _filled(call.stdin, memory).encode())
    wrong = _complaint(call, status, output, memory)
    if wrong:
        return Outcome(tool.title, call.name, "fail", wrong.splitlines()[0], f"{' '.join(words)}\n{wrong}")
    if call.remembers:
        found = re.search(call.remembers, output)
        assert found is not None, "says holds what remembers looks for"
        memory |= found.groupdict()
    return Outcome(tool.title, call.name, "explained" if call.fails_because else "pass", call.fails_because)


def _filled(text: str, memory: dict[str, str]) -> str:
    for name, value in memory.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _complaint(call: Call, status: int, output: str, memory: dict[str, str]) -> str:
    """What is wrong with the way it ended; its first line is short."""
    if call.fails_because and status == 0 and not call.hides_failure:
        return f"works now; the table says it cannot\n{output}"
    if not call.fails_because and status != 0:
        return f"exit status {status}\n{output}"
    wanted = [call.remembers] if call.remembers else []
    for pattern in (*call.says, *wanted):
        if re.search(_filled(pattern, memory), output, re.MULTILINE) is None:
            return f"{pattern!r} is missing\n{output}"
    for pattern in call.keeps_silent_about:
        if re.search(_filled(pattern, memory), output, re.MULTILINE) is not None:
            return f"{pattern!r} should not be there\n{output}"
    return ""
