"""`oncelog txn` against a broker: what it lists, describes, aborts, and finds to hold readers back."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.batches import batch
from tests.support.fixtures import Broker, MakeTopic
from tests.support.raw import RawConnection
from tests.support.speaking import TransactionalProducer, idempotent_producer, last_stable_offset, produce

ONCELOG = str(Path(sys.executable).with_name("oncelog"))


def txn(broker: Broker, *arguments: str) -> Any:
    """What the command prints as JSON."""
    done = run(*arguments, "--bootstrap", broker.bootstrap, "--format", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def refused(broker: Broker, *arguments: str) -> str:
    done = run(*arguments, "--bootstrap", broker.bootstrap)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout == ""
    return done.stderr


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ONCELOG, "txn", *arguments], capture_output=True, text=True, timeout=60)


@pytest.fixture
def opened(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> Iterator[tuple[TransactionalProducer, str]]:
    """A producer with an open transaction in partition 1 of a topic, behind one committed record."""
    topic = make_topic(partitions=3)
    assert produce(connection, topic, batch([b"before"]), partition=1).error_code == 0
    producer = TransactionalProducer(connection, unique_name, timeout_ms=50_000)
    assert producer.produce(topic, [b"a", b"b"], partition=1, version=12).error_code == 0
    yield producer, topic
    producer.end(False, version=5)


def test_transactional_ids_are_listed(broker: Broker, opened: tuple[TransactionalProducer, str]) -> None:
    producer, _ = opened
    name = producer.transactional_id
    (row,) = txn(broker, "list", "--pattern", f"{name}.*", "--state", "Ongoing", "--state", "Empty")
    assert row["producer_id"] == producer.producer_id
    assert (row["transactional_id"], row["state"]) == (name, "Ongoing")
    assert row in txn(broker, "list")
    assert txn(broker, "list", "--producer-id", str(producer.producer_id)) == [row]
    assert txn(broker, "list", "--pattern", name, "--state", "CompleteCommit") == []
    assert txn(broker, "list", "--pattern", name, "--open-longer-than-s", "3600") == []
    assert txn(broker, "list", "--pattern", name, "--open-longer-than-s", "0.001") == [row]
    assert producer.end(True, version=5).error_code == 0
    assert txn(broker, "list", "--pattern", name, "--open-longer-than-s", "0.001") == []
    assert "INVALID_REGULAR_EXPRESSION" in refused(broker, "list", "--pattern", "(")


def test_transactional_ids_are_described(broker: Broker, opened: tuple[TransactionalProducer, str]) -> None:
    producer, topic = opened
    row, missing = txn(broker, "describe", producer.transactional_id, "nobody's")
    assert row["open_since"].startswith("20")
    assert 0 <= row.pop("open_s") < 3600
    del row["open_since"]
    assert row == {
        "transactional_id": producer.transactional_id,
        "state": "Ongoing",
        "producer_id": producer.producer_id,
        "producer_epoch": producer.epoch,
        "timeout_ms": 50_000,
        "partitions": [f"{topic}-1"],
    }
    assert missing == {"transactional_id": "nobody's", "error": "TRANSACTIONAL_ID_NOT_FOUND"}


def test_the_producers_of_a_topic_are_listed(
    broker: Broker, connection: RawConnection, opened: tuple[TransactionalProducer, str]
) -> None:
    producer, topic = opened
    plain = idempotent_producer(connection)
    sent = batch([b"x"], producer_id=plain, epoch=0, sequence=0)
    assert produce(connection, topic, sent, partition=2).error_code == 0
    rows = txn(broker, "producers", topic)
    told = [
        (row["partition"], row["producer_id"], row["last_sequence"], row["open_from_offset"]) for row in rows
    ]
    assert told == [(1, producer.producer_id, 1, 1), (2, plain, 0, None)]
    assert txn(broker, "producers", topic, "--partition", "2") == rows[1:]
    assert "no partition 9" in refused(broker, "producers", topic, "--partition", "9")
    assert "UNKNOWN_TOPIC_OR_PARTITION" in refused(broker, "producers", "no-such-topic")


def test_what_holds_readers_back_is_told(
    broker: Broker, connection: RawConnection, opened: tuple[TransactionalProducer, str]
) -> None:
    producer, topic = opened
    (row,) = txn(broker, "stuck", "--topic", topic)
    assert (row["topic"], row["partition"], row["last_stable_offset"]) == (topic, 1, 1)
    assert (row["records_held"], row["transactional_id"]) == (2, producer.transactional_id)
    assert (row["producer_id"], row["producer_epoch"]) == (producer.producer_id, producer.epoch)
    assert 0 < row["times_out_in_s"] <= 50
    assert (row["verdict"], row["since"][:2]) == ("open", "20")
    # Somebody who began later holds nothing back as long as the first one does.
    later = TransactionalProducer(connection, f"{producer.transactional_id}-later")
    assert later.produce(topic, [b"c"], partition=1, version=12).error_code == 0
    (again,) = txn(broker, "stuck", "--topic", topic)
    assert (again["transactional_id"], again["records_held"]) == (producer.transactional_id, 3)
    assert producer.end(True, version=5).error_code == 0
    (then,) = txn(broker, "stuck", "--topic", topic)
    assert then["transactional_id"] == later.transactional_id
    assert later.end(True, version=5).error_code == 0
    assert txn(broker, "stuck", "--topic", topic) == []


def test_a_transaction_is_aborted_by_its_id(
    broker: Broker, connection: RawConnection, opened: tuple[TransactionalProducer, str]
) -> None:
    producer, topic = opened
    (row,) = txn(broker, "abort", producer.transactional_id)
    told = row["aborted_producer_id"], row["aborted_producer_epoch"]
    assert told == (producer.producer_id, producer.epoch)
    assert last_stable_offset(connection, topic, 1) == 4
    assert producer.end(True, version=5).error_code != 0
    assert "has no open transaction" in refused(broker, "abort", producer.transactional_id)
    assert "TRANSACTIONAL_ID_NOT_FOUND" in refused(broker, "abort", "nobody's")


def test_a_transaction_is_aborted_by_its_partition(
    broker: Broker, connection: RawConnection, opened: tuple[TransactionalProducer, str]
) -> None:
    producer, topic = opened
    where = ("abort", "--topic", topic, "--partition")
    assert "no transaction is open" in refused(broker, *where, "0")
    assert "no transaction of producer 0 is open" in refused(broker, *where, "1", "--producer-id", "0")
    (row,) = txn(broker, *where, "1", "--producer-id", str(producer.producer_id))
    assert (row["aborted_producer_id"], row["open_from_offset"]) == (producer.producer_id, 1)
    assert last_stable_offset(connection, topic, 1) == 4


def test_a_table_is_for_people(broker: Broker, opened: tuple[TransactionalProducer, str]) -> None:
    producer, _ = opened
    done = run("list", "--bootstrap", broker.bootstrap, "--pattern", producer.transactional_id)
    head, row = done.stdout.splitlines()
    assert head.split() == ["TRANSACTIONAL_ID", "PRODUCER_ID", "STATE", "COORDINATOR"]
    assert row.split() == [producer.transactional_id, str(producer.producer_id), "Ongoing", "1"]
    none = run("list", "--bootstrap", broker.bootstrap, "--pattern", "nothing-like-that")
    assert (none.returncode, none.stdout) == (0, "nothing found\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("abort",), "abort takes a TRANSACTIONAL_ID, or --topic and --partition"),
        (("abort", "id", "--topic", "t", "--partition", "0"), "abort takes a TRANSACTIONAL_ID"),
        (("abort", "--topic", "t"), "abort takes a TRANSACTIONAL_ID"),
        (("list", "--bootstrap", "nowhere"), "'nowhere' is no HOST:PORT"),
        (("list", "--state", "Open"), "invalid choice: 'Open'"),
        (("list", "--stat", "Empty"), "there is no option --stat"),
        ((), "COMMAND"),
    ],
)
def test_what_can_not_be_asked_is_refused(broker: Broker, arguments: tuple[str, ...], sentence: str) -> None:
    place = () if "--bootstrap" in arguments or not arguments else ("--bootstrap", broker.bootstrap)
    done = run(*arguments, *place)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr


def test_a_broker_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    done = run("list", "--bootstrap", f"127.0.0.1:{port}")
    assert done.returncode == 1
    assert f"127.0.0.1:{port} can't be reached" in done.stderr


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak the Kafka protocol"),
        (b"\x00\x00\x00\x02\x00\x00", "answered what can't be read"),
        (b"", "closed the connection"),
        (None, "timed out"),
    ],
)
def test_what_is_no_broker_is_named(answer: bytes | None, sentence: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        is_done = threading.Event()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                if answer is None:
                    is_done.wait(30)
                else:
                    connection.sendall(answer)

        served = threading.Thread(target=serve)
        served.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        done = run("list", "--bootstrap", address, "--timeout-s", "1" if answer is None else "20")
        is_done.set()
        served.join()
    assert done.returncode == 1
    assert sentence in done.stderr
    assert address in done.stderr
