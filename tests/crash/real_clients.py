"""The load: three kinds of stock clients at work, each in its own thread, writing down what they are told.

Each client object lives as long as the run: what happens to the broker is the client library's business. Only
a transactional producer that was told a fatal error is replaced, as its documentation demands. Nothing here
knows that a broker is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from enum import Enum
from functools import partial
from typing import Any

import aiokafka
from aiokafka import errors
from aiokafka.abc import ConsumerRebalanceListener
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from tests.crash.real_ledger import PLAIN_PARTITIONS, TRANSACTION_PARTITIONS, Outcome, Part, Told, slots

PLAIN = "plain"
TRANSACTIONS = "transactions"
OFFSETS = "slots"
"""A topic of which only the group's offsets are used."""
GROUP = "readers"
OFFSETS_GROUP = "transactional-offsets"
TRANSACTIONAL_ID = "writer"
MEMBERS = 2
IN_FLIGHT_MAX = 200
PAUSE_S_MAX = 0.003
ABORTED_SHARE = 0.1
MEMBER_ERRORS_MAX = 1000


def confluent_settings(bootstrap: str) -> dict[str, Any]:
    """Reconnect quickly: the broker is about to be killed many times."""
    return {
        "bootstrap.servers": bootstrap,
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 200,
        "retry.backoff.ms": 20,
        "retry.backoff.max.ms": 200,
        # When its only broker is away, librdkafka forgets it and bootstraps anew, and (seen in 2.16) a call
        # that waits for the transaction coordinator meanwhile never returns. Ours comes back where it was.
        "metadata.recovery.strategy": "none",
        "log_level": 2,
    }


class Load:
    """One client in a thread. An exception that it should not have met is a violation."""

    name: str

    def __init__(self, told: Told) -> None:
        self.told = told
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name=self.name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 60.0) -> None:
        """Finish what is begun. A client that cannot is a violation."""
        self.stopping.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self.told.violations.append(f"the {self.name} did not come to an end")

    def progress(self) -> int:
        """Something that grows while the client gets on."""
        raise NotImplementedError

    def run(self) -> None:
        raise NotImplementedError

    def _work(self) -> None:
        try:
            self.run()
        except Exception as problem:
            self.told.violations.append(f"the {self.name} gave up: {problem!r}")


class PlainProducer(Load):
    """confluent-kafka, idempotent, every record a request of its own."""

    name = "idempotent producer"

    def __init__(self, told: Told, bootstrap: str, chance: random.Random) -> None:
        super().__init__(told)
        self.chance = chance
        self.producer = Producer(
            {
                **confluent_settings(bootstrap),
                "enable.idempotence": True,
                "message.timeout.ms": 0,  # never give a record up
                "linger.ms": 0,
            }
        )

    def progress(self) -> int:
        return sum(self.told.acknowledged)

    def run(self) -> None:
        while not self.stopping.is_set():
            if self.told.in_flight < IN_FLIGHT_MAX:
                self._send(self.chance.randrange(PLAIN_PARTITIONS))
            self.producer.poll(self.chance.uniform(0, PAUSE_S_MAX))
        self.producer.flush()

    def _send(self, partition: int) -> None:
        number = self.told.sent[partition]
        self.told.sent[partition] += 1
        self.producer.produce(
            PLAIN, str(number), partition=partition, on_delivery=partial(self._delivered, partition, number)
        )

    def _delivered(self, partition: int, number: int, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.told.violations.append(f"plain {partition}: {number} was not delivered: {error}")
            return
        self.told.acknowledge(partition, number, message.offset())


class Phase(Enum):
    IDLE = "idle"
    FILLING = "filling"
    ACKNOWLEDGED = "acknowledged"
    """All records are, in all partitions."""
    OFFSETS_SENT = "offsets sent"
    """The offsets are acknowledged too; the transaction's end has not been asked for."""
    ENDING = "ending"


class TransactionalProducer(Load):
    """confluent-kafka: records in ten partitions and offsets for ten more, committed or aborted together."""

    name = "transactional producer"

    def __init__(self, told: Told, bootstrap: str, chance: random.Random) -> None:
        super().__init__(told)
        self.bootstrap = bootstrap
        self.chance = chance
        self.phase = Phase.IDLE
        self.number = 0
        self.replaced = 0
        """How often a fatal error made a new producer necessary."""
        self.ended = 0
        self.group = Consumer({**confluent_settings(bootstrap), "group.id": OFFSETS_GROUP})
        self._renew()

    def progress(self) -> int:
        return self.ended

    def run(self) -> None:
        insist(self.producer.init_transactions)
        while not self.stopping.is_set():
            number = self.number
            self.number += 1
            self.told.outcomes[number] = Outcome.NOTHING
            try:
                self._transact(number)
            except KafkaException as problem:
                self._recover(number, problem.args[0])
            self.ended += 1
            self.phase = Phase.IDLE

    def _transact(self, number: int) -> None:
        self.phase = Phase.FILLING
        self.producer.begin_transaction()
        count = self.chance.randint(1, 3)
        for index in range(count):
            for partition in range(TRANSACTION_PARTITIONS):
                self.producer.produce(TRANSACTIONS, Part(number, index, count).encode(), partition=partition)
        self.producer.flush()
        self.phase = Phase.ACKNOWLEDGED
        time.sleep(self.chance.uniform(0, PAUSE_S_MAX))
        if self.chance.random() < ABORTED_SHARE:
            self.phase = Phase.ENDING
            insist(self.producer.abort_transaction)
            self.told.outcomes[number] = Outcome.ABORTED
            return
        offsets = [TopicPartition(OFFSETS, slot, number + 1) for slot in slots(number)]
        insist(self.producer.send_offsets_to_transaction, offsets, self.group.consumer_group_metadata())
        self.phase = Phase.OFFSETS_SENT
        time.sleep(self.chance.uniform(0, PAUSE_S_MAX))
        self.phase = Phase.ENDING
        insist(self.producer.commit_transaction)
        self.told.outcomes[number] = Outcome.COMMITTED

    def _recover(self, number: int, problem: KafkaError) -> None:
        """Do what the client's error asks for."""
        if problem.txn_requires_abort() and not problem.fatal():
            try:
                insist(self.producer.abort_transaction)
                self.told.outcomes[number] = Outcome.ABORTED
                return
            except KafkaException as another:
                problem = another.args[0]
        if not problem.fatal():
            raise KafkaException(problem)
        self.replaced += 1
        self._renew()
        insist(self.producer.init_transactions)

    def _renew(self) -> None:
        self.producer = Producer(
            {
                **confluent_settings(self.bootstrap),
                "transactional.id": TRANSACTIONAL_ID,
                "message.timeout.ms": 60_000,
                "linger.ms": 0,
            }
        )


def insist(call: Callable[..., Any], *arguments: Any) -> None:
    """Make a transactional call until it is answered: the client says itself when it may be made again."""
    while True:
        try:
            call(*arguments)
            return
        except KafkaException as problem:
            if not problem.args[0].retriable():
                raise


class Readers(Load):
    """aiokafka: a group of two that reads the plain records and commits how far it is."""

    name = "consumer group"

    def __init__(self, told: Told, bootstrap: str) -> None:
        super().__init__(told)
        self.bootstrap = bootstrap
        self.errors = 0
        """Answers and disconnects that a member was told of; it goes on with the same object."""

    def progress(self) -> int:
        return self.told.group_commits

    def run(self) -> None:
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # else a line for each attempt to reconnect
        asyncio.run(self._all_members())

    async def _all_members(self) -> None:
        await asyncio.gather(*(self._member() for _ in range(MEMBERS)))

    async def _member(self) -> None:
        consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            group_id=GROUP,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            session_timeout_ms=6000,
            heartbeat_interval_ms=300,
            fetch_max_wait_ms=100,
            retry_backoff_ms=20,
        )
        positions: dict[int, int] = {}
        consumer.subscribe([PLAIN], listener=_ForgetPositions(positions))
        await consumer.start()
        while not self.stopping.is_set():
            try:
                await self._read(consumer, positions)
            except errors.KafkaError:
                self.errors += 1
                if self.errors > MEMBER_ERRORS_MAX:
                    raise
                await asyncio.sleep(0.02)
        with contextlib.suppress(errors.KafkaError):
            await consumer.stop()

    async def _read(self, consumer: aiokafka.AIOKafkaConsumer, positions: dict[int, int]) -> None:
        batches = await consumer.getmany(timeout_ms=100)
        for topic_partition, records in batches.items():
            number = topic_partition.partition
            for record in records:
                self.told.see(number, record.offset, int(record.value), positions.get(number))
                positions[number] = record.offset + 1
        if not batches:
            return
        committed = {each: positions[each.partition] for each in batches if each.partition in positions}
        await consumer.commit(committed)
        # A rebalance may have emptied the positions meanwhile; what was committed stands.
        for each, position in committed.items():
            self.told.group_commit(each.partition, position)


class _ForgetPositions(ConsumerRebalanceListener):  # type: ignore[misc]
    """After a rebalance a member goes on where its group has committed."""

    def __init__(self, positions: dict[int, int]) -> None:
        self.positions = positions

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        del revoked  # whichever they are: each partition is asked for anew
        self.positions.clear()

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        pass
