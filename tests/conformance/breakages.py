"""`make conformance-breakages`: break behaviours of docs/conformance.md, and see that their tests fail.

Says which breakages were noticed, which were not, and which no longer fit the code. Arguments choose
behaviours: `python -m tests.conformance.breakages 24 25`. Not part of the default tests: it takes minutes.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.conformance.page import PAGE, rows
from tests.support.breaking import try_all

BREAKAGES = Path(__file__).with_name("breakages.toml")
SLOW_TO_RUN = ("tests/conformance/", "tests/clients/", "tests/crash/", "tests/demo/")
"""Left out where a behaviour has other tests."""
CLUMSY = re.compile(r"^.*\b(?:(?:Name|Syntax|Indentation|Import)Error|ServerDied)\b.*$", re.MULTILINE)
"""A breakage that can't even run would be noticed by any test."""


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


def main(wanted: list[str]) -> int:
    known = {str(each.behaviour) for each in all_breakages()}
    if unknown := sorted(set(wanted) - known):
        print(f"no breakage is of {', '.join(unknown)}", file=sys.stderr)
        return 2
    chosen = [each for each in all_breakages() if not wanted or str(each.behaviour) in wanted]
    tests = tests_by_behaviour()

    def tests_of(breakages: Sequence[Breakage]) -> list[str]:
        return sorted({test for each in breakages for test in tests[each.behaviour]})

    return try_all(chosen, lambda each: each.behaviour, tests_of, CLUMSY)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
