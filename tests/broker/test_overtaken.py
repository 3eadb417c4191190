"""First-generation requests that come late on a connection which their producer has left."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from oncelog.broker.overtaken import Kind, Overtaken
from oncelog.wire.definition import Message
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.add_offsets_to_txn import AddOffsetsToTxnRequest
from oncelog.wire.messages.add_partitions_to_txn import AddPartitionsToTxnRequest, AddPartitionsToTxnTopic
from oncelog.wire.messages.end_txn import EndTxnRequest
from oncelog.wire.messages.txn_offset_commit import (
    TxnOffsetCommitRequest,
    TxnOffsetCommitRequestPartition,
    TxnOffsetCommitRequestTopic,
)
from tests.broker.test_housekeeping import client_with_topic
from tests.support.batches import batch
from tests.support.one_process import Client, OneProcess, one_process
from tests.support.speaking import (
    TransactionalProducer,
    committed_offset,
    fetch,
    init_producer_id,
    last_stable_offset,
    log_end_offset,
    produce_request,
    stored_batches,
)

TOPIC, GROUP = "t", "g"
Late = Callable[[TransactionalProducer], tuple[Message, int]]
"""A request of the first transaction, and its version."""


@pytest.fixture
def process() -> Iterator[OneProcess]:
    with one_process() as process:
        process.let_go()
        yield process
        assert process.errors == []
        assert process.failures == []


def late_end(commit: bool) -> Late:
    return lambda producer: (
        EndTxnRequest(
            transactional_id=producer.transactional_id,
            producer_id=producer.producer_id,
            producer_epoch=producer.epoch,
            committed=commit,
        ),
        4,
    )


def late_partitions(producer: TransactionalProducer) -> tuple[Message, int]:
    request = AddPartitionsToTxnRequest(
        v3_and_below_transactional_id=producer.transactional_id,
        v3_and_below_producer_id=producer.producer_id,
        v3_and_below_producer_epoch=producer.epoch,
        v3_and_below_topics=[AddPartitionsToTxnTopic(name=TOPIC, partitions=[0, 1])],
    )
    return request, 3


def late_group(producer: TransactionalProducer) -> tuple[Message, int]:
    request = AddOffsetsToTxnRequest(
        transactional_id=producer.transactional_id,
        producer_id=producer.producer_id,
        producer_epoch=producer.epoch,
        group_id=GROUP,
    )
    return request, 3


def late_offsets(producer: TransactionalProducer) -> tuple[Message, int]:
    partition = TxnOffsetCommitRequestPartition(partition_index=0, committed_offset=99, committed_metadata="")
    request = TxnOffsetCommitRequest(
        transactional_id=producer.transactional_id,
        group_id=GROUP,
        producer_id=producer.producer_id,
        producer_epoch=producer.epoch,
        topics=[TxnOffsetCommitRequestTopic(name=TOPIC, partitions=[partition])],
    )
    return request, 3


def late_record(producer: TransactionalProducer) -> tuple[Message, int]:
    """With the sequence that is due next, so that nothing else keeps it out."""
    records = batch(
        [b"late"],
        producer_id=producer.producer_id,
        epoch=producer.epoch,
        sequence=producer.sequences[TOPIC, 0],
        transactional=True,
    )
    return produce_request([(TOPIC, 0, records)], transactional_id=producer.transactional_id), 11


LATE: dict[str, Late] = {
    "EndTxn to commit": late_end(True),
    "EndTxn to abort": late_end(False),
    "AddPartitionsToTxn": late_partitions,
    "AddOffsetsToTxn": late_group,
    "TxnOffsetCommit": late_offsets,
    "Produce": late_record,
}


def one_transaction(producer: TransactionalProducer, *, is_left_open: bool = False) -> None:
    assert producer.add(TOPIC) == 0
    assert producer.produce(TOPIC).error_code == 0
    assert producer.add_offsets(GROUP) == 0
    assert producer.commit_offset(GROUP, TOPIC, 5) == 0
    if not is_left_open:
        assert producer.end(True, version=4).error_code == 0


@pytest.mark.parametrize("kind", LATE)
@pytest.mark.parametrize("is_open", [True, False], ids=["next one open", "none open"])
def test_what_was_left_on_an_older_connection_is_not_executed(
    process: OneProcess, kind: str, is_open: bool
) -> None:
    old = client_with_topic(process, partitions=2)
    producer = TransactionalProducer(old, "id")  # type: ignore[arg-type]
    one_transaction(producer)
    new = producer.connection = process.connect()  # type: ignore[assignment]
    one_transaction(producer)
    if is_open:
        one_transaction(producer, is_left_open=True)
    ends = log_end_offset(new, TOPIC), last_stable_offset(new, TOPIC)
    request, version = LATE[kind](producer)
    old.send(request, version)
    assert old.is_closed
    assert (log_end_offset(new, TOPIC), last_stable_offset(new, TOPIC)) == ends
    assert last_stable_offset(new, TOPIC, 1) == 0
    assert committed_offset(new, GROUP, TOPIC).offset == 5
    if is_open:
        assert producer.end(True, version=4).error_code == 0
        assert committed_offset(new, GROUP, TOPIC).offset == 5
    controls = [header.is_control for header, _ in stored_batches(new, TOPIC)]
    assert controls == [False, True] * (3 if is_open else 2)
    assert list(fetch(new, TOPIC, read_committed=True).aborted_transactions) == []


def test_each_kind_of_request_has_its_own_newest_connection(process: OneProcess) -> None:
    """Clients keep one connection for records and another for the coordinator, opened in any order."""
    coordinator = client_with_topic(process)
    leader = process.connect()
    producer = TransactionalProducer(coordinator, "id")  # type: ignore[arg-type]
    for _ in range(3):
        assert producer.add(TOPIC) == 0
        producer.connection = leader  # type: ignore[assignment]
        assert producer.produce(TOPIC).error_code == 0
        producer.connection = coordinator  # type: ignore[assignment]
        assert producer.end(True, version=4).error_code == 0
    assert not coordinator.is_closed
    assert not leader.is_closed


def test_who_is_fenced_is_told_so_on_any_connection(process: OneProcess) -> None:
    old = client_with_topic(process)
    zombie = TransactionalProducer(old, "id")  # type: ignore[arg-type]
    one_transaction(zombie, is_left_open=True)
    successor = TransactionalProducer(process.connect(), "id")  # type: ignore[arg-type]
    one_transaction(successor)
    assert zombie.end(True, version=4).error_code == ErrorCode.PRODUCER_FENCED
    assert zombie.add(TOPIC) == ErrorCode.PRODUCER_FENCED
    assert zombie.produce(TOPIC).error_code == ErrorCode.INVALID_PRODUCER_EPOCH
    assert not old.is_closed


def test_a_request_that_was_refused_on_a_newer_connection_overtakes_nobody(process: OneProcess) -> None:
    old = client_with_topic(process)
    producer = TransactionalProducer(old, "id")  # type: ignore[arg-type]
    new = process.connect()
    producer.connection = new  # type: ignore[assignment]
    assert producer.end(True, version=4).error_code == ErrorCode.INVALID_TXN_STATE
    assert producer.produce(TOPIC).error_code == ErrorCode.TRANSACTION_ABORTABLE
    producer.sequences.clear()
    producer.connection = old  # type: ignore[assignment]
    one_transaction(producer)
    assert not old.is_closed


@pytest.mark.parametrize("make", [late_partitions, late_offsets])
def test_a_request_about_nothing_overtakes_nobody(process: OneProcess, make: Late) -> None:
    """Nothing was checked of it, whoever sent it."""
    old = client_with_topic(process)
    producer = TransactionalProducer(old, "id")  # type: ignore[arg-type]
    request, version = make(producer)
    for topics in ("v3_and_below_topics", "topics"):
        if hasattr(request, topics):
            setattr(request, topics, [])
    process.connect().call(request, version)
    one_transaction(producer)
    assert not old.is_closed


def test_the_second_generation_needs_no_such_guard(process: OneProcess) -> None:
    """Each of its transactions has its own epoch; its connections may take turns."""
    old = client_with_topic(process)
    producer = TransactionalProducer(old, "id")  # type: ignore[arg-type]
    clients: list[Client] = [old, process.connect()]
    for number in range(4):
        producer.connection = clients[number % 2]  # type: ignore[assignment]
        assert producer.produce(TOPIC, version=12).error_code == 0
        assert producer.end(True, version=5).error_code == 0
    assert not any(client.is_closed for client in clients)


def test_only_so_many_producers_are_known(process: OneProcess) -> None:
    overtaken = Overtaken(producers_max=2)
    context = FakeContext(process, 7)
    for producer_id in (1, 2, 3):
        overtaken.spoke(context, Kind.END, (producer_id, 0))  # type: ignore[arg-type]
    older = FakeContext(process, 6)
    told = [overtaken.closes(older, Kind.END, (producer_id, 0)) for producer_id in (1, 2, 3)]  # type: ignore[arg-type]
    assert told == [False, True, True]
    assert older.closed == 2
    assert init_producer_id(process.connect(), None).error_code == 0  # type: ignore[arg-type]


class FakeContext:
    """A connection of this id."""

    def __init__(self, process: OneProcess, connection_id: int) -> None:
        self.broker = self
        self.connection = self
        self.id = connection_id
        self.closed = 0
        self.process = process

    def close_connection(self, _context: object, _reason: str) -> None:
        self.closed += 1
