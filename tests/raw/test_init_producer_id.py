"""InitProducerId: who gets which producer id and epoch, and who is refused (KIP-98, KIP-360)."""

from __future__ import annotations

import pytest

from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.api_versions import ApiVersionsRequest
from oncelog.wire.messages.init_producer_id import InitProducerIdRequest
from tests.support.batches import batch
from tests.support.fixtures import MakeTopic
from tests.support.raw import OpenConnection, RawConnection
from tests.support.speaking import (
    TransactionalProducer,
    init_producer_id,
    last_stable_offset,
    log_end_offset,
    produce,
    settled,
    stored_batches,
)

EVERY_VERSION = range(6)
MAX_TIMEOUT_MS = 900_000
"""Kafka's default for transaction.max.timeout.ms."""


def ask(
    connection: RawConnection, transactional_id: str | None, **options: int
) -> tuple[ErrorCode, int, int]:
    """Error, producer id and epoch; asks again while the broker is busy with the id."""
    answer = settled(
        lambda: init_producer_id(connection, transactional_id, **options),
        lambda answer: int(answer.error_code),
    )
    return ErrorCode(answer.error_code), int(answer.producer_id), int(answer.producer_epoch)


def test_two_phase_commit_is_not_offered(connection: RawConnection) -> None:
    """Version 6 asks for it (KIP-939), which Kafka 4.3 keeps to itself: it is an unstable version there."""
    answer = connection.call(ApiVersionsRequest(client_software_name="tests", client_software_version="1"), 3)
    highest = {each.api_key: each.max_version for each in answer.api_keys}
    assert highest[InitProducerIdRequest.api_key] == max(EVERY_VERSION)


@pytest.mark.parametrize("flags", [b"\1\0", b"\0\1"], ids=["Enable2Pc", "KeepPreparedTxn"])
def test_who_asks_for_two_phase_commit_all_the_same_is_not_answered(
    connection: RawConnection, open_connection: OpenConnection, unique_name: str, flags: bytes
) -> None:
    """No part of it is looked at: the connection is closed, as for any version that is not served."""
    of_version_5 = connection.encode(
        InitProducerIdRequest(transactional_id=unique_name, transaction_timeout_ms=1_000), 5
    )
    frame = bytearray(of_version_5[4:-1] + flags + b"\0")
    frame[2:4] = (6).to_bytes(2, "big")
    connection.send_frame(bytes(frame))
    assert connection.is_closed_by_broker()
    assert ask(open_connection(), unique_name)[::2] == (ErrorCode.NONE, 0), "the id was given to nobody"


@pytest.mark.parametrize("version", EVERY_VERSION)
def test_without_a_transactional_id_every_answer_is_a_new_producer(
    connection: RawConnection, version: int
) -> None:
    answers = [ask(connection, None, version=version) for _ in range(20)]
    assert {(error, epoch) for error, _, epoch in answers} == {(ErrorCode.NONE, 0)}
    assert len({producer_id for _, producer_id, _ in answers}) == 20


def test_an_empty_transactional_id_is_refused(connection: RawConnection) -> None:
    assert ask(connection, "") == (ErrorCode.INVALID_REQUEST, -1, -1)


@pytest.mark.parametrize("timeout_ms", [0, -1, MAX_TIMEOUT_MS + 1, 2**31 - 1])
def test_a_timeout_out_of_bounds_is_refused(
    connection: RawConnection, unique_name: str, timeout_ms: int
) -> None:
    refused = ask(connection, unique_name, timeout_ms=timeout_ms)
    assert refused == (ErrorCode.INVALID_TRANSACTION_TIMEOUT, -1, -1)


@pytest.mark.parametrize("timeout_ms", [1, MAX_TIMEOUT_MS])
def test_a_timeout_at_the_bounds_is_taken(
    connection: RawConnection, unique_name: str, timeout_ms: int
) -> None:
    assert ask(connection, unique_name, timeout_ms=timeout_ms)[0] == ErrorCode.NONE


@pytest.mark.parametrize("version", EVERY_VERSION)
def test_each_start_of_an_id_raises_its_epoch(
    connection: RawConnection, unique_name: str, version: int
) -> None:
    first = ask(connection, unique_name, version=version)
    assert (first[0], first[2]) == (ErrorCode.NONE, 0)
    for epoch in range(1, 4):
        assert ask(connection, unique_name, version=version) == (ErrorCode.NONE, first[1], epoch)


@pytest.mark.parametrize(("producer_id", "epoch"), [(5, -1), (-1, 5)])
def test_producer_id_and_epoch_come_together(
    connection: RawConnection, unique_name: str, producer_id: int, epoch: int
) -> None:
    assert ask(connection, unique_name, producer_id=producer_id, epoch=epoch)[0] == ErrorCode.INVALID_REQUEST


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_producer_that_knows_its_epoch_gets_the_next(
    connection: RawConnection, unique_name: str, version: int
) -> None:
    _, producer_id, _ = ask(connection, unique_name)
    for epoch in range(3):
        answer = ask(connection, unique_name, producer_id=producer_id, epoch=epoch, version=version)
        assert answer == (ErrorCode.NONE, producer_id, epoch + 1)


def test_a_repeated_request_gets_the_same_answer(connection: RawConnection, unique_name: str) -> None:
    """The answer was lost, the client asks again: no second bump, which would fence itself."""
    _, producer_id, _ = ask(connection, unique_name)
    expected = (ErrorCode.NONE, producer_id, 1)
    assert [ask(connection, unique_name, producer_id=producer_id, epoch=0) for _ in range(3)] == [
        expected
    ] * 3
    assert ask(connection, unique_name, producer_id=producer_id, epoch=1) == (ErrorCode.NONE, producer_id, 2)


@pytest.mark.parametrize(
    ("version", "error"), [(3, ErrorCode.INVALID_PRODUCER_EPOCH), (4, ErrorCode.PRODUCER_FENCED)]
)
def test_a_stale_epoch_is_fenced(
    connection: RawConnection, unique_name: str, version: int, error: ErrorCode
) -> None:
    _, producer_id, _ = ask(connection, unique_name)
    for _ in range(3):
        ask(connection, unique_name)
    stale = ask(connection, unique_name, producer_id=producer_id, epoch=0, version=version)
    assert stale == (error, -1, -1)
    ahead = ask(connection, unique_name, producer_id=producer_id, epoch=9, version=version)
    assert ahead == (error, -1, -1)
    assert ask(connection, unique_name, producer_id=producer_id, epoch=3)[2] == 4, (
        "the refused changed nothing"
    )


def test_another_producers_id_is_fenced(connection: RawConnection, unique_name: str) -> None:
    _, producer_id, _ = ask(connection, unique_name)
    assert ask(connection, unique_name, producer_id=producer_id + 1, epoch=0)[0] == ErrorCode.PRODUCER_FENCED


def test_an_id_that_was_forgotten_starts_anew(connection: RawConnection, unique_name: str) -> None:
    """The producer still knows its id and epoch, the broker no longer does: it gets new ones."""
    error, producer_id, epoch = ask(connection, unique_name, producer_id=123_456_789, epoch=7)
    assert (error, epoch) == (ErrorCode.NONE, 0)
    assert producer_id != 123_456_789


def test_producers_of_different_ids_have_different_producer_ids(
    connection: RawConnection, unique_name: str
) -> None:
    producer_ids = [ask(connection, f"{unique_name}-{number}")[1] for number in range(5)]
    assert len(set(producer_ids)) == 5


# -- while a transaction is open --


def test_an_open_transaction_is_aborted_by_its_successor(
    open_connection: OpenConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    zombie = TransactionalProducer(open_connection(), unique_name)
    assert zombie.add(topic) == 0
    assert zombie.produce(topic, [b"zombie"]).error_code == 0
    other = open_connection()
    assert ask(other, unique_name) == (ErrorCode.NONE, zombie.producer_id, zombie.epoch + 2)
    assert last_stable_offset(other, topic) == log_end_offset(other, topic) == 2
    marker = stored_batches(other, topic)[1][0]
    assert marker.is_control
    assert (marker.producer_id, marker.producer_epoch) == (zombie.producer_id, zombie.epoch + 1)


@pytest.mark.deliberate_difference("Kafka answers CONCURRENT_TRANSACTIONS first, and the client asks again")
def test_the_successor_of_an_open_transaction_is_answered_at_once(
    open_connection: OpenConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    zombie = TransactionalProducer(open_connection(), unique_name)
    zombie.add(topic)
    zombie.produce(topic)
    answer = init_producer_id(open_connection(), unique_name)
    assert (answer.error_code, answer.producer_epoch) == (ErrorCode.NONE, zombie.epoch + 2)


@pytest.mark.deliberate_difference("Kafka aborts the transaction before it looks at what the sender expects")
def test_a_stale_sender_aborts_nothing(
    open_connection: OpenConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    other = open_connection()
    stale_id = ask(other, unique_name)[1]
    current = TransactionalProducer(open_connection(), unique_name)
    for _ in range(2):
        current = TransactionalProducer(current.connection, unique_name)
    current.add(topic)
    current.produce(topic)
    refused = init_producer_id(other, unique_name, producer_id=stale_id, epoch=0)
    assert refused.error_code == ErrorCode.PRODUCER_FENCED
    assert current.produce(topic).error_code == 0
    assert current.end(True, version=3).error_code == 0


def test_a_producer_may_abort_its_own_transaction_by_starting_again(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    producer.add(topic)
    producer.produce(topic)
    error, producer_id, epoch = ask(
        connection, unique_name, producer_id=producer.producer_id, epoch=producer.epoch
    )
    # Kafka's first answer is CONCURRENT_TRANSACTIONS and raises the epoch; to the second request it tells
    # that one, or says that the sender's is old.
    if error == ErrorCode.PRODUCER_FENCED:
        error, producer_id, epoch = ask(connection, unique_name)
    assert (error, producer_id) == (ErrorCode.NONE, producer.producer_id)
    assert epoch > producer.epoch
    assert last_stable_offset(connection, topic) == 2


@pytest.mark.parametrize("version", [3, 7, 11, 12])
def test_the_fenced_producer_gets_nothing_through(
    open_connection: OpenConnection, make_topic: MakeTopic, unique_name: str, version: int
) -> None:
    """Law 4: in any partition, also in one that the transaction never touched."""
    topic = make_topic(partitions=2)
    zombie = TransactionalProducer(open_connection(), unique_name)
    zombie.add(topic)
    zombie.produce(topic)
    other = open_connection()
    ask(other, unique_name)
    for partition in (0, 1):
        refused = zombie.produce(topic, partition=partition, version=version)
        assert refused.error_code == ErrorCode.INVALID_PRODUCER_EPOCH
    assert log_end_offset(other, topic, 1) == 0
    assert zombie.add(topic, [1], version=3) == ErrorCode.PRODUCER_FENCED
    assert zombie.add(topic, [1], version=1) == ErrorCode.INVALID_PRODUCER_EPOCH
    assert zombie.add_offsets("some group") == ErrorCode.PRODUCER_FENCED
    assert zombie.end(True, version=3).error_code == ErrorCode.PRODUCER_FENCED
    assert zombie.end(True, version=1).error_code == ErrorCode.INVALID_PRODUCER_EPOCH
    assert zombie.end(True, version=5).error_code == ErrorCode.PRODUCER_FENCED


@pytest.mark.deliberate_difference(
    "Kafka fences per partition: one that the successor has not reached yet takes the zombie's records"
)
def test_a_zombie_without_transaction_is_fenced_in_every_partition(
    open_connection: OpenConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    zombie = TransactionalProducer(open_connection(), unique_name)
    other = open_connection()
    ask(other, unique_name)
    plain = batch([b"zombie"], producer_id=zombie.producer_id, epoch=zombie.epoch, sequence=0)
    assert produce(other, topic, plain).error_code == ErrorCode.INVALID_PRODUCER_EPOCH


# -- the end of the epochs --


@pytest.mark.slow
def test_when_the_epochs_are_used_up_the_producer_id_changes(
    connection: RawConnection, unique_name: str
) -> None:
    """32767 is never given to a client; a retry of the request that changed the id gets the same new id."""
    error, producer_id, epoch = ask(connection, unique_name)
    while epoch < 32766:
        error, answered_id, answered = ask(connection, unique_name, producer_id=producer_id, epoch=epoch)
        assert (error, answered_id, answered) == (ErrorCode.NONE, producer_id, epoch + 1)
        epoch = answered
    rotated = ask(connection, unique_name, producer_id=producer_id, epoch=32766)
    assert (rotated[0], rotated[2]) == (ErrorCode.NONE, 0)
    assert rotated[1] != producer_id
    assert ask(connection, unique_name, producer_id=producer_id, epoch=32766) == rotated
    assert ask(connection, unique_name, producer_id=producer_id, epoch=5)[0] == ErrorCode.PRODUCER_FENCED
