"""A consumer that follows __consumer_offsets while groups commit and the broker is killed misses nothing."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.support.coordinator_records import PARTITIONS, Told, decode, partition_of
from tests.support.raw import ConnectionClosed, RawConnection
from tests.support.server import ServerProcess
from tests.support.speaking import commit_offsets, committed_offset, log_end_offset
from tests.support.topics import create_topic

OFFSETS, TOPIC = "__consumer_offsets", "things"
GROUPS = [f"group-{number}" for number in range(6)]
PLACES = [(group, partition) for group in GROUPS for partition in range(3)]
KILLS = 3
RECORDS_PER_LIFE = 150


class Committer:
    """Commits ever larger offsets for all groups until the broker is gone; knows what was acknowledged."""

    def __init__(self) -> None:
        self.acknowledged = dict.fromkeys(PLACES, -1)
        self.next = 0

    def run(self, bootstrap: str) -> None:
        connection = RawConnection(bootstrap)
        try:
            while True:
                self.commit_one(connection)
        except (ConnectionClosed, OSError):
            connection.close()

    def commit_one(self, connection: RawConnection) -> None:
        group, partition = PLACES[self.next % len(PLACES)]
        offset = self.next
        self.next += 1
        commit_offsets(connection, group, (TOPIC, partition, offset))
        self.acknowledged[group, partition] = offset


class Follower:
    """A stock consumer on every partition of the topic, from its beginning on."""

    def __init__(self, bootstrap: str) -> None:
        self.seen: dict[tuple[int, int], Told] = {}
        self.positions = dict.fromkeys(range(PARTITIONS), 0)
        self.last: dict[Any, Any] = {}
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "not-used",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "reconnect.backoff.max.ms": 100,
            }
        )
        self._consumer.assign([TopicPartition(OFFSETS, index, 0) for index in range(PARTITIONS)])

    def read(self) -> int:
        """How many records came."""
        messages = [each for each in self._consumer.consume(100, 0.2) if each.error() is None]
        for message in messages:
            place = message.partition(), message.offset()
            told = decode(OFFSETS, message.key(), message.value())
            assert place[1] >= self.positions[place[0]], "read twice"
            assert place not in self.seen
            self.seen[place] = told
            self.positions[place[0]] = place[1] + 1
            self.last[told.key] = told.value
        return len(messages)

    def close(self) -> None:
        self._consumer.close()


@pytest.fixture
def server(server_in: ServerProcess) -> ServerProcess:
    server_in.start()
    create_topic(server_in.bootstrap, TOPIC, 3, {})
    return server_in


def read_until(follower: Follower, done: Any, what: str) -> None:
    deadline = time.monotonic() + 30
    while not done():
        follower.read()
        assert time.monotonic() < deadline, f"{what}; read {len(follower.seen)} records"


def test_every_keys_last_value_and_no_offset_twice(server: ServerProcess) -> None:
    committer, follower = Committer(), Follower(server.bootstrap)
    for life in range(1, KILLS + 1):
        committing = threading.Thread(target=committer.run, args=(server.bootstrap,))
        committing.start()
        read_until(follower, lambda: len(follower.seen) > RECORDS_PER_LIFE * life, f"records of life {life}")  # noqa: B023
        server.kill()
        committing.join()
        server.start()
    connection = RawConnection(server.bootstrap)
    for _ in PLACES[: len(PLACES) // 2]:
        committer.commit_one(connection)
    used = {partition_of(group) for group in GROUPS}
    ends = {index: log_end_offset(connection, OFFSETS, index) for index in used}
    read_until(
        follower, lambda: all(follower.positions[index] == ends[index] for index in used), f"the ends {ends}"
    )
    last = {(key.group, key.partition): value.offset for key, value in follower.last.items()}
    assert last == {
        place: committed_offset(connection, place[0], TOPIC, partition=place[1]).offset for place in PLACES
    }
    assert all(last[place] >= acknowledged for place, acknowledged in committer.acknowledged.items())
    late = Follower(server.bootstrap)
    read_until(late, lambda: all(late.positions[index] == ends[index] for index in used), f"the ends {ends}")
    assert late.last == follower.last
    assert len(late.seen) == len(PLACES), "one record of each key"
    assert all(follower.seen[place] == told for place, told in late.seen.items())
    for each in (follower, late, connection):
        each.close()
