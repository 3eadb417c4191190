"""`oncelog serve`: one process, one data directory, one broker.

Locks and replays the directory, listens, says one line when it is ready, and stops cleanly on SIGTERM and
SIGINT. Everything that is global to a process is set here and nowhere else: the loop, signals, logging, the
collector and the interpreter's switch interval.
"""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

from oncelog.broker.assembly import CannotStart, assemble, listen, new_loop
from oncelog.broker.broker import Broker
from oncelog.broker.log_limit import RateLimit
from oncelog.broker.options import Listener, Options
from oncelog.broker.recovery import Replayed, replay
from oncelog.broker.server import Server
from oncelog.disk.real import RealDisk
from oncelog.journal import JournalError
from oncelog.journal.file import FileJournal
from oncelog.machine.state import State
from oncelog.store.level0 import PayloadCache, Reader

log = logging.getLogger("oncelog.serve")

SWITCH_INTERVAL_S = 0.0005
"""How long the writer thread may keep the loop waiting for the interpreter, and the other way round."""
STATE_BYTES_PER_ENTRY = 700
"""What replay may need in memory for each journal entry, generously: a producer's window and an extent."""
EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CANNOT_START = 3
PROGRESS_INTERVAL_S = 1.0


def run(options: Options) -> int:
    """Serve until a signal or a failure; returns the process's exit code."""
    logging.basicConfig(
        level=getattr(logging, options.log_level.upper()),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(RateLimit(options.closed_connections_logged))
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    _raise_open_files_limit()
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(_serve(options))
    except (CannotStart, JournalError) as reason:
        print(f"oncelog cannot start: {reason}", file=sys.stderr)
        return EXIT_CANNOT_START


def _raise_open_files_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def open_addresses(listeners: Sequence[Listener]) -> list[Listener]:
    """Those that others than this machine can reach."""
    return [listener for listener in listeners if not _is_loopback(listener.address.host)]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _warn_of_open_addresses(options: Options) -> None:
    found = open_addresses(options.listen)
    if found:
        log.warning(
            "there is no authentication and no encryption: whoever reaches %s can read and write everything",
            ", ".join(map(str, found)),
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

    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, finish, EXIT_OK)
    disk = RealDisk()
    journal = FileJournal.open(
        disk,
        options.data,
        post=loop.call_soon_threadsafe,
        file_bytes_max=options.journal_file_bytes_max,
        random_bytes=os.urandom,
    )
    try:
        state = State(options.machine_limits())
        replayed = _replay(state, journal)
        broker = assemble(
            options,
            state,
            journal,
            loop,
            cluster_id=journal.cluster_id,
            age_ms=replayed.age_ms,
            reader=Reader(
                journal, PayloadCache(options.payload_cache_bytes_max), post=loop.call_soon_threadsafe
            ),
            on_failure=failed,
        )
        server = await listen(broker, options, loop)
        _warn_of_open_addresses(options)
        gc.collect()
        gc.freeze()
        print(_ready_line(server, broker, journal, replayed), flush=True)
        code = await stop
        await server.close()
        await broker.close()
        broker.reader.close()
        return code
    finally:
        journal.close()


def _replay(state: State, journal: FileJournal) -> Replayed:
    """Replay with progress on the log when it takes more than a second; refused when memory would not do."""
    entries_max = journal.entries_to_replay_max()
    needed_bytes = entries_max * STATE_BYTES_PER_ENTRY
    free_bytes = _available_memory_bytes()
    if free_bytes is not None and needed_bytes > free_bytes:
        raise CannotStart(
            f"replaying up to {entries_max} journal entries may need {needed_bytes >> 20} MiB of memory, "
            f"and {free_bytes >> 20} MiB are free; free some, or start on a machine with more"
        )
    size_bytes = journal.size_bytes
    began_s = last_said_s = time.monotonic()

    def progress(entries: int) -> None:
        nonlocal last_said_s
        now_s = time.monotonic()
        if now_s - last_said_s >= PROGRESS_INTERVAL_S:
            last_said_s = now_s
            log.info(
                "replaying the journal: %d entries, %d of %d MiB",
                entries,
                journal.replayed_bytes >> 20,
                size_bytes >> 20,
            )

    replayed = replay(state, journal.replay(), progress)
    log.info(
        "replayed %d entries (%d bytes of journal) in %.2f s",
        replayed.entries,
        journal.size_bytes,
        time.monotonic() - began_s,
    )
    return replayed


def _available_memory_bytes() -> int | None:
    """What Linux says is available without swapping; None where it does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as meminfo:
            for line in meminfo:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None


def _ready_line(server: Server, broker: Broker, journal: Any, replayed: Replayed) -> str:
    first, *others = map(str, server.addresses)
    also = f" also_on={','.join(others)}" if others else ""
    return (
        f"oncelog ready: {first} cluster={broker.cluster_id} durability=fsync "
        f"journal_bytes={journal.size_bytes} replayed_entries={replayed.entries}{also}"
    )
