"""The state: what is true at one journal position, nested as people think of it.

Topics hold partitions; partitions hold producers, open transactions, extents and the aborted index;
transactional ids, groups, configs and feature levels stand beside them. Only evolve writes it. It must not
know how it changes (decide.py, evolve.py and the modules of each domain do), nor time, files or sockets.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from oncelog.machine.aborted_index import AbortedIndex
from oncelog.machine.config_table import ConfigValue
from oncelog.machine.configs import effective_topic_config
from oncelog.machine.extents import Extents
from oncelog.machine.life import Lives
from oncelog.machine.limits import STANDARD_LIMITS, Limits
from oncelog.machine.record_index import RecordIndex

if TYPE_CHECKING:
    from oncelog.machine.group_state import Group

TopicPartition = tuple[bytes, int]
"""A partition as events and transactions name it: topic id and index."""

NOTHING: Any = MappingProxyType({})
"""What a transactional id without an open transaction covers: one empty dict for all of them, which nobody
can write to."""


class Partition:
    """One partition's log: where its batches lie, who wrote them and which of them are undecided.

    producers: a packed window per producer id (producer_window.py knows its layout).
    open_transactions: the first offset of each producer's open transaction. Every transaction begins at the
        log end, so the values ascend and the first one is the smallest.
    """

    __slots__ = (
        "aborted",
        "extents",
        "index",
        "leader_epoch",
        "log_end_offset",
        "log_start_offset",
        "open_transactions",
        "producers",
        "topic",
    )
    BACK_REFERENCES: ClassVar[frozenset[str]] = frozenset({"topic"})

    def __init__(self, topic: Topic, index: int) -> None:
        self.topic = topic
        self.index = index
        self.log_start_offset = 0
        self.log_end_offset = 0
        self.leader_epoch = 0
        self.producers: dict[int, bytes] = {}
        self.open_transactions: dict[int, int] = {}
        self.extents = Extents()
        self.aborted = AbortedIndex()

    @property
    def last_stable_offset(self) -> int:
        """Below it every transaction is decided; an exclusive bound, like the log end."""
        for first_offset in self.open_transactions.values():
            return max(first_offset, self.log_start_offset)
        return self.log_end_offset

    def __repr__(self) -> str:
        return (
            f"<Partition {self.topic.name}-{self.index} log start {self.log_start_offset}"
            f" last stable {self.last_stable_offset} log end {self.log_end_offset}>"
        )


class ProduceRules(NamedTuple):
    """The configs of a topic that every Produce is checked against, read once per change of a config."""

    max_message_bytes: int
    is_log_append_time: bool
    timestamp_before_max_ms: int
    timestamp_after_max_ms: int
    segment_bytes: int
    needs_keys: bool


class Topic:
    """A topic: its partitions in order of their index, and its own configs (overrides only).

    broker_configs is the state's one dict of the brokers' overrides, which a topic's configs fall back to.
    config_version counts the changes of this topic's overrides.
    """

    __slots__ = (
        "_config_values",
        "_produce_rules",
        "broker_configs",
        "config_version",
        "configs",
        "id",
        "name",
        "partitions",
    )
    BACK_REFERENCES: ClassVar[frozenset[str]] = frozenset({"broker_configs"})

    def __init__(self, topic_id: bytes, name: str, broker_configs: dict[str, dict[str, str]]) -> None:
        assert len(topic_id) == 16
        self.id = topic_id
        self.name = name
        self.partitions: list[Partition] = []
        self.configs: dict[str, str] = {}
        self.config_version = 0
        self.broker_configs = broker_configs
        self._config_values: dict[str, ConfigValue] = {}
        self._produce_rules: ProduceRules | None = None

    def config(self, name: str) -> ConfigValue:
        """The effective value of a topic config: its override, the broker's, or the default."""
        value = self._config_values.get(name)
        if value is None:
            value = effective_topic_config(name, self.configs, self.broker_configs)
            self._config_values[name] = value
        return value

    @property
    def produce_rules(self) -> ProduceRules:
        rules = self._produce_rules
        if rules is None:
            rules = self._produce_rules = ProduceRules(
                max_message_bytes=_whole(self.config("max.message.bytes")),
                is_log_append_time=self.config("message.timestamp.type") == "LogAppendTime",
                timestamp_before_max_ms=_whole(self.config("message.timestamp.before.max.ms")),
                timestamp_after_max_ms=_whole(self.config("message.timestamp.after.max.ms")),
                segment_bytes=_whole(self.config("segment.bytes")),
                needs_keys="compact" in _names(self.config("cleanup.policy")),
            )
        return rules

    def forget_config_values(self) -> None:
        """For evolve to call after every change of this topic's configs or of the broker's."""
        self._config_values.clear()
        self._produce_rules = None

    def __repr__(self) -> str:
        return f"<Topic {self.name} with {len(self.partitions)} partitions>"


def _whole(value: ConfigValue) -> int:
    assert isinstance(value, int), f"a config that should be a whole number is {value!r}"
    return value


def _names(value: ConfigValue) -> tuple[str, ...]:
    assert isinstance(value, tuple), f"a config that should be a list is {value!r}"
    return value


INTERNAL_PARTITIONS = 50
"""Kafka's offsets.topic.num.partitions and transaction.state.log.num.partitions."""
_INTERNAL_CONFIGS = {
    "cleanup.policy": "compact",
    "compression.type": "producer",
    "segment.bytes": "104857600",
}
"""What Kafka creates its internal topics with."""


class InternalPartition(Partition):
    """One partition of an internal topic: which key's change each of its offsets is (internal_topics.py).

    Nobody appends to it: its log end counts the changes, and its records are encoded when they are fetched.
    """

    __slots__ = ("records",)

    def __init__(self, topic: InternalTopic, index: int) -> None:
        super().__init__(topic, index)
        self.records = RecordIndex()


class Tombstone(NamedTuple):
    """A key that is gone, kept so that whoever reads the internal topic learns of it.

    owner, topic, partition: the key; owner is a group or transactional id, topic "" where it is all there is.
    record: where its record lies. wall_ms: when the key went; kept_since_age_ms: what drives its own end.
    """

    owner: str
    topic: str
    partition: int
    record: int
    wall_ms: int
    kept_since_age_ms: int


class InternalTopic(Topic):
    """A topic of Kafka's own, whose records say how a part of the state came to be what it is.

    used: its partitions by index, once anybody has asked for them. tombstones: by owner, topic and partition,
    the one that goes first in front. is_listed: it has held something, and is named where all topics are.
    """

    __slots__ = ("is_listed", "tombstones", "used")

    def __init__(self, topic_id: bytes, name: str, broker_configs: dict[str, dict[str, str]]) -> None:
        super().__init__(topic_id, name, broker_configs)
        self.configs.update(_INTERNAL_CONFIGS)
        self.used: dict[int, InternalPartition] = {}
        self.tombstones: OrderedDict[tuple[str, str, int], Tombstone] = OrderedDict()
        self.is_listed = False

    def partition(self, index: int) -> InternalPartition:
        """The partition of that index, which is made when it is first asked for."""
        partition = self.used.get(index)
        if partition is None:
            partition = self.used[index] = InternalPartition(self, index)
        return partition

    @property
    def partitions(self) -> list[Partition]:
        return [self.partition(index) for index in range(INTERNAL_PARTITIONS)]

    @partitions.setter
    def partitions(self, none: list[Partition]) -> None:
        assert not none, "partitions of internal topics are made here"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled without the partitions that hold nothing."""
        kept = {name: getattr(self, name) for name in ("is_listed", "tombstones", "used")}
        return InternalTopic, (self.id, self.name, self.broker_configs), (None, kept)

    def facts(self) -> dict[str, Any]:
        """What is true of it: partitions without a record are made by asking for them, and left out."""
        used = [partition for partition in self.used.values() if partition.log_end_offset]
        return {
            "is_listed": self.is_listed,
            "tombstones": list(self.tombstones.values()),
            "log_end_offsets": {partition.index: partition.log_end_offset for partition in used},
            "records": {partition.index: list(partition.records.entries()) for partition in used},
        }


class InternalTopics:
    """The internal topics, and the names of deleted topics that records of theirs may still tell.

    Their ids are the same in every cluster, as are their names.
    """

    __slots__ = ("consumer_offsets", "deleted_names", "transaction_state")

    def __init__(self, broker_configs: dict[str, dict[str, str]]) -> None:
        self.consumer_offsets = InternalTopic(
            bytes.fromhex("be888d4cd6b5576695229ce08414cf36"), "__consumer_offsets", broker_configs
        )
        self.transaction_state = InternalTopic(
            bytes.fromhex("c21e4525e4a15cec9d0410df3fa0df54"), "__transaction_state", broker_configs
        )
        self.deleted_names: OrderedDict[bytes, str] = OrderedDict()

    def __iter__(self) -> Iterator[InternalTopic]:
        yield self.consumer_offsets
        yield self.transaction_state

    def named(self, name: str) -> InternalTopic | None:
        return next((topic for topic in self if topic.name == name), None)

    def by_id(self, topic_id: bytes) -> InternalTopic | None:
        return next((topic for topic in self if topic.id == topic_id), None)


class TransactionState(IntEnum):
    """Kafka's states of a transactional id, by Kafka's numbers.

    A transaction ends in one event, so Kafka's Prepare states and PrepareEpochFence don't exist here, and
    a Dead transactional id is one that the state doesn't hold.
    """

    EMPTY = 0
    ONGOING = 1
    COMPLETE_COMMIT = 4
    COMPLETE_ABORT = 5

    @property
    def kafka_name(self) -> str:
        return _KAFKA_STATE_NAMES[self]


_KAFKA_STATE_NAMES = {
    TransactionState.EMPTY: "Empty",
    TransactionState.ONGOING: "Ongoing",
    TransactionState.COMPLETE_COMMIT: "CompleteCommit",
    TransactionState.COMPLETE_ABORT: "CompleteAbort",
}


class PendingOffset(NamedTuple):
    """A consumer offset that an open transaction would commit.

    order: counts the additions of pending offsets; of two for one partition, the one added later wins.
    """

    offset: int
    leader_epoch: int
    metadata: str
    order: int


class TransactionalId:
    """What is known of a transactional id: its producer, and its transaction where one is open.

    previous_producer_id: the one that the current id was rotated from, or -1.
    last_epoch: the epoch that its sender held when the current one was made, or -1; a retry of the request
        whose answer was lost carries it and gets the same answer again.
    earlier_producer_ids: those that it held before the current one; they are fenced wherever they appear.
    ended_by_coordinator: the last transaction was aborted for its timeout or by an administrator, not by its
        producer.
    partitions, groups: what the open transaction covers, in the order of their addition; of a group also its
        partition of __consumer_offsets.
    offsets: by group, the offsets that the open transaction would commit.
        All three are NOTHING while none is open: there may be a million ids, few of which have one.
    metadata_characters: of the texts with these offsets, together.
    started_age_ms: when the open transaction began, or -1. started_wall_ms: when the last one since
        InitProducerId did, be it open or not, or -1; an abort of nothing is one that ends as it begins.
    record: where its record in __transaction_state lies (internal_topics.py), or -1.
    """

    __slots__ = (
        "earlier_producer_ids",
        "ended_by_coordinator",
        "groups",
        "last_epoch",
        "metadata_characters",
        "name",
        "offsets",
        "partitions",
        "previous_producer_id",
        "producer_epoch",
        "producer_id",
        "record",
        "started_age_ms",
        "started_wall_ms",
        "state",
        "timeout_ms",
        "updated_age_ms",
        "updated_wall_ms",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.producer_id = -1
        self.producer_epoch = -1
        self.previous_producer_id = -1
        self.last_epoch = -1
        self.earlier_producer_ids: tuple[int, ...] = ()
        self.timeout_ms = 0
        self.state = TransactionState.EMPTY
        self.ended_by_coordinator = False
        self.partitions: dict[TopicPartition, None] = NOTHING
        self.groups: dict[str, int] = NOTHING
        self.offsets: dict[str, dict[TopicPartition, PendingOffset]] = NOTHING
        self.metadata_characters = 0
        self.started_age_ms = -1
        self.started_wall_ms = -1
        self.updated_age_ms = 0
        self.updated_wall_ms = 0
        self.record = -1

    @property
    def producer_ids(self) -> tuple[int, ...]:
        """Every id that was ever given to it, the current one last."""
        return (*self.earlier_producer_ids, self.producer_id)

    def __repr__(self) -> str:
        return (
            f"<TransactionalId {self.name!r} {self.state.kafka_name}"
            f" producer {self.producer_id} epoch {self.producer_epoch}>"
        )


class State:
    """Everything that is true at one journal position.

    topics by id, topic_ids by name; both always hold the same topics.
    topic_name_forms: the names of topics by their form with "_" for each ".": names of one form collide.
    broker_configs: overrides by the resource that they were set on, "1" for the broker, "" for all brokers.
    partition_count: of all topics together.
    producer_count: of the windows of all partitions together. covered_count: of the partitions of all open
        transactions together.
    producer_owners: the transactional id that owns a producer id; ids without one are fenced per partition.
    ongoing: the open transactions by their timeout, each in the order of their beginning, which for equal
        timeouts is the order of their deadlines.
    pending_offsets: by group and partition, the transactional ids whose open transactions would commit an
        offset there (pending_offsets.py); pending_offsets_added counts how often some were added.
    lives: what happened last to each transactional id, for people to ask for (life.py).
    topics_version: moves with everything that Metadata tells (topics, partitions).
    internal: Kafka's own topics, which are in none of the above.
    """

    __slots__ = (
        "broker_configs",
        "covered_count",
        "feature_levels",
        "features_epoch",
        "groups",
        "internal",
        "limits",
        "lives",
        "next_producer_id",
        "ongoing",
        "partition_count",
        "pending_offsets",
        "pending_offsets_added",
        "producer_count",
        "producer_owners",
        "topic_ids",
        "topic_name_forms",
        "topics",
        "topics_version",
        "transactions",
    )
    BACK_REFERENCES: ClassVar[frozenset[str]] = frozenset({"limits"})

    def __init__(self, limits: Limits = STANDARD_LIMITS) -> None:
        self.limits = limits
        self.topics: dict[bytes, Topic] = {}
        self.topic_ids: dict[str, bytes] = {}
        self.topic_name_forms: dict[str, str] = {}
        self.topics_version = 0
        self.partition_count = 0
        self.groups: dict[str, Group] = {}
        self.transactions: dict[str, TransactionalId] = {}
        self.producer_count = 0
        self.covered_count = 0
        self.producer_owners: dict[int, str] = {}
        self.next_producer_id = 0
        self.lives = Lives()
        self.ongoing: dict[int, dict[str, TransactionalId]] = {}
        self.pending_offsets: dict[str, dict[TopicPartition, set[str]]] = {}
        self.pending_offsets_added = 0
        self.broker_configs: dict[str, dict[str, str]] = {}
        self.feature_levels: dict[str, int] = {"transaction.version": 2}
        self.features_epoch = 0
        self.internal = InternalTopics(self.broker_configs)

    def partition(self, topic_id: bytes, index: int) -> Partition | None:
        """The partition of that name, or None where the topic or the index doesn't exist."""
        topic = self.topics.get(topic_id)
        if topic is None or not 0 <= index < len(topic.partitions):
            return None
        return topic.partitions[index]

    def producers_room(self) -> int:
        """How many more producers partitions may remember; 0 or less: none.

        What an open transaction covers is taken for new to its partition: the marker that ends it must find
        room, whoever came meanwhile (ends of transactions are never refused).
        """
        return self.limits.producers_max - self.producer_count - self.covered_count

    def has_open_transaction(self, producer_id: int) -> bool:
        """Whether the transactional id that owns this producer id has a transaction open."""
        owner = self.producer_owners.get(producer_id)
        return owner is not None and self.transactions[owner].state is TransactionState.ONGOING

    def topic_named(self, name: str) -> Topic | None:
        topic_id = self.topic_ids.get(name)
        return None if topic_id is None else self.topics[topic_id]

    # --- internal topics included ---

    def listed_topics(self) -> Iterator[Topic]:
        """All topics, as far as who asks for all of them is told."""
        yield from self.topics.values()
        for internal in self.internal:
            if internal.is_listed:
                yield internal

    def shown_topic(self, topic_id: bytes) -> Topic | None:
        """The topic of that id, be it internal."""
        topic = self.topics.get(topic_id)
        return self.internal.by_id(topic_id) if topic is None else topic

    def shown_topic_named(self, name: str) -> Topic | None:
        """The topic of that name, be it internal."""
        topic_id = self.topic_ids.get(name)
        return self.internal.named(name) if topic_id is None else self.topics[topic_id]

    def shown_partition(self, topic_id: bytes, index: int) -> Partition | None:
        """The partition of that name, be it of an internal topic."""
        topic = self.topics.get(topic_id)
        if topic is not None:
            return topic.partitions[index] if 0 <= index < len(topic.partitions) else None
        internal = self.internal.by_id(topic_id)
        if internal is None or not 0 <= index < INTERNAL_PARTITIONS:
            return None
        return internal.partition(index)
