"""`python -m oncelog.docs`: rewrite what is generated of the documentation; `--check`: say what is stale.

A generated part is a whole file, or what stands between `<!-- NAME -->` and `<!-- /NAME -->` of one that is
written by hand. Must not know what any generator says.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from oncelog.broker.metrics import metrics_markdown
from oncelog.broker.options import options_markdown
from oncelog.docs import journal_format, protocol, transaction_diagram
from oncelog.machine.config_table import topic_configs_markdown

EXIT_STALE = 1
EXIT_USAGE = 2


class Part(NamedTuple):
    """One generated part. marker: its name in a file that is written by hand; None for the whole file."""

    file: str
    marker: str | None
    markdown: Callable[[], str]


PARTS = (
    Part("protocol.md", None, protocol.markdown),
    Part("journal-format.md", None, journal_format.markdown),
    Part("options.md", "options", options_markdown),
    Part("options.md", "topic-configs", topic_configs_markdown),
    Part("operating.md", "metrics", metrics_markdown),
    Part("architecture.md", "transaction-table", transaction_diagram.markdown),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite or check, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m oncelog.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a file is stale")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where the files are (default: docs)")
    chosen = parser.parse_args(arguments)
    try:
        fresh = generate(chosen.docs)
    except (OSError, ValueError) as wrong:
        print(f"oncelog.docs: {wrong}", file=sys.stderr)
        return EXIT_USAGE
    stale = [path for path, text in fresh.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if chosen.check:
            print(f"{path} is stale; `python -m oncelog.docs` rewrites it")
        else:
            path.write_text(fresh[path])
            print(f"{path} rewritten")
    return EXIT_STALE if stale and chosen.check else 0


def generate(docs: Path) -> dict[Path, str]:
    """What each file should say, given what is written by hand in it now."""
    fresh: dict[Path, str] = {}
    for part in PARTS:
        path = docs / part.file
        if part.marker is None:
            fresh[path] = part.markdown()
            continue
        text = fresh[path] if path in fresh else path.read_text()
        try:
            fresh[path] = replaced(text, part.marker, part.markdown())
        except ValueError as wrong:
            raise ValueError(f"{path}: {wrong}") from None
    return fresh


def replaced(text: str, marker: str, inside: str) -> str:
    """The text with something else between the two comments of a marker; they stand on lines of their own."""
    opening, closing = f"<!-- {marker} -->\n", f"<!-- /{marker} -->\n"
    if text.count(opening) != 1 or text.count(closing) != 1:
        raise ValueError(f"{opening.strip()} and {closing.strip()} must each be there once")
    before, _, rest = text.partition(opening)
    if closing not in rest:
        raise ValueError(f"{closing.strip()} stands before {opening.strip()}")
    return f"{before}{opening}\n{inside.strip()}\n\n{closing}{rest.partition(closing)[2]}"


if __name__ == "__main__":
    sys.exit(main())
