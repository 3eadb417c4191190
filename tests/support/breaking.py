"""Break the code on purpose, one change after the other in a copy of it, and see that tests fail each time.

Says which breakages were noticed, which were not, and which no longer fit the code. It must not know which
tests belong to what is broken.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 120
PASSED, FAILED = 0, 1
"""Pytest's exit codes; any other is a test that could not be run at all."""


class Breakage(Protocol):
    """One change. file: below src/oncelog, where `old` stands once."""

    @property
    def what(self) -> str: ...
    @property
    def file(self) -> str: ...
    @property
    def old(self) -> str: ...
    @property
    def new(self) -> str: ...


B = TypeVar("B", bound=Breakage)


def misfit(breakage: Breakage) -> str:
    """Why it cannot be made in the code as it is; empty where it can."""
    return _misfit(breakage, (ROOT / "src/oncelog" / breakage.file).read_text())


def _misfit(breakage: Breakage, text: str) -> str:
    count = text.count(breakage.old)
    return "" if count == 1 else f"does not fit: its text is {count} times in {breakage.file}"


def run_tests(tests: Sequence[str], source: Path) -> tuple[int, str]:
    """Run tests, as pytest's arguments name them, against the code in `source`: exit code and output."""
    command = [
        sys.executable,
        *("-m", "pytest", *tests),
        *("-q", "-x", "--no-header", "--tb=short", "-p", "no:cacheprovider", "--timeout=60"),
    ]
    environment = {**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    return done.returncode, done.stdout + done.stderr


def try_one(breakage: Breakage, tests: Sequence[str], source: Path, clumsy: re.Pattern[str]) -> str:
    """Empty when the breakage was noticed, else what is wrong with it."""
    path = source / "oncelog" / breakage.file
    whole = path.read_text()
    if problem := _misfit(breakage, whole):
        return problem
    path.write_text(whole.replace(breakage.old, breakage.new))
    try:
        code, output = run_tests(tests, source)
    except subprocess.TimeoutExpired:
        return ""
    finally:
        path.write_text(whole)
    if code == FAILED:
        found = clumsy.search(output)
        return f"breaks more than it should: {found[0]}" if found else ""
    return "NOT NOTICED" if code == PASSED else f"the tests did not run:\n{output[-2000:]}"


def try_all(
    chosen: Sequence[B],
    label: Callable[[B], object],
    tests_of: Callable[[Sequence[B]], Sequence[str]],
    clumsy: re.Pattern[str],
) -> int:
    """Try them one by one, printing a line for each; the exit code.

    label: what a breakage is of. tests_of: the tests of some. clumsy: output that shows a breakage that can't
    even run, which any test would notice.
    """
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "src"
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        place = [sys.executable, "-c", "import oncelog; print(oncelog.__file__)"]
        environment = {**os.environ, "PYTHONPATH": str(source)}
        found = subprocess.run(place, env=environment, capture_output=True, text=True, check=True).stdout
        assert found.startswith(str(source)), f"the tests would run against {found.strip()}"
        code, output = run_tests(tests_of(chosen), source)
        if code != PASSED:
            print(output, "\nthe tests fail without any breakage")
            return 1
        wrong = 0
        for breakage in chosen:
            problem = try_one(breakage, tests_of([breakage]), source, clumsy)
            wrong += bool(problem)
            print(f"{label(breakage):4} {problem or 'noticed':12} {breakage.what}", flush=True)
    print(f"{len(chosen)} breakages, {len(chosen) - wrong} noticed")
    return 1 if wrong else 0
