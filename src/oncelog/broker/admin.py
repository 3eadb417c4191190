"""The admin address (`--admin`): health, metrics and producers' lives over HTTP/1.1, on the broker's loop.

It answers from before the journal is replayed, so that whoever watches a long start sees it. One request per
connection, a few connections, short heads and a deadline: it is for an operator's tools, not for the world.
What is told of the log waits, like any reply, until it is durable; where that takes longer than a second, the
metrics are told without it. Must not know Kafka's protocol.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar, cast
from urllib.parse import parse_qs, unquote_to_bytes

from oncelog.broker import lives, metrics, scrape
from oncelog.broker.broker import Broker
from oncelog.broker.metrics import Histogram, Sample, exposition, single
from oncelog.broker.options import Address
from oncelog.broker.server import Server
from oncelog.machine.life import Producer

log = logging.getLogger("oncelog.admin")

CONNECTIONS_MAX = 32
HEAD_BYTES_MAX = 128 << 10
"""A transactional id may have 32,767 bytes, each of them three in a path."""
EXCHANGE_DEADLINE_S = 10.0
STATE_DEADLINE_S = 1.0
LAG_INTERVAL_S = 0.1
BACKLOG = 32
END_OF_HEAD = b"\r\n\r\n"
TRANSACTIONS = "/transactions/"
PRODUCERS = "/producers/"
PRODUCER_ID_DIGITS_MAX = 19
JSON = "application/json"
PLAIN = "text/plain; charset=utf-8"
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


class Answer(NamedTuple):
    status: int
    text: str
    content_type: str = PLAIN


Respond = Callable[[Answer], None]
Kept = TypeVar("Kept")


class BadQuestion(Exception):
    """A path or query that says nothing; the message is a sentence."""


class Admin:
    """The admin address of one process: `start`, later `attach` a broker, at last `close`.

    progress: how far the start is, while no broker is attached.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, listen: Address, *, rows_max: int) -> None:
        self.address = listen
        self.progress = "starting"
        self.exchanges: set[Exchange] = set()
        self.loop = loop
        self._rows_max = rows_max
        self._started_wall_s = time.time()
        self._lag_s = Histogram(metrics.SECONDS_BOUNDS)
        self._lag_timer: asyncio.TimerHandle | None = None
        self._listening: asyncio.Server | None = None
        self._broker: Broker | None = None
        self._server: Server | None = None
        self._paths: dict[str, Callable[[Respond], None]] = {
            "/metrics": self._metrics,
            "/livez": lambda respond: respond(self._livez()),
            "/readyz": lambda respond: respond(self._readyz()),
        }

    async def start(self) -> None:
        """Listen. Raises OSError when the address cannot be had."""
        self._listening = await self.loop.create_server(
            lambda: Exchange(self), self.address.host, self.address.port, backlog=BACKLOG
        )
        self.address = Address(self.address.host, self._listening.sockets[0].getsockname()[1])
        self.measure_lag()

    def attach(self, broker: Broker, server: Server) -> None:
        """The broker serves from now on. It is ready once its disk has taken an entry."""
        self._broker = broker
        self._server = server
        if not broker.disk_space.is_nearly_full:
            broker.engine.prove()

    async def close(self) -> None:
        """Stop listening, and close what is open."""
        if self._lag_timer is not None:
            self._lag_timer.cancel()
        if self._listening is not None:
            self._listening.close()
        for exchange in list(self.exchanges):
            exchange.abort()

    def answer(self, target: str, respond: Respond) -> None:
        """Answer a GET, at once or later; `respond` is called once. target: a path, and perhaps a query."""
        path, _, query = target.partition("?")
        answer = self._paths.get(path)
        try:
            if answer is not None:
                answer(respond)
            elif path.startswith(TRANSACTIONS):
                self._transaction(path.removeprefix(TRANSACTIONS), query, respond)
            elif path.startswith(PRODUCERS):
                self._producer(path.removeprefix(PRODUCERS), respond)
            else:
                there_are = ", ".join((*self._paths, f"{TRANSACTIONS}ID", f"{PRODUCERS}ID"))
                respond(Answer(404, f"there are {there_are}\n"))
        except BadQuestion as bad:
            respond(Answer(400, f"{bad}\n"))

    # --- what is asked ---

    def _failure(self) -> BaseException | None:
        return None if self._broker is None else self._broker.engine.failure

    def _livez(self) -> Answer:
        """Whether the process should be let live: it answers, and its engine has not stopped for good."""
        failure = self._failure()
        return Answer(200, "ok\n") if failure is None else Answer(503, f"the engine has stopped: {failure}\n")

    def _readyz(self) -> Answer:
        """Whether clients should be sent here."""
        wanting = self._wanting()
        return Answer(503, f"{wanting}\n") if wanting else Answer(200, "ready\n")

    def _wanting(self) -> str:
        """What it takes to be ready; nothing when it is."""
        if self._broker is None:
            return self.progress
        if (failure := self._failure()) is not None:
            return f"the engine has stopped: {failure}"
        if not self._broker.engine.counts.sync_s.count:
            return "no sync has succeeded yet"
        return ""

    def _metrics(self, respond: Respond) -> None:
        broker, server = self._broker, self._server
        if broker is None or server is None:
            respond(Answer(503, f"{self.progress}\n"))
            return

        def tell(state: list[Sample] | None) -> None:
            watched = scrape.Watched(self._started_wall_s, self._lag_s, is_ready=not self._wanting())
            process = scrape.of_process(broker, server, watched)
            shown = single(metrics.STATE_SHOWN, int(state is not None))
            respond(Answer(200, exposition([*process, shown, *(state or ())]), EXPOSITION))

        if broker.engine.failure is not None:
            tell(None)
            return
        self._once_durable(broker, scrape.of_state(broker, self._rows_max), tell)

    def _transaction(self, quoted: str, query: str, respond: Respond) -> None:
        name, asked_for = _name(quoted), _asked_for(query)

        def look(broker: Broker) -> Answer:
            told = lives.life_of(broker, name, asked_for)
            if told is None:
                return Answer(404, "nothing is known of this transactional id\n")
            return Answer(200, json.dumps(told) + "\n", JSON)

        self._of_state(look, respond)

    def _producer(self, digits: str, respond: Respond) -> None:
        producer_id = _number(digits)
        self._of_state(
            lambda broker: Answer(200, json.dumps(lives.refusals_of(broker, producer_id)) + "\n", JSON),
            respond,
        )

    def _of_state(self, look: Callable[[Broker], Answer], respond: Respond) -> None:
        """Answer with what is seen, once that is durable."""
        broker = self._broker
        if broker is None or broker.engine.failure is not None:
            respond(Answer(503, f"{self._wanting()}\n"))
            return

        def tell(answer: Answer | None) -> None:
            respond(answer or Answer(503, "what is known was not durable within a second\n"))

        self._once_durable(broker, look(broker), tell)

    def _once_durable(self, broker: Broker, seen: Kept, tell: Callable[[Kept | None], None]) -> None:
        waiting = Durable(seen, tell)
        waiting.deadline = self.loop.call_later(STATE_DEADLINE_S, waiting.give_up)
        broker.engine.hold(waiting, broker.engine.stamp())

    # --- how late the loop is ---

    def measure_lag(self) -> None:
        """Set a timer, note how late it ran, and so on until `close`."""
        due_s = time.perf_counter() + LAG_INTERVAL_S
        self._lag_timer = self.loop.call_later(LAG_INTERVAL_S, self._lag_measured, due_s)

    def _lag_measured(self, due_s: float) -> None:
        self._lag_s.observe(max(0.0, time.perf_counter() - due_s))
        self.measure_lag()


def _name(quoted: str) -> str:
    """A transactional id out of a path. Raises BadQuestion."""
    try:
        name = unquote_to_bytes(quoted.encode("latin-1")).decode()
    except UnicodeDecodeError:
        raise BadQuestion(
            "the transactional id in the path is not UTF-8, quoted where URLs need it"
        ) from None
    if not name:
        raise BadQuestion(f"{TRANSACTIONS} wants a transactional id")
    return name


def _asked_for(query: str) -> Producer | None:
    """The producer of which it is asked since when it is refused. Raises BadQuestion."""
    if not query:
        return None
    try:
        asked = parse_qs(query, strict_parsing=True, max_num_fields=2)
        (producer_id,), (epoch,) = asked["producer_id"], asked["epoch"]
    except (ValueError, KeyError):
        raise BadQuestion("a query is producer_id=NUMBER&epoch=NUMBER") from None
    return _number(producer_id), _number(epoch)


def _number(digits: str) -> int:
    """Raises BadQuestion."""
    if not (digits.isascii() and digits.isdigit() and len(digits) <= PRODUCER_ID_DIGITS_MAX):
        raise BadQuestion("a producer id and an epoch are whole numbers")
    return int(digits)


class Durable(Generic[Kept]):
    """What was seen of the log on its way out: told when that is durable, or left out."""

    def __init__(self, state: Kept, tell: Callable[[Kept | None], None]) -> None:
        self.deadline: asyncio.TimerHandle | None = None
        self._state: Kept | None = state
        self._tell: Callable[[Kept | None], None] | None = tell

    def release(self) -> None:
        """All that was looked at is durable."""
        self._end(self._state)

    def give_up(self) -> None:
        """It takes too long."""
        self._end(None)

    def _end(self, state: Kept | None) -> None:
        # What was given up stays in the engine's queue for a while: it should weigh nothing.
        tell, self._tell, self._state = self._tell, None, None
        if self.deadline is not None:
            self.deadline.cancel()
        if tell is not None:
            tell(state)


class Exchange(asyncio.Protocol):
    """One connection to the admin address: one request, one answer, and it is closed."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._transport: asyncio.Transport | None = None
        self._head = bytearray()
        self._is_asked = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if len(self._admin.exchanges) >= CONNECTIONS_MAX:
            self._transport.abort()
            return
        self._admin.exchanges.add(self)
        self._deadline = self._admin.loop.call_later(EXCHANGE_DEADLINE_S, self.abort)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._transport = None
        self._admin.exchanges.discard(self)
        if self._deadline is not None:
            self._deadline.cancel()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._is_asked:
            return
        # What came before has no end in it, save where its last bytes begin one.
        searched = max(0, len(self._head) - len(END_OF_HEAD) + 1)
        self._head += data
        end = self._head.find(END_OF_HEAD, searched)
        if end < 0 and len(self._head) <= HEAD_BYTES_MAX:
            return
        self._is_asked = True
        if end < 0 or end > HEAD_BYTES_MAX:
            self._send(Answer(431, "the head of the request is too long\n"))
            return
        self._ask(bytes(self._head[:end]).split(b"\r\n", 1)[0].decode("latin-1").split(" "))

    def _ask(self, request_line: list[str]) -> None:
        if len(request_line) != 3 or not request_line[2].startswith("HTTP/1."):
            self._send(Answer(400, "this is no HTTP/1.1 request\n"))
            return
        method, target, _ = request_line
        if method not in ("GET", "HEAD"):
            self._send(Answer(405, "GET and HEAD are all there is\n"))
            return
        try:
            self._admin.answer(target, lambda answer: self._send(answer, with_body=method == "GET"))
        except Exception:
            log.exception("the admin address could not answer")
            self.abort()

    def _send(self, answer: Answer, with_body: bool = True) -> None:
        if self._transport is None:
            return
        body = answer.text.encode(errors="replace")
        head = (
            f"HTTP/1.1 {answer.status} {REASONS[answer.status]}\r\nContent-Type: {answer.content_type}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self._transport.write(head.encode() + (body if with_body else b""))
        self._transport.close()
