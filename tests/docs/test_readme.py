"""The README's program does what it says, and is as short as it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.docs.blocks import promised_output, readme_code, told
from tests.support.server import ServerProcess


def test_the_program_prints_what_it_says(server_in: ServerProcess, tmp_path: Path) -> None:
    server_in.start()
    code = readme_code()
    done = subprocess.run(
        [sys.executable, "-c", told(server_in.bootstrap, code)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == promised_output(code)


def test_the_program_has_eight_lines() -> None:
    assert len([line for line in readme_code().splitlines() if line]) == 8
