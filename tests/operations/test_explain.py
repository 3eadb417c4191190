"""`oncelog txn explain` on directories that real brokers have left."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.support.raw import RawConnection
from tests.support.server import ServerProcess
from tests.support.speaking import TransactionalProducer
from tests.support.topics import create_topic

ONCELOG = str(Path(sys.executable).with_name("oncelog"))
NAME, TOPIC = "payments", "ledger"


def explain(data: Path, *arguments: str, name: str = NAME) -> subprocess.CompletedProcess[str]:
    command = [ONCELOG, "txn", "explain", name, "--data", str(data), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def life(data: Path, *arguments: str) -> Any:
    done = explain(data, "--format", "json", *arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def left(server_in: ServerProcess) -> tuple[Path, TransactionalProducer]:
    """A directory whose broker was killed: a commit, then somebody else's InitProducerId on an open one."""
    with server_in:
        create_topic(server_in.bootstrap, TOPIC, 2, {})
        connection = RawConnection(server_in.bootstrap)
        producer = TransactionalProducer(connection, NAME)
        assert producer.produce(TOPIC, [b"a", b"b"], partition=1, version=12).error_code == 0
        assert producer.end(True, version=5).error_code == 0
        assert producer.produce(TOPIC, [b"c"], version=12).error_code == 0
        TransactionalProducer(connection, NAME)
        connection.close()
        server_in.kill()
    return server_in.data, producer


def test_a_life_is_told_in_order(left: tuple[Path, TransactionalProducer]) -> None:
    data, producer = left
    told = life(data)
    assert (told["transactional_id"], told["omitted"]) == (NAME, 0)
    assert [each["what"] for each in told["life"]] == ["initialized", "committed", "aborted", "initialized"]
    first, committed, aborted, again = told["life"]
    assert first["by"] == "oncelog-raw-tests at 127.0.0.1"
    (wrote,) = committed["wrote"]
    assert (wrote["partition"], wrote["records"]) == (f"{TOPIC}-1", 2)
    assert (wrote["first_offset"], wrote["last_offset"]) == (0, 1)
    assert committed["ended_by"] == "its producer"
    assert committed["began"] <= committed["time"]
    assert committed["took_ms"] >= 0
    assert aborted["ended_by"] == "a newer producer"
    fenced = {"producer_id": producer.producer_id, "producer_epoch": producer.epoch}
    assert aborted["fenced"] == fenced
    entries = [each["journal_entry"] for each in told["life"]]
    assert entries == sorted(entries)
    assert again["producer_epoch"] == producer.epoch + 2


def test_since_when_a_producer_is_refused(left: tuple[Path, TransactionalProducer]) -> None:
    data, producer = left
    asked = ("--producer-id", str(producer.producer_id), "--epoch", str(producer.epoch))
    told = life(data, *asked)
    assert told["refused_since"] == told["life"][2]
    *_, sentence = explain(data, *asked).stdout.splitlines()
    assert sentence.startswith(
        f"producer {producer.producer_id} epoch {producer.epoch} must be refused since"
    )
    assert "aborted, by a newer producer (oncelog-raw-tests at 127.0.0.1)" in sentence
    *_, none = explain(data, *asked[:-1], str(producer.epoch + 2)).stdout.splitlines()
    assert none.startswith("nothing in the journal makes a request of")


def test_a_table_is_for_people(left: tuple[Path, TransactionalProducer]) -> None:
    data, producer = left
    head, first, committed, *_ = explain(data).stdout.splitlines()
    assert head.split() == ["TIME", "ENTRY", "WHAT", "PRODUCER", "FENCED", "TOLD"]
    assert f"{producer.producer_id}:0" in first
    assert f"{TOPIC}-1: 2 records from 0 to 1" in committed
    omitting, _, newest, since = explain(data, "--last", "1").stdout.splitlines()
    assert omitting == "3 earlier happenings are left out; --last shows more"
    assert "initialized" in newest
    fenced = f"producer {producer.producer_id} epoch {producer.epoch}"
    assert since.startswith(f"{fenced} must be refused since"), (
        "who is not asked for is the last that was fenced"
    )
    assert "aborted, by a newer producer (oncelog-raw-tests at 127.0.0.1)" in since


def test_the_directory_stays_as_it_was(left: tuple[Path, TransactionalProducer]) -> None:
    data, _ = left
    before = contents(data)
    assert before
    assert explain(data).returncode == 0
    assert contents(data) == before


def contents(data: Path) -> dict[str, str]:
    """Every file but the lock."""
    return {
        str(path): sha256(path.read_bytes()).hexdigest()
        for path in sorted(data.rglob("*"))
        if path.is_file() and path.name != "LOCK"
    }


def test_what_lies_before_the_damage_is_told(left: tuple[Path, TransactionalProducer]) -> None:
    data, _ = left
    commit = life(data)["life"][1]
    journal = data / "journal" / "0000000001.journal"
    damaged = bytearray(journal.read_bytes())
    found = [match.start() for match in re.finditer(NAME.encode(), damaged)]
    # The id stands in what initialized it, in what added the partition, and then in the commit.
    damaged[found[2]] ^= 1
    journal.write_bytes(damaged)
    done = explain(data, "--format", "json")
    assert done.returncode == 1
    assert f"was read up to entry {commit['journal_entry'] - 1}" in done.stderr
    assert [each["what"] for each in json.loads(done.stdout)["life"]] == ["initialized"]


def test_a_running_broker_is_named_and_not_disturbed(server_in: ServerProcess) -> None:
    with server_in:
        done = explain(server_in.data)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"is in use by process {server_in.process_id}" in done.stderr
        RawConnection(server_in.bootstrap).close()


def test_an_id_that_the_journal_does_not_know_is_told(left: tuple[Path, TransactionalProducer]) -> None:
    done = explain(left[0], name="nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert "tells nothing of 'nobody'" in done.stderr


def test_what_is_no_data_directory_is_told(tmp_path: Path) -> None:
    done = explain(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "is no data directory" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--epoch", "3"), "--producer-id and --epoch go together"),
        (("--last", "0"), "at least 1"),
        (("--last", "many"), "invalid"),
        (("--admin", "127.0.0.1:1"), "not allowed with argument"),
    ],
)
def test_what_can_not_be_asked_is_refused(tmp_path: Path, arguments: tuple[str, ...], sentence: str) -> None:
    done = explain(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
