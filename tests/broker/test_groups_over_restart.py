"""A group when its broker is killed: what was answered stays so, what was under way begins again."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from oncelog.wire.errors import ErrorCode
from tests.support.members import GroupMember
from tests.support.raw import RawConnection
from tests.support.server import ServerProcess
from tests.support.speaking import committed_offset
from tests.support.topics import create_topic
from tests.support.waiting import wait_for

GROUP = "group"
Open = Callable[[], RawConnection]


@pytest.fixture
def opened(server_in: ServerProcess) -> Iterator[Open]:
    """Opens connections to a broker without the initial delay of rebalances."""
    server_in.environment["ONCELOG_GROUP_INITIAL_REBALANCE_DELAY_MS"] = "0"
    server_in.start()
    connections: list[RawConnection] = []

    def open_one() -> RawConnection:
        connections.append(RawConnection(server_in.bootstrap))
        return connections[-1]

    yield open_one
    for connection in connections:
        connection.close()


def restart(server: ServerProcess, opened: Open, *members: GroupMember) -> None:
    server.restart()
    for member in members:
        member.connection = opened()


def joined_pair(opened: Open, **options: int) -> tuple[GroupMember, GroupMember]:
    """A leader and a follower that have joined and have no assignment yet."""
    leader, follower = GroupMember(opened, GROUP, **options), GroupMember(opened, GROUP, **options)
    leader.join()
    leader.sync({leader.member_id: b"all"})
    follower.start_join()
    wait_for(lambda: leader.heartbeat() == ErrorCode.REBALANCE_IN_PROGRESS, "the rebalance")
    leader.join()
    follower.joined()
    return leader, follower


def test_a_stable_group_goes_on(server_in: ServerProcess, opened: Open) -> None:
    create_topic(server_in.bootstrap, "topic", 1, {})
    leader, follower = joined_pair(opened)
    follower.send_sync()
    leader.sync({leader.member_id: b"mine", follower.member_id: b"yours"})
    follower.synced()
    restart(server_in, opened, leader, follower)
    assert leader.heartbeat() == follower.heartbeat() == 0
    assert follower.sync().assignment == b"yours"
    assert follower.commit("topic", 5) == 0
    assert follower.commit("topic", 6, generation=1) == ErrorCode.ILLEGAL_GENERATION
    restart(server_in, opened, leader, follower)
    assert committed_offset(leader.connection, GROUP, "topic").offset == 5
    assert follower.leave() == 0
    assert leader.heartbeat() == ErrorCode.REBALANCE_IN_PROGRESS
    assert leader.join().generation_id == 3


def test_a_generation_without_assignment_still_waits_for_it(server_in: ServerProcess, opened: Open) -> None:
    leader, follower = joined_pair(opened)
    restart(server_in, opened, leader, follower)
    follower.send_sync()
    assert follower.connection.is_silent(0.1)
    leader.sync({leader.member_id: b"mine", follower.member_id: b"yours"})
    assert follower.synced().assignment == b"yours"


def test_a_rebalance_under_way_begins_again(server_in: ServerProcess, opened: Open) -> None:
    """The newcomer's join is lost with the process; the group is as it was until it asks again."""
    member = GroupMember(opened, GROUP)
    member.join()
    member.sync({member.member_id: b"all"})
    newcomer = GroupMember(opened, GROUP)
    newcomer.start_join()
    wait_for(lambda: member.heartbeat() == ErrorCode.REBALANCE_IN_PROGRESS, "the rebalance")
    restart(server_in, opened, member, newcomer)
    assert member.heartbeat() == 0
    newcomer.send_join()
    assert newcomer.joined().error_code == ErrorCode.UNKNOWN_MEMBER_ID
    newcomer.member_id = ""
    newcomer.start_join()
    wait_for(lambda: member.heartbeat() == ErrorCode.REBALANCE_IN_PROGRESS, "the rebalance")
    assert member.join().generation_id == newcomer.joined().generation_id == 2


def test_a_fenced_static_member_stays_fenced(server_in: ServerProcess, opened: Open) -> None:
    old = GroupMember(opened, GROUP, instance="one")
    old.join()
    old.sync({old.member_id: b"all"})
    new = GroupMember(opened, GROUP, instance="one")
    assert new.join().generation_id == 1
    restart(server_in, opened, old, new)
    assert old.heartbeat() == ErrorCode.FENCED_INSTANCE_ID
    assert new.sync().assignment == b"all"


def test_who_does_not_come_back_to_sync_is_out(server_in: ServerProcess, opened: Open) -> None:
    """After a restart a generation without assignment has a full rebalance timeout to sync."""
    leader, follower = joined_pair(opened, rebalance_timeout_ms=500, session_timeout_ms=60_000)
    restart(server_in, opened, leader, follower)
    assert follower.sync().error_code == ErrorCode.REBALANCE_IN_PROGRESS
    assert leader.heartbeat() == ErrorCode.UNKNOWN_MEMBER_ID
