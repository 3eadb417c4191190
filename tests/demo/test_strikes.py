"""What the demonstration plans to kill, and what it says a kill has hit."""

from __future__ import annotations

import random

import pytest

from demo.board import Phase
from demo.strikes import FEWEST_KILLS, KILLS_PER_ZOMBIE, Hit, Moment, Victim, hits, once_more, plan


@pytest.mark.parametrize("kills", [FEWEST_KILLS, 4, 7, 12, 40])
@pytest.mark.parametrize("seed", range(20))
def test_a_plan_has_as_many_kills_as_asked_for_and_aims_at_each_moment(kills: int, seed: int) -> None:
    strikes = plan(random.Random(seed), kills)
    zombies = [strike for strike in strikes if strike.victim is Victim.ZOMBIE]
    assert len(strikes) - len(zombies) == kills
    assert len(zombies) == kills // KILLS_PER_ZOMBIE
    moments = {strike.moment for strike in strikes if strike.victim is not Victim.ZOMBIE}
    assert moments >= {Moment.OPEN, Moment.SENT, Moment.REBALANCE}


@pytest.mark.parametrize("seed", range(20))
def test_a_rebalance_is_aimed_at_only_after_a_worker_was_killed(seed: int) -> None:
    strikes = plan(random.Random(seed), 20)
    for before, strike in zip([None, *strikes], strikes):
        if strike.moment is Moment.REBALANCE:
            assert before is not None
            assert before.victim is Victim.WORKER


def test_the_seed_decides_the_plan() -> None:
    assert plan(random.Random(5), 12) == plan(random.Random(5), 12)
    assert plan(random.Random(5), 12) != plan(random.Random(6), 12)


def test_the_broker_is_hit_with_a_transaction_open_only_if_it_was_open_all_the_time() -> None:
    lasting = (Phase.ACKNOWLEDGED, Phase.ACKNOWLEDGED)
    assert hits(Victim.BROKER, None, [lasting]) == {Hit.OPEN}
    assert hits(Victim.BROKER, None, [(Phase.ACKNOWLEDGED, Phase.COMMITTING)]) == set()
    assert hits(Victim.BROKER, None, [(Phase.SENT, Phase.SENT)]) == set()
    assert hits(Victim.WORKER, Phase.FILLING, [lasting]) == set()


@pytest.mark.parametrize("phase", list(Phase))
def test_a_worker_is_hit_in_the_phase_it_died_in(phase: Phase) -> None:
    expected = {
        Phase.SENT: {Hit.SENT},
        Phase.ACKNOWLEDGED: {Hit.SENT},
        Phase.REBALANCING: {Hit.REBALANCE},
    }
    assert hits(Victim.WORKER, phase, []) == expected.get(phase, set())


def test_one_kill_can_hit_two_things() -> None:
    others = [(Phase.ACKNOWLEDGED, Phase.ACKNOWLEDGED), (Phase.REBALANCING, Phase.REBALANCING)]
    assert hits(Victim.BROKER, None, others) == {Hit.OPEN, Hit.REBALANCE}


@pytest.mark.parametrize(
    ("hit", "moment"),
    [(Hit.OPEN, Moment.OPEN), (Hit.SENT, Moment.SENT), (Hit.REBALANCE, Moment.REBALANCE)],
)
def test_what_was_missed_is_aimed_at_once_more(hit: Hit, moment: Moment) -> None:
    assert once_more(hit)[-1].moment is moment
    assert {strike.victim for strike in once_more(hit)} <= {Victim.BROKER, Victim.WORKER, Victim.EITHER}
