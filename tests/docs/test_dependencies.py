"""docs/dependencies.md gives a reason for each dependency of pyproject.toml, and for nothing else."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable

from tests.docs.blocks import ROOT

NAME = re.compile(r"[A-Za-z0-9._-]+")


def names(requirements: Iterable[str]) -> set[str]:
    """The distributions, without versions, extras and markers."""
    found = [NAME.match(requirement) for requirement in requirements]
    return {match[0] for match in found if match is not None}


def documented(section: str) -> set[str]:
    """The first cells of the table under a heading."""
    _, _, after = (ROOT / "docs" / "dependencies.md").read_text().partition(f"## {section}\n")
    cells = re.findall(r"^\| ([^|]+) \|", after.partition("\n## ")[0], re.MULTILINE)
    return {name for cell in cells if cell != "dependency" for name in cell.split(", ")}


def test_each_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    of_package = names(project["project"]["dependencies"])
    for extra in project["project"]["optional-dependencies"].values():
        of_package |= names(extra)
    assert documented("Of the package") == of_package
    for_tests = {name for group in project["dependency-groups"].values() for name in names(group)}
    assert documented("For tests and tools") == for_tests
