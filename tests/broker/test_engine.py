"""The engine: a test for each numbered sentence of that part of docs/architecture.md.

A real broker with its real handlers serves on a journal whose durability the test controls; what it did is
read from its answers and from what it gave to the journal.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from oncelog.broker.engine import EngineFailed
from oncelog.broker.fetch_sessions import PartitionFetch
from oncelog.broker.fetching import plan_fetch
from oncelog.broker.limits import ConnectionLimits
from oncelog.broker.options import Options
from oncelog.broker.published import Movement, Watermarks
from oncelog.machine.commands import CreateTopic
from oncelog.machine.decide import RULES
from oncelog.machine.events import REGISTRY, BatchAppended, TransactionEnded, decode_events
from oncelog.machine.evolve import EFFECTS, evolve
from oncelog.machine.fingerprint import state_differences, state_fingerprint
from oncelog.machine.moment import At
from oncelog.machine.state import Partition, State
from oncelog.wire.definition import Event, FieldSpec, FieldType
from oncelog.wire.messages.delete_topics import DeleteTopicsRequest
from oncelog.wire.messages.init_producer_id import InitProducerIdRequest
from oncelog.wire.records import parse_batch_header
from tests.broker.asking import (
    create_topic,
    end_txn,
    join_group,
    list_offsets,
    metadata,
    offset_commit,
    sync_group,
    world,
)
from tests.support.batches import batch
from tests.support.held_journal import Entry
from tests.support.one_process import Client, OneProcess, one_process
from tests.support.speaking import (
    TransactionalProducer,
    batches_in,
    fetch_request,
    idempotent_producer,
    log_end_offset,
    produce_request,
)

TOPIC, DATED, PAIR = "topic", "dated", "pair"


@pytest.fixture
def process() -> Iterator[OneProcess]:
    """A broker with two topics, idle and sealed, that holds everything from now on."""
    with one_process() as made:
        prepare(made)
        yield made


def prepare(process: OneProcess) -> None:
    client = process.connect()
    assert client.call(create_topic(TOPIC, partitions=3), 7).topics[0].error_code == 0
    dated = create_topic(DATED, message_timestamp_type="LogAppendTime")
    assert client.call(dated, 7).topics[0].error_code == 0
    process.advance(0.5)
    process.journal.hold()


def produced(answer: Any) -> tuple[int, int]:
    """Error and base offset of the first partition that a produce answer tells of."""
    partition = answer.responses[0].partition_responses[0]
    return partition.error_code, partition.base_offset


def send_records(client: Client, *values: bytes, topic: str = TOPIC, partition: int = 0) -> None:
    client.send(produce_request([(topic, partition, batch(values or (b"value",)))]), 11)


def events_of(entry: Entry) -> list[Event]:
    return decode_events(REGISTRY, entry.events)


def batches_of(entry: Entry) -> list[BatchAppended]:
    return [event for event in events_of(entry) if isinstance(event, BatchAppended)]


def fetched_end(client: Client, *, topic: str = TOPIC, partition: int = 0) -> int:
    answer = client.call(fetch_request(topic, 0, partition=partition), 11)
    return int(answer.responses[0].partitions[0].high_watermark)


def in_flight(process: OneProcess) -> Entry:
    process.settle()
    assert process.journal.in_flight is not None
    return process.journal.in_flight


def partition_of(process: OneProcess, index: int = 0, topic: str = TOPIC) -> Partition:
    found = process.broker.state.topic_named(topic)
    assert found is not None
    return found.partitions[index]


# -- E1: opening an entry fixes its position and times --


def test_e1_all_that_is_decided_into_an_entry_shares_its_position_and_times(process: OneProcess) -> None:
    client = process.connect()
    send_records(client)
    first = in_flight(process)
    process.clock.wall_ms_ahead = 100_000
    send_records(client, topic=DATED)
    process.settle()
    opened_ms = process.clock.wall_ms()
    process.clock.wall_ms_ahead = 999_000
    process.advance(0.05)
    send_records(client, topic=DATED)
    process.confirm()
    second = in_flight(process)
    assert (second.position, second.wall_ms, second.age_ms) == (
        first.position + 1,
        opened_ms,
        first.age_ms,
    ), "an entry has the moment in which it was opened"
    process.let_go()
    _, early, late = client.answers()
    times = [answer.responses[0].partition_responses[0].log_append_time_ms for answer in (early, late)]
    assert times == [opened_ms, opened_ms]
    stored = client.call(fetch_request(DATED, 0), 11).responses[0].partitions[0].records
    assert [header.max_timestamp for header, _ in batches_in(stored)] == [opened_ms, opened_ms]
    assert [event.max_timestamp for event in batches_of(second)] == [opened_ms, opened_ms]


def test_e1_an_entry_opens_at_the_time_of_its_first_decision(
    process: OneProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the answer and the state tell another time of a batch than stands in the batch."""
    began_ms = process.clock.wall_ms()
    looks = itertools.count(1)
    monkeypatch.setattr(process.clock, "wall_ms", lambda: began_ms + next(looks))
    process.journal.let_go()
    client = process.connect()
    send_records(client, topic=DATED)
    (answer,) = client.answers()
    told_ms = answer.responses[0].partition_responses[0].log_append_time_ms
    stored = client.call(fetch_request(DATED, 0), 11).responses[0].partitions[0].records
    assert [header.max_timestamp for header, _ in batches_in(stored)] == [told_ms]


def test_e1_an_entry_is_opened_by_events_alone(process: OneProcess) -> None:
    client = process.connect()
    last = process.journal.appended[-1].position
    far_ahead = batch(timestamps_ms=[process.clock.wall_ms() + 86_400_000])
    assert produced(client.call(produce_request([(TOPIC, 0, far_ahead)]), 11)) == (32, -1)
    assert process.journal.appended[-1].position == last
    send_records(client)
    assert in_flight(process).position == last + 1


# -- E2: all events of a decision are encoded before anything happens --


def test_e2_a_decision_that_cannot_be_encoded_whole_leaves_nothing(
    process: OneProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = BatchAppended.encode

    def spoilt(event: BatchAppended) -> bytes:
        if event.partition == 2:
            raise ValueError("cannot be encoded")
        return encode(event)

    monkeypatch.setattr(BatchAppended, "encode", spoilt)
    before = state_fingerprint(process.broker.state)
    appended = len(process.journal.appended)
    client, other = process.connect(), process.connect()
    client.send(produce_request([(TOPIC, index, batch([b"x"])) for index in (0, 1, 2)]), 11)
    assert client.answers() == []
    assert client.is_closed
    assert state_fingerprint(process.broker.state) == before
    assert len(process.journal.appended) == appended
    assert process.failures == []
    send_records(other)
    assert [event.base_offset for event in batches_of(process.confirm())] == [0]
    assert [produced(answer) for answer in other.answers()] == [(0, 0)]


# -- E3: decide raises --


def test_e3_when_decide_raises_nothing_has_changed(
    process: OneProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("a rule is broken")

    monkeypatch.setitem(RULES, CreateTopic, broken)
    before = state_fingerprint(process.broker.state)
    appended = len(process.journal.appended)
    client, other = process.connect(), process.connect()
    client.send(create_topic("never"), 7)
    assert client.answers() == []
    assert client.is_closed, "an error of ours closes the connection, so that the client asks again"
    assert state_fingerprint(process.broker.state) == before
    assert len(process.journal.appended) == appended
    assert process.failures == []
    send_records(other)
    process.confirm()
    assert [produced(answer) for answer in other.answers()] == [(0, 0)]


# -- E4: evolve raises --


def test_e4_when_evolve_raises_the_entry_is_not_submitted_and_the_engine_stops(
    process: OneProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = EFFECTS[BatchAppended]

    def broken(state: State, event: Any, at: At) -> None:
        if event.partition == 1:
            raise RuntimeError("the state is broken")
        append(state, event, at)

    monkeypatch.setitem(EFFECTS, BatchAppended, broken)
    appended = len(process.journal.appended)
    good, bad, later = process.connect(), process.connect(), process.connect()
    send_records(good)
    send_records(bad, partition=1)
    assert good.answers() == bad.answers() == []
    process.advance(0.5)
    assert len(process.journal.appended) == appended, "what shares the entry is lost with it"
    assert len(process.failures) == 1
    assert bad.is_closed
    later.send(metadata(TOPIC), 9)
    send_records(later)
    assert later.answers() == []
    with pytest.raises(EngineFailed):
        process.broker.engine.execute(CreateTopic(bytes(16), "refused", 1))


# -- E5: the stamp --


def test_e5_a_reply_waits_for_the_newest_entry_that_held_an_event_when_it_was_made(
    process: OneProcess,
) -> None:
    writer = process.connect()
    readers = [process.connect() for _ in range(3)]
    send_records(writer)
    process.settle()
    readers[0].send(metadata(TOPIC), 9)
    process.settle()
    send_records(writer)
    process.settle()
    readers[1].send(metadata(TOPIC), 9)
    process.settle()
    process.confirm()
    assert len(readers[0].answers()) == 1, "made while the first entry was the newest"
    assert readers[1].answers() == [], "made while the second one was open"
    readers[2].send(metadata(TOPIC), 9)
    assert readers[2].answers() == [], "the second one has been submitted and is still the newest"
    process.confirm()
    assert len(readers[1].answers()) == len(readers[2].answers()) == 1


def test_e5_seals_do_not_count(process: OneProcess) -> None:
    client = process.connect()
    send_records(client)
    process.confirm()
    assert len(client.answers()) == 1
    process.advance(0.5)
    assert in_flight(process).seal
    assert client.call(metadata(TOPIC), 9).topics[0].error_code == 0
    assert log_end_offset(client, TOPIC) == 1  # type: ignore[arg-type]


# -- E6: when entries are submitted --


def test_e6_frames_read_in_one_turn_share_an_entry(process: OneProcess) -> None:
    clients = [process.connect() for _ in range(4)]
    for client in clients:
        send_records(client)
    appended = len(process.journal.appended)
    entry = in_flight(process)
    assert [event.base_offset for event in batches_of(entry)] == [0, 1, 2, 3]
    assert len(process.journal.appended) == appended + 1
    process.confirm()
    assert [produced(client.answers()[0]) for client in clients] == [(0, index) for index in range(4)]


def test_e6_what_comes_while_the_writer_is_busy_goes_with_the_next_entry_and_without_a_timer(
    process: OneProcess,
) -> None:
    client = process.connect()
    for _ in range(4):
        send_records(client)
        process.settle()
    appended = len(process.journal.appended)
    assert len(batches_of(in_flight(process))) == 1
    process.confirm()
    assert len(process.journal.appended) == appended + 1, "time has not moved, and the next one is written"
    assert [event.base_offset for event in batches_of(in_flight(process))] == [1, 2, 3]


# -- E7: watermarks are noted when the entry closes --


def test_e7_what_is_published_is_what_was_true_when_the_entry_closed(process: OneProcess) -> None:
    client, reader = process.connect(), process.connect()
    producer = transactional_producer(process)
    assert fetched_end(reader) == 0
    for _ in range(2):
        send_records(client)
        process.settle()
    client.send(produce_request([(TOPIC, 0, producer.batch(TOPIC, [b"t"]))], transactional_id="t"), 12)
    process.settle()
    seen = []
    for _ in range(2):
        process.confirm()
        partition = reader.call(fetch_request(TOPIC, 0), 11).responses[0].partitions[0]
        seen.append((partition.high_watermark, partition.last_stable_offset, partition.log_start_offset))
    assert seen == [(1, 1, 0), (3, 2, 0)]


def transactional_producer(process: OneProcess, name: str = "t") -> TransactionalProducer:
    """Made while the journal confirms at once; holding again afterwards."""
    process.journal.is_holding = False
    client: Any = process.connect()
    producer = TransactionalProducer(client, name)
    process.advance(0.5)
    process.journal.hold()
    return producer


# -- E8: order and writes --


def test_e8_replies_leave_in_request_order_and_in_one_write(process: OneProcess) -> None:
    client = process.connect()
    glued = b""
    for number in range(5):
        glued += client.encode(produce_request([(TOPIC, number % 2, batch())]), 11)
        glued += client.encode(metadata(TOPIC), 9)
    client.send_bytes(glued)
    assert client.answers() == []
    process.confirm()
    assert len(client.transport.writes) == 1
    answers = client.answers()
    assert [produced(answer) for answer in answers[::2]] == [(0, 0), (0, 0), (0, 1), (0, 1), (0, 2)]
    assert len(answers) == 10


def test_e8_an_answer_that_may_leave_waits_for_those_before_it(process: OneProcess) -> None:
    """The fetch needs no entry at all; the produce before it does."""
    client = process.connect()
    send_records(client)
    client.send(fetch_request(TOPIC, 0), 11)
    client.send(metadata(TOPIC), 9)
    assert client.answers() == []
    process.confirm()
    first, second, third = client.answers()
    assert produced(first) == (0, 0)
    assert second.responses[0].partitions[0].high_watermark == 1
    assert third.topics[0].name == TOPIC


# -- E9: requests that can wait --


def test_e9_a_request_that_can_wait_starts_when_it_is_the_oldest_unanswered(process: OneProcess) -> None:
    """Started at once, the fetch would have found nothing and answered so."""
    client = process.connect()
    for number in range(3):
        send_records(client)
        client.send(fetch_request(TOPIC, 0), 11)
        process.confirm()
        made, found = client.answers()
        assert produced(made) == (0, number)
        assert found.responses[0].partitions[0].high_watermark == number + 1


@pytest.mark.parametrize("waiting", ["Fetch", "JoinGroup", "SyncGroup"])
def test_e9_nothing_behind_a_waiting_request_starts_before_its_answer(
    process: OneProcess, waiting: str
) -> None:
    process.let_go()
    client = process.connect()
    if waiting == "Fetch":
        client.send(fetch_request(TOPIC, 0, max_wait_ms=30_000), 11)
    else:
        members = two_members(process)
        if waiting == "JoinGroup":
            # A third member: the others would have to join again first.
            client.send(join_group(client.call(join_group("", PAIR), 5).member_id, PAIR), 5)
        else:
            client.send(sync_group(members[1], 2, PAIR), 3)
    client.send(create_topic("behind"), 7)
    assert client.answers() == []
    asked = process.connect().call(metadata("behind"), 9)
    assert asked.topics[0].error_code == 3, "it was started before the answer"
    process.advance(31, step_s=0.5)
    _, created = client.answers()
    assert created.topics[0].error_code == 0


def two_members(process: OneProcess) -> list[str]:
    """A group of two in generation 2, whose leader (the first) has not assigned anything yet."""
    clients = [process.connect(), process.connect()]
    ids = [client.call(join_group("", PAIR), 5).member_id for client in clients]
    assert clients[0].call(join_group(ids[0], PAIR), 5).generation_id == 1
    clients[1].send(join_group(ids[1], PAIR), 5)
    process.settle()
    assert clients[0].call(join_group(ids[0], PAIR), 5).generation_id == 2
    assert clients[1].answers()[0].generation_id == 2
    return ids


def test_e9_these_requests_can_wait(process: OneProcess) -> None:
    routes = process.broker.registry.routes.values()
    waiting = {route.name for route in routes if route.waits}
    assert waiting == {"Fetch", "JoinGroup", "SyncGroup", "ListOffsets"}


# -- E10: everything else --


def test_e10_other_requests_are_decided_on_arrival_in_order_and_share_a_sync(process: OneProcess) -> None:
    client = process.connect()
    producer_id = idempotent(process)
    send_records(client, partition=1)
    first = in_flight(process)
    for sequence in range(5):
        records = batch([b"x"], producer_id=producer_id, epoch=0, sequence=sequence)
        client.send(produce_request([(TOPIC, 0, records)]), 11)
        process.settle()
        assert partition_of(process).log_end_offset == sequence + 1, "decided when it came"
    assert process.confirm() == first
    assert [event.base_sequence for event in batches_of(in_flight(process))] == [0, 1, 2, 3, 4]
    assert len(client.answers()) == 1
    process.confirm()
    assert [produced(answer) for answer in client.answers()] == [(0, offset) for offset in range(5)]


def idempotent(process: OneProcess) -> int:
    process.journal.is_holding = False
    client: Any = process.connect()
    producer_id = idempotent_producer(client)
    process.advance(0.5)
    process.journal.hold()
    return producer_id


# -- E11: limits of a connection --


def test_e11_beyond_256_unanswered_requests_a_connection_is_not_read(process: OneProcess) -> None:
    assert ConnectionLimits().unanswered_requests_max == 256
    client, other = process.connect(), process.connect()
    for _ in range(300):
        send_records(client)
    assert client.answers() == []
    assert client.transport.undelivered == 300 - 256
    assert not client.transport.is_reading()
    other.send(metadata(TOPIC), 9)
    process.settle()
    assert other.transport.undelivered == 0, "other connections are read"
    process.let_go()
    assert [produced(answer) for answer in client.answers()] == [(0, offset) for offset in range(300)]
    assert client.transport.is_reading()


@pytest.mark.parametrize("waits", [False, True])
def test_e11_beyond_8_mib_of_frames_a_connection_is_not_read(process: OneProcess, waits: bool) -> None:
    """Whether they were decided, or wait behind a request that waits."""
    limit = ConnectionLimits().unanswered_bytes_max
    assert limit == 8 << 20
    client = process.connect()
    if waits:
        client.send(fetch_request(TOPIC, 0, max_wait_ms=60_000), 11)
        process.settle()
    records = batch([random.Random(11).randbytes(500_000)])
    for _ in range(30):
        client.send(produce_request([(TOPIC, 1, records)]), 11)
    assert client.answers() == []
    read = 30 - client.transport.undelivered
    assert limit <= read * (len(records) + 100) <= limit + 2 * len(records)
    process.let_go()
    process.advance(61, step_s=1)
    assert len(client.answers()) == 30 + waits


# -- E12: acks=0 --


def test_e12_a_produce_with_acks_0_gets_no_reply_and_does_not_disturb_the_order(process: OneProcess) -> None:
    client = process.connect()
    silent = produce_request([(TOPIC, 0, batch())], acks=0)
    client.send(silent, 11, expect_answer=False)
    client.send(list_offsets(-1, topic=TOPIC), 7)
    client.send(silent, 11, expect_answer=False)
    client.send(metadata(TOPIC), 9)
    process.let_go()
    end, topics = client.answers()
    assert end.topics[0].partitions[0].offset == 1
    assert topics.topics[0].name == TOPIC
    assert log_end_offset(client, TOPIC) == 2  # type: ignore[arg-type]


def test_e12_a_produce_with_acks_0_counts_until_it_is_durable(process: OneProcess) -> None:
    client = process.connect()
    silent = produce_request([(TOPIC, 0, batch())], acks=0)
    for _ in range(300):
        client.send(silent, 11, expect_answer=False)
    assert client.answers() == []
    assert client.transport.undelivered == 300 - 256
    process.let_go()
    assert log_end_offset(client, TOPIC) == 300  # type: ignore[arg-type]


def test_e12_a_failed_produce_with_acks_0_closes_the_connection(process: OneProcess) -> None:
    client = process.connect()
    refused = produce_request([(TOPIC, 0, batch()), (TOPIC, 77, batch())], acks=0)
    client.send(refused, 11, expect_answer=False)
    assert client.is_closed
    assert client.answers() == []
    process.let_go()
    assert log_end_offset(process.connect(), TOPIC) == 1  # type: ignore[arg-type]


# -- E13: a fetch plans before it awaits --


def test_e13_a_fetch_shows_one_moment_even_when_its_bytes_take_long(process: OneProcess) -> None:
    process.let_go()
    client, reader = process.connect(), process.connect()
    producer = transactional_producer(process)
    process.let_go()
    for index in (0, 1):
        client.call(produce_request([(TOPIC, index, batch([b"old"]))]), 11)
        assert producer.produce(TOPIC, [b"t"], partition=index, version=12).error_code == 0
    process.journal.is_cold = True
    process.reads.is_holding = True
    both = fetch_request(TOPIC, 0, read_committed=True)
    both.topics[0].partitions += fetch_request(TOPIC, 0, partition=1).topics[0].partitions
    reader.send(both, 11)
    assert reader.answers() == []
    assert process.reads.jobs, "the bytes have to be waited for"
    assert producer.end(True, version=4).error_code == 0
    client.send(produce_request([(TOPIC, 0, batch([b"newer"])), (TOPIC, 1, batch([b"newer"]))]), 11)
    assert len(client.answers()) == 1
    process.reads.let_go()
    (answer,) = reader.answers()
    for partition in answer.responses[0].partitions:
        assert (partition.high_watermark, partition.last_stable_offset) == (2, 1)
        assert [header.base_offset for header, _ in batches_in(partition.records)] == [0]


# -- E14: the aborted list --


class Aborted(NamedTuple):
    """A transaction that was aborted, as the test knows it."""

    producer_id: int
    first_offset: int
    marker_offset: int


def test_e14_the_aborted_list_is_that_of_the_bytes_returned(process: OneProcess) -> None:
    """Interleaved transactions, each batch of one record: what is listed follows from the definition."""
    process.let_go()
    client = process.connect()
    producers = [TransactionalProducer(process.connect(), f"p{number}") for number in range(4)]  # type: ignore[arg-type]
    chance = random.Random(14)
    first: dict[int, int] = {}
    aborted: list[Aborted] = []
    end = 0
    for step in range(120):
        # The last one begins late and never ends.
        number = 3 if step == 70 else chance.randrange(3)
        producer = producers[number]
        if number in first and chance.random() < 0.4:
            commit = chance.random() < 0.4
            assert producer.end(commit, version=4).error_code == 0
            if not commit:
                aborted.append(Aborted(producer.producer_id, first[number], end))
            del first[number]
        else:
            assert producer.produce(TOPIC, [b"x"], version=12).error_code == 0
            first.setdefault(number, end)
        end += 1
    stable = min(first.values(), default=end)
    above = [each for each in aborted if each.first_offset < stable <= each.marker_offset]
    assert first
    assert above, "a marker above the last stable offset belongs to this test"
    for offset in range(stable + 1):
        for limit_bytes in (1, 300, 1000, 1_000_000):
            request = fetch_request(TOPIC, offset, read_committed=True, partition_max_bytes=limit_bytes)
            partition = client.call(request, 11).responses[0].partitions[0]
            found = batches_in(partition.records)
            returned_end = found[-1][0].base_offset + 1 if found else offset
            assert returned_end <= stable
            listed = sorted((each.first_offset, each.producer_id) for each in partition.aborted_transactions)
            assert listed == sorted(
                (each.first_offset, each.producer_id)
                for each in aborted
                if found and each.first_offset < returned_end and each.marker_offset >= offset
            ), (offset, limit_bytes)


# -- E15: machine and published view disagree --


def test_e15_a_fetch_of_what_only_the_machine_knows_waits_and_starts_again(process: OneProcess) -> None:
    client, reader = process.connect(), process.connect()
    creating = client.encode(create_topic("fresh"), 7)
    client.send_bytes(creating + client.encode(produce_request([("fresh", 0, batch())]), 11))
    reader.send(fetch_request("fresh", 0), 11)
    assert reader.answers() == []
    process.confirm()
    (answer,) = reader.answers()
    partition = answer.responses[0].partitions[0]
    assert (partition.error_code, partition.high_watermark) == (0, 1)


def test_e15_a_fetch_of_what_only_the_view_knows_waits_and_starts_again(process: OneProcess) -> None:
    client, reader = process.connect(), process.connect()
    topic = process.broker.state.topic_named(TOPIC)
    assert topic is not None
    client.send(DeleteTopicsRequest(topic_names=[TOPIC], timeout_ms=1000), 5)
    by_id = fetch_request(TOPIC, 0)
    by_id.topics[0].topic_id = topic.id
    reader.send(by_id, 13)
    assert reader.answers() == []
    process.confirm()
    (answer,) = reader.answers()
    assert answer.responses[0].partitions[0].error_code == 100


def test_e15_an_offset_below_the_machines_log_start_waits(process: OneProcess) -> None:
    """No API moves a log start yet, so this asks the plan itself."""
    process.let_go()
    client = process.connect()
    client.call(produce_request([(TOPIC, 0, batch([b"a", b"b", b"c"]))]), 11)
    partition = partition_of(process)
    partition.log_start_offset = 2
    views = process.broker.published.views

    def plan(offset: int) -> Any:
        wanted = PartitionFetch((TOPIC, 0))
        wanted.fetch_offset = offset
        wanted.partition_max_bytes = 1000
        return plan_fetch(process.broker.state, views, [wanted], 1000, 0)

    assert plan(1).must_wait_for_durability
    assert not plan(2).must_wait_for_durability
    views[partition.topic.id, 0].log_start_offset = 2
    planned = plan(1)
    assert not planned.must_wait_for_durability
    assert planned.partitions[0].error == 1


# -- E16: a full entry --


def test_e16_produces_that_find_the_entry_full_wait_in_arrival_order_and_others_go_in() -> None:
    with one_process(entry_bytes=4096) as process:
        prepare(process)
        producer = transactional_producer(process)
        first, second, third, other = (process.connect() for _ in range(4))
        send_records(first, b"in flight")
        process.settle()
        send_records(first, bytes(5000))
        process.settle()
        for client, value in ((second, b"b"), (third, b"c"), (first, b"d"), (second, b"e")):
            send_records(client, value)
            process.settle()
        assert partition_of(process).log_end_offset == 2, "they wait undecided"
        other.send(offset_commit("group", 1, topic=TOPIC), 7)
        other.send(InitProducerIdRequest(transactional_id="t2", transaction_timeout_ms=1000), 4)
        process.settle()
        producer_client: Any = producer.connection
        producer_client.send(end_txn(producer, commit=False), 5)
        process.confirm()
        full = in_flight(process)
        kinds = [type(event).__name__ for event in events_of(full)]
        assert kinds == [
            "BatchAppended",
            "OffsetsCommitted",
            "TransactionalIdInitialized",
            "TransactionEnded",
        ], "transactional and group requests go in at once"
        process.confirm()
        assert len(other.answers()) == 2
        assert len(batches_of(in_flight(process))) == 4
        process.let_go()
        stored = first.call(fetch_request(TOPIC, 2), 11) if len(first.answers()) == 3 else None
        assert stored is not None
        values = [bytes(data[-2:-1]) for _, data in batches_in(stored.responses[0].partitions[0].records)]
        assert values == [b"b", b"c", b"d", b"e"], "in the order of their arrival"


def test_e16_a_connection_whose_produce_waits_for_room_starts_nothing_behind_it() -> None:
    with one_process(entry_bytes=4096) as process:
        prepare(process)
        client, other = process.connect(), process.connect()
        send_records(other, b"in flight")
        process.settle()
        send_records(other, bytes(5000))
        process.settle()
        send_records(client)
        client.send(create_topic("behind"), 7)
        process.settle()
        assert process.broker.state.topic_named("behind") is None
        process.let_go()
        assert [type(answer).__name__ for answer in client.answers()] == [
            "ProduceResponse",
            "CreateTopicsResponse",
        ]


# -- E17: a failed write --


def test_e17_after_a_failed_write_nothing_is_acknowledged_whatever_succeeds_later(
    process: OneProcess,
) -> None:
    client, waiting, later = process.connect(), process.connect(), process.connect()
    waiting.send(fetch_request(TOPIC, 0, max_wait_ms=60_000), 11)
    send_records(client)
    process.settle()
    send_records(client)
    appended = len(process.journal.appended)
    process.fail()
    assert len(process.failures) == 1
    later.send(metadata(TOPIC), 9)
    send_records(later)
    process.journal.claim_success(process.loop.call_soon)
    process.advance(61, step_s=1)
    for each in (client, later):
        assert each.answers() == []
    for answer in waiting.answers():
        assert answer.responses[0].partitions[0].high_watermark == 0
    assert len(process.journal.appended) == appended, "no later entry is written, and no seal"
    assert len(process.failures) == 1, "it is told once"
    assert process.broker.published.views[partition_of(process).topic.id, 0].high_watermark == 0
    with pytest.raises(EngineFailed):
        process.broker.engine.execute(CreateTopic(bytes(16), "refused", 1))


# -- E18: seals --


def test_e18_after_100_ms_of_idleness_one_seal_is_written(process: OneProcess) -> None:
    process.let_go()
    client = process.connect()
    client.call(produce_request([(TOPIC, 0, batch())]), 11)
    position = process.journal.appended[-1].position
    process.advance(0.09)
    client.call(produce_request([(TOPIC, 0, batch())]), 11)
    process.advance(0.09)
    assert process.journal.appended[-1].position == position + 1, "it was not idle for so long"
    process.advance(0.2)
    seal = process.journal.appended[-1]
    assert (seal.position, seal.seal, seal.events, seal.payload) == (position + 2, True, b"", b"")
    process.advance(5, step_s=0.1)
    assert process.journal.appended[-1] is seal, "one is enough"


def test_e18_a_clean_stop_waits_for_what_was_decided_and_seals_it(process: OneProcess) -> None:
    client = process.connect()
    send_records(client)
    process.settle()
    send_records(client)
    stopping = process.stop()
    for _ in range(2):
        assert not process.confirm().seal
        assert not stopping.done()
    seal = process.confirm()
    assert seal.seal
    assert seal.position == process.journal.appended[-1].position
    assert stopping.done()
    assert [produced(answer) for answer in client.answers()] == [(0, 0), (0, 1)]


# -- E19: the time of a decision without events --


def test_e19_a_decision_without_events_has_the_open_entrys_time_or_the_clocks(process: OneProcess) -> None:
    """Batches from the future are refused by the time of the decision."""
    client, other = process.connect(), process.connect()
    hour_ms = 3_600_000

    def ahead(ms: int) -> Any:
        return produce_request([(TOPIC, 0, batch(timestamps_ms=[process.clock.wall_ms() + ms]))])

    assert produced(client.call(ahead(2 * hour_ms), 11)) == (32, -1), "idle: by the clock"
    process.clock.wall_ms_ahead += 5 * hour_ms
    assert produced(client.call(ahead(2 * hour_ms), 11)) == (32, -1), "idle: by the clock"
    send_records(other)
    process.settle()
    send_records(other)
    process.settle()
    process.clock.wall_ms_ahead += 5 * hour_ms
    client.send(ahead(0), 11)
    process.let_go()
    assert [produced(answer) for answer in client.answers()] == [(32, -1)], "by the open entry's time"
    assert produced(client.call(ahead(0), 11))[0] == 0


# -- E20 to E23: events, entries, replay --


def busy(process: OneProcess) -> None:
    """Something of everything, over several entries; durable."""
    process.let_go()
    at = world(process)
    client = at.client
    at.transactional.produce("known", [b"one", b"two"], partition=0)
    at.transactional.end(True, version=4)
    members = two_members(process)
    leader = process.connect()
    leader.call(sync_group(members[0], 2, PAIR), 3)
    other = TransactionalProducer(client, "other", timeout_ms=5_000)  # type: ignore[arg-type]
    process.journal.hold()
    sent = process.connect()
    for number in range(6):
        parts = [(TOPIC, index, batch([b"%d" % number, bytes(100)])) for index in (2, 0, 1)]
        sent.send(produce_request([*parts, (DATED, 0, batch([b"dated"]))]), 11)
        process.settle()
    process.let_go()
    other.produce(TOPIC, [b"aborted"], version=12)
    process.advance(7, step_s=0.1)
    at.transactional.produce("known", [b"open"], version=12)
    client.call(offset_commit("busy", 12), 7)
    client.call(DeleteTopicsRequest(topic_names=["new"], timeout_ms=1000), 5)
    process.advance(0.5)


def test_e20_replay_opens_evolves_and_closes_each_entry_to_the_state_that_served(process: OneProcess) -> None:
    busy(process)
    served = process.broker.state
    restarted = process.restarted()
    assert state_differences(served, restarted.broker.state) == []
    assert restarted.broker.engine.age_ms() == process.journal.confirmed[-1].age_ms
    restarted.close()


def test_e21_evolve_needs_nothing_that_only_a_closed_entry_knows(process: OneProcess) -> None:
    """While its entry is still open, a decision stands on what others decided into it."""
    client = process.connect()
    producer_id = idempotent(process)
    send_records(client, partition=1)
    process.settle()
    appended = len(process.journal.appended)
    for sequence in (0, 1, 1, 3):
        records = batch([b"x"], producer_id=producer_id, epoch=0, sequence=sequence)
        client.send(produce_request([(TOPIC, 0, records)]), 11)
    process.settle()
    assert len(process.journal.appended) == appended, "it is open"
    (extent, *_rest) = [partition_of(process).extents.extent(0)]
    assert extent.base_offset == 0
    process.let_go()
    _, *answers = client.answers()
    assert [produced(answer) for answer in answers] == [(0, 0), (0, 1), (0, 1), (45, -1)]


def test_e21_what_evolve_is_told_is_position_times_and_the_next_payload_byte() -> None:
    notes = {"touched", "removed"}
    assert set(At.__slots__) - notes == {"position", "wall_ms", "age_ms", "payload_offset"}
    at = At(7, 1000, 2000)
    assert (at.position, at.wall_ms, at.age_ms, at.payload_offset) == (7, 1000, 2000, 0)


def test_e22_batches_lie_in_the_payload_in_the_order_of_their_events(process: OneProcess) -> None:
    busy(process)
    markers = 0
    mixed = 0
    for entry in process.journal.confirmed:
        position = 0
        for event in events_of(entry):
            if isinstance(event, BatchAppended):
                header = parse_batch_header(entry.payload, position)
                assert (header.base_offset, header.size) == (event.base_offset, event.size)
                assert header.last_offset_delta == event.last_offset_delta
                assert header.producer_id == event.producer_id
                position += event.size
            elif isinstance(event, TransactionEnded) and event.markers:
                header = parse_batch_header(entry.payload, position)
                assert (header.is_control, header.size) == (True, 78)
                position += 78
                markers += 1
        assert position == len(entry.payload)
        mixed = max(mixed, len({(event.topic_id, event.partition) for event in batches_of(entry)}))
    assert markers >= 2
    assert mixed >= 4
    client = process.connect()
    for index in range(3):
        stored = client.call(fetch_request(TOPIC, 0, partition=index), 11).responses[0].partitions[0]
        found = batches_in(stored.records)
        assert sum(header.record_count for header, _ in found if not header.is_control) >= 12
        assert [header.base_offset for header, _ in found][:6] == [0, 2, 4, 6, 8, 10]


def test_e22_no_event_carries_a_location() -> None:
    words = {"position", "payload_offset", "address", "file", "location"}
    for kind in REGISTRY.kinds.values():
        assert not words & {spec.name for spec in kind.fields}, kind.__name__


@pytest.mark.parametrize("kind", REGISTRY.kinds.values(), ids=lambda kind: kind.__name__)
def test_e23_decoding_an_encoded_event_gives_an_equal_one(kind: type[Event]) -> None:
    chance = random.Random(kind.kind)
    seen = set()
    for _ in range(50):
        event = made_up(kind, chance)
        encoded = event.encode()
        seen.add(encoded)
        (decoded,) = decode_events(REGISTRY, encoded)
        assert decoded == event
        assert decoded.encode() == encoded
    assert len(seen) > 40, "the values differ"


def test_e23_replay_evolves_what_serving_evolved(process: OneProcess) -> None:
    busy(process)
    kinds = {type(event) for entry in process.journal.confirmed for event in events_of(entry)}
    assert len(kinds) >= 10
    state = State(process.broker.state.limits)
    for entry in process.journal.confirmed:
        at = At(entry.position, entry.wall_ms, entry.age_ms)
        decoded = events_of(entry)
        assert b"".join(event.encode() for event in decoded) == entry.events
        for event in decoded:
            evolve(state, event, at)
    assert state_differences(state, process.broker.state) == []


INTEGER_BITS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}


def made_up(of: type[Any], chance: random.Random) -> Any:
    """A value of this class with all of its fields filled, edges now and then."""
    return of(**{spec.name: made_up_field(spec, chance) for spec in of.fields})


def made_up_field(spec: FieldSpec, chance: random.Random) -> Any:
    if spec.nullable.first <= spec.nullable.last and chance.random() < 0.3:
        return None
    return made_up_value(spec.type, chance)


def made_up_value(of: FieldType, chance: random.Random) -> Any:
    if of.name in INTEGER_BITS:
        bits = INTEGER_BITS[of.name]
        edges = [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, 0, -1]
        return chance.choice([*edges, *(chance.randrange(edges[0], edges[1]) for _ in range(4))])
    if of.name == "array":
        return [made_up_value(of.element, chance) for _ in range(chance.randrange(4))]
    makers: dict[str, Callable[[], Any]] = {
        "bool": lambda: chance.random() < 0.5,
        "uuid": lambda: chance.randbytes(16),
        "string": lambda: "".join(chance.choices("aé€😀-. ", k=chance.randrange(20))),
        "bytes": lambda: chance.randbytes(chance.randrange(200)),
        "struct": lambda: made_up(of.element, chance),
    }
    return makers[of.name]()


# -- E24: parked requests hold up nobody else --


def test_e24_a_parked_request_holds_up_its_own_connection_only(process: OneProcess) -> None:
    """A reply enters the queue when it is made, not when its request came."""
    process.let_go()
    members = two_members(process)
    parked, other = process.connect(), process.connect()
    parked.send(sync_group(members[1], 2, PAIR), 3)
    parked.send(metadata(TOPIC), 9)
    assert parked.answers() == []
    process.journal.hold()
    send_records(other)
    assert other.answers() == []
    process.confirm()
    assert [produced(answer) for answer in other.answers()] == [(0, 0)]
    assert parked.answers() == []
    leader = process.connect()
    leader.send(sync_group(members[0], 2, PAIR), 3)
    assert parked.answers() == leader.answers() == []
    process.confirm()
    assert len(leader.answers()) == 1
    synced, looked = parked.answers()
    assert (synced.error_code, looked.topics[0].name) == (0, TOPIC)


# -- E25, E26: what else fetches see --


def test_e25_a_deletion_wakes_parked_fetches(process: OneProcess) -> None:
    client, reader = process.connect(), process.connect()
    reader.send(fetch_request(TOPIC, 0, max_wait_ms=60_000), 11)
    process.settle()
    client.send(DeleteTopicsRequest(topic_names=[TOPIC], timeout_ms=1000), 5)
    assert reader.answers() == []
    process.confirm()
    (answer,) = reader.answers()
    assert answer.responses[0].partitions[0].error_code == 3


def test_e25_a_moved_log_start_wakes_parked_fetches(process: OneProcess) -> None:
    """No API moves one yet: what its entry would publish is published by hand."""
    process.let_go()
    reader = process.connect()
    process.connect().call(produce_request([(TOPIC, 0, batch([b"a", b"b"]))]), 11)
    reader.send(fetch_request(TOPIC, 2, max_wait_ms=60_000, min_bytes=1_000), 11)
    assert reader.answers() == []
    partition = partition_of(process)
    woken: list[Callable[[], None]] = []

    def publish() -> None:
        moved = Movement([Watermarks(partition, 2, 2, 1)], [])
        woken.extend(process.broker.published.publish(moved))

    process.within(publish)
    assert len(woken) == 1


def test_e26_what_a_fetch_says_of_the_machine_is_stamped(process: OneProcess) -> None:
    client = process.connect()
    send_records(client)
    process.settle()
    asked = {
        "unknown topic": fetch_request("absent", 0),
        "wrong epoch": fetch_request(TOPIC, 0, leader_epoch=9),
        "out of range": fetch_request(TOPIC, 99),
        "in range of the machine only": fetch_request(TOPIC, 1),
    }
    readers = {what: process.connect() for what in asked}
    for what, request in asked.items():
        readers[what].send(request, 11)
    assert {what: reader.answers() for what, reader in readers.items()} == {what: [] for what in asked}
    process.confirm()
    told = {
        what: reader.answers()[0].responses[0].partitions[0].error_code for what, reader in readers.items()
    }
    assert told == {
        "unknown topic": 3,
        "wrong epoch": 75,
        "out of range": 1,
        "in range of the machine only": 0,
    }


# -- E27: the cap --


def test_e27_an_entry_passes_its_cap_of_1_mib_by_one_request_at_most(process: OneProcess) -> None:
    assert Options(data="/data").entry_bytes_max == 1 << 20
    clients = [process.connect() for _ in range(4)]
    size = 300_000
    for number in range(6):
        for client in clients:
            send_records(client, bytes(size), partition=number % 3)
    process.let_go()
    process.advance(0.5)
    payloads = [len(entry.payload) for entry in process.journal.confirmed if len(entry.payload) > size]
    assert sum(payloads) > 24 * size
    assert max(payloads) >= 1 << 20, "it was reached"
    assert max(payloads) < (1 << 20) + size + 200
