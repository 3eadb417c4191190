"""Orders in, receipts out, as tasks of taskiq: `taskiq worker --workers 1 taskiq_service:broker`.

`python taskiq_service.py tea cake` orders. A task that fails is sent again, up to three times.
taskiq-aio-kafka commits, on a timer, what it has handed to its worker: killed with -9, a worker forgets the
tasks that it was holding. By default it takes partitioner and assignor from kafka-python, whose version 3 has
others than aiokafka expects; so they are named here.
"""

import asyncio
import os
import sys

from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.partitioner import DefaultPartitioner
from taskiq import SimpleRetryMiddleware
from taskiq_aio_kafka import AioKafkaBroker

WORKER = os.environ.get("WORKER", "one")
broker = AioKafkaBroker(os.environ.get("KAFKA", "localhost:9092"), kafka_topic="orders")
broker.configure_producer(acks="all", enable_idempotence=True, partitioner=DefaultPartitioner())
broker.configure_consumer(
    group_id="receipts",
    auto_offset_reset="earliest",
    auto_commit_interval_ms=1000,
    session_timeout_ms=6000,
    partition_assignment_strategy=[RoundRobinPartitionAssignor],
)
broker.add_middlewares(SimpleRetryMiddleware())
asked: set[str] = set()


def price(item: str) -> int:
    """A price list that does not answer when it is first asked for something rare."""
    if item.startswith("rare") and item not in asked:
        asked.add(item)
        raise LookupError(f"no price yet for {item}")
    return len(item)


@broker.task("order", retry_on_error=True)
async def order(item: str) -> None:
    await receipt.kiq(item=item, price=price(item), worker=WORKER)


@broker.task_with_topic("receipts", task_name="receipt")
async def receipt(item: str, price: int, worker: str) -> None:
    print(f"{item}: {price}, sold by {worker}")


async def send(items: list[str]) -> None:
    await broker.startup()
    for item in items:
        await order.kiq(item=item)
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(send(sys.argv[1:]))
