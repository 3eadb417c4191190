"""Faults for a test to ask for: what becomes of the nth request of an API, a cut connection, a crash.

    faults = Faults(broker)                     # or the fixture oncelog_faults
    lost = faults.drop_answer("EndTxn", transactional_id="orders")
    ...                                         # what the application does about it
    lost.wait()

Knows how to say what was asked for; the broker's side is in `oncelog.broker.faults`. Must not know pytest.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypedDict, TypeVar, Unpack

from oncelog.broker import faults as effects
from oncelog.broker.options import UsageError, suggestion
from oncelog.broker.registry import Registry
from oncelog.embedded import Broker
from oncelog.wire.errors import ErrorCode

T = TypeVar("T")

WAIT_TIMEOUT_S = 10.0


class FaultDidNotHappen(AssertionError):
    """What a test asked for did not come; the message says what it was."""


class Which(TypedDict, total=False):
    """Which requests of an API are meant: any, as far as nothing is given."""

    client_id: str | None
    transactional_id: str | None
    group_id: str | None
    topic: str | None


class FaultHandle:
    """One fault that was asked for."""

    def __init__(self, what: str, times: int = 1) -> None:
        self._what = what
        self._times = times
        self._count = 0
        self._matched: Callable[[], int] | None = None
        self._all_happened = threading.Event()

    def __repr__(self) -> str:
        return f"<fault: {self._what}; happened {self._count} of {self._times} times>"

    @property
    def count(self) -> int:
        """How many times it has happened."""
        return self._count

    @property
    def has_happened(self) -> bool:
        """Whether it has happened as often as was asked for."""
        return self._all_happened.is_set()

    def wait(self, timeout_s: float = WAIT_TIMEOUT_S) -> None:
        """Return when it has happened. Raises FaultDidNotHappen. Blocks: in a coroutine, await `happens`."""
        if not self._all_happened.wait(timeout_s):
            raise FaultDidNotHappen(f"within {timeout_s:g} s this did not happen: {self.sentence}")

    async def happens(self, timeout_s: float = WAIT_TIMEOUT_S) -> None:
        """Like `wait`, for a test that shares its loop with the client."""
        await asyncio.to_thread(self.wait, timeout_s)

    @property
    def sentence(self) -> str:
        """What was asked for, and what came instead."""
        said = self._what
        if self._times > 1:
            said += f"; it happened {self._count} times"
        if self._matched is not None:
            said += f"; {_requests(self._matched())} came"
        return said

    def _happened(self) -> None:
        self._count += 1
        if self._count >= self._times:
            self._all_happened.set()


class Faults:
    """The faults of one `oncelog.Broker`, until `clear`.

    Methods about requests take these: api, Kafka's name of it; client_id, transactional_id, group_id and
    topic, which requests are meant (any, when not given); nth, which of these is the first (from 1, counted
    from the call on); times, how many in a row.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._handles: list[FaultHandle] = []
        self._asked: list[effects.Fault] = []
        self._crash: Callable[[], None] | None = None
        self._keys = {route.name: key for key, route in Registry.load().routes.items()}
        self._change(lambda _: None)

    # --- what becomes of a request ---

    def refuse(
        self,
        api: str,
        *,
        error: str,
        nth: int = 1,
        times: int = 1,
        **which: Unpack[Which],
    ) -> FaultHandle:
        """Answer with an error, by Kafka's name of it; the request is not processed."""
        if error not in ErrorCode.__members__:
            raise UsageError(f"there is no error {error!r}{suggestion(error, list(ErrorCode.__members__))}")
        match = self._match(api, which)
        return self._add(match, effects.refuse(ErrorCode[error]), f"be refused with {error}", nth, times)

    def delay(
        self,
        api: str,
        *,
        ms: float,
        nth: int = 1,
        times: int = 1,
        **which: Unpack[Which],
    ) -> FaultHandle:
        """Let the request wait before it is processed, and those behind it on its connection."""
        _check_ms(ms)
        match = self._match(api, which)
        return self._add(match, effects.delay(ms), f"wait {ms:g} ms", nth, times)

    def drop_request(
        self,
        api: str,
        *,
        cut: bool = True,
        nth: int = 1,
        times: int = 1,
        **which: Unpack[Which],
    ) -> FaultHandle:
        """Never process the request. Its connection is cut; else it hangs, until the client gives it up."""
        match = self._match(api, which)
        return self._add(match, effects.drop_request(cut), "be lost", nth, times)

    def drop_answer(
        self,
        api: str,
        *,
        cut: bool = True,
        nth: int = 1,
        times: int = 1,
        **which: Unpack[Which],
    ) -> FaultHandle:
        """Process the request and lose the answer. Its connection is cut; else it hangs, as above."""
        match = self._match(api, which)
        return self._add(match, effects.drop_answer(cut), "be processed and its answer lost", nth, times)

    def process_late(
        self,
        api: str,
        *,
        ms: float,
        nth: int = 1,
        times: int = 1,
        **which: Unpack[Which],
    ) -> FaultHandle:
        """Cut the connection at once and process the request all the same, later: after its retry, say."""
        _check_ms(ms)
        match = self._match(api, which)
        what = f"be processed {ms:g} ms after its connection was cut"
        return self._add(match, effects.process_late(ms), what, nth, times)

    def crash_on(
        self,
        api: str,
        *,
        synced: bool,
        nth: int = 1,
        **which: Unpack[Which],
    ) -> FaultHandle:
        """Crash when the request was processed and nobody has been told.

        synced: whether what the request did is in the journal by then, or is lost with the crash. The fault
        has happened when the broker is there again.
        """
        match = self._match(api, which)
        handle = FaultHandle("")
        effect = effects.crash(synced, lambda: self._broker.crash_now(handle._happened))
        what = f"crash the broker {'after' if synced else 'before'} it was synced"
        return self._add(match, effect, what, nth, 1, handle)

    # --- what becomes of connections and of the broker ---

    def cut(self, *, client_id: str | None = None) -> FaultHandle:
        """Cut, now, the connections on which clients of that id (or any) have asked something."""
        handle = self._handle(
            FaultHandle(f"the connections of {_one('client', client_id)} were to be cut, and there were none")
        )
        if self._change(lambda faults: faults.cut(client_id)):
            handle._happened()
        return handle

    def crash(self, *, at_position: int | None = None) -> FaultHandle:
        """Crash and start again on what was synced: now, or when that journal position is synced.

        What is decided after that position is lost, and nobody was told of it, nor of what that position
        holds. A broker that was idle for 100 ms has taken one position more, which holds nothing. Without a
        position the call returns when the broker is there again. One position at a time can be waited for.
        """
        if at_position is None:
            self._broker.crash()
            done = self._handle(FaultHandle("the broker was to crash"))
            done._happened()
            return done
        now_at = self._broker.journal_position
        if at_position <= now_at:
            raise UsageError(
                f"journal position {at_position} is synced and may have been acknowledged (the journal is at "
                f"{now_at}); a crash loses nothing of that, snapshot and restore of the broker do"
            )
        handle = FaultHandle(f"the broker was to crash at journal position {at_position}")
        crash = partial(self._broker.crash_now, handle._happened)
        self._change(lambda faults: faults.crash_at(at_position, crash))
        self._crash = crash
        return self._handle(handle)

    # --- the end ---

    def unused(self) -> list[str]:
        """A sentence for each fault that has not happened as often as was asked for."""
        return [handle.sentence for handle in self._handles if not handle.has_happened]

    def clear(self) -> None:
        """Forget these faults; requests are as usual from now on, but for other Faults of the broker."""
        self._handles.clear()
        self._broker.without_faults(self._forget)

    def _forget(self, faults: effects.Faults) -> bool:
        """In the broker's thread. Whether nobody else asks for any."""
        for fault in self._asked:
            faults.remove(fault)
        self._asked.clear()
        faults.no_crash(self._crash)
        faults.askers.discard(self)
        return not faults.askers

    def _change(self, job: Callable[[effects.Faults], T]) -> T:
        def run(faults: effects.Faults) -> T:
            faults.askers.add(self)
            return job(faults)

        return self._broker.with_faults(run)

    def _match(self, api: str, which: Which) -> effects.Match:
        if api not in self._keys:
            raise UsageError(f"there is no API {api!r}{suggestion(api, list(self._keys))}")
        return effects.Match(self._keys[api], **which)

    def _add(
        self,
        match: effects.Match,
        effect: effects.Effect,
        what: str,
        nth: int,
        times: int,
        crash: FaultHandle | None = None,
    ) -> FaultHandle:
        if nth < 1 or times < 1:
            raise UsageError(f"requests are counted from 1: nth={nth}, times={times}")
        (api,) = (name for name, key in self._keys.items() if key == match.api_key)
        verb = "was" if times == 1 else "were"
        handle = crash or FaultHandle("", times)
        handle._what = f"{_which(api, match, nth, times)} {verb} to {what}"
        # A crash happens when it is over.
        on_happened = handle._happened if crash is None else lambda: None
        fault = effects.Fault(match, effect, nth=nth, times=times, on_happened=on_happened)
        handle._matched = lambda: fault.matched
        self._asked.append(fault)
        self._change(lambda faults: faults.add(fault))
        return self._handle(handle)

    def _handle(self, handle: FaultHandle) -> FaultHandle:
        self._handles.append(handle)
        return handle


def _check_ms(ms: float) -> None:
    if not 0 <= ms < float("inf"):
        raise UsageError(f"requests cannot be kept for {ms:g} ms")


def _which(api: str, match: effects.Match, nth: int, times: int) -> str:
    which = _ordinal(nth) if times == 1 else f"{_ordinal(nth)} to {_ordinal(nth + times - 1)}"
    return " ".join([f"the {which} {api} request", *_conditions(match)])


def _conditions(match: effects.Match) -> Iterator[str]:
    if match.client_id is not None:
        yield f"of client {match.client_id!r}"
    if match.transactional_id is not None:
        yield f"of transactional id {match.transactional_id!r}"
    if match.group_id is not None:
        yield f"of group {match.group_id!r}"
    if match.topic is not None:
        yield f"for topic {match.topic!r}"


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"


def _one(kind: str, name: str | None) -> str:
    return f"any {kind}" if name is None else f"{kind} {name!r}"


def _requests(count: int) -> str:
    return {0: "no such request", 1: "1 such request"}.get(count, f"{count} such requests")
