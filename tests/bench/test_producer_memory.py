"""What each remembered producer takes in memory; the whole measurement is `make bench-producers`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.producer_memory import KINDS

ROOT = Path(__file__).resolve().parents[2]
COUNT = 50_000


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell the largest size there ever was")
@pytest.mark.parametrize("kind", KINDS)
def test_a_remembered_producer_takes_no_more_than_it_may(kind: str) -> None:
    command = [sys.executable, "-m", "bench.producer_memory", "--grow", kind, "--count", str(COUNT)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert 0 <= float(done.stdout) <= KINDS[kind]
