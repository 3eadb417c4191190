"""Committed offsets by hand: who may commit, what is there when nothing is, and what deleting takes along."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.delete_groups import DeleteGroupsRequest
from oncelog.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from oncelog.wire.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
)
from oncelog.wire.messages.txn_offset_commit import (
    TxnOffsetCommitRequest,
    TxnOffsetCommitRequestPartition,
    TxnOffsetCommitRequestTopic,
)
from tests.support.fixtures import MakeTopic
from tests.support.members import GroupMember
from tests.support.raw import OpenConnection, RawConnection
from tests.support.speaking import (
    GROUP_KEY,
    TransactionalProducer,
    committed_offset,
    find_coordinator,
    settled,
)
from tests.support.waiting import wait_for

METADATA_MAX = 4096


def commit_plainly(
    connection: RawConnection,
    group_id: str,
    topic: str,
    offsets: Sequence[tuple[int, int, str]],
    *,
    generation: int = -1,
    member_id: str = "",
    version: int = 8,
) -> list[int]:
    """offsets: partition, offset, metadata. The error codes."""
    find_coordinator(connection, group_id, GROUP_KEY)
    partitions = [
        OffsetCommitRequestPartition(
            partition_index=partition, committed_offset=offset, committed_metadata=metadata
        )
        for partition, offset, metadata in offsets
    ]
    request = OffsetCommitRequest(
        group_id=group_id,
        generation_id_or_member_epoch=generation,
        member_id=member_id,
        topics=[OffsetCommitRequestTopic(name=topic, partitions=partitions)],
    )

    def ask() -> list[int]:
        return [int(each.error_code) for each in connection.call(request, version).topics[0].partitions]

    found: list[int] = settled(ask, lambda errors: errors[0])
    return found


def delete_group(connection: RawConnection, group_id: str) -> int:
    find_coordinator(connection, group_id, GROUP_KEY)
    request = DeleteGroupsRequest(groups_names=[group_id])
    return int(settled(lambda: connection.call(request, 2).results[0].error_code, int))


def delete_offset(connection: RawConnection, group_id: str, topic: str) -> int:
    partitions = [OffsetDeleteRequestPartition(partition_index=0)]
    request = OffsetDeleteRequest(
        group_id=group_id, topics=[OffsetDeleteRequestTopic(name=topic, partitions=partitions)]
    )
    answer = connection.call(request, 0)
    return int(answer.error_code or answer.topics[0].partitions[0].error_code)


# -- who may commit --


@pytest.mark.parametrize(
    ("version", "error"), [(8, ErrorCode.ILLEGAL_GENERATION), (9, ErrorCode.GROUP_ID_NOT_FOUND)]
)
def test_a_generation_of_a_group_that_does_not_exist(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str, version: int, error: ErrorCode
) -> None:
    topic = make_topic()
    told = commit_plainly(
        connection, unique_name, topic, [(0, 5, "")], generation=3, member_id="nobody", version=version
    )
    assert told == [error]
    assert committed_offset(connection, unique_name, topic).offset == -1


def test_a_group_comes_into_being_with_its_first_offset(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    """Without a generation nobody need have joined; in a transaction alike."""
    topic = make_topic()
    plain, transactional = f"{unique_name}-plain", f"{unique_name}-transactional"
    assert commit_plainly(connection, plain, topic, [(0, 5, "")]) == [0]
    producer = TransactionalProducer(connection, unique_name)
    assert producer.commit_offset(transactional, topic, 6, version=5) == 0
    assert producer.end(True, version=5).error_code == 0
    for group_id, offset in [(plain, 5), (transactional, 6)]:
        wait_for(
            lambda group_id=group_id, offset=offset: (
                committed_offset(connection, group_id, topic, require_stable=True).offset == offset
            ),
            "the offset",
        )
        assert delete_group(connection, group_id) == 0, "the group is there"


def test_metadata_that_is_too_long_costs_its_own_partition_only(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic(partitions=3)
    longest, too_long = "x" * METADATA_MAX, "x" * (METADATA_MAX + 1)
    told = commit_plainly(connection, unique_name, topic, [(0, 1, longest), (1, 2, too_long), (2, 3, "")])
    assert told == [0, ErrorCode.OFFSET_METADATA_TOO_LARGE, 0]
    found = [committed_offset(connection, unique_name, topic, partition=each) for each in range(3)]
    assert [(each.offset, len(each.metadata or "")) for each in found] == [(1, METADATA_MAX), (-1, 0), (3, 0)]


def test_offsets_in_a_transaction_are_checked_against_the_members(
    open_connection: OpenConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    """KIP-447: whose partitions have gone to another member commits nothing in a transaction either."""
    topic = make_topic()
    old = GroupMember(open_connection, unique_name, instance="one")
    assert old.join().error_code == 0
    assert old.sync({old.member_id: b"all"}).error_code == 0
    producer = TransactionalProducer(open_connection(), unique_name)
    assert producer.add_offsets(unique_name) == 0

    def commit(member_id: str, generation: int, instance: str | None) -> int:
        partition = TxnOffsetCommitRequestPartition(
            partition_index=0, committed_offset=5, committed_metadata=""
        )
        request = TxnOffsetCommitRequest(
            transactional_id=unique_name,
            group_id=unique_name,
            producer_id=producer.producer_id,
            producer_epoch=producer.epoch,
            generation_id_or_member_epoch=generation,
            member_id=member_id,
            group_instance_id=instance,
            topics=[TxnOffsetCommitRequestTopic(name=topic, partitions=[partition])],
        )
        return int(
            settled(lambda: producer.connection.call(request, 3).topics[0].partitions[0].error_code, int)
        )

    assert commit("nobody", old.generation, None) == ErrorCode.UNKNOWN_MEMBER_ID
    assert commit(old.member_id, old.generation + 1, "one") == ErrorCode.ILLEGAL_GENERATION
    new = GroupMember(open_connection, unique_name, instance="one")
    assert new.join().error_code == 0
    assert commit(old.member_id, old.generation, "one") == ErrorCode.FENCED_INSTANCE_ID
    assert commit(new.member_id, new.generation, "one") == 0
    assert commit("", -1, None) == 0, "who says nothing of a membership is not checked"


# -- what is there --


def test_nothing_committed_is_minus_one_and_no_error(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic(partitions=2)
    nothing = (-1, "", 0)
    assert committed_offset(connection, unique_name, topic) == nothing
    assert committed_offset(connection, unique_name, topic, require_stable=True) == nothing
    assert commit_plainly(connection, unique_name, topic, [(0, 5, "")]) == [0]
    assert committed_offset(connection, unique_name, topic, partition=1) == nothing
    assert committed_offset(connection, unique_name, topic, partition=99) == nothing
    assert committed_offset(connection, unique_name, f"{topic}-unknown") == nothing


# -- deleting --


@pytest.mark.parametrize("by", ["offset", "group"])
def test_what_is_deleted_does_not_come_back_with_a_commit_that_was_under_way(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str, by: str
) -> None:
    topic = make_topic()
    assert commit_plainly(connection, unique_name, topic, [(0, 3, "")]) == [0]
    producer = TransactionalProducer(connection, unique_name)
    assert producer.add_offsets(unique_name) == 0
    assert producer.commit_offset(unique_name, topic, 5) == 0
    if by == "offset":
        assert delete_offset(connection, unique_name, topic) == 0
    else:
        assert delete_group(connection, unique_name) == 0
    assert committed_offset(connection, unique_name, topic, require_stable=True) == (-1, "", 0)
    assert producer.end(True, version=3).error_code == 0
    again = TransactionalProducer(connection, unique_name)
    assert again.epoch > producer.epoch, "the end is behind us"
    assert committed_offset(connection, unique_name, topic, require_stable=True) == (-1, "", 0)


def test_only_a_group_without_members_is_deleted(
    open_connection: OpenConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    connection = open_connection()
    assert delete_group(connection, unique_name) == ErrorCode.GROUP_ID_NOT_FOUND
    member = GroupMember(open_connection, unique_name)
    member.join()
    member.sync({member.member_id: b"all"})
    assert member.commit(topic, 5) == 0
    assert delete_group(connection, unique_name) == ErrorCode.NON_EMPTY_GROUP
    assert member.leave() == 0
    assert committed_offset(connection, unique_name, topic).offset == 5, "Empty, and its offsets stay"
    assert delete_group(connection, unique_name) == 0
    assert committed_offset(connection, unique_name, topic).offset == -1
    assert delete_group(connection, unique_name) == ErrorCode.GROUP_ID_NOT_FOUND
