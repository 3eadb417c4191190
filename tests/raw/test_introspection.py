"""Looking at producers and transactions, and an administrator's abort, by hand (KIP-664)."""

from __future__ import annotations

import time
from typing import Any

import pytest

from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.describe_producers import DescribeProducersRequest, TopicRequest
from oncelog.wire.messages.describe_transactions import DescribeTransactionsRequest
from oncelog.wire.messages.list_transactions import ListTransactionsRequest
from oncelog.wire.messages.write_txn_markers import (
    WritableTxnMarker,
    WritableTxnMarkerTopic,
    WriteTxnMarkersRequest,
)
from tests.support.batches import batch
from tests.support.fixtures import MakeTopic
from tests.support.raw import RawConnection
from tests.support.speaking import (
    TransactionalProducer,
    idempotent_producer,
    last_stable_offset,
    log_end_offset,
    produce,
    settled,
)
from tests.support.waiting import wait_for

UNKNOWN_PARTITION, NO_SUCH_ID = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.TRANSACTIONAL_ID_NOT_FOUND
FENCED, OLD_EPOCH = ErrorCode.PRODUCER_FENCED, ErrorCode.INVALID_PRODUCER_EPOCH


def describe_producers(connection: RawConnection, topic: str, *partitions: int) -> list[Any]:
    asked = DescribeProducersRequest(topics=[TopicRequest(name=topic, partition_indexes=list(partitions))])
    (answered,) = connection.call(asked, 0).topics
    assert [each.partition_index for each in answered.partitions] == list(partitions)
    return list(answered.partitions)


def describe(connection: RawConnection, *names: str) -> list[Any]:
    def ask() -> Any:
        return connection.call(DescribeTransactionsRequest(transactional_ids=list(names)), 0)

    def error_of(answer: Any) -> int:
        return next((each.error_code for each in answer.transaction_states), 0)

    return list(settled(ask, error_of).transaction_states)


def listed(
    connection: RawConnection, version: int = 2, **filters: Any
) -> tuple[int, list[str], dict[str, Any]]:
    """Error, unknown states, and (producer id, state) by transactional id."""
    answer = connection.call(ListTransactionsRequest(**filters), version)
    found = {each.transactional_id: each for each in answer.transaction_states}
    assert len(found) == len(answer.transaction_states)
    return answer.error_code, list(answer.unknown_state_filters), found


def abort(
    connection: RawConnection,
    producer_id: int,
    epoch: int,
    *where: tuple[str, list[int]],
    version: int = 1,
    commit: bool = False,
    level: int = 0,
) -> list[tuple[str, int, int]]:
    """(topic, partition, error), in the order asked."""
    marker = WritableTxnMarker(
        producer_id=producer_id,
        producer_epoch=epoch,
        transaction_result=commit,
        topics=[WritableTxnMarkerTopic(name=name, partition_indexes=indexes) for name, indexes in where],
    )
    if version >= 2:
        marker.transaction_version = level
    (result,) = connection.call(WriteTxnMarkersRequest(markers=[marker]), version).markers
    assert result.producer_id == producer_id
    return [
        (topic.name, partition.partition_index, partition.error_code)
        for topic in result.topics
        for partition in topic.partitions
    ]


# --- DescribeProducers ---


def test_a_partition_tells_of_its_producers(connection: RawConnection, make_topic: MakeTopic) -> None:
    topic = make_topic(partitions=2)
    producer_id = idempotent_producer(connection)
    first = batch([b"a", b"b"], producer_id=producer_id, epoch=0, sequence=0)
    assert produce(connection, topic, first).error_code == 0
    here, empty, missing = describe_producers(connection, topic, 0, 1, 2)
    (producer,) = here.active_producers
    assert (producer.producer_id, producer.producer_epoch, producer.last_sequence) == (producer_id, 0, 1)
    assert producer.last_timestamp > 1_600_000_000_000
    assert producer.current_txn_start_offset == -1
    assert (empty.error_code, empty.active_producers) == (0, [])
    assert (missing.error_code, missing.active_producers) == (UNKNOWN_PARTITION, [])
    (nowhere,) = describe_producers(connection, "no-such-topic", 0)
    assert nowhere.error_code == UNKNOWN_PARTITION


def test_a_partition_tells_where_open_transactions_begin(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    assert produce(connection, topic, batch([b"before"])).error_code == 0
    producer = TransactionalProducer(connection, unique_name)
    assert producer.produce(topic, [b"x"], version=12).error_code == 0
    (partition,) = describe_producers(connection, topic, 0)
    (told,) = partition.active_producers
    assert (told.producer_id, told.producer_epoch) == (producer.producer_id, producer.epoch)
    assert (told.current_txn_start_offset, told.last_sequence) == (1, 0)
    assert producer.end(True, version=5).error_code == 0
    wait_for(
        lambda: (
            describe_producers(connection, topic, 0)[0].active_producers[0].current_txn_start_offset == -1
        ),
        "the commit",
    )
    (partition,) = describe_producers(connection, topic, 0)
    (told,) = partition.active_producers
    assert (told.producer_epoch, told.last_sequence) == (producer.epoch, -1)


# --- DescribeTransactions ---


def test_a_transactional_id_is_described_through_its_life(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic(partitions=3)
    producer = TransactionalProducer(connection, unique_name, timeout_ms=54_321)

    def told() -> Any:
        (answer,) = describe(connection, unique_name)
        assert (answer.error_code, answer.transactional_id) == (0, unique_name)
        assert answer.transaction_timeout_ms == 54_321
        assert (answer.producer_id, answer.producer_epoch) == (producer.producer_id, producer.epoch)
        return answer

    empty = told()
    assert (empty.transaction_state, empty.transaction_start_time_ms, empty.topics) == ("Empty", -1, [])
    for partition in (2, 0):
        assert producer.produce(topic, [b"x"], partition=partition, version=12).error_code == 0
    is_open = told()
    assert is_open.transaction_state == "Ongoing"
    assert abs(is_open.transaction_start_time_ms - time.time() * 1000) < 600_000
    assert [(each.topic, sorted(each.partitions)) for each in is_open.topics] == [(topic, [0, 2])]
    assert producer.end(False, version=5).error_code == 0
    wait_for(lambda: told().transaction_state == "CompleteAbort", "the abort")
    began_ms = is_open.transaction_start_time_ms
    assert (told().transaction_start_time_ms, told().topics) == (began_ms, [])
    assert producer.end(False, version=5).error_code == 0
    wait_for(lambda: told().transaction_start_time_ms > began_ms, "the abort of nothing")
    producer = TransactionalProducer(connection, unique_name, timeout_ms=54_321)
    assert (told().transaction_state, told().transaction_start_time_ms) == ("Empty", -1)


def test_offsets_in_a_transaction_show_as_partitions_of_the_offsets_topic(
    connection: RawConnection, unique_name: str
) -> None:
    producer = TransactionalProducer(connection, unique_name)
    # The hashes that Java has for these names, by hand: 97, and 31 * 97 + 98.
    assert producer.add_offsets("a") == producer.add_offsets("ab") == 0
    (told,) = describe(connection, unique_name)
    assert [(each.topic, sorted(each.partitions)) for each in told.topics] == [
        ("__consumer_offsets", sorted({97 % 50, (31 * 97 + 98) % 50}))
    ]
    assert producer.end(False, version=4).error_code == 0


def test_ids_that_nobody_has_used_are_not_found(connection: RawConnection, unique_name: str) -> None:
    TransactionalProducer(connection, unique_name)
    known, unknown, nameless = describe(connection, unique_name, f"not-{unique_name}", "")
    assert known.error_code == 0
    assert (unknown.error_code, unknown.transactional_id) == (NO_SUCH_ID, f"not-{unique_name}")
    assert nameless.error_code == ErrorCode.INVALID_REQUEST
    assert describe(connection) == []


# --- ListTransactions ---


def test_transactions_are_listed_by_each_filter(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    idle = TransactionalProducer(connection, f"{unique_name}-idle")
    busy = TransactionalProducer(connection, f"{unique_name}-busy")
    assert busy.produce(topic, [b"x"], version=12).error_code == 0
    ours = {f"{unique_name}-idle", f"{unique_name}-busy"}

    def names(version: int = 2, **filters: Any) -> set[str]:
        error, unknown, found = listed(connection, version, **filters)
        assert (error, unknown) == (0, [])
        return set(found) & ours

    for version in (0, 1, 2):
        assert names(version) == ours
        assert names(version, state_filters=["Ongoing"]) == {f"{unique_name}-busy"}
        assert names(version, state_filters=["Ongoing", "Empty"]) == ours
        assert names(version, state_filters=["PrepareCommit", "Dead"]) == set()
        assert names(version, producer_id_filters=[idle.producer_id, -7]) == {f"{unique_name}-idle"}
        assert names(version, producer_id_filters=[idle.producer_id], state_filters=["Ongoing"]) == set()
    _, _, found = listed(connection)
    assert found[f"{unique_name}-busy"].producer_id == busy.producer_id
    assert found[f"{unique_name}-busy"].transaction_state == "Ongoing"
    assert names(duration_filter=-1) == ours
    assert names(duration_filter=3_600_000) == {f"{unique_name}-idle"}, "idle since 1970"
    wait_for(lambda: f"{unique_name}-busy" in names(duration_filter=1), "a millisecond that passes")
    assert names(transactional_id_pattern="") == names(transactional_id_pattern=None) == ours
    assert names(transactional_id_pattern=f"{unique_name}-(idle|other)") == {f"{unique_name}-idle"}
    assert names(transactional_id_pattern=f"{unique_name}-id") == set(), "the whole id must match"
    assert names(transactional_id_pattern=".*-b[a-z]+y$") == {f"{unique_name}-busy"}
    assert busy.end(True, version=5).error_code == 0


def test_states_that_kafka_does_not_have_are_answered(connection: RawConnection, unique_name: str) -> None:
    TransactionalProducer(connection, unique_name)
    error, unknown, found = listed(connection, state_filters=["Empty", "empty", "Open"])
    assert (error, sorted(unknown)) == (0, ["Open", "empty"])
    assert unique_name in found
    error, unknown, found = listed(connection, state_filters=["Open"])
    assert (error, unknown, found) == (0, ["Open"], {})


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", "[z-a]", "*"])
def test_what_is_no_pattern_is_refused(connection: RawConnection, pattern: str) -> None:
    error, _, found = listed(connection, transactional_id_pattern=pattern)
    assert (error, found) == (ErrorCode.INVALID_REGULAR_EXPRESSION, {})


# --- WriteTxnMarkers ---


@pytest.mark.parametrize(("version", "level"), [(1, 0), (2, 0), (2, 2)])
def test_an_administrator_aborts_what_holds_a_partition_back(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str, version: int, level: int
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    assert producer.produce(topic, [b"x"], version=12).error_code == 0
    assert last_stable_offset(connection, topic) == 0
    epoch = producer.epoch + (level == 2)
    for _ in range(2):
        told = abort(connection, producer.producer_id, epoch, (topic, [0]), version=version, level=level)
        assert told == [(topic, 0, 0)], "asking again for what has been done is no error"
    wait_for(lambda: last_stable_offset(connection, topic) == log_end_offset(connection, topic), "the abort")


@pytest.mark.deliberate_difference("Kafka's abort ends a transaction in one partition")
@pytest.mark.parametrize("version", [4, 5])
def test_an_administrators_abort_ends_the_whole_transaction_and_fences_its_producer(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str, version: int
) -> None:
    topic = make_topic(partitions=3)
    producer = TransactionalProducer(connection, unique_name)
    for partition in (0, 1):
        assert producer.produce(topic, [b"x"], partition=partition, version=12).error_code == 0
    told = abort(connection, producer.producer_id, producer.epoch, (topic, [1, 2, 3]), ("none", [0]))
    assert told == [
        (topic, 1, 0),
        (topic, 2, 0),
        (topic, 3, UNKNOWN_PARTITION),
        ("none", 0, UNKNOWN_PARTITION),
    ]
    assert [last_stable_offset(connection, topic, partition) for partition in (0, 1, 2)] == [2, 2, 0]
    assert producer.produce(topic, [b"late"], version=12).error_code == OLD_EPOCH
    assert producer.end(True, version=version).error_code == FENCED
    (state,) = describe(connection, unique_name)
    assert (state.transaction_state, state.producer_epoch) == ("CompleteAbort", producer.epoch + 1)
    successor = TransactionalProducer(connection, unique_name)
    assert successor.produce(topic, [b"next"], version=12).error_code == 0
    assert successor.end(True, version=5).error_code == 0


@pytest.mark.deliberate_difference("Kafka writes markers of any epoch that is not behind")
def test_an_abort_of_another_epoch_changes_nothing(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    TransactionalProducer(connection, unique_name)
    producer = TransactionalProducer(connection, unique_name)
    assert producer.produce(topic, [b"x"], version=12).error_code == 0
    for off in (-1, 1, 2, 30_000):
        told = abort(connection, producer.producer_id, producer.epoch + off, (topic, [0]))
        assert told == [(topic, 0, OLD_EPOCH)]
    for off in (-1, 0, 2):
        told = abort(connection, producer.producer_id, producer.epoch + off, (topic, [0]), version=2, level=2)
        assert told == [(topic, 0, OLD_EPOCH)]
    assert log_end_offset(connection, topic) == 1
    assert producer.end(True, version=5).error_code == 0


@pytest.mark.deliberate_difference("Kafka's brokers commit like this, and so may administrators")
def test_a_marker_that_commits_is_refused(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    assert producer.produce(topic, [b"x"], version=12).error_code == 0
    told = abort(connection, producer.producer_id, producer.epoch, (topic, [0]), commit=True)
    assert told == [(topic, 0, ErrorCode.CLUSTER_AUTHORIZATION_FAILED)]
    assert last_stable_offset(connection, topic) == 0
    assert producer.end(True, version=5).error_code == 0


def test_an_abort_is_behind_when_the_producer_has_moved_on(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    before = producer.epoch
    assert producer.produce(topic, [b"x"], version=12).error_code == 0
    assert producer.end(True, version=5).error_code == 0
    wait_for(lambda: last_stable_offset(connection, topic) == 2, "the commit")
    assert abort(connection, producer.producer_id, before, (topic, [0])) == [(topic, 0, OLD_EPOCH)]
