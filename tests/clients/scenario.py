"""Steps that several scenarios take: reading a topic to its end, driving the members of a group.

Nothing here waits for the absence of something: a record of our own makes the end of a partition visible.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

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
    members: Sequence[Consumer], until: Callable[[], bool], what: str, timeout_s: float = 30.0
) -> list[Received]:
    """Poll the members until the condition holds; all records they read meanwhile.

    In turn, save those that must be polled all the time for a rebalance to end. The condition may only ask
    members for what they know: polling is done here, and what it reads is returned.
    """
    records: list[Received] = []
    deadline = time.monotonic() + timeout_s
    with ExitStack() as stack:
        polled_here = []
        for member in members:
            if member.must_be_polled_all_the_time and len(members) > 1:
                stack.enter_context(polled_in_a_thread(member, records))
            else:
                polled_here.append(member)
        while not until():
            if time.monotonic() > deadline:
                assignments = [sorted(member.assignment()) for member in members]
                raise NotInTime(f"{what} did not come within {timeout_s} s; assignments: {assignments}")
            for member in polled_here:
                records += member.poll(0.05)
            if members and not polled_here:
                time.sleep(0.02)
    return records


def read_some(consumer: Consumer, count: int, what: str, timeout_s: float = 30.0) -> list[Received]:
    """The next records, at least so many: all that were polled, for the position is past them."""
    records: list[Received] = []
    deadline = time.monotonic() + timeout_s
    while len(records) < count:
        if time.monotonic() > deadline:
            raise NotInTime(f"{what} did not come within {timeout_s} s; {len(records)} of {count} are there")
        records += consumer.poll()
    return records


@contextmanager
def polled_in_a_thread(member: Consumer, records: list[Received]) -> Iterator[None]:
    """Poll the member until the block ends, into the list; the end raises what a poll raised."""
    is_over = threading.Event()

    def poll() -> None:
        while not is_over.is_set():
            records.extend(member.poll(0.2))

    with ThreadPoolExecutor(1) as pool:
        polling = pool.submit(poll)
        try:
            yield
        finally:
            is_over.set()
            polling.result()


def share_out(members: Sequence[Consumer], partitions: Iterable[Partition], sizes: Sequence[int]) -> bool:
    """Whether the members have all the partitions between them, each once, in shares of these sizes."""
    assignments = [member.assignment() for member in members]
    assigned = [partition for assignment in assignments for partition in assignment]
    return sorted(assigned) == sorted(partitions) and sorted(map(len, assignments)) == sorted(sizes)
