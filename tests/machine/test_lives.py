"""The lives of transactional ids in the state: what they tell, how much is kept, and that replay agrees."""

from __future__ import annotations

import random
import sys
import tracemalloc

import pytest

from oncelog.machine.commands import AbortOnPartitions, EndTxn, ExpireTransactionalId, InitProducerId
from oncelog.machine.events import (
    EndReason,
    TransactionalIdInitialized,
    TransactionEnded,
    TransactionMarker,
)
from oncelog.machine.fingerprint import state_differences
from oncelog.machine.life import (
    EVENTS_MAX,
    GROUPS_MAX,
    LIVES_BYTES_MAX,
    NAME_CHARACTERS_MAX,
    NOBODY,
    PLACES_MAX,
    Kind,
    LifeEvent,
    Lives,
    Place,
)
from oncelog.machine.moment import At
from oncelog.machine.state import TransactionalId
from oncelog.wire.errors import ErrorCode
from tests.machine.driver import SECOND_GENERATION, TOPIC_ID, Machine, Producer

HOST = "/127.0.0.1"


@pytest.fixture
def machine() -> Machine:
    return Machine()


def write(machine: Machine, producer: Producer, *partitions: int, name: str = "t") -> None:
    for partition in partitions:
        assert machine.produce(
            partition, producer=producer, sequence=0, in_transaction=name, version=SECOND_GENERATION
        ).appended


def life(machine: Machine, name: str = "t") -> list[LifeEvent]:
    machine.check()
    return machine.state.lives.of(name)


def told(machine: Machine, name: str = "t") -> list[tuple[Kind, Producer, Producer, bool]]:
    return [(each.kind, each.before, each.after, each.fences) for each in life(machine, name)]


def commit(machine: Machine, producer: Producer) -> Producer:
    reply = machine.commit(producer, v2=True)
    assert reply.error == ErrorCode.NONE
    return reply.producer_id, reply.producer_epoch


# --- what is told ---


def test_a_transaction_may_be_as_large_as_other_limits_let_it() -> None:
    lives, transaction = Lives(), TransactionalId("t")
    marker = TransactionMarker(topic_id=TOPIC_ID, partition=0, offset=1)
    event = TransactionEnded(
        transactional_id="t", producer_id=1, producer_epoch=0, committed=True, reason=EndReason.CLIENT,
        marker_epoch=0, next_producer_id=1, next_producer_epoch=1, markers=[marker] * 70_000, offsets=[],
        host="",
    )  # fmt: skip
    lives.ended(event, transaction, [0] * 70_000, At(position=1, age_ms=0, wall_ms=0))
    assert [each.place_count for each in lives.of("t")] == [70_000]


def test_who_initialized_and_what_was_committed_where(machine: Machine) -> None:
    producer = machine.producer(timeout_ms=54_321)
    first_wall_ms = machine.wall_ms
    machine.pass_time(1000)
    write(machine, producer, 1)
    machine.pass_time(250)
    write(machine, producer, 0)
    assert machine.send_offsets(producer, {0: 7, 1: 8}, version=5) == (ErrorCode.NONE,) * 2
    after = commit(machine, producer)
    initialized, committed = life(machine)
    assert initialized == LifeEvent(
        Kind.INITIALIZED, 1, first_wall_ms, NOBODY, producer, False, "client", HOST, timeout_ms=54_321
    )
    assert committed == LifeEvent(
        Kind.COMMITTED, machine.position, machine.wall_ms, producer, after, False, "client", HOST,
        began_wall_ms=first_wall_ms + 1000, took_ms=250, place_count=2,
        places=(Place(TOPIC_ID, 0, 0, 1), Place(TOPIC_ID, 1, 0, 1)),
        group_count=1, groups=(("g", 2),),
    )  # fmt: skip


def test_a_partition_that_got_nothing_is_told(machine: Machine) -> None:
    producer = machine.producer()
    machine.add(producer, 2)
    machine.abort(producer)
    assert life(machine)[-1].places == (Place(TOPIC_ID, 2, -1, 0),)


def test_an_abort_of_nothing_did_not_take_long(machine: Machine) -> None:
    producer = machine.producer()
    machine.abort(producer, v2=True)
    ended = life(machine)[-1]
    assert (ended.kind, ended.took_ms, ended.began_wall_ms, ended.place_count) == (Kind.ABORTED, -1, -1, 0)


def test_a_newer_producer_fences_the_one_that_was_there(machine: Machine) -> None:
    producer = machine.producer()
    write(machine, producer, 0)
    successor = machine.producer()
    between = (producer[0], producer[1] + 1)
    assert told(machine) == [
        (Kind.INITIALIZED, NOBODY, producer, False),
        (Kind.ABORTED, producer, between, True),
        (Kind.INITIALIZED, between, successor, False),
    ], "the epoch between was given to nobody"
    assert life(machine)[1].reason is EndReason.NEWER_PRODUCER
    third = machine.producer()
    assert told(machine)[-1] == (Kind.INITIALIZED, successor, third, True)


def test_who_asks_for_its_own_next_epoch_fences_nobody(machine: Machine) -> None:
    producer = machine.producer()
    following = machine.producer(expects=producer)
    assert told(machine)[-1] == (Kind.INITIALIZED, producer, following, False)
    again = machine.producer(expects=producer, timeout_ms=5)
    assert told(machine)[-1] == (Kind.INITIALIZED, following, again, False), "a retry moves nothing"


def test_a_timeout_and_an_administrator_fence(machine: Machine) -> None:
    producer = machine.producer()
    write(machine, producer, 0)
    machine.time_out()
    timed_out = life(machine)[-1]
    assert (timed_out.reason, timed_out.fences, timed_out.host) == (EndReason.TIMEOUT, True, "")
    assert timed_out.client_id is None
    successor = machine.producer()
    write(machine, successor, 0)
    machine.do(AbortOnPartitions(*successor, ((TOPIC_ID, 0),), False, "boss", "/10.0.0.9"))
    aborted = life(machine)[-1]
    assert (aborted.reason, aborted.fences) == (EndReason.ADMIN, True)
    assert (aborted.client_id, aborted.host) == ("boss", "/10.0.0.9")


def test_a_life_outlives_its_id(machine: Machine) -> None:
    producer = machine.producer()
    machine.pass_time(1000)
    assert machine.do(ExpireTransactionalId("t", *producer, 1000)).error == ErrorCode.NONE
    assert told(machine)[-1] == (Kind.EXPIRED, producer, NOBODY, False)
    again = machine.producer()
    assert told(machine)[-1] == (Kind.INITIALIZED, NOBODY, again, False)
    assert len(life(machine)) == 3


def test_others_are_not_told_of(machine: Machine) -> None:
    machine.producer()
    machine.producer("other")
    assert len(life(machine)) == len(life(machine, "other")) == 1
    assert life(machine, "nobody") == []


# --- how much ---


def test_the_last_twenty_events_are_kept(machine: Machine) -> None:
    producer = machine.producer()
    for _ in range(EVENTS_MAX + 5):
        write(machine, producer, 0)
        producer = commit(machine, producer)
    events = life(machine)
    assert [each.after[1] for each in events] == list(range(producer[1] - EVENTS_MAX + 1, producer[1] + 1))
    lives = machine.state.lives
    assert Lives.from_packed(lives.packed()).size_bytes == lives.size_bytes


def test_the_newest_by_which_somebody_was_fenced_is_one_of_them(machine: Machine) -> None:
    machine.producer()
    for _ in range(2):
        producer = machine.producer()
        (*_, fencing) = life(machine)
        assert fencing.fences
        for _ in range(EVENTS_MAX + 5):
            write(machine, producer, 0)
            producer = commit(machine, producer)
        first, *others = life(machine)
        assert first == fencing._replace(gap_follows=True)
        assert len(others) == EVENTS_MAX - 1
        assert [each.after[1] for each in others][-1] == producer[1]
        assert not any(each.fences or each.gap_follows for each in others)
    lives = machine.state.lives
    assert Lives.from_packed(lives.packed()).size_bytes == lives.size_bytes


def test_of_many_partitions_and_groups_some_are_named_and_all_are_counted(machine: Machine) -> None:
    machine.add_topic(b"W" * 16, "wide", 5000)
    producer = machine.producer()
    machine.add(producer, *range(5000), topic_id=b"W" * 16)
    for number in range(30):
        assert machine.add_group(producer, f"{number:03}" + "g" * 30_000) == ErrorCode.NONE
    before = machine.state.lives.size_bytes
    machine.commit(producer)
    ended = life(machine)[-1]
    assert (ended.place_count, len(ended.places)) == (5000, PLACES_MAX)
    assert (ended.group_count, len(ended.groups)) == (30, GROUPS_MAX)
    assert ended.groups[0] == ("000" + "g" * (NAME_CHARACTERS_MAX - 3), 0)
    assert machine.state.lives.size_bytes - before < 1500


@pytest.mark.parametrize(
    ("client_id", "host"),
    [
        (None, ""), (None, "/::1"), ("", "/::1"), ("a\0b", "/::1"), ("\0", ""), ("ö\n\u202e😀" * 20, "/::1"),
        ("c" * 32_767, "h" * 300),
    ],
)  # fmt: skip
def test_whoever_asked_is_told_if_shortened(machine: Machine, client_id: str | None, host: str) -> None:
    machine.do(InitProducerId("t", 1000, *NOBODY, client_id, host))
    (told,) = life(machine)
    assert told.client_id == (None if client_id is None else client_id[:NAME_CHARACTERS_MAX])
    assert told.host == host[:NAME_CHARACTERS_MAX]


def initialize(lives: Lives, name: str, position: int = 1, client_id: str = "client") -> None:
    event = TransactionalIdInitialized(
        transactional_id=name, producer_id=1, producer_epoch=0, timeout_ms=1, client_id=client_id, host=HOST
    )
    lives.initialized(event, NOBODY, At(position, 1_700_000_000_000, position))


def test_ids_that_nothing_happened_to_for_longest_lose_their_lives_first() -> None:
    lives = Lives(bytes_max=4000)
    names = [f"id-{number}" for number in range(20)]
    for name in names:
        initialize(lives, name)
    kept = [name for name in names if lives.of(name)]
    assert len(kept) < len(names)
    assert kept == names[-len(kept) :]
    initialize(lives, kept[0])
    initialize(lives, "another")
    assert lives.of(kept[0])
    assert not lives.of(kept[1])
    assert lives.size_bytes <= 4000


def test_the_bound_is_never_passed_and_the_reckoning_is_exact() -> None:
    random_ = random.Random(5)
    lives = Lives(bytes_max=100_000)
    for step in range(3000):
        name = random_.choice(("n", "ö", "💥")) * random_.randrange(1, 2000)
        initialize(lives, name, step, "c" * random_.randrange(100))
        assert lives.size_bytes <= 100_000
        if step % 100 == 0:
            again = Lives.from_packed(lives.packed(), 100_000)
            assert (again.size_bytes, again.packed()) == (lives.size_bytes, lives.packed())
    assert len(lives) < 1000


@pytest.mark.parametrize("name", ["n" * 10_000, "ö" * 10_000, "Ж" * 10_000, "💥" * 10_000])
def test_a_name_is_reckoned_with_as_memory_holds_it(name: str) -> None:
    lives = Lives()
    initialize(lives, name)
    assert sys.getsizeof(name) <= lives.size_bytes


def test_the_longest_names_leave_room_for_what_happens_now() -> None:
    lives = Lives()
    for number in range(600):
        initialize(lives, "💥" * 32_760 + f"{number:06}")
        assert lives.of("💥" * 32_760 + f"{number:06}")
    assert lives.size_bytes <= LIVES_BYTES_MAX
    assert 100 < len(lives) < 600


def test_what_lives_take_is_reckoned_with() -> None:
    """A quarter of the bound, so that it is quick; tables and lives grow alike."""
    bytes_max = LIVES_BYTES_MAX // 4
    lives = Lives(bytes_max)
    tracemalloc.start()
    try:
        for number in range(25_000):
            initialize(lives, f"payments-{number:06}", number)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken <= bytes_max, "the reckoning is less than what it takes"
    assert lives.size_bytes <= bytes_max
    assert len(lives) > 8_000


# --- over a replay ---


def test_packed_lives_go_on_as_those_that_served(machine: Machine) -> None:
    """As a checkpoint would hold them: content, order and reckoning (law 2)."""
    for state in (machine.state, machine.replayed):
        state.lives = Lives(bytes_max=6000)
    random_ = random.Random(11)
    for step in range(300):
        name = f"id-{random_.randrange(20)}"
        producer = machine.producer(name)
        if random_.random() < 0.7:
            write(machine, producer, random_.randrange(3), name=name)
            machine.do(EndTxn(name, *producer, random_.random() < 0.5, True, "c" * step, HOST))
        if step % 25 == 0:
            machine.replayed.lives = Lives.from_packed(machine.replayed.lives.packed(), 6000)
    machine.check()
    assert 0 < len(machine.state.lives) < 20
    assert machine.state.lives.size_bytes <= 6000


def test_lives_in_another_order_are_another_state() -> None:
    """The order decides who is forgotten first, so that a state with another one would go on differently."""
    one, other = Machine(), Machine()
    for name in ("a", "b"):
        initialize(one.state.lives, name)
    for name in ("b", "a"):
        initialize(other.state.lives, name)
    assert state_differences(one.state, other.state) != []
