"""Orders in, receipts out, with FastStream on confluent-kafka: `python faststream_confluent_service.py`.

An order is committed once its receipt was published. One that fails is read again. After a kill in between,
an order has a second receipt: FastStream begins no transactions.
"""

import asyncio
import os

from faststream import AckPolicy, FastStream
from faststream.confluent import KafkaBroker
from pydantic import BaseModel

WORKER = os.environ.get("WORKER", "one")
broker = KafkaBroker(os.environ.get("KAFKA", "localhost:9092"), acks="all", enable_idempotence=True)
app = FastStream(broker)
asked: set[str] = set()


class Order(BaseModel):
    item: str


class Receipt(BaseModel):
    item: str
    price: int
    worker: str


def price(item: str) -> int:
    """A price list that does not answer when it is first asked for something rare."""
    if item.startswith("rare") and item not in asked:
        asked.add(item)
        raise LookupError(f"no price yet for {item}")
    return len(item)


@broker.subscriber(
    "orders",
    group_id="receipts",
    auto_offset_reset="earliest",
    ack_policy=AckPolicy.NACK_ON_ERROR,
    session_timeout_ms=6000,
)
@broker.publisher("receipts")
async def serve(order: Order) -> Receipt:
    return Receipt(item=order.item, price=price(order.item), worker=WORKER)


if __name__ == "__main__":
    asyncio.run(app.run())
