"""A broker that remembers as many producers as it may: clients try again by themselves, until there is room.

Room comes by deleting a topic, whose producers are forgotten with it.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from oncelog.wire.messages.delete_topics import DeleteTopicsRequest
from tests.clients.adapters.base import Client, Producer
from tests.clients.scenario import read_everything, values_of
from tests.operations.scraping import parsed
from tests.support.batches import batch
from tests.support.fixtures import Broker
from tests.support.raw import RawConnection
from tests.support.server import ServerProcess
from tests.support.speaking import produce
from tests.support.topics import create_topic
from tests.support.waiting import wait_for

ROOM = 8
TOPIC, FILLER = "topic", "filler"


class Full:
    """A broker with room for so many producers, all of which is taken on demand."""

    def __init__(self, server: ServerProcess) -> None:
        self.bootstrap = server.bootstrap
        ready = server.output_path.read_text()
        self._admin = ready.partition("admin=")[2].split()[0]
        create_topic(self.bootstrap, TOPIC, 2, {})

    def fill(self) -> None:
        create_topic(self.bootstrap, FILLER, 1, {})
        connection = RawConnection(self.bootstrap)
        taken = 0
        while (
            produce(connection, FILLER, batch(producer_id=1000 + taken, epoch=0, sequence=0)).error_code == 0
        ):
            taken += 1
        connection.close()
        assert 0 < taken <= ROOM

    def refusals(self, api: str, error: str) -> float:
        with urllib.request.urlopen(f"http://{self._admin}/metrics", timeout=10) as answer:
            return parsed(answer.read().decode())["oncelog_errors_total"].rows.get((api, error), 0)

    def refuses_then_takes(self, api: str, error: str, step: Callable[[], Any]) -> Any:
        """The client is refused while the step goes on, and the step succeeds once there is room."""
        before = self.refusals(api, error)
        with ThreadPoolExecutor(1) as beside:
            done = beside.submit(step)
            wait_for(lambda: self.refusals(api, error) > before or done.done(), f"{error} to {api}")
            assert not done.done(), done.exception() or "nothing was refused"
            self._make_room()
            return done.result(60)

    def _make_room(self) -> None:
        connection = RawConnection(self.bootstrap)
        (deleted,) = connection.call(DeleteTopicsRequest(topic_names=[FILLER], timeout_ms=1000), 5).responses
        assert deleted.error_code == 0
        connection.close()


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Full]:
    options = ["--admin", "127.0.0.1:0", "--max-producers", str(ROOM)]
    with ServerProcess(tmp_path / "data", options=options) as server:
        yield Full(server)


@pytest.fixture
def broker(full: Full) -> Broker:
    """The one that `client` speaks to."""
    return Broker(full.bootstrap, True)


def test_a_new_partition_of_an_idempotent_producer(full: Full, client: Client) -> None:
    producer = client.producer(idempotent=True)
    producer.send(TOPIC, b"known here", partition=0)
    producer.flush()
    full.fill()
    producer.send(TOPIC, b"and goes on", partition=0)
    producer.flush()
    for number in range(3):
        producer.send(TOPIC, b"new here %d" % number, partition=1)
    full.refuses_then_takes("Produce", "NOT_ENOUGH_REPLICAS", producer.flush)
    producer.close()
    received = read_everything(client, [(TOPIC, 1)])
    assert values_of(received) == [b"new here %d" % number for number in range(3)]


def test_a_new_transactional_id(full: Full, client: Client) -> None:
    def initialized() -> Producer:
        producer = client.producer(transactional_id="id")
        producer.init_transactions()
        return producer

    full.fill()
    producer = full.refuses_then_takes("InitProducerId", "COORDINATOR_LOAD_IN_PROGRESS", initialized)
    producer.begin()
    producer.send(TOPIC, b"value", partition=0)
    producer.commit()
    producer.close()
    assert values_of(read_everything(client, [(TOPIC, 0)])) == [b"value"]


def test_a_new_partition_of_a_transaction(full: Full, client: Client) -> None:
    producer = client.producer(transactional_id="id")
    producer.init_transactions()
    full.fill()
    producer.begin()
    producer.send(TOPIC, b"value", partition=0)
    full.refuses_then_takes("AddPartitionsToTxn", "COORDINATOR_LOAD_IN_PROGRESS", producer.commit)
    producer.close()
    assert values_of(read_everything(client, [(TOPIC, 0)])) == [b"value"]
