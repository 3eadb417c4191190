"""What is remembered of producers, walked through in chunks: by partitions, and by transactional ids.

For those who look for what nobody has used for long (housekeeping.py, eviction.py). Forgetting is a command
like any other, which the machine refuses where the state has moved on. Must not know when to forget.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeVar

from oncelog.broker.engine import Engine
from oncelog.machine.commands import ExpireProducers
from oncelog.machine.producer_window import age_ms_of
from oncelog.machine.state import Partition, TransactionState
from oncelog.machine.transactions import expiry_of

PRODUCERS_PER_CHUNK = 1000
IDS_PER_CHUNK = 100
DECISION_ITEMS = 10
"""Transactional ids are forgotten one by one, each by a decision that costs as much as passing ten."""
NO_END = 1 << 62

T = TypeVar("T")


class Chunk(Protocol):
    """Some of those remembered, looked at together.

    size: what that costs, in items; 1 where there are none.
    used_age_ms: when each was last used that may be forgotten: those with an open transaction never may.
    """

    size: int
    used_age_ms: list[int]

    def forget(self, idle_ms: int, count_max: int = NO_END) -> None:
        """Forget those of them that were not used for so long, so many at most."""


class Remembered(Protocol):
    """One kind of what is remembered. Between two chunks of a walk anything may happen.

    option: that sets the limit.
    """

    name: str
    option: str
    limit: int

    def room(self) -> int:
        """How many more may be remembered; 0 or less: none."""

    def chunks(self) -> Iterator[Chunk]:
        """A walk through all that are there when it begins."""


class Producers:
    """The producers that partitions remember."""

    name, option = "producers", "--max-producers"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.limit = engine.state.limits.producers_max

    def room(self) -> int:
        return self._engine.state.producers_room()

    def chunks(self) -> Iterator[Chunk]:
        for topic in list(self._engine.state.topics.values()):
            for partition in list(topic.partitions):
                for producer_ids in _chunks(list(partition.producers), PRODUCERS_PER_CHUNK):
                    yield _SomeProducers(self._engine, partition, producer_ids)


class _SomeProducers:
    def __init__(self, engine: Engine, partition: Partition, producer_ids: list[int]) -> None:
        windows = partition.producers
        self._engine = engine
        self._partition = partition
        is_busy = engine.state.has_open_transaction
        self._producer_ids = [each for each in producer_ids if each in windows and not is_busy(each)]
        self.used_age_ms = [age_ms_of(windows[each]) for each in self._producer_ids]
        self.size = max(1, len(producer_ids))

    def forget(self, idle_ms: int, count_max: int = NO_END) -> None:
        since_ms = self._engine.age_ms() - idle_ms
        ages = zip(self._producer_ids, self.used_age_ms, strict=True)
        idle = tuple(producer_id for producer_id, age_ms in ages if age_ms <= since_ms)[:count_max]
        if idle:
            partition = self._partition
            self._engine.execute(ExpireProducers(partition.topic.id, partition.index, idle, idle_ms))


class TransactionalIds:
    """The transactional ids, with a transaction or without."""

    name, option = "transactional ids", "--max-transactional-ids"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.limit = engine.state.limits.transactional_ids_max

    def room(self) -> int:
        return self.limit - len(self._engine.state.transactions)

    def chunks(self) -> Iterator[Chunk]:
        for names in _chunks(list(self._engine.state.transactions), IDS_PER_CHUNK):
            yield _SomeIds(self._engine, names)


class _SomeIds:
    def __init__(self, engine: Engine, names: list[str]) -> None:
        transactions = engine.state.transactions
        self._engine = engine
        found = [transactions[name] for name in names if name in transactions]
        self._transactions = [each for each in found if each.state is not TransactionState.ONGOING]
        self.used_age_ms = [transaction.updated_age_ms for transaction in self._transactions]
        self.size = max(1, len(names))

    def forget(self, idle_ms: int, count_max: int = NO_END) -> None:
        age_ms = self._engine.age_ms()
        found = (expiry_of(transaction, age_ms, idle_ms) for transaction in self._transactions)
        for expiry in [each for each in found if each is not None][:count_max]:
            self._engine.execute(expiry)
            self.size += DECISION_ITEMS


def _chunks(items: list[T], size: int) -> Iterator[list[T]]:
    """At least one, so that each partition counts in a walk."""
    for start in range(0, len(items) or 1, size):
        yield items[start : start + size]
