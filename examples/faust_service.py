"""Orders in, receipts out, with faust-streaming: `python faust_service.py worker --without-web`.

An order whose agent raises counts as done for Faust, so one without a price is sent to the end of its topic.
Offsets are committed on a timer: after a kill in between, an order has a second receipt. "exactly_once" would
not change that: Faust 0.15 writes to a topic that the service doesn't read outside its transactions.
"""

import os

import faust

WORKER = os.environ.get("WORKER", "one")
app = faust.App(
    "receipts",
    broker=f"kafka://{os.environ.get('KAFKA', 'localhost:9092')}",
    broker_commit_interval=0.5,
    broker_session_timeout=6.0,
    broker_heartbeat_interval=1.0,
    topic_disable_leader=True,
)
asked: set[str] = set()


class Order(faust.Record, serializer="json"):
    item: str


class Receipt(faust.Record, serializer="json"):
    item: str
    price: int
    worker: str


orders = app.topic("orders", value_type=Order)
receipts = app.topic("receipts", value_type=Receipt)


def price(item: str) -> int:
    """A price list that does not answer when it is first asked for something rare."""
    if item.startswith("rare") and item not in asked:
        asked.add(item)
        raise LookupError(f"no price yet for {item}")
    return len(item)


@app.agent(orders)
async def serve(stream: faust.StreamT[Order]) -> None:
    async for order in stream:
        try:
            await receipts.send(value=Receipt(item=order.item, price=price(order.item), worker=WORKER))
        except LookupError as refused:
            print(refused, flush=True)
            await orders.send(value=order)


if __name__ == "__main__":
    app.main()
