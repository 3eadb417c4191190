"""Faults that an embedding program asks for: what becomes of the nth request of an API, and a crash.

A broker without faults pays one look at an attribute per request. With some, a request that one of them
takes goes to a stand-in of its API's route, which waits: it may answer otherwise, later, or never. Must not
know who asks for faults, or what for; sockets and restarts are in the hands of those who own them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary, WeakSet

from oncelog.broker.options import UsageError
from oncelog.broker.refusals import refusal
from oncelog.broker.registry import Route, handle_at_once
from oncelog.wire.definition import ZERO_UUID, Message
from oncelog.wire.frames import RequestHeader

if TYPE_CHECKING:
    from oncelog.broker.connection import Connection
    from oncelog.broker.context import Context
    from oncelog.machine.state import State

Respond = Callable[..., None]
"""respond(response, position=None); a response of None is none at all (acks=0)."""

FIND_COORDINATOR_KEY = 10
GROUP, TRANSACTION = 0, 1
"""FindCoordinator's kinds of keys."""


# --- which requests are meant ---


class Match(NamedTuple):
    """Which requests a fault is about; None stands for any."""

    api_key: int | None = None
    client_id: str | None = None
    transactional_id: str | None = None
    group_id: str | None = None
    topic: str | None = None

    def fits(self, header: RequestHeader, request: Message, state: State) -> bool:
        """Whether this request is one of them."""
        return (
            (self.api_key is None or self.api_key == header.api_key)
            and (self.client_id is None or self.client_id == header.client_id)
            and (self.transactional_id is None or self.transactional_id in _transactional_ids(request))
            and (self.group_id is None or self.group_id in _group_ids(request))
            and (self.topic is None or self.topic in _topics(request, state))
        )


_TRANSACTIONAL_IDS = ("transactional_id", "v3_and_below_transactional_id")
_TOPIC_LISTS = ("topics", "topic_data", "topic_names", "v3_and_below_topics")


def _transactional_ids(request: Any) -> Iterator[str]:
    for name in _TRANSACTIONAL_IDS:
        yield from _given(request, name)
    for transaction in _given(request, "transactions"):
        yield transaction.transactional_id
    yield from _coordinator_keys(request, TRANSACTION)


def _group_ids(request: Any) -> Iterator[str]:
    yield from _given(request, "group_id")
    yield from _given(request, "groups_names")
    for group in _given(request, "groups"):
        yield group if isinstance(group, str) else group.group_id
    yield from _coordinator_keys(request, GROUP)


def _coordinator_keys(request: Any, kind: int) -> Iterator[str]:
    if getattr(request, "api_key", None) == FIND_COORDINATOR_KEY and request.key_type == kind:
        yield from _given(request, "key")
        yield from _given(request, "coordinator_keys")


def _topics(request: Any, state: State) -> Iterator[str]:
    for lists in _TOPIC_LISTS:
        for topic in _given(request, lists):
            yield topic if isinstance(topic, str) else _topic_name(topic, state)
    for inner in ("transactions", "groups"):
        for element in _given(request, inner):
            if not isinstance(element, str):
                yield from _topics(element, state)


def _topic_name(topic: Any, state: State) -> str:
    """Newer versions name topics by their ids."""
    known = state.shown_topic(getattr(topic, "topic_id", ZERO_UUID))
    if known is not None:
        return known.name
    return str(getattr(topic, "name", None) or getattr(topic, "topic", ""))


def _given(request: Any, name: str) -> Sequence[Any]:
    """The values of a field that a request may lack: of a list its elements, of a scalar itself."""
    value = getattr(request, name, None)
    if value is None:
        return ()
    return value if isinstance(value, list) else (value,)


# --- what becomes of them ---


class Taken:
    """A request that a fault has taken."""

    __slots__ = ("context", "request", "respond", "route")

    def __init__(self, route: Route, context: Context, request: Message, respond: Respond) -> None:
        self.route = route
        self.context = context
        self.request = request
        self.respond = respond

    def process(self, respond: Respond) -> None:
        """Have the API handle the request; what it answers goes to `respond`."""
        if self.route.waits:
            self.route.handle(self.context, self.request, respond)
        else:
            respond(handle_at_once(self.route.handle, self.context, self.request))

    def process_later(self, delay_ms: float) -> None:
        """Have it handled after a while, whether or not its connection is still there."""
        context = self.context

        def process() -> None:
            try:
                self.process(self.respond)
            except Exception as error:
                context.connection.fault(error)

        context.broker.deadlines.after(delay_ms, process)

    def cut(self) -> None:
        """Close the connection that it came by."""
        self.context.broker.close_connection(self.context, f"as was asked for, at a {self.route.name}")


Effect = Callable[[Taken], None]


def refuse(error: int) -> Effect:
    """The request is not processed, and answered with an error."""
    return lambda taken: taken.respond(refusal(taken.route, taken.context, taken.request, error))


def delay(delay_ms: float) -> Effect:
    """The request waits before it is processed, and its connection's later ones behind it."""
    return lambda taken: taken.process_later(delay_ms)


def drop_request(cut: bool) -> Effect:
    """The request is never processed. Not cut, its connection hangs: it gets no answer any more."""

    def happen(taken: Taken) -> None:
        if cut:
            taken.cut()

    return happen


def drop_answer(cut: bool) -> Effect:
    """The request is processed, and its answer never leaves. Not cut, its connection hangs."""

    def happen(taken: Taken) -> None:
        def lose(_response: Message | None, _position: int | None = None) -> None:
            if cut:
                taken.cut()

        taken.process(lose)

    return happen


def process_late(delay_ms: float) -> Effect:
    """The connection is cut at once, and the request is processed all the same, after a while."""

    def happen(taken: Taken) -> None:
        taken.cut()
        taken.process_later(delay_ms)

    return happen


def crash(synced: bool, now: Callable[[], None]) -> Effect:
    """The broker crashes when it has processed the request: `synced`, what the request did outlives that."""

    def happen(taken: Taken) -> None:
        def end(_response: Message | None, _position: int | None = None) -> None:
            engine = taken.context.broker.engine
            if synced:
                engine.hold(_WhenDurable(now), engine.stamp())
            else:
                now()

        taken.process(end)

    return happen


class _WhenDurable:
    """Stands in the queue of replies, and leaves nobody an answer."""

    def __init__(self, then: Callable[[], None]) -> None:
        self.release = then


# --- the table ---


class Fault:
    """One of them: from the nth matching request on, `times` requests are taken.

    on_happened: called for each of these, in the broker's thread.
    """

    def __init__(
        self,
        match: Match,
        effect: Effect,
        *,
        nth: int = 1,
        times: int = 1,
        on_happened: Callable[[], None] = lambda: None,
    ) -> None:
        self.match = match
        self.effect = effect
        self.matched = 0
        self._first = nth
        self._last = nth + times - 1
        self._on_happened = on_happened

    def counts(self, header: RequestHeader, request: Message, state: State) -> bool:
        """Count a request if it is meant; whether it is one to be taken."""
        if not self.match.fits(header, request, state):
            return False
        self.matched += 1
        return self._first <= self.matched <= self._last

    def handle(self, route: Route, context: Context, request: Message, respond: Respond) -> None:
        """What the stand-in of the API does."""
        self.effect(Taken(route, context, request, respond))
        self._on_happened()


class Faults:
    """The faults of one broker. To be used in the broker's thread.

    askers: whoever asks for faults here; what one forgets, others keep.
    """

    def __init__(self) -> None:
        self.askers: WeakSet[object] = WeakSet()
        self._faults: list[Fault] = []
        self._crash: tuple[int, Callable[[], None]] | None = None
        self._client_ids: WeakKeyDictionary[Connection, str | None] = WeakKeyDictionary()

    def add(self, fault: Fault) -> None:
        self._faults.append(fault)

    def remove(self, fault: Fault) -> None:
        if fault in self._faults:
            self._faults.remove(fault)

    def crash_at(self, position: int, crash: Callable[[], None]) -> None:
        """Crash when that journal position is durable, before any answer of it has left.

        Raises UsageError where another crash is waited for.
        """
        if self._crash is not None:
            raise UsageError(
                f"the broker is to crash at journal position {self._crash[0]} already; wait for that crash, "
                "or forget it with clear(), before you ask for another"
            )
        self._crash = (position, crash)

    def no_crash(self, crash: Callable[[], None] | None) -> None:
        """Do not, where it is that one which is waited for."""
        if self._crash is not None and self._crash[1] is crash:
            self._crash = None

    def cut(self, client_id: str | None) -> int:
        """Close the connections on which a client of that id has asked anything (None: any); how many."""
        meant = [
            connection
            for connection, its_client_id in list(self._client_ids.items())
            if client_id is None or its_client_id == client_id
        ]
        for connection in meant:
            connection.abort("as was asked for")
            del self._client_ids[connection]
        return len(meant)

    def meet(
        self, connection: Connection, state: State, route: Route, header: RequestHeader, request: Message
    ) -> Route:
        """The route that a request is to take: its own, or the stand-in of the first fault that takes it."""
        self._client_ids[connection] = header.client_id
        takers = [fault for fault in self._faults if fault.counts(header, request, state)]
        if not takers:
            return route
        fault = takers[0]

        def handle(context: Context, request: Message, respond: Respond) -> None:
            fault.handle(route, context, request, respond)

        return Route(dataclasses.replace(route.api, waits=True), handle, route.summary)

    def durable(self, position: int) -> None:
        """A journal position is durable, and nobody has been told."""
        if self._crash is not None and position >= self._crash[0]:
            crash, self._crash = self._crash[1], None
            crash()
