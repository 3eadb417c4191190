"""Consumer offsets in transactions: pending, committed with it or not at all, in the right order."""

from __future__ import annotations

import pytest

from oncelog.machine import pending_offsets
from oncelog.machine.commands import CommitOffsets, DeleteOffsets, OffsetToCommit
from oncelog.machine.limits import Limits
from oncelog.wire.errors import ErrorCode
from tests.machine.driver import TOPIC_ID, UNKNOWN_TOPIC_ID, Machine

NONE = ErrorCode.NONE


@pytest.fixture
def machine():
    machine = Machine()
    yield machine
    machine.check()


def is_pending(machine: Machine, partition: int = 0, group: str = "g") -> bool:
    return pending_offsets.is_pending(machine.state, group, TOPIC_ID, partition)


def pending(machine: Machine, offsets: dict[int, int], *, name: str = "t", group: str = "g"):
    """A producer with an open transaction that would commit these offsets."""
    producer = machine.producer(name)
    assert machine.add_group(producer, group, name=name) == NONE
    assert set(machine.send_offsets(producer, offsets, name=name, group=group)) <= {NONE}
    return producer


def commit_plainly(machine: Machine, offsets: dict[int, int]) -> None:
    named = tuple(
        OffsetToCommit(TOPIC_ID, partition, offset, -1, "") for partition, offset in offsets.items()
    )
    errors = machine.do(CommitOffsets("g", -1, "", None, 9, -1, named)).errors
    assert set(errors) == {NONE}


def test_143_offsets_are_invisible_until_the_commit(machine):
    producer = pending(machine, {0: 5, 1: 7})
    assert machine.committed_offset(0) is None
    assert is_pending(machine, 0)
    assert not is_pending(machine, 2)
    machine.commit(producer)
    assert (machine.committed_offset(0), machine.committed_offset(1)) == (5, 7)
    assert not is_pending(machine, 0)
    assert machine.state.pending_offsets == {}


def test_143_after_an_abort_the_previous_offset_stays(machine):
    commit_plainly(machine, {0: 3})
    producer = pending(machine, {0: 5})
    machine.abort(producer)
    assert machine.committed_offset(0) == 3
    assert not is_pending(machine, 0)


def test_the_last_offset_sent_in_a_transaction_counts(machine):
    producer = pending(machine, {0: 5})
    machine.send_offsets(producer, {0: 9})
    machine.commit(producer)
    assert machine.committed_offset(0) == 9


def test_145_a_plain_commit_is_not_overwritten_by_a_transaction_that_was_sent_before(machine):
    producer = pending(machine, {0: 5, 1: 5})
    commit_plainly(machine, {0: 8})
    machine.commit(producer)
    assert (machine.committed_offset(0), machine.committed_offset(1)) == (8, 5)


def test_145_a_transaction_sent_after_a_plain_commit_overwrites_it(machine):
    commit_plainly(machine, {0: 8})
    machine.commit(pending(machine, {0: 5}))
    assert machine.committed_offset(0) == 5


@pytest.mark.parametrize("first_to_end", ["a", "b"])
def test_145_of_two_transactions_the_one_that_was_sent_later_wins_in_whichever_order_they_end(
    machine, first_to_end
):
    producers = {"a": pending(machine, {0: 1}, name="a"), "b": pending(machine, {0: 2}, name="b")}
    for name in sorted(producers, reverse=first_to_end == "b"):
        assert is_pending(machine, 0) or first_to_end == "b"
        machine.commit(producers[name], name=name)
    assert machine.committed_offset(0) == 2
    assert machine.state.pending_offsets == {}


def test_an_offset_stays_pending_until_each_transaction_of_it_has_ended(machine):
    a, b = pending(machine, {0: 1}, name="a"), pending(machine, {0: 2}, name="b")
    machine.abort(a, name="a")
    assert is_pending(machine, 0)
    machine.abort(b, name="b")
    assert not is_pending(machine, 0)


def test_147_deleted_offsets_do_not_come_back(machine):
    commit_plainly(machine, {0: 3})
    producer = pending(machine, {0: 5, 1: 6})
    machine.do(DeleteOffsets("g", ((TOPIC_ID, 0),)))
    machine.commit(producer)
    assert machine.committed_offset(0) is None
    assert machine.committed_offset(1) == 6


@pytest.mark.parametrize(
    ("version", "error"),
    [(3, ErrorCode.INVALID_TXN_STATE), (4, ErrorCode.TRANSACTION_ABORTABLE)],
)
def test_150_offsets_of_a_group_that_was_not_added_are_refused(machine, version, error):
    producer = machine.producer()
    assert machine.send_offsets(producer, {0: 5}, version=version) == (error,)
    machine.add_group(producer, "another")
    assert machine.send_offsets(producer, {0: 5}, version=version) == (error,)


def test_151_from_version_5_on_the_group_joins_the_transaction_by_its_offsets(machine):
    producer = machine.producer()
    assert machine.send_offsets(producer, {0: 5}, version=5) == (NONE,)
    assert list(machine.transaction().groups) == ["g"]
    assert machine.commit(producer, v2=True).error == NONE
    assert machine.committed_offset(0) == 5


def test_150_who_may_not_send_offsets(machine):
    producer = pending(machine, {0: 5})
    assert machine.send_offsets((producer[0], 7), {0: 5}) == (ErrorCode.INVALID_PRODUCER_EPOCH,)
    assert machine.send_offsets((99, 0), {0: 5}) == (ErrorCode.INVALID_PRODUCER_ID_MAPPING,)
    assert machine.send_offsets(producer, {0: 5}, name="x") == (ErrorCode.INVALID_PRODUCER_ID_MAPPING,)
    assert machine.send_offsets(producer, {0: 5}, name="") == (ErrorCode.INVALID_REQUEST,)


def test_149_the_group_checks_its_members(machine):
    producer = pending(machine, {0: 5})
    assert machine.send_offsets(producer, {0: 9}, generation=3, member="m") == (ErrorCode.UNKNOWN_MEMBER_ID,)
    assert machine.add_group(producer, "h") == NONE
    of_no_group = machine.send_offsets(producer, {0: 9}, group="h", generation=3, member="m")
    assert of_no_group == (ErrorCode.ILLEGAL_GENERATION,)
    assert machine.transaction().offsets["g"][TOPIC_ID, 0].offset == 5


def test_each_offset_is_refused_by_itself(machine):
    producer = pending(machine, {})
    assert machine.send_offsets(producer, {0: 5, 9: 5}) == (NONE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    too_long = machine.send_offsets(producer, {0: 6}, metadata="x" * 4097)
    assert too_long == (ErrorCode.OFFSET_METADATA_TOO_LARGE,)
    assert machine.transaction().offsets["g"][TOPIC_ID, 0].offset == 5


@pytest.mark.parametrize(
    ("version", "error"),
    [(5, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION), (6, ErrorCode.UNKNOWN_TOPIC_ID)],
)
def test_an_unknown_topic_is_told_as_the_version_names_topics(machine, version, error):
    producer = machine.producer()
    assert machine.send_offsets(producer, {0: 1}, version=version, topic_id=UNKNOWN_TOPIC_ID) == (error,)
    assert not machine.transaction().groups


def test_a_newer_producer_drops_what_was_pending(machine):
    pending(machine, {0: 5})
    machine.producer()
    assert machine.committed_offset(0) is None
    assert machine.state.pending_offsets == {}


def test_records_and_offsets_are_committed_in_one_event(machine):
    producer = pending(machine, {0: 5})
    machine.add(producer, 1)
    machine.produce(1, producer=producer, sequence=0, in_transaction="t")
    before = len(machine.events)
    machine.commit(producer)
    assert len(machine.events) == before + 1
    assert machine.committed_offset(0) == 5
    assert machine.partition(1).last_stable_offset == 2


def test_a_transaction_holds_a_bounded_number_of_offsets():
    machine = Machine(Limits(transaction_offsets_max=2))
    producer = pending(machine, {0: 5, 1: 5})
    assert machine.send_offsets(producer, {2: 5}) == (ErrorCode.POLICY_VIOLATION,)
    assert machine.abort(producer).error == NONE
    machine.check()


def test_one_group_too_many_is_a_policy_violation_however_it_comes() -> None:
    machine = Machine(Limits(transaction_partitions_max=2))
    producer = machine.producer()
    for group in ("g", "h", "g"):
        assert machine.send_offsets(producer, {0: 1}, group=group, version=5) == (NONE,)
    assert machine.send_offsets(producer, {0: 1}, group="i", version=5) == (ErrorCode.POLICY_VIOLATION,)
    assert machine.abort(producer, v2=True).error == NONE
    machine.check()


def test_a_transaction_holds_a_bounded_amount_of_text_over_all_groups():
    """Its end is one event, which names every offset with its text."""
    machine = Machine(Limits(transaction_metadata_characters_max=10))
    producer = machine.producer("t")
    for group in ("g", "h"):
        machine.add_group(producer, group)
    assert machine.send_offsets(producer, {0: 5}, group="g", metadata="x" * 6) == (NONE,)
    refused = (ErrorCode.POLICY_VIOLATION,)
    assert machine.send_offsets(producer, {0: 5}, group="h", metadata="x" * 5) == refused
    assert machine.send_offsets(producer, {1: 5, 2: 5}, group="h", metadata="x" * 3) == refused * 2
    assert machine.send_offsets(producer, {0: 6}, group="g", metadata="x" * 10) == (NONE,)
    assert machine.send_offsets(producer, {0: 7}, group="g", metadata="") == (NONE,)
    assert machine.send_offsets(producer, {0: 5}, group="h", metadata="x" * 10) == (NONE,)
    assert machine.commit(producer).error == NONE
    assert machine.committed_offset(0, group="g") == 7
    machine.check()


@pytest.mark.parametrize("how", ["commit", "abort", "committed elsewhere", "committed plainly"])
def test_text_that_is_not_pending_any_more_takes_no_room(how):
    machine = Machine(Limits(transaction_metadata_characters_max=10))
    producer, other = machine.producer("t"), machine.producer("u")
    machine.add_group(producer)
    machine.add_group(other, name="u")
    assert machine.send_offsets(producer, {0: 5}, metadata="x" * 10) == (NONE,)
    if how == "commit":
        machine.commit(producer)
    elif how == "abort":
        machine.abort(producer)
    elif how == "committed elsewhere":
        assert machine.send_offsets(other, {0: 6}, name="u", metadata="y") == (NONE,)
        machine.commit(other, name="u")
    else:
        commit_plainly(machine, {0: 6})
    machine.add_group(producer)
    assert machine.send_offsets(producer, {0: 5}, metadata="x" * 10) == (NONE,)
    machine.check()
