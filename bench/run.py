"""Measure one broker with the stock client: any that speaks Kafka's protocol, or one started here.

    python -m bench.run                                  # starts oncelog on an empty temporary directory
    python -m bench.run --bootstrap localhost:9092       # any broker; --server-pid for its memory and CPU
    python -m bench.run --only produce-100b-1,catch-up   # some of the measures; --list names them

A table goes to stdout (or JSON with --format json), progress to stderr. The figures of different machines,
and those of a busy machine, cannot be compared.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from bench.figures import Measured
from bench.kafka_server import answers_api_versions
from bench.measures import QUICK, Sizes
from bench.passes import (
    ALL,
    DISK,
    MEMORY,
    NEEDS_ITS_RECORDS_BACK,
    STARTUP,
    run_disk,
    run_measures,
    run_memory,
    run_startup,
    say,
)
from bench.report import QUICK_NOTICE, as_json, machine, pass_table
from bench.servers import SERVERS


def main() -> int:
    """Run the measures asked for; 1 when one of them failed."""
    options = parse()
    sizes = QUICK if options.quick else Sizes()
    names = [name for name in ALL if name in options.only]
    if options.bootstrap and not answers(options.bootstrap):
        print(f"no Kafka broker answers on {options.bootstrap}; is it running?", file=sys.stderr)
        return 2
    if options.bootstrap:
        results = measure_running(options.bootstrap, options.server_pid, names, sizes, options.data_parent)
        broker = options.bootstrap
    else:
        results = measure_started(options.start, names, sizes, options.data_parent)
        broker = options.start
    if options.format == "json":
        json.dump(
            {
                "broker": broker,
                "quick": options.quick,
                "machine": machine(),
                "measures": as_json(results),
            },
            sys.stdout,
            indent=2,
        )
        print()
    else:
        if options.quick:
            print(QUICK_NOTICE)
        print(pass_table(results))
    return int(any(result.error is not None for result in results))


def answers(bootstrap: str) -> bool:
    """Whether one connection and one request get through, before a client repeats them for minutes."""
    host, _, port = bootstrap.rpartition(":")
    return port.isdecimal() and answers_api_versions(int(port), host=host.strip("[]"))


def measure_running(
    bootstrap: str, process_id: int | None, names: list[str], sizes: Sizes, data_parent: Path | None
) -> list[Measured]:
    """A broker that somebody else started; its memory only where its process is known."""
    results = [run_disk(data_parent)] if DISK in names else []
    if MEMORY in names and process_id is not None:
        results.append(run_memory(bootstrap, process_id, sizes))
    return results + run_measures(bootstrap, process_id, names, sizes)


def measure_started(kind: str, names: list[str], sizes: Sizes, data_parent: Path | None) -> list[Measured]:
    """A broker of this kind on an empty directory, from its start on."""
    if kind == "null":
        names = [name for name in names if name not in NEEDS_ITS_RECORDS_BACK]
    results = [run_disk(data_parent)] if DISK in names else []
    say(f"{kind}:")
    server = SERVERS[kind](data_parent)
    try:
        startup = run_startup(server)
        if STARTUP in names:
            results.append(startup)
        if MEMORY in names:
            results.append(run_memory(server.bootstrap, server.pid, sizes))
        return results + run_measures(server.bootstrap, server.pid, names, sizes)
    finally:
        server.stop()


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="a running broker, instead of starting one")
    parser.add_argument("--server-pid", type=int, metavar="ID", help="its process on this machine, if it is")
    parser.add_argument("--start", choices=sorted(SERVERS), default="oncelog", help="what to start otherwise")
    parser.add_argument("--data-parent", type=Path, metavar="DIR", help="where the temporary data goes")
    parser.add_argument("--only", type=_names, default=list(ALL), metavar="NAME,...", help="of --list")
    parser.add_argument("--list", action="store_true", help="name the measures and end")
    parser.add_argument("--quick", action="store_true", help="a smoke run; its figures mean nothing")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    options = parser.parse_args()
    if options.list:
        print("\n".join(ALL))
        raise SystemExit(0)
    return options


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in ALL]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(ALL)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
