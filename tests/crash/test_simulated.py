"""A broker killed in one process on a disk that loses what was not synced, and proof that this finds lies.

The sabotages live in the harness: with either of them the same loop must find a violation, or it proves
nothing. A thousand kills: `make crash-simulated`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.simulated import MUST_HAPPEN, run

ROOT = Path(__file__).parents[2]


def test_nothing_acknowledged_is_lost_and_nothing_is_half_there() -> None:
    report = run("default", kills=60)
    assert report.violation == ""
    assert report.counts["kills"] == 60
    for name in (
        *MUST_HAPPEN,
        "losses of power",
        "kill -9",
        "kills within a call of the disk",
        "ends by a failed write or sync",
        "states compared",
        "transactions committed",
        "transactions aborted",
        "transactions fenced or timed out",
        "transactions of unknown outcome",
        "records consumed",
    ):
        assert report.counts[name] > 0, f"this run proves too little: no {name}"


@pytest.mark.parametrize("sabotage", ["sync-is-noop", "reply-before-sync"])
@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_a_lie_about_durability_is_found(sabotage: str, seed: str) -> None:
    report = run(seed, kills=40, sabotage=sabotage)
    assert report.violation != ""


def test_a_seed_gives_the_same_run_whatever_strings_hash_to() -> None:
    printed = set()
    for hash_seed in ("1", "2"):
        ran = subprocess.run(
            [sys.executable, "-m", "tests.crash.simulated", "--kills", "15", "--seed", "5"],
            cwd=ROOT,
            env={"PYTHONHASHSEED": hash_seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "trace" in ran.stdout, ran.stderr
        printed.add(ran.stdout)
    assert len(printed) == 1
