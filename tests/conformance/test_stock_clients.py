"""Where the broker does other than Kafka on purpose, clients that know only Kafka don't notice.

Each test makes happen what is different, by a fault where no client would run into it by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import pytest

import oncelog
from oncelog.testing.faults import Faults
from tests.clients.adapters.base import Client, ClientError
from tests.clients.adapters.kafkajs import KafkaJsClient
from tests.clients.conftest import CLIENTS
from tests.clients.scenario import read_everything, values_of
from tests.support.raw import RawConnection
from tests.support.speaking import last_stable_offset, stored_batches
from tests.support.waiting import wait_for

FENCED = {47, 90}
TOPIC, REPLICATED = "topic", "replicated"
LATE_MS = 1_500
"""Longer than a client takes to connect again and ask once more."""


@pytest.fixture
def embedded() -> Iterator[oncelog.Broker]:
    with oncelog.Broker(topics=[TOPIC]) as broker:
        yield broker


ENDS_ITS_SIDE = "KafkaJS counts the transaction as ended once the connection of its commit has closed"


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, embedded: oncelog.Broker) -> Iterator[Client]:
    module_name, class_name = CLIENTS[request.param]
    module = import_module(module_name)
    try:
        opened = getattr(module, class_name)(embedded.bootstrap)
    except getattr(module, "NodeMissing", ()) as missing:
        pytest.skip(str(missing))
    yield opened
    opened.close()


def committed(client: Client) -> list[bytes | None]:
    return values_of(read_everything(client, [(TOPIC, 0)]))


def test_resent_batches_are_stored_once(client: Client, embedded: oncelog.Broker) -> None:
    """Answers are lost, with others behind them; what was stored is sent again, and is no second record."""
    faults = Faults(embedded)
    producer = client.producer(idempotent=True)
    producer.send(TOPIC, b"0", partition=0)
    producer.flush()
    lost = faults.drop_answer("Produce", nth=2, times=2)
    values = [b"%d" % number for number in range(1, 40)]
    for value in values:
        producer.send(TOPIC, value, partition=0)
        if len(value) == 2 and value.endswith(b"0"):
            producer.flush()
    producer.flush()
    assert lost.has_happened
    assert committed(client) == [b"0", *values]


def test_one_replica_is_enough(client: Client) -> None:
    """There is one, and it is durable: min.insync.replicas asks for no second."""
    client.admin().create_topic(REPLICATED, 1, {"min.insync.replicas": "2"})
    producer = client.producer(acks=-1)
    producer.send(REPLICATED, b"kept", partition=0)
    producer.flush()
    assert values_of(read_everything(client, [(REPLICATED, 0)])) == [b"kept"]


def test_a_successor_is_told_its_epoch_at_once(client: Client) -> None:
    """It is never asked to come again while the transaction that it found open is ended."""
    zombie = client.producer(transactional_id="id")
    zombie.init_transactions()
    zombie.begin()
    zombie.send(TOPIC, b"zombie", partition=0)
    zombie.flush()
    for number in range(3):
        successor = client.producer(transactional_id="id")
        successor.init_transactions()
        successor.begin()
        successor.send(TOPIC, b"%d" % number, partition=0)
        successor.flush()
        if number < 2:
            continue
        successor.commit()
    with pytest.raises(ClientError) as fenced:
        zombie.commit()
    assert fenced.value.code in FENCED
    assert committed(client) == [b"2"]


def test_transactions_follow_each_other_at_once(client: Client) -> None:
    """No client is told to wait for markers; none sends into the transaction before."""
    producer = client.producer(transactional_id="id")
    producer.init_transactions()
    for number in range(12):
        producer.begin()
        producer.send(TOPIC, b"%d" % number, partition=0)
        producer.flush()
        if number % 3:
            producer.commit()
        else:
            producer.abort()
    assert committed(client) == [b"%d" % number for number in range(12) if number % 3]


def test_who_was_timed_out_is_told_that_it_is_fenced(client: Client, embedded: oncelog.Broker) -> None:
    """Its successor goes on."""
    late = client.producer(transactional_id="id", transaction_timeout_ms=1_000)
    late.init_transactions()
    late.begin()
    late.send(TOPIC, b"late", partition=0)
    late.flush()
    connection = RawConnection(embedded.bootstrap)
    wait_for(lambda: last_stable_offset(connection, TOPIC) == 2, "the abort")
    with pytest.raises(ClientError) as fenced:
        late.commit()
    assert fenced.value.code in FENCED
    successor = client.producer(transactional_id="id")
    successor.init_transactions()
    successor.begin()
    successor.send(TOPIC, b"in time", partition=0)
    successor.flush()
    successor.commit()
    assert committed(client) == [b"in time"]
    connection.close()


@pytest.mark.parametrize("synced", [True, False], ids=["durable", "lost"])
def test_a_broker_that_dies_in_a_commit(client: Client, embedded: oncelog.Broker, synced: bool) -> None:
    """It comes back with the commit or without any of it; the client asks again and ends it once."""
    if isinstance(client, KafkaJsClient):
        pytest.skip(ENDS_ITS_SIDE)
    producer = client.producer(transactional_id="id")
    producer.init_transactions()
    producer.begin()
    producer.send(TOPIC, b"once", partition=0)
    producer.flush()
    crash = Faults(embedded).crash_on("EndTxn", synced=synced)
    producer.commit()
    crash.wait()
    connection = RawConnection(embedded.bootstrap)
    markers = [header for header, _ in stored_batches(connection, TOPIC) if header.is_control]
    assert len(markers) == 1
    assert committed(client) == [b"once"]
    connection.close()


def test_a_broker_that_dies_in_the_middle_of_a_transaction(client: Client, embedded: oncelog.Broker) -> None:
    """What was not durable is not there, and nobody was told that it was; the client sends it again."""
    producer = client.producer(transactional_id="id")
    producer.init_transactions()
    producer.begin()
    producer.send(TOPIC, b"first", partition=0)
    producer.flush()
    crash = Faults(embedded).crash_on("Produce", synced=False)
    producer.send(TOPIC, b"second", partition=0)
    producer.flush()
    producer.commit()
    crash.wait()
    assert committed(client) == [b"first", b"second"]


def test_a_late_end_does_not_reach_the_next_transaction(client: Client, embedded: oncelog.Broker) -> None:
    """The first EndTxn hangs on a connection that the client gives up; its retry has long been answered."""
    if isinstance(client, KafkaJsClient):
        pytest.skip(ENDS_ITS_SIDE)
    faults = Faults(embedded)
    producer = client.producer(transactional_id="id")
    producer.init_transactions()
    late = faults.process_late("EndTxn", ms=LATE_MS)
    producer.begin()
    producer.send(TOPIC, b"first", partition=0)
    producer.flush()
    producer.commit()
    late.wait()
    producer.begin()
    producer.send(TOPIC, b"second", partition=0)
    producer.flush()
    faults.delay("ListOffsets", ms=LATE_MS)
    connection = RawConnection(embedded.bootstrap)
    assert last_stable_offset(connection, TOPIC) == 2, "the second transaction is still open"
    producer.abort()
    assert committed(client) == [b"first"]
    connection.close()


def test_a_coordinator_without_room_for_another_id(client: Client, embedded: oncelog.Broker) -> None:
    """It says that it is loading; clients ask again."""
    refused = Faults(embedded).refuse("InitProducerId", error="COORDINATOR_LOAD_IN_PROGRESS", times=3)
    producer = client.producer(transactional_id="id")
    producer.init_transactions()
    assert refused.has_happened
    producer.begin()
    producer.send(TOPIC, b"in the end", partition=0)
    producer.flush()
    producer.commit()
    assert committed(client) == [b"in the end"]
