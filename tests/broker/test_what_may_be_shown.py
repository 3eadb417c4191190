"""What may be shown when: a test for each numbered sentence of that part of docs/architecture.md.

A real broker with its real handlers serves on a journal whose durability the test controls.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from oncelog.broker.registry import Registry
from oncelog.disk.faulty import FaultyDisk
from oncelog.disk.workers import InlineWorker
from oncelog.journal import Post
from oncelog.journal.file import FileJournal
from oncelog.wire.messages.delete_topics import DeleteTopicsRequest
from tests.broker.asking import (
    CHANGES,
    GROUP,
    LOOKS_AT_NOTHING,
    QUESTIONS,
    TIME_PASSES_S,
    TOPIC,
    Asked,
    World,
    alter_config,
    create_topic,
    end_txn,
    list_offsets,
    offset_fetch,
    world,
)
from tests.support.batches import batch
from tests.support.one_process import Client, OneProcess, one_process
from tests.support.speaking import batches_in, fetch_request, produce_request

ROWS = [
    pytest.param(asked, id=f"{api}-{number}-{asked.change.replace(' ', '-')}")
    for api, questions in QUESTIONS.items()
    for number, asked in enumerate(questions)
]


@pytest.fixture
def process() -> Iterator[OneProcess]:
    with one_process() as made:
        yield made


@pytest.fixture
def at(process: OneProcess) -> World:
    return world(process)


def hold_and_change(at: World, change: str) -> None:
    """Make the change on the world's own connection, with nothing becoming durable."""
    at.process.advance(0.5)
    assert at.process.journal.in_flight is None
    at.process.journal.hold()
    request = CHANGES[change](at)
    if request is not None:
        at.client.send(*request)
        at.process.settle()
    else:
        at.process.advance(TIME_PASSES_S, step_s=0.5)
    assert at.process.journal.in_flight is not None, f"{change!r} changes nothing"


def ask(at: World, asked: Asked) -> Client:
    other = at.process.connect()
    other.send(*asked.question(at))
    return other


# -- S1 --


def test_s1_every_api_has_a_question_that_betrays_a_change() -> None:
    served = {route.name for route in Registry.load().routes.values()}
    assert served == set(QUESTIONS) | set(LOOKS_AT_NOTHING)
    assert not set(QUESTIONS) & set(LOOKS_AT_NOTHING)
    for api, questions in QUESTIONS.items():
        assert any(asked.before != asked.after for asked in questions), f"{api} betrays nothing"


@pytest.mark.parametrize("asked", ROWS)
def test_s1_an_answer_leaves_when_what_it_looked_at_is_durable(at: World, asked: Asked) -> None:
    hold_and_change(at, asked.change)
    other = ask(at, asked)
    early = other.answers()
    if asked.at_once:
        assert [asked.told(answer) for answer in early] == [asked.before]
    else:
        assert early == [], "answered before it was durable"
    assert at.client.answers() == []
    at.process.let_go()
    if asked.at_once:
        other.send(*asked.question(at))
    assert [asked.told(answer) for answer in other.answers()] == [asked.after]
    assert len(at.client.answers()) == (0 if CHANGES[asked.change](at) is None else 1)


# -- S2 --


@pytest.mark.parametrize("asked", ROWS)
def test_s2_what_a_crash_takes_back_nobody_was_told(at: World, asked: Asked) -> None:
    hold_and_change(at, asked.change)
    other = ask(at, asked)
    told = [asked.told(answer) for answer in other.answers()]
    assert told == ([asked.before] if asked.at_once else [])
    at.process.fail()
    at.process.advance(0.5)
    assert other.answers() == at.client.answers() == []
    restarted = at.process.restarted()
    again: Any = restarted.connect().call(*asked.question(at))
    restarted.close()
    assert asked.told(again) == asked.before


# -- S3 --


@pytest.mark.parametrize("asked", ROWS)
def test_s3_on_an_idle_broker_every_answer_that_changes_nothing_leaves_at_once(
    at: World, asked: Asked
) -> None:
    """The journal would hold whatever is written; an answer that needs nothing written does not wait."""
    at.process.advance(0.5)
    at.process.journal.hold()
    appended = len(at.process.journal.appended)
    other = ask(at, asked)
    answers = other.answers()
    changed = len(at.process.journal.appended) > appended
    assert len(answers) == (0 if changed else 1)


# -- S4 --


def test_s4_fetch_alone_goes_on_showing_what_was_durable_before(at: World) -> None:
    """Two entries are on their way: Fetch follows them one by one, all the others wait for both."""
    hold_and_change(at, "records produced")
    at.client.send(produce_request([(TOPIC, 0, batch([b"newest"]))]), 11)
    readers = {name: at.process.connect() for name in ("fetch", "list", "look up")}

    def fetched() -> int:
        answer = readers["fetch"].call(fetch_request(TOPIC, 0), 11)
        return int(answer.responses[0].partitions[0].high_watermark)

    assert fetched() == 1
    readers["list"].send(list_offsets(-1), 7)
    readers["look up"].send(list_offsets(-3), 7)
    at.process.confirm()
    assert fetched() == 3
    assert readers["list"].answers() == readers["look up"].answers() == []
    # What comes later keeps nobody waiting who asked before.
    at.client.send(produce_request([(TOPIC, 0, batch([b"later"]))]), 11)
    at.process.confirm()
    assert fetched() == 4
    (end,), (newest,) = readers["list"].answers(), readers["look up"].answers()
    assert end.topics[0].partitions[0].offset == 4
    assert newest.topics[0].partitions[0].error_code == 0
    assert newest.topics[0].partitions[0].offset >= 1


# -- S5 --


def test_s5_one_callback_publishes_all_watermarks_and_releases_and_then_readers_wake(at: World) -> None:
    reader = at.process.connect()
    reader.send(fetch_request(TOPIC, 1, partition=0, max_wait_ms=60_000), 11)
    assert reader.answers() == []
    at.process.advance(0.5)
    at.process.journal.hold()
    at.client.send(produce_request([(TOPIC, 0, batch([b"a"])), (TOPIC, 1, batch([b"b"]))]), 11)
    created = at.process.connect()
    created.send(create_topic("published-with-it"), 7)
    # It asks for what only the machine knows, so it starts again when the entry is durable.
    restarted = at.process.connect()
    restarted.send(fetch_request("published-with-it", 0), 11)
    at.process.settle()
    assert created.answers() == restarted.answers() == []
    views = at.process.broker.published.views
    topics = {topic.name: topic.id for topic in at.process.broker.state.topics.values()}

    def marks() -> list[int | None]:
        keys = [(topics[TOPIC], 0), (topics[TOPIC], 1), (topics["published-with-it"], 0)]
        return [views[key].high_watermark if key in views else None for key in keys]

    def confirm_and_look() -> list[int | None]:
        at.process.journal.confirm(post=lambda confirm, written: confirm(written))
        return marks()

    assert marks() == [1, 1, None]
    at.process.write_order.clear()
    assert at.process.within(confirm_and_look) == [2, 2, 0], "published in one step"
    assert len(at.client.answers()) == len(created.answers()) == 1
    (empty,), (woken,) = restarted.answers(), reader.answers()
    assert empty.responses[0].partitions[0].high_watermark == 0
    assert woken.responses[0].partitions[0].high_watermark == 2
    order = at.process.write_order
    assert order.index(at.client.transport) < order.index(reader.transport), "released before woken"
    assert at.process.errors == []


# -- S6 --


def test_s6_a_transaction_shows_in_all_its_partitions_and_groups_at_once(at: World) -> None:
    producer = at.transactional
    assert producer.produce(TOPIC, [b"also in it"], partition=0).error_code == 0
    both = fetch_request(TOPIC, 1, partition=0, read_committed=True, max_wait_ms=60_000)
    both.topics[0].partitions += fetch_request(TOPIC, 0, partition=1).topics[0].partitions
    parked = at.process.connect()
    parked.send(both, 11)
    assert parked.answers() == []
    hold_and_change(at, "transaction committed")
    other = at.process.connect()

    def seen() -> tuple[list[int], list[int]]:
        """Last stable offsets, and records of the transaction that a reader gets, in each partition."""
        both.max_wait_ms = 0
        partitions = other.call(both, 11).responses[0].partitions
        return (
            [each.last_stable_offset for each in partitions],
            [sum(header.is_transactional for header, _ in batches_in(each.records)) for each in partitions],
        )

    assert seen() == ([1, 0], [0, 0])

    def confirm_and_look() -> list[int]:
        at.process.journal.confirm(post=lambda confirm, written: confirm(written))
        views = at.process.broker.published.views
        return [views[at.topic_id, index].last_stable_offset for index in (0, 1)]

    assert at.process.within(confirm_and_look) == [3, 2]
    assert seen() == ([3, 2], [2, 2])
    (woken,) = parked.answers()
    assert [each.last_stable_offset for each in woken.responses[0].partitions] == [3, 2]
    group = other.call(offset_fetch(GROUP), 8).groups[0]
    assert group.topics[0].partitions[0].committed_offset == 7


def test_s6_a_transaction_whose_end_is_lost_shows_nowhere(at: World) -> None:
    hold_and_change(at, "transaction committed")
    at.process.fail()
    restarted = at.process.restarted()
    client = restarted.connect()
    for index, stable in ((0, 1), (1, 0)):
        answer = client.call(fetch_request(TOPIC, 0, partition=index, read_committed=True), 11)
        assert answer.responses[0].partitions[0].last_stable_offset == stable
    assert client.call(offset_fetch(GROUP), 8).groups[0].topics[0].partitions[0].committed_offset == 3
    assert client.call(end_txn(at.transactional), 4).error_code == 0, "it is still open, and can be ended"
    restarted.close()


# -- S7 --


def test_s7_the_published_view_is_made_anew_from_the_durable_state(at: World) -> None:
    """It is no part of what is journaled: a restart shows the ends of what was durable, and no more."""
    hold_and_change(at, "records produced")
    at.process.confirm()
    at.client.answers()
    at.client.send(produce_request([(TOPIC, 0, batch([b"lost"]))]), 11)
    assert at.client.answers() == []
    restarted = at.process.restarted()
    views = restarted.broker.published.views
    for topic in restarted.broker.state.topics.values():
        for partition in topic.partitions:
            view = views[topic.id, partition.index]
            assert (view.high_watermark, view.last_stable_offset, view.log_start_offset) == (
                partition.log_end_offset,
                partition.last_stable_offset,
                partition.log_start_offset,
            )
    assert views[at.topic_id, 0].high_watermark == 3
    assert views[at.topic_id, 1].last_stable_offset == 0
    restarted.close()


# -- S8 --


@pytest.mark.parametrize("is_lost", [False, True])
def test_s8_a_log_line_about_a_fact_is_written_when_the_fact_is_durable(
    at: World, caplog: pytest.LogCaptureFixture, is_lost: bool
) -> None:
    at.process.advance(0.5)
    at.process.journal.hold()
    at.client.send(alter_config(TOPIC, "min.insync.replicas", "2"), 1)
    at.process.connect().send(create_topic("logged", segment_bytes="1048576"), 7)
    at.process.settle()

    def told() -> set[str]:
        lines = [record.getMessage() for record in caplog.records if record.name == "oncelog.configs"]
        return {name for name in ("min.insync.replicas", "segment.bytes") for line in lines if name in line}

    assert told() == set()
    if is_lost:
        at.process.fail()
        at.process.advance(0.5)
        assert told() == set()
    else:
        at.process.let_go()
        assert told() == {"min.insync.replicas", "segment.bytes"}


# -- S9 --


class RemembersRemovals(FaultyDisk):
    """A disk that knows what was removed from it."""

    gone: list[str]

    def remove(self, path: str) -> None:
        self.gone.append(path)
        super().remove(path)


def test_s9_no_file_of_the_journal_is_removed_as_long_as_no_entry_says_so() -> None:
    """Nothing takes files away yet: whatever is deleted or superseded, the journal's files stay."""
    disk = RemembersRemovals()
    disk.gone = []

    def make_journal(post: Post) -> FileJournal:
        return FileJournal.open(
            disk,
            "/data",
            post=post,
            file_bytes_max=1 << 20,
            random_bytes=random.Random(9).randbytes,
            writer=InlineWorker(),
            preparer=InlineWorker(),
        )

    with one_process(make_journal=make_journal) as process:
        client = process.connect()
        disk.gone.clear()
        client.call(create_topic("short-lived"), 7)
        for _ in range(6):
            records = produce_request([("short-lived", 0, batch([bytes(500_000)]))])
            assert client.call(records, 11).responses[0].partition_responses[0].error_code == 0
        files = [name for name in disk.list("/data/journal") if not name.endswith(".part")]
        assert len(files) >= 3
        client.call(DeleteTopicsRequest(topic_names=["short-lived"], timeout_ms=1000), 5)
        process.advance(0.5)
        assert set(files) <= set(disk.list("/data/journal"))
        assert disk.gone == []
