"""Runs the pipeline and strikes at it: starts the processes, lets flights in, kills by plan, starts again.

It knows the pipeline only from outside: boards, exit codes, and the group's committed offsets.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from demo.board import Phase
from demo.pipeline import DELAYS, DEPARTURES, GROUP, PARTITIONS, TOTALS, client_settings
from demo.processes import Broker, Failed, LoaderProcess, WorkerProcess, stop
from demo.strikes import Hit, Moment, Strike, Victim, hits, once_more
from demo.worker import EXIT_FENCED

WORKERS = 2
LOOK_INTERVAL_S = 0.0001
"""Between two looks at the boards while aiming: the moments aimed at last about a millisecond."""
TICK_S = 0.02
AIM_TIMEOUT_S = 20.0
"""After that the kill falls wherever it falls."""
EXTRA_STRIKES_MAX = 4
"""Rather than fail for bad luck, a run strikes again at what its kills have missed: so often, in all."""
STALL_TIMEOUT_S = 90.0
ENDED_BY_THEMSELVES_MAX = 20
"""Workers, that is. More means that something is wrong rather than unlucky."""


@dataclass
class Outcome:
    """What the run was like; what it led to is the audit's business."""

    kills: Counter[Victim] = field(default_factory=Counter)
    hits: Counter[Hit] = field(default_factory=Counter)
    zombies: int = 0
    fenced: int = 0
    ended_by_themselves: int = 0
    committed: int = 0
    aborted: int = 0
    in_doubt: int = 0
    """Transactions whose worker was killed while it waited for the answer to its commit."""
    slowest_start_s: float = 0.0


class Orchestrator:
    def __init__(
        self,
        broker: Broker,
        directory: Path,
        loader_arguments: list[str],
        worker_arguments: list[str],
        chance: random.Random,
        progress: Callable[[Orchestrator], None],
    ) -> None:
        self.broker = broker
        self.directory = directory
        self.loader_arguments = loader_arguments
        self.worker_arguments = worker_arguments
        self.chance = chance
        self.progress = progress
        self.outcome = Outcome()
        self.workers: dict[int, WorkerProcess] = {}
        self.lives: list[WorkerProcess] = []
        self.frozen: dict[int, WorkerProcess] = {}
        """Zombies by slot, until their successors work and they are woken up."""
        self.awake: list[WorkerProcess] = []

    def run(self, limit: int, strikes: list[Strike], transaction_records: int) -> Outcome:
        """Work off `limit` flights under these strikes; the broker is still running afterwards."""
        self.limit = limit
        self.transaction_records = transaction_records
        self.broker.start()
        create_topics(self.broker.address)
        self.committed = CommittedRows(self.broker.address)
        self.loader = LoaderProcess(self.directory, self.loader_arguments)
        for slot in range(WORKERS):
            self._start_worker(slot)
        part = limit / (len(strikes) + 1)
        for number, strike in enumerate(strikes):
            self.loader.allow(int(part * (number + 1)))
            if strike.moment is not Moment.REBALANCE:
                self._wait_for_rows(part * (number + strike.share))
            self._strike(strike)
        self._strike_at_what_was_missed()
        self.loader.allow(limit)
        self._wait_for_rows(limit)
        self._wait_until(lambda: not self.frozen)
        self._end_workers()
        return self._count()

    def close(self) -> None:
        """Leave no process behind."""
        for worker in self.lives:
            worker.kill()
        if hasattr(self, "loader"):
            self.loader.kill()
        if hasattr(self, "committed"):
            self.committed.close()
        if self.broker.starts:
            self.broker.kill()

    def _strike(self, strike: Strike) -> None:
        worker = self._aim(strike)
        if strike.victim is Victim.ZOMBIE:
            self._replace(worker)
            return
        if strike.victim is Victim.EITHER:
            victim = self.chance.choice((Victim.BROKER, Victim.WORKER))
        else:
            victim = strike.victim
        others = [other for other in self.workers.values() if victim is Victim.BROKER or other is not worker]
        before = [other.board.phase for other in others]
        (self.broker if victim is Victim.BROKER else worker).kill()
        died_in = worker.board.phase if victim is Victim.WORKER else None
        self.outcome.kills[victim] += 1
        self.outcome.hits.update(hits(victim, died_in, zip(before, (other.board.phase for other in others))))
        time.sleep(self.chance.uniform(0, 0.3))
        if victim is Victim.BROKER:
            self.broker.start()
        else:
            self._start_worker(worker.slot)

    def _strike_at_what_was_missed(self) -> None:
        for _ in range(EXTRA_STRIKES_MAX):
            for hit in Hit:
                if not self.outcome.hits[hit]:
                    for strike in once_more(hit):
                        self._strike(strike)
                    break

    def _aim(self, strike: Strike) -> WorkerProcess:
        """Wait for the strike's moment; returns the worker in it (frozen, when that is to die of it)."""
        deadline_s = time.monotonic() + AIM_TIMEOUT_S
        while time.monotonic() < deadline_s:
            match strike.moment:
                case Moment.ANY:
                    return self._any_worker()
                case Moment.REBALANCE:
                    if found := self._rebalancing():
                        return found
                case Moment.OPEN:
                    if found := self._freeze_in({Phase.ACKNOWLEDGED}, self.broker):
                        return found
                case Moment.SENT if strike.victim is Victim.BROKER:
                    if found := self._freeze_in({Phase.SENT}, self.broker):
                        return found
                case Moment.SENT:
                    if found := self._freeze_in({Phase.SENT, Phase.ACKNOWLEDGED}, None):
                        return found
        worker = self._any_worker()
        if strike.victim is Victim.ZOMBIE:
            worker.freeze()
        return worker

    def _freeze_in(self, phases: set[Phase], broker: Broker | None) -> WorkerProcess | None:
        """Look for a worker in these phases for one tick, freeze it or the broker, and look again.

        A process that is stopped and then killed is killed where it was stopped: this makes a good aim and
        changes nothing about the kill.
        """
        self._tick(0)
        self.loader.allow(min(self.limit, self.loader.allowed + self.transaction_records))
        until_s = time.monotonic() + TICK_S
        while time.monotonic() < until_s:
            for worker in self._shuffled_workers():
                if worker.board.phase not in phases:
                    continue
                target = broker or worker
                target.freeze()
                time.sleep(LOOK_INTERVAL_S)
                if worker.board.phase in phases:
                    return worker
                target.wake()
            time.sleep(LOOK_INTERVAL_S)
        return None

    def _rebalancing(self) -> WorkerProcess | None:
        """A worker that is in a rebalance, some random time after that was seen."""
        self._tick()
        for worker in self._shuffled_workers():
            if worker.board.phase is Phase.REBALANCING:
                time.sleep(self.chance.uniform(0.05, 0.8))
                if worker.board.phase is Phase.REBALANCING:
                    return worker
        return None

    def _any_worker(self) -> WorkerProcess:
        return self.chance.choice(list(self.workers.values()))

    def _shuffled_workers(self) -> list[WorkerProcess]:
        return self.chance.sample(list(self.workers.values()), len(self.workers))

    def _replace(self, worker: WorkerProcess) -> None:
        """Leave a frozen worker behind as a zombie, and give its slot to a new one."""
        self.outcome.zombies += 1
        self.frozen[worker.slot] = worker
        self._start_worker(worker.slot)

    def _start_worker(self, slot: int) -> None:
        worker = WorkerProcess(slot, len(self.lives), self.directory, self.worker_arguments)
        self.workers[slot] = worker
        self.lives.append(worker)

    def _wait_for_rows(self, rows: float) -> None:
        self._wait_until(lambda: self.committed.rows >= rows)

    def _wait_until(self, reached: Callable[[], bool]) -> None:
        stalled_s = time.monotonic() + STALL_TIMEOUT_S
        rows = -1
        while not reached():
            self._tick()
            if self.committed.rows != rows:
                rows = self.committed.rows
                stalled_s = time.monotonic() + STALL_TIMEOUT_S
            if time.monotonic() > stalled_s:
                raise Failed(f"nothing was committed for {STALL_TIMEOUT_S:.0f} s; see {self.directory}")

    def _tick(self, pause_s: float = TICK_S) -> None:
        """Look after the processes, and tell how far it is."""
        time.sleep(pause_s)
        self.broker.check()
        self.loader.check()
        for worker in list(self.workers.values()):
            if worker.process.poll() is not None:
                self._ended(worker)
                self._start_worker(worker.slot)
        for slot, zombie in list(self.frozen.items()):
            if self.workers[slot].board.phase > Phase.REBALANCING:
                zombie.wake()
                self.awake.append(self.frozen.pop(slot))
        for zombie in list(self.awake):
            if zombie.process.poll() is not None:
                self._ended(zombie)
                self.awake.remove(zombie)
        self.progress(self)

    def _ended(self, worker: WorkerProcess) -> None:
        if worker.process.returncode == EXIT_FENCED:
            self.outcome.fenced += 1
            return
        self.outcome.ended_by_themselves += 1
        if self.outcome.ended_by_themselves > ENDED_BY_THEMSELVES_MAX:
            raise Failed(f"workers keep ending by themselves; see {worker.log_path}")

    def _end_workers(self) -> None:
        for worker in [*self.workers.values(), *self.awake]:
            stop(worker.process)
        for zombie in self.awake:
            if zombie.process.returncode == EXIT_FENCED:
                self.outcome.fenced += 1

    def _count(self) -> Outcome:
        outcome = self.outcome
        for board in (worker.board for worker in self.lives):
            outcome.committed += board.committed
            outcome.aborted += board.aborted
            unfinished = board.begun - board.committed - board.aborted
            assert unfinished in (0, 1)
            if board.phase is Phase.COMMITTING:
                outcome.in_doubt += unfinished
            else:
                outcome.aborted += unfinished  # by its successor, when that took over the transactional id
        outcome.slowest_start_s = self.broker.slowest_start_s
        return outcome


class CommittedRows:
    """How many departures the group has committed as done, asked of the broker in the background."""

    INTERVAL_S = 0.1

    def __init__(self, bootstrap: str) -> None:
        self.rows = 0
        self._consumer = Consumer({**client_settings(bootstrap), "group.id": GROUP})
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        self._consumer.close()

    def _watch(self) -> None:
        partitions = [TopicPartition(DEPARTURES, partition) for partition in range(PARTITIONS)]
        while not self._closing.wait(self.INTERVAL_S):
            try:
                answer = self._consumer.committed(partitions, timeout=1)
            except KafkaException:
                continue  # the broker is away
            if all(partition.error is None for partition in answer):
                self.rows = sum(max(partition.offset, 0) for partition in answer)


def create_topics(bootstrap: str) -> None:
    admin = AdminClient(client_settings(bootstrap))
    created = admin.create_topics(
        [NewTopic(name, PARTITIONS, replication_factor=1) for name in (DEPARTURES, DELAYS, TOTALS)]
    )
    for done in created.values():
        done.result(timeout=30)
