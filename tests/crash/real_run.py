"""`make crash`: kill -9 a real broker under load, and check after each kill that it kept its word.

    python -m tests.crash.real_run --kills 100 --seed 7 [--format json]

Load, by clients that are never made anew: an idempotent producer and a transactional one (confluent-kafka;
ten partitions and ten consumer offsets in each transaction) and a consumer group (aiokafka). After each kill
the broker is started on a port that no client knows, so that nothing moves while everything is read and
compared; then it is ended and started where the clients wait for it, and each of them has to get on.

What a kill hit is read off afterwards, not assumed: records in the log whose producer was not told, a
transaction that is open in all of its partitions, a start that had its journal open and had not replayed it.

kill -9 proves less than a power failure does: what the process handed to the operating system, which keeps
it in the page cache, survives the process whether it was synced or not. So this shows that acknowledged work
is handed over before it is acknowledged, and that replay is right wherever the process ends; that it
was synced as well is shown by the crash tests on a simulated disk, which drop what was not synced.

Exit code 1 when a promise was broken or one of the three counters is 0.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from tests.crash.real_clients import (
    OFFSETS,
    PLAIN,
    TRANSACTIONS,
    Load,
    Phase,
    PlainProducer,
    Readers,
    TransactionalProducer,
)
from tests.crash.real_ledger import (
    PLAIN_PARTITIONS,
    SLOTS,
    TRANSACTION_PARTITIONS,
    Outcome,
    Told,
    check,
    unacknowledged,
)
from tests.crash.real_reading import Audit, Unreadable
from tests.crash.real_server import KilledServer, free_address
from tests.support.server import ServerDied
from tests.support.topics import create_topic
from tests.support.waiting import wait_for

KILLS_MIN = 3
LOAD_S = (0.05, 0.3)
"""How long the clients work between two kills, after each of them has got on."""
AIM_TIMEOUT_S = 10.0
GO_ON_TIMEOUT_S = 30.0
REPLAY_S_MAX = 0.02
RECORDS_FIRST = 500
"""Acknowledged before the first kill, so that there is something to replay."""
VIOLATIONS_SHOWN = 20
OPEN_PHASES = (Phase.ACKNOWLEDGED, Phase.OFFSETS_SENT)


class Hit(Enum):
    APPENDED = "between append and acknowledgement"
    OPEN = "between a transaction's records and its end"
    REPLAY = "during replay"


@dataclass
class Result:
    kills: int = 0
    hits: Counter[Hit] = field(default_factory=Counter)
    in_doubt: int = 0
    """Kills at which the transactional producer was waiting for the answer to its commit or abort."""
    violations: list[str] = field(default_factory=list)
    figures: dict[str, int | float] = field(default_factory=dict)

    @property
    def failures(self) -> list[str]:
        return [*self.violations, *(f"no kill fell {hit.value}" for hit in Hit if not self.hits[hit])]


class Run:
    def __init__(
        self, directory: Path, kills: int, seed: int, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self.chance = random.Random(seed)
        self.kills = kills
        self.say = say
        self.result = Result()
        self.told = Told()
        self.audit = Audit()
        options = ("--group-initial-rebalance-delay-ms", "0")
        self.server = KilledServer(directory / "data", listen=free_address(), options=options)
        self.quiet = KilledServer(directory / "data", listen=free_address(), options=options)
        """The same directory, served where no client looks."""

    def run(self) -> Result:
        began_s = time.monotonic()
        try:
            self._run()
        except (Unreadable, ServerDied) as problem:
            self.result.violations.append(str(problem))
        finally:
            for server in (self.server, self.quiet):
                if server.is_running:
                    server.kill()
        self.result.violations += self.told.violations
        self.result.figures |= self._figures() | {"seconds": round(time.monotonic() - began_s, 1)}
        return self.result

    def _run(self) -> None:
        self.server.start()
        create_topic(self.server.bootstrap, PLAIN, PLAIN_PARTITIONS, {})
        create_topic(self.server.bootstrap, TRANSACTIONS, TRANSACTION_PARTITIONS, {})
        create_topic(self.server.bootstrap, OFFSETS, SLOTS, {})
        self.producer = PlainProducer(self.told, self.server.bootstrap, random.Random(self.chance.random()))
        self.writer = TransactionalProducer(
            self.told, self.server.bootstrap, random.Random(self.chance.random())
        )
        self.readers = Readers(self.told, self.server.bootstrap)
        self.loads: tuple[Load, ...] = (self.producer, self.writer, self.readers)
        for load in self.loads:
            load.start()
        self._wait_until_all_get_on()
        wait_for(lambda: self.producer.progress() >= RECORDS_FIRST or self._is_broken(), "load", 60.0)
        while self.result.kills < self.kills and not self._is_broken():
            self._round()
        if not self._is_broken():
            self._finish()

    def _round(self) -> None:
        """One kill while the clients work; perhaps one in the replay that follows; check; go on."""
        time.sleep(self.chance.uniform(*LOAD_S))
        aim = self._next_aim()
        self._kill_running(aim)
        if aim is Hit.REPLAY and self.result.kills < self.kills:
            self.result.kills += 1
            self.result.hits[Hit.REPLAY] += self.quiet.kill_in_replay(self.chance, REPLAY_S_MAX)
        self._check()
        self.say(f"{self.result.kills} of {self.kills} kills, {sum(self.told.acknowledged):,} records")
        self.server.start()
        self._wait_until_all_get_on()

    def _next_aim(self) -> Hit:
        """One that was hit least, so that none stays at 0."""
        fewest = min(self.result.hits[hit] for hit in Hit)
        return self.chance.choice([hit for hit in Hit if self.result.hits[hit] == fewest])

    def _kill_running(self, aim: Hit) -> None:
        phase = self.chance.choice(OPEN_PHASES)
        in_moment = {
            Hit.APPENDED: lambda: self.told.in_flight > 0,
            Hit.OPEN: lambda: self.writer.phase is phase,
            Hit.REPLAY: lambda: True,
        }[aim]
        deadline_s = time.monotonic() + AIM_TIMEOUT_S
        while not (in_moment() and self.server.kill_if(in_moment)):
            if time.monotonic() > deadline_s:
                self.server.kill()
                break
            time.sleep(self.chance.uniform(0, 0.001))
        self.result.kills += 1

    def _check(self) -> None:
        """Compare with nothing moving; what the kill hit shows here as well."""
        self.quiet.start()
        self.audit.read(self.quiet.bootstrap)
        found = self.audit.found
        self.result.violations += check(self.told, found)
        self.result.hits[Hit.APPENDED] += unacknowledged(self.told, found) > 0
        self.result.hits[Hit.OPEN] += (
            found.open_partitions == TRANSACTION_PARTITIONS and self.writer.phase in OPEN_PHASES
        )
        self.result.in_doubt += self.writer.phase is Phase.ENDING
        self.quiet.kill()

    def _wait_until_all_get_on(self) -> None:
        before = [load.progress() for load in self.loads]
        deadline_s = time.monotonic() + GO_ON_TIMEOUT_S
        waiting = dict(zip(self.loads, before))
        while waiting and not self._is_broken():
            waiting = {load: then for load, then in waiting.items() if load.progress() <= then}
            if time.monotonic() > deadline_s:
                self.result.violations += [f"the {load.name} did not go on by itself" for load in waiting]
            time.sleep(0.005)

    def _is_broken(self) -> bool:
        return bool(self.result.violations or self.told.violations)

    def _finish(self) -> None:
        """Let everybody finish, and read everything once more from the start."""
        self.producer.stop()
        self.writer.stop()
        deadline_s = time.monotonic() + GO_ON_TIMEOUT_S
        while self.told.seen != self.told.sent:
            if time.monotonic() > deadline_s:
                self.result.violations.append(
                    f"the group has seen {self.told.seen} of {self.told.sent}: some records did not reach it"
                )
                return
            time.sleep(0.01)
        self.readers.stop()
        last = Audit()
        last.read(self.server.bootstrap)
        self.result.violations += check(self.told, last.found)
        for before, now in zip(self.audit.found.plain, last.found.plain):
            if now[: len(before)] != before:
                self.result.violations.append("plain: what was read in between is not what is there")
        for was, is_now in zip(self.audit.found.parts, last.found.parts):
            if is_now[: len(was)] != was:
                self.result.violations.append("transactions: what was read in between is not what is there")
        if last.found.open_partitions:
            self.result.violations.append("a transaction is open although nobody writes")

    def _figures(self) -> dict[str, int | float]:
        journal = self.server.data / "journal"
        return {
            "records acknowledged": sum(self.told.acknowledged),
            "transactions committed": self.told.count(Outcome.COMMITTED),
            "transactions aborted": self.told.count(Outcome.ABORTED),
            "transactional producers replaced after a fatal error": self.writer.replaced,
            "kills while a transaction's end was in flight": self.result.in_doubt,
            "group commits acknowledged": self.told.group_commits,
            "errors that group members were told": self.readers.errors,
            "starts": self.server.starts + self.quiet.starts,
            "journal files' bytes": sum(each.stat().st_size for each in journal.iterdir()),
        }


def table(result: Result) -> str:
    rows: list[tuple[str, Any]] = [
        ("kill -9", result.kills),
        *((f"  {hit.value}", result.hits[hit]) for hit in Hit),
        *result.figures.items(),
        ("violations", len(result.violations)),
    ]
    return "\n".join(f"{name:<56}{value:>14,}" for name, value in rows)


def as_json(result: Result, seed: int) -> str:
    return json.dumps(
        {
            "seed": seed,
            "kills": result.kills,
            "hits": {hit.name.lower(): result.hits[hit] for hit in Hit},
            "figures": result.figures,
            "violations": result.violations,
        },
        indent=2,
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.crash.real_run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--format", choices=("table", "json"), default="table")
    options = parser.parse_args()
    if options.kills < KILLS_MIN:
        parser.error(f"--kills must be {KILLS_MIN} or more: one for each counter")
    seed = random.randrange(10_000) if options.seed is None else options.seed
    directory = Path(tempfile.mkdtemp(prefix="oncelog-crash-"))

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    result = Run(directory, options.kills, seed, say).run()
    print(as_json(result, seed) if options.format == "json" else f"seed {seed}\n{table(result)}")
    for failure in result.failures[:VIOLATIONS_SHOWN]:
        say(f"FAILED: {failure}")
    if result.failures:
        say(f"data and log: {directory}")
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
