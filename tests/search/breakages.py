"""Breakages: the machine with one line changed, again and again, each of which the search must find.

`python -m tests.search.breakages`. The source is copied; nothing of the checkout is changed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
MACHINE = ROOT / "src" / "oncelog" / "machine"
FOUND = re.compile(r"after ([\d,]+) steps, .*?shrunk to (\d+) steps", re.DOTALL)


def breakages() -> list[dict[str, str]]:
    declared = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
    return [dict(each) for each in declared["breakage"]]


def broken(source: str, breakage: dict[str, str]) -> str:
    """The source with its one line changed (where the line stands more than once: the first)."""
    assert breakage["old"] in source, f"{breakage['file']} no longer says: {breakage['old']}"
    return source.replace(breakage["old"], breakage["new"], 1)


def search(breakage: dict[str, str], steps: int) -> tuple[str, str] | None:
    """After how many steps the search found it, and to how many it shrank the script."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "src"
        shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
        changed = copy / "oncelog" / "machine" / breakage["file"]
        changed.write_text(broken(changed.read_text(), breakage))
        done = subprocess.run(
            [sys.executable, "-m", "tests.search.run", "--steps", str(steps)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{copy}{os.pathsep}{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    found = FOUND.search(done.stdout)
    assert found is not None or done.returncode == 0, done.stderr
    return None if found is None else (found[1], found[2])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200_000)
    options = parser.parse_args()
    missed = 0
    for breakage in breakages():
        found = search(breakage, options.steps)
        missed += found is None
        told = "NOT FOUND" if found is None else f"found after {found[0]} steps, shrunk to {found[1]}"
        print(f"{breakage['name']}: {told}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
