"""Reads from a broker what the kill -9 tests compare: everything committed, the offsets, and what is open.

An audit's clients are its own and live as long as it does. What was read before is not read again, except
by an audit that starts anew.
"""

from __future__ import annotations

import time
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from tests.crash.real_clients import GROUP, OFFSETS, OFFSETS_GROUP, PLAIN, TRANSACTIONS, confluent_settings
from tests.crash.real_ledger import PLAIN_PARTITIONS, SLOTS, TRANSACTION_PARTITIONS, Found, Part

BATCH_RECORDS = 5000
TIMEOUT_S = 30.0
PARTITIONS = {PLAIN: PLAIN_PARTITIONS, TRANSACTIONS: TRANSACTION_PARTITIONS}


class Unreadable(AssertionError):
    """What should be there cannot be read."""


class Audit:
    """Reads on from where it was; `found` grows."""

    def __init__(self) -> None:
        self.found = Found()
        self.positions = {(topic, p): 0 for topic, count in PARTITIONS.items() for p in range(count)}

    def read(self, bootstrap: str) -> None:
        self._read_records(bootstrap)
        looker = _consumer(bootstrap, "looker", "read_uncommitted")
        self.found.open_partitions = sum(
            looker.get_watermark_offsets(TopicPartition(TRANSACTIONS, p), timeout=TIMEOUT_S)[1]
            > self.positions[TRANSACTIONS, p]
            for p in range(TRANSACTION_PARTITIONS)
        )
        looker.close()
        self.found.group_offsets = committed(bootstrap, GROUP, PLAIN, PLAIN_PARTITIONS)
        self.found.transaction_offsets = committed(bootstrap, OFFSETS_GROUP, OFFSETS, SLOTS)

    def _read_records(self, bootstrap: str) -> None:
        """Everything that is committed, each partition to its last stable offset."""
        reader = _consumer(bootstrap, "reader", "read_committed")
        reader.assign([TopicPartition(topic, p, offset) for (topic, p), offset in self.positions.items()])
        unread = set(self.positions)
        deadline_s = time.monotonic() + TIMEOUT_S
        while unread:
            for message in reader.consume(BATCH_RECORDS, timeout=0.1):
                error = message.error()
                if error is None:
                    self._take(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    self._ends(message)
                    unread.discard((message.topic(), message.partition()))
                elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                    raise Unreadable(f"what was readable is gone: {error}")
            if time.monotonic() > deadline_s:
                raise Unreadable(f"not read to the end in {TIMEOUT_S} s: {sorted(unread)}")
        reader.close()

    def _take(self, message: Any) -> None:
        partition, offset, value = message.partition(), message.offset(), message.value()
        if message.topic() == TRANSACTIONS:
            self.found.parts[partition].append(Part.decode(value))
            return
        if offset != len(self.found.plain[partition]):
            raise Unreadable(
                f"plain {partition}: offset {offset} follows {len(self.found.plain[partition]) - 1}"
            )
        self.found.plain[partition].append(int(value))

    def _ends(self, message: Any) -> None:
        """Where a partition ends for a reader of committed records; control records count."""
        place = (message.topic(), message.partition())
        if message.offset() < self.positions[place]:
            raise Unreadable(f"{place} ended at {self.positions[place]} and now at {message.offset()}")
        self.positions[place] = message.offset()


def committed(bootstrap: str, group: str, topic: str, partitions: int) -> list[int]:
    """The group's offsets; not those of an open transaction, which a reader of committed ones waits for."""
    asker = _consumer(bootstrap, group, "read_uncommitted")
    deadline_s = time.monotonic() + TIMEOUT_S
    try:
        while True:
            try:
                answer = asker.committed(
                    [TopicPartition(topic, p) for p in range(partitions)], timeout=TIMEOUT_S
                )
                if problems := [each.error for each in answer if each.error is not None]:
                    raise KafkaException(problems[0])
                return [each.offset for each in answer]
            except KafkaException:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.01)
    finally:
        asker.close()


def _consumer(bootstrap: str, group: str, isolation_level: str) -> Consumer:
    return Consumer(
        {
            **confluent_settings(bootstrap),
            "group.id": group,
            "isolation.level": isolation_level,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "check.crcs": True,
            "fetch.wait.max.ms": 20,
        }
    )
