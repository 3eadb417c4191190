"""franz-go against a real broker: transactions of the second generation, under kills and faults too.

Its program is built when the first of these tests runs; where Go is not installed they say that they were
left out. tests/clients has the scenarios of clients that speak the first generation.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import oncelog
from oncelog.testing.faults import Faults
from tests.franz_go.program import Franz, GoMissing, Line, built, franz
from tests.operations.scraping import parsed
from tests.support.batches import batch
from tests.support.raw import RawConnection
from tests.support.server import ServerProcess
from tests.support.speaking import committed_offset, last_stable_offset, log_end_offset, produce_many
from tests.support.topics import create_topic
from tests.support.waiting import wait_for

TOPIC, COPIES, GROUP = "topic", "copies", "group"
PARTITIONS = 3


@pytest.fixture(scope="module", autouse=True)
def program() -> Path:
    try:
        return built()
    except GoMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(
        tmp_path / "data",
        options=("--admin", "127.0.0.1:0"),
        environment={
            "ONCELOG_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
            "ONCELOG_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
        },
    )
    with server:
        for topic in (TOPIC, COPIES):
            create_topic(server.bootstrap, topic, PARTITIONS, {})
        yield server


@pytest.fixture
def embedded() -> Iterator[oncelog.Broker]:
    with oncelog.Broker(topics={TOPIC: PARTITIONS}) as broker:
        yield broker


def values_of(lines: list[Line], *outcomes: str) -> list[str]:
    return [value for line in lines if line["outcome"] in outcomes for value in line["values"]]


def read(bootstrap: str, topic: str = TOPIC) -> list[str]:
    return [line["value"] for line in franz(bootstrap, "consume", topic=topic)]


def assert_each_transaction_once(told: list[Line], stored: list[str]) -> None:
    """Committed ones are there once, aborted ones are not, and those nobody knows of wholly or not at all."""
    seen = Counter(stored)
    assert max(seen.values(), default=1) == 1, "a record is there twice"
    assert set(values_of(told, "committed")) <= set(seen)
    assert set(seen) <= set(values_of(told, "committed", "unknown"))
    for line in told:
        assert len({seen[value] for value in line["values"]}) == 1, f"half of a transaction: {line}"


def assert_nothing_is_open(bootstrap: str, topic: str = TOPIC) -> None:
    connection = RawConnection(bootstrap)
    for partition in range(PARTITIONS):
        ends = last_stable_offset(connection, topic, partition), log_end_offset(connection, topic, partition)
        assert ends[0] == ends[1], f"partition {partition} is held back"
    connection.close()


def requests_by_api(server: ServerProcess) -> dict[str, float]:
    """What the broker's own count says."""
    ports = re.findall(r" admin=127\.0\.0\.1:(\d+)$", server.output(), re.M)
    with urllib.request.urlopen(f"http://127.0.0.1:{ports[-1]}/metrics") as answer:
        rows = parsed(answer.read().decode())["oncelog_requests_total"].rows
    return {labels[0]: value for labels, value in rows.items()}


def described(server: ServerProcess, transactional_id: str) -> dict[str, object]:
    """What `oncelog txn describe` tells of it."""
    command = [str(Path(sys.executable).with_name("oncelog")), "txn", "describe", "--format", "json"]
    done = subprocess.run(
        [*command, "--bootstrap", server.bootstrap, transactional_id],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    one: dict[str, object] = found[0] if isinstance(found, list) else found
    return one


# --- transactions ---


def test_every_end_moves_the_epoch_on_and_no_partition_is_added_by_hand(server: ServerProcess) -> None:
    """Which is what tells EndTxn v5 and Produce v12 from the first generation's."""
    told = franz(
        server.bootstrap, "transactions", id="id", topic=TOPIC, partitions=PARTITIONS, count=12, abort_every=3
    )
    assert [line["outcome"] for line in told] == ["committed", "committed", "aborted"] * 4
    assert [line["epoch"] for line in told] == list(range(1, 13))
    assert len({line["producer_id"] for line in told}) == 1
    assert described(server, "id")["producer_epoch"] == 12
    asked = requests_by_api(server)
    assert asked["EndTxn"] == 12
    assert asked.get("AddPartitionsToTxn", 0) == 0
    assert sorted(read(server.bootstrap)) == sorted(values_of(told, "committed"))
    assert_nothing_is_open(server.bootstrap)


def test_told_to_be_old_it_speaks_the_first_generation(server: ServerProcess) -> None:
    """The same program adds its partitions by hand then, and keeps its epoch."""
    flags = {"id": "id", "topic": TOPIC, "partitions": PARTITIONS, "count": 6, "abort_every": 3}
    told = franz(server.bootstrap, "transactions", first_generation=True, **flags)
    assert {line["epoch"] for line in told} == {0}
    assert requests_by_api(server)["AddPartitionsToTxn"] >= 6
    assert sorted(read(server.bootstrap)) == sorted(values_of(told, "committed"))


def test_a_zombie_gets_nothing_through(server: ServerProcess) -> None:
    (told,) = franz(server.bootstrap, "zombie", id="id", topic=TOPIC)
    assert "INVALID_PRODUCER_EPOCH" in told["produce"]
    assert "PRODUCER_FENCED" in told["abort"]
    assert told["commit"] is not None
    assert told["begin"] is not None
    assert read(server.bootstrap) == ["successor"]
    assert_nothing_is_open(server.bootstrap)


def test_a_broker_that_is_killed_in_the_middle_of_transactions(server: ServerProcess) -> None:
    with Franz(
        server.bootstrap, "transactions", id="id", topic=TOPIC, partitions=PARTITIONS, abort_every=5
    ) as running:
        for _ in range(3):
            more(running, 15)
            server.restart()
        more(running, 15)
        told = running.stop()
    assert_each_transaction_once(told, read(server.bootstrap))
    assert_nothing_is_open(server.bootstrap)


def test_a_client_that_is_killed_leaves_nothing_half(server: ServerProcess) -> None:
    """Its successor of the same id ends what it left open, and goes on."""
    epochs = []
    for turn in range(3):
        with Franz(
            server.bootstrap, "transactions", id="id", client_id=f"turn-{turn}", topic=TOPIC, records=40
        ) as running:
            more(running, 5)
            running.kill()
        epochs.append(described(server, "id")["producer_epoch"])
    (last,) = franz(server.bootstrap, "transactions", id="id", topic=TOPIC, records=1, count=1)
    assert last["outcome"] == "committed"
    assert_nothing_is_open(server.bootstrap)
    assert epochs == sorted(epochs)
    stored = read(server.bootstrap)
    assert stored[-1:] == last["values"]
    counted = Counter(value.rsplit(" ", 1)[0] for value in stored[:-1])
    assert len(counted) >= 15
    assert set(counted.values()) == {40}, "half of a transaction, or one twice"


def more(running: Franz, count: int) -> None:
    """Wait until it has committed so many more."""

    def committed() -> int:
        assert running.is_running
        return sum(line["outcome"] == "committed" for line in list(running.lines))

    wanted = committed() + count
    wait_for(lambda: committed() >= wanted, f"{count} more transactions", timeout_s=60)


FAULTS: dict[str, Callable[[Faults], object]] = {
    "the answer to a commit is lost": lambda faults: faults.drop_answer("EndTxn", nth=3),
    "a commit is lost": lambda faults: faults.drop_request("EndTxn", nth=3),
    "a commit comes again late": lambda faults: faults.process_late("EndTxn", nth=3, ms=300),
    "the answer to records is lost": lambda faults: faults.drop_answer("Produce", nth=3),
    "records are lost": lambda faults: faults.drop_request("Produce", nth=3),
    "records come again late": lambda faults: faults.process_late("Produce", nth=3, ms=300),
    "the broker dies in a commit, durable": lambda faults: faults.crash_on("EndTxn", nth=3, synced=True),
    "the broker dies in a commit, lost": lambda faults: faults.crash_on("EndTxn", nth=3, synced=False),
    "the broker dies after records": lambda faults: faults.crash_on("Produce", nth=3, synced=True),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_transaction_once_whatever_is_lost(embedded: oncelog.Broker, fault: str) -> None:
    faults = Faults(embedded)
    FAULTS[fault](faults)
    told = franz(embedded.bootstrap, "transactions", id="id", topic=TOPIC, partitions=PARTITIONS, count=12)
    assert faults.unused() == []
    assert [line["outcome"] for line in told] == ["committed"] * 12, "it asks again, and is answered"
    assert_each_transaction_once(told, read(embedded.bootstrap))
    assert_nothing_is_open(embedded.bootstrap)


# --- consume, transform, produce ---


def test_a_pipeline_of_two_members_writes_each_record_once(server: ServerProcess) -> None:
    """One of them is killed in the middle, and so is the broker."""
    wanted = [b"%d" % number for number in range(600)]
    feed(server.bootstrap, wanted[:200])
    flags = {"group": GROUP, "topic": COPIES}
    pipelines = [
        Franz(server.bootstrap, "pipeline", id=f"id-{number}", **{**flags, "from": TOPIC})
        for number in range(2)
    ]
    try:
        wait_for(lambda: copied(pipelines[0]) > 0, "records of the first member", timeout_s=60)
        server.restart()
        feed(server.bootstrap, wanted[200:400])
        wait_for(lambda: position(server) >= 300, "what was written on after the restart", timeout_s=60)
        pipelines[0].kill()
        feed(server.bootstrap, wanted[400:])
        wait_for(lambda: position(server) == 600, "the end of the pipeline", timeout_s=60)
        pipelines[1].stop()
    finally:
        for running in pipelines:
            if running.is_running:
                running.kill()
    found = Counter(value.split()[1].encode() for value in read(server.bootstrap, COPIES))
    assert found == Counter(wanted)
    assert requests_by_api(server).get("AddOffsetsToTxn", 0) == 0


def feed(bootstrap: str, values: list[bytes]) -> None:
    connection = RawConnection(bootstrap)
    for partition in range(PARTITIONS):
        records = batch(values[partition::PARTITIONS])
        assert produce_many(connection, [(TOPIC, partition, records)])[TOPIC, partition].error_code == 0
    connection.close()


def copied(running: Franz) -> int:
    return sum(line["records"] for line in list(running.lines) if line.get("committed"))


def position(server: ServerProcess) -> int:
    """How many records the group is through with."""
    connection = RawConnection(server.bootstrap)
    try:
        return sum(
            max(0, committed_offset(connection, GROUP, TOPIC, partition=partition).offset)
            for partition in range(PARTITIONS)
        )
    finally:
        connection.close()


# --- idempotent production and admin ---


def test_idempotent_records_are_stored_once_under_connection_cuts(embedded: oncelog.Broker) -> None:
    """Answers are lost, requests are lost, connections are cut, five requests in flight."""
    faults = Faults(embedded)
    for nth in (3, 11, 17, 30):
        faults.drop_answer("Produce", nth=nth)
    for nth in (7, 23):
        faults.drop_request("Produce", nth=nth)
    faults.process_late("Produce", nth=27, ms=200)
    with Franz(embedded.bootstrap, "idempotent", topic=TOPIC, partitions=PARTITIONS, count=2_000) as running:
        told = running.finish()
    assert faults.unused() == []
    assert [line["error"] for line in told] == [None] * 2_000
    stored = {
        (line["partition"], line["offset"]): line["value"]
        for line in franz(embedded.bootstrap, "consume", topic=TOPIC)
    }
    assert {(line["partition"], line["offset"]): line["value"] for line in told} == stored
    for partition in range(PARTITIONS):
        values = [int(value) for (where, _), value in sorted(stored.items()) if where == partition]
        assert values == sorted(values), "in the order of their sending"


def test_the_admin_client_sees_an_open_transaction_and_its_end(server: ServerProcess) -> None:
    is_open, is_over = franz(server.bootstrap, "describe", id="id", topic=TOPIC)
    (producer,) = is_open["producers"]
    assert is_open["ongoing"] == ["id"]
    assert (is_open["state"], is_open["covers"], is_open["error"]) == ("Ongoing", [f"{TOPIC}-0"], None)
    assert producer == {"id": is_open["producer_id"], "epoch": is_open["epoch"], "sequence": 0, "start": 0}
    (producer,) = is_over["producers"]
    assert is_over["ongoing"] in ([], None)
    assert (is_over["state"], is_over["covers"]) == ("CompleteCommit", [])
    assert is_over["epoch"] == is_open["epoch"] + 1
    assert producer == {"id": is_over["producer_id"], "epoch": is_over["epoch"], "sequence": -1, "start": -1}
