"""What happens between two durable entries: fetches that are woken twice, groups that change while they wait.

Found by review; each test is one sequence of events that no client makes on purpose.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from oncelog.wire.messages.delete_topics import DeleteTopicsRequest
from oncelog.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from tests.broker.asking import create_topic
from tests.support.batches import batch
from tests.support.one_process import Client, OneProcess, one_process
from tests.support.speaking import produce_request

UNKNOWN_TOPIC_ID = 100


@pytest.fixture
def process() -> Iterator[OneProcess]:
    with one_process() as made:
        yield made
        assert made.errors == []
        assert made.failures == []


def made_topics(client: Client, *names: str) -> list[bytes]:
    """Their ids."""
    created = [client.call(create_topic(name), 7).topics[0] for name in names]
    assert [topic.error_code for topic in created] == [0] * len(names)
    return [bytes(topic.topic_id) for topic in created]


def fetch_each(topic_ids: Sequence[bytes], max_wait_ms: int) -> FetchRequest:
    topics = [
        FetchTopic(
            topic_id=topic_id,
            partitions=[FetchPartition(partition=0, fetch_offset=0, partition_max_bytes=1 << 20)],
        )
        for topic_id in topic_ids
    ]
    return FetchRequest(max_wait_ms=max_wait_ms, min_bytes=1 << 20, max_bytes=1 << 20, topics=topics)


def test_a_fetch_that_waits_for_durability_is_answered_once(process: OneProcess) -> None:
    """Its time is up while the deletion that it has seen is on its way to the disk."""
    client = process.connect()
    topic_ids = made_topics(client, "gone", "stays")
    reader = process.connect()
    process.journal.hold()
    reader.send(fetch_each(topic_ids, max_wait_ms=500), 13)
    assert reader.answers() == []
    client.send(produce_request([("stays", 0, batch([b"one"]))]), 11)
    process.settle()
    client.send(DeleteTopicsRequest(topic_names=["gone"], timeout_ms=1000), 5)
    process.settle()
    process.confirm()
    process.advance(0.6)
    process.journal.is_cold = True
    process.reads.is_holding = True
    process.confirm()
    assert len(process.reads.jobs) == 1
    process.reads.let_go()
    (answer,) = reader.answers()
    assert [topic.partitions[0].error_code for topic in answer.responses] == [UNKNOWN_TOPIC_ID, 0]
