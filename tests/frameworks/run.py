"""Run the examples of frameworks against oncelog and print a table: `make frameworks`.

Each framework gets an environment of its own under .venv-frameworks/, from the group `frameworks` of
pyproject.toml; what cannot be installed is skipped with its reason. Ends with status 1 where a check failed.

    python -m tests.frameworks.run [--only NAME] [--write-docs] [--keep DIR]
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
import tempfile
from pathlib import Path

from tests.frameworks.checks import CHECKS, outcomes, trial
from tests.frameworks.services import FRAMEWORKS, ROOT, Framework

PAGE = ROOT / "docs" / "frameworks.md"
TABLE = re.compile(r"(<!-- frameworks -->\n).*?(<!-- /frameworks -->)", re.DOTALL)
Row = tuple[str, str, dict[str, str]]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="NAME", help="frameworks whose name begins with this")
    parser.add_argument("--write-docs", action="store_true", help="put the table into docs/frameworks.md")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave data and output of the services here")
    options = parser.parse_args()
    if options.only and options.write_docs:
        parser.error("the table in the docs has all frameworks: --write-docs goes without --only")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that workers and broker end with it
    chosen = [each for each in FRAMEWORKS if each.name.lower().startswith(options.only.lower())]
    rows = [run(each, options.keep) for each in chosen]
    print(table(rows))
    if options.write_docs:
        PAGE.write_text(TABLE.sub(lambda found: found[1] + table(rows) + "\n" + found[2], PAGE.read_text()))
    failed = any(cell.startswith("fail") for _, _, cells in rows for cell in cells.values())
    return 1 if failed or not rows else 0


def run(framework: Framework, keep: Path | None) -> Row:
    why_not = framework.install()
    if why_not is not None:
        return framework.name, "", dict.fromkeys(CHECKS, f"skipped: not installed: {why_not}")
    with tempfile.TemporaryDirectory() as scratch:
        directory = (keep or Path(scratch)) / framework.example.removesuffix(".py")
        directory.mkdir(parents=True)
        with trial(framework, directory) as running:
            cells = {name: str(outcome) for name, outcome in outcomes(running).items()}
    for name, cell in cells.items():
        print(f"{framework.name}: {name}: {cell}", file=sys.stderr, flush=True)
    return framework.name, framework.versions(), cells


def table(rows: list[Row]) -> str:
    """Frameworks beside each other; what is checked, one line each."""
    lines = ["| | " + " | ".join(name for name, _, _ in rows) + " |", "|---" * (len(rows) + 1) + "|"]
    lines.append("| version | " + " | ".join(versions for _, versions, _ in rows) + " |")
    lines += [f"| {check} | " + " | ".join(cells[check] for _, _, cells in rows) + " |" for check in CHECKS]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
