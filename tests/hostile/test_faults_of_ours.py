"""An error of our own while a request is served ends that connection, with one log line, and nothing else.

Errors are put into handlers, decoders and the places that act later; lack of memory and of stack among them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from oncelog.broker import fetching
from oncelog.broker.api import list_offsets
from oncelog.broker.connection import Connection
from oncelog.wire.messages.api_versions import ApiVersionsRequest
from oncelog.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from oncelog.wire.messages.list_offsets import ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic
from oncelog.wire.messages.metadata import MetadataRequest
from oncelog.wire.messages.produce import ProduceRequest
from tests.support.batches import batch
from tests.support.one_process import Client, OneProcess, one_process
from tests.support.speaking import fetch_request, produce_request

ERRORS = [
    MemoryError(),
    RecursionError("too deep"),
    ZeroDivisionError("a mistake"),
    AssertionError("a mistake"),
]
METADATA, LIST_OFFSETS = 3, 2
TOPIC = "topic"


@pytest.fixture
def process() -> Iterator[OneProcess]:
    with one_process() as made:
        topics = [CreatableTopic(name=TOPIC, num_partitions=1, replication_factor=1)]
        made.connect().call(CreateTopicsRequest(topics=topics, timeout_ms=1000), 5)
        yield made


def raising(error: Exception) -> Any:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def served(client: Client) -> bool:
    return bool(client.call(ApiVersionsRequest(), 0).error_code == 0)


def produce_one() -> ProduceRequest:
    return produce_request([(TOPIC, 0, batch())])


def faults(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if "an error of ours" in record.getMessage()]


def ends_alone(process: OneProcess, bad: Client, good: Client, caplog: pytest.LogCaptureFixture) -> None:
    """`bad` is closed with one line and its traceback; `good` and the broker go on."""
    assert bad.is_closed
    (line,) = faults(caplog)
    assert line.exc_info is not None
    assert served(good)
    assert good.call(produce_one(), 11).responses[0].partition_responses[0].error_code == 0
    assert process.failures == []
    assert process.errors == []


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("place", ["decode", "handle"])
def test_in_a_decoder_or_handler(
    process: OneProcess, caplog: pytest.LogCaptureFixture, place: str, error: Exception
) -> None:
    good, bad = process.connect(), process.connect()
    route = process.broker.registry.routes[METADATA]
    right = getattr(route, place)
    setattr(route, place, raising(error))
    bad.send(MetadataRequest(topics=None), 12)
    assert bad.is_closed
    setattr(route, place, right)
    ends_alone(process, bad, good, caplog)


def test_in_splitting_frames(
    process: OneProcess, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = process.connect(), process.connect()
    with monkeypatch.context() as broken:
        broken.setattr(Connection, "_split_frames", raising(MemoryError()))
        bad.send(MetadataRequest(topics=None), 12)
        assert bad.is_closed
    ends_alone(process, bad, good, caplog)


def test_in_an_answer_that_cannot_be_encoded(process: OneProcess, caplog: pytest.LogCaptureFixture) -> None:
    good, bad = process.connect(), process.connect()
    route = process.broker.registry.routes[METADATA]
    right, route.handle = route.handle, lambda _context, _request: "no message at all"
    bad.send(MetadataRequest(topics=None), 12)
    assert bad.is_closed
    route.handle = right
    ends_alone(process, bad, good, caplog)


def test_in_a_fetch_that_is_woken_with_others(
    process: OneProcess, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others that the same entry wakes are answered, and so is the producer."""
    bad, waiting, good = process.connect(), process.connect(), process.connect()
    for client in (bad, waiting):
        client.send(fetch_request(TOPIC, 0, max_wait_ms=60_000), 11)
        assert client.answers() == []
    right = fetching.plan_fetch
    calls = []

    def fails_once(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 1:
            raise ZeroDivisionError("a mistake")
        return right(*arguments)

    monkeypatch.setattr(fetching, "plan_fetch", fails_once)
    assert good.call(produce_one(), 11).responses[0].partition_responses[0].error_code == 0
    assert len(waiting.answers()) == 1
    ends_alone(process, bad, good, caplog)


def test_in_a_read_that_comes_back_later(
    process: OneProcess, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = process.connect(), process.connect()
    good.call(produce_one(), 11)
    process.journal.is_cold = True
    process.reads.is_holding = True
    wanted = [ListOffsetsPartition(partition_index=0, timestamp=1)]
    request = ListOffsetsRequest(replica_id=-1, topics=[ListOffsetsTopic(name=TOPIC, partitions=wanted)])
    bad.send(request, 7)
    assert bad.answers() == []
    with monkeypatch.context() as broken:
        broken.setattr(list_offsets, "_pick_record", raising(ZeroDivisionError("a mistake")))
        process.reads.let_go()
        assert bad.is_closed
    process.journal.is_cold = False
    ends_alone(process, bad, good, caplog)


def test_in_writing(
    process: OneProcess, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others that are written to in the same turn get their answers."""
    bad, good = process.connect(), process.connect()
    monkeypatch.setattr(bad.transport, "write", raising(MemoryError()))
    bad.send(ApiVersionsRequest(), 0)
    good.send(ApiVersionsRequest(), 0)
    assert len(good.answers()) == 1
    ends_alone(process, bad, good, caplog)


def test_in_a_deadline(process: OneProcess, caplog: pytest.LogCaptureFixture) -> None:
    """What others wait for happens at its time."""
    happened: list[str] = []
    process.broker.deadlines.after(100, raising(ZeroDivisionError("a mistake")))
    process.broker.deadlines.after(200, lambda: happened.append("later"))
    process.advance(0.5)
    assert happened == ["later"]
    assert process.errors == []
    assert "deadline" in caplog.text
