"""Eviction: making room for new producers, without forgetting anybody who may still be heard of."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import count

import pytest

from oncelog.broker.eviction import units_to_evict
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from tests.machine.driver import recounted
from tests.support.batches import batch
from tests.support.one_process import Client, OneProcess, one_process
from tests.support.speaking import TransactionalProducer, init_producer_id, produce

NEVER_MS = 2**31 - 1
QUARTER_S = 15 * 60
LIMIT = 16
NO_ROOM, LOADING = ErrorCode.NOT_ENOUGH_REPLICAS, ErrorCode.COORDINATOR_LOAD_IN_PROGRESS


@pytest.fixture
def process() -> Iterator[OneProcess]:
    options = {"max_producers": LIMIT, "max_transactional_ids": LIMIT, "expiry_check_interval_ms": NEVER_MS}
    with one_process(
        connections_max_idle_ms=NEVER_MS, transaction_max_timeout_ms=NEVER_MS, **options
    ) as process:
        process.let_go()
        yield process
        state = process.broker.state
        assert (state.producer_count, state.covered_count) == recounted(state)


@pytest.fixture
def client(process: OneProcess) -> Client:
    client = process.connect()
    topic = CreatableTopic(name="t", num_partitions=2, replication_factor=1)
    (answer,) = client.call(CreateTopicsRequest(topics=[topic], timeout_ms=1000), 4).topics
    assert answer.error_code == 0
    return client


def write(client: Client, producer_id: int, sequence: int = 0) -> int:
    records = batch(producer_id=producer_id, epoch=0, sequence=sequence)
    return int(produce(client, "t", records, version=12).error_code)


def pass_time(process: OneProcess, seconds: float) -> None:
    """A little at a time, as where nothing stands still."""
    process.advance(seconds, step_s=4.0)
    process.advance(1.5, step_s=0.05)


def remembered(process: OneProcess) -> set[int]:
    state = process.broker.state
    return set(state.topics[state.topic_ids["t"]].partitions[0].producers)


def evicted(process: OneProcess) -> list[int]:
    return [each.evicted for each in process.broker.evictions]


def test_the_longest_idle_go_first_and_no_more_than_needed(process: OneProcess, client: Client) -> None:
    old, young = range(100, 103), range(200, 200 + LIMIT - 3)
    assert all(write(client, each) == 0 for each in old)
    pass_time(process, 2 * QUARTER_S)
    assert all(write(client, each) == 0 for each in young)
    pass_time(process, QUARTER_S + 5)
    assert remembered(process) == {102, *young}
    assert evicted(process) == [2, 0]
    assert write(client, 300) == 0


def test_who_was_heard_of_in_the_last_15_minutes_stays_and_new_ones_are_told_to_come_again(
    process: OneProcess, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    assert all(write(client, each) == 0 for each in range(100, 100 + LIMIT))
    with caplog.at_level(logging.WARNING, "oncelog.eviction"):
        pass_time(process, QUARTER_S - 30)
        assert write(client, 300) == NO_ROOM
        assert init_producer_id(client).error_code == LOADING
        assert init_producer_id(client, "t").error_code == LOADING
        assert len(remembered(process)) == LIMIT
        (full,) = caplog.records
        assert "--max-producers" in full.getMessage()
        pass_time(process, 60)
        assert write(client, 300) == 0
        assert init_producer_id(client).error_code == 0
        assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_what_was_refused_comes_before_what_was_sent_after_it(process: OneProcess, client: Client) -> None:
    """Two batches in flight, and room for the producer when the second one comes (KAFKA-14904)."""
    assert all(write(client, each) == 0 for each in range(100, 100 + LIMIT))
    pass_time(process, QUARTER_S - 30)
    assert write(client, 300, sequence=0) == NO_ROOM
    pass_time(process, 60)
    assert write(client, 300, sequence=1) == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert [write(client, 300, sequence=sequence) for sequence in range(2)] == [0, 0]


def test_a_retry_of_a_remembered_batch_is_known_while_there_is_no_room(
    process: OneProcess, client: Client
) -> None:
    assert all(write(client, each) == 0 for each in range(100, 100 + LIMIT))
    pass_time(process, QUARTER_S - 30)
    state = process.broker.state
    end = state.topics[state.topic_ids["t"]].partitions[0].log_end_offset
    assert write(client, 100) == 0
    assert state.topics[state.topic_ids["t"]].partitions[0].log_end_offset == end


def test_time_in_which_the_process_stood_still_is_not_idleness(process: OneProcess, client: Client) -> None:
    """A retry may lie in a socket for as long: whoever wakes reads it first."""
    assert all(write(client, each) == 0 for each in range(100, 100 + LIMIT))
    process.loop.now_s += 2 * QUARTER_S
    process.advance(0.5)
    assert len(remembered(process)) == LIMIT
    state = process.broker.state
    end = state.topics[state.topic_ids["t"]].partitions[0].log_end_offset
    assert all(write(client, each) == 0 for each in range(100, 100 + LIMIT))
    assert state.topics[state.topic_ids["t"]].partitions[0].log_end_offset == end
    pass_time(process, 5)
    assert len(remembered(process)) < LIMIT


def test_an_open_transaction_keeps_its_producer_everywhere(process: OneProcess, client: Client) -> None:
    open_one = TransactionalProducer(client, "open", timeout_ms=NEVER_MS)
    assert open_one.produce("t", partition=1, version=12).error_code == 0
    assert open_one.end(True, version=5).error_code == 0
    assert open_one.produce("t", partition=0, version=12).error_code == 0
    others = iter(count(100))
    for _ in range(4):
        while write(client, next(others)) == 0:
            pass
        pass_time(process, QUARTER_S + 15)
    partitions = process.broker.state.topics[process.broker.state.topic_ids["t"]].partitions
    assert all(open_one.producer_id in partition.producers for partition in partitions)
    assert set(process.broker.state.transactions) == {"open"}
    assert open_one.end(True, version=5).error_code == 0


def test_open_transactions_that_are_idle_for_longest_are_in_nobodys_way(
    process: OneProcess, client: Client
) -> None:
    """They are not taken for those that make room: others, idle for less, go."""
    for number in range(2):
        open_one = TransactionalProducer(client, f"open-{number}", timeout_ms=NEVER_MS)
        assert open_one.produce("t", version=12).error_code == 0
    pass_time(process, QUARTER_S)
    others = [init_producer_id(client, f"id-{number}") for number in range(LIMIT - 2)]
    assert [write(client, each.producer_id) for each in others] == [0] * 12 + [NO_ROOM] * 2
    pass_time(process, QUARTER_S + 30)
    assert all(each > 0 for each in evicted(process))
    assert write(client, 300) == 0
    assert init_producer_id(client, "another").error_code == 0


def test_transactional_ids_go_as_producers_do(process: OneProcess, client: Client) -> None:
    names = [f"id-{number}" for number in range(LIMIT)]
    assert all(init_producer_id(client, name).error_code == 0 for name in names)
    assert init_producer_id(client, "another").error_code == LOADING
    pass_time(process, QUARTER_S - 30)
    assert init_producer_id(client, names[0]).error_code == 0
    pass_time(process, 60)
    assert evicted(process) == [0, 2]
    assert names[0] in process.broker.state.transactions
    assert init_producer_id(client, "another").error_code == 0


def test_a_producer_whose_id_was_evicted_is_told_so(process: OneProcess, client: Client) -> None:
    producer = TransactionalProducer(client, "a")
    for number in range(LIMIT - 1):
        assert init_producer_id(client, f"id-{number}").error_code == 0
    pass_time(process, QUARTER_S + 30)
    assert "a" not in process.broker.state.transactions
    refused = producer.produce("t", version=12)
    assert refused.error_code == ErrorCode.INVALID_PRODUCER_ID_MAPPING


def test_what_was_evicted_stays_so_over_a_restart(process: OneProcess, client: Client) -> None:
    assert all(write(client, each) == 0 for each in range(100, 100 + LIMIT))
    pass_time(process, QUARTER_S + 30)
    kept = remembered(process)
    assert len(kept) < LIMIT
    restarted = process.restarted()
    assert remembered(restarted) == kept
    restarted.close()


@pytest.mark.parametrize(
    ("idle", "wanted", "units"),
    [
        ({}, 1, None),
        ({0: 100}, 1, None),
        ({0: 100, 1: 5}, 50, 1),
        ({1: 5, 2: 5, 9: 5}, 5, 9),
        ({1: 5, 2: 5, 9: 5}, 6, 2),
        ({1: 5, 2: 5, 9: 5}, 100, 1),
    ],
)
def test_no_shorter_idleness_than_needed_makes_one_go(
    idle: dict[int, int], wanted: int, units: int | None
) -> None:
    assert units_to_evict(idle, wanted) == units
