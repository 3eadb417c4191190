"""What would stop the loop is done in steps: keys of compacted topics, searches by time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from oncelog.broker.batch_checks import STEP_RECORDS as KEYS_OF_A_STEP
from oncelog.broker.turns import Turns
from oncelog.wire.messages.list_offsets import ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic
from oncelog.wire.messages.produce import ProduceResponse
from oncelog.wire.records import build_batch
from tests.broker.asking import alter_config, create_topic, metadata
from tests.support.batches import batch
from tests.support.one_process import Client, OneProcess, one_process
from tests.support.speaking import produce_request

MESSAGE_TOO_LARGE, INVALID_RECORD = 10, 87


@pytest.fixture
def process() -> Iterator[OneProcess]:
    with one_process() as made:
        yield made
        assert made.errors == []
        assert made.failures == []


class HeldTimers:
    """Keeps what is to be called until the test says so."""

    def __init__(self) -> None:
        self.callbacks: list[Callable[[], None]] = []

    def after(self, delay_ms: float, callback: Callable[[], None]) -> None:
        assert delay_ms == 0
        self.callbacks.append(callback)

    def run(self) -> None:
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            callback()


def test_extents_of_one_search_are_read_a_few_at_a_time(
    process: OneProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request may name thousands of partitions, each with an extent of megabytes."""
    monkeypatch.setattr("oncelog.broker.api.list_offsets.READ_BYTES_MAX", 100)
    client, other = process.connect(), process.connect()
    assert client.call(create_topic("wide", partitions=5), 7).topics[0].error_code == 0
    began_ms = process.clock.wall_ms()
    for index in range(5):
        stored = batch([b"value"], timestamps_ms=[began_ms + index])
        assert client.call(produce_request([("wide", index, stored)]), 11).responses
    process.write_order.clear()
    asked = ListOffsetsTopic(
        name="wide",
        partitions=[ListOffsetsPartition(partition_index=index, timestamp=began_ms) for index in range(5)],
    )
    client.send(ListOffsetsRequest(replica_id=-1, isolation_level=0, topics=[asked]), 7)
    other.send(metadata("wide"), 9)
    process.settle()
    assert process.write_order == [other.transport, client.transport]
    (answer,) = client.answers()
    found = [(each.offset, each.timestamp) for each in answer.topics[0].partitions]
    assert found == [(0, began_ms + index) for index in range(5)]


# -- keys of compacted topics --

DENSE = 4 * KEYS_OF_A_STEP


def compacted(client: Client, name: str = "compacted", partitions: int = 1) -> None:
    created = client.call(create_topic(name, partitions=partitions, cleanup_policy="compact"), 7).topics[0]
    assert created.error_code == 0


def dense_batch(count: int = DENSE, last_key: bytes | None = b"key") -> bytes:
    """Some hundred bytes that unpack to very many records."""
    return build_batch([(0, b"key", None)] * (count - 1) + [(0, last_key, None)], compression=1)


def results(answer: ProduceResponse) -> list[tuple[int, int]]:
    return [(each.error_code, each.base_offset) for each in answer.responses[0].partition_responses]


@pytest.mark.parametrize(("last_key", "error"), [(b"key", 0), (None, INVALID_RECORD)])
def test_looking_for_keys_gives_others_a_turn(
    process: OneProcess, last_key: bytes | None, error: int
) -> None:
    """What is behind it on its own connection waits until it is decided, what others ask does not."""
    client, other = process.connect(), process.connect()
    compacted(client)
    requests = [
        client.encode(produce_request([("compacted", 0, records)]), 11)
        for records in (dense_batch(last_key=last_key), batch([b"behind"], key=b"key"))
    ]
    process.within(lambda: client.transport.protocol.data_received(b"".join(requests)))
    others = other.call(produce_request([("compacted", 0, batch([b"other"], key=b"key"))]), 11)
    assert results(others) == [(0, 0)]
    process.settle()
    first, second = (results(answer) for answer in client.answers())
    assert first == [(error, -1 if error else 1)]
    assert second == [(0, 1 if error else 1 + DENSE)]


def test_of_all_work_in_steps_one_step_is_taken_in_each_turn() -> None:
    steps: list[int] = []

    def work(number: int) -> Iterator[None]:
        for _ in range(3):
            steps.append(number)
            yield

    def failed(error: Exception) -> None:
        raise error

    timers = HeldTimers()
    turns = Turns(timers)
    done: list[int] = []
    works = [turns.take(work(number), partial(done.append, number), failed) for number in range(3)]
    assert steps == [0, 1, 2], "the first step of each is taken at once"
    for number in (0, 1):
        timers.run()
        assert steps[3:] == [0, 1][: number + 1]
    works[2].cancel()
    while timers.callbacks:
        timers.run()
    assert steps[5:] == [0, 1]
    assert done == [0, 1]


def test_work_whose_end_goes_wrong_leaves_the_rest_its_turns() -> None:
    def work() -> Iterator[None]:
        yield

    def end_badly() -> None:
        raise ValueError("a fault in what comes after the work")

    timers = HeldTimers()
    turns = Turns(timers)
    done: list[str] = []
    turns.take(work(), end_badly, pytest.fail)
    turns.take(work(), partial(done.append, "the other"), pytest.fail)
    with pytest.raises(ValueError, match="a fault"):
        timers.run()
    timers.run()
    assert done == ["the other"]


def test_a_topic_that_becomes_compacted_meanwhile_needs_keys_too(process: OneProcess) -> None:
    """Between the steps others change what the request needs; what it needs in the end, counts."""
    client, other = process.connect(), process.connect()
    compacted(client)
    assert client.call(create_topic("plain"), 7).topics[0].error_code == 0
    request = produce_request([("plain", 0, dense_batch(10, last_key=None)), ("compacted", 0, dense_batch())])
    process.within(lambda: client.transport.protocol.data_received(client.encode(request, 11)))
    changed = other.call(alter_config("plain", "cleanup.policy", "compact"), 1)
    assert [each.error_code for each in changed.responses] == [0]
    process.settle()
    (answer,) = client.answers()
    assert [
        (topic.name, [each.error_code for each in topic.partition_responses]) for topic in answer.responses
    ] == [("plain", [INVALID_RECORD]), ("compacted", [0])]


def test_what_was_looked_at_waits_for_room_in_the_entry_like_any_other() -> None:
    """However much was asked for, an entry exceeds its bound by one request."""
    with one_process(entry_bytes=4096) as process:
        client, others = process.connect(), process.connect()
        compacted(client)
        assert client.call(create_topic("plain"), 7).topics[0].error_code == 0
        process.journal.hold()
        large = produce_request([("plain", 0, batch([b"x" * 5000]))])
        others.send(large, 11)
        process.settle()
        looked_at = client.encode(produce_request([("compacted", 0, dense_batch())]), 11)
        filling = [others.encode(large, 11) for _ in range(2)]

        def come() -> None:
            client.transport.protocol.data_received(looked_at)
            others.transport.protocol.data_received(b"".join(filling))

        process.within(come)
        process.settle()
        assert process.broker.engine.waiting_for_room_count == 2
        process.let_go()
        assert [results(answer) for answer in others.answers()] == [[(0, 0)], [(0, 1)], [(0, 2)]]
        assert [results(answer) for answer in client.answers()] == [[(0, 0)]]
        assert process.errors == []


def test_what_is_looked_at_for_a_closed_connection_is_never_appended(process: OneProcess) -> None:
    client, gone = process.connect(), process.connect()
    compacted(client)
    process.within(
        lambda: gone.transport.protocol.data_received(
            gone.encode(produce_request([("compacted", 0, dense_batch())]), 11)
        )
    )
    gone.transport.close()
    process.settle()
    answer = client.call(produce_request([("compacted", 0, batch([b"value"], key=b"key"))]), 11)
    assert results(answer) == [(0, 0)]


def test_batches_of_one_request_for_compacted_topics_unpack_to_so_much_only(
    process: OneProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oncelog.broker.api.produce.KEYED_BYTES_MAX", 1000)
    client = process.connect()
    compacted(client, partitions=3)
    long = build_batch([(0, b"key", bytes(2000))], compression=1)
    answer = client.call(produce_request([("compacted", index, long) for index in range(3)]), 11)
    assert results(answer) == [(0, 0), (MESSAGE_TOO_LARGE, -1), (MESSAGE_TOO_LARGE, -1)]


def test_headers_of_records_are_passed_over(process: OneProcess) -> None:
    """Thousands of them in one record would be one long step."""
    client = process.connect()
    compacted(client)
    # It has a key, a value and a header whose name is longer than the record.
    record = b"\0\0\0" + b"\x02k" + b"\0" + b"\x02" + b"\x7e"
    odd = batch([b""], records=bytes([2 * len(record)]) + record)
    answer = client.call(produce_request([("compacted", 0, odd)]), 11)
    assert results(answer) == [(0, 0)]
