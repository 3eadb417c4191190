"""docs/frameworks.md shows the examples as they are, and the table of a run that had all of them."""

from __future__ import annotations

import re

from tests.docs.blocks import ROOT, blocks
from tests.frameworks.checks import CHECKS
from tests.frameworks.services import FRAMEWORKS

PAGE = "docs/frameworks.md"


def test_the_code_shown_is_the_examples() -> None:
    page = (ROOT / PAGE).read_text()
    named = re.findall(r"\]\(\.\./examples/(\w+\.py)\)", page)
    assert named == [framework.example for framework in FRAMEWORKS]
    assert set(named) == {path.name for path in (ROOT / "examples").glob("*.py")}
    assert blocks(PAGE, "python") == [(ROOT / "examples" / name).read_text() for name in named]


def test_the_table_has_each_framework_and_check() -> None:
    _, _, after = (ROOT / PAGE).read_text().partition("<!-- frameworks -->\n")
    rows = [line.strip("| ").split(" | ") for line in after.partition("<!-- /")[0].splitlines()]
    head, _, versions, *checks = rows
    assert head == [framework.name for framework in FRAMEWORKS]
    assert [row[0] for row in checks] == list(CHECKS)
    assert all(len(row) == len(FRAMEWORKS) + 1 for row in [versions, *checks])
    words = re.compile(r"(pass|fail: .+|not applicable: .+|skipped: .+|pass: .+)$")
    assert all(words.match(cell) for row in checks for cell in row[1:])


def test_each_framework_is_in_the_group_of_its_own() -> None:
    """`requirement` fails where pyproject.toml's group doesn't name it."""
    assert all(framework.wanted().startswith(framework.requirement) for framework in FRAMEWORKS)
