"""A producer whose broker is away: each step gives up in time, and is done when asked again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import KafkaException, TopicPartition

from tests.support.raw import RawConnection
from tests.support.server import ServerProcess
from tests.support.speaking import committed_offset, fetch, stored_batches
from tests.support.topics import create_topic

SHORT_S, LONG_S = 1.0, 30.0
TOPIC, GROUP = "topic", "group"


def gives_up(step: Callable[[float], Any]) -> None:
    """In the time that it was given, with an error that says: try again."""
    with pytest.raises(KafkaException) as given_up:
        step(SHORT_S)
    assert given_up.value.args[0].retriable(), given_up.value


def test_each_step_can_be_taken_again_when_the_broker_is_back(server_in: ServerProcess) -> None:
    server_in.start()
    create_topic(server_in.bootstrap, TOPIC, 1, {})
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": server_in.bootstrap,
            "transactional.id": "id",
            "reconnect.backoff.max.ms": 200,
            # AddOffsetsToTxn waits as long for an answer, whatever time the step was given.
            "socket.timeout.ms": 1_500,
            "log_level": 0,
        }
    )
    consumer = confluent_kafka.Consumer({"bootstrap.servers": server_in.bootstrap, "group.id": GROUP})
    membership = consumer.consumer_group_metadata()
    consumer.close()

    def send_offsets(timeout_s: float) -> None:
        producer.send_offsets_to_transaction([TopicPartition(TOPIC, 0, 7)], membership, timeout_s)

    def while_away(step: Callable[[float], Any]) -> None:
        server_in.kill()
        gives_up(step)
        server_in.start()
        step(LONG_S)

    while_away(producer.init_transactions)
    for number, end in enumerate([producer.commit_transaction, producer.abort_transaction]):
        producer.begin_transaction()
        producer.produce(TOPIC, b"%d" % number, partition=0)
        assert producer.flush(LONG_S) == 0
        while_away(end)
    producer.begin_transaction()
    while_away(send_offsets)
    producer.commit_transaction(LONG_S)
    connection = RawConnection(server_in.bootstrap)
    assert [header.is_control for header, _ in stored_batches(connection, TOPIC)] == [False, True] * 2
    aborted = fetch(connection, TOPIC, read_committed=True).aborted_transactions
    assert [each.first_offset for each in aborted] == [2]
    assert committed_offset(connection, GROUP, TOPIC).offset == 7
    connection.close()
