"""Publishes the departures: a plain idempotent producer, keyed by carrier.

Standard input says how far it may go: each line is a number of rows, the end of input means all of them. So
whoever starts it decides how the flights trickle in. The broker may be killed meanwhile; the producer
resends, and idempotence sees to it that nothing is there twice.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from demo.flights import Departure, read_departures
from demo.pipeline import DEPARTURES, client_settings

MOST_UNDELIVERED = 50_000
"""How far the producer may run ahead of the broker, in records."""


class Loader:
    def __init__(self, bootstrap: str) -> None:
        self.producer = Producer({**client_settings(bootstrap), "enable.idempotence": True, "linger.ms": 5})
        self.failure: KafkaError | None = None

    def load(self, departures: Iterable[Departure]) -> None:
        """Send these, and return when every one of them is acknowledged."""
        for departure in departures:
            while len(self.producer) >= MOST_UNDELIVERED:
                self.producer.poll(0.05)
            self.producer.produce(
                DEPARTURES, key=departure.carrier, value=departure.encode(), on_delivery=self._delivered
            )
            self.producer.poll(0)
        self.producer.flush()
        if self.failure is not None:
            raise KafkaException(self.failure)

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        self.failure = self.failure or error


def main() -> None:
    parser = argparse.ArgumentParser(description="Publish the departures.")
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--limit", type=int, required=True)
    options = parser.parse_args()

    loader = Loader(options.bootstrap)
    departures = read_departures(options.archive, options.limit)
    for count in _allowances(options.limit):
        loader.load(islice(departures, count))


def _allowances(limit: int) -> Iterator[int]:
    """How many further rows may go, each time that changes."""
    done = 0
    for line in sys.stdin:
        allowed = min(int(line), limit)
        yield max(allowed - done, 0)
        done = max(allowed, done)
    yield limit - done


if __name__ == "__main__":
    main()
