"""An administrator's abort: the open transaction of a producer and epoch ends as a whole, or nothing does."""

from __future__ import annotations

import pytest

from oncelog.machine.commands import AbortOnPartitions
from oncelog.machine.events import EndReason
from oncelog.machine.limits import Limits
from oncelog.machine.state import TransactionState
from oncelog.wire.errors import ErrorCode
from tests.machine.driver import SECOND_GENERATION, TOPIC_ID, UNKNOWN_TOPIC_ID, Machine, Producer

NONE, FENCED = ErrorCode.NONE, ErrorCode.PRODUCER_FENCED
OLD_EPOCH, UNKNOWN = ErrorCode.INVALID_PRODUCER_EPOCH, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
EPOCH_MAX = 5


@pytest.fixture
def machine():
    """Epochs end at 5."""
    machine = Machine(Limits(producer_epoch_max=EPOCH_MAX))
    yield machine
    machine.check()


def open_transaction(machine: Machine, *partitions: int) -> Producer:
    producer = machine.producer()
    for partition in partitions:
        assert machine.produce(
            partition, producer=producer, sequence=0, in_transaction="t", version=SECOND_GENERATION
        ).appended
    return producer


def abort(
    machine: Machine, producer: Producer, *partitions: int, v2: bool = False, topic_id: bytes = TOPIC_ID
) -> list[ErrorCode]:
    named = tuple((topic_id, partition) for partition in partitions)
    command = AbortOnPartitions(*producer, named, v2, "admin", "/127.0.0.2")
    return list(machine.do(command).partition_errors)


@pytest.mark.parametrize("v2", [False, True])
def test_it_aborts_everywhere_and_fences(machine, v2):
    producer = open_transaction(machine, 0, 1)
    assert machine.send_offsets(producer, {0: 7}, version=5) == (NONE,)
    marker_epoch = producer[1] + v2
    assert abort(machine, (producer[0], marker_epoch), 1, v2=v2) == [NONE]
    ended = machine.events[-1]
    assert (ended.committed, ended.reason) == (False, EndReason.ADMIN)
    assert (ended.client_id, ended.host) == ("admin", "/127.0.0.2")
    assert [machine.partition(index).last_stable_offset for index in (0, 1)] == [2, 2]
    assert machine.committed_offset() is None
    assert machine.state.ongoing == {}
    late = machine.produce(producer=producer, sequence=1, in_transaction="t", version=SECOND_GENERATION)
    assert late.error == OLD_EPOCH
    assert machine.commit(producer).error == machine.commit(producer, v2=True).error == FENCED
    assert machine.abort(producer, v2=True) == (NONE, producer[0], producer[1] + 1), "it may go on with this"


def test_asked_again_it_has_been_done_also_for_the_other_partitions(machine):
    producer = open_transaction(machine, 0, 1)
    assert abort(machine, producer, 0) == [NONE]
    events = len(machine.events)
    assert abort(machine, producer, 0, 1) == [NONE, NONE]
    assert len(machine.events) == events


def test_asked_again_after_the_producer_id_was_exhausted(machine):
    for _ in range(EPOCH_MAX):
        machine.producer()
    producer = open_transaction(machine, 0)
    assert producer[1] == EPOCH_MAX
    assert abort(machine, producer, 0) == abort(machine, producer, 0) == [NONE]
    assert machine.transaction().producer_id != producer[0]
    assert machine.transaction().producer_epoch == 0


@pytest.mark.parametrize("off", [-1, 1, 100])
def test_another_epoch_changes_nothing(machine, off):
    machine.producer()
    producer = open_transaction(machine, 0)
    events = len(machine.events)
    assert abort(machine, (producer[0], producer[1] + off), 0) == [OLD_EPOCH]
    assert abort(machine, (producer[0], producer[1] + 1 + off), 0, v2=True) == [OLD_EPOCH]
    assert len(machine.events) == events
    assert machine.commit(producer, v2=True).error == NONE


def test_each_partition_has_its_answer(machine):
    producer = open_transaction(machine, 0)
    assert abort(machine, producer, 1) == [NONE], "nothing is open there"
    assert machine.transaction().state is TransactionState.ONGOING
    assert abort(machine, producer, 0, topic_id=UNKNOWN_TOPIC_ID) == [UNKNOWN]
    assert abort(machine, producer, 99, -1) == [UNKNOWN, UNKNOWN]
    assert machine.transaction().state is TransactionState.ONGOING
    assert abort(machine, producer, 99, 0, 1) == [UNKNOWN, NONE, NONE]
    assert machine.transaction().state is TransactionState.COMPLETE_ABORT


def test_a_producer_that_nobody_knows_has_nothing_open(machine):
    assert abort(machine, (77, 0), 0) == [NONE]
    assert machine.events == []


def test_producers_without_transactions_are_left_alone(machine):
    producer = machine.producer(None)
    assert machine.produce(producer=producer, sequence=0).appended
    assert abort(machine, producer, 0) == [NONE]
    assert abort(machine, (producer[0], -1), 0) == [OLD_EPOCH]
    assert machine.produce(producer=producer, sequence=1).appended


def test_it_does_not_hit_the_next_transaction(machine):
    """A delayed abort: in the second generation the next transaction has an epoch of its own."""
    producer = open_transaction(machine, 0)
    reply = machine.commit(producer, v2=True)
    following = (reply.producer_id, reply.producer_epoch)
    assert machine.produce(
        producer=following, sequence=0, in_transaction="t", version=SECOND_GENERATION
    ).appended
    assert abort(machine, producer, 0) == [OLD_EPOCH]
    assert machine.commit(following, v2=True).error == NONE
