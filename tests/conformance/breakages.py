"""`make conformance-breakages`: break behaviours of docs/conformance.md, and see that their tests fail.

Says which breakages were noticed, which were not, and which no longer fit the code. Arguments choose
behaviours: `python -m tests.conformance.breakages 24 25`. Not part of the default tests: it takes minutes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import NamedTuple

from tests.conformance.page import PAGE, ROOT, rows

BREAKAGES = Path(__file__).with_name("breakages.toml")
TIMEOUT_S = 120
SLOW_TO_RUN = ("tests/conformance/", "tests/clients/", "tests/crash/", "tests/demo/")
"""Left out where a behaviour has other tests."""
CLUMSY = re.compile(r"^.*\b(?:(?:Name|Syntax|Indentation|Import)Error|ServerDied)\b.*$", re.MULTILINE)
"""A breakage that can't even run would be noticed by any test."""
PASSED, FAILED = 0, 1
"""Pytest's exit codes; any other is a test that could not be run at all."""


class Breakage(NamedTuple):
    """One way to break one behaviour. file: below src/oncelog."""

    behaviour: int
    what: str
    file: str
    old: str
    new: str


def all_breakages() -> list[Breakage]:
    with BREAKAGES.open("rb") as file:
        return [Breakage(**row) for row in tomllib.load(file)["breakage"]]


def tests_by_behaviour() -> dict[int, list[str]]:
    """The tests to run for each: those of the page, the quick ones where there are any."""
    found = {}
    for row in rows(PAGE.read_text()):
        if not row.is_trap:
            quick = [test for test in row.tests if not test.startswith(SLOW_TO_RUN)]
            found[int(row.key)] = quick or list(row.tests)
    return found


def run_tests(tests: list[str], source: Path) -> tuple[int, str]:
    """Run them against the code in `source`."""
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


def try_one(breakage: Breakage, tests: list[str], source: Path) -> str:
    """Empty when the breakage was noticed, else what is wrong with it."""
    path = source / "oncelog" / breakage.file
    whole = path.read_text()
    if whole.count(breakage.old) != 1:
        return f"does not fit: its text is {whole.count(breakage.old)} times in {breakage.file}"
    path.write_text(whole.replace(breakage.old, breakage.new))
    try:
        code, output = run_tests(tests, source)
    except subprocess.TimeoutExpired:
        return ""
    finally:
        path.write_text(whole)
    if code == FAILED:
        clumsy = CLUMSY.search(output)
        return f"breaks more than its behaviour: {clumsy[0]}" if clumsy else ""
    return "NOT NOTICED" if code == PASSED else f"the tests did not run:\n{output[-2000:]}"


def main(wanted: list[str]) -> int:
    known = {str(each.behaviour) for each in all_breakages()}
    if unknown := sorted(set(wanted) - known):
        print(f"no breakage is of {', '.join(unknown)}", file=sys.stderr)
        return 2
    chosen = [each for each in all_breakages() if not wanted or str(each.behaviour) in wanted]
    tests = tests_by_behaviour()
    wrong = 0
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "src"
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        for breakage in chosen:
            problem = try_one(breakage, tests[breakage.behaviour], source)
            wrong += bool(problem)
            print(f"{breakage.behaviour:4} {problem or 'noticed':12} {breakage.what}", flush=True)
        # Last, since it must not be the tests themselves that fail.
        quick = sorted({test for each in chosen for test in tests[each.behaviour]})
        code, output = run_tests(quick, source)
        if code != PASSED:
            print(output, "\nthe tests fail without any breakage")
            return 1
    print(f"{len(chosen)} breakages, {len(chosen) - wrong} noticed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
