"""ListOffsets: the ends of a partition, the special timestamps, and the search by time."""

from __future__ import annotations

import pytest

from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.list_offsets import ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic
from tests.support.batches import batch, now_ms
from tests.support.fixtures import MakeTopic
from tests.support.raw import RawConnection
from tests.support.speaking import (
    EARLIEST,
    EARLIEST_LOCAL,
    EARLIEST_PENDING_UPLOAD,
    LATEST,
    LATEST_TIERED,
    MAX_TIMESTAMP,
    TransactionalProducer,
    list_offset,
    produce,
)

EVERY_VERSION = range(1, 12)
START_MS = 1_700_000_000_000


@pytest.mark.parametrize("version", EVERY_VERSION)
def test_every_version_knows_both_ends(
    connection: RawConnection, make_topic: MakeTopic, version: int
) -> None:
    topic = make_topic()
    produce(connection, topic, batch([b"a", b"b", b"c"]))
    for timestamp, offset in [(LATEST, 3), (EARLIEST, 0)]:
        answer = list_offset(connection, topic, timestamp, version=version)
        assert (answer.error_code, answer.offset, answer.timestamp) == (0, offset, -1)
        assert answer.leader_epoch == (0 if version >= 4 else -1)


def test_both_ends_of_an_empty_partition(connection: RawConnection, make_topic: MakeTopic) -> None:
    topic = make_topic()
    for timestamp in (LATEST, EARLIEST, EARLIEST_LOCAL):
        assert list_offset(connection, topic, timestamp, version=8).offset == 0
    largest = list_offset(connection, topic, MAX_TIMESTAMP)
    assert (largest.error_code, largest.offset, largest.timestamp) == (0, -1, -1)


@pytest.mark.parametrize(
    ("timestamp", "since"),
    [(MAX_TIMESTAMP, 7), (EARLIEST_LOCAL, 8), (LATEST_TIERED, 9), (EARLIEST_PENDING_UPLOAD, 11)],
)
def test_special_timestamps_have_their_versions(
    connection: RawConnection, make_topic: MakeTopic, timestamp: int, since: int
) -> None:
    topic = make_topic()
    produce(connection, topic, batch())
    before = list_offset(connection, topic, timestamp, version=since - 1)
    assert (before.error_code, before.offset) == (ErrorCode.UNSUPPORTED_VERSION, -1)
    assert list_offset(connection, topic, timestamp, version=since).error_code == 0


@pytest.mark.parametrize("timestamp", [-7, -100])
def test_other_negative_timestamps_are_unknown(
    connection: RawConnection, make_topic: MakeTopic, timestamp: int
) -> None:
    answer = list_offset(connection, make_topic(), timestamp, version=11)
    assert answer.error_code == ErrorCode.UNSUPPORTED_VERSION


def test_the_largest_timestamp_wherever_it_is(connection: RawConnection, make_topic: MakeTopic) -> None:
    topic = make_topic()
    produce(connection, topic, batch([b"a", b"b"], timestamps_ms=[START_MS, START_MS + 5]))
    produce(
        connection,
        topic,
        batch([b"c", b"d", b"e"], timestamps_ms=[START_MS + 1, START_MS + 50, START_MS + 2]),
    )
    produce(connection, topic, batch([b"f"], timestamps_ms=[START_MS + 7]))
    answer = list_offset(connection, topic, MAX_TIMESTAMP)
    assert (answer.offset, answer.timestamp) == (3, START_MS + 50)


def test_where_nothing_is_tiered(connection: RawConnection, make_topic: MakeTopic) -> None:
    topic = make_topic()
    produce(connection, topic, batch([b"a", b"b"]))
    assert list_offset(connection, topic, EARLIEST_LOCAL, version=11).offset == 0
    for timestamp in (LATEST_TIERED, EARLIEST_PENDING_UPLOAD):
        answer = list_offset(connection, topic, timestamp, version=11)
        assert (answer.error_code, answer.offset, answer.leader_epoch) == (0, -1, -1)


@pytest.mark.parametrize(
    ("wanted", "offset", "found"),
    [(-START_MS, 0, 0), (0, 0, 0), (5, 1, 10), (10, 1, 10), (11, 3, 30), (25, 3, 30), (41, -1, None)],
)
def test_the_first_record_at_or_after_a_time(
    connection: RawConnection, make_topic: MakeTopic, wanted: int, offset: int, found: int | None
) -> None:
    """In the order of offsets: timestamps need not rise."""
    topic = make_topic()
    produce(
        connection, topic, batch([b"0", b"10", b"5"], timestamps_ms=[START_MS, START_MS + 10, START_MS + 5])
    )
    produce(connection, topic, batch([b"30", b"40"], timestamps_ms=[START_MS + 30, START_MS + 40]))
    answer = list_offset(connection, topic, START_MS + wanted)
    expected_time = -1 if found is None else START_MS + found
    assert (answer.error_code, answer.offset, answer.timestamp) == (0, offset, expected_time)


def test_isolation_limits_the_end_and_the_search(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    before = now_ms()
    produce(connection, topic, batch([b"a"], timestamps_ms=[before - 1000]))
    producer = TransactionalProducer(connection, unique_name)
    producer.add(topic)
    producer.produce(topic, [b"b"])
    assert list_offset(connection, topic, LATEST).offset == 2
    assert list_offset(connection, topic, LATEST, read_committed=True).offset == 1
    assert list_offset(connection, topic, before).offset == 1
    hidden = list_offset(connection, topic, before, read_committed=True)
    assert (hidden.error_code, hidden.offset, hidden.timestamp) == (0, -1, -1)
    assert list_offset(connection, topic, before - 1000, read_committed=True).offset == 0


@pytest.mark.parametrize("version", [4, 11])
def test_the_leader_epoch_is_checked(connection: RawConnection, make_topic: MakeTopic, version: int) -> None:
    topic = make_topic()
    newer = list_offset(connection, topic, LATEST, leader_epoch=1, version=version)
    assert newer.error_code == ErrorCode.UNKNOWN_LEADER_EPOCH
    assert list_offset(connection, topic, LATEST, leader_epoch=0, version=version).error_code == 0


def test_an_unknown_partition(connection: RawConnection, make_topic: MakeTopic, unique_name: str) -> None:
    unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert list_offset(connection, make_topic(), LATEST, partition=4).error_code == unknown
    assert list_offset(connection, unique_name, LATEST).error_code == unknown


def test_a_partition_named_twice(connection: RawConnection, make_topic: MakeTopic) -> None:
    twice = [ListOffsetsPartition(partition_index=0, timestamp=timestamp) for timestamp in (LATEST, EARLIEST)]
    request = ListOffsetsRequest(
        replica_id=-1, topics=[ListOffsetsTopic(name=make_topic(), partitions=twice)]
    )
    (topic,) = connection.call(request, 7).topics
    assert {each.error_code for each in topic.partitions} == {ErrorCode.INVALID_REQUEST}
