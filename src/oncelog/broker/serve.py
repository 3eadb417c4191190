"""`oncelog serve`: one process, one data directory, one broker.

Locks and replays the directory, listens, says one line when it is ready, and stops cleanly on SIGTERM and
SIGINT. Everything that is global to a process is set here and nowhere else: the loop, signals, logging, the
collector and the interpreter's switch interval.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType

from oncelog.broker import memory, process
from oncelog.broker.admin import Admin
from oncelog.broker.assembly import (
    CannotStart,
    assemble,
    listen,
    memory_reader,
    new_cluster_id,
    new_loop,
    open_file_journal,
)
from oncelog.broker.broker import Broker
from oncelog.broker.logs import set_up
from oncelog.broker.options import MEMORY_BYTES_MAX, Listener, Options
from oncelog.broker.recovery import Replayed, replay_in_steps
from oncelog.broker.server import Server
from oncelog.journal import JournalError
from oncelog.journal.file import FileJournal
from oncelog.journal.memory import MemoryJournal
from oncelog.machine.state import State
from oncelog.store.level0 import PayloadCache, Reader

log = logging.getLogger("oncelog.serve")

SWITCH_INTERVAL_S = 0.0005
"""How long the writer thread may keep the loop waiting for the interpreter, and the other way round."""
STATE_BYTES_PER_EVENT_BYTE = 10
"""What replay may need in memory for each byte of the journal's events: measured, 1 for plain appends, 3 for
a new producer with each, 9 to 19 for new transactional ids, groups and offsets, which mostly replace others.
"""
MEMORY_RESERVE_BYTES = 32 << 20
"""Replay stops before less than this is left, whatever was expected."""
EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CANNOT_START = 3
PROGRESS_INTERVAL_S = 1.0
IMPATIENT_AFTER_S = 0.5
"""Two signals to stop within this are one that came twice: a terminal and whoever started us both send it."""


def run(options: Options) -> int:
    """Serve until a signal or a failure; returns the process's exit code."""
    set_up(options.log_level, options.log_format, options.closed_connections_logged)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    process.raise_open_files_limit()
    try:
        with asyncio.Runner(loop_factory=lambda: new_loop(options.loop)) as runner:
            return runner.run(_serve(options))
    except (CannotStart, JournalError) as reason:
        print(f"oncelog cannot start: {reason}", file=sys.stderr)
        return EXIT_CANNOT_START


def open_addresses(listeners: Sequence[Listener]) -> list[Listener]:
    """Those that others than this machine can reach."""
    return [listener for listener in listeners if not _is_loopback(listener.address.host)]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _warn_of_open_addresses(options: Options) -> None:
    for listeners, what in (
        (options.listen, "can read and write everything"),
        ([Listener(options.admin)] if options.admin else [], "can read what the broker tells of itself"),
    ):
        found = open_addresses(listeners)
        if found:
            log.warning(
                "there is no authentication and no encryption: whoever reaches %s %s",
                ", ".join(map(str, found)),
                what,
            )


async def _serve(options: Options) -> int:
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[int] = loop.create_future()

    def finish(code: int) -> None:
        if not stop.done():
            stop.set_result(code)

    def failed(reason: BaseException) -> None:
        log.critical("stopping, nothing more is acknowledged: %r", reason)
        finish(EXIT_FAILED)

    asked_first_s: list[float] = []

    def asked_to_stop() -> None:
        asked_first_s.append(loop.time())
        if asked_first_s[-1] - asked_first_s[0] > IMPATIENT_AFTER_S:
            # As kill -9 does: what was acknowledged is on the disk.
            log.critical("asked to stop again: ending at once")
            os._exit(EXIT_FAILED)
        finish(EXIT_OK)

    _on_stop_signals(loop, asked_to_stop)
    admin = await _start_admin(options, loop)
    try:
        return await _serve_journal(options, loop, admin, stop, failed)
    finally:
        if admin is not None:
            await admin.close()


def _on_stop_signals(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    """Call `stop` in the loop, on SIGTERM and SIGINT, and on Windows when Ctrl+Break is sent."""
    numbers = [signal.SIGTERM, signal.SIGINT]
    if sys.platform == "win32":
        numbers.append(signal.SIGBREAK)

    def stop_soon(_number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(RuntimeError):
            # Raised where the loop is closed already.
            loop.call_soon_threadsafe(stop)

    for number in numbers:
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:
            # The loops of Windows; a signal interrupts what they wait for.
            signal.signal(number, stop_soon)


async def _start_admin(options: Options, loop: asyncio.AbstractEventLoop) -> Admin | None:
    """Before anything else: it tells how far a long start is."""
    if options.admin is None:
        return None
    admin = Admin(loop, options.admin, rows_max=options.metrics_rows)
    try:
        await admin.start()
    except OSError as error:
        raise CannotStart(
            f"cannot listen on {options.admin}: {error.strerror or error}; choose another address with "
            "--admin HOST:PORT (port 0 picks a free one)"
        ) from error
    return admin


async def _serve_journal(
    options: Options,
    loop: asyncio.AbstractEventLoop,
    admin: Admin | None,
    stop: asyncio.Future[int],
    failed: Callable[[BaseException], None],
) -> int:
    journal, cluster_id = _open_journal(options, loop)
    try:
        state = State(options.machine_limits())
        replayed = await replay_with_turns(state, journal, admin, stop.done)
        broker = assemble(
            options,
            state,
            journal,
            loop,
            cluster_id=cluster_id,
            age_ms=replayed.age_ms,
            reader=_reader(options, journal, loop),
            on_failure=failed,
        )
        server = await listen(broker, options, loop)
        if admin is not None:
            admin.attach(broker, server)
        _warn_of_open_addresses(options)
        gc.collect()
        gc.freeze()
        print(_ready_line(options, server, broker, admin, replayed), flush=True)
        code = await stop
        await server.close()
        await broker.close()
        broker.reader.close()
        return code
    except StoppedWhileStarting:
        return stop.result()
    finally:
        journal.close()


def _open_journal(
    options: Options, loop: asyncio.AbstractEventLoop
) -> tuple[FileJournal | MemoryJournal, str]:
    """The journal, not replayed, and the cluster's id."""
    if options.is_in_memory:
        return MemoryJournal(loop.call_soon, MEMORY_BYTES_MAX), new_cluster_id()
    journal = open_file_journal(options, loop)
    return journal, journal.cluster_id


def _reader(
    options: Options, journal: FileJournal | MemoryJournal, loop: asyncio.AbstractEventLoop
) -> Reader:
    if isinstance(journal, MemoryJournal):
        return memory_reader(journal, MEMORY_BYTES_MAX, loop)
    cache = PayloadCache(options.payload_cache_bytes_max)
    return Reader(journal, cache, post=loop.call_soon_threadsafe)


class StoppedWhileStarting(Exception):
    """A replay was given up, for the broker is to stop; nothing was changed."""


async def replay_with_turns(
    state: State,
    journal: FileJournal | MemoryJournal,
    admin: Admin | None,
    is_stopping: Callable[[], bool] = lambda: False,
) -> Replayed:
    """Replay with turns for the loop between; refused when memory would not do, or does not."""
    if isinstance(journal, FileJournal):
        _refuse_without_memory(journal)
    began_s = time.monotonic()
    progress = Progress(journal.size_bytes, began_s)
    steps = replay_in_steps(state, journal.replay())
    while True:
        try:
            entries = next(steps)
        except StopIteration as end:
            replayed: Replayed = end.value
            break
        said = progress.at(entries, journal.replayed_bytes, time.monotonic())
        if isinstance(journal, FileJournal):
            _refuse_when_memory_is_short(said)
        if admin is not None:
            admin.progress = said
        await asyncio.sleep(0)
        if is_stopping():
            raise StoppedWhileStarting
    log.info(
        "replayed %d entries (%d bytes of journal) in %.2f s",
        replayed.entries,
        journal.size_bytes,
        time.monotonic() - began_s,
    )
    return replayed


class Progress:
    """How far a replay is: a sentence for whoever asks, and a log line once a second."""

    def __init__(self, size_bytes: int, began_s: float) -> None:
        self._size_bytes = size_bytes
        self._last_said_s = began_s

    def at(self, entries: int, read_bytes: int, now_s: float) -> str:
        """So much has been read."""
        sentence = (
            f"replaying the journal: {entries} entries, {read_bytes >> 20} of {self._size_bytes >> 20} MiB"
        )
        if now_s - self._last_said_s >= PROGRESS_INTERVAL_S:
            self._last_said_s = now_s
            log.info("%s", sentence)
        return sentence


def _refuse_without_memory(journal: FileJournal) -> None:
    """What replay may need is known before it begins, roughly."""
    entries, events_bytes = journal.contents()
    needed_bytes = events_bytes * STATE_BYTES_PER_EVENT_BYTE
    free_bytes = memory.free_bytes()
    if free_bytes is not None and needed_bytes > free_bytes:
        raise CannotStart(
            f"replaying {entries} journal entries with {events_bytes >> 10} KiB of events may need "
            f"{needed_bytes >> 20} MiB of memory, and {free_bytes >> 20} MiB are free; free some, or start "
            "on a machine with more"
        )


def _refuse_when_memory_is_short(said: str) -> None:
    """What replay really takes is seen while it goes on. said: how far it is."""
    free_bytes = memory.free_bytes()
    if free_bytes is not None and free_bytes < MEMORY_RESERVE_BYTES:
        raise CannotStart(
            f"memory ran short while {said}: {free_bytes >> 20} MiB are left of it; free some, or start on a "
            "machine with more"
        )


def _ready_line(
    options: Options, server: Server, broker: Broker, admin: Admin | None, replayed: Replayed
) -> str:
    first, *others = map(str, server.addresses)
    durability = "memory" if options.is_in_memory else options.durability
    parts = [
        f"oncelog ready: {first} cluster={broker.cluster_id} durability={durability}",
        f"journal_bytes={broker.journal_bytes()} replayed_entries={replayed.entries}",
    ]
    if others:
        parts.append(f"also_on={','.join(others)}")
    if admin is not None:
        parts.append(f"admin={admin.address}")
    return " ".join(parts)
