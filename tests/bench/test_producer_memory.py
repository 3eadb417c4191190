"""What each remembered producer takes in memory; the whole measurement is `make bench-producers`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.producer_memory import KINDS
from oncelog.machine.life import LIVES_BYTES_MAX

ROOT = Path(__file__).resolve().parents[2]
COUNT = 50_000
LIFE_OVERHEAD = 1.1
"""Of the allocator, beside the bytes that are counted."""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell the largest size there ever was")
@pytest.mark.parametrize("kind", KINDS)
def test_a_remembered_producer_takes_no_more_than_it_may(kind: str) -> None:
    command = [sys.executable, "-m", "bench.producer_memory", "--grow", kind, "--count", str(COUNT)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    # What is kept of the lives of transactional ids is bounded in all, and full with as few as these.
    lives = LIVES_BYTES_MAX * LIFE_OVERHEAD / COUNT if "transactional" in kind else 0
    assert 0 <= float(done.stdout) <= KINDS[kind] + lives
