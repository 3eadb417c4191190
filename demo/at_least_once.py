"""The same worker without transactions, for comparison: results at least once, some of them twice.

It does what is usual and right without transactions: an idempotent producer, offsets committed after the
results are acknowledged, and before partitions are given back. When it is killed between the two, what it had
read since the last commit is read again, written again, and counted again.
"""

from __future__ import annotations

import logging
import sys
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from demo.pipeline import DEPARTURES, client_settings
from demo.worker import COMMIT_INTERVAL_S, Worker, arguments, serve

log = logging.getLogger("demo.worker")


class AtLeastOnceWorker(Worker):
    def _new_producer(self, transactional_id: str) -> Producer:
        return Producer(
            {
                **client_settings(self.bootstrap),
                "client.id": transactional_id,
                "enable.idempotence": True,
                "message.timeout.ms": 0,  # never give a record up, so that flushed means written
                "linger.ms": 5,
            }
        )

    def _prepare(self) -> None:
        """Nobody to fence."""
        self.unsaved: dict[int, int] = {}
        """By assigned partition: the next offset, where that is not committed yet."""

    def _begin_transaction(self) -> None:
        pass

    def _step(self) -> None:
        super()._step()
        if self.unsaved and not self.pending and time.monotonic() > self.commit_due_s:
            self._save_positions()

    def _commit_transaction(self, positions: list[TopicPartition]) -> None:
        self.unsaved.update({position.partition: position.offset for position in positions})
        self._save_positions()

    def _save_positions(self) -> None:
        """Commit them; during a rebalance that is refused, and done again a little later."""
        self.commit_due_s = time.monotonic() + COMMIT_INTERVAL_S
        positions = [TopicPartition(DEPARTURES, number, offset) for number, offset in self.unsaved.items()]
        try:
            self.consumer.commit(offsets=positions, asynchronous=False)
            self.unsaved.clear()
        except KafkaException as problem:
            log.warning("offsets not committed, again in a moment: %s", problem.args[0])

    def _abort_transaction(self) -> None:
        pass  # what is written stays written

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self.pending:
            self._commit()
        for partition in partitions:
            self.unsaved.pop(partition.partition, None)  # its next owner goes on from what is committed
        super()._revoked(consumer, partitions)


if __name__ == "__main__":
    sys.exit(serve(AtLeastOnceWorker, arguments().parse_args()))
