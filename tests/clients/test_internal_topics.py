"""Every client reads Kafka's internal topics as it reads any other topic."""

from __future__ import annotations

from collections.abc import Callable

from tests.clients.adapters.base import Client, Consumer
from tests.clients.scenario import drive, partitions_of
from tests.support.coordinator_records import PARTITIONS, Told, decode, partition_of
from tests.support.fixtures import MakeTopic

OFFSETS, TRANSACTIONS = "__consumer_offsets", "__transaction_state"


def fill_in_transaction(client: Client, topic: str, name: str) -> None:
    producer = client.producer(transactional_id=name)
    producer.init_transactions()
    producer.begin()
    for number in range(4):
        producer.send(topic, b"%d" % number, partition=number % 2)
    producer.commit()
    producer.close()


def commit_as_member(client: Client, topic: str, group: str) -> None:
    consumer = client.consumer(topics=[topic], group_id=group)
    drive([consumer], lambda: len(consumer.assignment()) == 2, "an assignment")
    consumer.commit({(topic, 0): 1, (topic, 1): 2})
    consumer.commit({(topic, 0): 2})
    consumer.close()


def read_until(
    consumer: Consumer, topic: str, is_enough: Callable[[list[Told]], bool], is_ours: Callable[[Told], bool]
) -> list[Told]:
    """What the topic tells of this test, until that is enough."""
    found: list[Told] = []
    offsets: dict[int, int] = {}

    def enough() -> bool:
        for record in consumer.poll(0.1):
            assert record.topic == topic
            assert record.offset > offsets.get(record.partition, -1)
            offsets[record.partition] = record.offset
            assert record.key is not None
            told = decode(topic, record.key, record.value)
            if is_ours(told):
                found.append(told)
        return is_enough(found)

    drive([], enough, f"what {topic} should tell")
    consumer.close()
    return found


def offsets_of(found: list[Told]) -> dict[int, int]:
    """By partition; the last one counts."""
    return {told.key.partition: told.value.offset for told in found if hasattr(told.key, "topic")}


def test_they_are_read_by_who_assigns_himself(
    client: Client, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic(partitions=2)
    fill_in_transaction(client, topic, unique_name)
    commit_as_member(client, topic, unique_name)

    mine = partition_of(unique_name)
    of_group = read_until(
        client.consumer(partitions=[(OFFSETS, mine)]),
        OFFSETS,
        lambda found: offsets_of(found) == {0: 2, 1: 2},
        lambda told: told.key.group == unique_name,
    )
    assert any(
        told.value and told.value.protocol_type == "consumer" for told in of_group if told.version == 3
    )

    of_transaction = read_until(
        client.consumer(partitions=[(TRANSACTIONS, mine)]),
        TRANSACTIONS,
        lambda found: bool(found) and found[-1].value.transaction_status == 4,
        lambda told: told.key.transactional_id == unique_name,
    )
    assert of_transaction[-1].value.producer_id >= 0


def test_they_are_read_by_a_group_that_commits_what_it_read(
    client: Client, make_topic: MakeTopic, unique_name: str
) -> None:
    """Subscribed by name, all partitions; its own commits are records of the topic as well."""
    topic = make_topic(partitions=2)
    commit_as_member(client, topic, unique_name)
    group = f"{unique_name}-reads"
    consumer = client.consumer(topics=[OFFSETS], group_id=group)
    everything = frozenset(partitions_of(OFFSETS, PARTITIONS))
    found: list[Told] = []
    own = partition_of(group)

    def own_commit_came() -> bool:
        for record in consumer.poll(0.1):
            assert record.key is not None
            told = decode(OFFSETS, record.key, record.value)
            if told.key.group in (unique_name, group):
                found.append(told)
        ours = [told for told in found if told.key.group == unique_name]
        if offsets_of(ours) == {0: 2, 1: 2} and not committed and consumer.assignment() == everything:
            committed.append(own)
            consumer.commit({(OFFSETS, own): 1})
        return any(told.key.group == group and hasattr(told.key, "topic") for told in found)

    committed: list[int] = []
    drive([], own_commit_came, "the group's own commit")
    consumer.close()
    of_itself = [told for told in found if told.key.group == group and hasattr(told.key, "topic")]
    assert offsets_of(of_itself) == {own: 1}
