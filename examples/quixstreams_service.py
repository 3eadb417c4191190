"""Orders in, receipts out, exactly once, with Quix Streams: `python quixstreams_service.py`.

Receipts and the offsets of their orders are committed in one transaction, twice a second. A function that
raises ends the application, so an order without a price is sent to the end of its topic, in that transaction.
A worker that keeps its transactional id ends, when it starts again, the transaction that a kill left open.
"""

import os
from typing import Any

from quixstreams import Application

WORKER = os.environ.get("WORKER", "one")
app = Application(
    broker_address=os.environ.get("KAFKA", "localhost:9092"),
    consumer_group="receipts",
    auto_offset_reset="earliest",
    processing_guarantee="exactly-once",
    commit_interval=0.5,
    consumer_extra_config={"session.timeout.ms": 6000},
    producer_extra_config={"transactional.id": f"receipts-{WORKER}"},
)
orders = app.topic("orders", value_deserializer="json", value_serializer="json")
receipts = app.topic("receipts", value_serializer="json")
asked: set[str] = set()


def price(item: str) -> int:
    """A price list that does not answer when it is first asked for something rare."""
    if item.startswith("rare") and item not in asked:
        asked.add(item)
        raise LookupError(f"no price yet for {item}")
    return len(item)


def serve(order: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"item": order["item"], "price": price(order["item"]), "worker": WORKER}
    except LookupError as refused:
        print(refused, flush=True)
        return {"item": order["item"]}


answers = app.dataframe(orders).apply(serve)
answers[answers.apply(lambda answer: "price" in answer)].to_topic(receipts)
answers[answers.apply(lambda answer: "price" not in answer)].to_topic(orders)

if __name__ == "__main__":
    app.run()
