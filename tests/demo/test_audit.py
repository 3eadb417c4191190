"""The check at the demonstration's end: each way in which results can be wrong is found."""

from __future__ import annotations

import pytest

from demo.audit import Audit, Findings
from demo.flights import Departure, Total, delay_record, totals_of

DEPARTURES = [
    Departure(0, "UA", 1545, "EWR", "IAH", "2013-01-01 05:15", 2, 11),
    Departure(1, "EV", 4308, "EWR", "RDU", "2013-01-01 16:30", None, None),
    Departure(2, "UA", 1714, "LGA", "IAH", "2013-01-01 05:29", 4, 20),
]


def findings_of(rows: list[int], totals: list[Total] | None = None) -> Findings:
    audit = Audit(DEPARTURES)
    for row in rows:
        audit.departure_found()
        audit.delay_found(str(row).encode(), delay_record(DEPARTURES[row]))
    for total in totals_of(DEPARTURES).values() if totals is None else totals:
        audit.total_found(total.encode())
    return audit.findings()


def test_each_flight_once_in_any_order_is_exactly_once() -> None:
    findings = findings_of([2, 0, 1])
    assert findings.exactly_once
    assert (findings.records_in, findings.records_out) == (3, 3)


@pytest.mark.parametrize(
    ("rows", "duplicates", "losses"), [([0, 1, 1, 2, 1], 2, 0), ([0, 2], 0, 1), ([0, 0, 2], 1, 1)]
)
def test_duplicates_and_losses_are_counted(rows: list[int], duplicates: int, losses: int) -> None:
    findings = findings_of(rows)
    assert (findings.duplicates, findings.losses) == (duplicates, losses)
    assert not findings.exactly_once


@pytest.mark.parametrize(
    ("key", "value"), [(b"0", delay_record(DEPARTURES[1])), (b"3", delay_record(DEPARTURES[0]))]
)
def test_a_record_that_is_not_what_the_file_says_is_wrong(key: bytes, value: bytes) -> None:
    audit = Audit(DEPARTURES)
    audit.delay_found(key, value)
    assert audit.findings().wrong == 1
    assert not audit.findings().nothing_lost


def test_the_last_total_of_a_carrier_counts() -> None:
    right = totals_of(DEPARTURES)
    assert findings_of([0, 1, 2], [Total("UA", 1), right["EV"], right["UA"]]).exactly_once
    assert findings_of([0, 1, 2], [right["UA"], right["EV"], Total("UA", 1)]).wrong_totals == ("UA",)


def test_missing_and_surplus_totals_are_found() -> None:
    right = totals_of(DEPARTURES)
    assert findings_of([0, 1, 2], [right["UA"], Total("XX", 1)]).wrong_totals == ("EV", "XX")
