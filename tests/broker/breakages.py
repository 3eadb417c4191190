"""`make breakages`: break each numbered sentence in a copy of the code, and see that its tests fail.

Says which breakages were noticed, which were not, and which no longer fit the code. Arguments choose
sentences: `python -m tests.broker.breakages E5 S1`. Not part of the default tests: it takes some minutes.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.breaking import try_all

HERE = Path(__file__).parent
TESTS = {
    "S": (HERE / "test_what_may_be_shown.py", HERE / "test_seen_whole.py"),
    "E": (HERE / "test_engine.py",),
}
CLUMSY = re.compile(r"^.*\b(?:Name|Syntax|Indentation|Import|Attribute|Type)Error\b.*$", re.MULTILINE)
"""A breakage that can't even run would be noticed by any test."""


class Breakage(NamedTuple):
    """One way to break one sentence. file: below src/oncelog."""

    sentence: str
    what: str
    file: str
    old: str
    new: str


def all_breakages() -> list[Breakage]:
    with (HERE / "breakages.toml").open("rb") as file:
        return [Breakage(**row) for row in tomllib.load(file)["breakage"]]


def tests_of(breakages: Sequence[Breakage]) -> list[str]:
    """The tests of their sentences, as pytest's arguments."""
    sentences = sorted({each.sentence for each in breakages})
    files = sorted({str(file) for sentence in sentences for file in TESTS[sentence[0]]})
    return [*files, "-k", " or ".join(f"test_{sentence.lower()}_" for sentence in sentences)]


def main(wanted: list[str]) -> int:
    known = {each.sentence for each in all_breakages()}
    if unknown := sorted(set(wanted) - known):
        print(
            f"no breakage is of {', '.join(unknown)}; there are {', '.join(sorted(known))}", file=sys.stderr
        )
        return 2
    chosen = [each for each in all_breakages() if not wanted or each.sentence in wanted]
    return try_all(chosen, lambda each: each.sentence, tests_of, CLUMSY)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
