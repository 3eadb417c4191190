"""`make breakages`: break each numbered sentence in a copy of the code, and see that its tests fail.

Says which breakages were noticed, which were not, and which no longer fit the code. Arguments choose
sentences: `python -m tests.broker.breakages E5 S1`. Not part of the default tests: it takes some minutes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
TESTS = {
    "S": (HERE / "test_what_may_be_shown.py", HERE / "test_seen_whole.py"),
    "E": (HERE / "test_engine.py",),
}
TIMEOUT_S = 120
CLUMSY = re.compile(r"^.*\b(?:Name|Syntax|Indentation|Import|Attribute|Type)Error\b.*$", re.MULTILINE)
"""A breakage that can't even run would be noticed by any test."""
PASSED, FAILED = 0, 1
"""Pytest's exit codes; any other is a test that could not be run at all."""


class Breakage(NamedTuple):
    """One way to break one sentence. file: below src/oncelog."""

    sentence: str
    what: str
    file: str
    old: str
    new: str


def all_breakages() -> list[Breakage]:
    with (HERE / "breakages.toml").open("rb") as file:
        return [Breakage(**row) for row in tomllib.load(file)["breakage"]]


def run_tests(sentences: list[str], source: Path) -> tuple[int, str]:
    """Run the tests of these sentences against the code in `source`."""
    files = sorted({str(file) for sentence in sentences for file in TESTS[sentence[0]]})
    chosen = " or ".join(f"test_{sentence.lower()}_" for sentence in sentences)
    command = [
        sys.executable,
        *("-m", "pytest", *files, "-k", chosen),
        *("-q", "-x", "--no-header", "--tb=short", "-p", "no:cacheprovider", "--timeout=60"),
    ]
    environment = {**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    return done.returncode, done.stdout + done.stderr


def try_one(breakage: Breakage, source: Path) -> str:
    """Empty when the breakage was noticed, else what is wrong with it."""
    path = source / "oncelog" / breakage.file
    whole = path.read_text()
    if whole.count(breakage.old) != 1:
        return f"does not fit: its text is {whole.count(breakage.old)} times in {breakage.file}"
    path.write_text(whole.replace(breakage.old, breakage.new))
    try:
        code, output = run_tests([breakage.sentence], source)
    except subprocess.TimeoutExpired:
        return ""
    finally:
        path.write_text(whole)
    if code == FAILED:
        clumsy = CLUMSY.search(output)
        return f"breaks more than its sentence: {clumsy[0]}" if clumsy else ""
    return "NOT NOTICED" if code == PASSED else f"the tests did not run:\n{output[-2000:]}"


def main(wanted: list[str]) -> int:
    known = {each.sentence for each in all_breakages()}
    if unknown := sorted(set(wanted) - known):
        print(
            f"no breakage is of {', '.join(unknown)}; there are {', '.join(sorted(known))}", file=sys.stderr
        )
        return 2
    chosen = [each for each in all_breakages() if not wanted or each.sentence in wanted]
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "src"
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        place = [sys.executable, "-c", "import oncelog; print(oncelog.__file__)"]
        environment = {**os.environ, "PYTHONPATH": str(source)}
        found = subprocess.run(place, env=environment, capture_output=True, text=True, check=True).stdout
        assert found.startswith(str(source)), f"the tests would run against {found.strip()}"
        code, output = run_tests(sorted({each.sentence for each in chosen}), source)
        if code != PASSED:
            print(output, "\nthe tests fail without any breakage")
            return 1
        wrong = 0
        for breakage in chosen:
            problem = try_one(breakage, source)
            wrong += bool(problem)
            print(f"{breakage.sentence:4} {problem or 'noticed':12} {breakage.what}", flush=True)
    print(f"{len(chosen)} breakages, {len(chosen) - wrong} noticed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
