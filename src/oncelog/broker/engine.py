"""The engine: one command after the other is decided, journaled and evolved; replies leave when durable.

Commands are decided at once, in the order they come; their events gather in the open entry; one entry at a
time is with the journal's writer while the next one fills. When an entry is durable, its watermarks are
published in one step, then held replies are released, then waiting readers are woken.

Knows the machine, the journal and the published view; must not know sockets, frames or single Kafka APIs.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from oncelog.broker.clock import Clock
from oncelog.broker.metrics import EngineCounts
from oncelog.broker.published import Movement, Published, movement_of
from oncelog.broker.room import Tier, refusal_of, tier_of
from oncelog.journal import EntryToWrite, Journal, Written
from oncelog.machine.commands import Produce, ProduceResult
from oncelog.machine.decide import decide
from oncelog.machine.events import BatchAppended, TransactionEnded
from oncelog.machine.evolve import evolve
from oncelog.machine.moment import At, Time
from oncelog.machine.state import State
from oncelog.store.level0 import LEADER_EPOCH
from oncelog.wire.definition import Event
from oncelog.wire.records import control_batch, stamp, with_log_append_time

log = logging.getLogger("oncelog.engine")

Buffer = bytes | memoryview
SEAL_AFTER_IDLE_S = 0.1
ENTRY_BYTES = 4096
"""What an entry may take besides events and payload: blocks on a disk, objects in memory."""
MARKER_BYTES = 128
"""More than a control batch takes; a command ends one transaction at most."""


class EngineFailed(RuntimeError):
    """The engine has stopped: nothing more is decided or acknowledged. The message says why."""


class Held(Protocol):
    """A reply that waits in the broker-wide queue."""

    def release(self) -> None:
        """Everything that the reply looked at is durable: it may leave."""
        ...


class OpenEntry:
    """The entry that fills: its moment is fixed when it opens, and all that is decided into it shares it."""

    __slots__ = ("at", "commands", "events", "payload", "payload_bytes")

    def __init__(self, position: int, wall_ms: int, age_ms: int) -> None:
        self.at = At(position, wall_ms, age_ms)
        self.commands = 0
        self.events: list[bytes] = []
        self.payload: list[Buffer] = []
        self.payload_bytes = 0


class Engine:
    """Decides commands against one State and makes their events durable in one Journal.

    on_failure is called once, with the reason, when the journal failed or an invariant broke; after that
    every call raises EngineFailed and no reply is released any more.
    """

    def __init__(
        self,
        state: State,
        journal: Journal,
        clock: Clock,
        published: Published,
        loop: asyncio.AbstractEventLoop,
        *,
        age_ms: int,
        entry_bytes_max: int,
        on_failure: Callable[[BaseException], None],
        on_durable: Callable[[Written], None] = lambda _: None,
    ) -> None:
        self.state = state
        self.published = published
        self.durable_position = journal.next_position - 1
        self.failure: BaseException | None = None
        self.counts = EngineCounts()
        self.has_room: Callable[[Tier, int], bool] = lambda _tier, _size_bytes: True
        self.decided_bytes = 0
        self.durable_bytes = 0
        self._journal = journal
        self._clock = clock
        self._loop = loop
        self._age_ms_offset = age_ms - clock.monotonic_ms()
        self._entry_bytes_max = entry_bytes_max
        self._on_failure = on_failure
        self._on_durable = on_durable
        self._open: OpenEntry | None = None
        self._stamp = self.durable_position
        self._next_position = journal.next_position
        self._writing: Movement | None = None
        self._writing_ends_at_bytes = 0
        self._submit_is_due = False
        self._held: deque[tuple[int, Held]] = deque()
        self._waiting_for_room: deque[Callable[[], None]] = deque()
        self._after_release: Callable[[], None] = lambda: None
        self._sealed_position = self.durable_position
        self._seal_timer: asyncio.TimerHandle | None = None
        self._idle: asyncio.Event = asyncio.Event()
        self._idle.set()

    # --- time ---

    def wall_ms(self) -> int:
        """Unix time in milliseconds, as the clock reads it."""
        return self._clock.wall_ms()

    def age_ms(self) -> int:
        """Milliseconds of service over the life of the data directory; drives timeouts and expiry."""
        return self._clock.monotonic_ms() + self._age_ms_offset

    # --- deciding ---

    def execute(self, command: Any) -> Any:
        """Decide one command, journal and evolve its events, and return its reply.

        The reply must not leave before `stamp()`, taken right after, is durable: hand it to `hold`.
        Raises whatever decide raises, with nothing changed; EngineFailed when the engine has stopped.
        """
        events, reply, time = self._decide(command)
        if events and not self._append(command, events, (), time):
            return refusal_of(command)
        return reply

    def produce(self, command: Produce, batches: Sequence[Buffer]) -> tuple[ProduceResult, ...]:
        """Like `execute`, with the command's batches beside it, in the order of `command.batches`."""
        events, reply, time = self._decide(command)
        if events:
            accepted = [batch for batch, result in zip(batches, reply, strict=True) if result.appended]
            if not self._append(command, events, accepted, time):
                reply = refusal_of(command)
        return reply  # type: ignore[no-any-return]

    def _decide(self, command: Any) -> tuple[list[Event], Any, Time]:
        """Events, reply and time: the open entry's, else the clock's, which an entry then opens with."""
        if self.failure is not None:
            raise EngineFailed(str(self.failure))
        entry = self._open
        if entry is not None:
            time = Time(entry.at.wall_ms, entry.at.age_ms)
        else:
            time = Time(self._clock.wall_ms(), self.age_ms())
        events, reply = decide(self.state, command, time)
        return events, reply, time

    def _append(self, command: Any, events: list[Event], batches: Sequence[Buffer], time: Time) -> bool:
        """False, and nothing has changed, where the journal has no room for what was decided."""
        encoded = [event.encode() for event in events]
        size_bytes = MARKER_BYTES + sum(map(len, encoded)) + sum(map(len, batches))
        if not (self.has_room(Tier.GROWS, size_bytes) or self.has_room(tier_of(command), size_bytes)):
            return False
        entry = self._open or self._open_entry(time)
        self.decided_bytes += size_bytes
        entry.commands += 1
        entry.events += encoded
        remaining = iter(batches)
        try:
            for event in events:
                self._lay_payload(entry, event, remaining)
                evolve(self.state, event, entry.at)
            assert entry.at.payload_offset == entry.payload_bytes, "evolve and payload disagree on lengths"
        except BaseException as broken:
            self.stop_for_good(broken)
            raise EngineFailed(f"an event could not be applied: {broken!r}") from broken
        return True

    def _lay_payload(self, entry: OpenEntry, event: Event, batches: Any) -> None:
        """Append the bytes that belong to `event`, in the order of the events."""
        if type(event) is BatchAppended:
            batch = next(batches)
            if event.is_log_append_time:
                batch = with_log_append_time(batch, entry.at.wall_ms)
            head, rest = stamp(batch, event.base_offset, LEADER_EPOCH)
            entry.payload.append(head)
            entry.payload.append(rest)
            entry.payload_bytes += len(head) + len(rest)
        elif type(event) is TransactionEnded and event.markers:
            marker = control_batch(
                0,
                LEADER_EPOCH,
                event.producer_id,
                event.marker_epoch,
                entry.at.wall_ms,
                event.committed,
                0,
            )
            entry.payload.append(marker)
            entry.payload_bytes += len(marker)

    def _open_entry(self, time: Time) -> OpenEntry:
        position = self._next_position
        self._next_position += 1
        entry = OpenEntry(position, time.wall_ms, time.age_ms)
        self._open = entry
        self.decided_bytes += ENTRY_BYTES
        self._stamp = position
        self._idle.clear()
        if self._writing is None and not self._submit_is_due:
            self._submit_is_due = True
            self._loop.call_soon(self._submit)
        return entry

    # --- room in the open entry ---

    def entry_is_full(self) -> bool:
        """Produce requests wait undecided while this holds; everything else goes in at once."""
        return bool(self._waiting_for_room) or self._is_open_entry_full()

    def _is_open_entry_full(self) -> bool:
        return self._open is not None and self._open.payload_bytes >= self._entry_bytes_max

    @property
    def waiting_for_room_count(self) -> int:
        return len(self._waiting_for_room)

    def wait_for_room(self, resume: Callable[[], None]) -> None:
        """Call `resume` once, in arrival order over all connections, when a produce may be decided."""
        self._waiting_for_room.append(resume)

    # --- room in the journal ---

    @property
    def undurable_bytes(self) -> int:
        """At most so much was decided and is not durable yet."""
        return self.decided_bytes - self.durable_bytes

    # --- stamps and held replies ---

    def stamp(self) -> int:
        """The position that a reply made now must wait for: that of the newest entry with an event."""
        return self._stamp

    def hold(self, held: Held, position: int) -> None:
        """Release `held` when `position` is durable; at once when it already is."""
        if position <= self.durable_position:
            held.release()
        else:
            self._held.append((position, held))

    @property
    def held_count(self) -> int:
        return len(self._held)

    def flush_after_release(self, flush: Callable[[], None]) -> None:
        """`flush` runs after each round of releases, in the same turn of the loop."""
        self._after_release = flush

    # --- the way to the disk ---

    def _submit(self) -> None:
        """Close the open entry and hand it to the writer, which is free."""
        self._submit_is_due = False
        entry = self._open
        if entry is None or self._writing is not None or self.failure is not None:
            return
        self._open = None
        self._writing = movement_of(entry.at)
        self._writing_ends_at_bytes = self.decided_bytes
        at = entry.at
        events = b"".join(entry.events)
        self.counts.submitted(entry.commands, len(events) + entry.payload_bytes)
        self._journal.append(
            EntryToWrite(at.position, at.wall_ms, at.age_ms, events, entry.payload, False), self._confirmed
        )
        if self._waiting_for_room:
            self._let_waiting_in()

    def _let_waiting_in(self) -> None:
        """Resume those who wait, each for one produce, in the order they came, until the entry is full."""
        waiting = self._waiting_for_room
        while waiting and not self._is_open_entry_full():
            waiting.popleft()()

    def _confirmed(self, written: Written) -> None:
        """The writer's answer for the entry in flight: publish, release, wake, and submit the next."""
        movement = self._writing
        assert movement is not None, "a confirmation without an entry in flight"
        self._writing = None
        if written.error is not None:
            self.stop_for_good(written.error)
            return
        self.counts.confirmed()
        self.durable_bytes = self._writing_ends_at_bytes
        self._on_durable(written)
        self.durable_position = written.position
        woken = self.published.publish(movement)
        held = self._held
        while held and held[0][0] <= written.position:
            held.popleft()[1].release()
        for wake in woken:
            wake()
        # The disk first: the replies are written while it works on the next entry.
        if self._open is not None:
            self._submit()
        else:
            self._went_idle()
        self._after_release()

    def _went_idle(self) -> None:
        if self._writing is None and self._open is None:
            self._idle.set()
            if self._seal_timer is None and self._sealed_position != self.durable_position:
                self._seal_timer = self._loop.call_later(
                    SEAL_AFTER_IDLE_S, self._seal_if_quiet, self.durable_position
                )

    def _seal_if_quiet(self, position_then: int) -> None:
        self._seal_timer = None
        if self.failure is not None or self._writing is not None or self._open is not None:
            return
        if position_then != self.durable_position:
            self._went_idle()
            return
        self._write_seal()

    def prove(self) -> None:
        """Have one entry synced even if nothing happens, so that it is known whether the disk takes any."""
        if self.failure is None and self._writing is None and self._open is None:
            self._write_seal()

    def _write_seal(self) -> None:
        """An entry without events: it tells a later start that everything before it was durable."""
        position = self._next_position
        self._next_position += 1
        self._writing = Movement([], [])
        self._sealed_position = position
        self.decided_bytes += ENTRY_BYTES
        self._writing_ends_at_bytes = self.decided_bytes
        self._idle.clear()
        self.counts.submitted_seal()
        self._journal.append(
            EntryToWrite(position, self._clock.wall_ms(), self.age_ms(), b"", (), True), self._confirmed
        )

    # --- the end ---

    async def settle(self) -> None:
        """Wait until everything decided is durable, or the engine has failed."""
        while self.failure is None and not self._idle.is_set():
            await self._idle.wait()

    async def close(self) -> None:
        """Wait until everything decided is durable and seal the journal. Decides nothing afterwards."""
        if self._seal_timer is not None:
            self._seal_timer.cancel()
            self._seal_timer = None
        await self.settle()
        if self.failure is None and self._sealed_position != self.durable_position:
            self._write_seal()
            await self._idle.wait()
        if self.failure is None:
            self.failure = EngineFailed("the broker has been stopped")

    def abandon(self) -> None:
        """End as the end of the process would: what is decided and not in the journal is lost, and no reply
        leaves any more. For a broker that is to be started again in the same process.
        """
        self.failure = EngineFailed("the broker has crashed, as was asked for")
        self._held.clear()
        self._waiting_for_room.clear()
        if self._seal_timer is not None:
            self._seal_timer.cancel()
        self._idle.set()

    def stop_for_good(self, reason: BaseException) -> None:
        """Stop for good: a failed write proves nothing about the file, a broken invariant nothing at all."""
        if self.failure is not None:
            return
        self.failure = reason
        self._held.clear()
        self._waiting_for_room.clear()
        self._idle.set()
        log.critical("engine stopped: %r", reason)
        self._on_failure(reason)
