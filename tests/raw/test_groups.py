"""Classic groups, request by request (KIP-62, KIP-345, KIP-394): who gets in, who waits, who must go."""

from __future__ import annotations

import pytest

from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.describe_groups import DescribeGroupsRequest
from tests.support.fixtures import MakeTopic
from tests.support.members import GroupMember, subscription
from tests.support.raw import OpenConnection
from tests.support.speaking import committed_offset
from tests.support.waiting import wait_for

RANGE, STICKY = ("range", subscription(b"r")), ("sticky", subscription(b"s"))


@pytest.fixture
def member(open_connection: OpenConnection, unique_name: str) -> GroupMember:
    return GroupMember(open_connection, unique_name)


def pair(open_connection: OpenConnection, group_id: str, **options: int) -> tuple[GroupMember, GroupMember]:
    """A leader and a follower in a Stable group."""
    leader = GroupMember(open_connection, group_id, **options)
    alone(leader)
    follower = GroupMember(open_connection, group_id, **options)
    follower.start_join()
    wait_for(lambda: leader.heartbeat() == ErrorCode.REBALANCE_IN_PROGRESS, "the rebalance")
    leader.join()
    follower.joined()
    follower.send_sync()
    leader.sync({leader.member_id: b"for the leader", follower.member_id: b"for the follower"})
    follower.synced()
    return leader, follower


def alone(member: GroupMember) -> GroupMember:
    """A group of one, Stable."""
    assert member.join().error_code == 0
    assert member.sync({member.member_id: b"all"}).error_code == 0
    return member


def state_of(member: GroupMember) -> str:
    request = DescribeGroupsRequest(groups=[member.group_id], include_authorized_operations=False)
    return str(member.connection.call(request, 5).groups[0].group_state)


# -- getting in --


@pytest.mark.parametrize("version", range(10))
def test_a_group_of_one_in_every_version(member: GroupMember, version: int) -> None:
    joined = member.join(version)
    assert (joined.error_code, joined.generation_id, joined.protocol_name) == (0, 1, "range")
    assert joined.leader == joined.member_id == member.member_id
    assert [(each.member_id, each.metadata) for each in joined.members] == [
        (member.member_id, subscription(b""))
    ]
    assert joined.protocol_type == ("consumer" if version >= 7 else None)
    synced = member.sync({member.member_id: b"all"}, min(version, 5))
    assert (synced.error_code, synced.assignment) == (0, b"all")
    assert member.heartbeat(min(version, 4)) == 0
    assert member.leave(min(version, 5)) == 0
    assert member.heartbeat(min(version, 4)) == ErrorCode.UNKNOWN_MEMBER_ID


def test_a_newcomer_is_given_its_id_first(member: GroupMember) -> None:
    member.send_join(4)
    answer = member.joined()
    assert (answer.error_code, answer.generation_id) == (ErrorCode.MEMBER_ID_REQUIRED, -1)
    assert answer.member_id.startswith("oncelog-raw-tests-")
    assert member.join(4).member_id == answer.member_id


@pytest.mark.parametrize("session_timeout_ms", [0, -1, 5_999, 1_800_001])
def test_a_session_timeout_out_of_bounds(
    open_connection: OpenConnection, unique_name: str, session_timeout_ms: int
) -> None:
    member = GroupMember(open_connection, unique_name, session_timeout_ms=session_timeout_ms)
    member.send_join()
    assert member.joined().error_code == ErrorCode.INVALID_SESSION_TIMEOUT


def test_a_group_needs_a_name(member: GroupMember) -> None:
    member.group_id = ""
    member.send_join()
    assert member.joined().error_code == ErrorCode.INVALID_GROUP_ID
    assert member.sync().error_code == ErrorCode.INVALID_GROUP_ID
    assert member.heartbeat() == ErrorCode.INVALID_GROUP_ID
    assert member.leave() == ErrorCode.INVALID_GROUP_ID


def test_a_member_id_that_nobody_gave_out(open_connection: OpenConnection, unique_name: str) -> None:
    stranger = GroupMember(open_connection, unique_name)
    stranger.member_id = "made-up"
    for is_there in (False, True):
        if is_there:
            alone(GroupMember(open_connection, unique_name))
        stranger.send_join()
        assert stranger.joined().error_code == ErrorCode.UNKNOWN_MEMBER_ID
        assert stranger.sync(generation=1).error_code == ErrorCode.UNKNOWN_MEMBER_ID
        assert stranger.heartbeat(generation=1) == ErrorCode.UNKNOWN_MEMBER_ID
        assert stranger.leave() == ErrorCode.UNKNOWN_MEMBER_ID


@pytest.mark.parametrize(
    ("protocol_type", "protocols"),
    [("connect", [RANGE]), ("consumer", [STICKY]), ("consumer", []), ("", [RANGE])],
    ids=["another type", "no common protocol", "no protocol", "no type"],
)
def test_who_does_not_fit_in(
    open_connection: OpenConnection, unique_name: str, protocol_type: str, protocols: list[tuple[str, bytes]]
) -> None:
    alone(GroupMember(open_connection, unique_name, protocols=[RANGE]))
    other = GroupMember(open_connection, unique_name, protocol_type=protocol_type, protocols=protocols)
    other.send_join()
    assert other.joined().error_code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL


def test_the_protocol_that_all_have_wins(open_connection: OpenConnection, unique_name: str) -> None:
    first = alone(GroupMember(open_connection, unique_name, protocols=[RANGE, STICKY]))
    second = GroupMember(open_connection, unique_name, protocols=[STICKY])
    second.start_join()
    wait_for(lambda: first.heartbeat() == ErrorCode.REBALANCE_IN_PROGRESS, "the rebalance")
    led, followed = first.join(), second.joined()
    assert led.protocol_name == followed.protocol_name == "sticky"
    assert [each.metadata for each in led.members] == [STICKY[1]] * 2
    assert (followed.leader, followed.members) == (first.member_id, [])
    assert led.generation_id == followed.generation_id == 2


# -- rebalancing --


def test_a_newcomer_waits_until_the_others_have_joined(
    open_connection: OpenConnection, member: GroupMember
) -> None:
    alone(member)
    newcomer = GroupMember(open_connection, member.group_id)
    newcomer.start_join()
    wait_for(lambda: state_of(member) == "PreparingRebalance", "the rebalance")
    assert newcomer.connection.is_silent(0.2)
    assert member.heartbeat() == ErrorCode.REBALANCE_IN_PROGRESS
    assert member.sync().error_code == ErrorCode.REBALANCE_IN_PROGRESS
    assert member.join().error_code == 0
    assert newcomer.joined().generation_id == 2


def test_a_follower_waits_for_the_leaders_assignment(
    open_connection: OpenConnection, member: GroupMember
) -> None:
    leader, follower = alone(member), GroupMember(open_connection, member.group_id)
    follower.start_join()
    wait_for(lambda: leader.heartbeat() == ErrorCode.REBALANCE_IN_PROGRESS, "the rebalance")
    leader.join()
    follower.joined()
    assert state_of(leader) == "CompletingRebalance"
    follower.send_sync()
    assert follower.connection.is_silent(0.2)
    synced = leader.sync({leader.member_id: b"mine", follower.member_id: b"yours"})
    assert (synced.assignment, follower.synced().assignment) == (b"mine", b"yours")
    assert state_of(leader) == "Stable"
    assert follower.sync().assignment == b"yours", "asked again, it is told again"


def test_a_member_without_an_assignment_gets_an_empty_one(
    member: GroupMember,
) -> None:
    member.join()
    assert member.sync({"somebody-else": b"x"}).assignment == b""


def test_a_member_that_leaves_sets_off_a_rebalance(open_connection: OpenConnection, unique_name: str) -> None:
    leader, follower = pair(open_connection, unique_name)
    assert follower.leave() == 0
    assert leader.heartbeat() == ErrorCode.REBALANCE_IN_PROGRESS
    joined = leader.join()
    assert [each.member_id for each in joined.members] == [leader.member_id]
    assert joined.generation_id == 3


def test_the_follower_takes_over_when_the_leader_leaves(
    open_connection: OpenConnection, unique_name: str
) -> None:
    leader, follower = pair(open_connection, unique_name)
    assert leader.leave() == 0
    joined = follower.join()
    assert joined.leader == follower.member_id
    assert len(joined.members) == 1


def test_a_follower_that_joins_again_unchanged_gets_the_same_generation(
    open_connection: OpenConnection, unique_name: str
) -> None:
    leader, follower = pair(open_connection, unique_name)
    assert follower.join().generation_id == 2
    assert leader.heartbeat() == 0, "nobody was disturbed"
    follower.protocols = [("range", subscription(b"another"))]
    follower.send_join()
    wait_for(lambda: leader.heartbeat() == ErrorCode.REBALANCE_IN_PROGRESS, "the rebalance")
    leader.join()
    assert follower.joined().generation_id == 3


def test_a_join_whose_answer_was_lost_is_answered_again(
    open_connection: OpenConnection, unique_name: str
) -> None:
    """Before the assignment, and for a leader too: nothing has changed, so nobody joins anew."""
    leader, follower = pair(open_connection, unique_name)
    leader.send_join()
    wait_for(lambda: follower.heartbeat() == ErrorCode.REBALANCE_IN_PROGRESS, "the rebalance")
    follower.join()
    leader.joined()
    again = leader.join()
    assert (again.generation_id, len(again.members)) == (3, 2)
    assert follower.join().generation_id == 3
    assert leader.sync({leader.member_id: b"all"}).assignment == b"all"


def test_who_has_left_commits_nothing(
    open_connection: OpenConnection, unique_name: str, make_topic: MakeTopic
) -> None:
    """The others have not joined again yet, so the generation is still its own."""
    topic = make_topic()
    leader, follower = pair(open_connection, unique_name)
    assert follower.leave() == 0
    assert follower.commit(topic, 5) == ErrorCode.UNKNOWN_MEMBER_ID
    assert leader.commit(topic, 6) == 0, "who stays commits what it has done before it joins again"
    assert committed_offset(leader.connection, unique_name, topic).offset == 6


def test_a_leader_that_joins_again_sets_off_a_rebalance(
    open_connection: OpenConnection, unique_name: str
) -> None:
    """A leader does so when it sees other partitions."""
    leader, follower = pair(open_connection, unique_name)
    leader.send_join()
    wait_for(lambda: follower.heartbeat() == ErrorCode.REBALANCE_IN_PROGRESS, "the rebalance")
    follower.join()
    assert leader.joined().generation_id == 3


def test_who_does_not_join_in_time_is_out(open_connection: OpenConnection, unique_name: str) -> None:
    leader, follower = pair(open_connection, unique_name, rebalance_timeout_ms=300)
    leader.send_join()
    joined = leader.joined()
    assert [each.member_id for each in joined.members] == [leader.member_id]
    assert follower.heartbeat() == ErrorCode.UNKNOWN_MEMBER_ID


def test_who_does_not_sync_in_time_is_out(open_connection: OpenConnection, unique_name: str) -> None:
    """Here it is the leader, so that nobody has an assignment."""
    leader, follower = pair(open_connection, unique_name, rebalance_timeout_ms=500)
    leader.send_join()
    wait_for(lambda: follower.heartbeat() == ErrorCode.REBALANCE_IN_PROGRESS, "the rebalance")
    follower.join()
    leader.joined()
    assert follower.sync().error_code == ErrorCode.REBALANCE_IN_PROGRESS
    assert leader.heartbeat() == ErrorCode.UNKNOWN_MEMBER_ID, "before anybody has joined again"
    assert follower.join().leader == follower.member_id


# -- fencing --


@pytest.mark.parametrize("step", [-1, 1])
def test_a_wrong_generation(member: GroupMember, make_topic: MakeTopic, step: int) -> None:
    topic = make_topic()
    alone(member)
    wrong = member.generation + step
    assert member.heartbeat(generation=wrong) == ErrorCode.ILLEGAL_GENERATION
    assert member.sync(generation=wrong).error_code == ErrorCode.ILLEGAL_GENERATION
    assert member.commit(topic, 5, generation=wrong) == ErrorCode.ILLEGAL_GENERATION
    assert committed_offset(member.connection, member.group_id, topic).offset == -1


def test_a_sync_names_the_groups_protocol(member: GroupMember) -> None:
    member.join()
    error = ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert member.sync(protocol="sticky").error_code == error
    assert member.sync(protocol_type="connect").error_code == error
    assert member.sync({member.member_id: b"all"}).error_code == 0


@pytest.mark.parametrize("version", [2, 5, 7, 9])
def test_a_member_commits_and_a_stranger_does_not(
    open_connection: OpenConnection, member: GroupMember, make_topic: MakeTopic, version: int
) -> None:
    topic = make_topic()
    alone(member)
    assert member.commit(topic, 5, version) == 0
    outsider = GroupMember(open_connection, member.group_id)
    assert outsider.commit(topic, 6, version) == ErrorCode.UNKNOWN_MEMBER_ID
    assert committed_offset(member.connection, member.group_id, topic).offset == 5
    assert member.leave() == 0
    assert outsider.commit(topic, 7, version) == 0, "an Empty group takes commits from outside"
    assert committed_offset(member.connection, member.group_id, topic).offset == 7


def test_no_commits_before_the_assignment(member: GroupMember, make_topic: MakeTopic) -> None:
    topic = make_topic()
    member.join()
    assert member.commit(topic, 5) == ErrorCode.REBALANCE_IN_PROGRESS
    member.sync({member.member_id: b"all"})
    assert member.commit(topic, 5) == 0


# -- static members --


def test_a_static_member_that_comes_back_fences_its_predecessor(
    open_connection: OpenConnection, unique_name: str, make_topic: MakeTopic
) -> None:
    topic = make_topic()
    old = alone(GroupMember(open_connection, unique_name, instance="one"))
    new = GroupMember(open_connection, unique_name, instance="one")
    joined = new.join()
    assert (joined.error_code, joined.generation_id) == (0, 1)
    assert new.member_id != old.member_id
    assert old.heartbeat() == ErrorCode.FENCED_INSTANCE_ID
    assert old.sync().error_code == ErrorCode.FENCED_INSTANCE_ID
    assert old.commit(topic, 1) == ErrorCode.FENCED_INSTANCE_ID
    assert old.leave() == ErrorCode.FENCED_INSTANCE_ID
    old.send_join()
    assert old.joined().error_code == ErrorCode.FENCED_INSTANCE_ID
    assert new.sync().assignment == b"all"
    assert new.heartbeat() == 0


@pytest.mark.parametrize("version", [7, 9])
def test_a_static_leader_that_comes_back_is_not_asked_to_assign(
    open_connection: OpenConnection, unique_name: str, version: int
) -> None:
    """From version 9 on it is told that it leads and may skip the assignment (KIP-814)."""
    alone(GroupMember(open_connection, unique_name, instance="one"))
    new = GroupMember(open_connection, unique_name, instance="one")
    joined = new.join(version)
    assert joined.skip_assignment == (version >= 9)
    assert (joined.leader == new.member_id) == (version >= 9)
    assert len(joined.members) == (1 if version >= 9 else 0)


def test_a_static_member_that_votes_for_another_protocol_sets_off_a_rebalance(
    open_connection: OpenConnection, unique_name: str
) -> None:
    alone(GroupMember(open_connection, unique_name, instance="one", protocols=[RANGE, STICKY]))
    new = GroupMember(open_connection, unique_name, instance="one", protocols=[STICKY, RANGE])
    joined = new.join()
    assert (joined.error_code, joined.generation_id, joined.protocol_name) == (0, 2, "sticky")


def test_a_static_member_is_removed_by_its_instance_id(
    open_connection: OpenConnection, unique_name: str
) -> None:
    member = alone(GroupMember(open_connection, unique_name, instance="one"))
    administrator = GroupMember(open_connection, unique_name, instance="one")
    assert administrator.leave() == 0
    assert administrator.leave() == ErrorCode.UNKNOWN_MEMBER_ID
    assert member.heartbeat() == ErrorCode.UNKNOWN_MEMBER_ID
    assert state_of(member) == "Empty"


# -- sessions --


@pytest.mark.slow
def test_a_silent_member_is_out_at_the_end_of_its_session(
    open_connection: OpenConnection, unique_name: str
) -> None:
    """6 s is the shortest session by default."""
    leader, follower = pair(open_connection, unique_name, session_timeout_ms=6_000)
    wait_for(lambda: leader.heartbeat() == ErrorCode.REBALANCE_IN_PROGRESS, "the follower's end", pause_s=0.2)
    assert [each.member_id for each in leader.join().members] == [leader.member_id]
    assert follower.heartbeat() == ErrorCode.UNKNOWN_MEMBER_ID


def test_a_member_that_is_gone_while_it_waits_does_not_disturb(
    open_connection: OpenConnection, member: GroupMember
) -> None:
    """Its connection is gone, its member stays until its session or the rebalance ends."""
    alone(member)
    gone = GroupMember(open_connection, member.group_id, rebalance_timeout_ms=500)
    gone.start_join()
    wait_for(lambda: member.heartbeat() == ErrorCode.REBALANCE_IN_PROGRESS, "the rebalance")
    gone.connection.close()
    assert member.join().error_code == 0
    assert member.sync({member.member_id: b"all"}).error_code == 0
    assert member.heartbeat() == 0
