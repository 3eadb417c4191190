"""Small worlds: each has an end, and the invariants on the way can fail."""

from __future__ import annotations

from typing import Any

import pytest

from oncelog.machine import commands as c
from oncelog.machine.decide import RULES
from oncelog.machine.state import TransactionState
from tests.search.small_world import WORLDS, Walk

STATES_MAX = 100_000


def test_a_small_world_has_an_end() -> None:
    """Without the group, for the time it takes; with it, and for all generations: make small-world."""
    walked = Walk(WORLDS["both of the second generation"]._replace(offsets=False)).to_the_end(STATES_MAX)
    print(walked)
    assert walked.states > 1000


def test_a_zombie_that_may_end_a_transaction_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    decide = RULES[c.EndTxn]

    def broken(state: Any, command: Any, time: Any) -> Any:
        transaction = state.transactions.get(command.transactional_id)
        if transaction is not None and transaction.state is TransactionState.ONGOING:
            current = (transaction.producer_id, transaction.producer_epoch)
            command = command._replace(producer_id=current[0], producer_epoch=current[1])
        return decide(state, command, time)

    monkeypatch.setitem(RULES, c.EndTxn, broken)
    with pytest.raises(AssertionError, match="changes nothing"):
        Walk(WORLDS["both of the second generation"]).to_the_end(STATES_MAX)
