"""oncelog beside Apache Kafka and beside a broker that does nothing: alternating rounds on one machine.

Each round measures all three, one after the other; only one runs at a time. Kafka's process stays alive
between its turns, stopped (SIGSTOP), so that it is warm after one pass that is not counted; its start-up and
memory are taken from a fresh process. Before each turn all dirty pages are written out, so that nobody pays
for another.

    python -m bench.compare --rounds 5 --output build/bench.json
    python -m bench.compare --from build/bench.json         # the tables of an earlier run
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.figures import Figure, Measured
from bench.measures import MEASURES, QUICK, Sizes
from bench.passes import DISK, MEMORY, STARTUP, run_measures, say
from bench.report import LABELS, QUICK_NOTICE, as_json, machine, number, table
from bench.run import measure_started
from bench.servers import PausableKafka, new_kafka

BROKERS = ("kafka", "oncelog", "null")
OF_THE_CLIENTS_LIMIT = 0.95
"""So much of what the null broker allows counts as reached: the client can do no more."""


class Target(NamedTuple):
    """What oncelog's median has to reach: so many times Kafka's, or at most an absolute value."""

    times_kafka: float | None = None
    at_most: float | None = None


TARGETS = {
    "startup_ready": Target(at_most=0.3),
    "memory_idle": Target(at_most=60),
    "produce_100b_1p_records": Target(1.0),
    "produce_100b_12p_records": Target(1.0),
    "produce_1000b_1p_mb": Target(1.1),
    "produce_1000b_12p_mb": Target(1.5),
    "one_in_flight_p50": Target(at_most=0.4),
    "end_to_end_p50": Target(at_most=0.7),
    "end_to_end_p99": Target(at_most=6),
    "commit_p50": Target(at_most=2),
    "transactions_1_record": Target(1.3),
    "transactions_100_records_10p": Target(2.0),
    "transactions_8_producers": Target(2.0),
    "transform": Target(10.0),
    "transform_retry_1ms": Target(1.3),
    "catch_up": Target(1.3),
    "catch_up_backoff_10ms": Target(1.3),
}

Values = Mapping[str, Mapping[str, Sequence[float]]]
"""Broker -> figure -> one value for each round."""


class Row(NamedTuple):
    """One figure of a comparison. Ratios are ours to theirs; None where a side has no such figure."""

    figure: str
    medians: Mapping[str, float]
    ranges: Mapping[str, tuple[float, float]]
    to_kafka: float | None
    to_null: float | None
    is_reached: bool | None


def summarize(values: Values) -> list[Row]:
    """Medians, ranges and ratios, and which targets are reached, in the tables' order."""
    known = {name for figures in values.values() for name in figures}
    return [_row(name, values) for name in LABELS if name in known]


def _row(name: str, values: Values) -> Row:
    samples = {broker: figures[name] for broker, figures in values.items() if figures.get(name)}
    medians = {broker: statistics.median(of) for broker, of in samples.items()}
    ours = medians.get("oncelog")

    def ratio_to(broker: str) -> float | None:
        return ours / medians[broker] if ours is not None and medians.get(broker) else None

    to_kafka, to_null = ratio_to("kafka"), ratio_to("null")
    return Row(
        name,
        medians,
        {broker: (min(of), max(of)) for broker, of in samples.items()},
        to_kafka,
        to_null,
        None if ours is None else _is_reached(TARGETS.get(name), ours, to_kafka, to_null),
    )


def _is_reached(
    target: Target | None, ours: float, to_kafka: float | None, to_null: float | None
) -> bool | None:
    if target is None:
        return None
    if target.at_most is not None:
        return ours <= target.at_most
    assert target.times_kafka is not None
    if to_null is not None and to_null >= OF_THE_CLIENTS_LIMIT:
        return True
    return None if to_kafka is None else to_kafka >= target.times_kafka


def summary_table(rows: Sequence[Row], units: Mapping[str, str]) -> str:
    """The comparison as text."""
    cells = [
        (
            "figure",
            "unit",
            "Kafka",
            "(range)",
            "oncelog",
            "(range)",
            "null",
            "to Kafka",
            "to null",
            "target",
            "",
        )
    ]
    for row in rows:
        target = TARGETS.get(row.figure)
        cells.append(
            (
                LABELS[row.figure],
                units.get(row.figure, ""),
                _median(row, "kafka"),
                _range(row, "kafka"),
                _median(row, "oncelog"),
                _range(row, "oncelog"),
                _median(row, "null"),
                "" if row.to_kafka is None else f"{row.to_kafka:.2f}",
                "" if row.to_null is None else f"{row.to_null:.2f}",
                _target(target),
                {None: "", True: "reached", False: "missed"}[row.is_reached],
            )
        )
    return table(cells, left_columns=(0, 1, 10))


def _median(row: Row, broker: str) -> str:
    return number(row.medians[broker]) if broker in row.medians else ""


def _range(row: Row, broker: str) -> str:
    return "-".join(map(number, row.ranges[broker])) if broker in row.ranges else ""


def _target(target: Target | None) -> str:
    if target is None:
        return ""
    return f"<= {target.at_most:g}" if target.times_kafka is None else f"{target.times_kafka:g} x"


def cpu_table(rounds: Sequence[Mapping[str, Any]]) -> str:
    """Processor seconds of client and server for each measure, medians over the rounds."""
    cells = [
        ("processor seconds", *(f"{broker} {side}" for broker in BROKERS for side in ("client", "server")))
    ]
    for measure in (MEMORY, *MEASURES):
        costs = [
            _median_cost(rounds, broker, measure, side)
            for broker in BROKERS
            for side in ("client_cpu_s", "server_cpu_s")
        ]
        if any(costs):
            cells.append((measure, *costs))
    return table(cells)


def _median_cost(rounds: Sequence[Mapping[str, Any]], broker: str, measure: str, side: str) -> str:
    costs = [
        result[side]
        for turns in rounds
        for result in turns.get(broker, [])
        if result["measure"] == measure and result[side] is not None
    ]
    return f"{statistics.median(costs):.1f}" if costs else ""


def values_of(rounds: Sequence[Mapping[str, Any]]) -> tuple[Values, dict[str, str]]:
    """Rounds as they are stored, turned into values by broker and figure; and the figures' units."""
    values: dict[str, dict[str, list[float]]] = {}
    units: dict[str, str] = {}
    for turns in rounds:
        for broker, results in turns.items():
            for figure in (Figure(**figure) for result in results for figure in result["figures"]):
                values.setdefault(broker, {}).setdefault(figure.name, []).append(figure.value)
                units[figure.name] = figure.unit
    return values, units


class Comparison:
    """The rounds, and the one Kafka that stays warm over them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._sizes = QUICK if options.quick else Sizes()
        self._names: list[str] = [name for name in MEASURES if not options.only or name in options.only]
        self._data_parent: Path | None = options.data_parent
        self._output: Path | None = options.output
        self._brokers: list[str] = [broker for broker in BROKERS if broker in options.brokers]
        self.rounds: list[dict[str, list[dict[str, Any]]]] = []

    def run(self, count: int) -> None:
        """So many rounds. The output file holds what is done so far at every moment."""
        kafka = new_kafka(self._data_parent)
        try:
            warm = self._warm_up(kafka) if "kafka" in self._brokers else None
            for index in range(count):
                self.rounds.append({})
                first = index % len(self._brokers)
                for broker in self._brokers[first:] + self._brokers[:first]:
                    say(f"round {index + 1} of {count}, {broker}")
                    os.sync()
                    results = self._kafka(warm) if broker == "kafka" and warm else self._other(broker)
                    self.rounds[-1][broker] = as_json(results)
                    self._write()
        finally:
            kafka.stop()

    def _warm_up(self, kafka: Any) -> PausableKafka:
        say("kafka, one pass that is not counted")
        kafka.prepare()
        kafka.start()
        run_measures(kafka.bootstrap, kafka.pid, self._names, self._sizes)
        warm = PausableKafka(kafka)
        warm.pause()
        return warm

    def _kafka(self, warm: PausableKafka) -> list[Measured]:
        results = measure_started("kafka", [DISK, STARTUP, MEMORY], self._sizes, self._data_parent)
        os.sync()
        warm.resume()
        try:
            return results + run_measures(warm.bootstrap, warm.pid, self._names, self._sizes)
        finally:
            warm.pause()

    def _other(self, broker: str) -> list[Measured]:
        return measure_started(broker, [DISK, STARTUP, MEMORY, *self._names], self._sizes, self._data_parent)

    def _write(self) -> None:
        if self._output is not None:
            self._output.parent.mkdir(parents=True, exist_ok=True)
            written = {"quick": self._sizes is QUICK, "machine": machine(), "rounds": self.rounds}
            self._output.write_text(json.dumps(written, indent=1))


def main() -> int:
    """Run the rounds (or read an earlier run's), print the tables."""
    options = parse()
    if options.from_file is None:
        comparison = Comparison(options)
        comparison.run(options.rounds)
        rounds: Sequence[Mapping[str, Any]] = comparison.rounds
        about = machine()
        is_quick = options.quick
    else:
        stored = json.loads(options.from_file.read_text())
        rounds, about = stored["rounds"], stored["machine"]
        is_quick = stored.get("quick", False)
    values, units = values_of(rounds)
    if is_quick:
        print(QUICK_NOTICE)
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    print(f"medians of {len(rounds)} rounds; Kafka without fsync, oncelog with\n")
    print(summary_table(summarize(values), units))
    print()
    print(cpu_table(rounds))
    failed = [
        f"{broker}, {result['measure']}: {result['error']}"
        for turns in rounds
        for broker, results in turns.items()
        for result in results
        if result["error"]
    ]
    if failed:
        print("\nfailed:\n" + "\n".join(failed))
    return int(bool(failed))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON with every figure of every round")
    parser.add_argument(
        "--from", type=Path, metavar="FILE", dest="from_file", help="show an earlier run's output"
    )
    parser.add_argument(
        "--brokers", type=lambda text: text.split(","), default=list(BROKERS), metavar="NAME,..."
    )
    parser.add_argument("--only", type=lambda text: text.split(","), metavar="NAME,...", help="some measures")
    parser.add_argument("--data-parent", type=Path, metavar="DIR", help="where the temporary data goes")
    parser.add_argument("--quick", action="store_true", help="a smoke run; its figures mean nothing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
