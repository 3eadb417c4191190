"""Each numbered sentence of docs/architecture.md has tests of its number, and breakages that they notice."""

from __future__ import annotations

import re
from pathlib import Path

from tests.broker.breakages import TESTS, all_breakages
from tests.support.breaking import misfit

PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"


def sentences() -> list[str]:
    return re.findall(r"^- \*\*([SE]\d+)\.\*\* ", PAGE.read_text(), re.MULTILINE)


def test_numbers_are_given_once_and_without_gaps() -> None:
    for letter in TESTS:
        numbers = sorted(int(sentence[1:]) for sentence in sentences() if sentence[0] == letter)
        assert numbers == list(range(1, len(numbers) + 1))


def test_each_sentence_has_a_test_of_its_number() -> None:
    tested = {
        f"{letter}{number}"
        for letter, paths in TESTS.items()
        for path in paths
        for number in re.findall(rf"^def test_{letter.lower()}(\d+)_", path.read_text(), re.MULTILINE)
    }
    assert tested == set(sentences())


def test_each_sentence_can_be_broken() -> None:
    """`make breakages` sees that it is noticed."""
    assert {breakage.sentence for breakage in all_breakages()} == set(sentences())


def test_each_breakage_fits_the_code() -> None:
    for each in all_breakages():
        assert not misfit(each), f"{each.sentence}, {each.what!r}, {misfit(each)}"
