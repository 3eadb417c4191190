"""What makes a run of the demonstration a failure, and what its table says."""

from __future__ import annotations

from collections import Counter

import pytest

from demo.audit import Findings
from demo.orchestrator import Outcome
from demo.report import shortcomings, table
from demo.strikes import Hit, Victim

LIMIT = 100
RIGHT = Findings(
    records_in=LIMIT, records_out=LIMIT, duplicates=0, losses=0, wrong=0, carriers=16, wrong_totals=()
)


def outcome(*missed: Hit) -> Outcome:
    return Outcome(
        kills=Counter({Victim.BROKER: 5, Victim.WORKER: 7}),
        hits=Counter({hit: 2 for hit in Hit if hit not in missed}),
        committed=700,
        aborted=9,
    )


def test_a_run_in_which_everything_is_right_has_no_shortcomings() -> None:
    assert shortcomings(RIGHT, outcome(), LIMIT, transactional=True) == []


@pytest.mark.parametrize("hit", list(Hit))
def test_a_thing_that_no_kill_has_hit_fails_the_run(hit: Hit) -> None:
    assert shortcomings(RIGHT, outcome(hit), LIMIT, transactional=True) == [f"no kill hit {hit.value}"]


@pytest.mark.parametrize(
    ("wrong", "says", "fails_without_transactions"),
    [
        (RIGHT._replace(records_in=99), "99 departures are in the topic instead of 100", True),
        (RIGHT._replace(losses=1), "1 flights are missing", True),
        (RIGHT._replace(wrong=1), "1 records are wrong", True),
        (RIGHT._replace(duplicates=1), "1 records are there more than once", False),
        (RIGHT._replace(wrong_totals=("UA",)), "the totals of UA differ", False),
    ],
)
def test_each_finding_fails_the_run(wrong: Findings, says: str, fails_without_transactions: bool) -> None:
    (reason,) = shortcomings(wrong, outcome(), LIMIT, transactional=True)
    assert says in reason
    assert bool(shortcomings(wrong, outcome(), LIMIT, transactional=False)) == fails_without_transactions


def test_the_table_shows_every_figure() -> None:
    text = table(RIGHT._replace(duplicates=3, losses=4), outcome(), "a title", transactional=True)
    figures = {" ".join(line.split()[:-1]): line.split()[-1] for line in text.splitlines()[1:]}
    assert text.startswith("a title\n")
    assert (figures["records in: departures"], figures["duplicates"], figures["losses"]) == ("100", "3", "4")
    assert (figures["transactions committed"], figures["transactions aborted"]) == ("700", "9")
    assert [figures[f"hit {hit.value}"] for hit in Hit] == ["2", "2", "2"]
