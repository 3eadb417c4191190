"""Second-generation transactions by hand: implicit partitions, an epoch for each transaction (KIP-890)."""

from __future__ import annotations

import pytest

from oncelog.wire.errors import ErrorCode
from tests.support.batches import batch
from tests.support.fixtures import MakeTopic
from tests.support.raw import RawConnection
from tests.support.speaking import (
    TransactionalProducer,
    committed_offset,
    last_stable_offset,
    log_end_offset,
    produce,
    settled,
    stored_batches,
)
from tests.support.waiting import wait_for

PRODUCE_VERSIONS = [12, 13]


@pytest.mark.parametrize("version", PRODUCE_VERSIONS)
def test_a_produce_brings_its_partition_into_the_transaction(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str, version: int
) -> None:
    topic = make_topic(partitions=2)
    producer = TransactionalProducer(connection, unique_name)
    for partition in (0, 1):
        assert producer.produce(topic, [b"a", b"b"], partition=partition, version=version).error_code == 0
    assert [last_stable_offset(connection, topic, partition) for partition in (0, 1)] == [0, 0]
    assert producer.end(True, version=5).error_code == 0
    for partition in (0, 1):
        wait_for(
            lambda partition=partition: last_stable_offset(connection, topic, partition) == 3, "the commit"
        )


@pytest.mark.parametrize("version", PRODUCE_VERSIONS)
def test_every_transaction_has_an_epoch_and_starts_at_sequence_zero(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str, version: int
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    first_id, first_epoch = producer.producer_id, producer.epoch
    for number in range(4):
        assert (producer.producer_id, producer.epoch) == (first_id, first_epoch + number)
        answer = producer.produce(topic, [b"x", b"y"], version=version)
        assert (answer.error_code, answer.base_offset) == (0, number * 3)
        assert producer.end(number % 2 == 0, version=5).error_code == 0
    wait_for(lambda: log_end_offset(connection, topic) == 12, "the last marker")
    stored = [header for header, _ in stored_batches(connection, topic)]
    assert [header.producer_epoch for header in stored if not header.is_control] == [
        first_epoch + n for n in range(4)
    ]
    assert [header.producer_epoch for header in stored if header.is_control] == [
        first_epoch + 1 + n for n in range(4)
    ]


def test_a_new_transaction_that_does_not_start_at_zero_is_refused(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    producer.produce(topic, [b"a"], version=12)
    producer.end(True, version=5)
    producer.sequences[topic, 0] = 1
    assert producer.produce(topic, [b"b"], version=12).error_code == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    producer.sequences[topic, 0] = 0
    assert producer.produce(topic, [b"b"], version=12).error_code == 0


def test_an_unknown_producer_starts_at_zero_here(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    producer.sequences[topic, 0] = 3
    assert producer.produce(topic, version=12).error_code == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert log_end_offset(connection, topic) == 0


@pytest.mark.parametrize("version", PRODUCE_VERSIONS)
def test_a_delayed_produce_of_the_transaction_before_is_never_stored(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str, version: int
) -> None:
    """What the epoch of each transaction is for: a resent batch cannot land in the next transaction."""
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    delayed = batch(
        [b"late"], producer_id=producer.producer_id, epoch=producer.epoch, sequence=1, transactional=True
    )
    producer.produce(topic, [b"a"], version=version)
    producer.end(True, version=5)
    producer.produce(topic, [b"b"], version=version)
    answer = produce(connection, topic, delayed, version=version, transactional_id=unique_name)
    assert answer.error_code == ErrorCode.INVALID_PRODUCER_EPOCH
    assert log_end_offset(connection, topic) == 3


def test_resent_batches_of_the_open_transaction_get_their_offsets(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    sent = [producer.batch(topic, [b"%d" % number]) for number in range(5)]
    for _ in range(2):
        for number, records in enumerate(sent):
            answer = settled(
                lambda records=records: produce(
                    connection, topic, records, version=12, transactional_id=unique_name
                ),
                lambda answer: int(answer.error_code),
            )
            assert (answer.error_code, answer.base_offset) == (0, number)


# -- EndTxn v5 --


@pytest.mark.parametrize("commit", [True, False], ids=["commit", "abort"])
def test_a_repeated_end_gets_the_same_epoch_and_the_opposite_is_refused(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str, commit: bool
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    old_epoch = producer.epoch
    producer.produce(topic, version=12)
    for _ in range(3):
        answer = producer.end(commit, version=5, epoch=old_epoch)
        assert (answer.error_code, answer.producer_id) == (0, producer.producer_id)
        assert answer.producer_epoch == old_epoch + 1
    opposite = producer.end(not commit, version=5, epoch=old_epoch)
    assert opposite.error_code == ErrorCode.INVALID_TXN_STATE
    assert (opposite.producer_id, opposite.producer_epoch) == (-1, -1)
    wait_for(lambda: log_end_offset(connection, topic) == 2, "the one marker")
    assert len(stored_batches(connection, topic)) == 2


def test_a_commit_without_records_is_refused(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    assert producer.end(True, version=5).error_code == ErrorCode.INVALID_TXN_STATE
    for commit in (True, False):
        producer.produce(topic, version=12)
        assert producer.end(commit, version=5).error_code == 0
        assert producer.end(True, version=5).error_code == ErrorCode.INVALID_TXN_STATE


def test_an_empty_abort_raises_the_epoch(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    """So that a produce that is still under way, sent before the abort, finds itself fenced."""
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    first = producer.epoch
    under_way = producer.batch(topic, [b"under way"])
    for step in range(1, 4):
        answer = producer.end(False, version=5)
        assert (answer.error_code, answer.producer_epoch) == (0, first + step)
    answer = produce(connection, topic, under_way, version=12, transactional_id=unique_name)
    assert answer.error_code == ErrorCode.INVALID_PRODUCER_EPOCH
    assert log_end_offset(connection, topic) == 0
    producer.sequences.clear()
    assert producer.produce(topic, version=12).error_code == 0


@pytest.mark.parametrize("step", [-2, -1, 1])
@pytest.mark.parametrize("is_open", [True, False], ids=["open", "empty"])
def test_ending_needs_the_current_epoch(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str, step: int, is_open: bool
) -> None:
    topic = make_topic()
    for _ in range(3):
        producer = TransactionalProducer(connection, unique_name)
    if is_open:
        producer.produce(topic, version=12)
    refused = producer.end(False, version=5, epoch=producer.epoch + step)
    assert (refused.error_code, refused.producer_epoch) == (ErrorCode.PRODUCER_FENCED, -1)
    assert last_stable_offset(connection, topic) == 0


def test_ending_needs_the_producer_of_the_id(connection: RawConnection, unique_name: str) -> None:
    producer = TransactionalProducer(connection, unique_name)
    stranger = producer.end(True, version=5, producer_id=producer.producer_id + 1)
    assert stranger.error_code == ErrorCode.INVALID_PRODUCER_ID_MAPPING
    producer.transactional_id += "-nobody"
    assert producer.end(False, version=5).error_code == ErrorCode.INVALID_PRODUCER_ID_MAPPING


# -- offsets --


@pytest.mark.parametrize("commit", [True, False], ids=["commit", "abort"])
def test_offsets_bring_their_group_into_the_transaction(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str, commit: bool
) -> None:
    topic = make_topic()
    group = f"{unique_name}-group"
    producer = TransactionalProducer(connection, unique_name)
    assert producer.commit_offset(group, topic, 7, version=5) == 0
    unstable = committed_offset(connection, group, topic, require_stable=True)
    assert unstable.error == ErrorCode.UNSTABLE_OFFSET_COMMIT
    assert committed_offset(connection, group, topic).offset == -1
    assert producer.end(commit, version=5).error_code == 0
    wait_for(
        lambda: committed_offset(connection, group, topic, require_stable=True).error == 0, "a stable offset"
    )
    assert committed_offset(connection, group, topic).offset == (7 if commit else -1)


def test_offsets_of_the_transaction_before_are_refused(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    old_epoch = producer.epoch
    producer.produce(topic, version=12)
    producer.end(True, version=5)
    late = producer.commit_offset(unique_name, topic, 5, version=5, epoch=old_epoch)
    assert late == ErrorCode.INVALID_PRODUCER_EPOCH
    assert committed_offset(connection, unique_name, topic).offset == -1


# -- both generations --


def test_a_producer_may_change_from_the_first_generation_to_the_second(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    producer.add(topic)
    producer.produce(topic, [b"v1"], version=11)
    assert producer.end(True, version=4).error_code == 0
    producer = TransactionalProducer(connection, unique_name)
    producer.produce(topic, [b"v2"], version=12)
    assert producer.end(True, version=5).error_code == 0
    wait_for(lambda: last_stable_offset(connection, topic) == 4, "both transactions")


def test_after_a_timeout_a_producer_may_abort_and_go_on(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name, timeout_ms=100)
    producer.produce(topic, version=12)
    wait_for(lambda: last_stable_offset(connection, topic) == 2, "the abort", timeout_s=30.0)
    assert producer.produce(topic, version=12).error_code == ErrorCode.INVALID_PRODUCER_EPOCH
    epoch = producer.epoch
    answer = producer.end(False, version=5)
    assert (answer.error_code, answer.producer_epoch) == (0, epoch + 1)
    assert producer.produce(topic, version=12).error_code == 0


@pytest.mark.deliberate_difference("KAFKA-20785: INVALID_TXN_STATE would make a fenced producer look broken")
def test_a_commit_after_a_timeout_is_told_that_it_was_fenced(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name, timeout_ms=100)
    producer.produce(topic, version=12)
    wait_for(lambda: last_stable_offset(connection, topic) == 2, "the abort", timeout_s=30.0)
    assert producer.end(True, version=5).error_code == ErrorCode.PRODUCER_FENCED


@pytest.mark.slow
def test_at_the_last_epoch_the_transaction_ends_with_another_producer_id(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    while producer.epoch < 32766:
        assert producer.end(False, version=5).error_code == 0
    old_id = producer.producer_id
    assert producer.produce(topic, version=12).error_code == 0
    answer = producer.end(True, version=5)
    assert (answer.error_code, answer.producer_epoch) == (0, 0)
    assert answer.producer_id != old_id
    again = producer.end(True, version=5, producer_id=old_id, epoch=32766)
    assert (again.error_code, again.producer_id, again.producer_epoch) == (0, answer.producer_id, 0)
    wait_for(lambda: last_stable_offset(connection, topic) == 2, "the marker")
    marker = stored_batches(connection, topic)[1][0]
    assert (marker.producer_id, marker.producer_epoch) == (old_id, 32767)
    assert producer.produce(topic, version=12).error_code == 0
