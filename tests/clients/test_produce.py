"""Producing without transactions: what is sent is stored once, in order, and read back as it was."""

from __future__ import annotations

import pytest

from tests.clients.adapters.base import Client, ClientError
from tests.clients.scenario import partitions_of, read_everything, values_of
from tests.support.fixtures import MakeTopic
from tests.support.raw import OpenConnection
from tests.support.speaking import stored_batches

MESSAGE_TOO_LARGE = 10
BATCH_SIZE_BYTES_MAX = 1_048_588
"""Kafka's default for max.message.bytes."""
BATCH_OVERHEAD_BYTES = 72
"""A batch of one record of about a million bytes, no key, no headers: 61 of the batch, 11 of the record."""

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


@pytest.mark.parametrize("kind", ["plain", "idempotent"])
def test_records_come_back_as_they_were_sent(client: Client, make_topic: MakeTopic, kind: str) -> None:
    topic = make_topic(partitions=3)
    producer = client.producer(idempotent=kind == "idempotent")
    for number in range(30):
        producer.send(
            topic,
            b"value %d" % number,
            key=b"key %d" % number,
            partition=number % 3,
            headers=[("number", b"%d" % number), ("kind", kind.encode())],
            timestamp_ms=1_700_000_000_000 + number,
        )
    sent = producer.flush()
    assert [(each.topic, each.partition, each.offset) for each in sent] == [
        (topic, number % 3, number // 3) for number in range(30)
    ]
    received = read_everything(client, partitions_of(topic, 3))
    assert len(received) == 30
    for record in received:
        number = record.offset * 3 + record.partition
        assert record.value == b"value %d" % number
        assert record.key == b"key %d" % number
        assert record.headers == (("number", b"%d" % number), ("kind", kind.encode()))
        assert record.timestamp_ms == 1_700_000_000_000 + number
    for partition in range(3):
        assert [record.offset for record in received if record.partition == partition] == list(range(10))


@pytest.mark.parametrize("acks", [0, 1, -1])
def test_every_kind_of_acknowledgement_stores_the_records(
    client: Client, make_topic: MakeTopic, acks: int
) -> None:
    topic = make_topic()
    producer = client.producer(acks=acks)
    for number in range(10):
        producer.send(topic, b"%d" % number, partition=0)
    producer.flush()
    producer.close()
    assert values_of(read_everything(client, [(topic, 0)])) == [b"%d" % number for number in range(10)]


def test_null_and_empty_keys_and_values_stay_apart(client: Client, make_topic: MakeTopic) -> None:
    topic = make_topic()
    producer = client.producer()
    producer.send(topic, b"", key=None, partition=0)
    producer.send(topic, None, key=b"deleted", partition=0)
    producer.flush()
    received = read_everything(client, [(topic, 0)])
    assert [(record.key, record.value) for record in received] == [(None, b""), (b"deleted", None)]


@pytest.mark.parametrize("codec", CODECS)
def test_each_codec_passes_through_untouched(
    client: Client, make_topic: MakeTopic, open_connection: OpenConnection, codec: str
) -> None:
    """The batches stay compressed as the client made them: the broker neither unpacks nor repacks them."""
    topic = make_topic()
    producer = client.producer(idempotent=True, compression=codec)
    values = [
        b"number %d, and much that repeats itself, repeats itself, repeats itself" % n for n in range(200)
    ]
    for value in values:
        producer.send(topic, value, partition=0)
    producer.flush()
    stored = [header.compression for header, _ in stored_batches(open_connection(), topic)]
    assert set(stored) == {CODECS[codec]}
    assert values_of(read_everything(client, [(topic, 0)])) == values


def test_one_idempotent_producer_over_many_requests(client: Client, make_topic: MakeTopic) -> None:
    topic = make_topic(partitions=2)
    producer = client.producer(idempotent=True)
    for number in range(40):
        producer.send(topic, b"%d" % number, partition=number % 2)
        if number % 4 == 3:
            producer.flush()
    producer.flush()
    received = read_everything(client, partitions_of(topic, 2))
    for partition in range(2):
        assert values_of(record for record in received if record.partition == partition) == [
            b"%d" % number for number in range(partition, 40, 2)
        ]


def test_a_record_of_one_byte(client: Client, make_topic: MakeTopic) -> None:
    topic = make_topic()
    producer = client.producer(idempotent=True)
    producer.send(topic, b"x", partition=0)
    producer.flush()
    assert values_of(read_everything(client, [(topic, 0)])) == [b"x"]


def test_the_largest_batch_is_taken_and_one_byte_more_is_refused(
    client: Client, make_topic: MakeTopic
) -> None:
    topic = make_topic()
    largest = BATCH_SIZE_BYTES_MAX - BATCH_OVERHEAD_BYTES
    producer = client.producer(request_size_bytes_max=4_000_000)
    producer.send(topic, b"a" * largest, partition=0)
    (sent,) = producer.flush()
    assert sent.offset == 0
    producer.send(topic, b"b" * (largest + 1), partition=0)
    with pytest.raises(ClientError) as refused:
        producer.flush()
    assert refused.value.code == MESSAGE_TOO_LARGE
    assert [len(value or b"") for value in values_of(read_everything(client, [(topic, 0)]))] == [largest]


def test_a_smaller_limit_of_the_topic_counts(client: Client, make_topic: MakeTopic) -> None:
    topic = make_topic(**{"max.message.bytes": "1000"})
    producer = client.producer(idempotent=True)
    producer.send(topic, b"a" * (1000 - 70), partition=0)
    producer.flush()
    producer.send(topic, b"b" * 1000, partition=0)
    with pytest.raises(ClientError) as refused:
        producer.flush()
    assert refused.value.code == MESSAGE_TOO_LARGE
    assert [len(value or b"") for value in values_of(read_everything(client, [(topic, 0)]))] == [1000 - 70]


def test_a_topic_is_created_when_it_is_first_used(client: Client, unique_name: str) -> None:
    producer = client.producer()
    producer.send(unique_name, b"first")
    producer.flush()
    assert values_of(read_everything(client, [(unique_name, 0)])) == [b"first"]
