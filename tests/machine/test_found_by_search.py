"""What the search against the reference model (tests/search) found: each as a case of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from oncelog.machine.commands import (
    AbortOnPartitions,
    CommitOffsets,
    ExpireOffsets,
    OffsetToCommit,
    StartGeneration,
    StoreAssignment,
)
from oncelog.machine.group_state import Member, MemberProtocol
from oncelog.machine.limits import Limits
from oncelog.wire.errors import ErrorCode
from tests.machine.driver import TOPIC_ID, TRANSACTIONAL, UNKNOWN_TOPIC_ID, Machine

NONE = ErrorCode.NONE


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine()
    yield machine
    machine.check()


def test_an_unknown_partition_is_told_for_its_offset_whatever_is_wrong_with_the_others(
    machine: Machine,
) -> None:
    """Kafka looks partitions up before it asks the coordinator about the rest."""
    producer = machine.producer("t")
    unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert machine.send_offsets((99, 0), {0: 5, 9: 5}) == (ErrorCode.INVALID_PRODUCER_ID_MAPPING, unknown)
    assert machine.send_offsets(producer, {9: 5, 0: 5}) == (unknown, ErrorCode.INVALID_TXN_STATE)
    machine.add_group(producer)
    of_no_group = machine.send_offsets(producer, {0: 5, 9: 5}, generation=3, member="m")
    assert of_no_group == (ErrorCode.ILLEGAL_GENERATION, unknown)


def test_an_offset_that_is_sent_again_takes_no_more_room_in_its_transaction() -> None:
    machine = Machine(Limits(transaction_offsets_max=2))
    producer = machine.producer("t")
    machine.add_group(producer)
    for offset in (5, 6, 7):
        assert machine.send_offsets(producer, {0: offset, 1: offset}) == (NONE, NONE)
    refused = machine.send_offsets(producer, {0: 8, 2: 8, 9: 8})
    assert refused == (
        ErrorCode.POLICY_VIOLATION,
        ErrorCode.POLICY_VIOLATION,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    )
    assert machine.commit(producer).error is NONE
    assert [machine.committed_offset(partition) for partition in (0, 1, 2)] == [7, 7, None]
    machine.check()


@pytest.mark.parametrize(("topic_id", "partition"), [(UNKNOWN_TOPIC_ID, 0), (TOPIC_ID, 9)])
def test_a_transactional_batch_in_nobodys_name_is_refused_before_its_partition_is_looked_up(
    machine: Machine, topic_id: bytes, partition: int
) -> None:
    producer = machine.producer("t")
    refused = machine.produce(
        partition, topic_id=topic_id, producer=producer, sequence=0, attributes=TRANSACTIONAL
    )
    assert refused.error is ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED


@pytest.mark.parametrize("protocol_type", ["consumer", "connect"])
def test_offsets_of_a_group_with_members_are_kept_past_the_time_that_their_sender_named(
    machine: Machine, protocol_type: str
) -> None:
    """Not while a generation waits for its assignment, nor where nobody can tell what the members read."""
    member = Member("m", None, "client", "/127.0.0.1", 30_000, 30_000, (MemberProtocol("range", b""),))
    expire = ExpireOffsets("g", ((TOPIC_ID, 0),), 1_000_000)
    offset = OffsetToCommit(TOPIC_ID, 0, 3, -1, None)
    assert machine.do(CommitOffsets("g", -1, "", None, 4, 50, (offset,))).errors == (NONE,)
    assert machine.do(StartGeneration("g", 0, protocol_type, "range", "m", (member,))).error is NONE
    machine.pass_time(50)
    machine.do(expire)
    assert machine.committed_offset() == 3
    assert machine.do(StoreAssignment("g", 1, (("m", b"all"),))).error is NONE
    machine.do(expire)
    assert machine.committed_offset() == 3
    assert machine.do(StartGeneration("g", 1, protocol_type, None, None, ())).error is NONE
    machine.do(expire)
    assert machine.committed_offset() is None


def test_an_id_that_was_rotated_away_long_ago_asks_for_nothing_again() -> None:
    """Its epoch is that of another transaction, which an administrator aborted since."""
    machine = Machine(Limits(producer_epoch_max=2))
    old = machine.producer("t")
    machine.add(old, 0)
    while (producer := machine.producer("t"))[0] == old[0]:
        pass
    machine.add(producer, 1)
    abort = AbortOnPartitions(*producer, ((TOPIC_ID, 1),), False, "admin", "/127.0.0.1")
    for _ in range(2):
        assert machine.do(abort).partition_errors == (NONE,)
    of_old = abort._replace(producer_id=old[0], partitions=((TOPIC_ID, 0),))
    assert machine.do(of_old).partition_errors == (ErrorCode.INVALID_PRODUCER_EPOCH,)
    machine.check()
