"""Committed offsets that go or stay: deletion and expiry, beside open transactions and in idle groups."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from oncelog.machine.commands import (
    CommitOffsets,
    DeleteOffsets,
    ExpireOffsets,
    OffsetToCommit,
    StartGeneration,
    StoreAssignment,
)
from oncelog.machine.group_state import Member, MemberProtocol
from oncelog.wire.errors import ErrorCode
from tests.machine.driver import TOPIC_ID, Machine

NONE = ErrorCode.NONE


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine()
    yield machine
    machine.check()


def test_a_deleted_offset_does_not_come_back_by_a_transaction(machine: Machine) -> None:
    """Not even where the open transaction's is the only one that there is to delete."""
    producer = machine.producer("t")
    machine.add_group(producer)
    assert machine.send_offsets(producer, {0: 5, 1: 6}) == (NONE, NONE)
    assert machine.do(DeleteOffsets("g", ((TOPIC_ID, 0),))).partition_errors == (NONE,)
    assert machine.commit(producer).error is NONE
    assert [machine.committed_offset(partition) for partition in (0, 1)] == [None, 6]


@pytest.mark.parametrize("commit", [True, False])
def test_what_a_transaction_would_commit_keeps_an_offset_and_its_group(
    machine: Machine, commit: bool
) -> None:
    """The offset that was committed before counts again when the transaction is aborted."""
    producer = machine.producer("t")
    machine.add_group(producer)
    machine.add_group(producer, "new")
    old = OffsetToCommit(TOPIC_ID, 0, 3, -1, None)
    assert machine.do(CommitOffsets("g", -1, "", None, 9, -1, (old,))).errors == (NONE,)
    assert machine.send_offsets(producer, {0: 5}) == (NONE,)
    assert machine.send_offsets(producer, {0: 7}, group="new") == (NONE,)
    machine.pass_time(1000)
    for group in ("g", "new"):
        machine.do(ExpireOffsets(group, ((TOPIC_ID, 0),), 1000))
    assert machine.end(producer, commit).error is NONE
    assert machine.committed_offset() == (5 if commit else 3)
    assert machine.committed_offset(group="new") == (7 if commit else None)


def test_offsets_are_kept_from_when_the_group_became_empty(machine: Machine) -> None:
    """Its members may have been idle for longer than offsets are kept."""
    day_ms = 86_400_000
    member = Member("m", None, "client", "/127.0.0.1", 30_000, 30_000, (MemberProtocol("range", bytes(6)),))
    expire = ExpireOffsets("g", ((TOPIC_ID, 0),), day_ms)
    assert machine.do(StartGeneration("g", 0, "consumer", "range", "m", (member,))).error is NONE
    assert machine.do(StoreAssignment("g", 1, (("m", b"part"),))).error is NONE
    offset = OffsetToCommit(TOPIC_ID, 0, 3, -1, None)
    assert machine.do(CommitOffsets("g", 1, "m", None, 9, -1, (offset,))).errors == (NONE,)
    machine.pass_time(2 * day_ms)
    assert machine.do(StartGeneration("g", 1, "consumer", None, None, ())).error is NONE
    machine.pass_time(day_ms - 1)
    machine.do(expire)
    assert machine.committed_offset() == 3
    machine.pass_time(1)
    machine.do(expire)
    assert machine.committed_offset() is None
