"""Every program of docs/embedding.md runs and prints what its comment says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import blocks

PROGRAMS = blocks("docs/embedding.md", "python")


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_it_prints_what_it_says(program: str, tmp_path: Path) -> None:
    (promised,) = [line.partition("  # ")[2] for line in program.splitlines() if "print(" in line]
    assert promised
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == promised + "\n"
