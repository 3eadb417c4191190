"""S6 of docs/architecture.md, from all sides: nobody is ever shown a part of a transaction.

Twenty partitions and a group's offsets; seven connections ask between any two callbacks of the broker's loop,
while entries become durable one by one.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from oncelog.machine.events import REGISTRY, TransactionEnded, decode_events
from tests.broker.asking import create_topic
from tests.broker.watching import (
    GROUP,
    PARTITIONS,
    TOPIC,
    FetchWatcher,
    ListOffsetsWatcher,
    Moments,
    OffsetFetchWatcher,
    Said,
    Watch,
    Watcher,
    Writer,
    errors_in,
)
from tests.support.one_process import OneProcess, one_process

STEPS = 150
MIN_ENDED, MIN_ANSWERS = 10, 200
"""What a run must have had, to say anything."""


def write_and_watch(
    process: OneProcess, seed: int, speaks: tuple[str, ...], *, whole: bool, reads_wait: bool = False
) -> tuple[Watch, int]:
    """One run; the watch, and how many transactions were ended. reads_wait: bytes come late."""
    chance = random.Random(seed)
    client = process.connect()
    assert client.call(create_topic(TOPIC, partitions=len(PARTITIONS)), 7).topics[0].error_code == 0
    writers = [
        Writer(process.connect(), f"writer-{number}", chance, speaks=version, whole=whole)
        for number, version in enumerate(speaks)
    ]
    watch = Watch(process, chance, agree=whole)
    process.advance(0.5)
    process.journal.hold()
    process.journal.is_cold = process.reads.is_holding = reads_wait
    watch.begin()
    for _ in range(STEPS):
        what = chance.random()
        if reads_wait and what < 0.3:
            process.within(process.reads.let_go)
            process.settle()
            process.reads.is_holding = True
        elif what < 0.7:
            for _ in range(chance.choice([1, 1, 3])):
                chance.choice(writers).send_next()
            process.settle()
        elif what < 0.95:
            if process.journal.in_flight is not None:
                process.confirm()
        else:
            process.advance(0.02)
    process.within(process.reads.let_go)
    process.let_go()
    watch.end()
    for writer in writers:
        assert {code for answer in writer.client.answers() for code in errors_in(answer)} == {0}
    return watch, sum(writer.transactions_ended for writer in writers)


@pytest.mark.parametrize("reads_wait", [False, True], ids=["reads-at-once", "reads-wait"])
@pytest.mark.parametrize("speaks", ["v1", "v2"])
def test_s6_whoever_looks_and_whenever_all_partitions_say_the_same(speaks: str, reads_wait: bool) -> None:
    """One record in each partition and one offset of each in each transaction: all numbers are equal."""
    with one_process() as process:
        watch, ended = write_and_watch(process, 1, (speaks,), whole=True, reads_wait=reads_wait)
        assert watch.wrong == []
        assert process.errors == []
        assert process.failures == []
        assert ended > MIN_ENDED
        assert watch.answers > MIN_ANSWERS


@pytest.mark.parametrize("seed", range(4))
def test_s6_each_answer_fits_one_moment_and_later_questions_no_earlier_one(seed: int) -> None:
    """Producers of both kinds, transactions that overlap and abort, partitions that differ."""
    with one_process() as process:
        watch, ended = write_and_watch(
            process, seed, ("v1", "v2", "v1"), whole=False, reads_wait=seed % 2 > 0
        )
        assert watch.wrong == []
        assert process.errors == []
        assert process.failures == []
        assert ended > MIN_ENDED
        assert watch.answers > MIN_ANSWERS


def everything_said(process: OneProcess) -> Said:
    """What a broker tells those who ask for everything."""

    class Everything(random.Random):
        def choice(self, seq: Any) -> Any:
            return seq[-1]

        def random(self) -> float:
            return 0.0

    kinds: tuple[type[Watcher], ...] = (FetchWatcher, ListOffsetsWatcher, OffsetFetchWatcher)
    said: Said = {}
    for kind in kinds:
        watcher = kind(process.connect(), Everything())
        told = watcher.said(process_answer(process, watcher))
        assert all(said.get(key, value) == value for key, value in told.items()), "answers differ"
        said |= told
    return said


def process_answer(process: OneProcess, watcher: Watcher) -> Any:
    watcher.client.send(*watcher.question())
    process.advance(0.1)
    (answer,) = watcher.client.answers()
    return answer


def test_s6_a_broker_that_ends_after_any_entry_comes_back_with_whole_transactions() -> None:
    """The offsets included: what is durable of the journal says all of a transaction or nothing."""
    with one_process() as process:
        write_and_watch(process, 11, ("v2",), whole=True)
        confirmed = list(process.journal.confirmed)
    ends = 0
    for length in range(3, len(confirmed) + 1):
        events = list(decode_events(REGISTRY, confirmed[length - 1].events))
        ends += sum(type(event) is TransactionEnded for event in events)
        if len(events) == 0:
            continue
        successor = OneProcess(confirmed[:length])
        moments = Moments(successor)
        moments.catch_up()
        said = everything_said(successor)
        successor.close()
        assert moments.first_that_fits(said, len(moments.said) - 1) is not None
        stable = {said["stable", index] for index in PARTITIONS}
        committed = {said.get(("committed", index), -1) for index in PARTITIONS}
        pending = {said.get(("pending", index), 0) for index in PARTITIONS}
        assert len(stable) == len(committed) == len(pending) == 1, f"half a transaction of {GROUP}: {said}"
    assert ends > MIN_ENDED
