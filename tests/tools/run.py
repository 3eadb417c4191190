"""Run the tools against a broker; fail when a call did not end as docs/tools.md says.

python -m tests.tools.run                        # starts oncelog serve on a temporary directory
python -m tests.tools.run --only kcat            # one tool
python -m tests.tools.run --bootstrap HOST:PORT  # another broker, Apache Kafka's say
python -m tests.tools.run --write                # writes the calls into docs/tools.md; runs nothing
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.server import ServerProcess
from tests.tools import kafka_python_cli, kafka_scripts, kcat
from tests.tools.calls import Outcome, Runner, Tool, make, run_process

TOOLS = {"kafka-python": kafka_python_cli.TOOL, "kcat": kcat.TOOL, "kafka": kafka_scripts.TOOL}
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "tools.md"
BEGIN, END = "<!-- calls -->\n", "<!-- end of calls -->\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bootstrap", help="HOST:PORT of a broker that runs (default: start oncelog serve)")
    parser.add_argument("--only", choices=TOOLS, action="append", help="a tool (default: all)")
    parser.add_argument("--write", action="store_true", help="write the calls into docs/tools.md")
    options = parser.parse_args()
    if options.write:
        DOCUMENT.write_text(with_table(DOCUMENT.read_text()))
        return 0
    outcomes = []
    with broker(options.bootstrap) as bootstrap:
        for tool in (TOOLS[name] for name in options.only or TOOLS):
            for outcome in outcomes_of(tool, bootstrap):
                print(
                    f"{outcome.tool:<28} {outcome.call:<58} {outcome.word:<10} {outcome.reason}", flush=True
                )
                outcomes.append(outcome)
    return report(outcomes)


@contextlib.contextmanager
def broker(bootstrap: str | None) -> Iterator[str]:
    """HOST:PORT of the broker under test."""
    if bootstrap is not None:
        yield bootstrap
        return
    options = ("--group-initial-rebalance-delay-ms", "0")
    with (
        tempfile.TemporaryDirectory() as directory,
        ServerProcess(Path(directory) / "data", options=options) as server,
    ):
        yield server.bootstrap


def outcomes_of(tool: Tool, bootstrap: str, run: Runner = run_process) -> Iterator[Outcome]:
    """Make its calls one after the other; one outcome, "absent", where the tool isn't here."""
    absence = tool.absence()
    if absence is not None:
        yield Outcome(tool.title, f"{len(tool.calls)} calls", "absent", absence)
        return
    memory = {"bootstrap": bootstrap}
    for number, call in enumerate(tool.calls):
        yield make(tool, call, memory, run)
        if number == 0:
            tool.prepare(bootstrap)


def report(outcomes: Sequence[Outcome]) -> int:
    """What went wrong at length, and the counts. The exit status: 1 when a call failed."""
    failed = [outcome for outcome in outcomes if outcome.word == "fail"]
    for outcome in failed:
        print(f"\n--- {outcome.tool}: {outcome.call}\n{outcome.wrong}")
    counts = {word: [each.word for each in outcomes].count(word) for word in ("pass", "fail", "explained")}
    absent = [outcome.tool for outcome in outcomes if outcome.word == "absent"]
    print(
        f"\n{counts['pass']} passed, {counts['fail']} failed, {counts['explained']} fail as docs/tools.md"
        f" explains; absent: {', '.join(absent) or 'none'}"
    )
    return 1 if failed else 0


def with_table(document: str) -> str:
    """The document with what the declarations say between its marks."""
    head, rest = document.split(BEGIN)
    _, foot = rest.split(END)
    return f"{head}{BEGIN}{table()}{END}{foot}"


def table() -> str:
    rows = ["| tool | call | result |\n", "|---|---|---|\n"]
    for tool in TOOLS.values():
        for call in tool.calls:
            result = f"fails: {call.fails_because}" if call.fails_because else "pass"
            rows.append(f"| {tool.title} | {call.name} | {result} |\n")
    return "".join(rows)


if __name__ == "__main__":
    sys.exit(main())
