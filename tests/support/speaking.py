"""What to say to a broker in a raw test: each function is one request with its usual fields filled in.

Errors are returned, not raised: they are what the tests are about. Only `settled` asks again, while the
broker says that it is still busy with this transactional id or is starting its coordinator, as clients do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from oncelog.wire.messages.add_offsets_to_txn import AddOffsetsToTxnRequest
from oncelog.wire.messages.add_partitions_to_txn import AddPartitionsToTxnRequest, AddPartitionsToTxnTopic
from oncelog.wire.messages.end_txn import EndTxnRequest
from oncelog.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from oncelog.wire.messages.find_coordinator import FindCoordinatorRequest
from oncelog.wire.messages.init_producer_id import InitProducerIdRequest
from oncelog.wire.messages.list_offsets import ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic
from oncelog.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from oncelog.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from oncelog.wire.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
)
from oncelog.wire.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from oncelog.wire.messages.txn_offset_commit import (
    TxnOffsetCommitRequest,
    TxnOffsetCommitRequestPartition,
    TxnOffsetCommitRequestTopic,
)
from oncelog.wire.records import BatchHeader, parse_batch_header
from tests.support.batches import batch
from tests.support.raw import RawConnection

NONE = 0
STILL_BUSY = {14, 15, 16, 51}
"""COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR, CONCURRENT_TRANSACTIONS."""
TRANSACTION_KEY, GROUP_KEY = 1, 0


def settled(ask: Callable[[], Any], error_of: Callable[[Any], int], timeout_s: float = 20.0) -> Any:
    """Ask again while the answer is that the coordinator is not ready yet."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = ask()
        if error_of(answer) not in STILL_BUSY or time.monotonic() > deadline:
            return answer
        time.sleep(0.02)


def topic_id(connection: RawConnection, topic: str) -> bytes:
    if topic not in connection.topic_ids:
        request = MetadataRequest(topics=[MetadataRequestTopic(name=topic)], allow_auto_topic_creation=False)
        connection.topic_ids[topic] = bytes(connection.call(request, 12).topics[0].topic_id)
    return connection.topic_ids[topic]


# -- produce --


def produce_request(
    parts: Sequence[tuple[str, int, bytes | None]],
    *,
    transactional_id: str | None = None,
    acks: int = -1,
    topic_ids: Mapping[str, bytes] | None = None,
) -> ProduceRequest:
    """parts: (topic, partition, records). topic_ids: by name, for v13 and later."""
    by_topic: dict[str, list[PartitionProduceData]] = {}
    for topic, partition, records in parts:
        by_topic.setdefault(topic, []).append(PartitionProduceData(index=partition, records=records))
    data = [
        TopicProduceData(name=topic, partition_data=partitions)
        if topic_ids is None
        else TopicProduceData(topic_id=topic_ids[topic], partition_data=partitions)
        for topic, partitions in by_topic.items()
    ]
    return ProduceRequest(transactional_id=transactional_id, acks=acks, timeout_ms=10_000, topic_data=data)


def produce_many(
    connection: RawConnection,
    parts: Sequence[tuple[str, int, bytes | None]],
    *,
    version: int = 11,
    transactional_id: str | None = None,
    acks: int = -1,
) -> dict[tuple[str, int], Any]:
    """Partition responses by (topic, partition)."""
    ids = {topic: topic_id(connection, topic) for topic, _, _ in parts} if version >= 13 else None
    request = produce_request(parts, transactional_id=transactional_id, acks=acks, topic_ids=ids)
    response = connection.call(request, version)
    names = {each: name for name, each in (ids or {}).items()}
    return {
        (names[bytes(topic.topic_id)] if ids else topic.name, each.index): each
        for topic in response.responses
        for each in topic.partition_responses
    }


def produce(
    connection: RawConnection,
    topic: str,
    records: bytes | None,
    *,
    partition: int = 0,
    version: int = 11,
    transactional_id: str | None = None,
    acks: int = -1,
) -> Any:
    answers = produce_many(
        connection,
        [(topic, partition, records)],
        version=version,
        transactional_id=transactional_id,
        acks=acks,
    )
    return answers[topic, partition]


# -- fetch and offsets --


def fetch_request(
    topic: str,
    offset: int = 0,
    *,
    partition: int = 0,
    read_committed: bool = False,
    max_wait_ms: int = 0,
    min_bytes: int = 1,
    max_bytes: int = 50_000_000,
    partition_max_bytes: int = 10_000_000,
    session_id: int = 0,
    session_epoch: int = -1,
    leader_epoch: int = -1,
) -> FetchRequest:
    """For versions up to 12, which name topics by name."""
    return FetchRequest(
        max_wait_ms=max_wait_ms,
        min_bytes=min_bytes,
        max_bytes=max_bytes,
        isolation_level=int(read_committed),
        session_id=session_id,
        session_epoch=session_epoch,
        topics=[
            FetchTopic(
                topic=topic,
                partitions=[
                    FetchPartition(
                        partition=partition,
                        fetch_offset=offset,
                        partition_max_bytes=partition_max_bytes,
                        current_leader_epoch=leader_epoch,
                    )
                ],
            )
        ],
    )


def fetch(
    connection: RawConnection, topic: str, offset: int = 0, *, version: int = 12, **options: Any
) -> Any:
    """The answer about the one partition asked for."""
    request = fetch_request(topic, offset, **options)
    if version >= 13:
        request.topics[0].topic_id = topic_id(connection, topic)
    response = connection.call(request, version)
    return response.responses[0].partitions[0]


def batches_in(records: bytes | memoryview | None) -> list[tuple[BatchHeader, bytes]]:
    """The whole batches of a fetched buffer."""
    data, found, at = bytes(records or b""), [], 0
    while at + 61 <= len(data):
        header = parse_batch_header(data, at)
        if at + header.size > len(data):
            break
        found.append((header, data[at : at + header.size]))
        at += header.size
    return found


def stored_batches(
    connection: RawConnection, topic: str, partition: int = 0
) -> list[tuple[BatchHeader, bytes]]:
    """All batches of a partition."""
    found: list[tuple[BatchHeader, bytes]] = []
    while True:
        offset = found[-1][0].base_offset + found[-1][0].last_offset_delta + 1 if found else 0
        more = batches_in(fetch(connection, topic, offset, partition=partition).records)
        if not more:
            return found
        found += more


def list_offset(
    connection: RawConnection,
    topic: str,
    timestamp: int,
    *,
    partition: int = 0,
    read_committed: bool = False,
    leader_epoch: int = -1,
    version: int = 7,
) -> Any:
    wanted = ListOffsetsPartition(
        partition_index=partition, timestamp=timestamp, current_leader_epoch=leader_epoch
    )
    request = ListOffsetsRequest(
        replica_id=-1,
        isolation_level=int(read_committed),
        topics=[ListOffsetsTopic(name=topic, partitions=[wanted])],
    )
    return connection.call(request, version).topics[0].partitions[0]


LATEST, EARLIEST, MAX_TIMESTAMP, EARLIEST_LOCAL, LATEST_TIERED, EARLIEST_PENDING_UPLOAD = (
    -1,
    -2,
    -3,
    -4,
    -5,
    -6,
)


def log_end_offset(connection: RawConnection, topic: str, partition: int = 0) -> int:
    return int(list_offset(connection, topic, LATEST, partition=partition).offset)


def last_stable_offset(connection: RawConnection, topic: str, partition: int = 0) -> int:
    return int(list_offset(connection, topic, LATEST, partition=partition, read_committed=True).offset)


# -- producer ids and transactions --


def find_coordinator(connection: RawConnection, key: str, key_type: int) -> Any:
    """Ask until there is one: Apache Kafka creates its internal topics when they are first needed."""
    request = FindCoordinatorRequest(key=key, key_type=key_type)
    return settled(lambda: connection.call(request, 2), lambda answer: int(answer.error_code))


def init_producer_id(
    connection: RawConnection,
    transactional_id: str | None = None,
    *,
    timeout_ms: int = 60_000,
    producer_id: int = -1,
    epoch: int = -1,
    version: int = 4,
) -> Any:
    """The answer as it comes, CONCURRENT_TRANSACTIONS included."""
    request = InitProducerIdRequest(
        transactional_id=transactional_id,
        transaction_timeout_ms=timeout_ms,
        producer_id=producer_id,
        producer_epoch=epoch,
    )
    return connection.call(request, version)


def idempotent_producer(connection: RawConnection) -> int:
    """A fresh producer id; its epoch is 0."""
    answer = settled(lambda: init_producer_id(connection), lambda answer: int(answer.error_code))
    assert (answer.error_code, answer.producer_epoch) == (NONE, 0), answer
    return int(answer.producer_id)


class OffsetAndMetadata(NamedTuple):
    offset: int
    metadata: str | None
    error: int


class TransactionalProducer:
    """A producer with a transactional id, with its id, epoch and sequences, and no rules of its own."""

    def __init__(self, connection: RawConnection, transactional_id: str, timeout_ms: int = 60_000) -> None:
        self.connection = connection
        self.transactional_id = transactional_id
        find_coordinator(connection, transactional_id, TRANSACTION_KEY)
        answer = settled(
            lambda: init_producer_id(connection, transactional_id, timeout_ms=timeout_ms),
            lambda answer: int(answer.error_code),
        )
        assert answer.error_code == NONE, answer
        self.producer_id = int(answer.producer_id)
        self.epoch = int(answer.producer_epoch)
        self.sequences: dict[tuple[str, int], int] = {}

    def add(
        self, topic: str, partitions: Iterable[int] = (0,), *, version: int = 3, epoch: int | None = None
    ) -> int:
        """AddPartitionsToTxn; the first partition's error code (they agree unless one is unknown)."""
        errors = self.add_each(topic, partitions, version=version, epoch=epoch)
        return next(iter(errors.values()))

    def add_each(
        self, topic: str, partitions: Iterable[int], *, version: int = 3, epoch: int | None = None
    ) -> dict[int, int]:
        request = AddPartitionsToTxnRequest(
            v3_and_below_transactional_id=self.transactional_id,
            v3_and_below_producer_id=self.producer_id,
            v3_and_below_producer_epoch=self.epoch if epoch is None else epoch,
            v3_and_below_topics=[AddPartitionsToTxnTopic(name=topic, partitions=list(partitions))],
        )

        def ask() -> dict[int, int]:
            response = self.connection.call(request, version)
            (result,) = response.results_by_topic_v3_and_below
            return {each.partition_index: each.partition_error_code for each in result.results_by_partition}

        found: dict[int, int] = settled(ask, lambda errors: next(iter(errors.values())))
        return found

    def batch(self, topic: str, values: Sequence[bytes], partition: int = 0) -> bytes:
        """The next batch for the partition; counts as sent."""
        sequence = self.sequences.get((topic, partition), 0)
        self.sequences[topic, partition] = sequence + len(values)
        return batch(
            values, producer_id=self.producer_id, epoch=self.epoch, sequence=sequence, transactional=True
        )

    def produce(
        self, topic: str, values: Sequence[bytes] = (b"value",), *, partition: int = 0, version: int = 11
    ) -> Any:
        """From v12 on, a partition that is new to the transaction is added by this."""
        records = self.batch(topic, values, partition)
        return settled(
            lambda: produce(
                self.connection,
                topic,
                records,
                partition=partition,
                version=version,
                transactional_id=self.transactional_id,
            ),
            lambda answer: int(answer.error_code),
        )

    def end(
        self, commit: bool, *, version: int, epoch: int | None = None, producer_id: int | None = None
    ) -> Any:
        """EndTxn; from v5 on the epoch of the answer is taken over, as clients do."""
        request = EndTxnRequest(
            transactional_id=self.transactional_id,
            producer_id=self.producer_id if producer_id is None else producer_id,
            producer_epoch=self.epoch if epoch is None else epoch,
            committed=commit,
        )
        answer = settled(
            lambda: self.connection.call(request, version), lambda answer: int(answer.error_code)
        )
        if version >= 5 and answer.error_code == NONE:
            if answer.producer_epoch != self.epoch:
                self.sequences.clear()
            self.producer_id, self.epoch = int(answer.producer_id), int(answer.producer_epoch)
        return answer

    def add_offsets(self, group_id: str, *, version: int = 3) -> int:
        request = AddOffsetsToTxnRequest(
            transactional_id=self.transactional_id,
            producer_id=self.producer_id,
            producer_epoch=self.epoch,
            group_id=group_id,
        )
        answer = settled(
            lambda: self.connection.call(request, version), lambda answer: int(answer.error_code)
        )
        return int(answer.error_code)

    def commit_offset(
        self,
        group_id: str,
        topic: str,
        offset: int,
        *,
        partition: int = 0,
        version: int = 3,
        epoch: int | None = None,
        generation_id: int = -1,
        member_id: str = "",
    ) -> int:
        """TxnOffsetCommit of one offset; its error code."""
        wanted = TxnOffsetCommitRequestPartition(
            partition_index=partition, committed_offset=offset, committed_metadata=""
        )
        request = TxnOffsetCommitRequest(
            transactional_id=self.transactional_id,
            group_id=group_id,
            producer_id=self.producer_id,
            producer_epoch=self.epoch if epoch is None else epoch,
            topics=[TxnOffsetCommitRequestTopic(name=topic, partitions=[wanted])],
        )
        if version >= 3:
            request.generation_id_or_member_epoch = generation_id
            request.member_id = member_id
        find_coordinator(self.connection, group_id, GROUP_KEY)

        def ask() -> int:
            return int(self.connection.call(request, version).topics[0].partitions[0].error_code)

        return int(settled(ask, lambda error: int(error)))


def committed_offset(
    connection: RawConnection, group_id: str, topic: str, *, partition: int = 0, require_stable: bool = False
) -> OffsetAndMetadata:
    find_coordinator(connection, group_id, GROUP_KEY)
    wanted = OffsetFetchRequestTopics(name=topic, partition_indexes=[partition])
    request = OffsetFetchRequest(
        groups=[OffsetFetchRequestGroup(group_id=group_id, topics=[wanted])], require_stable=require_stable
    )
    group = settled(lambda: connection.call(request, 8).groups[0], lambda group: int(group.error_code))
    assert group.error_code == NONE, group
    found = group.topics[0].partitions[0]
    return OffsetAndMetadata(found.committed_offset, found.metadata, found.error_code)


def commit_offsets(
    connection: RawConnection, group: str, *places: tuple[str, int, int], metadata: str = ""
) -> None:
    """Each place is a topic, a partition and the offset to commit there, as from a simple consumer."""
    find_coordinator(connection, group, GROUP_KEY)
    request = OffsetCommitRequest(
        group_id=group,
        generation_id_or_member_epoch=-1,
        member_id="",
        topics=[
            OffsetCommitRequestTopic(
                name=topic,
                partitions=[
                    OffsetCommitRequestPartition(
                        partition_index=partition, committed_offset=offset, committed_metadata=metadata
                    )
                ],
            )
            for topic, partition, offset in places
        ],
    )
    errors = settled(
        lambda: [
            each.error_code for topic in connection.call(request, 7).topics for each in topic.partitions
        ],
        max,
    )
    assert set(errors) == {0}
