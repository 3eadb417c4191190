"""The transaction's states and transitions as one table, from which decide, the documents and the tests read.

A row says, for what happens in a state: the answer, the state after it, how many epochs the producer moves
on, and whether the open transaction ends. It must not know how an event is made of that.

Kafka's own table (TransactionCoordinator.scala, KIP-98, KIP-360, KIP-890) has Prepare states between Ongoing
and Complete; here a transaction ends in one event, so that nothing can happen in between and no request is
answered CONCURRENT_TRANSACTIONS.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from oncelog.machine.state import TransactionState
from oncelog.wire.errors import ErrorCode

EMPTY = TransactionState.EMPTY
ONGOING = TransactionState.ONGOING
COMPLETE_COMMIT = TransactionState.COMPLETE_COMMIT
COMPLETE_ABORT = TransactionState.COMPLETE_ABORT


class Trigger(Enum):
    """What happens to a transactional id, the standing of its sender's epoch included.

    "Again" is a retry of what already happened: its sender still holds the epoch from before it.
    """

    # By identity: an Enum's own hash is made in Python, for each look into the table.
    __hash__ = object.__hash__

    INITIALIZE = "InitProducerId"
    INITIALIZE_AGAIN = "InitProducerId again"
    ADD = "a partition or group is added"
    COMMIT = "EndTxn(commit), v0-4"
    ABORT = "EndTxn(abort), v0-4"
    COMMIT_V2 = "EndTxn(commit), v5+"
    COMMIT_V2_AGAIN = "EndTxn(commit), v5+, again"
    COMMIT_V2_LATE = "EndTxn(commit), v5+, after the timeout"
    ABORT_V2 = "EndTxn(abort), v5+"
    ABORT_V2_AGAIN = "EndTxn(abort), v5+, again"
    TIME_OUT = "the transaction's timeout"
    ADMIN_ABORT = "WriteTxnMarkers(abort)"
    EXPIRE = "transactional.id.expiration.ms"


class Ending(Enum):
    COMMIT = "commit"
    ABORT = "abort"


class Outcome(NamedTuple):
    """What follows.

    after: the state after it; None: the transactional id is forgotten.
    epochs: how many epochs the producer moves on; past the largest, it gets a new producer id and epoch 0.
    ending: how the open transaction ends, where it does.
    changes: false where the answer is all there is.
    """

    error: ErrorCode
    after: TransactionState | None
    epochs: int
    ending: Ending | None
    changes: bool


class Transition(NamedTuple):
    """One row of the table."""

    before: TransactionState
    trigger: Trigger
    outcome: Outcome


def _go(after: TransactionState | None, *, epochs: int = 0, ending: Ending | None = None) -> Outcome:
    return Outcome(ErrorCode.NONE, after, epochs, ending, True)


def _stay(state: TransactionState, error: ErrorCode = ErrorCode.NONE) -> Outcome:
    return Outcome(error, state, 0, None, False)


def _all_refused(error: ErrorCode) -> dict[TransactionState, Outcome]:
    return {state: _stay(state, error) for state in TransactionState}


_FENCED = ErrorCode.PRODUCER_FENCED
_INVALID = ErrorCode.INVALID_TXN_STATE

_TABLE: dict[Trigger, dict[TransactionState, Outcome]] = {
    # The markers carry the next epoch, which nobody is ever given; the answer is the one after it.
    Trigger.INITIALIZE: {
        EMPTY: _go(EMPTY, epochs=1),
        ONGOING: _go(EMPTY, epochs=2, ending=Ending.ABORT),
        COMPLETE_COMMIT: _go(EMPTY, epochs=1),
        COMPLETE_ABORT: _go(EMPTY, epochs=1),
    },
    # Whoever began a transaction had its answer: the retry is not from them.
    Trigger.INITIALIZE_AGAIN: {
        EMPTY: _go(EMPTY),
        ONGOING: _stay(ONGOING, _FENCED),
        COMPLETE_COMMIT: _go(EMPTY),
        COMPLETE_ABORT: _go(EMPTY),
    },
    Trigger.ADD: {state: _go(ONGOING) for state in TransactionState},
    Trigger.COMMIT: {
        EMPTY: _stay(EMPTY, _INVALID),
        ONGOING: _go(COMPLETE_COMMIT, ending=Ending.COMMIT),
        COMPLETE_COMMIT: _stay(COMPLETE_COMMIT),
        COMPLETE_ABORT: _stay(COMPLETE_ABORT, _INVALID),
    },
    Trigger.ABORT: {
        EMPTY: _stay(EMPTY, _INVALID),
        ONGOING: _go(COMPLETE_ABORT, ending=Ending.ABORT),
        COMPLETE_COMMIT: _stay(COMPLETE_COMMIT, _INVALID),
        COMPLETE_ABORT: _stay(COMPLETE_ABORT),
    },
    Trigger.COMMIT_V2: {
        EMPTY: _stay(EMPTY, _INVALID),
        ONGOING: _go(COMPLETE_COMMIT, epochs=1, ending=Ending.COMMIT),
        COMPLETE_COMMIT: _stay(COMPLETE_COMMIT, _INVALID),
        COMPLETE_ABORT: _stay(COMPLETE_ABORT, _INVALID),
    },
    Trigger.COMMIT_V2_AGAIN: {
        EMPTY: _stay(EMPTY, _FENCED),
        ONGOING: _stay(ONGOING, _FENCED),
        COMPLETE_COMMIT: _stay(COMPLETE_COMMIT),
        COMPLETE_ABORT: _stay(COMPLETE_ABORT, _INVALID),
    },
    # KAFKA-20785: to be told of an invalid state would make the producer look broken; it was fenced.
    Trigger.COMMIT_V2_LATE: _all_refused(_FENCED),
    # Without an open transaction an abort still moves the epoch on (KIP-890's empty abort): the producer may
    # have sent what has not arrived yet, and that must be fenced.
    Trigger.ABORT_V2: {
        EMPTY: _go(COMPLETE_ABORT, epochs=1, ending=Ending.ABORT),
        ONGOING: _go(COMPLETE_ABORT, epochs=1, ending=Ending.ABORT),
        COMPLETE_COMMIT: _go(COMPLETE_ABORT, epochs=1, ending=Ending.ABORT),
        COMPLETE_ABORT: _go(COMPLETE_ABORT, epochs=1, ending=Ending.ABORT),
    },
    Trigger.ABORT_V2_AGAIN: {
        EMPTY: _stay(EMPTY, _FENCED),
        ONGOING: _stay(ONGOING, _FENCED),
        COMPLETE_COMMIT: _stay(COMPLETE_COMMIT, _INVALID),
        COMPLETE_ABORT: _stay(COMPLETE_ABORT),
    },
    Trigger.TIME_OUT: {
        **_all_refused(_INVALID),
        ONGOING: _go(COMPLETE_ABORT, epochs=1, ending=Ending.ABORT),
    },
    Trigger.ADMIN_ABORT: {
        **{state: _stay(state) for state in TransactionState},
        ONGOING: _go(COMPLETE_ABORT, epochs=1, ending=Ending.ABORT),
    },
    Trigger.EXPIRE: {
        EMPTY: _go(None),
        ONGOING: _stay(ONGOING, _INVALID),
        COMPLETE_COMMIT: _go(None),
        COMPLETE_ABORT: _go(None),
    },
}


def outcome(state: TransactionState, trigger: Trigger) -> Outcome:
    """What follows when this happens in that state."""
    return _TABLE[trigger][state]


def transitions() -> Iterator[Transition]:
    """Every row: each trigger in each state."""
    for trigger in Trigger:
        for state in TransactionState:
            yield Transition(state, trigger, _TABLE[trigger][state])
