"""A consume-transform-produce worker with exactly-once results: the part of the demonstration to copy.

Start as many as you like with the same group and a transactional id of its own for each:

    python -m demo.worker --bootstrap 127.0.0.1:9092 --transactional-id delays-0

Everything a transaction changes (the positions in the input, the totals) is kept aside in `pending` and
becomes `done` when the transaction has committed. So there is one answer to everything that goes wrong:

- the client says the error is *abortable*, or partitions are taken away: abort, forget `pending`, go back in
  the input to `done`;
- it says the error is *fatal* (another process has taken over our transactional id, say): end. The next
  process with this transactional id aborts what this one left open, and starts from what is committed.

What has to be known from before (here: the totals) is itself a topic, written in the same transaction and
read back when partitions are assigned. A worker therefore has no state of its own to lose.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from demo.board import Board, Phase
from demo.flights import Departure, Total, delay_record
from demo.pipeline import DELAYS, DEPARTURES, GROUP, TOTALS, client_settings

log = logging.getLogger("demo.worker")

EXIT_FENCED = 3
COMMIT_INTERVAL_S = 0.2
POLL_TIMEOUT_S = 0.05
SESSION_TIMEOUT_MS = 6000
"""How long a dead member holds up its group; this is the shortest that a broker grants by default."""
FENCED = {
    KafkaError._FENCED,
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.FENCED_INSTANCE_ID,
}


class Progress:
    """How far one partition of the input is worked off: the next offset, and the totals of its carriers."""

    def __init__(self, next_offset: int, totals: dict[str, Total]) -> None:
        self.next_offset = next_offset
        self.totals = totals

    def copy(self) -> Progress:
        return Progress(self.next_offset, dict(self.totals))

    def add(self, departure: Departure, offset: int) -> None:
        carrier = departure.carrier
        self.totals[carrier] = self.totals.get(carrier, Total(carrier)).plus(departure)
        self.next_offset = offset + 1


class Worker:
    """Reads departures, writes one delay record for each and the totals of its carriers, in transactions."""

    def __init__(
        self,
        bootstrap: str,
        transactional_id: str,
        *,
        commit_records: int = 1000,
        session_timeout_ms: int = SESSION_TIMEOUT_MS,
        board: Board | None = None,
    ) -> None:
        self.bootstrap = bootstrap
        self.commit_records = commit_records
        self.board = board or Board()
        self.consumer = Consumer(
            {
                **client_settings(bootstrap),
                "group.id": GROUP,
                "isolation.level": "read_committed",
                "enable.auto.commit": False,  # the offsets are part of the transaction
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": session_timeout_ms,
                "heartbeat.interval.ms": session_timeout_ms // 10,
            }
        )
        self.producer = self._new_producer(transactional_id)
        self.done: dict[int, Progress] = {}
        """By assigned partition: what is committed."""
        self.pending: dict[int, Progress] = {}
        """By partition: what the open transaction makes of it. Empty when none is open."""
        self.pending_records = 0
        self.commit_due_s = 0.0
        self.stopping = False

    def run(self) -> None:
        """Work until `stopping`. Raises KafkaException when this process cannot go on."""
        self._prepare()
        self.board.phase = Phase.REBALANCING
        self.consumer.subscribe(
            [DEPARTURES], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )
        while not self.stopping:
            try:
                self._step()
            except KafkaException as problem:
                if problem.args[0].fatal():
                    raise
                log.warning("abort and try again: %s", problem.args[0])
                self._abort()
        self.consumer.close()

    def _step(self) -> None:
        message = self.consumer.poll(POLL_TIMEOUT_S)  # assignments arrive in here as well
        if message is not None:
            error = message.error()
            if error is None:
                self._process(message)
            else:
                log.warning("while reading: %s", error)  # the client goes on by itself
        if self.pending and self._is_due():
            self._commit()

    def _is_due(self) -> bool:
        return self.pending_records >= self.commit_records or time.monotonic() > self.commit_due_s

    def _process(self, message: Message) -> None:
        is_first = not self.pending
        partition, offset, value = message.partition(), message.offset(), message.value()
        assert partition is not None
        assert offset is not None
        assert value is not None
        if partition not in self.pending:
            self.pending[partition] = self.done[partition].copy()
        if is_first:
            self._begin()
        departure = Departure.decode(value)
        self.pending[partition].add(departure, offset)
        self.pending_records += 1
        self.producer.produce(DELAYS, key=str(departure.row), value=delay_record(departure))

    def _begin(self) -> None:
        self.board.count_begun()
        self.board.phase = Phase.FILLING
        self._begin_transaction()
        self.pending_records = 0
        self.commit_due_s = time.monotonic() + COMMIT_INTERVAL_S

    def _commit(self) -> None:
        """Write the changed totals, and end the transaction together with the positions it has read up to."""
        for partition, progress in self.pending.items():
            before = self.done[partition].totals
            for carrier, total in progress.totals.items():
                if total != before.get(carrier):
                    self.producer.produce(TOTALS, key=carrier, value=total.encode(), partition=partition)
        self.board.phase = Phase.SENT
        self.producer.flush()  # committing flushes as well; this is for the board's next phase
        self.board.phase = Phase.ACKNOWLEDGED
        self._commit_transaction(
            [TopicPartition(DEPARTURES, number, p.next_offset) for number, p in self.pending.items()]
        )
        self.board.count_committed()
        self.done.update(self.pending)
        self.pending.clear()
        self.board.phase = Phase.WAITING

    def _abort(self) -> None:
        """Undo the open transaction, if there is one, and go back to where it began in what is still ours."""
        if not self.pending:
            return
        self.board.phase = Phase.ABORTING
        self._abort_transaction()
        self.board.count_aborted()
        for partition in self.pending.keys() & self.done.keys():
            self.consumer.seek(TopicPartition(DEPARTURES, partition, self.done[partition].next_offset))
        self.pending.clear()
        self.board.phase = Phase.WAITING

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Find out how far these partitions are committed, in this order.

        Asking for the offsets waits for transactions that are about to change them, so the totals that are
        read afterwards belong to those offsets.
        """
        numbers = [partition.partition for partition in partitions]
        if numbers:
            offsets = committed_offsets(consumer, partitions)
            totals = restore_totals(self.bootstrap, numbers)
            for number in numbers:
                self.done[number] = Progress(offsets[number], totals[number])
        consumer.incremental_assign(
            [TopicPartition(DEPARTURES, number, self.done[number].next_offset) for number in numbers]
        )
        log.info("assigned %s", numbers)
        if not self.pending:
            self.board.phase = Phase.WAITING

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            self.done.pop(partition.partition, None)
        self._abort()
        log.info("revoked %s", [partition.partition for partition in partitions])
        self.board.phase = Phase.REBALANCING

    # What makes it exactly-once; demo.at_least_once has the same without transactions.

    def _new_producer(self, transactional_id: str) -> Producer:
        return Producer(
            {**client_settings(self.bootstrap), "transactional.id": transactional_id, "linger.ms": 5}
        )

    def _prepare(self) -> None:
        """Take over the transactional id: fences its previous owner, and aborts what that one left open."""
        _insist(self.producer.init_transactions)

    def _begin_transaction(self) -> None:
        self.producer.begin_transaction()

    def _commit_transaction(self, positions: list[TopicPartition]) -> None:
        group = self.consumer.consumer_group_metadata()  # a member that was replaced meanwhile is refused
        _insist(self.producer.send_offsets_to_transaction, positions, group)
        self.board.phase = Phase.COMMITTING
        _insist(self.producer.commit_transaction)

    def _abort_transaction(self) -> None:
        _insist(self.producer.abort_transaction)


def committed_offsets(consumer: Consumer, partitions: list[TopicPartition]) -> dict[int, int]:
    """The group's next offset by partition, once it is settled; keeps asking while the broker is away."""
    while True:
        try:
            answer = consumer.committed(partitions, timeout=5)
            errors = [partition.error for partition in answer if partition.error is not None]
            if not errors:
                return {p.partition: p.offset if p.offset >= 0 else OFFSET_BEGINNING for p in answer}
            log.warning("committed offsets: %s", errors[0])
        except KafkaException as problem:
            if problem.args[0].fatal():
                raise
            log.warning("committed offsets: %s", problem.args[0])


def restore_totals(bootstrap: str, partitions: Iterable[int]) -> dict[int, dict[str, Total]]:
    """The latest committed totals in these partitions, by partition and carrier.

    A reader of committed records stops before the first transaction that is still open, whatever has been
    committed behind it. So where a partition ends is asked first, open transactions included, and it is read
    up to there: that waits until they have ended.
    """
    totals: dict[int, dict[str, Total]] = {partition: {} for partition in partitions}
    ends = end_offsets(bootstrap, totals)
    reader = _totals_reader(bootstrap, "read_committed")
    reader.assign([TopicPartition(TOTALS, partition, OFFSET_BEGINNING) for partition in totals])
    unread = set(totals)
    while unread:
        message = reader.poll(1)
        if message is None:
            continue
        partition, error, value = message.partition(), message.error(), message.value()
        if error is None and partition is not None and value is not None:
            total = Total.decode(value)
            totals[partition][total.carrier] = total
        elif error is not None and error.code() == KafkaError._PARTITION_EOF:
            offset = message.offset()
            if partition is not None and offset is not None and offset >= ends[partition]:
                unread.discard(partition)
    reader.close()
    return totals


def end_offsets(bootstrap: str, partitions: Iterable[int]) -> dict[int, int]:
    """Where these partitions of the totals end, open transactions included."""
    reader = _totals_reader(bootstrap, "read_uncommitted")
    ends: dict[int, int] = {}
    waiting = list(partitions)
    while waiting:
        try:
            _, ends[waiting[-1]] = reader.get_watermark_offsets(
                TopicPartition(TOTALS, waiting[-1]), timeout=5
            )
            waiting.pop()
        except KafkaException as problem:
            log.warning("end of the totals: %s", problem.args[0])
    reader.close()
    return ends


def _totals_reader(bootstrap: str, isolation_level: str) -> Consumer:
    return Consumer(
        {
            **client_settings(bootstrap),
            "group.id": f"{GROUP}-restore",  # required by the client; nothing is committed under it
            "isolation.level": isolation_level,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )


def _insist(call: Callable[..., Any], *arguments: Any) -> None:
    """Make a transactional call until it is answered: the client says itself when it may be made again."""
    while True:
        try:
            call(*arguments)
            return
        except KafkaException as problem:
            if not problem.args[0].retriable():
                raise
            log.warning("once more: %s", problem.args[0])


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Turn departures into delay records and totals by carrier.")
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--transactional-id", required=True)
    parser.add_argument("--commit-records", type=int, default=1000)
    parser.add_argument("--session-timeout-ms", type=int, default=SESSION_TIMEOUT_MS)
    parser.add_argument("--board", type=Path)
    return parser


def serve(kind: type[Worker], options: argparse.Namespace) -> int:
    """Run a worker until SIGTERM; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(message)s")
    worker = kind(
        options.bootstrap,
        options.transactional_id,
        commit_records=options.commit_records,
        session_timeout_ms=options.session_timeout_ms,
        board=Board(options.board),
    )

    def stop(*_: object) -> None:
        worker.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        worker.run()
    except KafkaException as problem:
        log.error("cannot go on: %s", problem.args[0])
        return EXIT_FENCED if problem.args[0].code() in FENCED else 1
    return 0


if __name__ == "__main__":
    sys.exit(serve(Worker, arguments().parse_args()))
