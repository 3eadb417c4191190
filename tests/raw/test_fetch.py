"""Fetch: limits, waiting, isolation, and the list of aborted transactions."""

from __future__ import annotations

import time

import pytest

from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from tests.support.batches import batch
from tests.support.fixtures import MakeTopic
from tests.support.raw import OpenConnection, RawConnection
from tests.support.speaking import (
    TransactionalProducer,
    batches_in,
    fetch,
    fetch_request,
    last_stable_offset,
    log_end_offset,
    produce,
)
from tests.support.waiting import wait_for

EVERY_VERSION = range(4, 19)


def values_in(records: object) -> list[int]:
    """Base offsets of the batches."""
    return [header.base_offset for header, _ in batches_in(records)]  # type: ignore[arg-type]


@pytest.mark.parametrize("version", EVERY_VERSION)
def test_every_version_reads_what_is_there(
    connection: RawConnection, make_topic: MakeTopic, version: int
) -> None:
    topic = make_topic()
    for number in range(3):
        produce(connection, topic, batch([b"%d" % number, b"x"]))
    answer = fetch(connection, topic, version=version)
    assert (answer.error_code, answer.high_watermark, answer.last_stable_offset) == (0, 6, 6)
    assert answer.log_start_offset == (0 if version >= 5 else -1)
    assert values_in(answer.records) == [0, 2, 4]
    assert answer.aborted_transactions is None


@pytest.mark.parametrize(("offset", "first"), [(0, 0), (1, 0), (2, 0), (3, 3), (5, 3), (6, 6)])
def test_the_batch_that_holds_the_offset_comes_first(
    connection: RawConnection, make_topic: MakeTopic, offset: int, first: int
) -> None:
    topic = make_topic()
    for _ in range(3):
        produce(connection, topic, batch([b"a", b"b", b"c"]))
    assert values_in(fetch(connection, topic, offset).records)[0] == first


def test_the_end_is_empty_and_beyond_it_is_out_of_range(
    connection: RawConnection, make_topic: MakeTopic
) -> None:
    topic = make_topic()
    produce(connection, topic, batch([b"a", b"b"]))
    at_the_end = fetch(connection, topic, 2)
    assert (at_the_end.error_code, values_in(at_the_end.records)) == (0, [])
    for offset in (3, 100, -1):
        beyond = fetch(connection, topic, offset)
        assert beyond.error_code == ErrorCode.OFFSET_OUT_OF_RANGE
        assert (beyond.high_watermark, values_in(beyond.records)) == (-1, [])


def test_an_unknown_topic_or_partition(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    assert fetch(connection, unique_name).error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert fetch(connection, topic, partition=9).error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def test_an_unknown_topic_id(connection: RawConnection) -> None:
    request = FetchRequest(
        max_wait_ms=0,
        topics=[FetchTopic(topic_id=bytes(range(16)), partitions=[FetchPartition(partition=0)])],
    )
    answer = connection.call(request, 13).responses[0].partitions[0]
    assert answer.error_code == ErrorCode.UNKNOWN_TOPIC_ID


@pytest.mark.parametrize(
    ("leader_epoch", "error"),
    [(-1, 0), (0, 0), (1, ErrorCode.UNKNOWN_LEADER_EPOCH), (99, ErrorCode.UNKNOWN_LEADER_EPOCH)],
)
def test_the_leader_epoch_is_checked(
    connection: RawConnection, make_topic: MakeTopic, leader_epoch: int, error: int
) -> None:
    assert fetch(connection, make_topic(), leader_epoch=leader_epoch).error_code == error


# -- limits --


def test_the_first_batch_comes_whatever_its_size(connection: RawConnection, make_topic: MakeTopic) -> None:
    topic = make_topic()
    for _ in range(2):
        produce(connection, topic, batch([b"x" * 50_000]))
    for limits in ({"partition_max_bytes": 1}, {"max_bytes": 1}, {"partition_max_bytes": 1, "max_bytes": 1}):
        assert values_in(fetch(connection, topic, **limits).records) == [0]


def test_the_limit_of_the_partition_counts(connection: RawConnection, make_topic: MakeTopic) -> None:
    topic = make_topic()
    for _ in range(10):
        produce(connection, topic, batch([b"x" * 1000]))
    size = len(batch([b"x" * 1000]))
    answer = fetch(connection, topic, partition_max_bytes=3 * size)
    assert values_in(answer.records) == [0, 1, 2]
    assert len(bytes(answer.records)) <= 3 * size


def test_the_limit_of_the_request_counts(connection: RawConnection, make_topic: MakeTopic) -> None:
    topic = make_topic(partitions=3)
    for partition in range(3):
        produce(connection, topic, batch([b"x" * 10_000]), partition=partition)
    request = fetch_request(topic, max_bytes=15_000)
    request.topics[0].partitions = [
        FetchPartition(partition=partition, fetch_offset=0, partition_max_bytes=1_000_000)
        for partition in range(3)
    ]
    answers = {each.partition_index: each for each in connection.call(request, 11).responses[0].partitions}
    assert [len(batches_in(answers[partition].records)) for partition in range(3)] == [1, 0, 0]
    assert [answers[partition].high_watermark for partition in range(3)] == [1, 1, 1]


# -- waiting --


def test_a_fetch_waits_until_there_is_something(
    open_connection: OpenConnection, make_topic: MakeTopic
) -> None:
    topic = make_topic()
    reader, writer = open_connection(), open_connection()
    reader.send(fetch_request(topic, max_wait_ms=10_000), 11)
    assert reader.is_silent(0.15)
    produce(writer, topic, batch([b"now"]))
    assert values_in(reader.receive().responses[0].partitions[0].records) == [0]


def test_a_fetch_waits_until_there_is_enough(open_connection: OpenConnection, make_topic: MakeTopic) -> None:
    topic = make_topic()
    reader, writer = open_connection(), open_connection()
    size = len(batch([b"x" * 1000]))
    reader.send(fetch_request(topic, max_wait_ms=10_000, min_bytes=3 * size), 11)
    for _ in range(2):
        produce(writer, topic, batch([b"x" * 1000]))
    assert reader.is_silent(0.15)
    produce(writer, topic, batch([b"x" * 1000]))
    assert values_in(reader.receive().responses[0].partitions[0].records) == [0, 1, 2]


def test_a_fetch_gives_up_at_its_time(connection: RawConnection, make_topic: MakeTopic) -> None:
    topic = make_topic()
    before = time.monotonic()
    answer = fetch(connection, topic, max_wait_ms=300)
    waited_s = time.monotonic() - before
    assert (answer.error_code, values_in(answer.records)) == (0, [])
    assert 0.28 <= waited_s < 5.0


def test_an_error_ends_the_waiting(connection: RawConnection, make_topic: MakeTopic) -> None:
    before = time.monotonic()
    assert fetch(connection, make_topic(), 77, max_wait_ms=10_000).error_code == ErrorCode.OFFSET_OUT_OF_RANGE
    assert time.monotonic() - before < 5.0


# -- isolation --


def test_reading_committed_stops_at_the_last_stable_offset(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    produce(connection, topic, batch([b"before"]))
    producer = TransactionalProducer(connection, unique_name)
    producer.add(topic)
    producer.produce(topic, [b"open"])
    produce(connection, topic, batch([b"behind"]))
    committed = fetch(connection, topic, read_committed=True)
    assert (committed.high_watermark, committed.last_stable_offset) == (3, 1)
    assert values_in(committed.records) == [0]
    assert list(committed.aborted_transactions) == []
    for offset in (1, 2, 3):
        at = fetch(connection, topic, offset, read_committed=True)
        assert (at.error_code, values_in(at.records)) == (0, [])
    beyond = fetch(connection, topic, 4, read_committed=True)
    assert beyond.error_code == ErrorCode.OFFSET_OUT_OF_RANGE
    uncommitted = fetch(connection, topic)
    assert (uncommitted.last_stable_offset, values_in(uncommitted.records)) == (1, [0, 1, 2])


def test_a_committed_reader_waits_at_the_last_stable_offset(
    open_connection: OpenConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(open_connection(), unique_name)
    producer.add(topic)
    producer.produce(topic, [b"x" * 1000])
    reader = open_connection()
    before = time.monotonic()
    answer = fetch(reader, topic, read_committed=True, max_wait_ms=300)
    assert values_in(answer.records) == []
    assert time.monotonic() - before >= 0.28


def test_the_aborted_list_names_what_the_bytes_hold(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    """Seen by a reader of any part: each aborted transaction that the returned range touches."""
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    firsts = []
    for number in range(6):
        producer.add(topic)
        answer = producer.produce(topic, [b"a", b"b"])
        if number % 2:
            firsts.append(answer.base_offset)
        producer.end(number % 2 == 0, version=3)
    wait_for(lambda: last_stable_offset(connection, topic) == 18, "all markers")
    assert firsts == [3, 9, 15]
    for offset in range(18):
        answer = fetch(connection, topic, offset, read_committed=True)
        listed = [each.first_offset for each in answer.aborted_transactions]
        assert listed == [first for first in firsts if first + 2 >= offset]
        assert {each.producer_id for each in answer.aborted_transactions} <= {producer.producer_id}


def test_the_aborted_list_of_a_part_has_what_lies_in_it(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    for _ in range(3):
        producer.add(topic)
        producer.produce(topic, [b"x" * 3000])
        producer.end(False, version=3)
    wait_for(lambda: last_stable_offset(connection, topic) == 6, "all markers")
    first_only = fetch(connection, topic, partition_max_bytes=3300, read_committed=True)
    assert values_in(first_only.records) == [0, 1]
    listed = [each.first_offset for each in first_only.aborted_transactions]
    assert listed[:1] == [0], "more may be named than lie in it, less may not"


def test_an_interleaved_abort_is_listed_with_its_first_offset(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    one = TransactionalProducer(connection, f"{unique_name}-one")
    two = TransactionalProducer(connection, f"{unique_name}-two")
    for producer in (one, two):
        producer.add(topic)
    for _ in range(2):
        for producer in (one, two):
            producer.produce(topic, [b"x"])
    two.end(False, version=3)
    wait_for(lambda: log_end_offset(connection, topic) == 5, "the abort's marker, before the other one")
    one.end(True, version=3)
    wait_for(lambda: last_stable_offset(connection, topic) == 6, "both markers")
    for offset in range(5):
        aborted = fetch(connection, topic, offset, read_committed=True).aborted_transactions
        assert [(each.producer_id, each.first_offset) for each in aborted] == [(two.producer_id, 1)]
    assert list(fetch(connection, topic, 5, read_committed=True).aborted_transactions) == []
    assert log_end_offset(connection, topic) == 6


@pytest.mark.parametrize("version", EVERY_VERSION)
def test_who_reads_uncommitted_gets_aborted_records_and_no_list(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str, version: int
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    producer.add(topic)
    producer.produce(topic)
    producer.end(False, version=3)
    wait_for(lambda: last_stable_offset(connection, topic) == 2, "the marker")
    producer.add(topic)
    producer.produce(topic)
    answer = fetch(connection, topic, version=version)
    assert values_in(answer.records) == [0, 1, 2]
    assert answer.aborted_transactions is None


def test_a_reader_that_waited_learns_of_the_abort(
    open_connection: OpenConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(open_connection(), unique_name)
    producer.add(topic)
    producer.produce(topic, [b"x"])
    reader = open_connection()
    reader.send(fetch_request(topic, read_committed=True, max_wait_ms=10_000), 11)
    assert reader.is_silent(0.15)
    producer.end(False, version=3)
    answer = reader.receive().responses[0].partitions[0]
    assert values_in(answer.records)[0] == 0
    assert [each.first_offset for each in answer.aborted_transactions] == [0]
