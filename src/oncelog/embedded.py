"""A broker inside a Python program: `oncelog.Broker`, in a thread and a loop of its own.

Blocking clients and clients on the program's own loop work with it alike, for it shares nothing with either.
It changes nothing that is global to its process: no signal handlers, no event loop policy, no logging set-up,
no collector or interpreter settings. Must not know what tests do with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from oncelog.broker.assembly import (
    CannotStart,
    assemble,
    listen,
    memory_reader,
    new_cluster_id,
    new_loop,
    open_file_journal,
)
from oncelog.broker.broker import Broker as BrokerCore
from oncelog.broker.engine import EngineFailed
from oncelog.broker.faults import Faults
from oncelog.broker.kafka_releases import RELEASES, as_of
from oncelog.broker.options import (
    MEMORY_BYTES_MAX,
    MEMORY_BYTES_MIN,
    OF_SERVE_ALONE,
    Options,
    UsageError,
    check_value,
    memory_defaults,
    parse_listeners,
    suggestion,
)
from oncelog.broker.recovery import replay
from oncelog.broker.registry import Registry
from oncelog.broker.server import Server
from oncelog.journal import Journal, JournalError
from oncelog.journal.memory import MemoryJournal
from oncelog.machine.commands import CreateTopic
from oncelog.machine.state import State
from oncelog.store.level0 import PayloadCache, Reader
from oncelog.wire.errors import ErrorCode

__all__ = ["Broker", "BrokerFailed", "CannotStart", "JournalError", "Snapshot", "UsageError"]

T = TypeVar("T")


class BrokerFailed(RuntimeError):
    """An embedded broker has stopped for good; the message and the cause say why. The program goes on."""


class Snapshot(NamedTuple):
    """What a broker in memory can be brought back to. restores: how often it had been, by then."""

    next_position: int
    age_ms: int
    restores: int
    broker: Broker


class _Restore(NamedTuple):
    """Entries from next_position on were forgotten at the restore of that number."""

    number: int
    next_position: int


class Broker:
    """A broker for this program: `with Broker() as broker` or `async with Broker() as broker`.

    data: a data directory, durable as `oncelog serve` has it; None keeps everything in memory, at most
        `memory_bytes_max`, beyond which appending is refused as on a full disk.
    listen: HOST:PORT; port 0 lets the system pick one, which `bootstrap` names.
    kafka_version: a release of Apache Kafka, such as "2.8", whose APIs and versions alone are served.
    topics: topics to create where they are missing: names, or names with their partitions.
    options: those of `oncelog serve` (docs/options.md) by their Python names, save those of its process (dev,
        admin, metrics_rows, log_level, log_format). An empty group's first
        rebalance waits for nobody here, unless group_initial_rebalance_delay_ms says otherwise.

    Raises UsageError for what cannot be meant, CannotStart and JournalError from start.
    """

    def __init__(
        self,
        data: str | os.PathLike[str] | None = None,
        *,
        listen: str = "127.0.0.1:0",
        topics: Mapping[str, int] | Iterable[str] = (),
        memory_bytes_max: int = MEMORY_BYTES_MAX,
        kafka_version: str | None = None,
        **options: Any,
    ) -> None:
        self._is_in_memory = data is None
        self._memory_bytes_max = memory_bytes_max
        self._kafka_version = kafka_version
        if kafka_version is not None and kafka_version not in RELEASES:
            raise UsageError(f"kafka_version={kafka_version!r} is none of {', '.join(RELEASES)}")
        if isinstance(topics, str):
            raise UsageError(f"topics={topics!r} is one text; several names are meant, such as [{topics!r}]")
        self._topics = dict(topics) if isinstance(topics, Mapping) else dict.fromkeys(topics, 1)
        if self._is_in_memory:
            if memory_bytes_max < MEMORY_BYTES_MIN:
                raise UsageError(f"memory_bytes_max={memory_bytes_max} is less than {MEMORY_BYTES_MIN}")
            options = memory_defaults(memory_bytes_max) | options
        options.setdefault("group_initial_rebalance_delay_ms", 0)
        self._options = _options(data, listen, options)
        self._thread: threading.Thread | None = None
        self._started: Future[None] = Future()
        self._ended: Future[None] = Future()
        self._failure: BaseException | None = None
        self._process_id = os.getpid()
        self._is_asked_to_stop = False
        self._restores: list[_Restore] = []
        # Of the broker's thread.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._journal: Journal | None = None
        self._core: BrokerCore | None = None
        self._server: Server | None = None
        self._registry: Registry | None = None

    # --- what a program asks ---

    @property
    def bootstrap(self) -> str:
        """HOST:PORT for clients to connect to."""
        assert self._server is not None, "the broker was not started"
        return str(self._server.advertised_addresses[0])

    @property
    def failure(self) -> BaseException | None:
        """Why the broker has stopped for good, if it has."""
        return self._failure

    def snapshot(self) -> Snapshot:
        """A state to come back to with `restore`. Only in memory. Raises BrokerFailed."""
        return self._call(self._take_snapshot)

    def restore(self, snapshot: Snapshot) -> None:
        """Be as at the snapshot: what came after is gone, connections are closed, the address stays.

        Takes time with what the log holds; milliseconds for a small one. Raises BrokerFailed.
        """
        if snapshot.broker is not self:
            raise UsageError("this snapshot was taken of another broker")
        self._call(lambda: self._go_back(snapshot))

    @property
    def journal_position(self) -> int:
        """The newest position of the journal that is durable; every change takes the next one."""
        assert self._core is not None, "the broker was not started"
        return self._core.engine.durable_position

    def crash(self) -> None:
        """Stop as a kill would, lose what was not synced, start again on the rest, at the same address.

        What was acknowledged is there again; connections are gone. Raises BrokerFailed.
        """

        async def crash() -> None:
            restarted = asyncio.get_running_loop().create_future()
            self.crash_now(lambda: restarted.set_result(None))
            await restarted

        self._call(crash)

    def with_faults(self, job: Callable[[Faults], T]) -> T:
        """Let `job` change the faults of this broker, in its thread; what it raises is raised here.

        From the first time on, every request is looked at, until `without_faults`. Raises BrokerFailed.
        """

        async def run() -> T:
            assert self._core is not None
            if self._core.faults is None:
                self._core.faults = Faults()
            return job(self._core.faults)

        return self._call(run)

    def without_faults(self, job: Callable[[Faults], bool] = lambda _: True) -> None:
        """Forget all faults, unless `job`, run in the broker's thread, says no. Raises BrokerFailed."""

        async def forget() -> None:
            assert self._core is not None
            if self._core.faults is not None and job(self._core.faults):
                self._core.faults = None

        self._call(forget)

    # --- starting and stopping ---

    def start(self) -> Self:
        """Start, and return when clients can connect."""
        self._begin()
        try:
            self._started.result()
        except BaseException:
            self._ask_to_stop()
            raise
        return self

    def stop(self) -> None:
        """Stop cleanly; idempotent. Raises BrokerFailed when the broker had failed before.

        In a forked child it does nothing: the broker is its parent's, and goes on.
        """
        self._ask_to_stop()
        if self._thread is not None and not self._is_the_parents:
            self._ended.result()
        self._raise_failure()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        except BrokerFailed:
            if error is None:
                raise

    async def __aenter__(self) -> Self:
        self._begin()
        try:
            await _wait_for(self._started)
        except BaseException:
            # Whoever is cancelled here never leaves the block.
            self._ask_to_stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ask_to_stop()
        if not self._is_the_parents:
            await _wait_for(self._ended)
        if error is None:
            self._raise_failure()

    def _begin(self) -> None:
        if self._thread is not None:
            raise UsageError("a broker is started once; make another one")
        self._process_id = os.getpid()
        self._thread = threading.Thread(target=self._run, name="oncelog-broker", daemon=True)
        self._thread.start()

    @property
    def _is_the_parents(self) -> bool:
        """A fork copies no threads: in a child the broker's is missing, and nothing of it would ever end."""
        return os.getpid() != self._process_id

    def _ask_to_stop(self) -> None:
        if self._is_the_parents:
            return
        # Seen by the broker's thread where that has no loop yet.
        self._is_asked_to_stop = True
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None and not self._ended.done():
            try:
                loop.call_soon_threadsafe(stop.set)
            except RuntimeError:
                # Its loop has been closed: it ended meanwhile.
                return

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise BrokerFailed(f"the broker has stopped: {self._failure}") from self._failure

    def _call(self, job: Callable[[], Awaitable[T]]) -> T:
        """Run a coroutine in the broker's thread and wait for it."""
        self._raise_failure()
        if self._is_the_parents:
            raise UsageError(
                "the broker is in the process that started it, and this one was forked from that"
            )
        if self._loop is None or self._ended.done():
            raise UsageError("the broker is not running")

        async def run() -> T:
            return await job()

        try:
            return asyncio.run_coroutine_threadsafe(run(), self._loop).result()
        except EngineFailed as failed:
            raise BrokerFailed(f"the broker has stopped: {failed}") from failed

    # --- the broker's thread ---

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: new_loop(self._options.loop)) as runner:
                runner.run(self._serve())
        except BaseException as failed:
            if not self._started.done():
                self._started.set_exception(failed)
            elif self._failure is None:
                self._failure = failed
        finally:
            self._ended.set_result(None)

    async def _serve(self) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        if self._is_asked_to_stop:
            self._stop.set()
        self._journal, cluster_id = self._open_journal(loop)
        try:
            self._core = self._replayed_core(cluster_id, age_ms=None)
            await self._serve_from(loop, self._stop, self._core)
        finally:
            if self._core is not None:
                self._core.reader.close()
            self._journal.close()

    async def _serve_from(
        self, loop: asyncio.AbstractEventLoop, stop: asyncio.Event, core: BrokerCore
    ) -> None:
        try:
            self._create_topics(core)
            self._server = await listen(core, self._options, loop)
            self._started.set_result(None)
            await stop.wait()
            await self._server.close()
        finally:
            # Another one than at the start, after a restore or a crash.
            assert self._core is not None
            await self._core.close()

    def _open_journal(self, loop: asyncio.AbstractEventLoop) -> tuple[Journal, str]:
        if self._is_in_memory:
            return MemoryJournal(loop.call_soon, self._memory_bytes_max), new_cluster_id()
        journal = open_file_journal(self._options, loop)
        return journal, journal.cluster_id

    def _replayed_core(self, cluster_id: str, age_ms: int | None) -> BrokerCore:
        """A broker of what the journal holds."""
        assert self._journal is not None
        assert self._loop is not None
        if self._registry is None:
            served = Registry.load()
            self._registry = served if self._kafka_version is None else as_of(self._kafka_version, served)
        state = State(self._options.machine_limits())
        replayed = replay(state, self._journal.replay())
        return assemble(
            self._options,
            state,
            self._journal,
            self._loop,
            cluster_id=cluster_id,
            age_ms=replayed.age_ms if age_ms is None else age_ms,
            reader=self._reader(self._journal, self._loop),
            on_failure=self._failed,
            registry=self._registry,
        )

    def _reader(self, journal: Journal, loop: asyncio.AbstractEventLoop) -> Reader:
        if isinstance(journal, MemoryJournal):
            return memory_reader(journal, self._memory_bytes_max, loop)
        cache = PayloadCache(self._options.payload_cache_bytes_max)
        return Reader(journal, cache, post=loop.call_soon_threadsafe)

    def _create_topics(self, core: BrokerCore) -> None:
        for name, partitions in self._topics.items():
            if core.state.topic_named(name) is None:
                reply = core.engine.execute(CreateTopic(core.random_uuid(), name, partitions))
                if reply.error:
                    reason = ErrorCode(reply.error).name
                    raise UsageError(f"the topic {name!r} with {partitions} partitions: {reason}")

    def _failed(self, reason: BaseException) -> None:
        """Close every connection and refuse everything; the program is told where it asks next."""
        self._failure = reason
        if self._stop is not None:
            self._stop.set()

    async def _take_snapshot(self) -> Snapshot:
        if not isinstance(self._journal, MemoryJournal):
            raise UsageError("only a broker in memory (data=None) has snapshots")
        assert self._core is not None
        await self._core.engine.settle()
        restores = self._restores[-1].number if self._restores else 0
        return Snapshot(self._journal.next_position, self._core.engine.age_ms(), restores, self)

    async def _go_back(self, snapshot: Snapshot) -> None:
        assert isinstance(self._journal, MemoryJournal)
        assert self._core is not None
        assert self._server is not None
        self._note_restore(snapshot)
        before = self._core
        await before.close()
        before.reader.close()
        self._journal.cut_back(snapshot.next_position)
        self._follow(before, snapshot.age_ms)

    def _note_restore(self, snapshot: Snapshot) -> None:
        """Raises UsageError where something of the snapshot was itself forgotten since."""
        since = [restore for restore in self._restores if restore.number > snapshot.restores]
        if any(restore.next_position < snapshot.next_position for restore in since):
            raise UsageError(
                "what this snapshot would bring back is gone: since it was taken, the broker was restored to "
                "an earlier one; take another snapshot"
            )
        number = self._restores[-1].number + 1 if self._restores else 1
        # One to the same position or an earlier one forgot all that those before it did.
        earlier = [restore for restore in self._restores if restore.next_position < snapshot.next_position]
        self._restores = [*earlier, _Restore(number, snapshot.next_position)]

    def crash_now(self, then: Callable[[], None]) -> None:
        """In the broker's thread: crash, and call `then` when it serves again, or has failed."""
        assert self._loop is not None
        assert self._core is not None
        assert self._server is not None
        crashed = self._core
        if crashed.engine.failure is None:
            crashed.engine.abandon()
            crashed.deadlines.close()
            self._server.cut_all()
            self._loop.call_soon(self._restart, crashed)
        self._loop.call_soon(then)

    def _restart(self, crashed: BrokerCore) -> None:
        """The entry that was with the journal's writer may be in the journal; what came after it is not."""
        assert self._loop is not None
        assert self._stop is not None
        assert self._journal is not None
        crashed.reader.close()
        if self._stop.is_set():
            return
        try:
            if not isinstance(self._journal, MemoryJournal):
                self._journal.close()
                self._journal, _ = self._open_journal(self._loop)
            self._follow(crashed, age_ms=None)
        except Exception as failed:
            self._failed(failed)

    def _follow(self, before: BrokerCore, age_ms: int | None) -> None:
        """Serve from the journal again, in the place of the broker before."""
        assert self._server is not None
        self._core = self._replayed_core(before.cluster_id, age_ms)
        self._core.faults = before.faults
        self._server.hand_over(self._core)


async def _wait_for(future: Future[None]) -> None:
    """Wait without blocking the loop. Who is cancelled meanwhile stops waiting; the future is left alone."""
    loop = asyncio.get_running_loop()
    is_done = asyncio.Event()

    def wake(_: Future[None]) -> None:
        with contextlib.suppress(RuntimeError):  # Its loop was closed: nobody waits any more.
            loop.call_soon_threadsafe(is_done.set)

    future.add_done_callback(wake)
    await is_done.wait()
    future.result()


def _options(data: str | os.PathLike[str] | None, listen: str, given: Mapping[str, Any]) -> Options:
    names = [field.name for field in dataclasses.fields(Options)]
    for name in given:
        if name not in names:
            raise UsageError(f"there is no option {name}{suggestion(name, names)}")
        if name in OF_SERVE_ALONE:
            raise UsageError(f"{name} is an option of `oncelog serve` alone")
        check_value(name, given[name])
    try:
        listeners = parse_listeners(listen)
    except ValueError as wrong:
        raise UsageError(f"listen={listen!r} {wrong}") from None
    if data is not None:
        data = os.fspath(data)
        check_value("data", data)
    return Options(data=data or "", listen=listeners, **given)
