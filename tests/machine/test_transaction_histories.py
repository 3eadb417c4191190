"""Transactions through random histories: one holder per transactional id, zombies do nothing, all or nothing.

Few epochs, so that producer ids rotate all the time; answers get lost and are asked for again; topics go and
come back. What is kept twice in the state must agree after each step.
"""

from __future__ import annotations

import random

import pytest

from oncelog.machine.commands import (
    AbortTimedOutTransaction,
    CommitOffsets,
    CreateTopic,
    DeleteOffsets,
    DeleteTopic,
    OffsetToCommit,
)
from oncelog.machine.limits import Limits
from oncelog.machine.state import TransactionState
from oncelog.wire.errors import ErrorCode
from tests.machine.driver import FIRST_GENERATION, NOBODY, SECOND_GENERATION, TOPIC_ID, Machine, Producer

NONE = ErrorCode.NONE
SEEDS = 60
STEPS = 300
NAMES = ("one", "two")
GROUPS = ("g", "h")


class Client:
    """One process with a transactional id; is_second: it speaks the second generation."""

    def __init__(self, name: str, is_second: bool) -> None:
        self.name = name
        self.is_second = is_second
        self.holds: Producer = NOBODY
        self.sequences: dict[tuple[bytes, int], int] = {}

    def take(self, producer: Producer) -> None:
        if producer != self.holds:
            self.holds = producer
            self.sequences.clear()


class History:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.machine = Machine(Limits(producer_epoch_max=self.random.choice([2, 3, 5])))
        self.clients = [Client(name, self.random.random() < 0.6) for name in NAMES for _ in range(3)]
        self.holders: dict[str, Client] = {}
        self.topics = [TOPIC_ID]
        self.stable_offsets: dict[tuple[bytes, int], int] = {}
        self.strangers = 0

    def step(self) -> None:
        chance, client = self.random.random(), self.random.choice(self.clients)
        is_zombie = self.holders.get(client.name) is not client
        events_before = len(self.machine.events)
        if chance < 0.15:
            self.initialize(client)
            return
        if chance < 0.45:
            changed = self.produce(client)
        elif chance < 0.55:
            topic_id = self.random.choice(self.topics)
            changed = self.machine.add(client.holds, 0, 1, name=client.name, topic_id=topic_id).error is NONE
        elif chance < 0.65:
            group, partition = self.random.choice(GROUPS), self.random.choice([0, 1])
            version = 5 if client.is_second else 3
            if not client.is_second:
                self.machine.add_group(client.holds, group, name=client.name)
            errors = self.machine.send_offsets(
                client.holds,
                {partition: self.random.randrange(9)},
                group=group,
                name=client.name,
                version=version,
            )
            changed = errors == (NONE,)
        elif chance < 0.85:
            changed = self.end(client)
        else:
            self.something_else()
            return
        assert not (is_zombie and changed), "a zombie was told that it did something"
        assert not (is_zombie and len(self.machine.events) > events_before), "a zombie did something"

    def initialize(self, client: Client) -> None:
        expects = self.random.choice([NOBODY, client.holds])
        is_zombie = self.holders.get(client.name) is not client
        reply = self.machine.init(client.name, expects=expects)
        if expects != NOBODY and is_zombie:
            assert reply.error is ErrorCode.PRODUCER_FENCED
            return
        assert reply.error is NONE
        self.holders[client.name] = client
        if expects != NOBODY and self.random.random() < 0.3:
            again = self.machine.init(client.name, expects=expects)
            assert again == reply, "the answer was lost"
        client.take((reply.producer_id, reply.producer_epoch))

    def produce(self, client: Client) -> bool:
        place = (self.random.choice(self.topics), self.random.choice([0, 1]))
        sequence = client.sequences.get(place, 0)
        version = SECOND_GENERATION if client.is_second else FIRST_GENERATION
        if not client.is_second and self.random.random() < 0.8:
            self.machine.add(client.holds, place[1], name=client.name, topic_id=place[0])
        results = [
            self.machine.produce(
                place[1],
                topic_id=place[0],
                producer=client.holds,
                sequence=sequence,
                in_transaction=client.name,
                version=version,
            )
            for _ in range(self.random.choice([1, 2]))
        ]
        if results[0].error is NONE:
            client.sequences[place] = sequence + 1
            assert [result.appended for result in results] == [True, False][: len(results)]
            assert {result.base_offset for result in results} == {results[0].base_offset}
        return results[0].error is NONE

    def end(self, client: Client) -> bool:
        commit = self.random.random() < 0.6
        reply = self.machine.end(client.holds, commit, v2=client.is_second, name=client.name)
        if reply.error is not NONE:
            return False
        if self.random.random() < 0.3:
            again = self.machine.end(client.holds, commit, v2=client.is_second, name=client.name)
            assert again == reply, "the answer was lost"
        client.take((reply.producer_id, reply.producer_epoch))
        return True

    def something_else(self) -> None:
        machine, kind = self.machine, self.random.randrange(6)
        if kind == 0:
            machine.pass_time(40_000)
            for name, each in list(machine.state.transactions.items()):
                machine.do(AbortTimedOutTransaction(name, each.producer_id, each.producer_epoch))
        elif kind == 1 and len(self.topics) < 3:
            topic_id = self.random.randbytes(16)
            assert machine.do(CreateTopic(topic_id, topic_id.hex(), 2)).error is NONE
            self.topics.append(topic_id)
        elif kind == 2 and len(self.topics) > 1:
            assert machine.do(DeleteTopic(self.topics.pop())).error is NONE
        elif kind == 3:
            offset = OffsetToCommit(TOPIC_ID, 0, 9, -1, None)
            machine.do(CommitOffsets(self.random.choice(GROUPS), -1, "", None, 9, -1, (offset,)))
        elif kind == 4:
            machine.do(DeleteOffsets(self.random.choice(GROUPS), ((TOPIC_ID, 0), (TOPIC_ID, 1))))
        elif kind == 5:
            self.strangers += 1
            machine.produce(producer=(machine.state.next_producer_id + 1, 1), sequence=0)

    def check(self) -> None:
        state = self.machine.state
        open_at: dict[str, set[tuple[bytes, int]]] = {}
        for topic in state.topics.values():
            for partition in topic.partitions:
                key = (topic.id, partition.index)
                stable = partition.last_stable_offset
                assert self.stable_offsets.get(key, 0) <= stable <= partition.log_end_offset
                self.stable_offsets[key] = stable
                firsts = list(partition.open_transactions.values())
                assert firsts == sorted(firsts)
                for producer_id in partition.open_transactions:
                    open_at.setdefault(state.producer_owners[producer_id], set()).add(key)
        pending: dict[str, dict[tuple[bytes, int], set[str]]] = {}
        for name, transaction in state.transactions.items():
            is_open = transaction.state is TransactionState.ONGOING
            assert open_at.pop(name, set()) <= transaction.partitions.keys()
            assert is_open == any(name in by_name for by_name in state.ongoing.values())
            assert is_open or not (transaction.partitions or transaction.groups or transaction.offsets)
            assert all(state.producer_owners[each] == name for each in transaction.producer_ids)
            for group, offsets in transaction.offsets.items():
                for place in offsets:
                    pending.setdefault(group, {}).setdefault(place, set()).add(name)
        assert not open_at
        assert state.pending_offsets == pending
        assert all(producer_id < state.next_producer_id for producer_id in state.producer_owners)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_one_holder_and_all_or_nothing(seed: int) -> None:
    history = History(seed)
    for _ in range(STEPS):
        history.step()
        history.check()
    history.machine.check()
