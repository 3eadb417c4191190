"""docs/conformance.md is whole and true as far as can be seen: every number, every test, every figure."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable

import pytest

from tests.conformance.breakages import all_breakages
from tests.conformance.page import NUMBERS, PAGE, TESTED, problems, rows
from tests.support.breaking import misfit

BREAKAGES_MIN = 60


def test_every_behaviour_is_there_and_every_test_exists() -> None:
    text = PAGE.read_text()
    assert list(problems(text)) == []
    assert len(rows(text)) > len(NUMBERS), "the traps are there too"


def row(key: str) -> re.Pattern[str]:
    return re.compile(rf"^\| {key} \| .*\n", re.MULTILINE)


def with_row(key: str, change: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: row(key).sub(lambda found: change(found[0]), text)


SPOILT: dict[str, tuple[Callable[[str], str], str]] = {
    "a number left out": (with_row("24", lambda _: ""), "24 is there 0 times"),
    "a number twice": (with_row("24", lambda line: line * 2), "24 is there 2 times"),
    "a trap left out": (with_row("T3", lambda _: ""), "the traps are not numbered"),
    "a test that is gone": (
        with_row("24", lambda line: line.replace("::test_", "::test_no_such_")),
        "24: there is no test tests/machine/test_idempotent_producers.py::test_no_such_24",
    ),
    "a file that is gone": (
        with_row("24", lambda line: line.replace("tests/", "tests/gone/")),
        "24: there is no test tests/gone/",
    ),
    "a behaviour without a test": (
        with_row("24", lambda line: re.sub(r"`[^`]*`", "", line).rstrip(" |\n") + " | |\n"),
        "24: no test holds it",
    ),
    "a test of what is not held": (
        with_row("24", lambda line: line.replace("| held |", "| not yet |")),
        "24: it has tests and is not said to be held",
    ),
    "put off without leave": (
        with_row("24", lambda line: line.replace("| held |", "| later |")),
        "24: it is not for later",
    ),
    "different without leave": (
        with_row("24", lambda line: line.replace("| held |", "| different |")),
        "24: it may not be different",
    ),
    "different and unseen by clients": (
        with_row("25", lambda line: re.sub(r"`tests/conformance/[^`]*`", "", line)),
        "25: no test shows that stock clients don't notice",
    ),
    "another figure": (lambda text: text.replace("| held | ", "| held | 1", 1), "the figures say"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_a_page_that_is_wrong_is_told(what: str) -> None:
    spoil, sentence = SPOILT[what]
    text = PAGE.read_text()
    spoilt = spoil(text)
    assert spoilt != text
    assert any(problem.startswith(sentence) for problem in problems(spoilt)), list(problems(spoilt))


def test_breakages_are_of_behaviours_that_are_held_and_spread_over_all_sections() -> None:
    """`make conformance-breakages` sees that each is noticed."""
    breakages = all_breakages()
    assert len(breakages) >= BREAKAGES_MIN
    text = PAGE.read_text()
    tested = {row.key for row in rows(text) if row.status in TESTED}
    assert {str(each.behaviour) for each in breakages} <= tested
    starts = [min(int(each.key) for each in rows(part) if not each.is_trap) for part in sections(text)]
    assert len(starts) == len("ABCDEFGHIJ")
    broken = {bisect_right(starts, each.behaviour) for each in breakages}
    assert broken == set(range(1, len(starts) + 1))


def test_each_breakage_fits_the_code() -> None:
    for each in all_breakages():
        assert not misfit(each), f"{each.behaviour}, {each.what!r}, {misfit(each)}"


def sections(text: str) -> list[str]:
    """The parts of the table of behaviours, under their letters."""
    return re.split(r"^### [A-Z]\. ", text.partition("\n## Traps")[0], flags=re.MULTILINE)[1:]
