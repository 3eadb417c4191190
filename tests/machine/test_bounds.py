"""How many producers are remembered: what is refused when there is no room, and what never is."""

from __future__ import annotations

import pytest

from oncelog.machine.commands import (
    AbortTimedOutTransaction,
    DeleteTopic,
    ExpireProducers,
    ExpireTransactionalId,
)
from oncelog.machine.limits import Limits
from oncelog.wire.errors import ErrorCode
from tests.machine.driver import OTHER_TOPIC_ID, SECOND_GENERATION, TOPIC_ID, Machine, batch

NONE = ErrorCode.NONE
LOADING = ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
NO_ROOM = ErrorCode.NOT_ENOUGH_REPLICAS
IDLE_MS = 900_000


@pytest.fixture
def machine():
    """Room for three producers and two transactional ids."""
    machine = Machine(Limits(producers_max=3, transactional_ids_max=2))
    yield machine
    machine.check()
    assert machine.state.producer_count <= 3


def fill(machine, count=3, first=100):
    for producer_id in range(first, first + count):
        assert machine.produce(producer=(producer_id, 0), sequence=0).appended


def test_a_producer_that_is_one_too_many_is_refused_and_nothing_of_it_is_stored(machine):
    fill(machine)
    end = machine.partition().log_end_offset
    refused = machine.produce(producer=(200, 0), sequence=0)
    assert (refused.error, refused.base_offset, refused.appended) == (NO_ROOM, -1, False)
    assert machine.partition().log_end_offset == end


def test_those_that_are_remembered_go_on_and_so_do_batches_of_nobody(machine):
    fill(machine)
    assert machine.produce(producer=(100, 0), sequence=1).appended
    assert machine.produce(producer=(100, 0), sequence=1).base_offset == 3
    assert machine.produce(producer=(100, 1), sequence=0).appended
    assert machine.produce().appended


def test_a_producer_counts_in_each_partition_that_it_writes_to(machine):
    assert all(machine.produce(partition, producer=(7, 0), sequence=0).appended for partition in range(3))
    assert machine.produce(topic_id=OTHER_TOPIC_ID, producer=(7, 0), sequence=0).error == NO_ROOM


def test_batches_of_one_request_take_the_room_one_after_the_other(machine):
    fill(machine, 1)
    sent = [batch(partition, producer=(7, 0), sequence=0) for partition in range(3)]
    results = machine.produce_all(sent)
    assert [result.error for result in results] == [NONE, NONE, NO_ROOM]


def test_when_one_was_forgotten_there_is_room_again(machine):
    fill(machine)
    machine.pass_time(IDLE_MS)
    machine.do(ExpireProducers(TOPIC_ID, 0, (101,), IDLE_MS))
    assert machine.produce(producer=(200, 0), sequence=0).appended
    assert machine.produce(producer=(201, 0), sequence=0).error == NO_ROOM


def test_deleting_a_topic_makes_room(machine):
    machine.produce(topic_id=OTHER_TOPIC_ID, producer=(7, 0), sequence=0)
    fill(machine, 2)
    machine.do(DeleteTopic(OTHER_TOPIC_ID))
    fill(machine, 1, first=200)


def test_nobody_is_given_a_producer_id_while_there_is_no_room(machine):
    fill(machine)
    refused = machine.init(None)
    assert (refused.error, refused.producer_id, refused.producer_epoch) == (LOADING, -1, -1)
    assert machine.init("t").error == LOADING
    assert machine.state.transactions == {}


def test_a_transactional_id_too_many_is_refused_and_the_others_may_be_initialized_again(machine):
    first, _ = machine.producer("a"), machine.producer("b")
    assert machine.init("c").error == LOADING
    fill(machine)
    assert machine.producer("a") == (first[0], first[1] + 1)
    machine.pass_time(IDLE_MS)
    idle = machine.transaction("b")
    machine.do(ExpireTransactionalId("b", idle.producer_id, idle.producer_epoch, IDLE_MS))
    machine.do(ExpireProducers(TOPIC_ID, 0, (100,), IDLE_MS))
    assert machine.init("c").error == NONE


def test_partitions_that_would_not_find_room_do_not_join_a_transaction(machine):
    producer = machine.producer()
    fill(machine, 2)
    refused = machine.add(producer, 0, 1)
    assert (refused.error, refused.partition_errors) == (LOADING, (LOADING, LOADING))
    assert machine.state.covered_count == 0
    assert machine.add(producer, 0).error == NONE


def test_room_that_a_transaction_was_promised_is_given_to_nobody_else(machine):
    """Its end is never refused, and writes a marker in each partition, which is remembered."""
    producer = machine.producer()
    machine.add(producer, 0, 1)
    fill(machine, 1)
    assert machine.produce(producer=(200, 0), sequence=0).error == NO_ROOM
    assert machine.produce(producer=producer, sequence=0, in_transaction="t").appended
    assert machine.commit(producer).error == NONE
    assert machine.state.producer_count == 3


def test_an_established_producer_begins_transactions_without_any_room(machine):
    producer = machine.producer()
    for _ in range(3):
        machine.add(producer, 0)
        sequence = machine.partition().log_end_offset
        machine.produce(producer=producer, sequence=sequence // 2, in_transaction="t")
        assert machine.commit(producer).error == NONE
        fill(machine, 3 - machine.state.producer_count, first=100)


def test_a_write_that_would_add_its_partition_needs_room(machine):
    producer = machine.producer()
    fill(machine, 2)
    write = [batch(partition, producer=producer, sequence=0, attributes=0x10) for partition in range(2)]
    results = machine.produce_all(write, in_transaction="t", version=SECOND_GENERATION)
    assert [result.error for result in results] == [NONE, NO_ROOM]
    assert machine.transaction("t").partitions == {(TOPIC_ID, 0): None}


def test_a_timeout_ends_a_transaction_without_room(machine):
    producer = machine.producer(timeout_ms=1000)
    machine.add(producer, 0)
    fill(machine, 2)
    machine.pass_time(1000)
    assert machine.do(AbortTimedOutTransaction("t", *producer)).error == NONE
    assert producer[0] in machine.partition().producers


def test_a_producer_with_a_transaction_open_elsewhere_is_not_forgotten(machine):
    producer = machine.producer()
    machine.produce(1, producer=producer, sequence=0, in_transaction="t", version=SECOND_GENERATION)
    machine.commit(producer)
    machine.add(producer, 0)
    machine.pass_time(IDLE_MS)
    forget = ExpireProducers(TOPIC_ID, 1, (producer[0],), IDLE_MS)
    machine.do(forget)
    assert producer[0] in machine.partition(1).producers
    machine.commit(producer)
    machine.do(forget)
    assert producer[0] not in machine.partition(1).producers


def test_a_transaction_that_covers_a_deleted_topic_gives_its_room_back_at_its_end(machine):
    producer = machine.producer()
    machine.add(producer, 0, topic_id=OTHER_TOPIC_ID)
    machine.do(DeleteTopic(OTHER_TOPIC_ID))
    fill(machine, 2)
    assert machine.produce(producer=(200, 0), sequence=0).error == NO_ROOM
    machine.commit(producer)
    assert machine.produce(producer=(200, 0), sequence=0).appended
