"""Fixtures by other names and with other settings, for a conftest.py:

    from oncelog.testing import factories

    durable_broker = factories.broker(data="tmp", transaction_max_timeout_ms=60_000)
    wide_topic = factories.topic("durable_broker", partitions=12)
    durable_faults = factories.faults("durable_broker")

Where --oncelog-bootstrap names a cluster, brokers are that cluster and tests with faults are skipped.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import pytest

from oncelog.testing.loading import broker_class
from oncelog.testing.settings import setting

if TYPE_CHECKING:
    from oncelog.embedded import Broker
    from oncelog.testing.cluster import Cluster
    from oncelog.testing.faults import Faults

FAULTS_OF_TEST = pytest.StashKey[list["Faults"]]()
"""The faults that a test was given, however it came by them."""
NAME_LENGTH_MAX = 60
"""Of a test's name in that of its topic."""


def broker(
    *,
    data: Literal["tmp"] | None = None,
    host: str | None = None,
    port: int | None = None,
    topics: Mapping[str, int] | None = None,
    kafka_version: str | None = None,
    **options: Any,
) -> Callable[..., Iterator[Broker | Cluster]]:
    """A fixture for the session: a broker in this process, in memory, or in a temporary directory.

    topics, kafka_version, options: as those of `oncelog.Broker`.
    """

    @pytest.fixture(scope="session")
    def oncelog_broker_factory(
        pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[Broker | Cluster]:
        """A Kafka broker for this session; its address is `.bootstrap`."""
        if bootstrap := setting(pytestconfig, "bootstrap"):
            yield _cluster(bootstrap, topics or {})
            return
        with broker_class()(
            tmp_path_factory.mktemp("oncelog") / "data" if data == "tmp" else None,
            listen=f"{host or setting(pytestconfig, 'host')}:{port or setting(pytestconfig, 'port')}",
            topics=topics or {},
            kafka_version=kafka_version or setting(pytestconfig, "kafka_version") or None,
            **options,
        ) as started:
            yield started

    return oncelog_broker_factory


def nobroker(bootstrap: str | None = None) -> Callable[..., Cluster]:
    """A fixture for the session: a cluster that is there already. Default: the setting oncelog_bootstrap."""

    @pytest.fixture(scope="session")
    def oncelog_nobroker_factory(pytestconfig: pytest.Config) -> Cluster:
        """A Kafka cluster that was there before; its address is `.bootstrap`."""
        found = setting(pytestconfig, "bootstrap") or bootstrap
        if not found:
            pytest.fail("no cluster is named; do so with --oncelog-bootstrap HOST:PORT", pytrace=False)
        return _cluster(found, {})

    return oncelog_nobroker_factory


def topic(
    broker_fixture: str = "oncelog_broker",
    *,
    partitions: int | None = None,
    configs: Mapping[str, str] | None = None,
) -> Callable[..., Iterator[str]]:
    """A fixture for each test: the name of a new, empty topic, deleted afterwards."""

    @pytest.fixture
    def oncelog_topic_factory(request: pytest.FixtureRequest) -> Iterator[str]:
        """The name of a topic that only this test uses."""
        from oncelog.testing.cluster import create_topic, delete_topic

        bootstrap = request.getfixturevalue(broker_fixture).bootstrap
        name = _topic_name(request.node.name)
        count = partitions or _partitions(setting(request.config, "partitions"))
        create_topic(bootstrap, name, count, dict(configs or {}))
        yield name
        delete_topic(bootstrap, name)

    return oncelog_topic_factory


def faults(broker_fixture: str = "oncelog_broker") -> Callable[..., Iterator[Faults]]:
    """A fixture for each test: faults of a broker. Those that did not happen fail the test."""

    @pytest.fixture
    def oncelog_faults_factory(request: pytest.FixtureRequest) -> Iterator[Faults]:
        """Faults to ask for: refuse, delay, drop_request, drop_answer, process_late, cut, crash."""
        its_broker = request.getfixturevalue(broker_fixture)
        if not isinstance(its_broker, broker_class()):
            pytest.skip(f"faults need a broker in this process, and this run is on {its_broker.bootstrap}")
        from oncelog.testing.faults import Faults

        made = Faults(its_broker)
        request.node.stash.setdefault(FAULTS_OF_TEST, []).append(made)
        yield made
        made.clear()

    return oncelog_faults_factory


def _cluster(bootstrap: str, topics: Mapping[str, int]) -> Cluster:
    from oncelog.testing.cluster import Cluster, ensure_topic

    for name, partitions in topics.items():
        ensure_topic(bootstrap, name, partitions)
    return Cluster(bootstrap)


def _partitions(text: str) -> int:
    if not text.isdecimal() or not int(text):
        pytest.fail(f"oncelog_partitions: {text!r} is no number of partitions", pytrace=False)
    return int(text)


def _topic_name(test_name: str) -> str:
    readable = re.sub("[^a-zA-Z0-9]+", "-", test_name)[:NAME_LENGTH_MAX].strip("-")
    return f"{readable}-{uuid.uuid4().hex[:8]}"
