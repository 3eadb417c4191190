"""kafkajs, in a node process that is driven by JSON lines (kafkajs_bridge/bridge.js)."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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

SOURCE = Path(__file__).parent / "kafkajs_bridge"
TIMEOUT_S = 60.0


class NodeMissing(Exception):
    """Why kafkajs cannot be run here, in words."""


def install() -> Path:
    """A directory with bridge.js and its packages; kept in the temporary directory for the next run."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise NodeMissing(f"{program} is not installed, and kafkajs needs it")
    directory = Path(tempfile.gettempdir()) / f"oncelog-kafkajs-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    for name in ("bridge.js", "package.json"):
        shutil.copyfile(SOURCE / name, directory / name)
    installed = directory / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < (SOURCE / "package.json").stat().st_mtime:
        done = subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund"],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if done.returncode != 0:
            raise NodeMissing(f"npm could not install kafkajs: {done.stderr.strip()[-300:]}")
        installed.touch()
    return directory


class Bridge:
    """The node process: call() sends one line and waits for its answer."""

    def __init__(self, bootstrap: str) -> None:
        self._process = subprocess.Popen(
            ["node", "--no-warnings", "bridge.js", bootstrap],
            cwd=install(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._answers: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._last_id = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._read, name="kafkajs", daemon=True).start()

    def call(self, verb: str, handle: int | None = None, **arguments: Any) -> Any:
        with self._lock:
            self._last_id += 1
            call_id = self._last_id
            answers = self._answers[call_id] = queue.SimpleQueue()
            assert self._process.stdin is not None
            self._process.stdin.write(
                json.dumps({"id": call_id, "verb": verb, "handle": handle, **arguments}) + "\n"
            )
        answer = answers.get(timeout=TIMEOUT_S)
        if (error := answer.get("error")) is not None:
            code = error["code"] if isinstance(error["code"], int) else None
            raise ClientError(code, f"{error['type']}: {error['message']}")
        return answer["result"]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            self._answers.pop(answer["id"]).put(answer)

    def close(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def as_text(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def as_bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def as_triples(offsets: Mapping[Partition, int]) -> list[tuple[str, int, int]]:
    return [(topic, partition, offset) for (topic, partition), offset in offsets.items()]


class KafkaJsProducer(Producer):
    def __init__(self, bridge: Bridge, **options: Any) -> None:
        self._bridge = bridge
        self._handle = bridge.call("openProducer", **options)
        self._records: list[dict[str, Any]] = []

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
        self._records.append(
            {
                "topic": topic,
                "value": as_text(value),
                "key": as_text(key),
                "partition": partition,
                "headers": [(name, as_text(each)) for name, each in headers],
                "timestamp": timestamp_ms,
            }
        )

    def flush(self) -> list[Sent]:
        records, self._records = self._records, []
        if not records:
            return []
        stored = self._bridge.call("flush", self._handle, records=records)
        next_offset = {(topic, partition): offset for topic, partition, offset in stored}
        return [self._place(record, next_offset) for record in records]

    @staticmethod
    def _place(record: dict[str, Any], next_offset: dict[tuple[str, int], int]) -> Sent:
        """kafkajs tells base offsets only, and not where it put a record of no given partition."""
        topic, partition = record["topic"], record["partition"]
        if (topic, partition) not in next_offset:
            return Sent(topic, -1 if partition is None else partition, -1)
        offset = next_offset[topic, partition]
        next_offset[topic, partition] = offset + 1
        return Sent(topic, partition, offset)

    def init_transactions(self) -> None:
        self._bridge.call("initTransactions", self._handle)

    def begin(self) -> None:
        self._bridge.call("begin", self._handle)

    def send_offsets(self, offsets: Mapping[Partition, int], membership: Any) -> None:
        self._bridge.call("sendOffsets", self._handle, groupId=membership, offsets=as_triples(offsets))

    def commit(self) -> None:
        self.flush()
        self._bridge.call("commit", self._handle)

    def abort(self) -> None:
        self._records = []
        self._bridge.call("abort", self._handle)

    def close(self) -> None:
        self._bridge.call("close", self._handle)


class KafkaJsConsumer(Consumer):
    def __init__(
        self, bridge: Bridge, group_id: str, only: frozenset[Partition] | None, **options: Any
    ) -> None:
        self.group_id = group_id
        self._bridge = bridge
        self._only = only
        self._closed = False
        self._handle = bridge.call("openConsumer", groupId=group_id, **options)

    def poll(self, timeout_s: float = 0.2) -> list[Received]:
        return [
            Received(
                record["topic"],
                record["partition"],
                record["offset"],
                as_bytes(record["key"]),
                as_bytes(record["value"]),
                tuple((name, as_bytes(value) or b"") for name, value in record["headers"]),
                record["timestamp"],
            )
            for record in self._bridge.call("poll", self._handle, timeoutMs=int(timeout_s * 1000))
            if self._only is None or (record["topic"], record["partition"]) in self._only
        ]

    def assignment(self) -> frozenset[Partition]:
        return frozenset(
            (topic, partition) for topic, partition in self._bridge.call("assignment", self._handle)
        )

    def membership(self) -> Any:
        return self.group_id

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        self._bridge.call("commit", self._handle, offsets=as_triples(offsets))

    def rewind_to_committed(self) -> None:
        self._bridge.call("rewindToCommitted", self._handle)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._bridge.call("close", self._handle)


class KafkaJsAdmin(Admin):
    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._handle = bridge.call("openAdmin")

    def create_topic(self, name: str, partitions: int, configs: Mapping[str, str]) -> None:
        self._call("createTopic", name=name, partitions=partitions, configs=list(configs.items()))

    def delete_topic(self, name: str) -> None:
        self._call("deleteTopic", name=name)

    def partition_count(self, name: str) -> int:
        return int(self._call("partitionCount", name=name))

    def add_partitions(self, name: str, partitions: int) -> None:
        self._call("addPartitions", name=name, partitions=partitions)

    def topic_configs(self, name: str) -> dict[str, str | None]:
        return dict(self._call("topicConfigs", name=name))

    def alter_topic_config(self, name: str, config: str, value: str) -> None:
        self._call("alterTopicConfig", name=name, config=config, value=value)

    def cluster(self) -> tuple[str, int]:
        cluster_id, brokers = self._call("cluster")
        return cluster_id, brokers

    def offsets_of(self, name: str, partition: int, timestamp_ms: int | None) -> int:
        return int(self._call("offsetsOf", name=name, partition=partition, timestamp=timestamp_ms))

    def groups(self) -> set[str]:
        return set(self._call("groups"))

    def describe_group(self, group_id: str) -> tuple[str, int]:
        state, members = self._call("describeGroup", groupId=group_id)
        return state.lower(), members

    def delete_group(self, group_id: str) -> None:
        self._call("deleteGroup", groupId=group_id)

    def group_offsets(self, group_id: str, partitions: Sequence[Partition]) -> dict[Partition, int]:
        topics = sorted({topic for topic, _ in partitions})
        found = self._call("groupOffsets", groupId=group_id, topics=topics)
        wanted = set(partitions)
        return {
            (topic, partition): offset
            for topic, partition, offset in found
            if offset >= 0 and (topic, partition) in wanted
        }

    def alter_group_offsets(self, group_id: str, offsets: Mapping[Partition, int]) -> None:
        self._call("alterGroupOffsets", groupId=group_id, offsets=as_triples(offsets))

    def close(self) -> None:
        self._call("close")

    def _call(self, verb: str, **arguments: Any) -> Any:
        return self._bridge.call(verb, self._handle, **arguments)


class KafkaJsClient(Client):
    name = "kafkajs"
    cannot = {
        "cooperative rebalancing": "kafkajs has no cooperative assignor",
        "fence by group generation": "kafkajs sends TxnOffsetCommit v1, which names no member",
        "static membership": "kafkajs has no group.instance.id",
        "delete group offsets": "kafkajs has no call for OffsetDelete",
    }

    def __init__(self, bootstrap: str) -> None:
        self._bridge = Bridge(bootstrap)
        self._open: list[Producer | Consumer | Admin] = []

    def producer(
        self,
        *,
        idempotent: bool = False,
        transactional_id: str | None = None,
        transaction_timeout_ms: int = 60_000,
        compression: str = "none",
        acks: int = -1,
        request_size_bytes_max: int = 1_000_000,  # noqa: ARG002
    ) -> Producer:
        """kafkajs has no limit of its own for the size of a request."""
        producer = KafkaJsProducer(
            self._bridge,
            idempotent=idempotent,
            transactionalId=transactional_id,
            transactionTimeoutMs=transaction_timeout_ms,
            compression=compression,
            acks=acks,
        )
        return self._remember(producer)

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
        """kafkajs reads in groups only: by hand means a group of its own, other partitions dropped."""
        assert group_instance_id is None, self.cannot["static membership"]
        consumer = KafkaJsConsumer(
            self._bridge,
            group_id or f"by-hand-{uuid.uuid4()}",
            None if topics else frozenset(partitions),
            topics=list(topics) or sorted({topic for topic, _ in partitions}),
            readCommitted=read_committed,
            sessionTimeoutMs=session_timeout_ms,
        )
        return self._remember(consumer)

    def admin(self) -> Admin:
        return self._remember(KafkaJsAdmin(self._bridge))

    def _remember(self, opened: Any) -> Any:
        self._open.append(opened)
        return opened

    def close(self) -> None:
        for opened in self._open:
            with contextlib.suppress(ClientError):
                opened.close()
        self._open.clear()
        self._bridge.close()
