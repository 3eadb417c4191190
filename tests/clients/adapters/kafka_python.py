"""kafka-python."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import kafka
from kafka import errors
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic, OffsetSpec
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import OffsetAndMetadata, TopicPartition

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

TIMEOUT_S = 30.0


def as_client_error(error: errors.KafkaError) -> ClientError:
    """The code of the error itself, of its cause, or of the error that its text ends with the name of."""
    named = getattr(errors, str(error).rpartition(" ")[2], None)
    codes = [getattr(each, "errno", None) for each in (error, error.__cause__, named)]
    return ClientError(next((code for code in codes if code is not None), None), repr(error))


@contextlib.contextmanager
def client_errors() -> Iterator[None]:
    try:
        yield
    except errors.KafkaError as error:
        raise as_client_error(error) from error


def check(error: type[errors.KafkaError]) -> None:
    if error is not errors.NoError:
        raise ClientError(getattr(error, "errno", None), error.__name__)


def with_leader_epochs(offsets: Mapping[Partition, int]) -> dict[TopicPartition, OffsetAndMetadata]:
    return {
        TopicPartition(*partition): OffsetAndMetadata(offset, "", -1) for partition, offset in offsets.items()
    }


class KafkaPythonProducer(Producer):
    def __init__(self, config: dict[str, Any]) -> None:
        with client_errors():
            self._producer = kafka.KafkaProducer(**config)
        self._futures: list[Any] = []

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
        with client_errors():
            self._futures.append(
                self._producer.send(
                    topic, value, key, list(headers), partition=partition, timestamp_ms=timestamp_ms
                )
            )

    def flush(self) -> list[Sent]:
        futures, self._futures = self._futures, []
        with client_errors():
            self._producer.flush(TIMEOUT_S)
            stored = [future.get(TIMEOUT_S) for future in futures]
        return [Sent(each.topic, each.partition, each.offset) for each in stored]

    def init_transactions(self) -> None:
        with client_errors():
            self._producer.init_transactions()

    def begin(self) -> None:
        with client_errors():
            self._producer.begin_transaction()

    def send_offsets(self, offsets: Mapping[Partition, int], membership: Any) -> None:
        with client_errors():
            self._producer.send_offsets_to_transaction(with_leader_epochs(offsets), membership)

    def commit(self) -> None:
        with client_errors():
            self._producer.commit_transaction()

    def abort(self) -> None:
        with client_errors():
            self._producer.abort_transaction()

    def close(self) -> None:
        self._producer.close(timeout=1)


class KafkaPythonConsumer(Consumer):
    # A JoinGroup and SyncGroup answered while nobody polls are thrown away: the next poll finds the join done
    # (`self._join_task.is_done`) and joins again instead of taking its result, as of 3.0.12. Each such join
    # is a rebalance for the others, whose answers then come between two of their polls.
    must_be_polled_all_the_time = True

    def __init__(
        self, config: dict[str, Any], topics: Sequence[str], partitions: Sequence[Partition]
    ) -> None:
        self.group_id = config["group_id"]
        self.consumer = kafka.KafkaConsumer(**config)
        self._closed = False
        if topics:
            self.consumer.subscribe(list(topics))
            # A first generation that comes before the metadata is assigned nothing, and kafka-python then may
            # never ask again (KAFKA-3949); brokers that wait for more members first hide it.
            for topic in topics:
                self.consumer.partitions_for_topic(topic)
        else:
            self.consumer.assign([TopicPartition(*partition) for partition in partitions])

    def poll(self, timeout_s: float = 0.2) -> list[Received]:
        with client_errors():
            by_partition = self.consumer.poll(timeout_ms=int(timeout_s * 1000))
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
        return self.consumer.group_metadata()

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        with client_errors():
            self.consumer.commit(with_leader_epochs(offsets), timeout_ms=int(TIMEOUT_S * 1000))

    def rewind_to_committed(self) -> None:
        with client_errors():
            for partition in self.consumer.assignment():
                self.consumer.seek(partition, self.consumer.committed(partition) or 0)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.consumer.close(autocommit=False, timeout_ms=5000)


class KafkaPythonAdmin(Admin):
    def __init__(self, config: dict[str, Any]) -> None:
        self._admin = kafka.KafkaAdminClient(**config)

    def create_topic(self, name: str, partitions: int, configs: Mapping[str, str]) -> None:
        with client_errors():
            self._admin.create_topics([NewTopic(name, partitions, 1, topic_configs=dict(configs))])

    def delete_topic(self, name: str) -> None:
        with client_errors():
            self._admin.delete_topics([name])

    def partition_count(self, name: str) -> int:
        with client_errors():
            topics = {topic["name"]: topic["partitions"] for topic in self._admin.describe_topics()}
        return len(topics.get(name, ()))

    def add_partitions(self, name: str, partitions: int) -> None:
        with client_errors():
            self._admin.create_partitions({name: partitions})

    def topic_configs(self, name: str) -> dict[str, str | None]:
        with client_errors():
            found = self._admin.describe_configs(
                [ConfigResource(ConfigResourceType.TOPIC, name)], config_filter="all"
            )
        return {config: entry["value"] for config, entry in found["topic"][name].items()}

    def alter_topic_config(self, name: str, config: str, value: str) -> None:
        with client_errors():
            changed = self._admin.alter_configs(
                [ConfigResource(ConfigResourceType.TOPIC, name, {config: value})]
            )
        result = str(changed["topic"][name])
        if match := re.match(r"\[Error (\d+)\]", result):
            raise ClientError(int(match[1]), result)

    def cluster(self) -> tuple[str, int]:
        with client_errors():
            described = self._admin.describe_cluster()
        return described["cluster_id"], len(described["brokers"])

    def offsets_of(self, name: str, partition: int, timestamp_ms: int | None) -> int:
        asked = TopicPartition(name, partition)
        with client_errors():
            spec = OffsetSpec.LATEST if timestamp_ms is None else timestamp_ms
            return int(self._admin.list_partition_offsets({asked: spec})[asked].offset)

    def groups(self) -> set[str]:
        with client_errors():
            return {group["group_id"] for group in self._admin.list_groups()}

    def describe_group(self, group_id: str) -> tuple[str, int]:
        with client_errors():
            described = self._admin.describe_groups([group_id])[group_id]
        return described["group_state"].lower(), len(described["members"])

    def delete_group(self, group_id: str) -> None:
        with client_errors():
            result = self._admin.delete_groups([group_id])[group_id]
        if result != "OK":
            check(getattr(errors, result))

    def group_offsets(self, group_id: str, partitions: Sequence[Partition]) -> dict[Partition, int]:
        wanted = [TopicPartition(*partition) for partition in partitions]
        with client_errors():
            found = self._admin.list_group_offsets({group_id: wanted})[group_id]
        return {
            (each.topic, each.partition): stored.offset
            for each, stored in found.items()
            if stored.offset >= 0
        }

    def alter_group_offsets(self, group_id: str, offsets: Mapping[Partition, int]) -> None:
        with client_errors():
            results = self._admin.alter_group_offsets(group_id, with_leader_epochs(offsets))
        for error in results.values():
            check(error)

    def delete_group_offsets(self, group_id: str, partitions: Sequence[Partition]) -> None:
        with client_errors():
            results = self._admin.delete_group_offsets(
                group_id, [TopicPartition(*each) for each in partitions]
            )
        for error in results.values():
            check(error)

    def close(self) -> None:
        self._admin.close()


class KafkaPythonClient(Client):
    name = "kafka-python"

    def __init__(self, bootstrap: str) -> None:
        self._common: dict[str, Any] = {"bootstrap_servers": bootstrap}
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
            "enable_idempotence": idempotent or transactional_id is not None,
            "transactional_id": transactional_id,
            "transaction_timeout_ms": transaction_timeout_ms,
            "compression_type": None if compression == "none" else compression,
            "acks": acks,
            "max_request_size": request_size_bytes_max,
            "linger_ms": 2,
            "retry_backoff_ms": 20,
        }
        return self._remember(KafkaPythonProducer(config))

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
        if cooperative:
            config["partition_assignment_strategy"] = [CooperativeStickyAssignor]
        return self._remember(KafkaPythonConsumer(config, topics, partitions))

    def admin(self) -> Admin:
        return self._remember(KafkaPythonAdmin(dict(self._common)))

    def _remember(self, opened: Any) -> Any:
        self._open.append(opened)
        return opened

    def close(self) -> None:
        for opened in self._open:
            opened.close()
        self._open.clear()
