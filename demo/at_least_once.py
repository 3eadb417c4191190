"""The same worker without transactions, for comparison: results at least once, some of them twice.

It does what is usual and right without transactions: an idempotent producer, offsets committed after the
results are acknowledged, and before partitions are given back. When it is killed between the two, what it had
read since the last commit is read again, written again, and counted again.
"""

from __future__ import annotations

import logging
import sys

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from demo.pipeline import client_settings
from demo.worker import Worker, arguments, serve

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
        pass  # nobody to fence

    def _begin_transaction(self) -> None:
        pass

    def _commit_transaction(self, positions: list[TopicPartition]) -> None:
        try:
            self.consumer.commit(offsets=positions, asynchronous=False)
        except KafkaException as problem:
            log.warning("offsets not committed, perhaps with the next ones: %s", problem.args[0])

    def _abort_transaction(self) -> None:
        pass  # what is written stays written

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self.pending:
            self._commit()
        super()._revoked(consumer, partitions)


if __name__ == "__main__":
    sys.exit(serve(AtLeastOnceWorker, arguments().parse_args()))
