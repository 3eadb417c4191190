"""Every fenced block of every document is run by a test, or says right above it why not.

`<!-- not run: reason -->` stands above a block that no test runs; `<!-- any output: reason -->` above one
that may print and exit with anything.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import DOCUMENTS, ROOT, STOP, Block, all_blocks, blocks

RUN_BY = {
    ("README.md", "sh"): "tests/packaging/test_distributions.py",
    ("README.md", "python"): "tests/docs/test_readme.py",
    ("CONTRIBUTING.md", "python"): "tests/docs/test_contributing.py",
    ("docs/architecture.md", "mermaid"): "tests/docs/test_transaction_diagram.py",
    ("docs/embedding.md", "python"): "tests/embedded/test_tutorial.py",
    # They are the files that `make frameworks` runs, in an environment with all of them.
    ("docs/frameworks.md", "python"): "tests/docs/test_frameworks.py",
    ("docs/operating.md", "sh"): "tests/docs/test_running_one_broker.py",
    ("docs/running-one-broker.md", "python"): "tests/docs/test_running_one_broker.py",
    ("docs/running-one-broker.md", "sh"): "tests/docs/test_running_one_broker.py",
    ("docs/running-one-broker.md", "text"): "tests/docs/test_running_one_broker.py",
    ("docs/running-one-broker.md", "yaml"): "tests/docs/test_running_one_broker.py",
    ("docs/testing-your-service.md", "python"): "tests/testing/test_tutorial.py",
    ("docs/testing-your-service.md", "sh"): "tests/testing/test_tutorial.py",
    ("docs/transactions.md", "sh"): "tests/docs/test_running_one_broker.py",
    ("docs/transactions.md", "text"): "tests/docs/test_transactions.py",
    ("docs/wire.md", "python"): "tests/docs/test_wire_document.py",
}
"""By document and language, the test that runs all such blocks of it."""
REASON_WORDS_MIN = 4

PAGES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
BLOCKS = [block for page in PAGES for block in all_blocks(page) if block.language != STOP]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.file}:{block.line}")
def test_it_is_run_or_says_why_not(block: Block) -> None:
    if block.note is not None:
        assert len(block.note[1].split()) >= REASON_WORDS_MIN, "the reason is no reason"
    if block.is_run:
        assert (block.file, block.language) in RUN_BY, (
            "no test runs this block: let one do it, and name it in RUN_BY, or write the reason above it, "
            "as <!-- not run: ... -->"
        )


@pytest.mark.parametrize(("place", "test"), RUN_BY.items(), ids=[" ".join(place) for place in RUN_BY])
def test_who_runs_blocks_reads_them_from_the_document(place: tuple[str, str], test: str) -> None:
    file, language = place
    assert blocks(file, language), "there are no such blocks any more"
    helped = (ROOT / "tests/docs/blocks.py").read_text() if "readme_" in (ROOT / test).read_text() else ""
    text = (ROOT / test).read_text() + helped
    assert f'"{file}"' in text
    assert "session." in text or f'"{language}")' in text


def test_a_block_without_test_and_reason_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- not run: only an example of it -->\n```sh\nrm\n```\n\n   ```\nfigures\n   ```\n```sh\nls\n```\n"
    )
    first, second, third = all_blocks(str(page))
    assert (first.is_run, first.language, first.text) == (False, "sh", "rm\n")
    assert (second.is_run, second.language, second.text) == (True, "", "figures\n")
    assert (third.is_run, third.language, third.line) == (True, "sh", 9)
    with pytest.raises(AssertionError, match="no test runs this block"):
        test_it_is_run_or_says_why_not(third)
