"""confluent-kafka (librdkafka)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import confluent_kafka
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
)

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


def as_client_error(error: KafkaError) -> ClientError:
    code = error.code()
    if code == KafkaError._FENCED:
        return ClientError(PRODUCER_FENCED, str(error))
    return ClientError(code if code >= 0 else None, str(error))


@contextlib.contextmanager
def client_errors() -> Iterator[None]:
    try:
        yield
    except KafkaException as error:
        raise as_client_error(error.args[0]) from error


def result_of(futures: Mapping[Any, Any]) -> Any:
    """The result of an admin call about one thing."""
    (future,) = futures.values()
    with client_errors():
        return future.result(TIMEOUT_S)


class ConfluentProducer(Producer):
    def __init__(self, config: dict[str, Any]) -> None:
        self._producer = confluent_kafka.Producer(config)
        self._sent: list[Sent | ClientError | None] = []

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
        place = len(self._sent)
        self._sent.append(None)
        sent = self._sent

        def delivered(error: KafkaError | None, message: Any) -> None:
            if error is not None:
                sent[place] = as_client_error(error)
            else:
                sent[place] = Sent(message.topic(), message.partition(), message.offset())

        options: dict[str, Any] = {"headers": list(headers), "on_delivery": delivered}
        if partition is not None:
            options["partition"] = partition
        if timestamp_ms is not None:
            options["timestamp"] = timestamp_ms
        with client_errors():
            self._producer.produce(topic, value, key, **options)
        self._producer.poll(0)

    def flush(self) -> list[Sent]:
        fatal = self._flush(TIMEOUT_S)
        sent, self._sent = self._sent, []
        return [self._checked(result, fatal) for result in sent]

    def _flush(self, timeout_s: float) -> ClientError | None:
        """Flush; a fatal error that turned up meanwhile.

        The binding raises it out of whatever call polls. In version 2.16 the delivery report that follows is
        called with that exception set already, which makes a SystemError of both and loses the report.
        """
        try:
            self._producer.flush(timeout_s)
        except KafkaException as error:
            return as_client_error(error.args[0])
        except SystemError:
            try:
                self._producer.begin_transaction()
            except KafkaException as error:
                return as_client_error(error.args[0])
            raise
        return None

    @staticmethod
    def _checked(result: Sent | ClientError | None, fatal: ClientError | None) -> Sent:
        if result is None:
            raise fatal or ClientError(None, f"not delivered within {TIMEOUT_S} s")
        if isinstance(result, ClientError):
            raise result
        return result

    def init_transactions(self) -> None:
        with client_errors():
            self._producer.init_transactions(TIMEOUT_S)

    def begin(self) -> None:
        with client_errors():
            self._producer.begin_transaction()

    def send_offsets(self, offsets: Mapping[Partition, int], membership: Any) -> None:
        with client_errors():
            self._producer.send_offsets_to_transaction(as_topic_partitions(offsets), membership, TIMEOUT_S)

    def commit(self) -> None:
        with client_errors():
            self._producer.commit_transaction(TIMEOUT_S)

    def abort(self) -> None:
        with client_errors():
            self._producer.abort_transaction(TIMEOUT_S)

    def close(self) -> None:
        self._producer.purge()
        self._flush(1.0)


class ConfluentConsumer(Consumer):
    def __init__(
        self, config: dict[str, Any], topics: Sequence[str], partitions: Sequence[Partition]
    ) -> None:
        self.group_id = config["group.id"]
        self.consumer = confluent_kafka.Consumer(config)
        self._closed = False
        if topics:
            self.consumer.subscribe(list(topics))
        else:
            self.consumer.assign([TopicPartition(*partition) for partition in partitions])

    def poll(self, timeout_s: float = 0.2) -> list[Received]:
        received = []
        with client_errors():
            first = self.consumer.poll(timeout_s)
            rest = self.consumer.consume(1000, 0.005) if first is not None else []
        for message in [*([first] if first is not None else []), *rest]:
            if (error := message.error()) is not None:
                raise as_client_error(error)
            received.append(
                Received(
                    message.topic(),
                    message.partition(),
                    message.offset(),
                    message.key(),
                    message.value(),
                    tuple(message.headers() or ()),
                    message.timestamp()[1],
                )
            )
        return received

    def assignment(self) -> frozenset[Partition]:
        return frozenset((partition.topic, partition.partition) for partition in self.consumer.assignment())

    def membership(self) -> Any:
        return self.consumer.consumer_group_metadata()

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        with client_errors():
            committed = self.consumer.commit(offsets=as_topic_partitions(offsets), asynchronous=False)
        for partition in committed or ():
            if partition.error is not None:
                raise as_client_error(partition.error)

    def rewind_to_committed(self) -> None:
        with client_errors():
            for partition in self.consumer.committed(self.consumer.assignment(), TIMEOUT_S):
                offset = partition.offset if partition.offset >= 0 else 0
                self.consumer.seek(TopicPartition(partition.topic, partition.partition, offset))

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.consumer.close()


class ConfluentAdmin(Admin):
    def __init__(self, config: dict[str, Any]) -> None:
        self._admin = AdminClient(config)

    def create_topic(self, name: str, partitions: int, configs: Mapping[str, str]) -> None:
        result_of(self._admin.create_topics([NewTopic(name, partitions, 1, config=dict(configs))]))

    def delete_topic(self, name: str) -> None:
        result_of(self._admin.delete_topics([name]))

    def partition_count(self, name: str) -> int:
        topics = self._admin.list_topics(timeout=TIMEOUT_S).topics
        return len(topics[name].partitions) if name in topics else 0

    def add_partitions(self, name: str, partitions: int) -> None:
        result_of(self._admin.create_partitions([NewPartitions(name, partitions)]))

    def topic_configs(self, name: str) -> dict[str, str | None]:
        entries = result_of(self._admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, name)]))
        return {entry.name: entry.value for entry in entries.values()}

    def alter_topic_config(self, name: str, config: str, value: str) -> None:
        change = ConfigEntry(config, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=[change])
        result_of(self._admin.incremental_alter_configs([resource]))

    def cluster(self) -> tuple[str, int]:
        with client_errors():
            described = self._admin.describe_cluster().result(TIMEOUT_S)
        return described.cluster_id, len(described.nodes)

    def offsets_of(self, name: str, partition: int, timestamp_ms: int | None) -> int:
        spec = OffsetSpec.latest() if timestamp_ms is None else OffsetSpec.for_timestamp(timestamp_ms)
        return int(result_of(self._admin.list_offsets({TopicPartition(name, partition): spec})).offset)

    def groups(self) -> set[str]:
        with client_errors():
            listed = self._admin.list_consumer_groups(request_timeout=TIMEOUT_S).result(TIMEOUT_S)
        assert not listed.errors, listed.errors
        return {group.group_id for group in listed.valid}

    def describe_group(self, group_id: str) -> tuple[str, int]:
        described = result_of(self._admin.describe_consumer_groups([group_id]))
        return described.state.name.replace("_", "").lower(), len(described.members)

    def delete_group(self, group_id: str) -> None:
        result_of(self._admin.delete_consumer_groups([group_id]))

    def group_offsets(self, group_id: str, partitions: Sequence[Partition]) -> dict[Partition, int]:
        asked = ConsumerGroupTopicPartitions(
            group_id, [TopicPartition(*partition) for partition in partitions]
        )
        found = result_of(self._admin.list_consumer_group_offsets([asked]))
        return {
            (each.topic, each.partition): each.offset for each in found.topic_partitions if each.offset >= 0
        }

    def alter_group_offsets(self, group_id: str, offsets: Mapping[Partition, int]) -> None:
        wanted = ConsumerGroupTopicPartitions(group_id, as_topic_partitions(offsets))
        altered = result_of(self._admin.alter_consumer_group_offsets([wanted]))
        for each in altered.topic_partitions:
            if each.error is not None:
                raise as_client_error(each.error)

    def close(self) -> None:
        del self._admin


class ConfluentClient(Client):
    name = "confluent-kafka"
    cannot = {"delete group offsets": "librdkafka's Python binding has no call for OffsetDelete"}

    def __init__(self, bootstrap: str) -> None:
        self._common: dict[str, Any] = {"bootstrap.servers": bootstrap, "log_level": 2}
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
        config = self._common | {
            "enable.idempotence": idempotent or transactional_id is not None,
            "compression.type": compression,
            "acks": acks,
            "message.max.bytes": request_size_bytes_max,
            "transaction.timeout.ms": transaction_timeout_ms,
            "linger.ms": 2,
            "topic.metadata.refresh.fast.interval.ms": 20,
        }
        if transactional_id is not None:
            config["transactional.id"] = transactional_id
        return self._remember(ConfluentProducer(config))

    def consumer(
        self,
        *,
        topics: Sequence[str] = (),
        partitions: Sequence[Partition] = (),
        group_id: str | None = None,
        group_instance_id: str | None = None,
        read_committed: bool = True,
        session_timeout_ms: int = 10_000,
        cooperative: bool = False,
    ) -> Consumer:
        config = self._common | {
            "group.id": group_id or "none",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed" if read_committed else "read_uncommitted",
            "session.timeout.ms": session_timeout_ms,
            "heartbeat.interval.ms": 300,
            "fetch.wait.max.ms": 100,
        }
        if cooperative:
            config["partition.assignment.strategy"] = "cooperative-sticky"
        if group_instance_id is not None:
            config["group.instance.id"] = group_instance_id
        return self._remember(ConfluentConsumer(config, topics, partitions))

    def admin(self) -> Admin:
        return self._remember(ConfluentAdmin(dict(self._common)))

    def _remember(self, opened: Any) -> Any:
        self._open.append(opened)
        return opened

    def close(self) -> None:
        for opened in self._open:
            opened.close()
        self._open.clear()


def as_topic_partitions(offsets: Mapping[Partition, int]) -> list[TopicPartition]:
    return [TopicPartition(topic, partition, offset) for (topic, partition), offset in offsets.items()]
