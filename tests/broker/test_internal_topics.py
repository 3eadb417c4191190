"""When the internal topics show what: with the entry that tells it, in one step with all else of that."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import pytest

from oncelog.broker import internal_records
from oncelog.machine.internal_topics import partition_of
from oncelog.wire.messages.delete_topics import DeleteTopicsRequest
from oncelog.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from oncelog.wire.records import iterate_records
from tests.broker.asking import (
    GROUP,
    TOPIC,
    TRANSACTIONAL_ID,
    World,
    end_txn,
    list_offsets,
    offset_commit,
    world,
)
from tests.support.coordinator_records import PARTITIONS, decode
from tests.support.one_process import Client, OneProcess, one_process
from tests.support.speaking import batches_in, fetch_request

OFFSETS, TRANSACTIONS = "__consumer_offsets", "__transaction_state"
NAMES_OF_SAME_PARTITION = (name for n in count() if partition_of(name := f"other-{n}") == partition_of(GROUP))
SAME_PARTITION, OTHER_OF_SAME_PARTITION = islice(NAMES_OF_SAME_PARTITION, 2)


@pytest.fixture
def at() -> Iterator[World]:
    with one_process() as process:
        made = world(process)
        process.advance(0.5)
        yield made


def told(answer: Any, topic: str) -> tuple[int, dict[Any, Any]]:
    """The high watermark, and by key the value of each record."""
    found = {}
    for _, whole in batches_in(answer.records):
        for record in iterate_records(whole):
            assert record.key is not None
            assert record.offset < answer.high_watermark
            one = decode(topic, record.key, record.value)
            found[one.key] = one.value
    assert answer.last_stable_offset == answer.high_watermark
    return answer.high_watermark, found


def read(client: Client, topic: str, key: str, offset: int = 0) -> tuple[int, dict[Any, Any]]:
    """The partition of a group or transactional id, from an offset on."""
    answer = client.call(fetch_request(topic, offset, partition=partition_of(key)), 12)
    return told(answer.responses[0].partitions[0], topic)


def offsets_told(client: Client, offset: int = 0) -> tuple[int, list[int]]:
    end, found = read(client, OFFSETS, GROUP, offset)
    return end, [value.offset for value in found.values()]


def test_a_commit_that_is_not_durable_is_not_shown(at: World) -> None:
    reader = at.process.connect()
    assert offsets_told(reader) == (1, [3])
    at.process.journal.hold()
    at.client.send(offset_commit(GROUP, 4), 7)
    assert at.client.answers() == []
    assert offsets_told(reader) == (1, []), "its older record is gone, its newer one is not there yet"
    at.process.let_go()
    assert len(at.client.answers()) == 1
    assert offsets_told(reader) == (2, [4])


def test_a_reader_that_passes_over_what_a_crash_brings_back_is_not_answered_before(at: World) -> None:
    """Its older record is gone, others lie behind it: told of those, a reader would never see it again."""
    reader = at.process.connect()
    assert at.client.call(offset_commit(SAME_PARTITION, 9), 7)
    assert offsets_told(reader) == (2, [3, 9])
    at.process.journal.hold()
    at.client.send(offset_commit(GROUP, 4), 7)
    assert at.client.answers() == []
    reader.send(fetch_request(OFFSETS, 0, partition=partition_of(GROUP)), 12)
    assert reader.answers() == []
    restarted = at.process.restarted()
    assert offsets_told(restarted.connect()) == (2, [3, 9])
    restarted.close()


def test_entries_on_their_way_are_shown_one_by_one(at: World) -> None:
    reader = at.process.connect()
    at.process.journal.hold()
    at.client.send(offset_commit(GROUP, 4), 7)
    at.process.settle()
    at.client.send(offset_commit("committed-first", 5), 7)
    at.client.send(offset_commit(GROUP, 6), 7)
    at.process.settle()
    assert offsets_told(reader) == (1, [])
    at.process.confirm()
    assert offsets_told(reader) == (2, []), "the first of two, of which the second is known"
    at.process.let_go()
    assert offsets_told(reader) == (3, [6])


def test_what_a_crash_takes_back_is_as_it_was(at: World) -> None:
    before = offsets_told(at.process.connect())
    at.process.journal.hold()
    at.client.send(offset_commit(GROUP, 4), 7)
    at.process.settle()
    at.process.fail()
    at.process.advance(0.5)
    restarted = at.process.restarted()
    assert offsets_told(restarted.connect()) == before == (1, [3])
    assert restarted.connect().call(offset_commit(GROUP, 9), 7).topics[0].partitions[0].error_code == 0
    assert offsets_told(restarted.connect()) == (2, [9])
    restarted.close()


def test_a_reader_at_the_end_is_woken_when_it_is_durable(at: World) -> None:
    """However many bytes it would wait for: one record is reason enough."""
    reader = at.process.connect()
    request = fetch_request(
        OFFSETS, 1, partition=partition_of(GROUP), max_wait_ms=60_000, min_bytes=1_000_000
    )
    reader.send(request, 12)
    at.process.journal.hold()
    at.client.send(offset_commit(GROUP, 4), 7)
    assert reader.answers() == []
    at.process.let_go()
    (answer,) = reader.answers()
    end, found = told(answer.responses[0].partitions[0], OFFSETS)
    assert (end, [value.offset for value in found.values()]) == (2, [4])


def test_a_reader_behind_what_is_durable_waits_and_is_told(at: World) -> None:
    """The offset is in range, for the machine knows it."""
    reader = at.process.connect()
    at.process.journal.hold()
    at.client.send(offset_commit(GROUP, 4), 7)
    at.process.settle()
    reader.send(fetch_request(OFFSETS, 2, partition=partition_of(GROUP), max_wait_ms=60_000), 12)
    assert reader.answers() == []
    at.process.let_go()
    assert reader.answers() == []
    assert len(at.client.answers()) == 1
    at.client.call(offset_commit(GROUP, 5), 7)
    (answer,) = reader.answers()
    assert told(answer.responses[0].partitions[0], OFFSETS)[0] == 3


def test_the_end_of_a_transaction_is_shown_in_all_topics_at_once(at: World) -> None:
    """In one answer the data's last stable offset, the group's offset and the transaction's state agree."""

    def everything() -> tuple[int, list[int], list[int]]:
        places = ((TOPIC, 1), (OFFSETS, partition_of(GROUP)), (TRANSACTIONS, partition_of(TRANSACTIONAL_ID)))
        request = FetchRequest(
            max_wait_ms=0,
            min_bytes=1,
            max_bytes=1_000_000,
            isolation_level=1,
            topics=[
                FetchTopic(
                    topic=topic,
                    partitions=[
                        FetchPartition(partition=partition, fetch_offset=0, partition_max_bytes=100_000)
                    ],
                )
                for topic, partition in places
            ],
        )
        data, offsets, transactions = at.process.connect().call(request, 11).responses
        return (
            data.partitions[0].last_stable_offset,
            [value.offset for value in told(offsets.partitions[0], OFFSETS)[1].values()],
            [
                value.transaction_status
                for value in told(transactions.partitions[0], TRANSACTIONS)[1].values()
            ],
        )

    assert everything() == (0, [3], [1])
    at.process.journal.hold()
    at.client.send(end_txn(at.transactional), 4)
    at.process.settle()
    assert everything() == (0, [], [])
    at.process.let_go()
    assert everything() == (2, [7], [4])


def test_a_start_shows_the_same_at_the_same_offsets(at: World) -> None:
    def all_of(process: OneProcess) -> list[Any]:
        client = process.connect()
        return [
            read(client, topic, key)
            for topic, key in (
                (OFFSETS, GROUP),
                (TRANSACTIONS, TRANSACTIONAL_ID),
                (OFFSETS, "committed-first"),
            )
        ]

    for number in range(5):
        at.client.call(offset_commit("committed-first", number), 7)
    before = all_of(at.process)
    at.process.advance(0.5)
    restarted = at.process.restarted()
    assert all_of(restarted) == before
    restarted.close()


@pytest.mark.parametrize(("name", "most"), [("RECORDS_PER_FETCH_MAX", 7), ("BYTES_PER_FETCH_MAX", 700)])
def test_one_answer_has_only_so_much_of_all_partitions(
    at: World, monkeypatch: pytest.MonkeyPatch, name: str, most: int
) -> None:
    for number in range(20):
        at.client.call(offset_commit(f"group-{number}", number), 7)
    monkeypatch.setattr(internal_records, name, most)
    request = fetch_request(OFFSETS, 0)
    request.topics[0].partitions = [
        FetchPartition(partition=partition, fetch_offset=0, partition_max_bytes=100_000)
        for partition in range(PARTITIONS)
    ]
    answers = at.process.connect().call(request, 12).responses[0].partitions
    headers = [header for each in answers for header, _ in batches_in(each.records)]
    records = sum(header.record_count for header in headers)
    size_bytes = sum(header.size for header in headers)
    assert 0 < (records if name.startswith("RECORDS") else size_bytes) <= most
    assert records < 20


def test_one_answer_encodes_only_so_much_in_vain(at: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that don't fit behind what is there already are encoded before that can be known."""
    by_partition = {partition_of(name): name for name in (f"group-{number}" for number in range(500))}
    small, *large = (by_partition[partition] for partition in range(PARTITIONS))
    at.client.call(offset_commit(small, 1), 7)
    for name in large:
        at.client.call(offset_commit(name, 1, metadata="m" * 1000), 7)
    encoded: list[int] = []

    def batch_from(*args: Any, **named: Any) -> tuple[bytes, int]:
        batch, count = real_batch_from(*args, **named)
        encoded.append(len(batch))
        return batch, count

    real_batch_from = internal_records.batch_from
    monkeypatch.setattr(internal_records, "batch_from", batch_from)
    monkeypatch.setattr(internal_records, "BYTES_PER_FETCH_MAX", 700)
    request = fetch_request(OFFSETS, 0)
    request.topics[0].partitions = [
        FetchPartition(partition=partition, fetch_offset=0, partition_max_bytes=100_000)
        for partition in range(PARTITIONS)
    ]
    answers = at.process.connect().call(request, 12).responses[0].partitions
    assert [each.partition_index for each in answers if each.records] == [0]
    assert encoded[0] < 700 < encoded[1]
    assert len(encoded) == 2


@pytest.mark.parametrize("step", [1, 2, 5000])
def test_the_search_by_time_goes_on_while_others_commit(
    at: World, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """What it tells is of the moment at which it was asked."""
    monkeypatch.setattr("oncelog.broker.api.list_offsets.STEP_RECORDS", step)
    partition = partition_of(GROUP)
    names = [name for name in (f"group-{number}" for number in range(500)) if partition_of(name) == partition]
    times = []
    for name in names[:7]:
        at.process.advance(1)
        times.append(at.process.clock.wall_ms())
        at.client.call(offset_commit(name, 1), 7)
    seekers = []
    for timestamp in (-3, times[3], times[-1] + 1):
        request = list_offsets(timestamp, partition=partition, topic=OFFSETS)
        seekers.append(at.process.connect())
        seekers[-1].send(request, 7)
    at.client.send(offset_commit(names[7], 1), 7)
    found = []
    for seeker in seekers:
        (answer,) = seeker.answers()
        found.append(answer.topics[0].partitions[0])
    assert [(each.offset, each.timestamp) for each in found] == [(7, times[-1]), (4, times[3]), (-1, -1)]


def test_a_search_that_passes_over_what_a_crash_brings_back_is_not_answered_before(
    at: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oncelog.broker.api.list_offsets.STEP_RECORDS", 1)
    at.process.advance(1)
    sought_ms = at.process.clock.wall_ms()
    for name in (SAME_PARTITION, OTHER_OF_SAME_PARTITION):
        at.client.call(offset_commit(name, 1), 7)
    at.process.journal.hold()
    seeker = at.process.connect()
    search = seeker.encode(list_offsets(sought_ms, partition=partition_of(GROUP), topic=OFFSETS), 7)
    change = at.client.encode(offset_commit(SAME_PARTITION, 2), 7)

    def ask() -> None:
        seeker.transport.protocol.data_received(search)
        at.client.transport.protocol.data_received(change)

    at.process.within(ask)
    assert seeker.answers() == []
    at.process.let_go()
    (answer,) = seeker.answers()
    assert answer.topics[0].partitions[0].offset == 2


# -- what is forgotten in time --


def last_told(process: OneProcess, topic: str, key: str) -> dict[Any, Any]:
    return read(process.connect(), topic, key)[1]


def test_what_expires_is_told_to_be_gone() -> None:
    """Offsets after their retention, with their group, and transactional ids that nobody used."""
    options = {"offsets_retention_minutes": 1, "transactional_id_expiration_ms": 60_000}
    with one_process(**options) as process:
        made = world(process)
        assert made.client.call(end_txn(made.transactional), 4).error_code == 0
        assert set(last_told(process, OFFSETS, GROUP).values()) != {None}
        process.advance(3600, step_s=1)
        assert set(last_told(process, OFFSETS, GROUP).values()) == {None}
        assert set(last_told(process, TRANSACTIONS, TRANSACTIONAL_ID).values()) == {None}
        assert process.connect().call(offset_commit(GROUP, 9), 7).topics[0].partitions[0].error_code == 0
        assert [each.offset for each in last_told(process, OFFSETS, GROUP).values()] == [9]


def test_offsets_of_a_deleted_topic_are_told_to_be_gone_once_they_are_swept(at: World) -> None:
    before = last_told(at.process, OFFSETS, GROUP)
    assert len(before) == 1
    deleted = at.client.call(DeleteTopicsRequest(topic_names=[TOPIC], timeout_ms=1000), 5)
    assert deleted.responses[0].error_code == 0
    assert last_told(at.process, OFFSETS, GROUP) == before
    at.process.advance(1500, step_s=1)
    assert last_told(at.process, OFFSETS, GROUP) == dict.fromkeys(before)
