"""docs/conformance.md as data: its rows, its figures, and what is wrong with it.

Knows the form of the page and that a test's id is FILE::NAME; not what any behaviour means.
"""

from __future__ import annotations

import ast
import functools
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "conformance.md"

NUMBERS = range(1, 183)
LATER = {16, 42, 48, 80, 81, 129, 155, *range(166, 173), 181}
"""What belongs to parts that don't exist yet: removing and compacting records, ACLs, SASL, new groups."""
MAY_DIFFER = {21, 25, 47, *range(65, 68), 69, 71, 76, 88, 89, 95, 96, 105}
MAY_DIFFER |= {*range(110, 113), *range(114, 117), 118, 124, 180}
STATUSES = ("held", "different", "not yet", "later")
TESTED = {"held", "different"}
WITH_STOCK_CLIENTS = ("tests/conformance/test_stock_clients.py::", "tests/clients/")

_ROW = re.compile(r"^\| (T?\d+) \| (\w[\w ]*) \| (.+?) \| (.*?) ?\|$", re.MULTILINE)
_FIGURE = re.compile(r"^\| (\w[\w ]*) \| (\d+) \|", re.MULTILINE)
_ID = re.compile(r"`([^`]+)`")


class Row(NamedTuple):
    """One line of a table. key: the behaviour's number, or T and the trap's."""

    key: str
    status: str
    words: str
    tests: tuple[str, ...]

    @property
    def is_trap(self) -> bool:
        return self.key.startswith("T")


def rows(text: str) -> list[Row]:
    return [
        Row(key, status, words, tuple(_ID.findall(ids))) for key, status, words, ids in _ROW.findall(text)
    ]


def problems(text: str) -> Iterator[str]:
    """What is wrong with the page, a sentence each."""
    found = rows(text)
    yield from _wrong_numbers(found)
    yield from _wrong_figures(text, found)
    for row in found:
        yield from (f"{row.key}: {wrong}" for wrong in _wrong_in(row))


def _wrong_numbers(found: list[Row]) -> Iterator[str]:
    numbers = Counter(int(row.key) for row in found if not row.is_trap)
    for number in sorted(set(NUMBERS) | set(numbers)):
        if numbers[number] != 1 or number not in NUMBERS:
            yield f"{number} is there {numbers[number]} times"
    traps = [row.key for row in found if row.is_trap]
    if traps != [f"T{place}" for place in range(1, len(traps) + 1)]:
        yield "the traps are not numbered from T1 on without gaps"


def _wrong_figures(text: str, found: list[Row]) -> Iterator[str]:
    behaviours = Counter(row.status for row in found if not row.is_trap)
    traps = Counter(row.status for row in found if row.is_trap)
    true = [(status, behaviours[status]) for status in STATUSES]
    true += [(status, traps[status]) for status in ("held", "not yet")]
    said = [(status, int(count)) for status, count in _FIGURE.findall(text)]
    if said != true:
        yield f"the figures say {said}, the rows {true}"


def _wrong_in(row: Row) -> Iterator[str]:
    if row.status not in STATUSES:
        yield f"{row.status!r} is no status"
    if row.status in TESTED and not row.tests:
        yield "no test holds it"
    if row.status not in TESTED and row.tests:
        yield "it has tests and is not said to be held"
    for test in row.tests:
        if test not in tests_of(test.partition("::")[0]):
            yield f"there is no test {test}"
    if row.is_trap:
        return
    if row.status == "later" and int(row.key) not in LATER:
        yield "it is not for later"
    if row.status == "different":
        if int(row.key) not in MAY_DIFFER:
            yield "it may not be different"
        if not any(test.startswith(WITH_STOCK_CLIENTS) for test in row.tests):
            yield "no test shows that stock clients don't notice"


@functools.cache
def tests_of(file: str) -> frozenset[str]:
    """The ids of the tests in a file that are not left out always; none where there is no such file."""
    path = ROOT / file
    if not path.is_file():
        return frozenset()
    return frozenset(
        f"{file}::{node.name}"
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not any("mark.skip" in ast.unparse(decorator) for decorator in node.decorator_list)
    )
