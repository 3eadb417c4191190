"""What meets while an entry is on its way to the disk: commits, what fences or times them out, readers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.end_txn import EndTxnRequest
from oncelog.wire.messages.init_producer_id import InitProducerIdRequest
from tests.broker.test_housekeeping import client_with_topic
from tests.support.batches import batch
from tests.support.one_process import OneProcess, one_process
from tests.support.speaking import (
    TransactionalProducer,
    batches_in,
    fetch,
    last_stable_offset,
    produce_request,
    stored_batches,
)

TOPIC = "t"


@pytest.fixture
def process() -> Iterator[OneProcess]:
    with one_process() as process:
        process.let_go()
        yield process
        assert process.errors == []
        assert process.failures == []


def end_request(producer: TransactionalProducer, *, commit: bool) -> EndTxnRequest:
    return EndTxnRequest(
        transactional_id=producer.transactional_id,
        producer_id=producer.producer_id,
        producer_epoch=producer.epoch,
        committed=commit,
    )


def controls(client: Any) -> list[bool]:
    return [header.is_control for header, _ in stored_batches(client, TOPIC)]


@pytest.mark.parametrize("version", [4, 5])
def test_a_successor_that_comes_while_a_commit_is_in_flight(process: OneProcess, version: int) -> None:
    """The commit was decided first and stands; the successor finds nothing to abort."""
    client, other = client_with_topic(process), process.connect()
    producer = TransactionalProducer(client, "id")  # type: ignore[arg-type]
    producer.add(TOPIC)
    producer.produce(TOPIC)
    process.journal.hold()
    client.send(end_request(producer, commit=True), version)
    other.send(InitProducerIdRequest(transactional_id="id", transaction_timeout_ms=60_000), 4)
    assert client.answers() == other.answers() == [], "neither is durable"
    process.let_go()
    (ended,), (given,) = client.answers(), other.answers()
    assert (ended.error_code, given.error_code) == (0, 0)
    assert given.producer_epoch == producer.epoch + (1 if version < 5 else 2)
    assert list(fetch(other, TOPIC, read_committed=True).aborted_transactions) == []  # type: ignore[arg-type]
    assert controls(other) == [False, True]


@pytest.mark.parametrize("version", [4, 5])
def test_a_commit_that_comes_while_its_successor_is_in_flight(process: OneProcess, version: int) -> None:
    client, other = client_with_topic(process), process.connect()
    producer = TransactionalProducer(client, "id")  # type: ignore[arg-type]
    producer.add(TOPIC)
    producer.produce(TOPIC)
    process.journal.hold()
    other.send(InitProducerIdRequest(transactional_id="id", transaction_timeout_ms=60_000), 4)
    process.settle()
    client.send(end_request(producer, commit=True), version)
    assert client.answers() == other.answers() == []
    process.let_go()
    (ended,), (given,) = client.answers(), other.answers()
    assert (ended.error_code, given.error_code) == (ErrorCode.PRODUCER_FENCED, 0)
    assert given.producer_epoch == producer.epoch + 2
    found = fetch(other, TOPIC, read_committed=True)  # type: ignore[arg-type]
    assert [each.first_offset for each in found.aborted_transactions] == [0]
    assert controls(other) == [False, True]


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("is_late", [True, False], ids=["late", "in time"])
def test_a_commit_that_races_the_timeout(process: OneProcess, version: int, is_late: bool) -> None:
    """Whichever was decided first counts; a late commit is told that it is fenced (KAFKA-20785)."""
    client = client_with_topic(process)
    producer = TransactionalProducer(client, "id", timeout_ms=1_000)  # type: ignore[arg-type]
    producer.add(TOPIC)
    producer.produce(TOPIC)
    process.journal.hold()
    if is_late:
        process.advance(1.5)
    client.send(end_request(producer, commit=True), version)
    process.advance(1.5)
    process.let_go()
    (ended,) = client.answers()
    assert ended.error_code == (ErrorCode.PRODUCER_FENCED if is_late else 0)
    aborted = fetch(client, TOPIC, read_committed=True).aborted_transactions  # type: ignore[arg-type]
    assert [each.first_offset for each in aborted] == ([0] if is_late else [])
    assert controls(client) == [False, True]


def test_a_reader_at_the_last_stable_offset_where_a_transaction_begins_in_the_same_entry(
    process: OneProcess,
) -> None:
    """The first record of the open transaction is not one that the reader may have."""
    client, reader = client_with_topic(process), process.connect()
    producer = TransactionalProducer(client, "id")  # type: ignore[arg-type]
    process.journal.hold()
    client.send(produce_request([(TOPIC, 0, batch([b"a", b"b"]))]), 11)
    records = producer.batch(TOPIC, [b"open"])
    client.send(produce_request([(TOPIC, 0, records)], transactional_id="id"), 12)
    client.send(produce_request([(TOPIC, 0, batch([b"behind"]))]), 11)
    assert client.answers() == []
    process.let_go()
    assert len(client.answers()) == 3
    for offset, expected in [(0, [0]), (1, [0]), (2, []), (3, []), (4, [])]:
        found = fetch(reader, TOPIC, offset, read_committed=True)  # type: ignore[arg-type]
        assert (found.error_code, found.last_stable_offset, found.high_watermark) == (0, 2, 4)
        assert [header.base_offset for header, _ in batches_in(found.records)] == expected
    assert last_stable_offset(reader, TOPIC) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("commit", [True, False], ids=["commit", "abort"])
def test_an_empty_transaction_and_one_of_offsets_only(
    process: OneProcess, version: int, commit: bool
) -> None:
    """Kafka Streams does both; neither may hold up what follows, nor be refused (KIP-890's empty commits)."""
    client = client_with_topic(process)
    producer = TransactionalProducer(client, "id")  # type: ignore[arg-type]
    for number in range(3):
        assert producer.add(TOPIC) == 0
        assert producer.end(commit, version=version).error_code == 0
        assert producer.add_offsets("g") == 0
        assert producer.commit_offset("g", TOPIC, number) == 0
        assert producer.end(commit, version=version).error_code == 0
        assert producer.add_offsets("g") == 0
        assert producer.end(commit, version=version).error_code == 0
    assert controls(client) == [True] * 3
    found = fetch(client, TOPIC, read_committed=True)  # type: ignore[arg-type]
    assert list(found.aborted_transactions) == []
    assert found.last_stable_offset == found.high_watermark == 3
    offsets = process.broker.state.groups["g"].offsets if "g" in process.broker.state.groups else {}
    assert [each.offset for each in offsets.values()] == ([2] if commit else [])
