"""The search in the default run: a short one; that it finds what is broken, shrinks it, leaves no hole."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oncelog.machine import commands as c
from oncelog.machine.decide import RULES
from oncelog.wire.errors import ErrorCode
from tests.search import breakages
from tests.search.aiming import aimed, meant
from tests.search.comparing import Difference, Sides
from tests.search.drawing import Crash, Drawer, Step
from tests.search.outcomes import EXPECTED, NOT_DRAWN
from tests.search.run import STEPS_PER_RUN, Seen, run, tell
from tests.search.shrinking import difference_of, shrink, without_what_can_go

RUNS = 20


def drawn(seed: int, count: int) -> list[Step]:
    sides, steps = Sides(), []
    drawer = Drawer(Random(seed), sides.model)
    queue = drawer.first()
    for _ in range(count):
        steps.append(queue.pop(0) if queue else drawer.step())
        sides.do(steps[-1])
    return steps


@pytest.mark.parametrize("seed", range(RUNS))
def test_the_machine_and_the_model_agree(seed: int) -> None:
    seen: Seen = Counter()
    found = run(seed, STEPS_PER_RUN, seen)
    if found is not None:
        smallest = shrink(found)
        pytest.fail(f"{difference_of(smallest)}\n{tell(smallest)}")
    assert seen.total() >= STEPS_PER_RUN


@settings(
    derandomize=True, max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
@given(st.randoms(use_true_random=False), st.integers(1, 40))
def test_the_machine_and_the_model_agree_where_hypothesis_draws(random: Random, count: int) -> None:
    """Its own shrinking works on the numbers that the commands are drawn from."""
    sides = Sides()
    drawer = Drawer(random, sides.model)
    for step in drawer.first():
        sides.do(step)
    for _ in range(count):
        sides.do(drawer.step())
    sides.crash()


def test_every_command_of_the_machine_is_drawn() -> None:
    assert {kind for kind, _ in EXPECTED} - {Crash} == RULES.keys() - NOT_DRAWN


# --- finding and shrinking ---


@pytest.fixture
def fenced_are_told_another_error(monkeypatch: pytest.MonkeyPatch) -> None:
    decide = RULES[c.EndTxn]

    def broken(state: Any, command: Any, time: Any) -> Any:
        events, reply = decide(state, command, time)
        if reply.error is ErrorCode.PRODUCER_FENCED:
            reply = reply._replace(error=ErrorCode.INVALID_TXN_STATE)
        return events, reply

    monkeypatch.setitem(RULES, c.EndTxn, broken)


@pytest.mark.usefixtures("fenced_are_told_another_error")
def test_a_difference_is_found_and_shrunk_to_a_few_steps() -> None:
    found = next(steps for steps in (run(seed, STEPS_PER_RUN) for seed in range(RUNS)) if steps is not None)
    smallest = shrink(found)
    assert len(smallest) <= 4, tell(smallest)
    assert type(smallest[-1].command) is c.EndTxn
    told = difference_of(smallest)
    assert told is not None
    assert told[0] == len(smallest)
    assert "INVALID_TXN_STATE" in told[1]
    assert "EndTxn(" in tell(smallest)


def test_an_error_that_the_machine_raises_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise AssertionError("never")

    monkeypatch.setitem(RULES, c.EndTxn, broken)
    steps = [Step(0, c.EndTxn("t", 0, 0, True, False, None, ""))]
    assert difference_of(steps) == (1, "AssertionError: never")


def test_what_differs_stays_and_all_else_goes() -> None:
    assert without_what_can_go([*range(100)], lambda some: {17, 60} <= set(some)) == [17, 60]


def test_a_script_that_is_aimed_whole_is_the_script() -> None:
    steps = drawn(3, 300)
    assert aimed(meant(steps)) == steps


def test_a_script_is_aimed_at_what_is_left_of_it() -> None:
    init = Step(0, c.InitProducerId("t", 500, -1, -1, None, ""))
    first, second, end = meant([init, init, Step(0, c.EndTxn("t", 0, 1, False, True, None, ""))])
    assert aimed([first, end])[-1].command.producer_epoch == 0
    assert aimed([first, second, end])[-1].command.producer_epoch == 1


def test_the_state_is_compared_and_not_the_replies_alone() -> None:
    sides = Sides()
    for step in Drawer(Random(0), sides.model).first():
        sides.do(step)
    sides.do(Step(0, c.InitProducerId("t", 500, -1, -1, None, "")))
    sides.state.transactions["t"].producer_epoch = 2
    with pytest.raises(Difference):
        sides.compare_all()


# --- broken lines ---


def test_the_lines_that_are_broken_are_there() -> None:
    declared = breakages.breakages()
    assert len(declared) >= 15
    for each in declared:
        source = breakages.MACHINE / each["file"]
        assert breakages.broken(source.read_text(), each) != source.read_text()


def test_a_broken_line_is_found() -> None:
    """All of them: make search-breakages."""
    assert breakages.search(breakages.breakages()[0], 20_000) is not None
