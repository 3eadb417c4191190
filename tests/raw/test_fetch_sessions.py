"""Fetch sessions (KIP-227): only what changed is told, and who loses the thread is told so."""

from __future__ import annotations

from typing import Any

import pytest

from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic, ForgottenTopic
from tests.support.batches import batch
from tests.support.fixtures import MakeTopic
from tests.support.raw import RawConnection
from tests.support.speaking import fetch_request, produce, topic_id

FULL = 0
"""The session epoch that asks for a new session."""
NO_SESSION = -1


def full_request(topic: str, partitions: int, epoch: int = FULL, session_id: int = 0) -> FetchRequest:
    request = fetch_request(topic, session_id=session_id, session_epoch=epoch)
    request.topics[0].partitions = [
        FetchPartition(partition=partition, fetch_offset=0, partition_max_bytes=100_000)
        for partition in range(partitions)
    ]
    return request


def incremental(session_id: int, epoch: int, topics: list[FetchTopic] | None = None) -> FetchRequest:
    return FetchRequest(
        max_wait_ms=0,
        min_bytes=1,
        max_bytes=1_000_000,
        session_id=session_id,
        session_epoch=epoch,
        topics=topics or [],
    )


def told(response: Any) -> list[int]:
    """The partitions that the response speaks of."""
    return sorted(each.partition_index for topic in response.responses for each in topic.partitions)


@pytest.fixture
def session(connection: RawConnection, make_topic: MakeTopic) -> tuple[str, int]:
    """A topic of three empty partitions and the id of a session over them."""
    topic = make_topic(partitions=3)
    response = connection.call(full_request(topic, 3), 11)
    assert (response.error_code, told(response)) == (0, [0, 1, 2])
    assert response.session_id > 0
    return topic, response.session_id


@pytest.mark.parametrize("version", [7, 11, 12])
def test_only_what_changed_is_told(connection: RawConnection, make_topic: MakeTopic, version: int) -> None:
    topic = make_topic(partitions=3)
    session_id = connection.call(full_request(topic, 3), version).session_id
    assert told(connection.call(incremental(session_id, 1), version)) == []
    produce(connection, topic, batch([b"x"]), partition=1)
    response = connection.call(incremental(session_id, 2), version)
    assert (response.session_id, response.error_code, told(response)) == (session_id, 0, [1])


def test_sessions_work_with_topic_ids(connection: RawConnection, make_topic: MakeTopic) -> None:
    topic = make_topic(partitions=2)
    request = full_request(topic, 2)
    request.topics[0].topic_id = topic_id(connection, topic)
    session_id = connection.call(request, 13).session_id
    produce(connection, topic, batch([b"x"]), partition=0)
    response = connection.call(incremental(session_id, 1), 13)
    assert told(response) == [0]
    assert bytes(response.responses[0].topic_id) == topic_id(connection, topic)


def test_a_moved_position_is_remembered(connection: RawConnection, session: tuple[str, int]) -> None:
    topic, session_id = session
    for _ in range(2):
        produce(connection, topic, batch([b"x"]))
    moved = FetchTopic(
        topic=topic, partitions=[FetchPartition(partition=0, fetch_offset=2, partition_max_bytes=100_000)]
    )
    connection.call(incremental(session_id, 1, [moved]), 11)
    assert told(connection.call(incremental(session_id, 2), 11)) == []
    produce(connection, topic, batch([b"y"]))
    response = connection.call(incremental(session_id, 3), 11)
    assert told(response) == [0]
    records = bytes(response.responses[0].partitions[0].records)
    assert records[:8] == (2).to_bytes(8, "big")


def test_a_forgotten_partition_is_not_told_of(connection: RawConnection, session: tuple[str, int]) -> None:
    topic, session_id = session
    request = incremental(session_id, 1)
    request.forgotten_topics_data = [ForgottenTopic(topic=topic, partitions=[1, 2])]
    connection.call(request, 11)
    for partition in range(3):
        produce(connection, topic, batch([b"x"]), partition=partition)
    assert told(connection.call(incremental(session_id, 2), 11)) == [0]


def test_an_unknown_session(connection: RawConnection) -> None:
    response = connection.call(incremental(1234567, 1), 11)
    assert response.error_code == ErrorCode.FETCH_SESSION_ID_NOT_FOUND
    assert (response.session_id, told(response)) == (0, [])


@pytest.mark.parametrize("epoch", [2, 5])
def test_a_wrong_epoch(connection: RawConnection, session: tuple[str, int], epoch: int) -> None:
    _, session_id = session
    response = connection.call(incremental(session_id, epoch), 11)
    assert response.error_code == ErrorCode.INVALID_FETCH_SESSION_EPOCH
    assert told(response) == []


def test_a_repeated_epoch(connection: RawConnection, session: tuple[str, int]) -> None:
    _, session_id = session
    assert connection.call(incremental(session_id, 1), 11).error_code == 0
    assert connection.call(incremental(session_id, 1), 11).error_code == ErrorCode.INVALID_FETCH_SESSION_EPOCH


def test_topic_ids_and_names_do_not_mix(connection: RawConnection, session: tuple[str, int]) -> None:
    _, session_id = session
    response = connection.call(incremental(session_id, 1), 13)
    assert response.error_code == ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR


def test_a_full_request_replaces_the_session(connection: RawConnection, session: tuple[str, int]) -> None:
    topic, session_id = session
    response = connection.call(full_request(topic, 2, FULL, session_id), 11)
    assert response.session_id not in (0, session_id)
    assert told(response) == [0, 1]
    gone = connection.call(incremental(session_id, 1), 11)
    assert gone.error_code == ErrorCode.FETCH_SESSION_ID_NOT_FOUND


def test_a_final_request_closes_the_session(connection: RawConnection, session: tuple[str, int]) -> None:
    topic, session_id = session
    response = connection.call(full_request(topic, 3, NO_SESSION, session_id), 11)
    assert (response.error_code, response.session_id) == (0, 0)
    assert told(response) == [0, 1, 2]
    gone = connection.call(incremental(session_id, 1), 11)
    assert gone.error_code == ErrorCode.FETCH_SESSION_ID_NOT_FOUND


def test_an_error_is_told_each_time(connection: RawConnection, session: tuple[str, int]) -> None:
    topic, session_id = session
    beyond = FetchTopic(
        topic=topic, partitions=[FetchPartition(partition=2, fetch_offset=50, partition_max_bytes=100_000)]
    )
    for epoch, topics in [(1, [beyond]), (2, None), (3, None)]:
        response = connection.call(incremental(session_id, epoch, topics), 11)
        assert told(response) == [2]
        assert response.responses[0].partitions[0].error_code == ErrorCode.OFFSET_OUT_OF_RANGE
