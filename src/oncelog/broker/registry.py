"""The table of APIs: every file of `broker/api/` declares one, and the table is made by walking that folder.

The same declarations route requests, answer ApiVersions and give the documentation its table.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from oncelog.wire.definition import Message

PRODUCE_KEY = 0


@dataclass(frozen=True, slots=True)
class Api:
    """One Kafka API as this broker serves it.

    versions: what is served and advertised, the message definitions' range unless given.
    advertised_min: a lower first version in ApiVersions than is served (Produce, KAFKA-18659).
    waits: its requests may be answered later than they are decided; they start only as the oldest
    unanswered request of their connection, and hold back those behind them.
    """

    request: type[Message]
    response: type[Message]
    versions: tuple[int, int] | None = None
    advertised_min: int | None = None
    waits: bool = False

    @property
    def key(self) -> int:
        return self.request.api_key

    @property
    def name(self) -> str:
        return self.request.__name__.removesuffix("Request")

    @property
    def served(self) -> tuple[int, int]:
        return self.versions if self.versions is not None else self.request.versions


class Unprepared(NamedTuple):
    """Instead of a response: nothing is decided yet, that takes steps for which the loop must not stop.

    The handler is called again after them, and finds what they found in its context. Nothing behind the
    request on its connection starts before that.
    """

    steps: Iterator[None]


def handle_at_once(handle: Callable[..., Any], *arguments: Any) -> Any:
    """The handler's response, with all that it needs done in one go: for those who may stop the loop."""
    while isinstance(response := handle(*arguments), Unprepared):
        for _ in response.steps:
            pass
    return response


class Route:
    """One API's way through the broker, flat for the hot path. requests: how many were started."""

    __slots__ = (
        "api",
        "decode",
        "handle",
        "key",
        "max_version",
        "min_version",
        "name",
        "requests",
        "summary",
        "waits",
    )

    def __init__(self, api: Api, handle: Callable[..., Any], summary: str) -> None:
        self.api = api
        self.key = api.key
        self.name = api.name
        self.min_version, self.max_version = api.served
        self.waits = api.waits
        self.decode = api.request.decode
        self.handle = handle
        self.summary = summary
        self.requests = 0


class Registry:
    """Every API of this broker, by key. has_features: whether ApiVersions tells of features (KIP-584)."""

    def __init__(self, routes: dict[int, Route], has_features: bool = True) -> None:
        self.routes = routes
        self.has_features = has_features

    @classmethod
    def load(cls) -> Registry:
        """Import every file of `broker/api/` and collect its declaration."""
        package = importlib.import_module("oncelog.broker.api")
        routes: dict[int, Route] = {}
        for found in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
            if found.name.startswith("_"):
                continue
            module = importlib.import_module(f"oncelog.broker.api.{found.name}")
            api: Api = module.API
            assert api.key not in routes, f"two files declare API key {api.key}"
            summary = (module.__doc__ or "").strip().splitlines()[0]
            routes[api.key] = Route(api, module.handle, summary)
        return cls(dict(sorted(routes.items())))

    @property
    def table(self) -> list[tuple[int, int, int]]:
        """(key, first advertised version, last advertised version), ordered by key."""
        rows = []
        for route in self.routes.values():
            advertised_min = route.api.advertised_min
            first = route.min_version if advertised_min is None else advertised_min
            rows.append((route.key, first, route.max_version))
        return rows
