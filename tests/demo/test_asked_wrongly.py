"""The commands that take what to do from the environment say what was wrong with it, and do nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("module", "variable", "value", "sentence"),
    [
        ("demo.run", "MODE", "exactly-onse", "MODE must be exactly-once or at-least-once"),
        ("demo.run", "LIMIT", "many", "--limit: invalid int value: 'many'"),
        ("demo.run", "KILLS", "2", "KILLS must be 3 or more"),
        ("tests.crash.simulated", "SABOTAGE", "sync", "'sync' is none of sync-is-noop, reply-before-sync"),
        ("tests.crash.simulated", "KILLS", "all", "--kills: invalid int value: 'all'"),
        ("tests.crash.simulated", "KILLS", "0", "KILLS must be 1 or more"),
    ],
)
def test_a_wrong_variable_is_named(module: str, variable: str, value: str, sentence: str) -> None:
    asked = subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env={**os.environ, variable: value},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert asked.returncode == 2
    assert asked.stdout == ""
    assert sentence in asked.stderr


def test_a_sentence_without_breakages_is_named() -> None:
    command = [sys.executable, "-m", "tests.broker.breakages", "S1", "S99"]
    asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert asked.returncode == 2
    assert "no breakage is of S99; there are E1, " in asked.stderr
