"""What nobody asks for and time brings: transactions past their timeout, producers and ids that nobody uses.

Each finding is a command like any other: decided, journaled and refused where the state has moved on since.
Rounds go in steps of bounded work with turns of the loop between. Groups look after their own (groups.py).
Must not know what expiry means to a producer; machine/ decides that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from oncelog.broker.deadlines import Deadlines
from oncelog.broker.engine import Engine, EngineFailed
from oncelog.broker.remembered import Producers, TransactionalIds
from oncelog.machine.config_table import PRODUCER_ID_EXPIRATION
from oncelog.machine.configs import altered_broker_config
from oncelog.machine.transactions import timed_out

TRANSACTION_SWEEP_INTERVAL_MS = 1000
"""Kafka looks every 10 s by default; who reads only what is committed waits for it."""
ABORTS_PER_SWEEP_MAX = 1000
ITEMS_PER_STEP = 1000
STEP_PAUSE_MS = 10


class HousekeepingOptions(NamedTuple):
    """Kafka's producer.id.expiration.ms, transactional.id.expiration.ms, and how often to look."""

    producer_id_expiration_ms: int
    transactional_id_expiration_ms: int
    check_interval_ms: int


class Housekeeping:
    """The background work of one broker; it begins at once and ends with the deadlines."""

    def __init__(self, engine: Engine, deadlines: Deadlines, options: HousekeepingOptions) -> None:
        self._engine = engine
        self._deadlines = deadlines
        self._options = options
        self._round: Iterator[int] = iter(())
        deadlines.after(TRANSACTION_SWEEP_INTERVAL_MS, self._abort_timed_out)
        deadlines.after(options.check_interval_ms, self._begin_round)

    def _abort_timed_out(self) -> None:
        """Abort what has been open for longer than its timeout."""
        try:
            for abort in timed_out(self._engine.state, self._engine.age_ms(), ABORTS_PER_SWEEP_MAX):
                self._engine.execute(abort)
        except EngineFailed:
            return
        self._deadlines.after(TRANSACTION_SWEEP_INTERVAL_MS, self._abort_timed_out)

    def _begin_round(self) -> None:
        self._round = self._steps()
        self._step()

    def _step(self) -> None:
        """Look at so many as one step may, and come back for the others."""
        looked_at = 0
        try:
            while looked_at < ITEMS_PER_STEP:
                looked_at += next(self._round)
        except StopIteration:
            self._deadlines.after(self._options.check_interval_ms, self._begin_round)
        except EngineFailed:
            return
        else:
            self._deadlines.after(STEP_PAUSE_MS, self._step)

    def _steps(self) -> Iterator[int]:
        """One look at every transactional id and at every producer of every partition; yields how many."""
        for chunk in TransactionalIds(self._engine).chunks():
            chunk.forget(self._options.transactional_id_expiration_ms)
            yield chunk.size
        for chunk in Producers(self._engine).chunks():
            chunk.forget(self.producer_id_expiration_ms())
            yield chunk.size

    def producer_id_expiration_ms(self) -> int:
        """As the broker was started with, unless it was altered since."""
        altered = altered_broker_config(PRODUCER_ID_EXPIRATION, self._engine.state.broker_configs)
        return altered if isinstance(altered, int) else self._options.producer_id_expiration_ms
