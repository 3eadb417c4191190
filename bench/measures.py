"""The measures: each takes a broker's address and returns figures. Each has a topic of its own.

They use the stock client as its users do (bench/clients.py) and know nothing of which broker answers.
Connecting, creating topics and filling them is not part of what is measured.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from bench.clients import (
    PRODUCE_CHUNK,
    TIMEOUT_S,
    BenchError,
    create_topic,
    expect_records,
    fill,
    flush,
    new_consumer,
    new_producer,
    new_transactional_producer,
    produce_chunk,
    unique,
)
from bench.figures import Figure, percentile

READ_AT_ONCE = 10_000
TRANSFORM_RECORDS = 100
PACE_PER_S = 1000
SIDE_BY_SIDE = 8


class Sizes(NamedTuple):
    """How long and how much; one pass over all measures with the default takes about a minute."""

    produce_s: float = 4.0
    latency_s: float = 4.0
    end_to_end_s: float = 6.0
    transactions_s: float = 4.0
    transform_s: float = 4.0
    transform_records_max: int = 300_000
    catch_up_records: int = 1_000_000
    memory_records: int = 1_000_000


QUICK = Sizes(0.3, 0.2, 0.3, 0.3, 0.3, 20_000, 50_000, 50_000)
"""For a smoke run: the figures mean nothing."""

Measure = Callable[[str, Sizes], list[Figure]]


def produce(size_bytes: int, partitions: int) -> Measure:
    """Records/s and MB/s of one idempotent producer, acks=all, round robin over the partitions."""
    name = f"produce_{size_bytes}b_{partitions}p"

    def measure(bootstrap: str, sizes: Sizes) -> list[Figure]:
        topic = create_topic(bootstrap, "produce", partitions)
        value = bytes(size_bytes)
        producer = new_producer(bootstrap)
        order = [index % partitions for index in range(PRODUCE_CHUNK)]
        produce_chunk(producer, topic, value, order[:partitions])
        flush(producer)
        count = 0
        began = time.perf_counter()
        while time.perf_counter() - began < sizes.produce_s:
            produce_chunk(producer, topic, value, order)
            count += len(order)
        flush(producer)
        rate = count / (time.perf_counter() - began)
        expect_records(bootstrap, topic, partitions, count + partitions)
        return [
            Figure(f"{name}_records", rate, "records/s"),
            Figure(f"{name}_mb", rate * size_bytes / 1e6, "MB/s"),
        ]

    return measure


def one_in_flight(bootstrap: str, sizes: Sizes) -> list[Figure]:
    """From produce() to the delivery report, one record of 100 B at a time, linger.ms=0."""
    topic = create_topic(bootstrap, "latency", 1)
    producer = new_producer(bootstrap, linger_ms=0)
    value = bytes(100)
    took_ms: list[float] = []
    for _ in range(100):
        _produce_and_wait(producer, topic, value)
    ends = time.perf_counter() + sizes.latency_s
    while (began := time.perf_counter()) < ends:
        _produce_and_wait(producer, topic, value)
        took_ms.append((time.perf_counter() - began) * 1e3)
    return _p50_and_p99("one_in_flight", took_ms)


def _produce_and_wait(producer: Producer, topic: str, value: bytes) -> None:
    producer.produce(topic, value, None, 0, _raise_error)
    if not producer.poll(TIMEOUT_S):
        raise BenchError(f"a record was not acknowledged within {TIMEOUT_S} s")


def _raise_error(error: KafkaError | None, _message: Message) -> None:
    if error is not None:
        raise KafkaException(error)


def end_to_end(bootstrap: str, sizes: Sizes) -> list[Figure]:
    """From produce() to the record in the consumer's hand, 1,000 records/s of 100 B, linger.ms=0."""
    topic = create_topic(bootstrap, "end-to-end", 1)
    count = int(sizes.end_to_end_s * PACE_PER_S)
    warm_up = PACE_PER_S // 10
    took_ms: list[float] = []
    producer = new_producer(bootstrap, linger_ms=0)
    consumer = new_consumer(bootstrap, unique("end-to-end"))
    consumer.assign([TopicPartition(topic, 0, 0)])
    padding = bytes(92)
    _produce_and_wait(producer, topic, padding)
    if not consumer.consume(1, TIMEOUT_S):
        raise BenchError("the first record was not consumed")
    reader = threading.Thread(target=_read_timestamps, args=(consumer, count + warm_up, took_ms))
    reader.start()
    next_at = time.perf_counter()
    for _ in range(count + warm_up):
        next_at += 1 / PACE_PER_S
        if (wait_s := next_at - time.perf_counter()) > 0:
            time.sleep(wait_s)
        producer.produce(topic, time.perf_counter_ns().to_bytes(8, "big") + padding, None, 0)
        producer.poll(0)
    flush(producer)
    reader.join(TIMEOUT_S)
    consumer.close()
    if len(took_ms) != count + warm_up:
        raise BenchError(f"{len(took_ms)} of {count + warm_up} records were consumed")
    return _p50_and_p99("end_to_end", took_ms[warm_up:])


def _read_timestamps(consumer: Consumer, count: int, took_ms: list[float]) -> None:
    """The reader's thread; it shares the clock, and next to nothing else, with the producing one."""
    while len(took_ms) < count:
        message = consumer.poll(TIMEOUT_S)
        now_ns = time.perf_counter_ns()
        if message is None or message.error():
            return
        took_ms.append((now_ns - int.from_bytes(_value(message)[:8], "big")) / 1e6)


def transactions(name: str, records: int, partitions: int, producers: int) -> Measure:
    """Transactions/s: so many records over so many partitions in each, producers side by side."""

    def measure(bootstrap: str, sizes: Sizes) -> list[Figure]:
        topic = create_topic(bootstrap, "transactions", partitions)
        order = [index % partitions for index in range(records)]
        clients = [new_transactional_producer(bootstrap, "transactions") for _ in range(producers)]
        for producer in clients:
            _transact(producer, topic, order)
        counts: list[int] = []
        ends = time.perf_counter() + sizes.transactions_s

        def run(producer: Producer) -> None:
            count = 0
            while time.perf_counter() < ends:
                _transact(producer, topic, order)
                count += 1
            counts.append(count)

        began = time.perf_counter()
        threads = [threading.Thread(target=run, args=(producer,)) for producer in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - began
        if len(counts) != producers:
            raise BenchError(f"{producers - len(counts)} of {producers} producers failed")
        return [Figure(name, sum(counts) / seconds, "transactions/s")]

    return measure


def one_commit(bootstrap: str, sizes: Sizes) -> list[Figure]:
    """From commit_transaction() to its return, one at a time, its one record acknowledged before."""
    topic = create_topic(bootstrap, "commit", 1)
    producer = new_transactional_producer(bootstrap, "commit", linger_ms=0)
    took_ms: list[float] = []
    ends = time.perf_counter() + sizes.latency_s
    while time.perf_counter() < ends:
        producer.begin_transaction()
        _produce_and_wait(producer, topic, _TRANSACTION_VALUE)
        began = time.perf_counter()
        producer.commit_transaction(TIMEOUT_S)
        took_ms.append((time.perf_counter() - began) * 1e3)
    return _p50_and_p99("commit", took_ms)


_TRANSACTION_VALUE = bytes(100)


def _transact(producer: Producer, topic: str, partitions: list[int]) -> None:
    producer.begin_transaction()
    for partition in partitions:
        producer.produce(topic, _TRANSACTION_VALUE, None, partition)
    producer.commit_transaction(TIMEOUT_S)


def transform(name: str, **settings: int) -> Measure:
    """Consume-transform-produce records/s: 100 records and their offsets in each transaction, one worker."""

    def measure(bootstrap: str, sizes: Sizes) -> list[Figure]:
        source = create_topic(bootstrap, "transform-in", 1)
        target = create_topic(bootstrap, "transform-out", 1)
        fill(bootstrap, source, sizes.transform_records_max, bytes(100))
        consumer = new_consumer(bootstrap, unique("transform"), isolation_level="read_committed", **settings)
        producer = new_transactional_producer(bootstrap, "transform", **settings)
        consumer.subscribe([source])
        _transform_once(consumer, producer, target)  # joins the group
        count = 0
        began = time.perf_counter()
        while time.perf_counter() - began < sizes.transform_s:
            if count + 2 * TRANSFORM_RECORDS > sizes.transform_records_max:
                break
            _transform_once(consumer, producer, target)
            count += TRANSFORM_RECORDS
        rate = count / (time.perf_counter() - began)
        consumer.close()
        return [Figure(name, rate, "records/s")]

    return measure


def _transform_once(consumer: Consumer, producer: Producer, target: str) -> None:
    messages = consumer.consume(TRANSFORM_RECORDS, TIMEOUT_S)
    if len(messages) != TRANSFORM_RECORDS:
        raise BenchError(f"{len(messages)} of {TRANSFORM_RECORDS} records came within {TIMEOUT_S} s")
    producer.begin_transaction()
    for message in messages:
        producer.produce(target, _value(message), None, 0)
    positions = consumer.position(consumer.assignment())
    producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata(), TIMEOUT_S)
    producer.commit_transaction(TIMEOUT_S)


def catch_up(bootstrap: str, sizes: Sizes) -> list[Figure]:
    """Records/s of 100 B that a consumer reads from the beginning of a long log.

    With default settings the client pauses up to a second whenever 100,000 records wait in it
    (fetch.queue.backoff.ms=1000), which hides the broker; so the log is read again with a pause of 10 ms.
    """
    topic = create_topic(bootstrap, "catch-up", 1)
    fill(bootstrap, topic, sizes.catch_up_records, bytes(100))
    default = _read_all(bootstrap, topic, sizes.catch_up_records)
    short_backoff = _read_all(bootstrap, topic, sizes.catch_up_records, fetch_queue_backoff_ms=10)
    return [
        Figure("catch_up", default, "records/s"),
        Figure("catch_up_backoff_10ms", short_backoff, "records/s"),
    ]


def _read_all(bootstrap: str, topic: str, records: int, **settings: int) -> float:
    consumer = new_consumer(bootstrap, unique("catch-up"), **settings)
    consumer.assign([TopicPartition(topic, 0, 0)])
    count = first = len(consumer.consume(1, TIMEOUT_S))
    began = time.perf_counter()
    while count < records and time.perf_counter() - began < 2 * TIMEOUT_S:
        count += len(consumer.consume(min(READ_AT_ONCE, records - count), 1.0))
    rate = (count - first) / (time.perf_counter() - began)
    consumer.close()
    if count < records:
        raise BenchError(f"{count} of {records} records were read")
    return rate


def first_acknowledged(bootstrap: str) -> None:
    """Returns when a broker that has just begun to answer has created a topic and acknowledged a record.

    Without idempotence, for which the client alone waits half a second after it has connected.
    """
    topic = create_topic(bootstrap, "first", 1)
    producer = new_producer(bootstrap, enable_idempotence=False, linger_ms=0)
    producer.produce(topic, bytes(100))
    flush(producer)


def _value(message: Message) -> bytes:
    if error := message.error():
        raise KafkaException(error)
    value = message.value()
    assert value is not None, "every record of a measure has a value"
    return value


def _p50_and_p99(name: str, took_ms: list[float]) -> list[Figure]:
    return [
        Figure(f"{name}_p50", percentile(took_ms, 50), "ms"),
        Figure(f"{name}_p99", percentile(took_ms, 99), "ms"),
    ]


MEASURES: dict[str, Measure] = {
    "produce-100b-1": produce(100, 1),
    "produce-100b-12": produce(100, 12),
    "produce-1kb-1": produce(1000, 1),
    "produce-1kb-12": produce(1000, 12),
    "one-in-flight": one_in_flight,
    "end-to-end": end_to_end,
    "one-commit": one_commit,
    "transactions-1": transactions("transactions_1_record", 1, 1, 1),
    "transactions-100": transactions("transactions_100_records_10p", 100, 10, 1),
    "transactions-8": transactions("transactions_8_producers", 1, 1, SIDE_BY_SIDE),
    "transform": transform("transform"),
    "transform-retry-1ms": transform("transform_retry_1ms", retry_backoff_ms=1),
    "catch-up": catch_up,
}
"""All of them by name, in the order of a pass."""
