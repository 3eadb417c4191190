"""What `python -m oncelog.docs` writes is what stands in docs/, and the command notices when it isn't."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from oncelog.broker.registry import Registry, Route
from oncelog.docs import protocol
from oncelog.docs.__main__ import EXIT_STALE, EXIT_USAGE, PARTS, main, replaced

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "docs", tmp_path / "docs"))


def test_nothing_in_docs_is_stale(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", "--docs", str(ROOT / "docs")]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.marker or part.file)
def test_a_stale_part_is_told_and_rewritten(
    part: tuple[str, str | None], copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, marker, _ = part
    path = copied / file
    fresh = path.read_text()
    path.write_text("an older page\n" if marker is None else replaced(fresh, marker, "an older table"))
    stale = path.read_text()
    assert main(["--check", "--docs", str(copied)]) == EXIT_STALE
    assert str(path) in capsys.readouterr().out
    assert path.read_text() == stale, "--check must change nothing"
    assert main(["--docs", str(copied)]) == 0
    assert path.read_text() == fresh


def test_a_file_that_lost_its_markers_is_left_alone(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copied / "options.md"
    path.write_text("no markers\n")
    assert main(["--docs", str(copied)]) == EXIT_USAGE
    assert "<!-- options --> and <!-- /options --> must each be there once" in capsys.readouterr().err
    assert path.read_text() == "no markers\n"


def test_a_docstring_that_tells_other_versions_than_the_declaration_is_refused() -> None:
    api = Registry.load().routes[1].api
    with pytest.raises(ValueError, match=r"Fetch: the docstring says .*'4-17'.*, the declaration .*'4-18'"):
        protocol.described(Route(api, print, "Fetch (key 1, v4-17): read record batches."))
    with pytest.raises(ValueError, match="Fetch: the docstring must begin"):
        protocol.described(Route(api, print, "Reads record batches."))


def test_each_deliberate_difference_is_documented_and_tested() -> None:
    documented = {each.test for each in protocol.DIFFERENCES}
    marked = set(marked_tests())
    assert not marked - documented, "tell of these in DIFFERENCES of oncelog/docs/protocol.py"
    assert not documented - marked, "documented as different on purpose, but no test is marked so"


def marked_tests() -> Iterator[str]:
    """The names of the tests that are marked `deliberate_difference`."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text()
        if "mark.deliberate_difference(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and any(
                "deliberate_difference" in ast.dump(decorator) for decorator in node.decorator_list
            ):
                yield node.name
