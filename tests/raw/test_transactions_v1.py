"""First-generation transactions by hand: AddPartitionsToTxn, Produce up to v11, EndTxn up to v4 (KIP-98)."""

from __future__ import annotations

import pytest

from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.add_partitions_to_txn import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnTopic,
    AddPartitionsToTxnTransaction,
)
from tests.support.batches import batch, now_ms
from tests.support.fixtures import MakeTopic
from tests.support.raw import OpenConnection, RawConnection
from tests.support.speaking import (
    TransactionalProducer,
    batches_in,
    committed_offset,
    fetch,
    fetch_request,
    last_stable_offset,
    log_end_offset,
    produce,
    stored_batches,
)
from tests.support.waiting import wait_for


@pytest.mark.parametrize("produce_version", [3, 8, 9, 11])
@pytest.mark.parametrize("end_version", [0, 2, 3, 4])
@pytest.mark.parametrize("commit", [True, False], ids=["commit", "abort"])
def test_a_transaction_ends_with_its_marker(
    connection: RawConnection,
    make_topic: MakeTopic,
    unique_name: str,
    commit: bool,
    produce_version: int,
    end_version: int,
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    assert producer.add(topic, version=min(end_version, 3)) == 0
    assert producer.produce(topic, [b"a", b"b"], version=produce_version).error_code == 0
    assert last_stable_offset(connection, topic) == 0
    assert producer.end(commit, version=end_version).error_code == 0
    wait_for(lambda: last_stable_offset(connection, topic) == 3, "the end of the transaction")
    (data, _), (marker, marker_bytes) = stored_batches(connection, topic)
    assert (data.is_transactional, data.is_control) == (True, False)
    assert (marker.is_transactional, marker.is_control, marker.base_offset) == (True, True, 2)
    assert (marker.producer_id, marker.base_sequence, marker.record_count) == (producer.producer_id, -1, 1)
    assert len(marker_bytes) == 78
    assert marker_bytes[61 + 7 : 61 + 9] == (b"\0\1" if commit else b"\0\0"), "type 1 is COMMIT, 0 is ABORT"


def test_the_epoch_and_the_sequences_go_on(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    for number in range(4):
        producer.add(topic)
        answer = producer.produce(topic, [b"x", b"y"])
        assert (answer.error_code, answer.base_offset) == (0, number * 3)
        producer.end(number % 2 == 0, version=3)
    gap, again = (
        batch(values, producer_id=producer.producer_id, epoch=producer.epoch, sequence=n, transactional=True)
        for values, n in [([b"?"], 99), ([b"x", b"y"], 0)]
    )
    assert producer.add(topic) == 0
    answer = produce(connection, topic, gap, transactional_id=unique_name)
    assert answer.error_code == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert producer.produce(topic).base_offset == 12
    answer = produce(connection, topic, again, transactional_id=unique_name)
    assert (answer.error_code, answer.base_offset) == (ErrorCode.NONE, 0)
    assert producer.produce(topic).base_offset == 13


@pytest.mark.parametrize(
    ("version", "error"),
    [
        (3, ErrorCode.INVALID_TXN_STATE),
        (10, ErrorCode.INVALID_TXN_STATE),
        (11, ErrorCode.TRANSACTION_ABORTABLE),
    ],
)
def test_a_partition_that_was_not_added_takes_nothing(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str, version: int, error: ErrorCode
) -> None:
    topic = make_topic(partitions=2)
    producer = TransactionalProducer(connection, unique_name)
    producer.add(topic, [0])
    assert producer.produce(topic, partition=1, version=version).error_code == error
    assert log_end_offset(connection, topic, 1) == 0
    assert producer.produce(topic, partition=0, version=version).error_code == 0


def test_a_produce_without_any_transaction_takes_nothing(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    assert producer.produce(topic, version=10).error_code == ErrorCode.INVALID_TXN_STATE
    assert log_end_offset(connection, topic) == 0


@pytest.mark.parametrize("version", [10, 11])
def test_a_refused_batch_keeps_later_ones_out_until_it_has_come_again(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str, version: int
) -> None:
    """Else the second of two in flight would be the first that the partition knows (KAFKA-14904)."""
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    refused, *later = [producer.batch(topic, [b"%d" % number]) for number in range(3)]

    def send(records: bytes) -> int:
        answer = produce(connection, topic, records, version=version, transactional_id=unique_name)
        return int(answer.error_code)

    assert send(refused) in (ErrorCode.INVALID_TXN_STATE, ErrorCode.TRANSACTION_ABORTABLE)
    assert producer.add(topic) == 0
    for records in later:
        assert send(records) == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert log_end_offset(connection, topic) == 0
    assert [send(records) for records in (refused, *later)] == [0, 0, 0]
    assert producer.end(True, version=3).error_code == 0
    wait_for(lambda: last_stable_offset(connection, topic) == 4, "the commit")


def test_the_lowest_of_the_refused_is_the_one_to_come_again(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    first, second, third = [producer.batch(topic, [b"%d" % number]) for number in range(3)]

    def send(records: bytes) -> int:
        return int(produce(connection, topic, records, transactional_id=unique_name).error_code)

    assert [send(records) for records in (second, first, third)] == [ErrorCode.TRANSACTION_ABORTABLE] * 3
    assert producer.add(topic) == 0
    assert [send(records) for records in (third, second, first, second, third)] == [45, 45, 0, 0, 0]


def test_a_refusal_for_its_content_keeps_later_ones_out_too(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    assert producer.add(topic) == 0
    tomorrows = batch(
        [b"early"],
        producer_id=producer.producer_id,
        epoch=producer.epoch,
        sequence=0,
        transactional=True,
        timestamps_ms=[now_ms() + 86_400_000],
    )
    answer = produce(connection, topic, tomorrows, transactional_id=unique_name)
    assert answer.error_code == ErrorCode.INVALID_TIMESTAMP
    producer.sequences[topic, 0] = 1
    assert producer.produce(topic).error_code == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    producer.sequences[topic, 0] = 0
    assert [producer.produce(topic).error_code for _ in range(2)] == [0, 0]


@pytest.mark.parametrize("topic_configs", [{"max.message.bytes": "1000"}, {"cleanup.policy": "compact"}])
def test_a_refusal_for_its_size_or_keys_keeps_later_ones_out_too(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str, topic_configs: dict[str, str]
) -> None:
    """Of a batch that is too large clients send the records again, in smaller ones of the same sequences."""
    topic = make_topic(**topic_configs)
    producer = TransactionalProducer(connection, unique_name)
    assert producer.add(topic) == 0

    def send(records: list[bytes], sequence: int, key: bytes | None = None) -> int:
        made = batch(
            records,
            producer_id=producer.producer_id,
            epoch=producer.epoch,
            sequence=sequence,
            transactional=True,
            key=key,
        )
        return int(produce(connection, topic, made, transactional_id=unique_name).error_code)

    refused = send([b"x" * 900] * 2, 0)
    assert refused in (ErrorCode.MESSAGE_TOO_LARGE, ErrorCode.INVALID_RECORD)
    assert send([b"later"], 2, key=b"k") == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert log_end_offset(connection, topic) == 0
    parts = [send([b"part"], sequence, key=b"k") for sequence in range(3)]
    assert parts == [0, 0, 0]


def test_a_refused_batch_keeps_nobody_out_of_another_partition_or_a_later_epoch(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic(partitions=2)
    producer = TransactionalProducer(connection, unique_name)
    assert producer.produce(topic).error_code == ErrorCode.TRANSACTION_ABORTABLE
    assert producer.add(topic, [0, 1]) == 0
    producer.sequences[topic, 1] = 5
    assert producer.produce(topic, partition=1).error_code == 0
    assert producer.end(False, version=3).error_code == 0
    again = TransactionalProducer(connection, unique_name)
    assert again.epoch > producer.epoch
    other = TransactionalProducer(connection, f"{unique_name}-other")
    assert other.add(topic) == 0
    other.sequences[topic, 0] = 7
    assert other.produce(topic).error_code == 0


def test_a_late_produce_after_the_end_is_not_stored(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    producer.add(topic)
    producer.produce(topic)
    producer.end(True, version=3)
    wait_for(lambda: last_stable_offset(connection, topic) == 2, "the marker")
    assert producer.produce(topic, version=11).error_code == ErrorCode.TRANSACTION_ABORTABLE
    assert log_end_offset(connection, topic) == 2


def test_a_batch_outside_of_the_open_transaction_is_refused(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    producer.add(topic)
    producer.produce(topic)
    plain = batch([b"plain"], producer_id=producer.producer_id, epoch=producer.epoch, sequence=1)
    assert produce(connection, topic, plain).error_code == ErrorCode.INVALID_TXN_STATE
    assert log_end_offset(connection, topic) == 1


def test_a_resent_batch_of_the_open_transaction_gets_its_offset(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    producer.add(topic)
    records = producer.batch(topic, [b"a", b"b"])
    answers = [produce(connection, topic, records, transactional_id=unique_name) for _ in range(3)]
    assert [(answer.error_code, answer.base_offset) for answer in answers] == [(0, 0)] * 3
    assert log_end_offset(connection, topic) == 2


# -- AddPartitionsToTxn --


def test_adding_twice_is_as_good_as_once(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic(partitions=3)
    producer = TransactionalProducer(connection, unique_name)
    assert producer.add_each(topic, [0, 1]) == {0: 0, 1: 0}
    assert producer.add_each(topic, [0, 1]) == {0: 0, 1: 0}
    assert producer.add_each(topic, [1, 2]) == {1: 0, 2: 0}


def test_one_unknown_partition_means_that_none_is_added(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic(partitions=2)
    producer = TransactionalProducer(connection, unique_name)
    unknown, skipped = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.OPERATION_NOT_ATTEMPTED
    assert producer.add_each(topic, [0, 7, 1]) == {0: skipped, 7: unknown, 1: skipped}
    assert producer.produce(topic).error_code == ErrorCode.TRANSACTION_ABORTABLE


@pytest.mark.parametrize(
    ("version", "error"), [(1, ErrorCode.INVALID_PRODUCER_EPOCH), (2, ErrorCode.PRODUCER_FENCED)]
)
@pytest.mark.parametrize("step", [-1, 1])
def test_adding_needs_the_current_epoch(
    connection: RawConnection,
    make_topic: MakeTopic,
    unique_name: str,
    version: int,
    error: ErrorCode,
    step: int,
) -> None:
    topic = make_topic()
    TransactionalProducer(connection, unique_name)
    producer = TransactionalProducer(connection, unique_name)
    assert producer.add(topic, version=version, epoch=producer.epoch + step) == error


def test_adding_needs_the_producer_of_the_id(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    producer.producer_id += 1
    assert producer.add(topic) == ErrorCode.INVALID_PRODUCER_ID_MAPPING
    producer.transactional_id += "-nobody"
    assert producer.add(topic) == ErrorCode.INVALID_PRODUCER_ID_MAPPING
    producer.transactional_id = ""
    assert producer.add(topic) == ErrorCode.INVALID_REQUEST


@pytest.mark.parametrize("version", [4, 5])
def test_the_batched_form_answers_for_each_transaction(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str, version: int
) -> None:
    """Brokers speak it among themselves; without an authorizer anybody may."""
    topic = make_topic()
    producers = [TransactionalProducer(connection, f"{unique_name}-{number}") for number in range(3)]
    producers[0].add(topic)
    producers[2].epoch += 1
    request = AddPartitionsToTxnRequest(
        transactions=[
            AddPartitionsToTxnTransaction(
                transactional_id=producer.transactional_id,
                producer_id=producer.producer_id,
                producer_epoch=producer.epoch,
                verify_only=True,
                topics=[AddPartitionsToTxnTopic(name=topic, partitions=[0])],
            )
            for producer in producers
        ]
    )
    response = connection.call(request, version)
    assert response.error_code == 0
    errors = {
        each.transactional_id: each.topic_results[0].results_by_partition[0].partition_error_code
        for each in response.results_by_transaction
    }
    assert [errors[producer.transactional_id] for producer in producers] == [
        ErrorCode.NONE,
        ErrorCode.TRANSACTION_ABORTABLE,
        ErrorCode.PRODUCER_FENCED,
    ]


# -- EndTxn --


def test_a_repeated_end_is_answered_as_before_and_the_opposite_is_refused(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    for commit in (True, False):
        producer.add(topic)
        producer.produce(topic)
        assert [producer.end(commit, version=3).error_code for _ in range(3)] == [0, 0, 0]
        assert producer.end(not commit, version=3).error_code == ErrorCode.INVALID_TXN_STATE
    assert log_end_offset(connection, topic) == 4


@pytest.mark.parametrize("commit", [True, False])
def test_there_is_nothing_to_end_before_the_first_transaction(
    connection: RawConnection, unique_name: str, commit: bool
) -> None:
    producer = TransactionalProducer(connection, unique_name)
    assert producer.end(commit, version=3).error_code == ErrorCode.INVALID_TXN_STATE


@pytest.mark.parametrize(
    ("version", "error"), [(1, ErrorCode.INVALID_PRODUCER_EPOCH), (2, ErrorCode.PRODUCER_FENCED)]
)
@pytest.mark.parametrize("step", [-1, 1])
def test_ending_needs_the_current_epoch(
    connection: RawConnection,
    make_topic: MakeTopic,
    unique_name: str,
    version: int,
    error: ErrorCode,
    step: int,
) -> None:
    topic = make_topic()
    TransactionalProducer(connection, unique_name)
    producer = TransactionalProducer(connection, unique_name)
    producer.add(topic)
    producer.produce(topic)
    assert producer.end(True, version=version, epoch=producer.epoch + step).error_code == error
    assert last_stable_offset(connection, topic) == 0
    assert producer.end(True, version=version).error_code == 0


def test_ending_needs_the_producer_of_the_id(connection: RawConnection, unique_name: str) -> None:
    producer = TransactionalProducer(connection, unique_name)
    stranger = producer.end(True, version=3, producer_id=producer.producer_id + 1)
    assert stranger.error_code == ErrorCode.INVALID_PRODUCER_ID_MAPPING
    producer.transactional_id += "-nobody"
    assert producer.end(True, version=3).error_code == ErrorCode.INVALID_PRODUCER_ID_MAPPING
    producer.transactional_id = ""
    assert producer.end(True, version=3).error_code == ErrorCode.INVALID_REQUEST


def test_an_added_partition_without_records_gets_a_marker_that_hides_nothing(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic(partitions=2)
    producer = TransactionalProducer(connection, unique_name)
    producer.add(topic, [0, 1])
    producer.produce(topic, partition=0)
    assert last_stable_offset(connection, topic, 1) == 0
    producer.end(False, version=3)
    wait_for(lambda: last_stable_offset(connection, topic, 1) == 1, "the marker of the empty partition")
    assert list(fetch(connection, topic, partition=1, read_committed=True).aborted_transactions) == []
    assert len(list(fetch(connection, topic, partition=0, read_committed=True).aborted_transactions)) == 1


# -- offsets in transactions --


@pytest.mark.parametrize("version", [0, 2, 3, 4])
def test_offsets_become_visible_with_the_commit(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str, version: int
) -> None:
    topic = make_topic()
    group = f"{unique_name}-group"
    producer = TransactionalProducer(connection, unique_name)
    for commit, offset, seen in [(False, 5, -1), (True, 7, 7), (False, 9, 7)]:
        assert producer.add_offsets(group, version=min(version, 3)) == 0
        assert producer.commit_offset(group, topic, offset, version=version) == 0
        before = committed_offset(connection, group, topic)
        unstable = committed_offset(connection, group, topic, require_stable=True)
        assert before.error == 0
        assert before.offset != offset
        assert (unstable.error, unstable.offset) == (ErrorCode.UNSTABLE_OFFSET_COMMIT, -1)
        assert producer.end(commit, version=3).error_code == 0
        stable = wait_for(
            lambda: (
                (found := committed_offset(connection, group, topic, require_stable=True)).error == 0
                and found
            ),
            "a stable offset",
        )
        assert stable.offset == seen


@pytest.mark.parametrize(
    ("version", "error"), [(3, ErrorCode.INVALID_TXN_STATE), (4, ErrorCode.TRANSACTION_ABORTABLE)]
)
def test_offsets_need_their_group_in_the_transaction(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str, version: int, error: ErrorCode
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    producer.add(topic)
    assert producer.commit_offset(unique_name, topic, 5, version=version) == error


def test_offsets_of_a_fenced_producer_are_refused(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    zombie = TransactionalProducer(connection, unique_name)
    zombie.add_offsets(unique_name)
    TransactionalProducer(connection, unique_name)
    assert zombie.commit_offset(unique_name, topic, 5) == ErrorCode.INVALID_PRODUCER_EPOCH
    assert committed_offset(connection, unique_name, topic, require_stable=True).offset == -1


def test_offsets_of_a_generation_that_never_was_are_refused(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    producer.add_offsets(unique_name)
    refused = producer.commit_offset(unique_name, topic, 5, generation_id=3, member_id="nobody")
    assert refused == ErrorCode.ILLEGAL_GENERATION


def test_a_plain_commit_after_the_transactional_one_stays(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    """What is committed later counts, also when the transaction ends after it."""
    from oncelog.wire.messages.offset_commit import (
        OffsetCommitRequest,
        OffsetCommitRequestPartition,
        OffsetCommitRequestTopic,
    )

    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    producer.add_offsets(unique_name)
    assert producer.commit_offset(unique_name, topic, 5) == 0
    wanted = OffsetCommitRequestPartition(partition_index=0, committed_offset=8, committed_metadata="later")
    plain = OffsetCommitRequest(
        group_id=unique_name,
        generation_id_or_member_epoch=-1,
        member_id="",
        topics=[OffsetCommitRequestTopic(name=topic, partitions=[wanted])],
    )
    assert connection.call(plain, 7).topics[0].partitions[0].error_code == 0
    assert producer.end(True, version=3).error_code == 0
    wait_for(
        lambda: committed_offset(connection, unique_name, topic, require_stable=True).error == 0, "stable"
    )
    assert committed_offset(connection, unique_name, topic) == (8, "later", 0)


# -- what readers see --


def test_a_reader_that_waits_wakes_at_the_commit(
    open_connection: OpenConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(open_connection(), unique_name)
    producer.add(topic)
    producer.produce(topic, [b"hidden"])
    reader = open_connection()
    reader.send(fetch_request(topic, read_committed=True, max_wait_ms=10_000), 11)
    assert reader.is_silent(0.2)
    producer.end(True, version=3)
    found = reader.receive().responses[0].partitions[0]
    assert batches_in(found.records)[0][0].is_control is False
    assert found.last_stable_offset >= 1


def test_transactions_of_several_producers_release_each_other_in_order(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    """The last stable offset is where the earliest open transaction begins, whoever ended meanwhile."""
    topic = make_topic()
    producers = [TransactionalProducer(connection, f"{unique_name}-{number}") for number in range(3)]
    for producer in producers:
        producer.add(topic)
        producer.produce(topic, [b"x"])
    for ended, stable in [(1, 0), (0, 2), (2, 6)]:
        producers[ended].end(True, version=3)
        wait_for(lambda: log_end_offset(connection, topic) >= 4, "the marker")
        wait_for(lambda stable=stable: last_stable_offset(connection, topic) == stable, f"{stable}")


def test_a_transaction_that_stays_open_is_aborted(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    """Kafka looks every ten seconds."""
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name, timeout_ms=100)
    producer.add(topic)
    producer.produce(topic)
    wait_for(lambda: last_stable_offset(connection, topic) == 2, "the abort", timeout_s=30.0)
    assert producer.produce(topic).error_code == ErrorCode.INVALID_PRODUCER_EPOCH
    assert producer.end(True, version=3).error_code == ErrorCode.PRODUCER_FENCED
    marker = stored_batches(connection, topic)[1][0]
    assert marker.producer_epoch == producer.epoch + 1
