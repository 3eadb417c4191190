"""aiokafka, its event loop in a thread of its own so that scenarios stay synchronous."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import aiokafka
from aiokafka import TopicPartition, errors
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.clients.adapters.base import (
    Admin,
    Client,
    ClientError,
    Consumer,
    Partition,
    Producer,
    Received,
    Sent,
)

PRODUCER_FENCED = 90
TIMEOUT_S = 30.0
T = TypeVar("T")


@contextlib.contextmanager
def client_errors() -> Iterator[None]:
    try:
        yield
    except errors.ProducerFenced as error:
        raise ClientError(PRODUCER_FENCED, repr(error)) from error
    except errors.KafkaError as error:
        raise ClientError(getattr(error, "errno", None), repr(error)) from error


class LoopThread:
    """An event loop that runs in a thread; run() executes a coroutine in it and waits."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="aiokafka", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T], timeout_s: float = TIMEOUT_S) -> T:
        with client_errors():
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout_s)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)


class AioKafkaProducer(Producer):
    def __init__(self, loop: LoopThread, config: dict[str, Any]) -> None:
        self._loop = loop
        self._config = config
        self._producer: aiokafka.AIOKafkaProducer | None = None
        self._futures: list[Any] = []
        if config["transactional_id"] is None:
            loop.run(self._start())

    async def _start(self) -> None:
        self._producer = aiokafka.AIOKafkaProducer(**self._config)
        await self._producer.start()

    @property
    def producer(self) -> aiokafka.AIOKafkaProducer:
        assert self._producer is not None, "init_transactions comes first"
        return self._producer

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        timestamp_ms: int | None = None,
    ) -> None:
        sending = self.producer.send(topic, value, key, partition, timestamp_ms, headers=list(headers))
        self._futures.append((topic, partition, self._loop.run(sending)))

    def flush(self) -> list[Sent]:
        futures, self._futures = self._futures, []

        async def all_sent() -> list[Sent]:
            """With acks=0 aiokafka's futures hold None."""
            sent = []
            for topic, partition, future in futures:
                stored = await future
                if stored is None:
                    sent.append(Sent(topic, -1 if partition is None else partition, -1))
                else:
                    sent.append(Sent(stored.topic, stored.partition, stored.offset))
            return sent

        return self._loop.run(all_sent())

    def init_transactions(self) -> None:
        """aiokafka does this as part of start()."""
        self._loop.run(self._start())

    def begin(self) -> None:
        self._loop.run(self.producer.begin_transaction())

    def send_offsets(self, offsets: Mapping[Partition, int], membership: Any) -> None:
        wanted = {TopicPartition(*partition): offset for partition, offset in offsets.items()}
        self._loop.run(self.producer.send_offsets_to_transaction(wanted, membership))

    def commit(self) -> None:
        self._loop.run(self.producer.commit_transaction())

    def abort(self) -> None:
        self._loop.run(self.producer.abort_transaction())

    def close(self) -> None:
        if self._producer is not None:
            with contextlib.suppress(ClientError, TimeoutError):
                self._loop.run(self._producer.stop(), 3.0)


class AioKafkaConsumer(Consumer):
    def __init__(
        self, loop: LoopThread, config: dict[str, Any], topics: Sequence[str], partitions: Sequence[Partition]
    ) -> None:
        self.group_id = config["group_id"]
        self._loop = loop
        self._closed = False
        loop.run(self._start(config, topics, partitions))

    async def _start(
        self, config: dict[str, Any], topics: Sequence[str], partitions: Sequence[Partition]
    ) -> None:
        self.consumer = aiokafka.AIOKafkaConsumer(**config)
        if topics:
            self.consumer.subscribe(list(topics))
        else:
            self.consumer.assign([TopicPartition(*partition) for partition in partitions])
        await self.consumer.start()

    def poll(self, timeout_s: float = 0.2) -> list[Received]:
        by_partition = self._loop.run(self.consumer.getmany(timeout_ms=int(timeout_s * 1000)))
        return [
            Received(
                record.topic,
                record.partition,
                record.offset,
                record.key,
                record.value,
                tuple(record.headers),
                record.timestamp,
            )
            for records in by_partition.values()
            for record in records
        ]

    def assignment(self) -> frozenset[Partition]:
        return frozenset((partition.topic, partition.partition) for partition in self.consumer.assignment())

    def membership(self) -> Any:
        return self.group_id

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        wanted = {TopicPartition(*partition): offset for partition, offset in offsets.items()}
        self._loop.run(self.consumer.commit(wanted))

    def rewind_to_committed(self) -> None:
        async def rewind() -> None:
            for partition in self.consumer.assignment():
                self.consumer.seek(partition, await self.consumer.committed(partition) or 0)

        self._loop.run(rewind())

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.run(self.consumer.stop())


class AioKafkaAdmin(Admin):
    def __init__(self, loop: LoopThread, bootstrap: str) -> None:
        self._loop = loop
        self._bootstrap = bootstrap
        loop.run(self._start(bootstrap))

    async def _start(self, bootstrap: str) -> None:
        self._admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await self._admin.start()

    def create_topic(self, name: str, partitions: int, configs: Mapping[str, str]) -> None:
        topic = NewTopic(name, partitions, 1, topic_configs=dict(configs))
        response = self._loop.run(self._admin.create_topics([topic]))
        self._check(*[error[1] for error in response.topic_errors])

    def delete_topic(self, name: str) -> None:
        response = self._loop.run(self._admin.delete_topics([name]))
        self._check(*[error[1] for error in response.topic_error_codes])

    def partition_count(self, name: str) -> int:
        described = {
            each["topic"]: each["partitions"] for each in self._loop.run(self._admin.describe_topics())
        }
        return len(described.get(name, ()))

    def add_partitions(self, name: str, partitions: int) -> None:
        self._loop.run(self._admin.create_partitions({name: NewPartitions(partitions)}))

    def topic_configs(self, name: str) -> dict[str, str | None]:
        (response,) = self._loop.run(
            self._admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
        )
        ((error, _message, _type, _name, entries),) = response.resources
        self._check(error)
        return {entry[0]: entry[1] for entry in entries}

    def alter_topic_config(self, name: str, config: str, value: str) -> None:
        resource = ConfigResource(ConfigResourceType.TOPIC, name, {config: value})
        (response,) = self._loop.run(self._admin.alter_configs([resource]))
        self._check(*[each[0] for each in response.resources])

    def cluster(self) -> tuple[str, int]:
        described = self._loop.run(self._admin.describe_cluster())
        return described["cluster_id"], len(described["brokers"])

    def offsets_of(self, name: str, partition: int, timestamp_ms: int | None) -> int:
        """The admin client has no call for it, the consumer has two."""
        asked = TopicPartition(name, partition)

        async def ask() -> int:
            async with aiokafka.AIOKafkaConsumer(bootstrap_servers=self._bootstrap) as consumer:
                if timestamp_ms is None:
                    return int((await consumer.end_offsets([asked]))[asked])
                return int((await consumer.offsets_for_times({asked: timestamp_ms}))[asked].offset)

        return self._loop.run(ask())

    def groups(self) -> set[str]:
        return {group[0] for group in self._loop.run(self._admin.list_consumer_groups())}

    def describe_group(self, group_id: str) -> tuple[str, int]:
        (response,) = self._loop.run(self._admin.describe_consumer_groups([group_id]))
        (described,) = response.groups
        self._check(described[0])
        return described[2].lower(), len(described[5])

    def delete_group(self, group_id: str) -> None:
        raise NotImplementedError

    def group_offsets(self, group_id: str, partitions: Sequence[Partition]) -> dict[Partition, int]:
        wanted = [TopicPartition(*partition) for partition in partitions]
        found = self._loop.run(self._admin.list_consumer_group_offsets(group_id, partitions=wanted))
        return {
            (each.topic, each.partition): stored.offset
            for each, stored in found.items()
            if stored.offset >= 0
        }

    def close(self) -> None:
        self._loop.run(self._admin.close())

    @staticmethod
    def _check(*codes: int) -> None:
        for code in codes:
            if code:
                raise ClientError(code, errors.for_code(code).__name__)


class AioKafkaClient(Client):
    name = "aiokafka"
    cannot = {
        "cooperative rebalancing": "aiokafka has no cooperative assignor",
        "fence by group generation": "aiokafka sends TxnOffsetCommit v0, which names no member",
        "delete groups": "AIOKafkaAdminClient has no call for DeleteGroups",
        "alter group offsets": "AIOKafkaAdminClient has no call for it",
        "delete group offsets": "AIOKafkaAdminClient has no call for OffsetDelete",
    }

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._loop = LoopThread()
        self._open: list[Producer | Consumer | Admin] = []

    def producer(
        self,
        *,
        idempotent: bool = False,
        transactional_id: str | None = None,
        transaction_timeout_ms: int = 60_000,
        compression: str = "none",
        acks: int = -1,
        request_size_bytes_max: int = 1_000_000,
    ) -> Producer:
        config = {
            "bootstrap_servers": self._bootstrap,
            "enable_idempotence": idempotent or transactional_id is not None,
            "transactional_id": transactional_id,
            "transaction_timeout_ms": transaction_timeout_ms,
            "compression_type": None if compression == "none" else compression,
            "acks": acks,
            "max_request_size": request_size_bytes_max,
            "linger_ms": 2,
            "retry_backoff_ms": 20,
        }
        return self._remember(AioKafkaProducer(self._loop, config))

    def consumer(
        self,
        *,
        topics: Sequence[str] = (),
        partitions: Sequence[Partition] = (),
        group_id: str | None = None,
        group_instance_id: str | None = None,
        read_committed: bool = True,
        session_timeout_ms: int = 10_000,
        cooperative: bool = False,  # noqa: ARG002
    ) -> Consumer:
        config = {
            "bootstrap_servers": self._bootstrap,
            "group_id": group_id,
            "group_instance_id": group_instance_id,
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "isolation_level": "read_committed" if read_committed else "read_uncommitted",
            "session_timeout_ms": session_timeout_ms,
            "heartbeat_interval_ms": 300,
            "fetch_max_wait_ms": 100,
            "retry_backoff_ms": 20,
        }
        return self._remember(AioKafkaConsumer(self._loop, config, topics, partitions))

    def admin(self) -> Admin:
        return self._remember(AioKafkaAdmin(self._loop, self._bootstrap))

    def _remember(self, opened: Any) -> Any:
        self._open.append(opened)
        return opened

    def close(self) -> None:
        for opened in self._open:
            opened.close()
        self._open.clear()
        self._loop.close()
