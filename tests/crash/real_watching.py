"""A real broker, killed again and again, and people who look at its transactions from all sides meanwhile.

Each transaction writes one record to each of twenty partitions, in one request, and commits an offset of each
for a group. So every answer must give the same number for all of them: last stable offsets of a Fetch or a
ListOffsets, committed offsets of an OffsetFetch. And once anybody was shown a transaction, whoever asks later
is, about partitions and offsets alike. Must not know how the broker does that.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

from oncelog.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from oncelog.wire.messages.list_offsets import ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic
from oncelog.wire.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
)
from oncelog.wire.messages.txn_offset_commit import (
    TxnOffsetCommitRequest,
    TxnOffsetCommitRequestPartition,
    TxnOffsetCommitRequestTopic,
)
from tests.support.raw import ConnectionClosed, RawConnection
from tests.support.speaking import TransactionalProducer, batches_in, produce_request

TOPIC, GROUP, TRANSACTIONAL_ID = "watched", "watching", "watched-writer"
PARTITIONS = range(20)
READ_COMMITTED, LATEST = 1, -1
GONE = (ConnectionClosed, OSError)
"""What a killed broker looks like to its clients."""

Question = tuple[Any, int, Callable[[Any], list[int]]]


def fetch_all(offset: int = 0, partition_max_bytes: int = 1) -> FetchRequest:
    wanted = [
        FetchPartition(partition=index, fetch_offset=offset, partition_max_bytes=partition_max_bytes)
        for index in PARTITIONS
    ]
    return FetchRequest(
        max_bytes=1 << 25,
        isolation_level=READ_COMMITTED,
        session_epoch=-1,
        topics=[FetchTopic(topic=TOPIC, partitions=wanted)],
    )


def by_fetch() -> Question:
    return (
        fetch_all(),
        12,
        lambda answer: [each.last_stable_offset for each in answer.responses[0].partitions],
    )


def by_list_offsets() -> Question:
    wanted = [ListOffsetsPartition(partition_index=index, timestamp=LATEST) for index in PARTITIONS]
    request = ListOffsetsRequest(
        replica_id=-1,
        isolation_level=READ_COMMITTED,
        topics=[ListOffsetsTopic(name=TOPIC, partitions=wanted)],
    )
    return request, 7, lambda answer: [each.offset for each in answer.topics[0].partitions]


def by_offset_fetch() -> Question:
    topic = OffsetFetchRequestTopics(name=TOPIC, partition_indexes=list(PARTITIONS))
    request = OffsetFetchRequest(groups=[OffsetFetchRequestGroup(group_id=GROUP, topics=[topic])])

    def offsets_in(answer: Any) -> list[int]:
        return [each.committed_offset for each in answer.groups[0].topics[0].partitions]

    return request, 8, offsets_in


LOOKS_AT_PARTITIONS = (by_fetch, by_list_offsets)
LOOKS = (*LOOKS_AT_PARTITIONS, by_offset_fetch)


class Seen:
    """What anybody has been shown, over all lives of the broker.

    A transaction is known by the offset of its records, which it commits for the group, too. Its marker
    follows, so that the stable offset is at least two more once it has ended.
    """

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.answers = 0
        self._committed: list[int] = []
        """Whose commit was asked for, save those that a kill came before."""
        self._newest_transaction = -1
        self._newest_stable = 0
        self._lock = threading.Lock()

    def commit_is_sent(self, transaction: int) -> None:
        with self._lock:
            self._committed.append(transaction)

    def commit_is_told(self, transaction: int) -> None:
        with self._lock:
            self._newest_transaction = max(self._newest_transaction, transaction)

    def what_became_of_the_last(self, stable_offset: int) -> None:
        """After a kill, before anybody ends what it left open: did a commit that was on its way come."""
        with self._lock:
            if self._committed and self._committed[-1] + 2 > stable_offset:
                self._committed.pop()

    def look(self, connection: RawConnection, how: Callable[[], Question]) -> None:
        """Ask, and compare the answer with what was shown before it was asked."""
        with self._lock:
            since, stable_since = self._newest_transaction, self._newest_stable
        request, version, numbers_in = how()
        numbers = numbers_in(connection.call(request, version))
        with self._lock:
            self.answers += 1
            if len(set(numbers)) != 1:
                self.wrong.append(f"half a transaction, {how.__name__}: {numbers}")
                return
            shown = stable = numbers[0]
            if how in LOOKS_AT_PARTITIONS:
                shown = max((each for each in self._committed if each + 2 <= stable), default=-1)
                if stable < stable_since:
                    self.wrong.append(f"{how.__name__} went back from {stable_since} to {stable}")
                self._newest_stable = max(self._newest_stable, stable)
            if shown < since:
                self.wrong.append(f"{how.__name__} has shown transaction {shown} after {since}")
            self._newest_transaction = max(self._newest_transaction, shown)


class Writer:
    """Commits one transaction after the other, over kills; what a kill left open is aborted."""

    def __init__(self, seen: Seen) -> None:
        self.committed = 0
        self._seen = seen

    def write(self, connection: RawConnection) -> None:
        """Until the broker goes away."""
        request, version, numbers_in = by_list_offsets()
        self._seen.what_became_of_the_last(numbers_in(connection.call(request, version))[0])
        producer = TransactionalProducer(connection, TRANSACTIONAL_ID)
        while True:
            request = produce_request(
                [(TOPIC, index, producer.batch(TOPIC, [b"record"], index)) for index in PARTITIONS],
                transactional_id=TRANSACTIONAL_ID,
            )
            answers = connection.call(request, 12).responses[0].partition_responses
            assert {each.error_code for each in answers} == {0}, answers
            (offset,) = {each.base_offset for each in answers}
            self._commit_offsets(connection, producer, offset)
            self._seen.commit_is_sent(offset)
            assert producer.end(commit=True, version=5).error_code == 0
            self._seen.commit_is_told(offset)
            self.committed += 1

    def _commit_offsets(
        self, connection: RawConnection, producer: TransactionalProducer, offset: int
    ) -> None:
        wanted = [
            TxnOffsetCommitRequestPartition(
                partition_index=index, committed_offset=offset, committed_metadata=""
            )
            for index in PARTITIONS
        ]
        request = TxnOffsetCommitRequest(
            transactional_id=TRANSACTIONAL_ID,
            group_id=GROUP,
            producer_id=producer.producer_id,
            producer_epoch=producer.epoch,
            topics=[TxnOffsetCommitRequestTopic(name=TOPIC, partitions=wanted)],
        )
        answer = connection.call(request, 5)
        assert {each.error_code for each in answer.topics[0].partitions} == {0}, answer


@contextlib.contextmanager
def connected(bootstrap: str) -> Iterator[RawConnection]:
    connection = RawConnection(bootstrap)
    try:
        yield connection
    finally:
        connection.close()


def on_a_connection(
    bootstrap: str, act: Callable[[RawConnection], None], wrong: list[str]
) -> threading.Thread:
    """A thread that does this until the broker is gone."""

    def run() -> None:
        try:
            with connected(bootstrap) as connection:
                act(connection)
        except GONE:
            pass
        except Exception as error:
            wrong.append(f"{type(error).__name__}: {error}")

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def keep_looking(seen: Seen, chance: random.Random) -> Callable[[RawConnection], None]:
    def look(connection: RawConnection) -> None:
        while True:
            seen.look(connection, chance.choice(LOOKS))

    return look


def whole_transactions(connection: RawConnection) -> int:
    """Read everything: the records of committed transactions are the same in all partitions."""
    partitions = connection.call(fetch_all(partition_max_bytes=1 << 20), 12).responses[0].partitions
    offsets = []
    for each in partitions:
        aborted = {(one.producer_id, one.first_offset) for one in each.aborted_transactions}
        headers = [header for header, _ in batches_in(each.records) if not header.is_control]
        offsets.append(
            [
                header.base_offset
                for header in headers
                if (header.producer_id, header.base_offset) not in aborted
            ]
        )
    assert all(each == offsets[0] for each in offsets), "a transaction is in some partitions only"
    return len(offsets[0])
