"""A broker and its listeners, put together on a journal: for `oncelog serve` and for embedding programs.

Knows no signals, no logging set-up and nothing else that is global to a process.
"""

from __future__ import annotations

import asyncio
import os
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any

from oncelog.broker.broker import Broker
from oncelog.broker.clock import SystemClock
from oncelog.broker.options import Options
from oncelog.broker.registry import Registry
from oncelog.broker.server import CannotListen, Server
from oncelog.disk.workers import InlineWorker
from oncelog.journal import Journal
from oncelog.journal.file import FileJournal
from oncelog.journal.memory import MemoryJournal
from oncelog.machine.state import State
from oncelog.store.level0 import PayloadCache, Reader


class CannotStart(Exception):
    """Why a broker cannot be started like this, as a sentence for its operator."""


def new_loop(kind: str) -> asyncio.AbstractEventLoop:
    """kind: as the option `loop`. "auto" is uvloop where it is installed, else plain asyncio."""
    if kind == "asyncio":
        return _plain_loop()
    try:
        import uvloop
    except ImportError as missing:
        if kind == "uvloop":
            raise CannotStart("uvloop is not installed; without --loop it is not needed") from missing
        return _plain_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _plain_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    if sys.platform == "win32":
        loop.set_exception_handler(_handle_unless_cut)
    return loop


def _handle_unless_cut(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The loop of Windows shuts a socket down that its client has cut, and takes the refusal for a fault."""
    of_end = "_call_connection_lost" in str(context.get("message"))
    if not (of_end and isinstance(context.get("exception"), OSError)):
        loop.default_exception_handler(context)


def assemble(
    options: Options,
    state: State,
    journal: Journal,
    loop: asyncio.AbstractEventLoop,
    *,
    cluster_id: str,
    age_ms: int,
    reader: Reader,
    on_failure: Callable[[BaseException], None],
    registry: Registry | None = None,
) -> Broker:
    """A broker on a journal that was replayed into `state`. registry: of its APIs, all unless given."""
    return Broker(
        options,
        state,
        journal,
        reader,
        registry or Registry.load(),
        SystemClock(),
        loop,
        cluster_id=cluster_id,
        age_ms=age_ms,
        random_bytes=os.urandom,
        on_failure=on_failure,
    )


def open_file_journal(options: Options, loop: asyncio.AbstractEventLoop) -> FileJournal:
    """The journal in the data directory, not replayed. Raises JournalError."""
    # Imported here: a broker in memory needs nothing of what the disk asks of the system.
    from oncelog.disk.real import RealDisk

    return FileJournal.open(
        RealDisk(),
        options.data,
        post=loop.call_soon_threadsafe,
        file_bytes_max=options.journal_file_bytes_max,
        random_bytes=os.urandom,
    )


def memory_reader(journal: MemoryJournal, bytes_max: int, loop: asyncio.AbstractEventLoop) -> Reader:
    """In memory nothing waits, and the cache holds the journal's own payloads."""
    cache = PayloadCache(bytes_max)
    for position, payload in journal.payloads():
        cache.put(position, payload)
    return Reader(journal, cache, post=loop.call_soon, worker=InlineWorker())


def new_cluster_id() -> str:
    """As Kafka draws them: a random UUID in URL-safe base 64."""
    return urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")


async def listen(broker: Broker, options: Options, loop: asyncio.AbstractEventLoop) -> Server:
    """The broker's listeners, started. Raises CannotStart where an address cannot be had."""
    server = Server(broker, loop, options.connection_limits(), options.listen)
    try:
        await server.start()
    except CannotListen as refused:
        error = refused.__cause__
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise CannotStart(
            f"cannot listen on {refused.address}: {reason}; "
            "choose another address with --listen HOST:PORT (port 0 picks a free one)"
        ) from error
    return server
