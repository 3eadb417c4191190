"""Requests alone never fill a journal: what makes the log grow is refused first, and ends later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

import oncelog
from oncelog.broker.deadlines import Deadlines
from oncelog.broker.disk_space import ENTRIES_BYTES, FOR_ENDS_BYTES_MAX, DiskSpace
from oncelog.broker.room import REFUSALS, Tier, tier_of
from oncelog.machine.commands import CommitOffsets, DeleteGroup, EndTxn, OffsetToCommit, StartGeneration
from oncelog.machine.decide import RULES
from oncelog.wire.definition import Message
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.create_partitions import CreatePartitionsRequest, CreatePartitionsTopic
from oncelog.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from oncelog.wire.messages.end_txn import EndTxnRequest
from oncelog.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from oncelog.wire.messages.txn_offset_commit import (
    TxnOffsetCommitRequest,
    TxnOffsetCommitRequestPartition,
    TxnOffsetCommitRequestTopic,
)
from tests.support.batches import batch
from tests.support.members import GroupMember
from tests.support.raw import RawConnection
from tests.support.speaking import (
    TransactionalProducer,
    commit_offsets,
    committed_offset,
    last_stable_offset,
    log_end_offset,
    produce,
    topic_id,
)
from tests.support.waiting import wait_for

MEMORY_BYTES = 1 << 20
LOADING = ErrorCode.COORDINATOR_LOAD_IN_PROGRESS


@pytest.fixture
def broker() -> Iterator[oncelog.Broker]:
    with oncelog.Broker(topics=["t"], memory_bytes_max=MEMORY_BYTES) as broker:
        yield broker


@pytest.fixture
def connection(broker: oncelog.Broker) -> Iterator[RawConnection]:
    connection = RawConnection(broker.bootstrap)
    yield connection
    connection.close()


def offset_commit(metadata: str, group: str = "g") -> OffsetCommitRequest:
    partition = OffsetCommitRequestPartition(
        partition_index=0, committed_offset=1, committed_metadata=metadata
    )
    return OffsetCommitRequest(
        group_id=group,
        generation_id_or_member_epoch=-1,
        member_id="",
        topics=[OffsetCommitRequestTopic(name="t", partitions=[partition])],
    )


def commit_error(answer: Any) -> int:
    return int(answer.topics[0].partitions[0].error_code)


def until_refused(ask: Callable[[], int], times_max: int = 5000) -> int:
    """The error in the end; what is asked for is done until then."""
    for _ in range(times_max):
        error = ask()
        if error:
            return error
    raise AssertionError("never refused")


def fill(connection: RawConnection) -> None:
    """With commits, large ones and then small ones, as far as they are let."""
    for metadata in ("m" * 3000, ""):
        error = until_refused(
            lambda metadata=metadata: commit_error(connection.call(offset_commit(metadata), 7))
        )
        assert error == LOADING


def test_offset_commits_leave_room_for_ends(broker: oncelog.Broker, connection: RawConnection) -> None:
    producer = TransactionalProducer(connection, "ends")
    assert producer.produce("t", version=12).error_code == 0
    fill(connection)
    assert producer.end(True, version=5).error_code == 0
    assert produce(connection, "t", batch()).error_code == ErrorCode.NOT_ENOUGH_REPLICAS
    assert broker.failure is None


def test_a_memory_that_is_full_of_commits_can_be_restored(
    broker: oncelog.Broker, connection: RawConnection
) -> None:
    commit_offsets(connection, "g", ("t", 0, 7))
    snapshot = broker.snapshot()
    fill(connection)
    broker.restore(snapshot)
    again = RawConnection(broker.bootstrap)
    assert committed_offset(again, "g", "t").offset == 7
    assert commit_error(again.call(offset_commit("m" * 3000), 7)) == 0
    again.close()


def test_ends_that_are_asked_for_stop_before_the_last_rest(
    broker: oncelog.Broker, connection: RawConnection
) -> None:
    """An abort in the second generation moves the epoch on each time, whether anything is open or not."""
    open_one = TransactionalProducer(connection, "times out", timeout_ms=2000)
    assert open_one.produce("t", version=12).error_code == 0
    aborting = TransactionalProducer(connection, "aborts")
    fill(connection)

    def abort() -> int:
        request = EndTxnRequest(
            transactional_id="aborts",
            producer_id=aborting.producer_id,
            producer_epoch=aborting.epoch,
            committed=False,
        )
        answer = connection.call(request, 5)
        if not answer.error_code:
            aborting.epoch = answer.producer_epoch
        return int(answer.error_code)

    assert until_refused(abort) == LOADING
    wait_for(
        lambda: last_stable_offset(connection, "t") == log_end_offset(connection, "t"), "the timeout's abort"
    )
    broker.restore(broker.snapshot())
    assert broker.failure is None


def test_what_comes_in_one_turn_is_counted_before_it_is_durable(
    broker: oncelog.Broker, connection: RawConnection
) -> None:
    core = broker._core
    assert core is not None
    topic = OffsetToCommit(topic_id(connection, "t"), 0, 1, -1, "m" * 4000)
    command = CommitOffsets("g", -1, "", None, 7, -1, (topic,))

    async def execute_many() -> list[int]:
        return [int(core.engine.execute(command).errors[0]) for _ in range(MEMORY_BYTES // 4000 + 1)]

    errors = broker._call(execute_many)
    assert (errors[0], errors[-1]) == (0, LOADING)
    fill(connection)
    assert broker.failure is None


def test_each_api_that_makes_the_log_grow_is_told_so(connection: RawConnection) -> None:
    producer = TransactionalProducer(connection, "t")
    fill(connection)
    assert commit_error(connection.call(txn_offset_commit(producer), 5)) == LOADING
    numbers = count(2)

    def create() -> Any:
        topic = CreatableTopic(name=f"new{next(numbers)}", num_partitions=1, replication_factor=1)
        return connection.call(CreateTopicsRequest(topics=[topic], timeout_ms=1000), 5).topics[0]

    def grow() -> Any:
        topic = CreatePartitionsTopic(name="t", count=next(numbers), assignments=None)
        return connection.call(CreatePartitionsRequest(topics=[topic], timeout_ms=1000), 3).results[0]

    # What takes less than a commit may still fit once.
    for ask in (create, grow):
        assert until_refused(lambda ask=ask: ask().error_code, 9) == ErrorCode.POLICY_VIOLATION
        assert "nearly full; nothing was c" in ask().error_message


def txn_offset_commit(producer: TransactionalProducer) -> Message:
    partition = TxnOffsetCommitRequestPartition(partition_index=0, committed_offset=1, committed_metadata="")
    return TxnOffsetCommitRequest(
        transactional_id="t",
        group_id="g2",
        producer_id=producer.producer_id,
        producer_epoch=producer.epoch,
        topics=[TxnOffsetCommitRequestTopic(name="t", partitions=[partition])],
    )


# -- groups --


def member_of(broker: oncelog.Broker, group: str = "members", **options: Any) -> GroupMember:
    return GroupMember(lambda: RawConnection(broker.bootstrap), group, **options)


def test_members_without_room_for_their_generation_join_again_later(
    broker: oncelog.Broker, connection: RawConnection
) -> None:
    member = member_of(broker)
    assert member.join().error_code == 0
    assert member.sync({member.member_id: b"all"}).error_code == 0
    snapshot, member_id = broker.snapshot(), member.member_id
    fill(connection)
    assert member.join().error_code == LOADING
    assert member.heartbeat() == ErrorCode.UNKNOWN_MEMBER_ID
    # Found again, whatever the machine knew of it.
    for _ in range(3):
        member.member_id = ""
        assert member.join().error_code == LOADING
    member.connection.close()
    broker.restore(snapshot)
    back = member_of(broker, rebalance_timeout_ms=100)
    back.member_id = member_id
    assert back.join().error_code == 0
    back.connection.close()


def test_an_assignment_without_room_is_asked_for_again(
    broker: oncelog.Broker, connection: RawConnection
) -> None:
    member = member_of(broker)
    assert member.join().error_code == 0
    fill(connection)
    answer = member.sync({member.member_id: b"all"})
    assert answer.error_code == ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert member.heartbeat() == ErrorCode.REBALANCE_IN_PROGRESS
    assert member.leave() == 0
    member.connection.close()
    assert broker.failure is None


def test_a_static_member_without_room_for_its_new_id_joins_again_later(
    broker: oncelog.Broker, connection: RawConnection
) -> None:
    member = member_of(broker, instance="static")
    assert member.join().error_code == 0
    assert member.sync({member.member_id: b"all"}).error_code == 0
    fill(connection)
    back = member_of(broker, instance="static")
    assert back.join().error_code == LOADING
    for each in (member, back):
        each.connection.close()
    assert broker.failure is None


# -- the table and the tiers --


def test_every_command_has_its_refusal() -> None:
    assert REFUSALS.keys() == RULES.keys()


def test_a_group_without_members_is_an_end() -> None:
    empty = StartGeneration("g", 1, "consumer", None, None, ())
    assert tier_of(empty) == Tier.OWN
    assert tier_of(empty._replace(members=(None,))) == Tier.GROWS
    assert tier_of(EndTxn("t", 1, 0, True, True, None, "host")) == Tier.ENDS
    assert tier_of(DeleteGroup("g")) == Tier.ENDS


@pytest.mark.parametrize(
    ("reserve_bytes", "tier", "left_bytes"),
    [
        (80_000, Tier.GROWS, 40_000),
        (80_000, Tier.ENDS, 10_000),
        (80_000, Tier.OWN, 0),
        (1 << 50, Tier.GROWS, FOR_ENDS_BYTES_MAX),
        (0, Tier.GROWS, 0),
    ],
)
def test_a_tier_leaves_the_rest_to_the_next(reserve_bytes: int, tier: Tier, left_bytes: int) -> None:
    free_bytes = left_bytes + ENTRIES_BYTES + 1000

    async def watch() -> DiskSpace:
        deadlines = Deadlines(asyncio.get_running_loop(), pytest.fail)
        return DiskSpace(lambda: free_bytes, reserve_bytes, deadlines)

    space = asyncio.run(watch())
    assert space.has_room(tier, 1000)
    assert not space.has_room(tier, 1001)


def test_what_was_written_since_the_last_look_counts_until_the_next_one() -> None:
    left = [1_000_000]

    async def watch() -> DiskSpace:
        deadlines = Deadlines(asyncio.get_running_loop(), pytest.fail)
        return DiskSpace(lambda: left[-1], 80_000, deadlines)

    space = asyncio.run(watch())
    left.append(49_191)
    assert space.has_room(Tier.GROWS, 1000), "nothing was written as far as it knows"
    space.wrote(1)
    assert space.has_room(Tier.GROWS, 1000), "there is room enough without a look"
    assert not space.has_room(Tier.GROWS, 1_000_000), "and here it looked"
    assert not space.has_room(Tier.GROWS, 1000)
    assert space.has_room(Tier.GROWS, 999)


@pytest.mark.parametrize(
    ("is_memory", "said", "not_said"),
    [
        (
            True,
            "the memory is nearly full: 0 KiB are free, 78 KiB are kept in reserve "
            "(disk_reserve_bytes; an eighth of memory_bytes_max unless it was set)",
            "the disk",
        ),
        (
            False,
            "the disk is nearly full: 0 KiB are free, 78 KiB are kept in reserve (--disk-reserve-bytes)",
            "memory",
        ),
    ],
)
def test_what_is_full_is_called_by_its_name(
    caplog: pytest.LogCaptureFixture, is_memory: bool, said: str, not_said: str
) -> None:
    async def watch() -> None:
        deadlines = Deadlines(asyncio.get_running_loop(), pytest.fail)
        DiskSpace(lambda: 0, 80_000, deadlines, is_memory=is_memory)

    asyncio.run(watch())
    assert said in caplog.text
    assert not_said not in caplog.messages[0]
