"""The benchmark runs: every measure against oncelog gives plausible figures, and comparisons count rightly.

No figure is judged here: how fast this machine is today is no property of the software.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.compare import TARGETS, summarize
from bench.measures import MEASURES
from bench.report import LABELS

ROOT = Path(__file__).resolve().parents[2]
RUN_TIMEOUT_S = 110


def run_quick(*arguments: str) -> dict[str, float]:
    """Every figure of a smoke run by name; fails when a measure failed."""
    command = [sys.executable, "-m", "bench.run", "--quick", "--format", "json", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["quick"] is True
    measures = told["measures"]
    return {figure["name"]: figure["value"] for measure in measures for figure in measure["figures"]}


def test_every_measure_runs_against_oncelog() -> None:
    figures = run_quick("--start", "oncelog")
    assert figures.keys() == LABELS.keys()
    assert all(value > 0 for value in figures.values()), figures
    assert figures["end_to_end_p50"] <= figures["end_to_end_p99"]
    assert figures["startup_ready"] <= figures["startup_first_record"]


@pytest.mark.parametrize("measure", ["produce-100b-12", "transactions-100", "transform", "catch-up"])
def test_the_null_broker_satisfies_the_client(measure: str) -> None:
    assert measure in MEASURES
    figures = run_quick("--start", "null", "--only", measure)
    assert figures
    assert all(value > 0 for value in figures.values()), figures


def test_the_table_of_a_smoke_run_says_so() -> None:
    command = [sys.executable, "-m", "bench.run", "--quick", "--start", "null", "--only", "startup"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False
    )
    assert done.stdout.splitlines()[0].startswith("A SMOKE RUN (--quick)"), done.stderr


@pytest.mark.parametrize("is_quick", [False, True])
def test_a_comparison_of_smoke_runs_says_so(tmp_path: Path, is_quick: bool) -> None:
    stored = tmp_path / "bench.json"
    stored.write_text(json.dumps({"quick": is_quick, "machine": {"cpus": 2}, "rounds": []}))
    done = subprocess.run(
        [sys.executable, "-m", "bench.compare", "--from", str(stored)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    assert ("A SMOKE RUN" in done.stdout) == is_quick, done.stderr


def test_every_target_has_a_figure() -> None:
    assert TARGETS.keys() <= LABELS.keys()


@pytest.mark.parametrize(
    ("kafka", "oncelog", "null", "is_reached"),
    [
        ([100, 300, 200], [250, 270, 900], [1000], True),
        ([100, 300, 200], [250, 250, 900], [1000], False),
        ([300], [96], [100], True),
        ([300], [94], [100], False),
    ],
    ids=["1.35 times Kafka's", "1.25 times Kafka's", "96 % of the client's limit", "94 % of it"],
)
def test_medians_are_compared_with_kafka_and_with_the_clients_limit(
    kafka: list[float], oncelog: list[float], null: list[float], is_reached: bool
) -> None:
    [row] = summarize(
        {"kafka": {"catch_up": kafka}, "oncelog": {"catch_up": oncelog}, "null": {"catch_up": null}}
    )
    assert row.is_reached is is_reached
    assert row.ranges["kafka"] == (min(kafka), max(kafka))


@pytest.mark.parametrize(("ours", "is_reached"), [(0.39, True), (0.41, False)])
def test_latency_targets_are_absolute(ours: float, is_reached: bool) -> None:
    [row] = summarize({"kafka": {"one_in_flight_p50": [0.1]}, "oncelog": {"one_in_flight_p50": [ours]}})
    assert row.is_reached is is_reached


def test_a_figure_that_is_missing_is_neither_reached_nor_missed() -> None:
    [row] = summarize({"kafka": {"transform": [10.0]}, "oncelog": {}})
    assert row.is_reached is None
    assert row.to_kafka is None
