"""The life of a transactional id as the admin address of a broker tells it, with what was refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from oncelog.broker.admin import STATE_DEADLINE_S
from oncelog.broker.refusal_history import REFUSALS_BYTES_MAX, REFUSALS_MAX, Refusals
from oncelog.wire.messages.add_partitions_to_txn import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnTopic,
    AddPartitionsToTxnTransaction,
)
from oncelog.wire.messages.end_txn import EndTxnRequest
from oncelog.wire.messages.init_producer_id import InitProducerIdRequest
from tests.broker.asking import create_topic
from tests.operations.scraping import Watched, watched
from tests.support.batches import batch
from tests.support.one_process import one_process
from tests.support.speaking import (
    TransactionalProducer,
    idempotent_producer,
    init_producer_id,
    produce,
    produce_request,
)

NAME, TOPIC = "payments", "ledger"
FENCED, OLD_EPOCH, UNKNOWN, INVALID_STATE, GAP = 90, 47, 49, 48, 45


@pytest.fixture
def broker() -> Iterator[Watched]:
    with watched() as made:
        add_topic(made)
        yield made


def add_topic(broker: Watched) -> None:
    (created,) = broker.process.connect().call(create_topic(TOPIC, partitions=3), 7).topics
    assert created.error_code == 0


def connect(broker: Watched) -> Any:
    return broker.process.connect()


def life(broker: Watched, name: str = NAME, query: str = "") -> Any:
    answer = broker.get(f"/transactions/{quote(name, safe='')}{query}")
    assert (answer.status, answer.content_type) == (200, "application/json"), answer
    return json.loads(answer.text)


def whats(told: Any) -> list[str]:
    return [each["what"] for each in told["life"]]


# --- why was I fenced? ---


def test_a_zombie_is_told_who_fenced_it_and_since_when(broker: Watched) -> None:
    zombie = TransactionalProducer(connect(broker), NAME)
    assert zombie.produce(TOPIC, version=12).error_code == 0
    broker.process.advance(2)
    successor = TransactionalProducer(connect(broker), NAME)
    broker.process.advance(1)
    assert zombie.produce(TOPIC, version=12).error_code == OLD_EPOCH
    assert zombie.end(True, version=5).error_code == FENCED
    assert successor.produce(TOPIC, version=12).error_code == 0
    assert successor.end(True, version=5).error_code == 0
    told = life(broker)
    assert whats(told) == ["initialized", "aborted", "initialized", "refused", "refused", "committed"]
    first, aborted, _, produced, ended, committed = told["life"]
    was = {"producer_id": zombie.producer_id, "producer_epoch": zombie.epoch}
    now = {"producer_id": successor.producer_id, "producer_epoch": zombie.epoch + 2}
    assert first["by"] == "oncelog-raw-tests at 127.0.0.1"
    assert (aborted["ended_by"], aborted["fenced"]) == ("a newer producer", was)
    assert aborted["wrote"] == [{"partition": f"{TOPIC}-0", "first_offset": 0, "marker_offset": 1}]
    assert aborted["took_ms"] == 2000
    assert (produced["api"], produced["error"]) == ("Produce", "INVALID_PRODUCER_EPOCH")
    assert (ended["api"], ended["error"]) == ("EndTxn", "PRODUCER_FENCED")
    for refused in (produced, ended):
        assert {name: refused[name] for name in was} == was
        assert refused["known"] == now
        assert refused["by"] == "oncelog-raw-tests at 127.0.0.1"
        assert refused["wall_ms"] - aborted["wall_ms"] >= 1000
    assert committed["took_ms"] >= 0
    assert told["refused"] == [{**was, "is_over": True, "since": aborted}]
    assert (told["is_complete"], told["state"]) == (True, "CompleteCommit")


def test_without_a_refusal_the_last_who_was_fenced_is_told_of(broker: Watched) -> None:
    first = TransactionalProducer(connect(broker), NAME)
    assert life(broker)["refused"] == []
    TransactionalProducer(connect(broker), NAME)
    third = TransactionalProducer(connect(broker), NAME)
    told = life(broker)
    (refused,) = told["refused"]
    assert (refused["producer_epoch"], refused["since"]) == (first.epoch + 1, told["life"][2])
    asked = f"?producer_id={first.producer_id}&epoch="
    (refused,) = life(broker, query=f"{asked}{first.epoch}")["refused"]
    assert refused["since"] == told["life"][1]
    (refused,) = life(broker, query=f"{asked}{third.epoch}")["refused"]
    assert (refused["is_over"], refused["since"]) == (False, None)


def test_an_event_that_is_no_longer_kept_is_not_guessed(broker: Watched) -> None:
    first = TransactionalProducer(connect(broker), NAME)
    assert life(broker)["is_complete"]
    for _ in range(19):
        TransactionalProducer(connect(broker), NAME)
    assert not life(broker)["is_complete"], "whether there was more before twenty is not known"
    for _ in range(2):
        TransactionalProducer(connect(broker), NAME)
    told = life(broker, query=f"?producer_id={first.producer_id}&epoch=0")
    assert (told["is_complete"], len(told["life"])) == (False, 20)
    assert (told["refused"][0]["is_over"], told["refused"][0]["since"]) == (True, None)


@pytest.mark.parametrize("version", [4, 5])
def test_who_was_fenced_is_told_so_long_after(broker: Watched, version: int) -> None:
    zombie = TransactionalProducer(connect(broker), NAME)
    successor = TransactionalProducer(connect(broker), NAME)
    (fencing,) = [each for each in life(broker)["life"] if "fenced" in each]
    middle = successor.epoch + 5
    for _ in range(30):
        assert successor.produce(TOPIC, version=12).error_code == 0
        assert successor.end(True, version=version).error_code == 0
    assert zombie.end(True, version=5).error_code == FENCED
    told = life(broker)
    assert (told["is_complete"], len(told["life"])) == (False, 20 + 1)
    since = told["refused"][0]["since"]
    assert since == {**fencing, "gap_follows": True} == told["life"][0]
    assert ["gap_follows" in each for each in told["life"][1:]] == [False] * 20
    (asked,) = life(broker, query=f"?producer_id={zombie.producer_id}&epoch={middle}")["refused"]
    assert (asked["is_over"], asked["since"]) == (version == 5, None), "what ended it lies in the gap"


def test_refusals_stand_between_the_events_of_one_entry(broker: Watched) -> None:
    producer = TransactionalProducer(connect(broker), NAME)
    client = producer.connection
    ends = [_end(producer, epoch) for epoch in (5, 6)]
    broker.process.journal.hold()
    # The first opens an entry and is with the writer; what follows shares the next one.
    client.send(_init(), 4)
    broker.process.settle()
    for request, version in ((_init(), 4), (ends[0], 5), (_init(), 4), (ends[1], 5)):
        client.send(request, version)
    broker.process.settle()
    broker.process.let_go()
    told = life(broker)
    entries = [each["journal_entry"] for each in told["life"]]
    assert entries == sorted(entries)
    assert len(set(entries[2:])) == 1
    assert whats(told) == [*["initialized"] * 3, "refused", "initialized", "refused"]
    assert [each["producer_epoch"] for each in told["life"] if each["what"] == "refused"] == [5, 6]


def _init() -> InitProducerIdRequest:
    return InitProducerIdRequest(
        transactional_id=NAME, transaction_timeout_ms=1000, producer_id=-1, producer_epoch=-1
    )


def _end(producer: TransactionalProducer, epoch: int) -> EndTxnRequest:
    return EndTxnRequest(
        transactional_id=NAME, producer_id=producer.producer_id, producer_epoch=epoch, committed=True
    )


def test_every_api_of_a_producer_tells_its_refusals(broker: Watched) -> None:
    zombie = TransactionalProducer(connect(broker), NAME)
    TransactionalProducer(connect(broker), NAME)
    assert zombie.add(TOPIC) == FENCED
    assert zombie.add_offsets("readers") == FENCED
    assert zombie.commit_offset("readers", TOPIC, 1) == OLD_EPOCH
    assert zombie.end(True, version=4).error_code == FENCED
    answer = init_producer_id(zombie.connection, NAME, producer_id=zombie.producer_id, epoch=9)
    assert answer.error_code == FENCED
    told = [each for each in life(broker)["life"] if each["what"] == "refused"]
    assert [(each["api"], each["error"], each["producer_epoch"]) for each in told] == [
        ("AddPartitionsToTxn", "PRODUCER_FENCED", 0),
        ("AddOffsetsToTxn", "PRODUCER_FENCED", 0),
        ("TxnOffsetCommit", "INVALID_PRODUCER_EPOCH", 0),
        ("EndTxn", "PRODUCER_FENCED", 0),
        ("InitProducerId", "PRODUCER_FENCED", 9),
    ]


def test_a_verification_that_fails_is_a_refusal(broker: Watched) -> None:
    producer = TransactionalProducer(connect(broker), NAME)
    topics = [AddPartitionsToTxnTopic(name=TOPIC, partitions=[0])]
    asked = AddPartitionsToTxnTransaction(
        transactional_id=NAME, producer_id=producer.producer_id, producer_epoch=producer.epoch,
        verify_only=True, topics=topics,
    )  # fmt: skip
    producer.connection.call(AddPartitionsToTxnRequest(transactions=[asked]), 5)
    assert life(broker)["life"][-1]["error"] == "TRANSACTION_ABORTABLE"


def test_an_id_that_nobody_has_initialized_has_refusals_alone(broker: Watched) -> None:
    producer = TransactionalProducer(connect(broker), NAME)
    producer.transactional_id = "somebody else"
    assert producer.end(True, version=4).error_code == UNKNOWN
    told = life(broker, "somebody else")
    assert (whats(told), told["state"], told["is_complete"]) == (["refused"], "Dead", False)
    assert told["life"][0]["known"] == {"producer_id": -1, "producer_epoch": -1}
    assert told["refused"][0]["since"] is None


def test_the_same_request_again_is_counted(broker: Watched) -> None:
    producer = TransactionalProducer(connect(broker), NAME)
    for _ in range(3):
        assert producer.end(True, version=4).error_code == INVALID_STATE
        broker.process.advance(1)
    refused = life(broker)["life"][-1]
    assert (refused["times"], refused["last_wall_ms"] - refused["wall_ms"]) == (3, 2000)
    assert life(broker)["refused"] == [], "this is no fencing"


def test_an_open_transaction_is_told_last(broker: Watched) -> None:
    producer = TransactionalProducer(connect(broker), NAME)
    assert producer.produce(TOPIC, version=12).error_code == 0
    broker.process.advance(3)
    is_open = life(broker)["life"][-1]
    assert (is_open["what"], is_open["took_ms"]) == ("is open", 3000)
    assert is_open["wrote"] == [{"partition": f"{TOPIC}-0", "first_offset": 0}]


# --- producers without a transactional id ---


def test_a_producer_without_a_transactional_id_is_asked_for_by_its_own(broker: Watched) -> None:
    client = connect(broker)
    producer_id = idempotent_producer(client)
    for sequence, error in ((0, 0), (7, GAP)):
        records = batch([b"a"], producer_id=producer_id, epoch=0, sequence=sequence)
        assert produce(client, TOPIC, records).error_code == error
    told = json.loads(broker.get(f"/producers/{producer_id}").text)
    (refused,) = told["refusals"]
    assert (refused["api"], refused["error"]) == ("Produce", "OUT_OF_ORDER_SEQUENCE_NUMBER")
    assert refused["known"] == {"producer_id": producer_id, "producer_epoch": 0}
    assert told["transactional_id"] is None
    owned = TransactionalProducer(client, NAME)
    assert json.loads(broker.get(f"/producers/{owned.producer_id}").text)["transactional_id"] == NAME


def test_a_batch_that_leaves_out_its_transactional_id_is_its_owners(broker: Watched) -> None:
    zombie = TransactionalProducer(connect(broker), NAME)
    TransactionalProducer(connect(broker), NAME)
    records = batch([b"a"], producer_id=zombie.producer_id, epoch=zombie.epoch, sequence=0)
    request = produce_request([(TOPIC, 0, records)], acks=0)
    zombie.connection.send(request, 11, expect_answer=False)  # type: ignore[call-arg]
    broker.process.settle()
    assert life(broker)["life"][-1]["what"] == "refused"


# --- law 1 ---


def test_nothing_is_told_that_a_crash_could_take_back() -> None:
    with one_process() as process:
        broker = Watched(process, 100)
        broker.attach()
        client = process.connect()
        TransactionalProducer(client, NAME)
        process.journal.hold()
        client.send(_init(), 4)
        broker.ask(f"/transactions/{NAME}")
        process.settle()
        assert broker.answers == []
        process.advance(STATE_DEADLINE_S + 0.1)
        (answer,) = broker.answers
        assert (answer.status, answer.text) == (503, "what is known was not durable within a second\n")
        broker.ask(f"/transactions/{NAME}")
        process.let_go()
        process.settle()
        assert whats(json.loads(broker.answers[-1].text)) == ["initialized", "initialized"]


def test_a_restarted_broker_knows_the_events_and_not_the_refusals() -> None:
    with watched() as broker:
        add_topic(broker)
        zombie = TransactionalProducer(connect(broker), NAME)
        TransactionalProducer(connect(broker), NAME)
        assert zombie.end(True, version=4).error_code == FENCED
        before = life(broker)
        again = Watched(broker.process.restarted(), 100)
        again.attach()
        after = life(again)
    assert whats(before) == ["initialized", "initialized", "refused"]
    assert after == {**before, "life": before["life"][:2]}


# --- what can be asked ---


def test_a_broker_that_replays_says_so() -> None:
    with one_process() as process:
        broker = Watched(process, 100)
        broker.admin.progress = "replaying"
        for path in (f"/transactions/{NAME}", "/producers/1"):
            assert broker.get(path)[:2] == (503, "replaying\n")


def test_who_is_unknown_is_told_so(broker: Watched) -> None:
    assert broker.get("/transactions/nobody").status == 404
    assert broker.get("/transactions").status == 404
    assert json.loads(broker.get("/producers/77").text) == {
        "producer_id": 77, "transactional_id": None, "refusals": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    "target",
    [
        "/transactions/", "/transactions/%ff", "/transactions/%ed%a0%80", "/transactions/\xff", "/producers/",
        "/producers/-1", "/producers/1e3", "/producers/\u0661", "/producers/" + "9" * 30,
        "/transactions/a?producer_id=1", "/transactions/a?epoch=1", "/transactions/a?producer_id=x&epoch=1",
        "/transactions/a?producer_id=1&epoch=1&epoch=2", "/transactions/a?producer_id=1&epoch=-1",
        "/transactions/a?producer_id=" + "1" * 5000 + "&epoch=1", "/transactions/a?b", "/transactions/a?&&&&",
    ],
)  # fmt: skip
def test_what_can_not_be_asked_is_refused(broker: Watched, target: str) -> None:
    answer = broker.get(target)
    assert answer.status == 400, answer
    assert len(answer.text) < 200


@pytest.mark.parametrize(
    "name",
    [
        "a/b?c=d#e%2f&f+g h", "new\nline\r\nX-Evil: 1\r\n\r\n", "\x00\x07\x1b[31m", "ünï-💥-\u202e",
        "n" * 32_767, "💥" * 8_191, "..", "%", ".",
    ],
)  # fmt: skip
def test_any_name_can_be_asked_for(broker: Watched, name: str) -> None:
    zombie = TransactionalProducer(connect(broker), name)
    TransactionalProducer(connect(broker), name)
    assert zombie.end(True, version=4).error_code == FENCED
    told = life(broker, name)
    assert told["transactional_id"] == name
    assert whats(told) == ["initialized", "initialized", "refused"]
    text = broker.get(f"/transactions/{quote(name, safe='')}").text
    assert text.isascii()
    assert text.count("\n") == 1


# --- how much is kept ---


class Said:
    """As much of a refusal as its keeper looks at."""

    def __init__(self, number: int) -> None:
        self.number = self.wall_ms = self.last_wall_ms = number
        self.times = 1

    def is_like(self, other: Any) -> bool:
        return bool(self.number == other.number)


def test_the_last_twenty_refusals_are_kept() -> None:
    refusals: Any = Refusals()
    for number in range(REFUSALS_MAX + 5):
        refusals.add("a", Said(number))
    assert [each.number for each in refusals.of("a")] == list(range(5, REFUSALS_MAX + 5))


def test_all_refusals_together_are_bounded_and_the_oldest_go_first() -> None:
    refusals: Any = Refusals()
    for number in range(100_000):
        refusals.add(f"id-{number}", Said(number))
        if number % 10_000 == 0:
            refusals.add("busy", Said(number))
            refusals.add(number, Said(number))
        if number % 1000 == 0:
            refusals.add("busy", Said(number))
            assert refusals.size_bytes <= REFUSALS_BYTES_MAX
    assert len(refusals.of("busy")) == REFUSALS_MAX, "it was never forgotten"
    assert refusals.of("id-99999")
    assert not refusals.of("id-9")
    for _ in range(200):
        refusals.add("💥" * 32_767 + str(_), Said(1))
        assert refusals.size_bytes <= REFUSALS_BYTES_MAX
    assert 0 < len(refusals) < 200
