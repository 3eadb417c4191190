"""Steps that several scenarios take: reading a topic to its end, driving the members of a group.

Nothing here waits for the absence of something: a record of our own makes the end of a partition visible.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from tests.clients.adapters.base import Client, Consumer, Partition, Received
from tests.support.waiting import NotInTime

END = b"--- the end of what this test wrote ---"


def partitions_of(topic: str, count: int) -> list[Partition]:
    return [(topic, partition) for partition in range(count)]


def read_everything(
    client: Client, partitions: Sequence[Partition], *, read_committed: bool = True
) -> list[Received]:
    """All records of the partitions, as a consumer of this client sees them, in order per partition.

    Appends a record to each partition first and reads until it comes: what is not returned is not readable.
    """
    producer = client.producer()
    for topic, partition in partitions:
        producer.send(topic, END, partition=partition)
    producer.flush()
    consumer = client.consumer(partitions=partitions, read_committed=read_committed)
    try:
        return read_to_the_end(consumer, partitions)
    finally:
        consumer.close()


def read_to_the_end(
    consumer: Consumer, partitions: Sequence[Partition], timeout_s: float = 30.0
) -> list[Received]:
    missing = set(partitions)
    records: list[Received] = []
    deadline = time.monotonic() + timeout_s
    while missing:
        if time.monotonic() > deadline:
            raise NotInTime(f"no end seen in {sorted(missing)} after {len(records)} records")
        for record in consumer.poll():
            if record.value == END:
                missing.discard((record.topic, record.partition))
            else:
                records.append(record)
    return records


def values_of(records: Iterable[Received]) -> list[bytes | None]:
    return [record.value for record in records]


def drive(
    members: Sequence[Consumer], until: Callable[[], bool], what: str, timeout_s: float = 100.0
) -> list[Received]:
    """Poll the members in turn until the condition holds; all records they read meanwhile.

    Members of one thread hold each other up in a rebalance: kafka-python's take up to a minute now and then.
    """
    records: list[Received] = []
    deadline = time.monotonic() + timeout_s
    while not until():
        if time.monotonic() > deadline:
            assignments = [sorted(member.assignment()) for member in members]
            raise NotInTime(f"{what} did not come within {timeout_s} s; assignments: {assignments}")
        for member in members:
            records += member.poll(0.05)
    return records


def share_out(members: Sequence[Consumer], partitions: Iterable[Partition], sizes: Sequence[int]) -> bool:
    """Whether the members have all the partitions between them, each once, in shares of these sizes."""
    assignments = [member.assignment() for member in members]
    assigned = [partition for assignment in assignments for partition in assignment]
    return sorted(assigned) == sorted(partitions) and sorted(map(len, assignments)) == sorted(sizes)
