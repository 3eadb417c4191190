"""Second-generation requests that come late: none reaches into the transaction after its own (KIP-890).

Each kind of request of one transaction is kept back, or was delivered already and comes a second time,
when the next transaction is under way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from oncelog.wire.errors import ErrorCode
from tests.support.batches import batch
from tests.support.fixtures import MakeTopic
from tests.support.raw import RawConnection
from tests.support.speaking import (
    TransactionalProducer,
    batches_in,
    committed_offset,
    fetch,
    last_stable_offset,
    log_end_offset,
    produce,
)
from tests.support.waiting import wait_for

Late = Callable[[TransactionalProducer, str, int, int], int]
"""Sends a request of an earlier transaction: producer, topic, its producer id and epoch then. The error."""


def late_produce(producer: TransactionalProducer, topic: str, producer_id: int, epoch: int) -> int:
    records = batch([b"late"], producer_id=producer_id, epoch=epoch, sequence=1, transactional=True)
    answer = produce(
        producer.connection, topic, records, version=12, transactional_id=producer.transactional_id
    )
    return int(answer.error_code)


def late_first_produce(producer: TransactionalProducer, topic: str, producer_id: int, epoch: int) -> int:
    """The one that was stored: a duplicate of it is no duplicate any more, its epoch is over."""
    records = batch([b"1"], producer_id=producer_id, epoch=epoch, sequence=0, transactional=True)
    answer = produce(
        producer.connection, topic, records, version=12, transactional_id=producer.transactional_id
    )
    return int(answer.error_code)


def late_offsets(producer: TransactionalProducer, topic: str, _producer_id: int, epoch: int) -> int:
    return producer.commit_offset(producer.transactional_id, topic, 99, version=5, epoch=epoch)


def late_partitions(producer: TransactionalProducer, topic: str, _producer_id: int, epoch: int) -> int:
    return producer.add(topic, epoch=epoch)


def late_end(commit: bool) -> Late:
    def end(producer: TransactionalProducer, _topic: str, producer_id: int, epoch: int) -> int:
        answer: Any = producer.end(commit, version=5, producer_id=producer_id, epoch=epoch)
        return int(answer.error_code)

    return end


LATE: dict[str, Late] = {
    "Produce": late_produce,
    "Produce again": late_first_produce,
    "TxnOffsetCommit": late_offsets,
    "AddPartitionsToTxn": late_partitions,
    "EndTxn to commit": late_end(True),
    "EndTxn to abort": late_end(False),
}
FENCED = {ErrorCode.INVALID_PRODUCER_EPOCH, ErrorCode.PRODUCER_FENCED}


@pytest.mark.parametrize("kind", LATE)
@pytest.mark.parametrize("is_open", [True, False], ids=["next one open", "none open"])
@pytest.mark.parametrize("first_commits", [True, False], ids=["commit", "abort"])
def test_a_late_request_does_not_reach_the_next_transaction(
    connection: RawConnection,
    make_topic: MakeTopic,
    unique_name: str,
    kind: str,
    is_open: bool,
    first_commits: bool,
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    before = (producer.producer_id, producer.epoch)
    assert producer.produce(topic, [b"1"], version=12).error_code == 0
    assert producer.end(first_commits, version=5).error_code == 0
    wait_for(lambda: last_stable_offset(connection, topic) == 2, "the marker")
    if is_open:
        assert producer.produce(topic, [b"2"], version=12).error_code == 0
    now = (producer.producer_id, producer.epoch)
    error = LATE[kind](producer, topic, *before)
    is_a_retry = not is_open and kind == f"EndTxn to {'commit' if first_commits else 'abort'}"
    if is_a_retry:
        assert error == 0
    elif kind.startswith("EndTxn") and not is_open:
        assert error == ErrorCode.INVALID_TXN_STATE
    else:
        assert error in FENCED
    producer.producer_id, producer.epoch = now
    if is_open:
        assert last_stable_offset(connection, topic) == 2, "still open, whatever came late"
        assert producer.end(True, version=5).error_code == 0
    wait_for(lambda: last_stable_offset(connection, topic) == log_end_offset(connection, topic), "all ends")
    found = fetch(connection, topic, read_committed=True)
    stored = [header.is_control for header, _ in batches_in(found.records)]
    assert stored == [False, True] * (2 if is_open else 1)
    assert [each.first_offset for each in found.aborted_transactions] == ([] if first_commits else [0])
    assert committed_offset(connection, unique_name, topic, require_stable=True) == (-1, "", 0)
