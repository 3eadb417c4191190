"""The life of a transactional id, gathered from events that the machine itself has decided."""

from __future__ import annotations

from typing import Any

import pytest

from oncelog.cli.life import Happening, Life, Moment
from oncelog.machine.commands import AbortOnPartitions, ExpireTransactionalId
from oncelog.machine.limits import Limits
from oncelog.wire.errors import ErrorCode
from tests.machine.driver import SECOND_GENERATION, TOPIC_ID, Machine, Producer

EPOCH_MAX = 5


@pytest.fixture
def machine() -> Machine:
    """Epochs end at 5."""
    return Machine(Limits(producer_epoch_max=EPOCH_MAX))


def life_in(machine: Machine, name: str = "t", kept: int = 100, asked_for: Producer | None = None) -> Life:
    """As if each event had an entry of its own, a second after the one before."""
    life = Life(name, kept, asked_for)
    at = Moment(0, 0, 0)
    for number, event in enumerate(machine.events, start=1):
        at = Moment(number, 1_700_000_000_000 + number * 1000, number * 1000)
        life.take(event, at)
    life.finish(at)
    return life


def told(life: Life) -> list[tuple[str, Producer, Producer | None]]:
    return [(each.what, each.holds, each.fenced) for each in life.happenings]


def last(life: Life) -> Happening:
    return life.happenings[-1]


def produce(machine: Machine, producer: Producer, *partitions: int, count: int = 1, name: str = "t") -> None:
    for partition in partitions:
        assert machine.produce(
            partition, producer=producer, sequence=0, count=count, in_transaction=name,
            version=SECOND_GENERATION,
        ).appended  # fmt: skip


def test_who_initialized_and_what_was_committed_where(machine: Machine) -> None:
    producer = machine.producer(timeout_ms=54_321)
    produce(machine, producer, 1, 0, count=3)
    assert machine.send_offsets(producer, {0: 7, 1: 8}, version=5) == (ErrorCode.NONE,) * 2
    reply = machine.commit(producer, v2=True)
    following = (reply.producer_id, reply.producer_epoch)
    life = life_in(machine)
    assert told(life) == [("initialized", producer, None), ("committed", following, None)]
    first, ended = life.happenings
    assert first.facts == {"by": "client at 127.0.0.1", "timeout_ms": 54_321}
    facts: dict[str, Any] = ended.facts
    assert (facts["ended_by"], facts["by"]) == ("its producer", "client at 127.0.0.1")
    assert [(each["partition"][-2:], each["records"], each["batches"]) for each in facts["wrote"]] == [
        ("-0", 3, 1),
        ("-1", 3, 1),
    ]
    assert [(each["first_offset"], each["last_offset"]) for each in facts["wrote"]] == [(0, 2), (0, 2)]
    assert facts["groups"] == [{"group": "g", "offsets": 2}]
    began = next(at for at, event in enumerate(machine.events, 1) if type(event).__name__.endswith("Added"))
    assert facts["took_ms"] == (len(machine.events) - began) * 1000
    assert facts["began_wall_ms"] == 1_700_000_000_000 + began * 1000


def test_what_one_transaction_wrote_is_not_told_of_the_next(machine: Machine) -> None:
    producer = machine.producer()
    produce(machine, producer, 0, count=2)
    reply = machine.commit(producer, v2=True)
    following = (reply.producer_id, reply.producer_epoch)
    produce(machine, following, 1)
    machine.abort(following, v2=True)
    wrote = last(life_in(machine)).facts["wrote"]
    assert [(each["partition"][-2:], each["records"]) for each in wrote] == [("-1", 1)]


def test_a_newer_producer_fences_the_one_that_was_there(machine: Machine) -> None:
    producer = machine.producer()
    produce(machine, producer, 0)
    successor = machine.producer()
    life = life_in(machine, asked_for=producer)
    left = (producer[0], producer[1] + 1)
    assert told(life) == [
        ("initialized", producer, None),
        ("aborted", left, producer),
        ("initialized", successor, None),
    ], "the epoch between was given to nobody"
    assert life.happenings[1].facts["ended_by"] == "a newer producer"
    assert life.refused_since == life.happenings[1]


def test_a_newer_producer_fences_also_where_nothing_is_open(machine: Machine) -> None:
    producer = machine.producer()
    successor = machine.producer()
    assert told(life_in(machine))[-1] == ("initialized", successor, producer)


def test_who_asks_for_its_own_next_epoch_fences_nobody(machine: Machine) -> None:
    producer = machine.producer()
    following = machine.producer(expects=producer)
    assert told(life_in(machine))[-1] == ("initialized", following, None)


def test_a_timeout_fences(machine: Machine) -> None:
    producer = machine.producer()
    produce(machine, producer, 0)
    machine.time_out()
    ended = last(life_in(machine))
    assert (ended.what, ended.fenced) == ("aborted", producer)
    assert (ended.facts["ended_by"], ended.facts["by"]) == ("its timeout", None)


def test_an_administrator_fences_and_is_named(machine: Machine) -> None:
    producer = machine.producer()
    produce(machine, producer, 0)
    machine.do(AbortOnPartitions(*producer, ((TOPIC_ID, 0),), False, "boss", "/10.0.0.9"))
    ended = last(life_in(machine))
    assert (ended.what, ended.fenced) == ("aborted", producer)
    assert (ended.facts["ended_by"], ended.facts["by"]) == ("an administrator", "boss at 10.0.0.9")


def test_a_producer_id_whose_epochs_are_used_up_is_refused_since_it_was_replaced(machine: Machine) -> None:
    for _ in range(EPOCH_MAX):
        machine.producer()
    producer = machine.producer()
    assert producer[1] == EPOCH_MAX
    assert life_in(machine, asked_for=producer).refused_since is None
    successor = machine.producer()
    assert successor[0] != producer[0]
    life = life_in(machine, asked_for=producer)
    assert life.refused_since == last(life)
    assert last(life).fenced == producer


def test_an_id_that_was_forgotten_has_no_producer(machine: Machine) -> None:
    producer = machine.producer()
    machine.pass_time(1000)
    assert machine.do(ExpireTransactionalId("t", *producer, 1000)).error == ErrorCode.NONE
    life = life_in(machine, asked_for=producer)
    assert told(life)[-1] == ("forgotten", (-1, -1), None)
    assert life.refused_since == last(life)
    again = machine.producer()
    assert told(life_in(machine))[-1] == ("initialized", again, None)


def test_since_when_is_known_also_of_what_was_left_out(machine: Machine) -> None:
    producer = machine.producer()
    for _ in range(3):
        machine.producer()
    life = life_in(machine, kept=1, asked_for=producer)
    assert (len(life.happenings), life.omitted) == (1, 3)
    assert life.refused_since is not None
    assert life.refused_since.holds == (producer[0], producer[1] + 1)


@pytest.mark.parametrize("off", [(0, 1), (7, 0)])
def test_nothing_refuses_who_is_ahead_or_a_stranger(machine: Machine, off: Producer) -> None:
    producer = machine.producer()
    asked_for = (producer[0] + off[0], producer[1] + off[1])
    assert life_in(machine, asked_for=asked_for).refused_since is None


def test_an_open_transaction_is_told_last(machine: Machine) -> None:
    producer = machine.producer()
    produce(machine, producer, 0)
    life = life_in(machine)
    assert told(life)[-1] == ("is open", producer, None)
    assert last(life).facts["wrote"][0]["records"] == 1


def test_others_are_not_told_of(machine: Machine) -> None:
    producer = machine.producer()
    other = machine.producer("other")
    produce(machine, other, 0, name="other")
    machine.commit(other, v2=True, name="other")
    assert told(life_in(machine)) == [("initialized", producer, None)]
    assert told(life_in(machine, "nobody")) == []


def test_partitions_that_got_nothing_are_told(machine: Machine) -> None:
    producer = machine.producer()
    machine.add(producer, 0)
    machine.commit(producer)
    (wrote,) = last(life_in(machine)).facts["wrote"]
    assert (wrote["records"], wrote["first_offset"]) == (0, None)
