"""`oncelog txn explain ID --admin`: two stock producers, one of them a zombie, over a kill and a restart."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException, Producer

from oncelog.broker.admin import CONNECTIONS_MAX
from oncelog.cli.explain import as_text
from oncelog.cli.main import main
from tests.support.raw import RawConnection
from tests.support.server import ServerProcess
from tests.support.speaking import TransactionalProducer
from tests.support.topics import create_topic

ONCELOG = str(Path(sys.executable).with_name("oncelog"))
NAME, TOPIC = "payments", "ledger"
PRODUCER_FENCED = 90


@pytest.fixture
def server(server_in: ServerProcess) -> ServerProcess:
    server_in.options = ("--admin", "127.0.0.1:0")
    server_in.start()
    return server_in


def admin_of(server: ServerProcess) -> str:
    return str(re.findall(r" admin=(127\.0\.0\.1:\d+)$", server.output(), re.MULTILINE)[-1])


def explain(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [ONCELOG, "txn", "explain", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def told(*arguments: str) -> Any:
    done = explain(*arguments, "--format", "json")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return json.loads(done.stdout)


def stock_producer(server: ServerProcess, client_id: str) -> Producer:
    producer = Producer(
        {"bootstrap.servers": server.bootstrap, "transactional.id": NAME, "client.id": client_id}
    )
    producer.init_transactions(30)
    return producer


def test_why_was_i_fenced(server: ServerProcess) -> None:
    create_topic(server.bootstrap, TOPIC, 1, {})
    zombie = stock_producer(server, "first")
    zombie.begin_transaction()
    zombie.produce(TOPIC, b"a", partition=0)
    assert zombie.flush(30) == 0
    successor = stock_producer(server, "second")
    with pytest.raises(KafkaException) as fenced:
        zombie.commit_transaction(30)
    assert fenced.value.args[0].name() in ("_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH")
    successor.begin_transaction()
    successor.produce(TOPIC, b"b", partition=0)
    successor.commit_transaction(30)

    running = told(NAME, "--admin", admin_of(server))
    whats = [each["what"] for each in running["life"]]
    assert whats == ["initialized", "aborted", "initialized", "refused", "committed"]
    first, aborted, second, refused, _ = running["life"]
    assert first["by"] == "first at 127.0.0.1"
    assert (aborted["ended_by"], aborted["by"]) == ("a newer producer", "second at 127.0.0.1")
    assert second["by"] == "second at 127.0.0.1"
    assert (refused["api"], refused["by"]) == ("EndTxn", "first at 127.0.0.1")
    assert refused["error"] == "PRODUCER_FENCED"
    assert refused["known"]["producer_epoch"] == second["producer_epoch"]
    (answer,) = running["refused"]
    assert answer["producer_epoch"] == first["producer_epoch"] == refused["producer_epoch"]
    assert answer["since"] == aborted
    table = explain(NAME, "--admin", admin_of(server))
    assert table.returncode == 0
    *lines, sentence = table.stdout.splitlines()
    assert len(lines) == 1 + len(whats)
    whose = f"producer {first['producer_id']} epoch {first['producer_epoch']}"
    assert sentence.startswith(f"{whose} is refused since {aborted['time']}")
    assert "aborted, by a newer producer (second at 127.0.0.1)" in sentence

    del zombie, successor
    server.kill()
    server.start()
    again = told(NAME, "--admin", admin_of(server))
    assert again["life"] == [each for each in running["life"] if each["what"] != "refused"]
    assert again["refused"] == running["refused"], "the last who was fenced, now that nobody was refused"
    server.stop()
    stopped = told(NAME, "--data", str(server.data))
    assert [shared(each) for each in stopped["life"]] == [shared(each) for each in again["life"]]
    assert shared(stopped["refused"][0]["since"]) == shared(running["refused"][0]["since"])
    assert stopped["refused"][0]["producer_epoch"] == answer["producer_epoch"]


def shared(happening: Any) -> Any:
    """What a journal and a state both tell of it."""
    names = ("time", "journal_entry", "what", "producer_id", "producer_epoch", "fenced", "ended_by", "by",
             "timeout_ms", "began", "took_ms", "groups")  # fmt: skip
    places = [
        (each["partition"], each["first_offset"], each["marker_offset"])
        for each in happening.get("wrote", ())
    ]
    return {name: happening.get(name) for name in names}, places


def test_since_when_an_epoch_is_refused_can_be_asked(server: ServerProcess) -> None:
    connection = RawConnection(server.bootstrap)
    producer = TransactionalProducer(connection, NAME)
    TransactionalProducer(connection, NAME)
    asked = ("--producer-id", str(producer.producer_id), "--epoch")
    answer = told(NAME, "--admin", admin_of(server), *asked, "0")
    assert answer["refused_since"] == answer["life"][1]
    answer = told(NAME, "--admin", admin_of(server), *asked, "1")
    assert answer["refused_since"] is None
    sentence = explain(NAME, "--admin", admin_of(server), *asked, "1").stdout.splitlines()[-1]
    assert sentence.startswith("no event that is kept makes a request of producer")
    connection.close()


def test_names_that_are_hard_to_print(server: ServerProcess) -> None:
    for name in ("a/b?c#d e%2f", "new\nline\x1b[31m\r", "ünï-💥-\u202e", "n" * 32_767):
        connection = RawConnection(server.bootstrap)
        zombie = TransactionalProducer(connection, name)
        TransactionalProducer(connection, name)
        assert zombie.end(True, version=4).error_code == PRODUCER_FENCED
        connection.close()
        answer = told(name, "--admin", admin_of(server))
        assert answer["transactional_id"] == name
        done = explain(name, "--admin", admin_of(server))
        assert done.returncode == 0
        assert len(done.stdout.splitlines()) == 5
        assert len(done.stdout) < 2000
        assert all(line.isprintable() for line in done.stdout.split("\n"))


def test_what_is_not_known_or_not_there_is_told(server: ServerProcess) -> None:
    done = explain("nobody", "--admin", admin_of(server))
    assert (done.returncode, done.stdout) == (1, "")
    assert "404: nothing is known of this transactional id" in done.stderr
    done = explain("nobody", "--admin", server.bootstrap)
    assert (done.returncode, done.stdout) == (1, "")
    assert "can't be asked" in done.stderr
    done = explain("nobody", "--admin", "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'nowhere' is no HOST:PORT" in done.stderr
    done = explain("nobody")
    assert done.returncode == 2
    assert "--admin --data is required" in done.stderr


@contextmanager
def answering(body: bytes) -> Iterator[str]:
    """Something that is no broker of ours, and says this to the one who asks."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            accepted, _ = listening.accept()
            with accepted:
                accepted.recv(65_536)
                head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
                accepted.sendall(head + body)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize(
    "body",
    [b"hello", b"[]", b"{}", b"null", b'{"life": [], "refused": 3}', b'{"life": [3], "refused": []}', b"\xff",
     b'{"life": [{}], "refused": []}'],
)  # fmt: skip
@pytest.mark.parametrize("form", ["table", "json"])
def test_what_answers_otherwise_is_not_believed(
    body: bytes, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(body) as address:
        assert main(["txn", "explain", NAME, "--admin", address, "--format", form]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "answers what is no life" in printed.err
    assert len(printed.err.splitlines()) == 1


def test_a_flood_of_questions_leaves_the_broker_at_work(server: ServerProcess) -> None:
    """More connections than it takes: some are turned away, and a producer goes on meanwhile."""
    connection = RawConnection(server.bootstrap)
    create_topic(server.bootstrap, TOPIC, 1, {})
    producer = TransactionalProducer(connection, NAME)
    host, _, port = admin_of(server).partition(":")
    question = f"GET /transactions/{NAME} HTTP/1.1\r\n\r\n".encode()

    def ask(_: int) -> bytes:
        answer = b""
        try:
            with socket.create_connection((host, int(port)), timeout=20) as asking:
                asking.sendall(question)
                while data := asking.recv(65_536):
                    answer += data
        except ConnectionError:
            pass
        return answer

    with ThreadPoolExecutor(CONNECTIONS_MAX * 2) as threads:
        asked = threads.map(ask, range(600))
        for _ in range(30):
            assert producer.produce(TOPIC, version=12).error_code == 0
            assert producer.end(True, version=5).error_code == 0
        answers = list(asked)
    whole = [answer for answer in answers if answer]
    assert whole
    assert {answer.split(b"\r\n", 1)[0] for answer in whole} == {b"HTTP/1.1 200 OK"}
    assert all(json.loads(answer.split(b"\r\n\r\n", 1)[1]) for answer in whole)
    connection.close()


@pytest.mark.parametrize(
    ("is_over", "sentence"),
    [
        (True, "producer 7 epoch 0 is refused since an event that is no longer kept"),
        (False, "no event that is kept makes a request of producer 7 epoch 0 be refused"),
    ],
)
def test_an_event_that_is_not_kept_is_no_absence_of_one(is_over: bool, sentence: str) -> None:
    asked = {"producer_id": 7, "producer_epoch": 0, "is_over": is_over, "since": None}
    told = {"transactional_id": "t", "is_complete": False, "life": [], "refused": [asked]}
    assert as_text(told).splitlines()[-1] == sentence
