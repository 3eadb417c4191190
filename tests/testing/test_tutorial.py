"""Every block of docs/testing-your-service.md runs under pytest, as the file that its first line says."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from oncelog.testing.faults import Faults
from tests.docs.blocks import blocks
from tests.support.fixtures import Broker

pytest_plugins = "pytester"

DOCUMENT = "docs/testing-your-service.md"


FAMOUS = ("lost_commit", "lost_acknowledgement", "zombie", "rebalance")


def test_each_fault_has_a_recipe_and_the_famous_ones_one_for_both_clients() -> None:
    code = "".join(blocks(DOCUMENT, "python"))
    kinds = {name for name, _ in inspect.getmembers(Faults, inspect.isfunction) if not name.startswith("_")}
    kinds -= {"clear", "unused"}
    assert len(kinds) == 8
    assert kinds == {kind for kind in kinds if f"oncelog_faults.{kind}(" in code}
    for variant in (
        "drop_request(.*cut=False",
        "drop_answer(.*cut=False",
        "synced=True",
        "synced=False",
        "at_position=",
    ):
        assert re.search(variant.replace("(", "\\("), code), variant
    for name in FAMOUS:
        for client in ("confluent", "aiokafka"):
            assert f"# test_{name}_{client}.py\n" in code


@pytest.fixture
def files(pytester: pytest.Pytester) -> Path:
    """A directory with the document's Python blocks, each under the name in its first line."""
    for block in blocks(DOCUMENT, "python"):
        named = re.match(r"# (\S+\.py)\n", block)
        assert named, f"a block does not say which file it is: {block[:40]!r}"
        (pytester.path / named[1]).write_text(block)
    return pytester.path


def functions_in(files: Path) -> list[str]:
    """The first lines of all tests."""
    texts = [path.read_text() for path in files.glob("test_*.py")]
    return [line for text in texts for line in re.findall(r"^def test_.*$", text, re.MULTILINE)]


def test_every_block_passes(files: Path) -> None:
    """In three runs at once: they wait for their clients, most of the time."""
    assert len(functions_in(files)) >= 18
    paths = sorted(files.glob("test_*.py"), key=lambda path: path.stat().st_size)
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *paths[part::3]],
            cwd=files,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for part in range(3)
    ]
    said = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], "\n".join(said)
    passed = sum(int(found) for found in re.findall(r"(\d+) passed", "".join(said)))
    assert passed == len(functions_in(files))


def test_on_a_cluster_those_with_faults_are_skipped(
    files: Path, pytester: pytest.Pytester, broker: Broker
) -> None:
    (command,) = [line for line in "".join(blocks(DOCUMENT, "sh")).splitlines() if "pytest --" in line]
    _, option, _ = command.split()
    not_here = ("-k", "not state_to_come_back_to")
    result = pytester.runpytest_subprocess(
        option, broker.bootstrap, "-rs", "-p", "no:cacheprovider", *not_here
    )
    with_faults = sum("_faults" in line for line in functions_in(files))
    without = len(functions_in(files)) - with_faults - 1
    result.assert_outcomes(passed=without, skipped=with_faults, deselected=1)
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
