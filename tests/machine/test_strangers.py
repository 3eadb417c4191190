"""Producers that do not belong: ids that nobody here gave out, and zombies whose successor goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from oncelog.machine.limits import Limits
from oncelog.machine.producing import UNKNOWN_PRODUCER_ID_MAX
from oncelog.wire.errors import ErrorCode
from tests.machine.driver import FIRST_GENERATION, SECOND_GENERATION, Machine

NONE = ErrorCode.NONE


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine()
    yield machine
    machine.check()


@pytest.mark.parametrize("ahead", [0, 3])
def test_an_id_that_a_stranger_brings_is_given_to_nobody_else(machine: Machine, ahead: int) -> None:
    """Else the newcomer would be fenced in that partition for ever, and its markers could not be written."""
    strange = machine.state.next_producer_id + ahead
    assert machine.produce(producer=(strange, 5), sequence=0).error is NONE
    producer = machine.producer("t")
    assert producer[0] > strange
    machine.add(producer, 0)
    assert machine.produce(producer=producer, sequence=0, in_transaction="t").error is NONE
    assert machine.commit(producer).error is NONE
    assert machine.producer(None)[0] == producer[0] + 1
    assert machine.produce(producer=(strange, 5), sequence=1).error is NONE


def test_an_id_that_would_leave_none_to_give_out_is_refused(machine: Machine) -> None:
    for absurd in (UNKNOWN_PRODUCER_ID_MAX + 1, 2**63 - 1):
        assert machine.produce(producer=(absurd, 0), sequence=0).error is ErrorCode.INVALID_RECORD
    assert machine.produce(producer=(UNKNOWN_PRODUCER_ID_MAX, 0), sequence=0).error is NONE
    producer = machine.producer("t")
    assert machine.produce(
        producer=producer, sequence=0, in_transaction="t", version=SECOND_GENERATION
    ).appended


@pytest.mark.parametrize("version", [FIRST_GENERATION, SECOND_GENERATION])
def test_an_epoch_that_was_never_given_out_writes_nothing(machine: Machine, version: int) -> None:
    """Later, when it is given out, it would be no new one."""
    producer_id, epoch = machine.producer("t")
    machine.add((producer_id, epoch), 0)
    ahead = machine.produce(
        producer=(producer_id, epoch + 1), sequence=0, in_transaction="t", version=version
    )
    assert (ahead.error, ahead.appended) == (ErrorCode.INVALID_PRODUCER_EPOCH, False)
    assert machine.produce(producer=(producer_id, epoch + 1), sequence=0).error is ahead.error


@pytest.mark.parametrize("base_sequence", [1, 2])
def test_a_batch_that_reaches_into_a_remembered_one_is_no_duplicate(
    machine: Machine, base_sequence: int
) -> None:
    """Part of it was stored under other boundaries: it was never sent like this."""
    for sequence in range(0, 14, 2):
        assert machine.produce(producer=(7, 0), sequence=sequence, count=2).error is NONE
    reaching = machine.produce(producer=(7, 0), sequence=base_sequence, count=5 - base_sequence)
    assert reaching.error is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    before = machine.produce(producer=(7, 0), sequence=base_sequence, count=4 - base_sequence)
    assert before.error is ErrorCode.DUPLICATE_SEQUENCE_NUMBER


@pytest.mark.parametrize("commit", [True, False])
def test_a_zombie_is_not_given_the_epoch_of_its_successor(machine: Machine, commit: bool) -> None:
    """A successor of the first generation ends its transactions without moving its epoch on."""
    zombie = machine.producer("t")
    successor = machine.producer("t")
    machine.add(successor, 0)
    assert machine.end(successor, commit).error is NONE
    assert machine.end(zombie, commit, v2=True) == (ErrorCode.PRODUCER_FENCED, -1, -1)


@pytest.mark.parametrize("commit", [True, False])
def test_a_late_copy_of_initialization_changes_nothing_after_a_transaction(
    machine: Machine, commit: bool
) -> None:
    """Whoever ended a transaction had the answer; the copy must not make a retry of EndTxn fail."""
    before = machine.producer("t")
    producer = machine.producer("t", expects=before)
    machine.add(producer, 0)
    assert machine.end(producer, commit).error is NONE
    assert machine.init("t", expects=before).error is ErrorCode.PRODUCER_FENCED
    assert machine.end(producer, commit).error is NONE


@pytest.mark.parametrize("commit", [True, False])
def test_a_zombie_is_not_given_the_new_id_of_its_successor(commit: bool) -> None:
    machine = Machine(Limits(producer_epoch_max=1))
    machine.producer("t")
    zombie = machine.producer("t")
    successor = machine.producer("t")
    assert successor[0] != zombie[0]
    machine.add(successor, 0)
    assert machine.end(successor, commit).error is NONE
    assert machine.end(zombie, commit, v2=True) == (ErrorCode.PRODUCER_FENCED, -1, -1)
    machine.check()
