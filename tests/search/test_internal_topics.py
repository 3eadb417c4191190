"""What the internal topics tell of commands that nobody thought of: what is true, to everybody alike."""

from __future__ import annotations

from random import Random
from typing import Any

from oncelog.machine.internal_topics import topic_name
from oncelog.machine.state import State
from tests.search.comparing import Sides
from tests.search.drawing import Drawer
from tests.support.internal_reader import InternalReader

RUNS, STEPS = 6, 1500
READ_EVERY, READ_ANEW_EVERY = 3, 100


def truth_of_offsets(state: State) -> tuple[dict[Any, Any], dict[Any, list[Any]]]:
    """By (group, topic, partition) offset and metadata, by group its generation and members.

    And what may still be told, though it need not be: offsets of topics that were deleted.
    """
    truth: dict[Any, Any] = {}
    leftovers: dict[Any, list[Any]] = {}
    for group in state.groups.values():
        if group.generation:
            truth[group.id] = (group.generation, [*group.members], group.leader)
        for (topic_id, partition), committed in group.offsets.items():
            key, value = (
                (group.id, topic_name(state, topic_id), partition),
                (committed.offset, committed.metadata),
            )
            if topic_id in state.topics:
                truth[key] = value
            else:
                leftovers.setdefault(key, []).append(value)
    return truth, leftovers


def told_of_offsets(reader: InternalReader) -> dict[Any, Any]:
    return {
        (key.group, key.topic, key.partition) if hasattr(key, "topic") else key.group: (
            (told.value.offset, told.value.metadata)
            if hasattr(key, "topic")
            else (
                told.value.generation,
                [member.member_id for member in told.value.members],
                told.value.leader,
            )
        )
        for key, told in reader.last.items()
    }


def truth_of_transactions(state: State) -> dict[str, Any]:
    return {
        name: (each.producer_id, each.producer_epoch, int(each.state), len(each.partitions))
        for name, each in state.transactions.items()
    }


def told_of_transactions(reader: InternalReader) -> dict[str, Any]:
    return {
        key.transactional_id: (
            told.value.producer_id,
            told.value.producer_epoch,
            told.value.transaction_status,
            sum(
                len(each.partition_ids)
                for each in told.value.transaction_partitions or ()
                if each.topic != "__consumer_offsets"
            ),
        )
        for key, told in reader.last.items()
    }


def check(state: State, offsets: InternalReader, transactions: InternalReader) -> None:
    told = told_of_offsets(offsets.read(state))
    truth, leftovers = truth_of_offsets(state)
    assert {key: value for key, value in told.items() if key in truth} == truth
    for key in told.keys() - truth.keys():
        assert told[key] in leftovers[key]
    assert told_of_transactions(transactions.read(state)) == truth_of_transactions(state)


def follow(seed: int) -> tuple[InternalReader, InternalReader]:
    """Both topics, read all along a run of commands, and from their beginnings now and then."""
    sides = Sides()
    drawer = Drawer(Random(f"internal {seed}"), sides.model)
    queue = drawer.first()
    followers = InternalReader("__consumer_offsets"), InternalReader("__transaction_state")
    for number in range(STEPS):
        sides.do(queue.pop(0) if queue else drawer.step())
        if number % READ_EVERY == 0:
            check(sides.state, *followers)
        if number % READ_ANEW_EVERY == 0:
            small = InternalReader("__consumer_offsets", bytes_max=1)
            check(sides.state, small, InternalReader("__transaction_state", records_max=1))
    sides.crash()
    check(sides.state, *followers)
    return followers


def test_who_follows_and_who_comes_late_are_told_what_is_true() -> None:
    runs = [follow(seed) for seed in range(RUNS)]
    assert sum(offsets.tombstones for offsets, _ in runs) > RUNS
    assert sum(transactions.tombstones for _, transactions in runs) > 0
