"""A context for handlers without sockets, journal or loop: commands are decided and evolved at once.

Requests and responses go through their bytes, so that a response that its version can't carry is found.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from oncelog.broker.config_notices import ConfigNotices
from oncelog.broker.metadata_cache import MetadataCache
from oncelog.broker.options import Options
from oncelog.broker.registry import Route
from oncelog.machine.decide import decide
from oncelog.machine.events import REGISTRY, decode_events
from oncelog.machine.evolve import evolve
from oncelog.machine.fingerprint import state_differences
from oncelog.machine.moment import At, Time
from oncelog.machine.state import State, Topic
from oncelog.wire.definition import Event, Message
from oncelog.wire.messages.create_topics import CreatableTopic, CreatableTopicConfig, CreateTopicsRequest

CLUSTER_ID = "Y2x1c3Rlci1vZi10ZXN0cw"
ADDRESS = ("broker.test", 9092)


class FakeEngine:
    """decide and evolve, with a second state that evolves what the events' bytes say."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.replayed = State(state.limits)
        self.events: list[Event] = []
        self.position = 0

    def execute(self, command: Any) -> Any:
        events, reply = decide(self.state, command, Time(1_700_000_000_000, 0))
        if events:
            self.position += 1
            decoded = decode_events(REGISTRY, b"".join(event.encode() for event in events))
            for state, its_events in ((self.state, events), (self.replayed, decoded)):
                at = At(self.position, 1_700_000_000_000, 0)
                for event in its_events:
                    evolve(state, event, at)
            self.events += events
            assert state_differences(self.state, self.replayed) == []
        return reply


class FakeBroker:
    """What a handler may look at, with the real state in it."""

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options(data="/data")
        self.state = State(self.options.machine_limits())
        self.engine = FakeEngine(self.state)
        self.node_id = 1
        self.cluster_id = CLUSTER_ID
        self.metadata_cache = MetadataCache()
        self.config_notices = ConfigNotices()
        self.registry: Any = SimpleNamespace(table=[(0, 0, 13), (18, 0, 4)], has_features=True)
        self.listener_address = ADDRESS
        self._ids = 0

    def random_uuid(self) -> bytes:
        self._ids += 1
        return self._ids.to_bytes(16, "big")

    def warn_of_configs(self, names: Sequence[str]) -> None:
        self.config_notices.about(names)

    def ask(self, request: Message, version: int) -> Any:
        """What this API's handler answers, after both have been through their bytes."""
        route = _route(type(request))
        connection = SimpleNamespace(id=1, listener_address=self.listener_address, on_close=None)
        context: Any = SimpleNamespace(
            broker=self, connection=connection, version=version, client_id="client", host="/127.0.0.1"
        )
        response = route.handle(context, route.decode(request.encode(version), version, 0))
        return route.api.response.decode(response.encode(version), version)

    def create(self, name: str, partitions: int = 1, **configs: str) -> Topic:
        """A topic; underscores in the names of configs stand for dots."""
        wanted = [
            CreatableTopicConfig(name=config.replace("_", "."), value=value)
            for config, value in configs.items()
        ]
        topic = CreatableTopic(name=name, num_partitions=partitions, replication_factor=1, configs=wanted)
        (result,) = self.ask(CreateTopicsRequest(topics=[topic]), 7).topics
        assert result.error_code == 0, result
        return self.topic(name)

    def topic(self, name: str) -> Topic:
        topic = self.state.topic_named(name)
        assert topic is not None, f"there is no topic {name}"
        return topic


def _route(request: type[Message]) -> Route:
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", request.__name__.removesuffix("Request")).lower()
    module = importlib.import_module(f"oncelog.broker.api.{name}")
    assert module.API.request is request
    return Route(module.API, module.handle, "")
