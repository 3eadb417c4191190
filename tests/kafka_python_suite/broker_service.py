"""Laid into the suite as its module test.service, which kafka-python's source distribution leaves out.

The suite's fixtures look after a broker's process through it. Here the broker runs already, so there is
nothing to start, to stop or to show; starting one of its own would be a mistake.
"""

from __future__ import annotations

from typing import Any


class ExternalService:
    """A broker that somebody else started."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port

    def wait_for(self, *_pattern: Any, **_timeout: Any) -> bool:
        return True

    def dump_logs(self) -> None:
        print(f"the broker at {self.host}:{self.port} keeps its own log")

    def start(self) -> None: ...

    def stop(self) -> None: ...


class SpawnedService:
    """Would start Kafka or ZooKeeper from an installation; a test that needs that can't run here."""

    def __init__(self, *_arguments: Any, **_options: Any) -> None:
        raise RuntimeError("this run has one broker, started before, and starts no other")
