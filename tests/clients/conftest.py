"""The client libraries, one after another: a test that takes `client` is run with each of them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import pytest

from tests.clients.adapters.base import Client
from tests.support.fixtures import Broker

CLIENTS = {
    "confluent-kafka": ("tests.clients.adapters.confluent", "ConfluentClient"),
    "aiokafka": ("tests.clients.adapters.aiokafka", "AioKafkaClient"),
    "kafka-python": ("tests.clients.adapters.kafka_python", "KafkaPythonClient"),
    "kafkajs": ("tests.clients.adapters.kafkajs", "KafkaJsClient"),
}


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, broker: Broker) -> Iterator[Client]:
    module_name, class_name = CLIENTS[request.param]
    module = import_module(module_name)
    library: type[Client] = getattr(module, class_name)
    for mark in request.node.iter_markers("needs"):
        if (reason := library.cannot.get(mark.args[0])) is not None:
            pytest.skip(reason)
    try:
        opened = library(broker.bootstrap)
    except getattr(module, "NodeMissing", ()) as missing:
        pytest.skip(str(missing))
    yield opened
    opened.close()
