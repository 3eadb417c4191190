"""The admin address: health, what HTTP it takes, and that it stays small."""

from __future__ import annotations

import asyncio
import http.client
import logging
import re
from typing import Any

import pytest

from oncelog.broker import recovery, serve
from oncelog.broker.admin import CONNECTIONS_MAX, EXCHANGE_DEADLINE_S, HEAD_BYTES_MAX, Exchange
from oncelog.broker.serve import Progress
from oncelog.machine.commands import CreateTopic
from oncelog.machine.state import State
from tests.operations.scraping import Watched, parsed, watched
from tests.support.one_process import one_process
from tests.support.server import ServerProcess


class Ends:
    """The admin address's end of a connection, in memory."""

    def __init__(self, broker: Watched) -> None:
        self.written = b""
        self.is_closed = False
        self._broker = broker
        self.exchange = Exchange(broker.admin)
        broker.process.within(lambda: self.exchange.connection_made(self))  # type: ignore[arg-type]

    def send(self, data: bytes) -> bytes:
        """All that has been written once nothing is left to do."""
        self._broker.process.within(lambda: self.exchange.data_received(data))
        self._broker.process.settle()
        return self.written

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.written += data

    def close(self) -> None:
        self.is_closed = True
        self._broker.process.loop.call_soon(self.exchange.connection_lost, None)

    def abort(self) -> None:
        self.close()


def status_of(response: bytes) -> int:
    return int(response.split(b" ")[1])


# --- health ---


def test_ready_is_replayed_and_synced() -> None:
    with one_process() as process:
        process.journal.hold()
        broker = Watched(process, 100)
        broker.admin.progress = "replaying the journal: 7 entries"
        assert broker.get("/readyz") == (
            503,
            "replaying the journal: 7 entries\n",
            "text/plain; charset=utf-8",
        )
        assert broker.get("/metrics").status == 503
        assert broker.get("/livez").status == 200
        broker.attach()
        assert broker.get("/readyz")[:2] == (503, "no sync has succeeded yet\n")
        assert broker.value("oncelog_ready") == 0
        process.confirm()
        assert broker.get("/readyz")[:2] == (200, "ready\n")
        assert broker.value("oncelog_ready") == 1


def test_nothing_is_written_for_readiness_while_the_disk_is_nearly_full() -> None:
    with one_process(disk_reserve_bytes=1 << 50) as process:
        broker = Watched(process, 100)
        broker.attach()
        assert broker.get("/readyz")[:2] == (503, "no sync has succeeded yet\n")
        assert process.journal.appended == []


def test_an_engine_that_stopped_is_neither_ready_nor_to_be_let_live() -> None:
    with watched() as broker:
        broker.process.journal.hold()
        broker.process.within(
            lambda: broker.process.broker.engine.execute(CreateTopic(bytes(range(16)), "t", 1))
        )
        broker.process.fail()
        for path in ("/livez", "/readyz"):
            answer = broker.get(path)
            assert (answer.status, answer.text[:24]) == (503, "the engine has stopped: ")


# --- HTTP ---


def test_a_request_in_pieces_is_answered_once_and_the_connection_closed() -> None:
    with watched() as broker:
        ends = Ends(broker)
        assert ends.send(b"GET /live") == b""
        assert ends.send(b"z?verbose=1 HTTP/1.1\r\nHost: a\r\n") == b""
        answer = ends.send(b"\r\nGET /livez HTTP/1.1\r\n\r\n")
        assert answer == (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n"
            b"Connection: close\r\n\r\nok\n"
        )
        assert ends.is_closed


def test_head_has_no_body() -> None:
    with watched() as broker:
        answer = Ends(broker).send(b"HEAD /livez HTTP/1.0\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Content-Length: 3\r\n" in answer
        assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /metrics HTTP/1.1\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET /metrics/../x HTTP/1.1\r\n\r\n", 404),
        (b"\x00\x00\x00\x13\x00\x12\r\n\r\n", 400),
        (b"GET /livez\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nX: " + b"x" * HEAD_BYTES_MAX, 431),
        (b"GET /livez HTTP/1.1\r\nX: " + b"x" * HEAD_BYTES_MAX + b"\r\n\r\n", 431),
    ],
)
def test_what_is_no_question_is_told_so(request_bytes: bytes, status: int) -> None:
    with watched() as broker:
        ends = Ends(broker)
        assert status_of(ends.send(request_bytes)) == status
        assert ends.is_closed


def test_a_question_may_come_a_byte_at_a_time() -> None:
    with watched() as broker:
        ends = Ends(broker)
        question = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
        assert {ends.send(bytes((byte,))) for byte in question[:-1]} == {b""}
        assert status_of(ends.send(question[-1:])) == 200


def test_a_connection_that_says_nothing_is_closed() -> None:
    with watched() as broker:
        ends = Ends(broker)
        ends.send(b"GET /")
        broker.process.advance(EXCHANGE_DEADLINE_S - 1, step_s=1)
        assert not ends.is_closed
        broker.process.advance(1.5, step_s=0.5)
        assert ends.is_closed
        assert ends.written == b""


def test_connections_are_few() -> None:
    with watched() as broker:
        idle = [Ends(broker) for _ in range(CONNECTIONS_MAX)]
        assert Ends(broker).is_closed
        idle[0].send(b"GET /livez HTTP/1.1\r\n\r\n")
        assert idle[0].is_closed
        assert status_of(Ends(broker).send(b"GET /livez HTTP/1.1\r\n\r\n")) == 200


def test_who_leaves_before_the_answer_is_no_error() -> None:
    with watched() as broker:
        broker.process.journal.hold()
        broker.process.within(
            lambda: broker.process.broker.engine.execute(CreateTopic(bytes(range(16)), "t", 1))
        )
        ends = Ends(broker)
        assert ends.send(b"GET /metrics HTTP/1.1\r\n\r\n") == b""
        ends.abort()
        broker.process.let_go()
        assert ends.written == b""
        assert broker.process.errors == []


# --- a process ---


def test_serve_answers_on_the_admin_address(server_in: ServerProcess) -> None:
    server_in.options = ("--admin", "127.0.0.1:0")
    server_in.start()
    ready = re.search(r"^oncelog ready: .* admin=127\.0\.0\.1:(\d+)$", server_in.output(), re.M)
    assert ready is not None
    port = int(ready[1])

    def get(path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
        connection.request("GET", path)
        response = connection.getresponse()
        answer = (response.status, response.read().decode())
        connection.close()
        return answer

    assert get("/livez") == (200, "ok\n")
    status, text = get("/metrics")
    assert status == 200
    told = parsed(text)
    assert told["process_resident_memory_bytes"].rows[()] > 1 << 20
    assert told["process_max_fds"].rows[()] > 0
    assert server_in.stop() == 0


# --- a long start ---


def test_a_replay_gives_turns_and_tells_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recovery, "STEP_ENTRIES", 2)
    monkeypatch.setattr(serve, "PROGRESS_INTERVAL_S", 0)
    caplog.set_level(logging.INFO)
    with one_process() as process:
        for number in range(5):
            command = CreateTopic(bytes([number]) * 16, f"t{number}", 1)
            process.within(lambda command=command: process.broker.engine.execute(command))
            process.settle()
        watching = Watched(process, 100)
        seen: list[str] = []

        async def replay() -> Any:
            replaying = asyncio.ensure_future(
                serve.replay_with_turns(State(), process.journal, watching.admin)  # type: ignore[arg-type]
            )
            while not replaying.done():
                seen.append(watching.admin.progress)
                await asyncio.sleep(0)
            return await replaying

        replayed = process.loop.run_until_complete(replay())
    assert replayed.entries == 5
    assert [re.findall(r"\d+ entries", each) for each in dict.fromkeys(seen)] == [
        [],
        ["2 entries"],
        ["4 entries"],
    ]
    lines = [record.getMessage() for record in caplog.records if "replaying" in record.getMessage()]
    assert lines == [
        "replaying the journal: 2 entries, 0 of 0 MiB",
        "replaying the journal: 4 entries, 0 of 0 MiB",
    ]


def test_progress_is_logged_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    progress = Progress(8 << 20, began_s=100.0)
    for tenth in range(1, 26):
        assert progress.at(tenth, tenth << 20, 100.0 + tenth / 10).startswith("replaying the journal: ")
    assert [record.getMessage() for record in caplog.records] == [
        "replaying the journal: 10 entries, 10 of 8 MiB",
        "replaying the journal: 20 entries, 20 of 8 MiB",
    ]
