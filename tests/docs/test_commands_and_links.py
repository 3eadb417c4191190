"""What the documents name is there: files that they link to or cite, make targets that they tell to run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
RELATIVE_TO = (ROOT, ROOT / "docs", ROOT / "src", ROOT / "src" / "oncelog")
"""Where a path in backticks may begin; `broker/engine.py` is the package's."""

LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")
CITED_FILE = re.compile(r"`([\w./-]+/[\w./-]+\.(?:py|md|json|xml|toml))[` ]")
CITED_TARGET = re.compile(r"(?:`|^)make ([a-z][a-z-]*)", re.MULTILINE)
TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)
OFFERED = re.compile(r"^([a-z][a-z-]*):.*##", re.MULTILINE)
EXAMPLE = ROOT / "CONTRIBUTING.md", "src/oncelog/broker/api/describe_producers.py"


def makefile() -> str:
    return (ROOT / "Makefile").read_text()


def in_documents(pattern: re.Pattern[str]) -> Iterator[tuple[Path, str]]:
    for document in DOCUMENTS:
        for found in pattern.finditer(document.read_text()):
            yield document, found[1]


def test_links_lead_somewhere() -> None:
    dead = [f"{document.name}: {link}" for document, link in in_documents(LINK) if not there(document, link)]
    assert not dead


def test_the_readme_leads_to_every_document() -> None:
    linked = {(ROOT / link).resolve() for document, link in in_documents(LINK) if document.parent == ROOT}
    assert set((ROOT / "docs").glob("*.md")) <= linked


def there(document: Path, link: str) -> bool:
    return (document.parent / link).exists()


def test_files_that_are_cited_exist() -> None:
    missing = [
        f"{document.name}: {path}"
        for document, path in in_documents(CITED_FILE)
        if (document, path) != EXAMPLE and not any((base / path).exists() for base in RELATIVE_TO)
    ]
    assert not missing


def test_make_targets_that_are_cited_exist() -> None:
    targets = set(TARGET.findall(makefile()))
    missing = [
        f"{document.name}: make {name}"
        for document, name in in_documents(CITED_TARGET)
        if name not in targets
    ]
    assert not missing


@pytest.mark.parametrize("target", sorted(set(OFFERED.findall(makefile())) - {"setup", "clean"}))
def test_each_make_target_is_told_of_in_a_document(target: str) -> None:
    assert target in {name for _, name in in_documents(CITED_TARGET)}, (
        f"docs/testing.md should tell of make {target}"
    )
