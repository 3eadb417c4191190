"""The stock client, confluent-kafka, with its default settings but for what a measure states.

Fails loudly: an error that the client reports ends the measure, it is never a slower figure.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

TIMEOUT_S = 30.0
LOG_ERRORS = 3
PRODUCE_CHUNK = 10_000
"""So many records are handed over between two looks at the clock and at delivery reports."""


class BenchError(Exception):
    """The broker or the client did not do what the measure needs."""


def unique(what: str) -> str:
    """A name for a topic, a group or a transactional id that nobody has used."""
    return f"bench-{what}-{uuid.uuid4().hex[:10]}"


def create_topic(bootstrap: str, what: str, partitions: int) -> str:
    """A new topic, known to the broker when this returns."""
    name = unique(what)
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": LOG_ERRORS})
    for created in admin.create_topics([NewTopic(name, partitions, 1)]).values():
        created.result(TIMEOUT_S)
    return name


def new_producer(bootstrap: str, **settings: Any) -> Producer:
    """An idempotent producer (which implies acks=all). Dots of setting names are written as underscores."""
    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "log_level": LOG_ERRORS,
            "error_cb": _end_if_hopeless,
            **_dotted(settings),
        }
    )


def new_transactional_producer(bootstrap: str, what: str, **settings: Any) -> Producer:
    """A producer with a transactional id of its own that has its producer id."""
    producer = new_producer(bootstrap, transactional_id=unique(what), **settings)
    producer.init_transactions(TIMEOUT_S)
    return producer


def new_consumer(bootstrap: str, group: str, **settings: Any) -> Consumer:
    """A consumer that commits nothing by itself and begins at the earliest offset."""
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "log_level": LOG_ERRORS,
            "error_cb": _end_if_hopeless,
            **_dotted(settings),
        }
    )


def flush(producer: Producer) -> None:
    """Wait until all is acknowledged."""
    if remaining := producer.flush(TIMEOUT_S):
        raise BenchError(f"{remaining} records were not acknowledged within {TIMEOUT_S} s")


def produce_chunk(producer: Producer, topic: str, value: bytes, partitions: Sequence[int]) -> None:
    """One record to each partition named, in this order; waits while the client's queue is full."""
    produce = producer.produce
    for partition in partitions:
        try:
            produce(topic, value, None, partition)
        except BufferError:
            _produce_when_there_is_room(producer, topic, value, partition)
    producer.poll(0)


def _produce_when_there_is_room(producer: Producer, topic: str, value: bytes, partition: int) -> None:
    while True:
        producer.poll(0.1)
        try:
            producer.produce(topic, value, None, partition)
        except BufferError:
            continue
        return


def fill(bootstrap: str, topic: str, count: int, value: bytes, partitions: int = 1) -> None:
    """So many records, round robin, acknowledged when this returns."""
    producer = new_producer(bootstrap)
    order = [index % partitions for index in range(PRODUCE_CHUNK)]
    for begin in range(0, count, PRODUCE_CHUNK):
        produce_chunk(producer, topic, value, order[: count - begin])
    flush(producer)


def expect_records(bootstrap: str, topic: str, partitions: int, count: int) -> None:
    """The log ends say that every record is there."""
    consumer = new_consumer(bootstrap, unique("ends"))
    try:
        ends = [
            consumer.get_watermark_offsets(TopicPartition(topic, partition), TIMEOUT_S)[1]
            for partition in range(partitions)
        ]
    finally:
        consumer.close()
    if sum(ends) < count:
        raise BenchError(f"{count} records were acknowledged, the log ends of {topic} say {sum(ends)}")


def _dotted(settings: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "."): value for name, value in settings.items()}


def _end_if_hopeless(error: KafkaError) -> None:
    """The client repairs other errors by itself, and tells of them all the same."""
    if error.fatal() or error.code() == KafkaError._ALL_BROKERS_DOWN:
        raise KafkaException(error)
