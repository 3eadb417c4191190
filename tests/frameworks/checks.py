"""What each framework's example must do: orders in, receipts out, whatever is killed meanwhile.

Knows orders, receipts and processes; not which framework is at work, nor how results are printed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.frameworks.services import (
    BROKER_KILLED,
    CONSUME_PRODUCE,
    EXACTLY_ONCE,
    GROUP_OF_TWO,
    KILLED,
    RETRY,
    Framework,
    Worker,
)
from tests.support.server import ServerProcess
from tests.support.topics import create_topic
from tests.support.waiting import NotInTime, wait_for

GROUP = "receipts"
PARTITIONS = 2
KILLS = 3
TIMEOUT_S = 60.0
LOST_TIMEOUT_S = 10.0
ORDERS_AT_ONCE = 20
QUIET = {"log_level": 0}


@dataclass(frozen=True)
class Outcome:
    """How one check ended. `word` is pass, fail or not applicable."""

    word: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.word}: {self.detail}" if self.detail else self.word


class Receipts:
    """All receipts so far, read without a group."""

    def __init__(self, framework: Framework, bootstrap: str, isolation_level: str = "read_committed") -> None:
        self.sold: list[dict[str, object]] = []
        self._decode = framework.decode_receipt
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "auditor",
                "isolation.level": isolation_level,
                **QUIET,
            }
        )
        self._consumer.assign([TopicPartition("receipts", index, 0) for index in range(PARTITIONS)])

    def read(self) -> list[dict[str, object]]:
        for message in self._consumer.consume(500, 0.1):
            if message.error() is None:
                value = message.value()
                assert isinstance(value, bytes)
                self.sold.append(self._decode(value))
        return self.sold

    def count_by_item(self) -> Counter[str]:
        return Counter(str(receipt["item"]) for receipt in self.read())

    def close(self) -> None:
        self._consumer.close()


class Trial:
    """One framework on a broker of its own, from the first check to the last."""

    def __init__(self, framework: Framework, server: ServerProcess, directory: Path) -> None:
        self.framework = framework
        self.server = server
        self.one = Worker(framework, server.bootstrap, "one", directory)
        self.two = Worker(framework, server.bootstrap, "two", directory)
        self.ordered: list[str] = []
        self.started: list[Worker] = []
        self.ended_by_themselves = 0
        self.receipts = Receipts(framework, server.bootstrap)
        at = {"bootstrap.servers": server.bootstrap, **QUIET}
        self._producer = Producer({**at, "enable.idempotence": True})
        self._admin = AdminClient(at)

    def start(self, worker: Worker) -> None:
        worker.start()
        self.started.append(worker)

    def supervise(self) -> None:
        """Start again what ended by itself."""
        for worker in self.started:
            if not worker.is_running:
                self.ended_by_themselves += 1
                worker.start()

    def next_items(self, count: int) -> list[str]:
        items = [f"tea-{number}" for number in range(len(self.ordered), len(self.ordered) + count)]
        self.ordered += items
        return items

    def order(self, items: list[str]) -> None:
        for place, item in enumerate(items):
            self._producer.produce("orders", self.framework.encode_order(item), partition=place % PARTITIONS)
        assert not self._producer.flush(TIMEOUT_S), "the orders were not taken"

    def missing(self) -> set[str]:
        self.supervise()
        return set(self.ordered) - set(self.receipts.count_by_item())

    def await_receipts(self, timeout_s: float = TIMEOUT_S) -> None:
        wait_for(
            lambda: not self.missing(),
            f"{self.framework.name}: a receipt for each order",
            timeout_s=timeout_s,
        )

    def duplicates(self) -> int:
        return sum(count - 1 for count in self.receipts.count_by_item().values())

    def members(self) -> dict[str, int]:
        """How many partitions of the orders each member of the group has."""
        group = self._admin.describe_consumer_groups([GROUP])[GROUP].result(TIMEOUT_S)
        return {
            member.member_id: sum(part.topic == "orders" for part in member.assignment.topic_partitions)
            for member in group.members
        }

    def shared_by_two(self, other_than: frozenset[str] = frozenset()) -> bool:
        """Two members have a partition each, and are not the two that are named."""
        self.supervise()
        members = self.members()
        return list(members.values()) == [1, 1] and members.keys() != other_than

    def output(self) -> str:
        return "".join(worker.output() for worker in self.started)

    def end(self) -> None:
        for worker in self.started:
            worker.kill()
        self.receipts.close()


@contextmanager
def trial(framework: Framework, directory: Path) -> Iterator[Trial]:
    """A broker, its topics and both workers; all of them are gone at the end."""
    with ServerProcess(directory / "data", options=["--group-initial-rebalance-delay-ms", "0"]) as server:
        for topic in ("orders", "receipts"):
            create_topic(server.bootstrap, topic, PARTITIONS, {})
        made = Trial(framework, server, directory)
        try:
            yield made
        finally:
            made.end()


def consume_and_produce(trial: Trial) -> str:
    items = trial.next_items(ORDERS_AT_ONCE)
    if trial.framework.sends:
        trial.framework.order_by_itself(trial.server.bootstrap, items)
    else:
        trial.order(items)
    trial.start(trial.one)
    trial.await_receipts()
    wrong = [sold for sold in trial.receipts.sold if sold["price"] != len(str(sold["item"]))]
    assert not wrong, f"wrong receipts: {wrong}"
    return ""


def group_of_two(trial: Trial) -> str:
    trial.start(trial.two)
    wait_for(trial.shared_by_two, "a group of two members with a partition each", timeout_s=TIMEOUT_S)
    before = len(trial.receipts.read())
    trial.order(trial.next_items(ORDERS_AT_ONCE))
    trial.await_receipts()
    sellers = Counter(str(sold["worker"]) for sold in trial.receipts.sold[before:])
    assert set(sellers) == {"one", "two"}, f"receipts by worker: {dict(sellers)}"
    return ""


def retry(trial: Trial) -> str:
    trial.ordered.append("rare-1")
    trial.order(["rare-1"])
    trial.await_receipts()
    assert "no price yet for rare-1" in trial.output(), "nothing failed, so nothing was retried"
    return ""


def service_killed(trial: Trial) -> str:
    """Kill each worker in turn while orders come in."""
    for number in range(KILLS):
        worker = (trial.one, trial.two)[number % 2]
        before = frozenset(trial.members())
        order_until_answered(trial)
        worker.kill()
        trial.order(trial.next_items(ORDERS_AT_ONCE))
        worker.start()
        wait_for(
            lambda before=before: trial.shared_by_two(before),
            "a group of two in which the killed member is replaced",
            timeout_s=TIMEOUT_S,
        )
    try:
        trial.await_receipts(LOST_TIMEOUT_S if KILLED in trial.framework.not_claimed else TIMEOUT_S)
    except NotInTime:
        lost = trial.missing()
        trial.ordered = [item for item in trial.ordered if item not in lost]
        trial.order(trial.next_items(ORDERS_AT_ONCE))
        trial.await_receipts()
        raise AssertionError(
            f"it goes on, but lost {len(lost)} of {len(trial.ordered) + len(lost)}"
        ) from None
    return ""


def order_until_answered(trial: Trial) -> None:
    """Orders keep coming; returns when one of them has its receipt, while the newest can't have all."""
    first = len(trial.ordered)

    def answered() -> bool:
        trial.order(trial.next_items(ORDERS_AT_ONCE))
        return not set(trial.ordered[first:]).isdisjoint(trial.receipts.count_by_item())

    wait_for(answered, "a receipt while orders come in", timeout_s=TIMEOUT_S)
    trial.order(trial.next_items(ORDERS_AT_ONCE))


def broker_killed(trial: Trial) -> str:
    ended_before = trial.ended_by_themselves
    for _ in range(KILLS):
        order_until_answered(trial)
        trial.server.restart()
        trial.order(trial.next_items(ORDERS_AT_ONCE))
        trial.await_receipts()
    ended = trial.ended_by_themselves - ended_before
    return f"{ended} workers ended and were started again" if ended else ""


def exactly_once(trial: Trial) -> str:
    """After all that was killed: no receipt twice, though some were written twice."""
    twice = trial.duplicates()
    assert not twice, f"{twice} of {len(trial.ordered)} orders have a second receipt"
    everything = Receipts(trial.framework, trial.server.bootstrap, "read_uncommitted")
    expected = len(trial.receipts.sold)
    wait_for(lambda: len(everything.read()) >= expected, "what was written, committed or not")
    aborted = len(everything.read()) - expected
    everything.close()
    assert aborted, "no transaction was aborted, so this run shows nothing"
    return f"{aborted} receipts of aborted transactions not shown"


CHECKS: dict[str, Callable[[Trial], str]] = {
    CONSUME_PRODUCE: consume_and_produce,
    GROUP_OF_TWO: group_of_two,
    RETRY: retry,
    KILLED: service_killed,
    BROKER_KILLED: broker_killed,
    EXACTLY_ONCE: exactly_once,
}
"""In this order: exactly-once looks back at all that was killed before."""


def outcomes(trial: Trial) -> dict[str, Outcome]:
    """Each check, also after one that failed. Of what is not claimed, only the kills are run: they tell."""
    found = {}
    for name, check in CHECKS.items():
        reason = trial.framework.not_claimed.get(name)
        if reason is not None and name == EXACTLY_ONCE:
            found[name] = Outcome("not applicable", reason)
            continue
        try:
            found[name] = Outcome("pass", check(trial))
        except AssertionError as failed:
            found[name] = (
                Outcome("fail", str(failed).splitlines()[0])
                if reason is None
                else Outcome("not applicable", f"{failed}; {reason}")
            )
    return found
