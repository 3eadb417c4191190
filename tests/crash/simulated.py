"""A broker under load, killed, restarted and checked, a thousand times in one process.

    python -m tests.crash.simulated --kills 1000 --seed 7

Real broker code runs on a disk that keeps unsynced writes apart; a kill drops or tears any subset of them.
Clients go on by themselves. After each kill the disk is audited. A seed gives the same run every time. Kills
come in worlds of some kills each: a world begins with an empty disk and ends with clients that finish.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from typing import NamedTuple

from oncelog.disk.faulty import Crashed, Fault, FaultyDisk
from oncelog.journal import JournalError
from oncelog.journal import file as file_module
from oncelog.machine.fingerprint import state_differences, state_fingerprint
from tests.crash.simulated_audit import Audit
from tests.crash.simulated_clients import (
    Client,
    IdempotentProducer,
    ReadCommitted,
    TopicMaker,
    TransactionalProducer,
    World,
)
from tests.crash.simulated_ledger import Violation
from tests.crash.simulated_process import Network, Process, SimulatedLoop

KILLS_PER_WORLD = 20
FILL_STEPS_BYTES = (32 << 10, 64 << 10)
"""Files are small here, so that they roll; zeros come ahead in small steps, so that these are killed, too."""
ENDING_S = 300.0
"""What clients may take, in simulated time, to finish once nothing is killed any more."""
MOMENTS = ("before", "during", "after")
SABOTAGES = ("", "sync-is-noop", "reply-before-sync")

BEFORE_ACKNOWLEDGEMENT = "kills between append and acknowledgement"
IN_TRANSACTION = "kills between a transaction's records and its end"
IN_REPLAY = "kills during replay"
MUST_HAPPEN = (BEFORE_ACKNOWLEDGEMENT, IN_TRANSACTION, IN_REPLAY)


class Report(NamedTuple):
    """counts: what happened how often. violation: the first broken promise, empty when there was none."""

    counts: Counter[str]
    violation: str
    trace: str


class Errors(logging.Handler):
    """What the broker logs as an error: a handler that failed, damage, an engine that stopped."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(self.format(record))


class Machine:
    """One world: a disk, a process on it that is killed and started again, and its clients."""

    def __init__(self, seed: str, kills: int, sabotage: str, counts: Counter[str]) -> None:
        self.kills = 0
        self.digest = sha256(seed.encode())
        self._kills_wanted = kills
        self._sabotage = sabotage
        self._counts = counts
        self._chance = random.Random(f"{seed} machine")
        self._loop = SimulatedLoop()
        self._network = Network(self._loop, random.Random(f"{seed} network"))
        self._disk = FaultyDisk()
        self._served: Process | None = None
        self._process: Process | None = None
        self._may_fail = False
        self._world = World(seed, self._loop, self._network, self._trace)
        self._audit = Audit(self._world.ledger)
        self._clients = self._make_clients()

    def _make_clients(self) -> list[Client]:
        world = self._world
        transactional: list[Client] = [
            TransactionalProducer(world, "first-generation", 1),
            TransactionalProducer(world, "second-generation", 2),
            TransactionalProducer(world, "another-second", 2),
            TransactionalProducer(world, "slow-first", 1, timeout_ms=500),
            TransactionalProducer(world, "slow-second", 2, timeout_ms=500),
        ]
        for client in transactional:
            world.ledger.transactional_ids.append(client.name)
            world.ledger.outcomes[client.name] = {}
        plain: list[Client] = [IdempotentProducer(world, f"producer-{number}") for number in range(2)]
        return [TopicMaker(world, "maker"), *plain, *transactional, ReadCommitted(world, "reader")]

    def _trace(self, name: str, frame: bytes) -> None:
        self.digest.update(b"%s %.9f " % (name.encode(), self._loop.now_s) + frame)

    # --- the run ---

    def run(self) -> None:
        """Raises Violation."""
        for client in self._clients:
            client.start()
        self._loop.call_soon(self._power_on)
        while not (self._world.is_ending and all(client.is_done for client in self._clients)):
            self._loop.step()
            if self._world.is_ending and self._loop.now_s > self._ends_s:
                waiting = [client.name for client in self._clients if not client.is_done]
                raise Violation(f"clients did not go on by themselves: {waiting}")
        self._audit.run(self._disk, self._chance.randrange(1 << 30), is_final=True)
        self._counts.update(self._world.ledger.counts)

    def _power_on(self) -> None:
        """Start the process; it may be killed while it replays."""
        chance = self._chance
        disk = self._disk
        if self.kills < self._kills_wanted and chance.random() < 0.2:
            nth, kind = chance.randint(1, 10), chance.choice(("read", "any"))
            disk.faults = [Fault(kind, disk.calls[kind] + nth, crash=chance.choice(MOMENTS))]
        process = Process(
            disk,
            self._loop,
            chance.randrange(1 << 30),
            on_crash=self._crashed,
            on_failure=self._failed,
            acknowledges_too_early=self._sabotage == "reply-before-sync",
            disk_delay_ms_max=chance.choice((0.2, 2.0, 8.0)),
        )
        self._process = process
        try:
            process.start()
        except Crashed:
            process.life.is_alive = False
            self._counts[IN_REPLAY] += process.is_replaying
            self._died()
            return
        except JournalError as refused:
            raise Violation(f"the broker could not start again: {refused}") from refused
        disk.faults = [fault for fault in disk.faults if fault.call == "read"]
        self._compare_with_the_dead(process)
        self._audit.run(disk, chance.randrange(1 << 30))
        self._served = process
        self._network.process = process
        # A disk that lies from the first moment on would only break the start of the next process.
        disk.sync_is_noop = self._sabotage == "sync-is-noop" and self._world.topics_exist
        self._plan_the_kill(process)

    def _compare_with_the_dead(self, process: Process) -> None:
        """Law 2, where the journal ends at what the dead process had decided last; and which kill it was."""
        served = self._served
        if served is None:
            return
        engine = served.broker.engine
        self._counts[BEFORE_ACKNOWLEDGEMENT] += process.replayed_position > engine.durable_position
        self._counts[IN_TRANSACTION] += any(
            partition.open_transactions
            for topic in process.state.topics.values()
            for partition in topic.partitions
        )
        if process.replayed_position == engine.stamp():
            self._counts["states compared"] += 1
            if state_fingerprint(process.state) != state_fingerprint(served.state):
                difference = state_differences(served.state, process.state)[:5]
                raise Violation(f"the replayed state differs from the one that served: {difference}")
        self._served = None

    def _plan_the_kill(self, process: Process) -> None:
        chance = self._chance
        self._may_fail = False
        self._world.pace = chance.choice((0.0, 1.0, 1.0, 5.0))
        if self.kills >= self._kills_wanted:
            self._world.is_ending = True
            self._world.pace = 1.0
            self._world.drop_share = 0.0
            process.disk.faults = []
            self._ends_s = self._loop.now_s + ENDING_S
            return
        longest_s = chance.choice((0.02, 0.08, 0.2))
        if chance.random() < 0.06:
            # A quiet one: long enough for seals, and for transactions to time out.
            longest_s, self._world.pace = 3.0, 400.0
        luck, disk = chance.random(), process.disk
        calls = disk.calls["any"]
        if luck < 0.45:
            disk.faults.append(Fault("any", calls + chance.randint(1, 50), crash=chance.choice(MOMENTS)))
        elif luck < 0.57:
            self._may_fail = True
            keeps_pages = chance.random() < 0.5
            disk.faults.append(Fault("any", calls + chance.randint(1, 50), keeps_pages=keeps_pages))
        self._loop.call_later(chance.uniform(0.3, 1.0) * longest_s, self._kill, process)

    # --- ends ---

    def _kill(self, process: Process, power_loss_share: float = 0.7) -> None:
        if process.life.is_alive:
            process.life.is_alive = False
            self._counts["kills between two callbacks"] += 1
            self._died(power_loss_share)

    def _crashed(self) -> None:
        """The disk's power went within a call; the process has ended in the middle of it."""
        self._counts["kills within a call of the disk"] += 1
        self._died()

    def _failed(self, reason: BaseException) -> None:
        """The engine has stopped: `serve` ends its process then. What comes before the end still happens."""
        if not self._may_fail:
            raise Violation(f"the engine stopped without a reason: {reason!r}") from reason
        self._counts["ends by a failed write or sync"] += 1
        process = self._process
        assert process is not None
        self._loop.call_later(self._chance.uniform(0, 0.005), self._kill, process, 0.1)

    def _died(self, power_loss_share: float = 0.7) -> None:
        self.kills += 1
        loses_power = self._chance.random() < power_loss_share
        self._counts["losses of power" if loses_power else "kill -9"] += 1
        self._disk = self._disk.crash(self._chance) if loses_power else self._disk.kill()
        self._network.broker_died()
        self._loop.call_later(self._chance.uniform(0.002, 0.03), self._power_on)


def run(seed: str, kills: int, sabotage: str = "", progress: Callable[[int], None] | None = None) -> Report:
    """Kill a broker that often. Stops at the first violation."""
    assert sabotage in SABOTAGES
    counts: Counter[str] = Counter()
    digest = sha256()
    errors = Errors()
    logger = logging.getLogger("oncelog")
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(errors)
    violation = ""
    world = 0
    fill_steps = file_module.FILL_STEP_BYTES_FIRST, file_module.FILL_STEP_BYTES_MAX
    file_module.FILL_STEP_BYTES_FIRST, file_module.FILL_STEP_BYTES_MAX = FILL_STEPS_BYTES
    try:
        while counts["kills"] < kills and not violation:
            machine = Machine(
                f"{seed}/{world}", min(KILLS_PER_WORLD, kills - counts["kills"]), sabotage, counts
            )
            try:
                machine.run()
                unexpected = [each for each in errors.messages if not each.startswith("engine stopped")]
                if unexpected:
                    raise Violation(f"the broker logged an error: {unexpected[0]}")
            except Violation as broken:
                violation = f"world {world}, after {machine.kills} kills: {broken}"
            counts["kills"] += machine.kills
            digest.update(machine.digest.digest())
            world += 1
            if progress is not None:
                progress(counts["kills"])
    finally:
        file_module.FILL_STEP_BYTES_FIRST, file_module.FILL_STEP_BYTES_MAX = fill_steps
        logger.removeHandler(errors)
        logger.propagate = propagates
    return Report(counts, violation, digest.hexdigest())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=os.environ.get("KILLS") or "1000")
    parser.add_argument(
        "--seed", default=os.environ.get("SEED") or str(random.SystemRandom().randrange(10**9))
    )
    parser.add_argument("--sabotage", choices=SABOTAGES, default=os.environ.get("SABOTAGE") or "")
    arguments = parser.parse_args()
    if arguments.sabotage not in SABOTAGES:  # choices say nothing of a default, which the environment gives
        parser.error(f"SABOTAGE: {arguments.sabotage!r} is none of {', '.join(filter(None, SABOTAGES))}")
    if arguments.kills < 1:
        parser.error("KILLS must be 1 or more")
    print(f"seed {arguments.seed}, {arguments.kills} kills", flush=True)
    began_s = time.monotonic()

    def progress(kills: int) -> None:
        print(f"\r{kills} kills, {time.monotonic() - began_s:.0f} s", end="", file=sys.stderr, flush=True)

    report = run(arguments.seed, arguments.kills, arguments.sabotage, progress)
    print(file=sys.stderr)
    for name, count in sorted(report.counts.items()):
        print(f"{count:9,}  {name}")
    print(f"trace {report.trace[:16]}")
    missing = [name for name in MUST_HAPPEN if not report.counts[name]]
    if report.violation:
        print(f"VIOLATION in {report.violation}")
        sabotage = f"SABOTAGE={arguments.sabotage} " if arguments.sabotage else ""
        print(f"again: {sabotage}SEED={arguments.seed} KILLS={arguments.kills} make crash-simulated")
    elif missing:
        print(f"this run proves too little, for there were none of these: {', '.join(missing)}")
    return 1 if report.violation or missing else 0


if __name__ == "__main__":
    sys.exit(main())
