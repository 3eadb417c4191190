"""A machine without a broker: each command is decided, its events go through bytes, two states evolve.

One state evolves the decided events and one the decoded ones, as serving and replaying do; `check` compares
them. Names stay short here, because the tests read as sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from oncelog.machine.commands import (
    AbortTimedOutTransaction,
    AddOffsetsToTxn,
    AddPartitionsToTxn,
    AddPartitionsToTxnReply,
    EndTxn,
    EndTxnReply,
    InitProducerId,
    InitProducerIdReply,
    OffsetToCommit,
    Produce,
    ProduceBatch,
    ProduceResult,
    TxnOffsetCommit,
)
from oncelog.machine.decide import decide
from oncelog.machine.events import REGISTRY, BatchAppended, TransactionEnded, decode_events
from oncelog.machine.evolve import evolve
from oncelog.machine.fingerprint import state_differences
from oncelog.machine.limits import STANDARD_LIMITS, Limits
from oncelog.machine.moment import At, Time
from oncelog.machine.state import Partition, State, Topic, TransactionalId
from oncelog.wire.definition import Event
from oncelog.wire.errors import ErrorCode
from oncelog.wire.records import BatchHeader

TRANSACTIONAL, CONTROL, LOG_APPEND_TIME = 0x10, 0x20, 0x08
NOBODY = (-1, -1)
TOPIC_ID = b"T" * 16
OTHER_TOPIC_ID = b"U" * 16
UNKNOWN_TOPIC_ID = b"?" * 16
FIRST_GENERATION, SECOND_GENERATION = 11, 12
"""Produce versions: the last one that doesn't add partitions to a transaction, the first one that does."""

Producer = tuple[int, int]
"""Producer id and epoch."""


def header(
    *,
    count: int = 1,
    producer: Producer = NOBODY,
    sequence: int = -1,
    attributes: int = 0,
    timestamp: int = 0,
    base_timestamp: int | None = None,
    size: int = 100,
) -> BatchHeader:
    return BatchHeader(
        base_offset=0,
        batch_length=size - 12,
        partition_leader_epoch=-1,
        magic=2,
        crc=0,
        attributes=attributes,
        last_offset_delta=count - 1,
        base_timestamp=timestamp if base_timestamp is None else base_timestamp,
        max_timestamp=timestamp,
        producer_id=producer[0],
        producer_epoch=producer[1],
        base_sequence=sequence,
        record_count=count,
    )


def batch(
    partition: int = 0, *, topic_id: bytes = TOPIC_ID, size: int = 100, **of_header: Any
) -> ProduceBatch:
    return ProduceBatch(topic_id, partition, header(size=size, **of_header), size)


def recounted(state: State) -> tuple[int, int]:
    """Producers that partitions remember, and partitions that open transactions cover, counted one by one."""
    partitions = [partition for topic in state.topics.values() for partition in topic.partitions]
    return (
        sum(len(partition.producers) for partition in partitions),
        sum(len(transaction.partitions) for transaction in state.transactions.values()),
    )


class Machine:
    """A topic of three partitions, another of one, and time that passes when told."""

    def __init__(self, limits: Limits = STANDARD_LIMITS) -> None:
        self.state = State(limits)
        self.replayed = State(limits)
        self.wall_ms = 1_700_000_000_000
        self.age_ms = 0
        self.position = 0
        self.events: list[Event] = []
        self.add_topic(TOPIC_ID, "things", 3)
        self.add_topic(OTHER_TOPIC_ID, "others", 1)

    def add_topic(self, topic_id: bytes, name: str, partitions: int, **configs: str) -> None:
        for state in (self.state, self.replayed):
            topic = Topic(topic_id, name, state.broker_configs)
            topic.configs.update({key.replace("_", "."): value for key, value in configs.items()})
            topic.partitions.extend(Partition(topic, index) for index in range(partitions))
            state.topics[topic_id] = topic
            state.topic_ids[name] = topic_id

    def remove_topic(self, topic_id: bytes) -> None:
        for state in (self.state, self.replayed):
            removed = state.topics.pop(topic_id)
            del state.topic_ids[removed.name]
            state.producer_count -= sum(len(partition.producers) for partition in removed.partitions)

    def do(self, command: Any) -> Any:
        """Decide, journal in memory, evolve; one entry per command."""
        events, reply = decide(self.state, command, Time(self.wall_ms, self.age_ms))
        if events:
            self.position += 1
            data = b"".join(event.encode() for event in events)
            decoded = decode_events(REGISTRY, data)
            assert decoded == events
            payload = sum(_payload_size(event) for event in events)
            for state, its_events in ((self.state, events), (self.replayed, decoded)):
                at = At(self.position, self.wall_ms, self.age_ms)
                for event in its_events:
                    evolve(state, event, at)
                assert at.payload_offset == payload
            self.events += events
        return reply

    def check(self) -> None:
        """What served and what was replayed are equal, field for field (law 2), and its counts are right."""
        assert state_differences(self.state, self.replayed) == []
        remembered, covered = recounted(self.state)
        assert (self.state.producer_count, self.state.covered_count) == (remembered, covered)

    def pass_time(self, ms: int) -> None:
        self.wall_ms += ms
        self.age_ms += ms

    # --- what a client sends ---

    def produce(
        self,
        partition: int = 0,
        *,
        producer: Producer = NOBODY,
        sequence: int = -1,
        count: int = 1,
        in_transaction: str | None = None,
        version: int = FIRST_GENERATION,
        attributes: int | None = None,
        **of_batch: Any,
    ) -> ProduceResult:
        if attributes is None:
            attributes = TRANSACTIONAL if in_transaction is not None else 0
        of_batch.setdefault("timestamp", self.wall_ms)
        one = batch(
            partition, producer=producer, sequence=sequence, count=count, attributes=attributes, **of_batch
        )
        (result,) = self.produce_all([one], in_transaction=in_transaction, version=version)
        return result

    def produce_all(
        self,
        batches: Sequence[ProduceBatch],
        *,
        in_transaction: str | None = None,
        version: int = FIRST_GENERATION,
    ) -> tuple[ProduceResult, ...]:
        results: tuple[ProduceResult, ...] = self.do(
            Produce(in_transaction, tuple(batches), version, "client", "/127.0.0.1")
        )
        assert len(results) == len(batches)
        return results

    def init(
        self, name: str | None = "t", *, expects: Producer = NOBODY, timeout_ms: int = 60_000
    ) -> InitProducerIdReply:
        reply: InitProducerIdReply = self.do(
            InitProducerId(name, timeout_ms, *expects, "client", "/127.0.0.1")
        )
        return reply

    def producer(self, name: str | None = "t", **options: Any) -> Producer:
        """Like init, for those who expect to be given one."""
        reply = self.init(name, **options)
        assert reply.error == ErrorCode.NONE
        return reply.producer_id, reply.producer_epoch

    def add(
        self,
        producer: Producer,
        *partitions: int,
        name: str = "t",
        topic_id: bytes = TOPIC_ID,
        verify_only: bool = False,
    ) -> AddPartitionsToTxnReply:
        named = tuple((topic_id, partition) for partition in partitions or (0,))
        reply: AddPartitionsToTxnReply = self.do(
            AddPartitionsToTxn(name, *producer, named, verify_only, "client", "/127.0.0.1")
        )
        assert len(reply.partition_errors) == len(named)
        return reply

    def add_group(self, producer: Producer, group: str = "g", *, name: str = "t") -> ErrorCode:
        error: ErrorCode = self.do(AddOffsetsToTxn(name, *producer, group, "client", "/127.0.0.1")).error
        return error

    def send_offsets(
        self,
        producer: Producer,
        offsets: dict[int, int],
        *,
        group: str = "g",
        name: str = "t",
        version: int = 3,
        generation: int = -1,
        member: str = "",
        topic_id: bytes = TOPIC_ID,
        metadata: str | None = None,
    ) -> tuple[ErrorCode, ...]:
        named = tuple(
            OffsetToCommit(topic_id, partition, offset, -1, metadata) for partition, offset in offsets.items()
        )
        errors: tuple[ErrorCode, ...] = self.do(
            TxnOffsetCommit(
                name, group, *producer, generation, member, None, version, named, "client", "/127.0.0.1"
            )
        ).errors
        return errors

    def end(self, producer: Producer, commit: bool, *, v2: bool = False, name: str = "t") -> EndTxnReply:
        reply: EndTxnReply = self.do(EndTxn(name, *producer, commit, v2, "client", "/127.0.0.1"))
        return reply

    def commit(self, producer: Producer, *, v2: bool = False, name: str = "t") -> EndTxnReply:
        return self.end(producer, True, v2=v2, name=name)

    def abort(self, producer: Producer, *, v2: bool = False, name: str = "t") -> EndTxnReply:
        return self.end(producer, False, v2=v2, name=name)

    def time_out(self, name: str = "t") -> ErrorCode:
        """Let the timeout of a transactional id pass and the broker notice it."""
        transaction = self.transaction(name)
        self.pass_time(transaction.timeout_ms)
        producer = transaction.producer_id, transaction.producer_epoch
        error: ErrorCode = self.do(AbortTimedOutTransaction(name, *producer)).error
        return error

    # --- what is true ---

    def partition(self, index: int = 0, topic_id: bytes = TOPIC_ID) -> Partition:
        partition = self.state.partition(topic_id, index)
        assert partition is not None
        return partition

    def transaction(self, name: str = "t") -> TransactionalId:
        return self.state.transactions[name]

    def committed_offset(self, partition: int = 0, group: str = "g") -> int | None:
        found = self.state.groups.get(group)
        committed = None if found is None else found.offsets.get((TOPIC_ID, partition))
        return None if committed is None else committed.offset


def _payload_size(event: Event) -> int:
    if isinstance(event, BatchAppended):
        return event.size
    return 78 if isinstance(event, TransactionEnded) and event.markers else 0
