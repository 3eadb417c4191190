"""kafka-python's admin client looks at transactions and aborts one (KIP-664); the other clients can't."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import kafka
import pytest
from kafka.admin import AbortTransactionSpec, KafkaAdminClient
from kafka.errors import KafkaError
from kafka.structs import TopicPartition

from tests.support.fixtures import Broker, MakeTopic
from tests.support.waiting import wait_for


@pytest.fixture
def admin(broker: Broker) -> Iterator[KafkaAdminClient]:
    made = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    yield made
    made.close()


def test_an_open_transaction_is_found_described_and_aborted(
    broker: Broker, admin: KafkaAdminClient, make_topic: MakeTopic, unique_name: str
) -> None:
    where = TopicPartition(make_topic(), 0)
    producer = kafka.KafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id=unique_name)
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(where.topic, b"x", partition=0).get(30)
    (listings,) = admin.list_transactions(
        state_filters=["Ongoing"], transactional_id_pattern=f"{unique_name}.*", duration_filter_ms=-1
    ).values()
    (listing,) = listings
    assert listing.transactional_id == unique_name
    described = admin.describe_transactions([unique_name])[unique_name]
    assert described.state == "Ongoing"
    assert described.topic_partitions == {where}
    assert described.producer_id == listing.producer_id
    held_by = producer_in(admin, where)
    assert held_by.producer_id == listing.producer_id
    assert held_by.current_transaction_start_offset == 0
    assert admin.find_hanging_transactions() == []
    admin.abort_transaction(AbortTransactionSpec(where, held_by.producer_id, held_by.producer_epoch))
    wait_for(lambda: producer_in(admin, where).current_transaction_start_offset == -1, "the abort")
    if broker.is_oncelog:
        with pytest.raises(KafkaError):
            producer.commit_transaction()
    producer.close(1)


def producer_in(admin: KafkaAdminClient, where: TopicPartition) -> Any:
    """The one producer that the partition remembers."""
    (found,) = admin.describe_producers([where])[where].active_producers
    return found
