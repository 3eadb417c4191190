"""Fixtures that end-to-end tests share: the broker under test, topics and names of their own, connections.

The broker is `oncelog serve`, started once per session; or, where ONCELOG_TEST_BOOTSTRAP is HOST:PORT, any
other Kafka broker, so that Apache Kafka itself can be asked what is right. ONCELOG_TEST_BROKER=oncelog says
that the broker named there is oncelog after all, for tests that are marked `deliberate_difference`.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest

from tests.support.raw import OpenConnection, RawConnection
from tests.support.server import ServerProcess
from tests.support.topics import create_topic


class Broker(NamedTuple):
    """The broker under test."""

    bootstrap: str
    is_oncelog: bool


class MakeTopic(Protocol):
    """Creates a topic of a name of its own and returns the name."""

    def __call__(self, partitions: int = 1, **configs: str) -> str: ...


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    if named := os.environ.get("ONCELOG_TEST_BOOTSTRAP"):
        yield Broker(named, os.environ.get("ONCELOG_TEST_BROKER", "kafka") == "oncelog")
        return
    data = tmp_path_factory.mktemp("broker") / "data"
    with ServerProcess(data, environment={"ONCELOG_GROUP_INITIAL_REBALANCE_DELAY_MS": "0"}) as server:
        yield Broker(server.bootstrap, True)


@pytest.fixture
def unique_name(request: pytest.FixtureRequest) -> str:
    """A name that no other test and no other run uses; fit for a topic, a group or a transactional id."""
    return unique(request.node.name)


@pytest.fixture
def make_topic(request: pytest.FixtureRequest, broker: Broker) -> MakeTopic:
    def make(partitions: int = 1, **configs: str) -> str:
        name = unique(request.node.name)
        create_topic(broker.bootstrap, name, partitions, configs)
        return name

    return make


@pytest.fixture
def open_connection(broker: Broker) -> Iterator[OpenConnection]:
    opened: list[RawConnection] = []

    def open_one() -> RawConnection:
        opened.append(RawConnection(broker.bootstrap))
        return opened[-1]

    yield open_one
    for connection in opened:
        connection.close()


@pytest.fixture
def connection(open_connection: OpenConnection) -> RawConnection:
    return open_connection()


@pytest.fixture
def server_in(tmp_path: Path) -> Iterator[ServerProcess]:
    """A broker of the test's own, not started yet."""
    server = ServerProcess(tmp_path / "data")
    yield server
    if server.is_running:
        server.kill()


def unique(name: str) -> str:
    return f"{re.sub('[^a-zA-Z0-9]+', '-', name)[:60].strip('-')}-{uuid.uuid4().hex[:8]}"
