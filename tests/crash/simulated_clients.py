"""The clients of the simulated crash tests: each a script that asks, waits for answers, and asks again.

They do what Kafka's clients do: connections that end are opened again and what was not answered is sent
again, in order, with the same sequence numbers. What they were told they write into the ledger, which the
audit compares with the log. Must not know the broker's insides.
"""

from __future__ import annotations

import random
import struct
import sys
from collections import deque
from collections.abc import Callable, Generator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from oncelog.wire import frames
from oncelog.wire.definition import Message
from oncelog.wire.messages.add_offsets_to_txn import AddOffsetsToTxnRequest
from oncelog.wire.messages.add_partitions_to_txn import AddPartitionsToTxnRequest, AddPartitionsToTxnTopic
from oncelog.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from oncelog.wire.messages.end_txn import EndTxnRequest
from oncelog.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from oncelog.wire.messages.init_producer_id import InitProducerIdRequest
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
from oncelog.wire.records import build_batch
from tests.crash.simulated_ledger import Ledger, Violation
from tests.crash.simulated_process import Network, SimulatedConnection, SimulatedLoop

if TYPE_CHECKING:
    from tests.crash.simulated_ledger import Place

PLAIN, PLAIN_PARTITIONS = "plain", 3
TRANSACTIONAL, TRANSACTIONAL_PARTITIONS = "tx", 10
TOPICS = {PLAIN: PLAIN_PARTITIONS, TRANSACTIONAL: TRANSACTIONAL_PARTITIONS}

NONE, TOPIC_ALREADY_EXISTS, DUPLICATE_SEQUENCE_NUMBER = 0, 36, 46
INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE, PRODUCER_FENCED = 47, 48, 90
ENDED_BY_THE_BROKER = {INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE, PRODUCER_FENCED}
RECONNECT_S = 0.008
"""Longer than anything sent on the old connection takes to arrive."""
IN_FLIGHT_MAX = 5

Ask = tuple[Message, int]


class Pause(NamedTuple):
    seconds: float


Step = Pause | Sequence[Ask]
Script = Generator[Step, Any, None]
"""Yields requests to send at once, and is given their answers, None for what was lost; or yields a Pause."""


class Client:
    """Runs a script over connections that come and go."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.world = world
        self.chance = random.Random(f"{world.seed} {name}")
        self.is_done = False
        self._connection: SimulatedConnection | None = None
        self._correlation_id = 0
        self._due: deque[tuple[int, type[Message], int]] = deque()
        self._answers: list[Any] = []
        self._asked: Sequence[Ask] = ()
        self._received = b""
        self._script = self.script()

    def script(self) -> Script:
        raise NotImplementedError

    def start(self) -> None:
        self._go_on(None)

    def pause(self) -> Pause:
        """Between two pieces of work; the world's pace says how long."""
        return Pause(self.chance.uniform(0, 0.004) * self.world.pace)

    def call(self, request: Message, version: int) -> Generator[Step, Any, Any]:
        """One request, sent again until it is answered."""
        while True:
            (answer,) = yield [(request, version)]
            if answer is not None:
                return answer

    def expect(self, what: str, error: int, allowed: Sequence[int] = (NONE,)) -> None:
        if error not in allowed:
            raise Violation(f"{self.name}: {what} was answered with error {error}")

    # --- running the script ---

    def _go_on(self, value: Any) -> None:
        try:
            step = self._script.send(value)
        except StopIteration:
            self.is_done = True
            return
        if isinstance(step, Pause):
            self.world.loop.call_later(step.seconds, self._go_on, None)
        else:
            self._asked = step
            self._answers = []
            self._send()

    def _send(self) -> None:
        if self._connection is None:
            self._connection = self.world.network.connect(self)
            self._received = b""
            if self._connection is None:
                self.world.loop.call_later(RECONNECT_S, self._send)
                return
        pieces = []
        for request, version in self._asked:
            self._correlation_id += 1
            response = response_type(request)
            self._due.append((self._correlation_id, response, version))
            pieces.append(frames.encode_request(self._correlation_id, self.name, request, version))
        if self.chance.random() < 0.5:
            pieces = [b"".join(pieces)]
        for piece in pieces:
            self._connection.send(piece)
        if self.chance.random() < self.world.drop_share:
            self.world.loop.call_later(self.chance.uniform(0, 0.006), self._drop, self._correlation_id)

    def _drop(self, correlation_id: int) -> None:
        """Lose the connection while that request is still unanswered, or right after."""
        if self._connection is not None and self._correlation_id == correlation_id:
            self._connection.drop()
            self.lost()

    def received(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= 4:
            (size,) = struct.unpack_from(">i", self._received)
            if len(self._received) < 4 + size:
                return
            frame, self._received = self._received[4 : 4 + size], self._received[4 + size :]
            self.world.trace(self.name, frame)
            expected, response, version = self._due.popleft()
            correlation_id, answer = frames.decode_response(response, frame, version)
            if correlation_id != expected:
                raise Violation(f"{self.name}: answer {correlation_id} came in the place of {expected}")
            self._answers.append(answer)
            if not self._due:
                self._go_on(self._answers)

    def lost(self) -> None:
        self._connection = None
        if self._due:
            self._answers += [None] * len(self._due)
            self._due.clear()
            self.world.loop.call_later(RECONNECT_S, self._go_on, self._answers)


def response_type(request: Message) -> type[Message]:
    kind = type(request)
    found: type[Message] = getattr(sys.modules[kind.__module__], kind.__name__.replace("Request", "Response"))
    return found


class World:
    """What clients share: time, the network, the ledger, and how much they should do.

    pace: stretches their pauses. drop_share: of requests after which a connection is lost without a crash.
    """

    def __init__(self, seed: str, loop: SimulatedLoop, network: Network, trace: Callable[..., None]) -> None:
        self.seed = seed
        self.loop = loop
        self.network = network
        self.trace = trace
        self.ledger = Ledger()
        self.topics_exist = False
        self.is_ending = False
        self.pace = 1.0
        self.drop_share = 0.03


# --- scripts ---


class TopicMaker(Client):
    def script(self) -> Script:
        for name, partitions in TOPICS.items():
            topic = CreatableTopic(name=name, num_partitions=partitions, replication_factor=1)
            answer = yield from self.call(CreateTopicsRequest(topics=[topic], timeout_ms=1000), 7)
            self.expect("CreateTopics", answer.topics[0].error_code, (NONE, TOPIC_ALREADY_EXISTS))
        self.world.topics_exist = True


class Worker(Client):
    """A client that begins when the topics are there and ends, with its work whole, when the world does."""

    def script(self) -> Script:
        while not self.world.topics_exist:
            yield Pause(0.005)
        yield from self.work()

    def work(self) -> Script:
        raise NotImplementedError


class IdempotentProducer(Worker):
    """Numbers its records per partition; up to five requests in flight, sent again in order when lost."""

    def work(self) -> Script:
        answer = yield from self.call(
            InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=0), 4
        )
        self.expect("InitProducerId", answer.error_code)
        producer_id, epoch = answer.producer_id, answer.producer_epoch
        counts = [0] * PLAIN_PARTITIONS
        while not self.world.is_ending:
            waiting = []
            for _ in range(self.chance.randint(1, IN_FLIGHT_MAX)):
                partition = self.chance.randrange(PLAIN_PARTITIONS)
                first, count = counts[partition], self.chance.randint(1, 3)
                counts[partition] += count
                values = [f"{self.name}:{number}".encode() for number in range(first, first + count)]
                batch = build_batch(
                    [(0, None, value) for value in values],
                    producer_id=producer_id,
                    producer_epoch=epoch,
                    base_sequence=first,
                )
                request = produce_request(None, [(PLAIN, partition, batch)])
                waiting.append((request, partition, values))
            while waiting:
                answers = yield [(request, 11) for request, _, _ in waiting]
                left = []
                for sent, answer in zip(waiting, answers, strict=True):
                    if answer is None:
                        left.append(sent)
                    else:
                        self._told(sent[1], sent[2], answer.responses[0].partition_responses[0])
                waiting = left
            yield self.pause()

    def _told(self, partition: int, values: Sequence[bytes], answer: Any) -> None:
        self.expect("Produce", answer.error_code, (NONE, DUPLICATE_SEQUENCE_NUMBER))
        offset = answer.base_offset if answer.error_code == NONE else None
        for place, value in enumerate(values):
            self.world.ledger.acknowledged(
                (PLAIN, partition), value, None if offset is None else offset + place
            )


class Transaction(NamedTuple):
    number: int
    partitions: list[int]
    commits: bool
    crashes_at: str
    """Where the client ends and another takes its place; empty where it does not."""


class Fenced(Exception):
    """The broker has ended the transaction."""


class TransactionalProducer(Worker):
    """Transactions over all ten partitions and a committed offset, in one generation of the protocol.

    timeout_ms: with a short one it also sleeps within transactions, so that the broker ends some of them.
    """

    def __init__(self, world: World, name: str, generation: int, timeout_ms: int = 60_000) -> None:
        self._generation = generation
        self._timeout_ms = timeout_ms
        self._is_slow = timeout_ms < 10_000
        self._producer_id = self._epoch = -1
        self._sequences: dict[int, int] = {}
        super().__init__(world, name)

    @property
    def group(self) -> str:
        return f"group-{self.name}"

    def work(self) -> Script:
        ledger = self.world.ledger
        number = 0
        is_initialized = False
        while not self.world.is_ending:
            if not is_initialized:
                yield from self._initialize()
                is_initialized = True
            transaction = self._plan(number)
            number += 1
            ledger.began(self.name, transaction.number)
            try:
                yield from self._run(transaction)
            except Fenced:
                is_initialized = False
            if transaction.crashes_at:
                is_initialized = False
            yield self.pause()
        # The last incarnation leaves nothing open.
        yield from self._initialize()

    def _plan(self, number: int) -> Transaction:
        partitions = list(range(TRANSACTIONAL_PARTITIONS))
        self.chance.shuffle(partitions)
        crashes_at = self.chance.choice(("begun", "sent", "ending")) if self.chance.random() < 0.1 else ""
        return Transaction(number, partitions, self.chance.random() < 0.8, crashes_at)

    def _initialize(self) -> Script:
        request = InitProducerIdRequest(
            transactional_id=self.name,
            transaction_timeout_ms=self._timeout_ms,
            producer_id=-1,
            producer_epoch=-1,
        )
        answer = yield from self.call(request, 4)
        self.expect("InitProducerId", answer.error_code)
        self._take_over(answer)
        self._sequences.clear()
        self.world.ledger.fenced(self.name)

    def _take_over(self, answer: Any) -> None:
        if (answer.producer_id, answer.producer_epoch) != (self._producer_id, self._epoch):
            self._sequences.clear()
        self._producer_id, self._epoch = answer.producer_id, answer.producer_epoch

    def _run(self, transaction: Transaction) -> Script:
        ledger = self.world.ledger
        if self._generation == 1:
            yield from self._add_partitions(transaction)
        if transaction.crashes_at == "begun":
            return
        yield from self._produce(transaction)
        if self._is_slow:
            yield Pause(self.chance.uniform(0, 4 * self._timeout_ms / 1000))
        yield from self._send_offsets(transaction)
        if transaction.crashes_at == "sent":
            return
        if self.chance.random() < 0.3:
            yield self.pause()
        ledger.is_ending(self.name, transaction.number, transaction.commits)
        request = EndTxnRequest(
            transactional_id=self.name,
            producer_id=self._producer_id,
            producer_epoch=self._epoch,
            committed=transaction.commits,
        )
        version = 4 if self._generation == 1 else 5
        if transaction.crashes_at == "ending":
            yield [(request, version)]
            return
        answer = yield from self.call(request, version)
        self._check("EndTxn", answer.error_code)
        ledger.ended(self.name, transaction.number, transaction.commits)
        if self._generation == 2:
            self._take_over(answer)

    def _check(self, what: str, error: int) -> None:
        if self._is_slow and error in ENDED_BY_THE_BROKER:
            raise Fenced
        self.expect(what, error)

    def _add_partitions(self, transaction: Transaction) -> Script:
        cut = self.chance.randrange(TRANSACTIONAL_PARTITIONS)
        for some in (transaction.partitions[:cut], transaction.partitions[cut:]):
            if some:
                request = AddPartitionsToTxnRequest(
                    v3_and_below_transactional_id=self.name,
                    v3_and_below_producer_id=self._producer_id,
                    v3_and_below_producer_epoch=self._epoch,
                    v3_and_below_topics=[AddPartitionsToTxnTopic(name=TRANSACTIONAL, partitions=some)],
                )
                answer = yield from self.call(request, 3)
                for each in answer.results_by_topic_v3_and_below[0].results_by_partition:
                    self._check("AddPartitionsToTxn", each.partition_error_code)

    def _produce(self, transaction: Transaction) -> Script:
        """One record to each partition, in one to four requests in flight at once."""
        places = sorted(self.chance.sample(range(1, TRANSACTIONAL_PARTITIONS), self.chance.randint(0, 3)))
        bounds = [0, *places, TRANSACTIONAL_PARTITIONS]
        waiting = []
        for start, end in pairwise(bounds):
            parts = [
                (TRANSACTIONAL, partition, self._batch(transaction.number, partition))
                for partition in transaction.partitions[start:end]
            ]
            waiting.append(produce_request(self.name, parts))
        while waiting:
            answers = yield [(request, 11 if self._generation == 1 else 12) for request in waiting]
            left = []
            for request, answer in zip(waiting, answers, strict=True):
                if answer is None:
                    left.append(request)
                    continue
                for each in answer.responses[0].partition_responses:
                    if each.error_code != DUPLICATE_SEQUENCE_NUMBER:
                        self._check("Produce", each.error_code)
            waiting = left

    def _batch(self, number: int, partition: int) -> bytes:
        sequence = self._sequences.get(partition, 0)
        self._sequences[partition] = sequence + 1
        return build_batch(
            [(0, None, f"{self.name}:{number}".encode())],
            producer_id=self._producer_id,
            producer_epoch=self._epoch,
            base_sequence=sequence,
            is_transactional=True,
        )

    def _send_offsets(self, transaction: Transaction) -> Script:
        if self._generation == 1:
            adding = AddOffsetsToTxnRequest(
                transactional_id=self.name,
                producer_id=self._producer_id,
                producer_epoch=self._epoch,
                group_id=self.group,
            )
            answer = yield from self.call(adding, 3)
            self._check("AddOffsetsToTxn", answer.error_code)
        wanted = TxnOffsetCommitRequestPartition(
            partition_index=0, committed_offset=transaction.number + 1, committed_metadata=""
        )
        request = TxnOffsetCommitRequest(
            transactional_id=self.name,
            group_id=self.group,
            producer_id=self._producer_id,
            producer_epoch=self._epoch,
            topics=[TxnOffsetCommitRequestTopic(name=PLAIN, partitions=[wanted])],
        )
        answer = yield from self.call(request, 3 if self._generation == 1 else 5)
        self._check("TxnOffsetCommit", answer.topics[0].partitions[0].error_code)


class ReadCommitted(Worker):
    """Follows all partitions read_committed and the groups' offsets, and checks what it is shown."""

    def work(self) -> Script:
        places = [(topic, index) for topic, count in TOPICS.items() for index in range(count)]
        positions = dict.fromkeys(places, 0)
        groups = [f"group-{name}" for name in self.world.ledger.transactional_ids]
        while not self.world.is_ending:
            request = fetch_request(
                positions, read_committed=True, max_wait_ms=self.chance.choice((0, 5, 50))
            )
            answer = yield from self.call(request, 12)
            for topic in answer.responses:
                for part in topic.partitions:
                    self._shown((topic.topic, part.partition_index), part, positions)
            if self.chance.random() < 0.2:
                answer = yield from self.call(offset_fetch_request(groups), 8)
                for group in answer.groups:
                    self.world.ledger.offset_shown(group.group_id, committed_offset_in(group))
            yield self.pause()

    def _shown(self, place: Place, part: Any, positions: dict[Place, int]) -> None:
        self.expect(f"Fetch of {place}", part.error_code)
        ledger = self.world.ledger
        ledger.watermarks_shown(place, part.high_watermark, part.last_stable_offset, part.log_start_offset)
        positions[place] = ledger.read_committed_shown(place, part, positions[place])


# --- requests ---


def produce_request(transactional_id: str | None, parts: Sequence[tuple[str, int, bytes]]) -> ProduceRequest:
    return ProduceRequest(
        transactional_id=transactional_id,
        acks=-1,
        timeout_ms=10_000,
        topic_data=[
            TopicProduceData(
                name=parts[0][0],
                partition_data=[
                    PartitionProduceData(index=index, records=records) for _, index, records in parts
                ],
            )
        ],
    )


def fetch_request(positions: dict[Place, int], *, read_committed: bool, max_wait_ms: int = 0) -> FetchRequest:
    by_topic: dict[str, list[FetchPartition]] = {}
    for (topic, index), offset in positions.items():
        by_topic.setdefault(topic, []).append(
            FetchPartition(partition=index, fetch_offset=offset, partition_max_bytes=1 << 22)
        )
    return FetchRequest(
        max_wait_ms=max_wait_ms,
        min_bytes=1,
        max_bytes=1 << 25,
        isolation_level=int(read_committed),
        session_epoch=-1,
        topics=[FetchTopic(topic=topic, partitions=parts) for topic, parts in by_topic.items()],
    )


def offset_fetch_request(groups: Sequence[str]) -> OffsetFetchRequest:
    topics = [OffsetFetchRequestTopics(name=PLAIN, partition_indexes=[0])]
    return OffsetFetchRequest(
        groups=[OffsetFetchRequestGroup(group_id=each, topics=topics) for each in groups]
    )


def committed_offset_in(group: Any) -> int:
    """What an OffsetFetch answer says of one group; -1 where nothing is committed."""
    if group.error_code:
        raise Violation(f"OffsetFetch of {group.group_id} was answered with error {group.error_code}")
    return int(group.topics[0].partitions[0].committed_offset)
