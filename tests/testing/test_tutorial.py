"""Every block of docs/testing-your-service.md runs under pytest, as the file that its first line says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import blocks
from tests.support.fixtures import Broker

pytest_plugins = "pytester"

DOCUMENT = "docs/testing-your-service.md"


@pytest.fixture
def files(pytester: pytest.Pytester) -> Path:
    """A directory with the document's Python blocks, each under the name in its first line."""
    for block in blocks(DOCUMENT, "python"):
        named = re.match(r"# (\S+\.py)\n", block)
        assert named, f"a block does not say which file it is: {block[:40]!r}"
        (pytester.path / named[1]).write_text(block)
    return pytester.path


def test_every_block_passes(files: Path, pytester: pytest.Pytester) -> None:
    tests = len(list(files.glob("test_*.py")))
    assert tests >= 11
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=tests)


def test_on_a_cluster_those_with_faults_are_skipped(
    files: Path, pytester: pytest.Pytester, broker: Broker
) -> None:
    (command,) = [line for line in "".join(blocks(DOCUMENT, "sh")).splitlines() if "pytest --" in line]
    _, option, _ = command.split()
    result = pytester.runpytest_subprocess(option, broker.bootstrap, "-rs", "-p", "no:cacheprovider")
    with_faults = sum("_faults" in path.read_text() for path in files.glob("test_*.py"))
    without = len(list(files.glob("test_*.py"))) - with_faults
    result.assert_outcomes(passed=without, skipped=with_faults)
    result.stdout.fnmatch_lines(
        [f"*faults need a broker in this process, and this run is on {broker.bootstrap}*"]
    )


def test_without_idempotence_there_is_a_duplicate_as_the_document_says(
    files: Path, pytester: pytest.Pytester
) -> None:
    path = files / "test_lost_acknowledgement_confluent.py"
    path.write_text(path.read_text().replace('"enable.idempotence": True', '"enable.idempotence": False'))
    result = pytester.runpytest_subprocess(path, "-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*assert [[]b'an order', b'an order'] == *"])
