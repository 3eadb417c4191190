"""Transactions as the client libraries do them: all or nothing, seen once, and no zombie gets through."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.clients.adapters.base import Client, ClientError, Consumer, Partition, Producer, Received
from tests.clients.scenario import drive, partitions_of, read_everything, read_some, share_out, values_of
from tests.support.fixtures import MakeTopic
from tests.support.waiting import wait_for

FENCED = {47, 90}
"""INVALID_PRODUCER_EPOCH and PRODUCER_FENCED: which one a client sees depends on API and version."""
ILLEGAL_GENERATION = 22


def started(client: Client, transactional_id: str) -> Producer:
    producer = client.producer(transactional_id=transactional_id)
    producer.init_transactions()
    return producer


def in_transaction(
    producer: Producer, partition: Partition, values: Sequence[bytes], *, commit: bool
) -> None:
    producer.begin()
    for value in values:
        producer.send(partition[0], value, partition=partition[1])
    producer.flush()
    if commit:
        producer.commit()
    else:
        producer.abort()


def send_and_commit(producer: Producer, topic: str, value: bytes) -> None:
    """Where a library learns of an error differs: at the send, at the flush or at the commit."""
    producer.send(topic, value, partition=0)
    producer.flush()
    producer.commit()


def test_committed_records_are_seen_and_aborted_ones_are_not(
    client: Client, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = started(client, unique_name)
    in_transaction(producer, (topic, 0), [b"a1", b"a2"], commit=True)
    in_transaction(producer, (topic, 0), [b"b1", b"b2"], commit=False)
    in_transaction(producer, (topic, 0), [b"c1"], commit=True)
    assert values_of(read_everything(client, [(topic, 0)])) == [b"a1", b"a2", b"c1"]


def test_read_uncommitted_sees_aborted_records_too(
    client: Client, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = started(client, unique_name)
    in_transaction(producer, (topic, 0), [b"committed"], commit=True)
    in_transaction(producer, (topic, 0), [b"aborted"], commit=False)
    received = read_everything(client, [(topic, 0)], read_committed=False)
    assert [(record.offset, record.value) for record in received] == [(0, b"committed"), (2, b"aborted")]


def test_one_transaction_over_many_partitions(
    client: Client, make_topic: MakeTopic, unique_name: str
) -> None:
    topic, other = make_topic(partitions=5), make_topic(partitions=2)
    everywhere = partitions_of(topic, 5) + partitions_of(other, 2)
    producer = started(client, unique_name)
    for round_number, commit in enumerate([True, False, True]):
        producer.begin()
        for name, partition in everywhere:
            for _ in range(3):
                producer.send(name, b"%d" % round_number, partition=partition)
        producer.flush()
        if commit:
            producer.commit()
        else:
            producer.abort()
    received = read_everything(client, everywhere)
    for name, partition in everywhere:
        mine = [record for record in received if (record.topic, record.partition) == (name, partition)]
        assert values_of(mine) == [b"0"] * 3 + [b"2"] * 3
        assert [record.offset for record in mine] == [0, 1, 2, 8, 9, 10]


def test_an_open_transaction_hides_itself_and_what_follows(
    client: Client, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = started(client, unique_name)
    producer.begin()
    producer.send(topic, b"in the transaction", partition=0)
    producer.flush()
    plain = client.producer()
    plain.send(topic, b"behind it", partition=0)
    plain.flush()
    assert values_of(read_everything(client, [(topic, 0)], read_committed=False)) == [
        b"in the transaction",
        b"behind it",
    ]
    consumer = client.consumer(partitions=[(topic, 0)])
    seen: list[Received] = []
    for _ in range(3):
        seen += consumer.poll(0.15)
    assert seen == []
    producer.commit()
    first = read_some(consumer, 1, "the committed record")[0]
    assert first.value == b"in the transaction"
    assert values_of(read_everything(client, [(topic, 0)]))[:2] == [b"in the transaction", b"behind it"]


def test_an_empty_transaction_changes_nothing(
    client: Client, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = started(client, unique_name)
    producer.begin()
    producer.commit()
    producer.begin()
    producer.abort()
    in_transaction(producer, (topic, 0), [b"only"], commit=True)
    received = read_everything(client, [(topic, 0)])
    assert [(record.offset, record.value) for record in received] == [(0, b"only")]


def test_many_small_transactions_of_one_producer(
    client: Client, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic(partitions=2)
    producer = started(client, unique_name)
    for number in range(20):
        in_transaction(producer, (topic, number % 2), [b"%d" % number], commit=number % 5 != 0)
    received = read_everything(client, partitions_of(topic, 2))
    for partition in range(2):
        expected = [b"%d" % number for number in range(partition, 20, 2) if number % 5 != 0]
        assert values_of(record for record in received if record.partition == partition) == expected


def test_a_zombie_is_fenced_and_leaves_nothing_behind(
    client: Client, make_topic: MakeTopic, unique_name: str
) -> None:
    """A second producer of the same id aborts the open transaction and shuts out the first."""
    topic = make_topic()
    zombie = started(client, unique_name)
    in_transaction(zombie, (topic, 0), [b"before"], commit=True)
    zombie.begin()
    zombie.send(topic, b"zombie, open", partition=0)
    zombie.flush()
    successor = started(client, unique_name)
    with pytest.raises(ClientError) as fenced:
        send_and_commit(zombie, topic, b"zombie, late")
    assert fenced.value.code in FENCED
    in_transaction(successor, (topic, 0), [b"after"], commit=True)
    assert values_of(read_everything(client, [(topic, 0)])) == [b"before", b"after"]
    assert b"zombie, late" not in values_of(read_everything(client, [(topic, 0)], read_committed=False))


def test_a_fenced_producer_cannot_commit(client: Client, make_topic: MakeTopic, unique_name: str) -> None:
    topic = make_topic()
    zombie = started(client, unique_name)
    zombie.begin()
    zombie.send(topic, b"zombie", partition=0)
    zombie.flush()
    started(client, unique_name)
    with pytest.raises(ClientError) as fenced:
        zombie.commit()
    assert fenced.value.code in FENCED
    assert values_of(read_everything(client, [(topic, 0)])) == []


def transform(client: Client, source: str, target: str, group_id: str, total: int, abort_every: int) -> None:
    """Consume, transform, produce: `total` records of `source`, some transactions aborted and done again."""
    consumer = client.consumer(topics=[source], group_id=group_id)
    producer = started(client, f"{group_id}-producer")
    done, transactions = 0, 0
    while done < total:
        records = read_some(consumer, 1, "records to transform")[:17]
        transactions += 1
        producer.begin()
        for record in records:
            producer.send(target, b"made of " + (record.value or b""), partition=record.partition)
        producer.flush()
        producer.send_offsets(next_offsets(records), consumer.membership())
        if transactions % abort_every == 0:
            producer.abort()
        else:
            producer.commit()
            done += len(records)
        consumer.rewind_to_committed()
    consumer.close()
    producer.close()


def next_offsets(records: Sequence[Received]) -> dict[Partition, int]:
    return {(record.topic, record.partition): record.offset + 1 for record in records}


def test_consume_transform_produce_counts_each_record_once(
    client: Client, make_topic: MakeTopic, unique_name: str
) -> None:
    source, target = make_topic(partitions=2), make_topic(partitions=2)
    feeder = client.producer(idempotent=True)
    for number in range(120):
        feeder.send(source, b"%d" % number, partition=number % 2)
    feeder.flush()
    transform(client, source, target, unique_name, total=120, abort_every=3)
    received = read_everything(client, partitions_of(target, 2))
    for partition in range(2):
        assert values_of(record for record in received if record.partition == partition) == [
            b"made of %d" % number for number in range(partition, 120, 2)
        ]
    offsets = client.admin().group_offsets(unique_name, partitions_of(source, 2))
    assert offsets == {(source, 0): 60, (source, 1): 60}


def test_offsets_of_an_aborted_transaction_stay_unknown(
    client: Client, make_topic: MakeTopic, unique_name: str
) -> None:
    topic, target = make_topic(), make_topic()
    admin = client.admin()
    feeder = client.producer()
    feeder.send(topic, b"input", partition=0)
    feeder.flush()
    consumer = client.consumer(topics=[topic], group_id=unique_name)
    read_some(consumer, 1, "the input")
    producer = started(client, unique_name)
    for commit, expected in [(False, {}), (True, {(topic, 0): 1})]:
        producer.begin()
        producer.send(target, b"output", partition=0)
        producer.flush()
        producer.send_offsets({(topic, 0): 1}, consumer.membership())
        if commit:
            producer.commit()
        else:
            producer.abort()
        # Where the commit is not one step with the offsets' (Kafka), they come a little later.
        if commit:
            wait_for(lambda: admin.group_offsets(unique_name, [(topic, 0)]), "the committed offset")
        assert admin.group_offsets(unique_name, [(topic, 0)]) == expected


@pytest.mark.needs("fence by group generation")
def test_a_member_of_an_older_generation_cannot_commit_offsets(
    client: Client, make_topic: MakeTopic, unique_name: str
) -> None:
    """KIP-447: the group's generation fences a worker whose partitions have gone to another one."""
    source, target = make_topic(partitions=2), make_topic()
    stale = client.consumer(topics=[source], group_id=unique_name)
    drive([stale], lambda: share_out([stale], partitions_of(source, 2), [2]), "the first assignment")
    producer = started(client, f"{unique_name}-stale")
    producer.begin()
    producer.send(target, b"of a worker that has lost its partitions", partition=0)
    producer.flush()
    old_membership = stale.membership()
    taker = client.consumer(topics=[source], group_id=unique_name)
    members = [stale, taker]
    drive(members, lambda: share_out(members, partitions_of(source, 2), [1, 1]), "the shared assignment")
    with pytest.raises(ClientError) as refused:
        producer.send_offsets({(source, 0): 1, (source, 1): 1}, old_membership)
    assert refused.value.code == ILLEGAL_GENERATION
    producer.abort()
    assert values_of(read_everything(client, [(target, 0)])) == []
    assert client.admin().group_offsets(unique_name, partitions_of(source, 2)) == {}


@pytest.mark.needs("fence by group generation")
def test_two_workers_and_a_rebalance_count_each_record_once(
    client: Client, make_topic: MakeTopic, unique_name: str
) -> None:
    """The second worker joins in the middle; whoever has lost a partition may not commit its offsets."""
    source, target = make_topic(partitions=4), make_topic()
    feeder = client.producer(idempotent=True)
    for number in range(200):
        feeder.send(source, b"%d" % number, partition=number % 4)
    feeder.flush()
    workers: list[tuple[Consumer, Producer]] = []
    done = 0
    while done < 200:
        if len(workers) < 2 and done >= 50 * len(workers):
            consumer = client.consumer(topics=[source], group_id=unique_name)
            workers.append((consumer, started(client, f"{unique_name}-{len(workers)}")))
        for consumer, producer in workers:
            done += work(consumer, producer, target)
    received = values_of(read_everything(client, [(target, 0)]))
    assert sorted(received) == sorted(b"%d" % number for number in range(200))


def work(consumer: Consumer, producer: Producer, target: str) -> int:
    """One transaction of what there is to read, up to ten records; how many of them count."""
    records = consumer.poll(0.1)[:10]
    if not records:
        return 0
    producer.begin()
    for record in records:
        producer.send(target, record.value, partition=0)
    producer.flush()
    try:
        producer.send_offsets(next_offsets(records), consumer.membership())
    except ClientError:
        producer.abort()
        return 0
    else:
        producer.commit()
        return len(records)
    finally:
        consumer.rewind_to_committed()
