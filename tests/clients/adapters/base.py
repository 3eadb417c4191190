"""The verbs that the scenarios use, in one shape for every client library.

Synchronous: a scenario reads like a story. An adapter adds no retries of its own and hides no error; where a
library lacks something, its adapter says so in `cannot`, with the reason in words.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

Partition = tuple[str, int]
"""Topic name and partition number."""


class Sent(NamedTuple):
    """A record as the producer was told it was stored. offset is -1 where the acknowledgement has none."""

    topic: str
    partition: int
    offset: int


class Received(NamedTuple):
    """A record as a consumer handed it out."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int


class ClientError(Exception):
    """What a client library raised, with Kafka's error code where the library tells it (else None)."""

    def __init__(self, code: int | None, message: str) -> None:
        super().__init__(f"{message} (code {code})")
        self.code = code


class Producer(ABC):
    """A producer; what it sends is buffered until flush, commit or close."""

    @abstractmethod
    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        timestamp_ms: int | None = None,
    ) -> None: ...

    @abstractmethod
    def flush(self) -> list[Sent]:
        """Wait for everything sent since the last flush, in the order sent. Raises the first failure."""

    @abstractmethod
    def init_transactions(self) -> None: ...

    @abstractmethod
    def begin(self) -> None: ...

    @abstractmethod
    def send_offsets(self, offsets: Mapping[Partition, int], membership: Any) -> None:
        """Commit the offsets within the transaction for the group that Consumer.membership() told of."""

    @abstractmethod
    def commit(self) -> None: ...

    @abstractmethod
    def abort(self) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """Give up without waiting long; safe after a fatal error."""


class Consumer(ABC):
    """A consumer: subscribed to topics in a group, or assigned to partitions by hand."""

    group_id: str | None
    must_be_polled_all_the_time: ClassVar[bool] = False
    """Members of a group that take turns in one thread may rebalance again and again."""

    @abstractmethod
    def poll(self, timeout_s: float = 0.2) -> list[Received]: ...

    @abstractmethod
    def assignment(self) -> frozenset[Partition]: ...

    @abstractmethod
    def membership(self) -> Any:
        """What the library gives to Producer.send_offsets about this consumer, as it is now."""

    @abstractmethod
    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit and wait for the answer."""

    @abstractmethod
    def rewind_to_committed(self) -> None:
        """Seek each assigned partition to its committed offset, or to its beginning where it has none."""

    @abstractmethod
    def close(self) -> None:
        """Leave the group (a static member does not) and close."""


class Admin(ABC):
    """Administration. Not every library has every verb; those that it lacks raise NotImplementedError."""

    @abstractmethod
    def create_topic(self, name: str, partitions: int, configs: Mapping[str, str]) -> None: ...

    @abstractmethod
    def delete_topic(self, name: str) -> None: ...

    @abstractmethod
    def partition_count(self, name: str) -> int:
        """How many partitions the topic has; 0 when there is no such topic."""

    @abstractmethod
    def add_partitions(self, name: str, partitions: int) -> None: ...

    @abstractmethod
    def topic_configs(self, name: str) -> dict[str, str | None]: ...

    @abstractmethod
    def alter_topic_config(self, name: str, config: str, value: str) -> None: ...

    @abstractmethod
    def cluster(self) -> tuple[str, int]:
        """The cluster's id and its number of brokers."""

    @abstractmethod
    def offsets_of(self, name: str, partition: int, timestamp_ms: int | None) -> int:
        """The offset of the first record at or after that time, or with None the partition's end."""

    @abstractmethod
    def groups(self) -> set[str]: ...

    @abstractmethod
    def describe_group(self, group_id: str) -> tuple[str, int]:
        """The group's state in lower case letters only, and its number of members."""

    @abstractmethod
    def delete_group(self, group_id: str) -> None: ...

    @abstractmethod
    def group_offsets(self, group_id: str, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Committed offsets; partitions that have none are left out."""

    def alter_group_offsets(self, group_id: str, offsets: Mapping[Partition, int]) -> None:
        raise NotImplementedError

    def delete_group_offsets(self, group_id: str, partitions: Sequence[Partition]) -> None:
        raise NotImplementedError

    @abstractmethod
    def close(self) -> None: ...


class Client(ABC):
    """A client library, at one broker. close() closes whatever of it is still open."""

    name: str
    cannot: Mapping[str, str] = {}
    """Abilities (words that scenarios ask for) that the library lacks, with the reason."""

    @abstractmethod
    def producer(
        self,
        *,
        idempotent: bool = False,
        transactional_id: str | None = None,
        transaction_timeout_ms: int = 60_000,
        compression: str = "none",
        acks: int = -1,
        request_size_bytes_max: int = 1_000_000,
    ) -> Producer: ...

    @abstractmethod
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
        """Reads from the beginning where the group has no committed offset. Never commits by itself."""

    @abstractmethod
    def admin(self) -> Admin: ...

    @abstractmethod
    def close(self) -> None: ...
