"""Reads the results back, read_committed, and compares them with the file.

Flight by flight, the row number being a flight's identity, and carrier by carrier. It knows nothing of how
the results came about.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from demo.flights import Departure, Total, delay_record, totals_of
from demo.pipeline import DELAYS, DEPARTURES, PARTITIONS, TOTALS, client_settings

BATCH_RECORDS = 5000
SETTLE_TIMEOUT_S = 90.0
"""More than a transaction's default timeout of 60 s: by then the broker has ended every one left open."""


class Findings(NamedTuple):
    records_in: int
    records_out: int
    duplicates: int
    losses: int
    wrong: int
    """Delay records that are not what the file says, or about a flight that is not in it."""
    carriers: int
    wrong_totals: tuple[str, ...]

    @property
    def nothing_lost(self) -> bool:
        return self.losses == 0 and self.wrong == 0

    @property
    def exactly_once(self) -> bool:
        return self.nothing_lost and self.duplicates == 0 and not self.wrong_totals


class Audit:
    """Collects what is found; `findings` compares it with the departures that were to be processed."""

    def __init__(self, departures: Iterable[Departure]) -> None:
        self.departures = list(departures)
        self.seen = [0] * len(self.departures)
        self.records_in = 0
        self.wrong = 0
        self.totals: dict[str, Total] = {}

    def departure_found(self) -> None:
        self.records_in += 1

    def delay_found(self, key: bytes, value: bytes) -> None:
        row = int(key)
        if row < len(self.seen) and value == delay_record(self.departures[row]):
            self.seen[row] += 1
        else:
            self.wrong += 1

    def total_found(self, value: bytes) -> None:
        total = Total.decode(value)
        self.totals[total.carrier] = total

    def findings(self) -> Findings:
        expected = totals_of(self.departures)
        carriers = sorted(expected.keys() | self.totals.keys())
        return Findings(
            records_in=self.records_in,
            records_out=sum(self.seen) + self.wrong,
            duplicates=sum(count - 1 for count in self.seen if count > 1),
            losses=self.seen.count(0),
            wrong=self.wrong,
            carriers=len(expected),
            wrong_totals=tuple(c for c in carriers if expected.get(c) != self.totals.get(c)),
        )


def audit(bootstrap: str, departures: Iterable[Departure]) -> Findings:
    """Read all three topics to their ends and compare."""
    result = Audit(departures)
    for topic in (DELAYS, TOTALS):
        wait_until_settled(bootstrap, topic)
    read_all(bootstrap, DEPARTURES, lambda _: result.departure_found())
    read_all(bootstrap, DELAYS, lambda message: result.delay_found(*_key_and_value(message)))
    read_all(bootstrap, TOTALS, lambda message: result.total_found(_key_and_value(message)[1]))
    return result.findings()


def wait_until_settled(bootstrap: str, topic: str) -> None:
    """Wait until no transaction is open: then read_committed ends where read_uncommitted does."""
    give_up_s = time.monotonic() + SETTLE_TIMEOUT_S
    while _ends(bootstrap, topic, "read_committed") != _ends(bootstrap, topic, "read_uncommitted"):
        if time.monotonic() > give_up_s:
            raise TimeoutError(f"a transaction on {topic} is still open")
        time.sleep(0.1)


def _ends(bootstrap: str, topic: str, isolation_level: str) -> list[int]:
    consumer = Consumer(
        {**client_settings(bootstrap), "group.id": "audit", "isolation.level": isolation_level}
    )
    watermarks = [
        consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
        for partition in range(PARTITIONS)
    ]
    consumer.close()
    return [watermark[1] for watermark in watermarks]


def read_all(bootstrap: str, topic: str, found: Callable[[Message], None]) -> None:
    """Pass on every committed record of the topic, each partition in order."""
    reader = Consumer(
        {
            **client_settings(bootstrap),
            "group.id": "audit",  # required by the client; nothing is committed under it
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    reader.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(PARTITIONS)])
    unread = set(range(PARTITIONS))
    while unread:
        for message in reader.consume(BATCH_RECORDS, timeout=0.2):
            error = message.error()
            if error is None:
                found(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                unread.discard(message.partition())
    reader.close()


def _key_and_value(message: Message) -> tuple[bytes, bytes]:
    key, value = message.key(), message.value()
    assert isinstance(key, bytes)
    assert isinstance(value, bytes)
    return key, value
