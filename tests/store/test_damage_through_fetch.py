"""Damage on the disk, seen by a client: that partition's Fetch fails, and nothing of it is ever served."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from oncelog.disk.faulty import FaultyDisk
from oncelog.disk.workers import InlineWorker
from oncelog.journal import Post
from oncelog.journal.file import FileJournal
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from oncelog.wire.records import HEADER_SIZE, iterate_records, parse_batch_header
from tests.journal.harness import FIRST_FILE, PATH
from tests.support import speaking
from tests.support.batches import batch
from tests.support.one_process import OneProcess

TOPIC = "kept"
BYTES_OF_RECORD_BEFORE_VALUE = 6
VALUES = [[b"first", b"second"], [b"third"]]


def broker_on(disk: FaultyDisk, seed: int = 1) -> OneProcess:
    def make_journal(post: Post) -> FileJournal:
        return FileJournal.open(
            disk,
            PATH,
            post=post,
            file_bytes_max=256 << 10,
            random_bytes=random.Random(seed).randbytes,
            writer=InlineWorker(),
            preparer=InlineWorker(),
        )

    return OneProcess(make_journal=make_journal)


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def process(disk: FaultyDisk) -> Iterator[OneProcess]:
    """A broker with a topic of two partitions, each with one batch, nothing of them in memory."""
    with closing(broker_on(disk)) as process:
        client: Any = process.connect()
        topic = CreatableTopic(name=TOPIC, num_partitions=2, replication_factor=1)
        assert client.call(CreateTopicsRequest(topics=[topic]), 7).topics[0].error_code == ErrorCode.NONE
        for partition, values in enumerate(VALUES):
            answer = speaking.produce(client, TOPIC, batch(values), partition=partition)
            assert answer.error_code == ErrorCode.NONE
        yield process


def read(process: OneProcess, partition: int) -> tuple[int, list[bytes | None]]:
    """Error and values of one partition."""
    client: Any = process.connect()
    answer = speaking.fetch(client, TOPIC, partition=partition)
    batches = speaking.batches_in(answer.records)
    return answer.error_code, [record.value for _, data in batches for record in iterate_records(data)]


def place_of(disk: FaultyDisk, value: bytes) -> int:
    return disk.content(FIRST_FILE).index(value)


def test_a_damaged_record_is_not_served_and_the_other_partition_is(
    process: OneProcess, disk: FaultyDisk
) -> None:
    assert [read(process, partition) for partition in (0, 1)] == [(0, VALUES[0]), (0, VALUES[1])]
    disk.flip(FIRST_FILE, place_of(disk, b"second"), 0x01)
    assert read(process, 0) == (ErrorCode.KAFKA_STORAGE_ERROR, [])
    assert read(process, 1) == (ErrorCode.NONE, VALUES[1])
    disk.flip(FIRST_FILE, place_of(disk, b"recond"), 0x01)
    assert read(process, 0) == (ErrorCode.NONE, VALUES[0])


def test_no_byte_of_a_batch_may_change(process: OneProcess, disk: FaultyDisk) -> None:
    whole = disk.content(FIRST_FILE)
    value_at = place_of(disk, b"third")
    start = value_at - BYTES_OF_RECORD_BEFORE_VALUE - HEADER_SIZE
    assert parse_batch_header(whole, start).size == value_at + len(b"third") + 1 - start
    for at in range(start, value_at + len(b"third") + 1):
        disk.flip(FIRST_FILE, at, 0x02)
        assert read(process, 1) == (ErrorCode.KAFKA_STORAGE_ERROR, []), at - start
        disk.flip(FIRST_FILE, at, 0x02)
    assert read(process, 1) == (ErrorCode.NONE, VALUES[1])


def test_a_file_that_became_shorter_fails_the_read_and_not_the_broker(
    process: OneProcess, disk: FaultyDisk
) -> None:
    disk.open(FIRST_FILE, for_writing=True).truncate(place_of(disk, b"third"))
    assert read(process, 1) == (ErrorCode.KAFKA_STORAGE_ERROR, [])
    assert read(process, 0) == (ErrorCode.NONE, VALUES[0])
    assert process.failures == []
