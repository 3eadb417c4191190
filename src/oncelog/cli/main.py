"""The `oncelog` command: what it is told becomes options and is handed on. It must not do the work itself.

Exit codes: 0 done, 1 failed while serving or found unfit, 2 asked for something that cannot be, 3 could not
start.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from oncelog import __version__
from oncelog.broker.options import (
    OPTIONS,
    UsageError,
    add_arguments,
    options_json,
    options_markdown,
    read_options,
    suggestion,
    unknown_variables,
)
from oncelog.cli import txn
from oncelog.machine.config_table import topic_configs_markdown

EXIT_OK = 0
EXIT_USAGE = 2

WHERE_HELP_IS = "`oncelog --help`, and `--help` behind a command, tell what there is."
DESCRIPTION = "An exactly-once event log that speaks the Kafka protocol."
SERVE_DESCRIPTION = """\
Serve one data directory to Kafka clients until SIGTERM or SIGINT.

  oncelog serve --data ./data                             on 127.0.0.1:9092
  oncelog serve --data ./data --listen 0.0.0.0:9092=broker.example:9092
  ONCELOG_DATA=./data oncelog serve --listen 127.0.0.1:0  on a free port; the ready line names it

It prints one line when it is ready:

  oncelog ready: HOST:PORT cluster=... durability=fsync ...

Every option may also be an environment variable (--num-partitions is ONCELOG_NUM_PARTITIONS) or a line of
the TOML file that --config names (num_partitions = 3). The command line counts most, then the environment,
then the file. Numbers of bytes may end in KiB, MiB or GiB. In parentheses: the defaults.
"""


class Parser(argparse.ArgumentParser):
    """argparse that says what went wrong in one sentence, with what was meant where that is near."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the process's exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of transactions and groups may be anything, and a console may know few characters.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    except UsageError as wrong:
        print(f"oncelog: {wrong}\n{WHERE_HELP_IS}", file=sys.stderr)
        return EXIT_USAGE


def _run(arguments: Sequence[str]) -> int:
    parser = _parser()
    known, unknown = parser.parse_known_args(arguments)
    if unknown:
        flags = [option.flag for option in OPTIONS] if known.command is serve else []
        flag = unknown[0].partition("=")[0]
        raise UsageError(f"there is no option {flag}{suggestion(flag, flags)}")
    command: Callable[[argparse.Namespace], int] | None = known.command
    if command is None:
        parser.print_help()
        return EXIT_OK
    return command(known)


def _parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog="oncelog", description=DESCRIPTION, allow_abbrev=False)
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=Parser)

    serving = commands.add_parser(
        "serve",
        help="serve a data directory to Kafka clients",
        usage="oncelog serve --data DIR [--listen HOST:PORT] [--config FILE] [OPTION VALUE]...",
        description=SERVE_DESCRIPTION,
        formatter_class=formatter,
        allow_abbrev=False,
    )
    add_arguments(serving)
    serving.set_defaults(command=serve)

    examining = commands.add_parser(
        "doctor",
        help="say whether this machine is fit to keep a log in a directory",
        description="Says of each thing that a broker rests on whether it is fit, doubtful or unfit. "
        "Exits with 1 when one is unfit.",
        allow_abbrev=False,
    )
    examining.add_argument("directory", metavar="DIR", help="the data directory, which need not be there yet")
    examining.add_argument("--format", choices=("text", "json"), default="text")
    examining.set_defaults(command=doctor)

    transactions = commands.add_parser(
        "txn",
        help="look at the transactions of a cluster, and abort them",
        description="Asks any cluster that speaks the Kafka protocol, over PLAINTEXT.",
        allow_abbrev=False,
    )
    txn.add_arguments(transactions, Parser)

    versions = commands.add_parser("version", help="print the version", allow_abbrev=False)
    versions.set_defaults(command=version)

    listing = commands.add_parser("options", help="print the table of all options", allow_abbrev=False)
    listing.add_argument("--format", choices=("markdown", "json"), default="markdown")
    listing.set_defaults(command=options)

    configs = commands.add_parser(
        "topic-configs", help="print the table of topic configs", allow_abbrev=False
    )
    configs.set_defaults(command=topic_configs)
    return parser


def serve(arguments: argparse.Namespace) -> int:
    """`oncelog serve`"""
    chosen = read_options(vars(arguments), os.environ)
    for sentence in unknown_variables(os.environ):
        print(f"oncelog: {sentence}", file=sys.stderr)
    # Imported here: the other commands answer without the weight of a broker.
    from oncelog.broker.serve import run

    return run(chosen)


def doctor(arguments: argparse.Namespace) -> int:
    """`oncelog doctor`"""
    from oncelog.cli.doctor import run

    return run(arguments.directory, arguments.format, sys.stdout.write)


def version(_arguments: argparse.Namespace) -> int:
    """`oncelog version`"""
    print(f"oncelog {__version__}")
    return EXIT_OK


def options(arguments: argparse.Namespace) -> int:
    """`oncelog options`"""
    sys.stdout.write(options_json() if arguments.format == "json" else options_markdown())
    return EXIT_OK


def topic_configs(_arguments: argparse.Namespace) -> int:
    """`oncelog topic-configs`"""
    sys.stdout.write(topic_configs_markdown())
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
