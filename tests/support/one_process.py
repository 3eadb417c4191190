"""A whole broker inside the test: real handlers on a held journal, clients in memory, time moved by the test.

Nothing here waits: the loop's time stands still until `advance`, its sockets are lists of bytes, and `settle`
runs it until nothing is left to do. So "no answer came" is a fact and not a matter of patience. Must not know
any single API; tests/support/speaking.py works with these connections as with real ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from oncelog.broker.broker import Broker
from oncelog.broker.options import Address, Listener, Options
from oncelog.broker.recovery import replay
from oncelog.broker.registry import Registry
from oncelog.broker.server import Server
from oncelog.disk.workers import Job
from oncelog.journal import Post
from oncelog.machine.state import State
from oncelog.store.level0 import PayloadCache, Reader
from oncelog.wire import frames
from oncelog.wire.definition import Message
from tests.support.batches import now_ms
from tests.support.held_journal import Entry, HeldJournal
from tests.support.raw import CLIENT_ID, Due, response_type

TURNS_TO_SETTLE = 40
"""More than any chain of callbacks is long; each turn of the loop runs all that is ready."""
PEER = ("127.0.0.1", 50_000)
LISTENERS = (Listener(Address("broker.test", 9092)),)

log = logging.getLogger("oncelog.tests")


class NoAnswer(AssertionError):
    """Nothing has come where an answer was expected."""


class StillLoop(asyncio.SelectorEventLoop):
    """An event loop whose time moves only when the test moves it.

    between: called after each single callback, where another process would find the broker between two steps.
    """

    now_s = 1_000.0
    between: Callable[[], None] = staticmethod(lambda: None)

    def time(self) -> float:
        return self.now_s

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
        return super().call_soon(self._run, callback, args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        return super().call_at(when, self._run, callback, args, context=context)

    def _run(self, callback: Any, args: Sequence[Any]) -> None:
        callback(*args)
        self.between()


class HandMovedClock:
    """The broker's clocks: monotonic time is the loop's, wall time can be set besides."""

    def __init__(self, loop: StillLoop) -> None:
        self._loop = loop
        self._began_s = loop.now_s
        self._wall_ms_at_start = now_ms()
        self.wall_ms_ahead = 0

    def wall_ms(self) -> int:
        return self._wall_ms_at_start + self.monotonic_ms() + self.wall_ms_ahead

    def monotonic_ms(self) -> int:
        return round((self._loop.now_s - self._began_s) * 1000)


class HeldWorker:
    """Runs jobs at once, or keeps them until the test lets them go."""

    def __init__(self) -> None:
        self.is_holding = False
        self.jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        self.jobs.append(job)
        if not self.is_holding:
            self.let_go()

    def let_go(self) -> None:
        self.is_holding = False
        while self.jobs:
            self.jobs.pop(0)()

    def wait(self) -> None:
        assert not self.jobs

    def close(self) -> None:
        self.jobs.clear()


class _Listener:
    """Stands for the loop where the server asks for a listening socket; keeps what it accepts with."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.accept: Callable[[], Any] | None = None

    async def create_server(self, accept: Callable[[], Any], host: str, port: int, **_: Any) -> Any:
        self.accept = accept

        async def start_serving() -> None:
            pass

        bound = SimpleNamespace(getsockname=lambda: (host, port))
        return SimpleNamespace(sockets=[bound], close=lambda: None, start_serving=start_serving)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


class Transport(asyncio.Transport):
    """The broker's end of a connection: what it writes is kept, what it does not read waits."""

    def __init__(self, process: OneProcess) -> None:
        super().__init__({"peername": PEER})
        self.protocol: Any = None
        self.writes: list[bytes] = []
        self.is_reading_now = True
        self.is_aborted = False
        self._process = process
        self._to_deliver: deque[bytes] = deque()

    def deliver(self, data: bytes) -> None:
        self._to_deliver.append(data)

    @property
    def undelivered(self) -> int:
        """Pieces that the broker has not read."""
        return len(self._to_deliver)

    def deliver_next(self) -> bool:
        """Hand the broker one piece; False when there is none or it does not read."""
        if not self._to_deliver or not self.is_reading_now or self.is_aborted:
            return False
        data = self._to_deliver.popleft()
        if hasattr(self.protocol, "get_buffer"):
            view = memoryview(data)
            while view:
                buffer = memoryview(self.protocol.get_buffer(len(view)))
                count = min(len(buffer), len(view))
                buffer[:count] = view[:count]
                self.protocol.buffer_updated(count)
                view = view[count:]
        else:
            self.protocol.data_received(data)
        return True

    def write(self, data: Any) -> None:
        assert not self.is_aborted, "written to a closed connection"
        self.writes.append(bytes(data))
        self._process.write_order.append(self)

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def abort(self) -> None:
        if not self.is_aborted:
            self.is_aborted = True
            self._process.loop.call_soon(self.protocol.connection_lost, None)

    def close(self) -> None:
        self.abort()

    def is_closing(self) -> bool:
        return self.is_aborted

    def pause_reading(self) -> None:
        self.is_reading_now = False

    def resume_reading(self) -> None:
        self.is_reading_now = True

    def is_reading(self) -> bool:
        return self.is_reading_now

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0


class Client:
    """A client of the broker, in memory. Sends at once, or in pieces; takes answers as they have come."""

    def __init__(self, process: OneProcess, transport: Transport) -> None:
        self.transport = transport
        self.topic_ids: dict[str, bytes] = {}
        self._process = process
        self._last_correlation_id = 0
        self._due: deque[Due] = deque()
        self._taken = 0

    def encode(self, request: Message, version: int) -> bytes:
        """The request with its header and size, noted as due."""
        self._last_correlation_id += 1
        self._due.append(Due(self._last_correlation_id, response_type(request), version))
        return frames.encode_request(self._last_correlation_id, CLIENT_ID, request, version)

    def send_bytes(self, data: bytes) -> None:
        self.transport.deliver(data)

    def send(self, request: Message, version: int, *, expect_answer: bool = True) -> None:
        encoded = self.encode(request, version)
        if not expect_answer:
            self._due.pop()
        self.send_bytes(encoded)

    def answers(self) -> list[Any]:
        """Run until nothing is left to do; the answers that came and were not taken yet."""
        self._process.settle()
        return self.come()

    def come(self) -> list[Any]:
        """The answers that came and were not taken yet; runs nothing: for what happens inside the loop."""
        data = b"".join(self.transport.writes[self._taken :])
        self._taken = len(self.transport.writes)
        found = []
        position = 0
        while position < len(data):
            (size,) = struct.unpack_from(">i", data, position)
            frame = data[position + 4 : position + 4 + size]
            assert len(frame) == size, "half a frame was written"
            due = self._due.popleft()
            correlation_id, response = frames.decode_response(due.response, frame, due.version)
            assert correlation_id == due.correlation_id, f"answered {correlation_id}, due was {due}"
            found.append(response)
            position += 4 + size
        return found

    def call(self, request: Message, version: int) -> Any:
        """The one answer to a request that is answered now."""
        assert not self._due, "answers to earlier requests are still due"
        self.send(request, version)
        answers = self.answers()
        if not answers:
            raise NoAnswer(f"no answer to {request}")
        (answer,) = answers
        return answer

    @property
    def is_closed(self) -> bool:
        """Whether the broker has closed this connection."""
        self._process.settle()
        return self.transport.is_aborted


class OneProcess:
    """A broker that has replayed `confirmed` and serves. options: as of the command line.

    make_journal: another journal than the held one, which the methods about durability are for.
    """

    def __init__(
        self,
        confirmed: Sequence[Entry] = (),
        make_journal: Callable[[Post], Any] | None = None,
        **options: Any,
    ) -> None:
        self.loop = StillLoop()
        self.failures: list[BaseException] = []
        self.errors: list[dict[str, Any]] = []
        self.write_order: list[Transport] = []
        self.clock = HandMovedClock(self.loop)
        self.reads = HeldWorker()
        self.journal: HeldJournal = (
            make_journal(self.loop.call_soon)
            if make_journal is not None
            else HeldJournal(self.loop.call_soon, confirmed)
        )
        self._options = {"payload_cache_bytes": 0, "group_initial_rebalance_delay_ms": 0, **options}
        self._clients: list[Client] = []
        self.loop.set_exception_handler(lambda _loop, context: self.errors.append(context))
        self.loop.run_until_complete(self._start(Options(data="/data", **self._options)))

    async def _start(self, options: Options) -> None:
        state = State(options.machine_limits())
        replayed = replay(state, self.journal.replay())
        reader = Reader(
            self.journal,
            PayloadCache(options.payload_cache_bytes_max),
            post=self.loop.call_soon,
            worker=self.reads,
        )
        self.broker = Broker(
            options,
            state,
            self.journal,
            reader,
            Registry.load(),
            self.clock,
            self.loop,
            cluster_id="Y2x1c3Rlci1vZi10ZXN0cw",
            age_ms=replayed.age_ms,
            random_bytes=random.Random(self.journal.next_position).randbytes,
            on_failure=self.failures.append,
        )
        self._listener = _Listener(self.loop)
        listener: Any = self._listener
        self.server = Server(self.broker, listener, options.connection_limits(), LISTENERS)
        await self.server.start()

    # --- clients and time ---

    def connect(self) -> Client:
        assert self._listener.accept is not None
        transport = Transport(self)
        transport.protocol = self._listener.accept()
        transport.protocol.connection_made(transport)
        self._clients.append(Client(self, transport))
        return self._clients[-1]

    def settle(self) -> None:
        """Deliver what was sent and run until nothing is left to do that needs no time and no disk."""
        self.loop.run_until_complete(self._settle())

    async def _settle(self) -> None:
        while True:
            reading = [each.transport for each in self._clients if each.transport.undelivered]
            for transport in reading:
                self.loop.call_soon(transport.deliver_next)
            before = sum(transport.undelivered for transport in reading)
            for _ in range(TURNS_TO_SETTLE):
                await asyncio.sleep(0)
            if sum(transport.undelivered for transport in reading) == before:
                return

    def advance(self, seconds: float, step_s: float = 0.01) -> None:
        """Let time pass, a step at a time, with all that is due in between."""
        self.settle()
        ends_s = self.loop.now_s + seconds
        while self.loop.now_s < ends_s:
            self.loop.now_s = min(self.loop.now_s + step_s, ends_s)
            self.settle()

    def within(self, act: Callable[[], Any]) -> Any:
        """Run `act` inside the loop, between two of its callbacks, and return what it returns."""

        async def run() -> Any:
            return act()

        return self.loop.run_until_complete(run())

    # --- durability ---

    def confirm(self) -> Entry:
        """The entry in flight becomes durable, and all that follows from it happens."""
        self.settle()
        entry = self.journal.confirm()
        self.settle()
        return entry

    def let_go(self) -> None:
        """Everything becomes durable from now on."""
        self.settle()
        self.journal.let_go()
        self.settle()

    def fail(self) -> Entry:
        """The write in flight fails."""
        self.settle()
        entry = self.journal.fail()
        self.settle()
        return entry

    def restarted(self) -> OneProcess:
        """Another broker, with what was durable: this one has been killed."""
        self.close()
        return OneProcess(self.journal.confirmed, **self._options)

    def stop(self) -> asyncio.Task[None]:
        """Begin a clean stop."""
        stopping = self.loop.create_task(self.broker.close())
        self.settle()
        return stopping

    def close(self) -> None:
        if not self.loop.is_closed():
            self.broker.deadlines.close()
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.settle()
            self.loop.close()


@contextlib.contextmanager
def one_process(**options: Any) -> Iterator[OneProcess]:
    process = OneProcess(**options)
    try:
        yield process
    finally:
        process.close()
