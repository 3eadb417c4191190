"""One simulated machine: virtual time, connections in memory, a broker process that can be killed anywhere.

The real broker runs on it: server, connections, handlers, engine, machine, journal. Only what lies around it
is simulated: the event loop's time, sockets, the disk and the threads that make system calls. A process's
callbacks die with it; a Crashed of its disk ends it in the middle of whatever it was doing. Nothing here
knows what clients want or what is right.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Protocol

from oncelog.broker.broker import Broker
from oncelog.broker.connection import Slot
from oncelog.broker.options import Address, Listener, Options
from oncelog.broker.recovery import replay
from oncelog.broker.registry import Registry
from oncelog.broker.server import Server
from oncelog.disk.faulty import Crashed, FaultyDisk
from oncelog.disk.workers import Job
from oncelog.journal import ReplayedEntry
from oncelog.journal.file import FileJournal
from oncelog.machine.state import State
from oncelog.store.level0 import PayloadCache, Reader

PATH = "/data"
FILE_BYTES_MAX = 192 << 10
WALL_MS_AT_START = 1_750_000_000_000
PEER = ("127.0.0.1", 50_000)
LISTENERS = (Listener(Address("simulated", 9092)),)
REGISTRY = Registry.load()


# --- time ---


class Handle:
    """One callback that is due at some time."""

    __slots__ = ("_arguments", "_callback", "is_cancelled")

    def __init__(self, callback: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self._callback = callback
        self._arguments = arguments
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def run(self) -> None:
        if not self.is_cancelled:
            self._callback(*self._arguments)


class SimulatedLoop:
    """Callbacks in the order of their time; time stands still while they run and jumps to the next one."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self._heap: list[tuple[float, int, Handle]] = []
        self._order = 0

    def time(self) -> float:
        return self.now_s

    def call_at(self, when: float, callback: Callable[..., object], *arguments: Any) -> Handle:
        handle = Handle(callback, arguments)
        self._order += 1
        heapq.heappush(self._heap, (when, self._order, handle))
        return handle

    def call_later(self, delay_s: float, callback: Callable[..., object], *arguments: Any) -> Handle:
        return self.call_at(self.now_s + delay_s, callback, *arguments)

    def call_soon(self, callback: Callable[..., object], *arguments: Any) -> Handle:
        return self.call_at(self.now_s, callback, *arguments)

    def step(self) -> bool:
        """Run the next callback; False when there is none."""
        if not self._heap:
            return False
        when, _, handle = heapq.heappop(self._heap)
        self.now_s = max(self.now_s, when)
        handle.run()
        return True


class Life:
    """The loop as one process has it: what it scheduled ends with it, and so does what it is doing."""

    def __init__(self, loop: SimulatedLoop, on_crash: Callable[[], None]) -> None:
        self.is_alive = True
        self._loop = loop
        self._on_crash = on_crash

    def time(self) -> float:
        return self._loop.now_s

    def run(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Call into the process, if there is one."""
        if not self.is_alive:
            return
        try:
            callback(*arguments)
        except Crashed:
            self.is_alive = False
            self._on_crash()

    def call_at(self, when: float, callback: Callable[..., object], *arguments: Any) -> Handle:
        return self._loop.call_at(when, self.run, callback, *arguments)

    def call_later(self, delay_s: float, callback: Callable[..., object], *arguments: Any) -> Handle:
        return self._loop.call_later(delay_s, self.run, callback, *arguments)

    def call_soon(self, callback: Callable[..., object], *arguments: Any) -> Handle:
        return self._loop.call_soon(self.run, callback, *arguments)

    async def create_server(self, accept: Callable[[], Any], host: str, port: int, **_: Any) -> Any:
        self.accept = accept

        async def start_serving() -> None:
            pass

        bound = SimpleNamespace(getsockname=lambda: (host, port))
        return SimpleNamespace(sockets=[bound], close=lambda: None, start_serving=start_serving)


class Clock:
    """A process's clocks: monotonic time begins anew with each process."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self._began_s = loop.now_s

    def wall_ms(self) -> int:
        return WALL_MS_AT_START + round(self._loop.now_s * 1000)

    def monotonic_ms(self) -> int:
        return round((self._loop.now_s - self._began_s) * 1000)


class SimulatedWorker:
    """A thread: each job runs some time after it was handed over, in order, between two callbacks."""

    def __init__(self, life: Life, chance: random.Random, delay_ms_max: float) -> None:
        self._life = life
        self._chance = chance
        self._delay_ms_max = delay_ms_max
        self._jobs: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        self._jobs.append(job)
        self._life.call_later(self._chance.uniform(0, self._delay_ms_max) / 1000, self._run_next)

    def _run_next(self) -> None:
        if self._jobs:
            self._jobs.popleft()()

    def wait(self) -> None:
        while self._jobs:
            self._jobs.popleft()()

    def close(self) -> None:
        self.wait()


# --- connections ---


class ClientSide(Protocol):
    """Who holds the client's end of a connection."""

    def received(self, data: bytes) -> None: ...

    def lost(self) -> None: ...


class Wire:
    """One direction of a connection: bytes arrive in order, each piece after some time."""

    def __init__(self, network: Network, deliver: Callable[[bytes], None]) -> None:
        self.is_cut = False
        self._network = network
        self._deliver = deliver
        self._arrives_s = 0.0

    def send(self, data: bytes) -> None:
        network = self._network
        self._arrives_s = max(self._arrives_s, network.loop.now_s + network.latency_s())
        if len(data) > 1 and network.chance.random() < 0.1:
            cut = network.chance.randrange(1, len(data))
            network.loop.call_at(self._arrives_s, self._arrive, data[:cut])
            data = data[cut:]
        network.loop.call_at(self._arrives_s, self._arrive, data)

    def _arrive(self, data: bytes) -> None:
        if not self.is_cut:
            self._deliver(data)


class SimulatedConnection:
    """Both ends of one connection, and asyncio's transport for the broker."""

    def __init__(self, network: Network, process: Process, client: ClientSide) -> None:
        self.client: ClientSide | None = client
        self._network = network
        self._life = process.life
        self._to_broker = Wire(network, self._arrived_at_broker)
        self._to_client = Wire(network, self._arrived_at_client)
        self._unread: deque[bytes] = deque()
        self._is_reading = True
        self._is_closed_by_broker = False
        self._protocol: Any = process.life.accept()
        self._life.run(self._protocol.connection_made, self)

    # --- the client's end ---

    def send(self, data: bytes) -> None:
        self._to_broker.send(data)

    def drop(self) -> None:
        """The client lets go of the connection; what it sent may still arrive, before the end of it does."""
        self.client = None
        self._to_client.is_cut = True
        self._to_broker.is_cut = self._network.chance.random() < 0.5
        self._network.loop.call_later(self._network.latency_s_max, self._end_of_client)

    def _arrived_at_client(self, data: bytes) -> None:
        if self.client is not None:
            self.client.received(data)

    def broker_died(self) -> None:
        """What the process had written may still reach the client."""
        self._to_client.is_cut = self._network.chance.random() < 0.5
        self._network.loop.call_later(self._network.latency_s_max, self._end_of_broker)

    def _end_of_broker(self) -> None:
        self._network.forget(self)
        client, self.client = self.client, None
        if client is not None:
            client.lost()

    # --- the broker's end ---

    def _arrived_at_broker(self, data: bytes) -> None:
        self._unread.append(data)
        self._read()

    def _read(self) -> None:
        while self._unread and self._is_reading and not self._is_closed_by_broker and self._life.is_alive:
            self._life.run(self._hand_over, self._unread.popleft())

    def _hand_over(self, data: bytes) -> None:
        protocol = self._protocol
        if not hasattr(protocol, "get_buffer"):
            protocol.data_received(data)
            return
        view = memoryview(data)
        while view:
            buffer = memoryview(protocol.get_buffer(len(view)))
            count = min(len(buffer), len(view))
            buffer[:count] = view[:count]
            protocol.buffer_updated(count)
            view = view[count:]

    def _end_of_client(self) -> None:
        self._network.forget(self)
        if not self._is_closed_by_broker:
            self._is_closed_by_broker = True
            self._life.run(self._protocol.connection_lost, None)

    def write(self, data: Any) -> None:
        self._to_client.send(bytes(data))

    def writelines(self, pieces: Any) -> None:
        self.write(b"".join(pieces))

    def abort(self) -> None:
        if not self._is_closed_by_broker:
            self._is_closed_by_broker = True
            self._life.call_soon(self._protocol.connection_lost, None)
            self._network.loop.call_later(self._network.latency_s_max, self._end_of_broker)

    def pause_reading(self) -> None:
        self._is_reading = False

    def resume_reading(self) -> None:
        self._is_reading = True
        self._life.call_soon(self._read)

    def get_extra_info(self, name: str) -> Any:
        return PEER if name == "peername" else None

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0


class Network:
    """Where clients find the broker, while there is one."""

    latency_s_max = 0.002

    def __init__(self, loop: SimulatedLoop, chance: random.Random) -> None:
        self.loop = loop
        self.chance = chance
        self.process: Process | None = None
        self._connections: dict[SimulatedConnection, None] = {}

    def latency_s(self) -> float:
        return self.chance.uniform(0.00005, self.latency_s_max)

    def connect(self, client: ClientSide) -> SimulatedConnection | None:
        """None when nobody listens."""
        if self.process is None or not self.process.life.is_alive:
            return None
        connection = SimulatedConnection(self, self.process, client)
        self._connections[connection] = None
        return connection

    def forget(self, connection: SimulatedConnection) -> None:
        self._connections.pop(connection, None)

    def broker_died(self) -> None:
        self.process = None
        for connection in list(self._connections):
            connection.broker_died()


# --- the process ---


class Process:
    """`oncelog serve` on a simulated machine. After `start` it serves; Crashed or JournalError may end that.

    acknowledges_too_early: a sabotage: replies leave before what they tell is durable.
    """

    def __init__(
        self,
        disk: FaultyDisk,
        loop: SimulatedLoop,
        seed: int,
        *,
        on_crash: Callable[[], None],
        on_failure: Callable[[BaseException], None],
        acknowledges_too_early: bool = False,
        disk_delay_ms_max: float = 2.0,
    ) -> None:
        self.disk = disk
        self.life = Life(loop, on_crash)
        self.is_replaying = False
        self.replayed_position = 0
        self._loop = loop
        self._chance = random.Random(seed)
        self._on_failure = on_failure
        self._acknowledges_too_early = acknowledges_too_early
        self._disk_delay_ms_max = disk_delay_ms_max

    def start(self) -> None:
        """As serve does it: lock, replay, listen."""
        life, chance = self.life, self._chance
        self.is_replaying = True
        self.journal = journal = FileJournal.open(
            self.disk,
            PATH,
            post=self._post,
            file_bytes_max=FILE_BYTES_MAX,
            random_bytes=chance.randbytes,
            writer=SimulatedWorker(life, chance, self._disk_delay_ms_max),
            preparer=SimulatedWorker(life, chance, 4 * self._disk_delay_ms_max),
        )
        options = Options(data=PATH, payload_cache_bytes=chance.choice((0, 20_000, 1 << 20)))
        self.state = State(options.machine_limits())
        replayed = replay(self.state, map(self._note, journal.replay()))
        self.is_replaying = False
        reader = Reader(
            journal,
            PayloadCache(options.payload_cache_bytes_max),
            post=self._post,
            worker=SimulatedWorker(life, chance, self._disk_delay_ms_max),
        )
        self.broker = Broker(
            options,
            self.state,
            journal,
            reader,
            REGISTRY,
            Clock(self._loop),
            life,  # type: ignore[arg-type]
            cluster_id=journal.cluster_id,
            age_ms=replayed.age_ms,
            random_bytes=chance.randbytes,
            on_failure=self._on_failure,
        )
        if self._acknowledges_too_early:
            self._sabotage()
        loop: Any = life
        server = Server(self.broker, loop, options.connection_limits(), LISTENERS)
        starting = server.start()
        try:
            starting.send(None)
        except StopIteration:
            return
        raise AssertionError("the server's start waits for something")

    def _post(self, callback: Callable[..., object], *arguments: Any) -> None:
        """From a thread to the loop, which gets there a little later."""
        self.life.call_later(self._chance.uniform(0, self._disk_delay_ms_max) / 4000, callback, *arguments)

    def _note(self, entry: ReplayedEntry) -> ReplayedEntry:
        if entry.events:
            self.replayed_position = entry.position
        return entry

    def _sabotage(self) -> None:
        engine: Any = self.broker.engine
        hold = engine.hold

        def release_at_once(held: Any, position: int) -> None:
            hold(held, 0 if isinstance(held, Slot) else position)

        engine.hold = release_at_once
