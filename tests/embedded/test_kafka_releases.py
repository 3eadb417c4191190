"""A broker that serves what a release of Apache Kafka does: what it advertises, and clients that use it."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka import Consumer, Producer
from kafka import KafkaConsumer
from kafka.protocol.broker_version_data import BROKER_API_VERSIONS

import oncelog
from oncelog.broker.kafka_releases import RELEASES, advertised
from oncelog.broker.options import UsageError
from oncelog.broker.registry import Registry
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.api_versions import ApiVersionsRequest
from oncelog.wire.messages.end_txn import EndTxnRequest
from tests.support.raw import RawConnection

SOFTWARE = ApiVersionsRequest(client_software_name="test", client_software_version="1")


def number(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split("."))


@pytest.mark.parametrize("release", RELEASES)
def test_what_a_release_serves_is_as_its_brokers_told(release: str) -> None:
    assert advertised(release) == dict(BROKER_API_VERSIONS[number(release)])


@pytest.mark.parametrize("release", ["2.8", "3.9", "4.0"])
def test_what_is_advertised_is_the_releases_and_no_more(release: str) -> None:
    served = Registry.load().routes
    with oncelog.Broker(kafka_version=release) as broker:
        connection = RawConnection(broker.bootstrap)
        answer = connection.call(SOFTWARE, 3)
        connection.close()
    told = {each.api_key: (each.min_version, each.max_version) for each in answer.api_keys}
    assert set(told) == set(served) & set(advertised(release))
    for key, (first, last) in told.items():
        known_first, known_last = advertised(release)[key]
        assert known_first <= first <= last == min(known_last, served[key].max_version)
    assert bool(answer.finalized_features) == (number(release) >= (4, 0))


def test_a_later_version_is_refused_as_that_release_does() -> None:
    with oncelog.Broker(kafka_version="2.8") as broker:
        connection = RawConnection(broker.bootstrap)
        connection.send_bytes(connection.encode(SOFTWARE, 4))
        frame = connection.receive_frame()
        assert frame[4:6] == int(ErrorCode.UNSUPPORTED_VERSION).to_bytes(2, "big")
        assert frame[10:16] == b"\0\x12\0\0\0\3", "ApiVersions, 0 to 3"
        connection.send(EndTxnRequest(transactional_id="t"), 4)
        assert connection.is_closed_by_broker()
        connection.close()


@pytest.mark.parametrize("release", ["2.8", "3.5"])
def test_clients_work_with_it(release: str) -> None:
    with oncelog.Broker(kafka_version=release, topics=["orders"]) as broker:
        here = {"bootstrap.servers": broker.bootstrap}
        producer = Producer(here | {"transactional.id": "t"})
        producer.init_transactions()
        producer.begin_transaction()
        producer.produce("orders", b"one")
        producer.commit_transaction()
        consumer = Consumer(here | {"group.id": "g", "auto.offset.reset": "earliest"})
        consumer.subscribe(["orders"])
        message = consumer.poll(10)
        assert message is not None
        assert message.value() == b"one"
        consumer.close()
        asyncio.run(transactions_with_aiokafka(broker.bootstrap))
        reader = KafkaConsumer(bootstrap_servers=broker.bootstrap)
        assert reader.config["api_version"][:2] == number(release), "what kafka-python makes of the table"
        reader.close()


async def transactions_with_aiokafka(bootstrap: str) -> None:
    async with (
        AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id="u") as producer,
        producer.transaction(),
    ):
        await producer.send_and_wait("orders", b"two")
    async with AIOKafkaConsumer(
        "orders", bootstrap_servers=bootstrap, group_id="h", auto_offset_reset="earliest"
    ) as consumer:
        assert [(await consumer.getone()).value for _ in range(2)] == [b"one", b"two"]


def test_a_release_that_is_not_known_is_refused_with_a_sentence() -> None:
    with pytest.raises(UsageError, match=r"kafka_version='2' is none of 2\.8, 3\.0, "):
        oncelog.Broker(kafka_version="2")
