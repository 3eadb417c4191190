"""What one answer about producers and transactions holds at most, however much a request names."""

from __future__ import annotations

from typing import Any

import pytest

from oncelog.broker.api import describe_producers, describe_transactions
from oncelog.machine.commands import (
    AddOffsetsToTxn,
    AddPartitionsToTxn,
    InitProducerId,
    Produce,
    ProduceBatch,
)
from oncelog.machine.internal_topics import partition_of
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.describe_producers import DescribeProducersRequest, TopicRequest
from oncelog.wire.messages.describe_transactions import DescribeTransactionsRequest
from oncelog.wire.records import parse_batch_header
from tests.broker.fake_context import FakeBroker
from tests.support.batches import batch

TOO_MUCH = ErrorCode.POLICY_VIOLATION
HERE = ("client", "/127.0.0.1")


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker()


def produce(broker: FakeBroker, topic: str, partition: int, *, transactional_id: str | None = None) -> int:
    """One batch of a new producer; its producer id."""
    made = broker.engine.execute(InitProducerId(transactional_id, 60_000, -1, -1, *HERE))
    records = batch(
        producer_id=made.producer_id,
        epoch=0,
        sequence=0,
        transactional=transactional_id is not None,
        timestamps_ms=[1_700_000_000_000],
    )
    one = ProduceBatch(broker.topic(topic).id, partition, parse_batch_header(records), len(records))
    (result,) = broker.engine.execute(Produce(transactional_id, (one,), 12, *HERE))
    assert result.appended, result
    return int(made.producer_id)


def described(broker: FakeBroker, *partitions: int) -> list[tuple[int, list[int]]]:
    asked = DescribeProducersRequest(topics=[TopicRequest(name="t", partition_indexes=list(partitions))])
    (topic,) = broker.ask(asked, 0).topics
    return [
        (each.error_code, [producer.producer_id for producer in each.active_producers])
        for each in topic.partitions
    ]


def test_an_answer_tells_of_so_many_producers(broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describe_producers, "PRODUCERS_MAX", 3)
    broker.create("t", partitions=2)
    first = [produce(broker, "t", 0), produce(broker, "t", 0)]
    second = [produce(broker, "t", 1), produce(broker, "t", 1, transactional_id="open")]
    assert described(broker, 0) == [(0, first)]
    assert described(broker, 0, 1) == [(0, first), (TOO_MUCH, second[1:])]
    assert described(broker, 0, 1, 1) == [(0, first), (TOO_MUCH, second[1:]), (TOO_MUCH, [])]
    assert described(broker, 1, 0) == [(0, second), (TOO_MUCH, [])]


def transactions(broker: FakeBroker, *names: str) -> list[tuple[str, int]]:
    answer: Any = broker.ask(DescribeTransactionsRequest(transactional_ids=list(names)), 0)
    return [(each.transactional_id, each.error_code) for each in answer.transaction_states]


@pytest.mark.parametrize("has_groups", [False, True])
def test_an_answer_names_so_many_partitions_and_groups(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch, has_groups: bool
) -> None:
    monkeypatch.setattr(describe_transactions, "SIZE_MAX", 30)
    topic = broker.create("t", partitions=2)
    for name in ("a", "b"):
        made = broker.engine.execute(InitProducerId(name, 60_000, -1, -1, *HERE))
        sender = (name, made.producer_id, made.producer_epoch)
        if has_groups:
            for group in ("g", "h"):
                broker.engine.execute(AddOffsetsToTxn(*sender, group, *HERE))
        else:
            both = ((topic.id, 0), (topic.id, 1))
            broker.engine.execute(AddPartitionsToTxn(*sender, both, False, *HERE))
    assert transactions(broker, "a") == [("a", 0)]
    assert transactions(broker, "a", "b") == [("a", 0), ("b", TOO_MUCH)]
    assert transactions(broker, "a", "a", "a") == [("a", 0)], "each once"


@pytest.mark.parametrize(
    ("group", "partition"),
    [
        ("", 0),
        ("a", 97 % 50),
        ("ab", (97 * 31 + 98) % 50),
        ("polygenelubricants", 0),
        ("\U0001f600", 1772899 % 50),
    ],
)
def test_groups_are_where_java_would_have_them(group: str, partition: int) -> None:
    """The hash of "polygenelubricants" is the one int whose negative is itself; Kafka takes 0 for it."""
    assert partition_of(group) == partition
