"""What time brings: expiry by journaled decisions, in bounded steps, and never of an open transaction."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from oncelog.broker.housekeeping import ITEMS_PER_STEP
from oncelog.machine.events import REGISTRY, ProducersForgotten, decode_events
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from oncelog.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from tests.support.batches import batch
from tests.support.one_process import Client, OneProcess, one_process
from tests.support.speaking import TransactionalProducer, idempotent_producer, init_producer_id, produce

DAY_S = 86_400
CHECK_S = 600
NEVER_MS = 2**31 - 1
EXPIRATION = "producer.id.expiration.ms"
BROKER, SET, DELETE = 4, 0, 1


@pytest.fixture
def process() -> Iterator[OneProcess]:
    with one_process(connections_max_idle_ms=NEVER_MS) as process:
        process.let_go()
        yield process


def client_with_topic(process: OneProcess, partitions: int = 1) -> Client:
    client = process.connect()
    topic = CreatableTopic(name="t", num_partitions=partitions, replication_factor=1)
    (answer,) = client.call(CreateTopicsRequest(topics=[topic], timeout_ms=1000), 4).topics
    assert answer.error_code == 0
    return client


def pass_time(process: OneProcess, seconds: float) -> None:
    """In one leap, then a round in steps."""
    process.loop.now_s += seconds
    process.advance(2.0)


def remembered(process: OneProcess) -> set[int]:
    return set(process.broker.state.topics[process.broker.state.topic_ids["t"]].partitions[0].producers)


def test_a_producer_that_is_idle_for_a_day_is_forgotten(process: OneProcess) -> None:
    client = client_with_topic(process)
    idle, busy = idempotent_producer(client), idempotent_producer(client)
    for producer in (idle, busy):
        assert produce(client, "t", batch(producer_id=producer, epoch=0, sequence=0)).error_code == 0
    pass_time(process, DAY_S - 2 * CHECK_S)
    assert produce(client, "t", batch(producer_id=busy, epoch=0, sequence=1)).error_code == 0
    assert remembered(process) == {idle, busy}
    pass_time(process, 3 * CHECK_S)
    assert remembered(process) == {busy}


@pytest.mark.parametrize("resource", ["1", ""], ids=["this broker", "all brokers"])
def test_how_long_producers_are_remembered_may_be_altered(process: OneProcess, resource: str) -> None:
    client = client_with_topic(process)

    def alter(operation: int, value: str | None) -> int:
        config = AlterableConfig(name=EXPIRATION, config_operation=operation, value=value)
        changed = AlterConfigsResource(resource_type=BROKER, resource_name=resource, configs=[config])
        request = IncrementalAlterConfigsRequest(resources=[changed])
        return int(client.call(request, 1).responses[0].error_code)

    producer = idempotent_producer(client)
    assert produce(client, "t", batch(producer_id=producer, epoch=0, sequence=0)).error_code == 0
    pass_time(process, DAY_S / 2)
    assert remembered(process) == {producer}
    assert alter(SET, "0") == ErrorCode.INVALID_REQUEST
    assert alter(SET, "3600000") == 0
    pass_time(process, 2 * CHECK_S)
    assert remembered(process) == set()
    assert alter(DELETE, None) == 0
    assert produce(client, "t", batch(producer_id=producer, epoch=0, sequence=1)).error_code == 0
    pass_time(process, DAY_S / 2)
    assert remembered(process) == {producer}


def test_what_was_forgotten_stays_so_over_a_restart(process: OneProcess) -> None:
    client = client_with_topic(process)
    producer = idempotent_producer(client)
    produce(client, "t", batch(producer_id=producer, epoch=0, sequence=0))
    pass_time(process, DAY_S + CHECK_S)
    with_restart = process.restarted()
    assert remembered(with_restart) == set()
    with_restart.close()


def test_a_transactional_id_is_forgotten_after_a_week_and_an_open_transaction_is_not() -> None:
    with one_process(transaction_max_timeout_ms=NEVER_MS, connections_max_idle_ms=NEVER_MS) as process:
        process.let_go()
        client = client_with_topic(process)
        TransactionalProducer(client, "idle")
        open_one = TransactionalProducer(client, "open", timeout_ms=NEVER_MS)
        assert open_one.produce("t", version=12).error_code == 0
        pass_time(process, 7 * DAY_S + CHECK_S)
        assert set(process.broker.state.transactions) == {"open"}
        assert remembered(process) == {open_one.producer_id}
        assert open_one.end(True, version=5).error_code == 0
        assert init_producer_id(client, "idle").error_code == 0


def test_a_round_takes_bounded_steps(process: OneProcess) -> None:
    client = client_with_topic(process)
    partition = process.broker.state.topics[process.broker.state.topic_ids["t"]].partitions[0]
    producer = idempotent_producer(client)
    produce(client, "t", batch(producer_id=producer, epoch=0, sequence=0))
    window = partition.producers[producer]
    process.broker.state.producer_count += 2 * ITEMS_PER_STEP
    partition.producers.update({1_000_000 + number: window for number in range(2 * ITEMS_PER_STEP)})
    pass_time(process, DAY_S + CHECK_S)
    entries = [
        [event for event in decode_events(REGISTRY, entry.events) if type(event) is ProducersForgotten]
        for entry in process.journal.confirmed
    ]
    forgotten = [[len(event.producer_ids) for event in events] for events in entries if events]
    assert forgotten == [[ITEMS_PER_STEP], [ITEMS_PER_STEP], [1]], "a step is one decision in one entry"


def test_rounds_go_on(process: OneProcess) -> None:
    client = client_with_topic(process)
    for _ in range(3):
        producer = idempotent_producer(client)
        assert produce(client, "t", batch(producer_id=producer, epoch=0, sequence=0)).error_code == 0
        pass_time(process, DAY_S + CHECK_S)
        assert remembered(process) == set()


def test_a_forgotten_producer_may_begin_anywhere(process: OneProcess) -> None:
    client = client_with_topic(process)
    producer = idempotent_producer(client)
    produce(client, "t", batch(producer_id=producer, epoch=0, sequence=0))
    gap = batch(producer_id=producer, epoch=0, sequence=7)
    assert produce(client, "t", gap).error_code == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    pass_time(process, DAY_S + CHECK_S)
    assert produce(client, "t", gap).base_offset == 1
