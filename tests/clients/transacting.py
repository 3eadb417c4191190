"""Producers that make one transaction after another, each client library in its own way, and what must hold.

A worker writes down what its client was told of each transaction; nothing here knows what is done to the
broker meanwhile. A producer that was told an error which stays is replaced, as its documentation demands.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from tests.clients.adapters.base import Client, ClientError, Producer
from tests.franz_go.program import Line, Program
from tests.support.features import level
from tests.support.raw import RawConnection
from tests.support.speaking import TransactionalProducer, last_stable_offset, log_end_offset
from tests.support.waiting import NotInTime, wait_for

ABORT_EVERY = 4
RECORDS = 2
STOP_TIMEOUT_S = 60.0


class Outcome(Enum):
    """What the client knows. UNKNOWN: it asked for a commit and was told an error."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    UNKNOWN = "unknown"


class Transaction(NamedTuple):
    """One that a client made. error: what it was told on the way."""

    values: tuple[str, ...]
    outcome: Outcome
    error: str | None = None


class Worker(ABC):
    """One producer at work."""

    name: str

    @abstractmethod
    def transactions(self) -> list[Transaction]:
        """Those made so far."""

    @abstractmethod
    def check(self) -> None:
        """Raise when it has come to an end by itself."""

    @abstractmethod
    def stop(self) -> None:
        """End what is begun, and no more."""

    def committed(self) -> int:
        self.check()
        return sum(each.outcome is Outcome.COMMITTED for each in self.transactions())

    def errors(self) -> list[str]:
        return [each.error for each in self.transactions() if each.error is not None]


class _InThread(Worker):
    """Makes its transactions in a thread of its own."""

    def __init__(self, name: str, topic: str, partitions: int, count: int | None = None) -> None:
        self.name = name
        self.topic = topic
        self.partitions = partitions
        self._count = count
        self._made: list[Transaction] = []
        self._failure: BaseException | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            number = 0
            while not self._stopping.is_set() and number != self._count:
                values = tuple(f"{self.name} {number} {place}" for place in range(RECORDS))
                aborts = number % ABORT_EVERY == ABORT_EVERY - 1
                self._made.append(self.make(number, values, aborts=aborts))
                number += 1
            self.close()
        except BaseException as failure:
            self._failure = failure

    @abstractmethod
    def make(self, number: int, values: tuple[str, ...], *, aborts: bool) -> Transaction:
        """One transaction, its first record to partition `number` and the next ones to those that follow."""

    def close(self) -> None:
        """The last one was made."""

    def transactions(self) -> list[Transaction]:
        return list(self._made)

    def check(self) -> None:
        if self._failure is not None:
            raise AssertionError(f"{self.name} gave up after {self._made[-3:]}") from self._failure

    @property
    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(STOP_TIMEOUT_S)
        self.check()
        assert self.is_done, f"{self.name} did not come to an end"


class StockWorker(_InThread):
    """A client library that Python tests drive by its adapter."""

    def __init__(
        self, name: str, client: Client, topic: str, partitions: int, count: int | None = None
    ) -> None:
        self._client = client
        self._producer: Producer | None = None
        super().__init__(name, topic, partitions, count)

    def make(self, number: int, values: tuple[str, ...], *, aborts: bool) -> Transaction:
        try:
            producer = self._open()
            producer.begin()
            for place, value in enumerate(values):
                producer.send(self.topic, value.encode(), partition=(number + place) % self.partitions)
            producer.flush()
            if aborts:
                producer.abort()
                return Transaction(values, Outcome.ABORTED)
        except ClientError as error:
            self._go_on()
            return Transaction(values, Outcome.ABORTED, str(error))
        try:
            producer.commit()
        except ClientError as error:
            self._go_on()
            return Transaction(values, Outcome.UNKNOWN, str(error))
        return Transaction(values, Outcome.COMMITTED)

    def _open(self) -> Producer:
        if self._producer is None:
            producer = self._client.producer(transactional_id=self.name)
            producer.init_transactions()
            self._producer = producer
        return self._producer

    def _go_on(self) -> None:
        """Abort; where that is not to be had, start anew."""
        if self._producer is None:
            return
        try:
            self._producer.abort()
        except ClientError:
            self.close()

    def close(self) -> None:
        if self._producer is not None:
            self._producer.close()
            self._producer = None


class RawWorker(_InThread):
    """Frames written by hand: of one generation, or each time of that which the level calls for."""

    def __init__(
        self, name: str, bootstrap: str, topic: str, partitions: int, generation: int | None = None
    ) -> None:
        self._generation = generation
        self._connection = RawConnection(bootstrap)
        self.generations: Counter[int] = Counter()
        self._producer = TransactionalProducer(self._connection, name)
        self.first_epoch = self._producer.epoch
        super().__init__(name, topic, partitions)

    @property
    def epoch(self) -> int:
        return self._producer.epoch

    def make(self, number: int, values: tuple[str, ...], *, aborts: bool) -> Transaction:
        generation = self._generation or (2 if level(self._connection) == 2 else 1)
        self.generations[generation] += 1
        for place, value in enumerate(values):
            partition = (number + place) % self.partitions
            if generation == 1:
                assert self._producer.add(self.topic, [partition]) == 0
            answer = self._producer.produce(
                self.topic, [value.encode()], partition=partition, version=12 if generation == 2 else 11
            )
            assert answer.error_code == 0, answer
        answer = self._producer.end(not aborts, version=5 if generation == 2 else 4)
        assert answer.error_code == 0, answer
        return Transaction(values, Outcome.ABORTED if aborts else Outcome.COMMITTED)

    def close(self) -> None:
        self._connection.close()


class ProgramWorker(Worker):
    """A program that tells of each transaction in a line of JSON."""

    def __init__(self, name: str, program: Program) -> None:
        self.name = name
        self.program = program

    def transactions(self) -> list[Transaction]:
        return [_transaction(line) for line in list(self.program.lines)]

    def check(self) -> None:
        if not self.program.is_running:
            self.program.finish()

    def stop(self) -> None:
        self.program.stop()


def _transaction(line: Line) -> Transaction:
    error = line.get("error") or line.get("abort_error")
    return Transaction(tuple(line["values"]), Outcome(line["outcome"]), error)


# --- what must hold ---


def more(workers: Iterable[Worker], count: int, timeout_s: float = 60.0) -> None:
    """Wait until each of them has committed so many more."""
    wanted = [(worker, worker.committed() + count) for worker in workers]

    def behind() -> list[str]:
        return [worker.name for worker, least in wanted if worker.committed() < least]

    try:
        wait_for(lambda: not behind(), f"{count} more transactions", timeout_s)
    except NotInTime as late:
        raise AssertionError(f"stuck: {behind()}") from late


def broken(transactions: Iterable[Transaction], stored: Iterable[str]) -> list[str]:
    """What is wrong with a topic that these were written to, in sentences."""
    seen = Counter(stored)
    wrong = [f"{value} is there {count} times" for value, count in seen.items() if count > 1]
    written = set()
    for transaction in transactions:
        written.update(transaction.values)
        there = sum(value in seen for value in transaction.values)
        if transaction.outcome is Outcome.COMMITTED and there < len(transaction.values):
            wrong.append(f"of a committed transaction there are only {there} records: {transaction}")
        elif transaction.outcome is Outcome.ABORTED and there:
            wrong.append(f"of an aborted transaction there are {there} records: {transaction}")
        elif there not in (0, len(transaction.values)):
            wrong.append(f"half of a transaction is there: {transaction}")
    return [*wrong, *(f"nobody wrote {value}" for value in seen.keys() - written)]


def held_back(bootstrap: str, topic: str, partitions: int) -> list[str]:
    """Partitions whose last stable offset is not the high watermark, in sentences."""
    connection = RawConnection(bootstrap)
    try:
        ends = [
            (
                partition,
                last_stable_offset(connection, topic, partition),
                log_end_offset(connection, topic, partition),
            )
            for partition in range(partitions)
        ]
    finally:
        connection.close()
    return [f"partition {index} is read to {stable} of {end}" for index, stable, end in ends if stable != end]
