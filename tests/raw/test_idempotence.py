"""Sequences of idempotent producers (law 3; KIP-98): stored once, in order, resends recognised."""

from __future__ import annotations

import pytest

from oncelog.wire.errors import ErrorCode
from tests.support.batches import SEQUENCE_MAX, batch
from tests.support.fixtures import MakeTopic
from tests.support.raw import RawConnection
from tests.support.speaking import (
    idempotent_producer,
    log_end_offset,
    produce,
    produce_request,
    stored_batches,
)

PRODUCE_VERSIONS = [3, 8, 9, 11, 12, 13]


def send(
    connection: RawConnection,
    topic: str,
    producer_id: int,
    sequence: int,
    count: int = 1,
    *,
    epoch: int = 0,
    version: int = 11,
) -> tuple[ErrorCode, int]:
    """Produce `count` records from a sequence on; the error and the base offset."""
    values = [b"%d" % (sequence + place) for place in range(count)]
    records = batch(values, producer_id=producer_id, epoch=epoch, sequence=sequence)
    answer = produce(connection, topic, records, version=version)
    return ErrorCode(answer.error_code), answer.base_offset


@pytest.mark.parametrize("version", PRODUCE_VERSIONS)
@pytest.mark.parametrize("which", range(1, 6))
def test_each_of_the_last_five_batches_resent_gets_its_original_offset(
    connection: RawConnection, make_topic: MakeTopic, which: int, version: int
) -> None:
    topic = make_topic()
    producer_id = idempotent_producer(connection)
    for number in range(7):
        assert send(connection, topic, producer_id, number * 3, 3) == (ErrorCode.NONE, number * 3)
    resent = 7 - which
    assert send(connection, topic, producer_id, resent * 3, 3, version=version) == (
        ErrorCode.NONE,
        resent * 3,
    )
    assert log_end_offset(connection, topic) == 21


@pytest.mark.deliberate_difference(
    "Kafka answers OUT_OF_ORDER_SEQUENCE_NUMBER: a client then takes a new epoch and stores the batch again"
)
@pytest.mark.parametrize("which", [6, 7, 10])
def test_an_older_batch_resent_is_known_as_a_duplicate(
    connection: RawConnection, make_topic: MakeTopic, which: int
) -> None:
    topic = make_topic()
    producer_id = idempotent_producer(connection)
    for number in range(10):
        send(connection, topic, producer_id, number)
    error, _ = send(connection, topic, producer_id, 10 - which)
    assert error == ErrorCode.DUPLICATE_SEQUENCE_NUMBER
    assert log_end_offset(connection, topic) == 10


@pytest.mark.parametrize("which", [6, 10])
def test_an_older_batch_resent_is_not_stored_again(
    connection: RawConnection, make_topic: MakeTopic, which: int
) -> None:
    topic = make_topic()
    producer_id = idempotent_producer(connection)
    for number in range(10):
        send(connection, topic, producer_id, number)
    error, offset = send(connection, topic, producer_id, 10 - which)
    assert error in {ErrorCode.DUPLICATE_SEQUENCE_NUMBER, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER}
    assert offset == -1
    assert send(connection, topic, producer_id, 10) == (ErrorCode.NONE, 10)
    assert log_end_offset(connection, topic) == 11


def test_what_came_before_a_producers_first_batch_is_out_of_order(
    connection: RawConnection, make_topic: MakeTopic
) -> None:
    """It was never stored here, so it is no duplicate."""
    topic = make_topic()
    producer_id = idempotent_producer(connection)
    assert send(connection, topic, producer_id, 100) == (ErrorCode.NONE, 0)
    for number in range(101, 110):
        send(connection, topic, producer_id, number)
    assert send(connection, topic, producer_id, 50)[0] == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert send(connection, topic, producer_id, 99)[0] == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


@pytest.mark.parametrize("version", PRODUCE_VERSIONS)
@pytest.mark.parametrize("gap", [1, 2, 1000])
def test_a_gap_is_out_of_order_and_nothing_is_stored(
    connection: RawConnection, make_topic: MakeTopic, gap: int, version: int
) -> None:
    topic = make_topic()
    producer_id = idempotent_producer(connection)
    send(connection, topic, producer_id, 0, 5)
    refused = send(connection, topic, producer_id, 5 + gap, version=version)
    assert refused == (ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, -1)
    assert log_end_offset(connection, topic) == 5
    assert send(connection, topic, producer_id, 5, version=version) == (ErrorCode.NONE, 5)


@pytest.mark.parametrize(("sequence", "count"), [(2, 3), (3, 5), (1, 9)])
def test_a_batch_that_overlaps_what_is_stored_and_goes_beyond_is_out_of_order(
    connection: RawConnection, make_topic: MakeTopic, sequence: int, count: int
) -> None:
    topic = make_topic()
    producer_id = idempotent_producer(connection)
    send(connection, topic, producer_id, 0, 2)
    send(connection, topic, producer_id, 2, 2)
    assert send(connection, topic, producer_id, sequence, count)[0] == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert log_end_offset(connection, topic) == 4


def test_an_unknown_producer_may_start_at_any_sequence(
    connection: RawConnection, make_topic: MakeTopic
) -> None:
    topic = make_topic()
    producer_id = idempotent_producer(connection)
    assert send(connection, topic, producer_id, 4711, 2) == (ErrorCode.NONE, 0)
    assert send(connection, topic, producer_id, 4713) == (ErrorCode.NONE, 2)
    assert send(connection, topic, producer_id, 4711, 2) == (ErrorCode.NONE, 0)


def test_the_sequence_after_the_largest_is_zero(connection: RawConnection, make_topic: MakeTopic) -> None:
    topic = make_topic()
    producer_id = idempotent_producer(connection)
    assert send(connection, topic, producer_id, SEQUENCE_MAX) == (ErrorCode.NONE, 0)
    assert send(connection, topic, producer_id, 1)[0] == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert send(connection, topic, producer_id, 0) == (ErrorCode.NONE, 1)
    assert send(connection, topic, producer_id, SEQUENCE_MAX) == (ErrorCode.NONE, 0)
    assert send(connection, topic, producer_id, 1) == (ErrorCode.NONE, 2)


def test_one_batch_may_hold_the_wrap_around(connection: RawConnection, make_topic: MakeTopic) -> None:
    topic = make_topic()
    producer_id = idempotent_producer(connection)
    assert send(connection, topic, producer_id, SEQUENCE_MAX - 10, 20) == (ErrorCode.NONE, 0)
    assert send(connection, topic, producer_id, SEQUENCE_MAX - 10, 20) == (ErrorCode.NONE, 0)
    assert send(connection, topic, producer_id, 10)[0] == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert send(connection, topic, producer_id, 9) == (ErrorCode.NONE, 20)
    assert send(connection, topic, producer_id, 8)[0] != ErrorCode.NONE
    assert log_end_offset(connection, topic) == 21


@pytest.mark.parametrize("version", PRODUCE_VERSIONS)
def test_a_stale_epoch_is_refused(connection: RawConnection, make_topic: MakeTopic, version: int) -> None:
    topic = make_topic()
    producer_id = idempotent_producer(connection)
    send(connection, topic, producer_id, 0, epoch=3)
    for sequence in (0, 1):
        refused = send(connection, topic, producer_id, sequence, epoch=2, version=version)
        assert refused == (ErrorCode.INVALID_PRODUCER_EPOCH, -1)
    assert log_end_offset(connection, topic) == 1


@pytest.mark.parametrize("step", [1, 5])
def test_a_new_epoch_starts_at_zero(connection: RawConnection, make_topic: MakeTopic, step: int) -> None:
    """Idempotent clients raise their epoch by themselves, also by more than one."""
    topic = make_topic()
    producer_id = idempotent_producer(connection)
    send(connection, topic, producer_id, 0, 2)
    assert send(connection, topic, producer_id, 2, epoch=step)[0] == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert send(connection, topic, producer_id, 2) == (ErrorCode.NONE, 2), "the refused epoch left no trace"
    assert send(connection, topic, producer_id, 0, epoch=step) == (ErrorCode.NONE, 3)
    assert send(connection, topic, producer_id, 3)[0] == ErrorCode.INVALID_PRODUCER_EPOCH
    assert send(connection, topic, producer_id, 2)[0] == ErrorCode.INVALID_PRODUCER_EPOCH
    assert send(connection, topic, producer_id, 1, epoch=step) == (ErrorCode.NONE, 4)


def test_two_producers_on_one_partition_have_sequences_of_their_own(
    connection: RawConnection, make_topic: MakeTopic
) -> None:
    topic = make_topic()
    one, two = idempotent_producer(connection), idempotent_producer(connection)
    assert one != two
    for number in range(6):
        assert send(connection, topic, one, number) == (ErrorCode.NONE, number * 2)
        assert send(connection, topic, two, number) == (ErrorCode.NONE, number * 2 + 1)
    assert send(connection, topic, one, 3) == (ErrorCode.NONE, 6)
    assert send(connection, topic, two, 3) == (ErrorCode.NONE, 7)


def test_one_producer_on_two_partitions_has_sequences_for_each(
    connection: RawConnection, make_topic: MakeTopic
) -> None:
    topic = make_topic(partitions=2)
    producer_id = idempotent_producer(connection)
    for partition in (0, 1):
        records = batch([b"x"], producer_id=producer_id, epoch=0, sequence=0)
        assert produce(connection, topic, records, partition=partition).base_offset == 0


def test_requests_in_flight_are_checked_in_their_order(
    connection: RawConnection, make_topic: MakeTopic
) -> None:
    """Five in flight, the third one missing its predecessor: exactly those behind the gap are refused."""
    topic = make_topic()
    producer_id = idempotent_producer(connection)
    for sequence in (0, 1, 3, 4, 2):
        records = batch([b"%d" % sequence], producer_id=producer_id, epoch=0, sequence=sequence)
        connection.send(produce_request([(topic, 0, records)]), 11)
    answers = [connection.receive().responses[0].partition_responses[0] for _ in range(5)]
    out_of_order = ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert [answer.error_code for answer in answers] == [0, 0, out_of_order, out_of_order, 0]
    assert [answer.base_offset for answer in answers] == [0, 1, -1, -1, 2]


def test_one_batch_sent_five_times_in_flight_is_stored_once(
    connection: RawConnection, make_topic: MakeTopic
) -> None:
    topic = make_topic()
    producer_id = idempotent_producer(connection)
    records = batch([b"a", b"b"], producer_id=producer_id, epoch=0, sequence=0)
    for _ in range(5):
        connection.send(produce_request([(topic, 0, records)]), 11)
    answers = [connection.receive().responses[0].partition_responses[0] for _ in range(5)]
    assert [(answer.error_code, answer.base_offset) for answer in answers] == [(0, 0)] * 5
    assert log_end_offset(connection, topic) == 2


def test_what_is_stored_is_what_was_sent(connection: RawConnection, make_topic: MakeTopic) -> None:
    """Only base offset and leader epoch are the broker's; all behind them is the client's, to the byte."""
    topic = make_topic()
    producer_id = idempotent_producer(connection)
    sent = [batch([b"first"] * 3, producer_id=producer_id, epoch=0, sequence=0, key=b"k")]
    sent.append(batch([b"second"], producer_id=producer_id, epoch=0, sequence=3))
    for records in sent:
        produce(connection, topic, records)
    stored = stored_batches(connection, topic)
    assert [header.base_offset for header, _ in stored] == [0, 3]
    assert [data[16:] for _, data in stored] == [records[16:] for records in sent]
