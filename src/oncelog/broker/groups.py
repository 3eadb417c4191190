"""The group coordinator: it gathers members into generations and watches them (KIP-62, KIP-345, KIP-394).

Everything between two generations lives here and is lost with the process: parked JoinGroups and
SyncGroups, sessions, pending member ids. What becomes true is a command to the machine; here things are
refused or wait, but are never granted. It must not know sockets, frames or message versions: the API files
translate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from oncelog.broker.engine import EngineFailed
from oncelog.broker.live_group import (
    GroupState,
    JoinResult,
    LiveGroup,
    LiveMember,
    SyncResult,
    Timer,
    Usage,
)
from oncelog.machine.commands import (
    CommitOffsets,
    CommitOffsetsReply,
    DeleteGroup,
    DeleteOffsets,
    DeleteOffsetsReply,
    ExpireOffsets,
    ReplaceStaticMember,
    StartGeneration,
    StoreAssignment,
    TxnOffsetCommit,
    TxnOffsetCommitReply,
)
from oncelog.machine.group_state import MemberProtocol
from oncelog.machine.groups import check_member, check_sender
from oncelog.machine.state import State
from oncelog.wire.errors import ErrorCode

EXPIRY_CHUNK_OFFSETS = 1000
"""What one step of the expiry sweep looks at, so that no step holds up the loop."""
EXPIRY_PAUSE_MS = 10
LOOK_AGAIN_MIN_MS = 1000
"""A rebalance that nobody has joined is looked at again later, even if its members gave it no time."""
MEMBER_ID_PREFIX_CHARACTERS_MAX = 255


@dataclass(frozen=True, slots=True)
class GroupOptions:
    """Kafka's options of these names, and limits of our own.

    new_member_join_timeout_ms: how long who was never told its member id may stay parked; Kafka's 5 minutes.
    group_bytes_max: subscriptions, or assignments, of all members of a group; a generation is one event.
    members_bytes_max: of all members of all groups, and of ids given out to newcomers.
    """

    group_min_session_timeout_ms: int = 6_000
    group_max_session_timeout_ms: int = 1_800_000
    group_initial_rebalance_delay_ms: int = 3_000
    offsets_retention_ms: int = 10_080 * 60_000
    offsets_retention_check_interval_ms: int = 600_000
    new_member_join_timeout_ms: int = 300_000
    group_bytes_max: int = 16 * 1024 * 1024
    members_bytes_max: int = 256 * 1024 * 1024


class Facts(Protocol):
    """What the coordinator needs of the engine."""

    @property
    def state(self) -> State: ...

    def execute(self, command: Any) -> Any: ...

    def age_ms(self) -> int: ...


class Timers(Protocol):
    """What the coordinator needs of the deadlines."""

    def after(self, delay_ms: float, callback: Callable[[], None]) -> Timer: ...


class JoinRequest(NamedTuple):
    """JoinGroup as it is meant, whatever its version.

    needs_known_member_id: a newcomer is given an id first and joins with it (version 4 on, KIP-394).
    knows_skip_assignment: a leader can be told not to assign again (version 9 on, KIP-814).
    """

    group_id: str
    member_id: str
    group_instance_id: str | None
    client_id: str
    client_host: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocol_type: str
    protocols: tuple[MemberProtocol, ...]
    needs_known_member_id: bool
    knows_skip_assignment: bool

    def bytes_count(self) -> int:
        names = len(self.client_id) + len(self.group_instance_id or "")
        return names + sum(len(name) + len(metadata) for name, metadata in self.protocols)


class SyncRequest(NamedTuple):
    """SyncGroup; protocol_type and protocol are None where the sender doesn't say."""

    group_id: str
    generation: int
    member_id: str
    group_instance_id: str | None
    protocol_type: str | None
    protocol: str | None
    assignments: tuple[tuple[str, bytes], ...]


class LeavingMember(NamedTuple):
    """Who should leave; without a member id, the static member of that instance id."""

    member_id: str
    group_instance_id: str | None


class LeaveResult(NamedTuple):
    """error is about the group; errors has one for each leaving member, in the order asked."""

    error: ErrorCode
    errors: tuple[ErrorCode, ...]


class DescribedMember(NamedTuple):
    """A member as DescribeGroups shows it; what it subscribed to and got is shown in a Stable group only."""

    member_id: str
    group_instance_id: str | None
    client_id: str
    client_host: str
    metadata: bytes
    assignment: bytes


class DescribedGroup(NamedTuple):
    state: str
    protocol_type: str
    protocol: str
    members: tuple[DescribedMember, ...]


class ListedGroup(NamedTuple):
    group_id: str
    protocol_type: str
    state: str


class GroupCoordinator:
    """All groups of one broker. At its start the members of all generations are taken for alive."""

    def __init__(
        self,
        facts: Facts,
        timers: Timers,
        random_uuid: Callable[[], bytes],
        options: GroupOptions,
    ) -> None:
        self._facts = facts
        self._timers = timers
        self._random_uuid = random_uuid
        self._options = options
        self._groups: dict[str, LiveGroup] = {}
        self._usage = Usage()
        # Answers leave when the state has settled: one of them may let the next request of its connection in.
        self._answers: deque[Callable[[], None]] = deque()
        for fact in facts.state.groups.values():
            if not fact.is_empty:
                self._resume(LiveGroup.from_fact(fact, self._usage))
        self._sweep_later()

    def _resume(self, group: LiveGroup) -> None:
        """After a restart each member has a full session, and who owes a SyncGroup a full sync timeout."""
        self._groups[group.id] = group
        for member in group.members.values():
            self._renew(group, member, member.session_timeout_ms)
        if group.state is GroupState.COMPLETING_REBALANCE:
            self._await_syncs(group)

    # --- joining ---

    def join(self, request: JoinRequest, respond: Callable[[JoinResult], None]) -> None:
        """Answer, or park until the rebalance is complete."""
        result = self._join(request, respond)
        if result is not None:
            self._answers.append(partial(respond, result))
        self._answer()

    def _join(self, request: JoinRequest, respond: Callable[[JoinResult], None]) -> JoinResult | None:
        """The answer that can be given at once, or None when `respond` is parked or will be called."""
        options = self._options
        member_id = request.member_id
        if not request.group_id:
            return JoinResult(ErrorCode.INVALID_GROUP_ID, member_id)
        if not (
            options.group_min_session_timeout_ms
            <= request.session_timeout_ms
            <= options.group_max_session_timeout_ms
        ):
            return JoinResult(ErrorCode.INVALID_SESSION_TIMEOUT, member_id)
        group = self._find(request.group_id)
        if group is None:
            if member_id:
                return JoinResult(ErrorCode.UNKNOWN_MEMBER_ID, member_id)
            group = LiveGroup(request.group_id, self._usage)
        error = self._check_room(group, request)
        if error:
            return JoinResult(error, "" if error == ErrorCode.GROUP_MAX_SIZE_REACHED else member_id)
        if not group.supports(request.protocol_type, request.protocols):
            return JoinResult(ErrorCode.INCONSISTENT_GROUP_PROTOCOL, member_id)
        if member_id:
            return self._join_known(group, request, respond)
        return self._join_new(group, request, respond)

    def _find(self, group_id: str) -> LiveGroup | None:
        """The live group, or one made from the machine's; that is not kept until somebody is in it."""
        group = self._groups.get(group_id)
        if group is None:
            fact = self._facts.state.groups.get(group_id)
            if fact is not None:
                assert fact.is_empty, "a group with members is live"
                return LiveGroup.from_fact(fact, self._usage)
        return group

    def _check_room(self, group: LiveGroup, request: JoinRequest) -> ErrorCode:
        """Limits, before anybody new is let in. Source: GroupMetadataManager.acceptJoiningMember."""
        state = self._facts.state
        limits = state.limits
        if group.id not in self._groups and (
            len(self._groups) >= limits.groups_max
            or (group.id not in state.groups and len(state.groups) >= limits.groups_max)
        ):
            return ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
        member_id = request.member_id
        if not member_id and request.group_instance_id is not None:
            member_id = group.static_members.get(request.group_instance_id, "")
        member = group.members.get(member_id)
        if group.state is GroupState.PREPARING_REBALANCE:
            is_full = (member is None or member.join is None) and group.next_is_full(
                limits.group_members_max, besides=member
            )
        else:
            is_full = member is None and len(group.members) >= limits.group_members_max
        bytes_freed = 0 if member is None else member.bytes_count()
        if (
            is_full
            or (not member_id and len(group.pending) >= limits.group_members_max)
            or group.bytes_kept - bytes_freed + request.bytes_count() > self._options.group_bytes_max
        ):
            return ErrorCode.GROUP_MAX_SIZE_REACHED
        bytes_added = request.bytes_count() - bytes_freed
        if bytes_added > 0 and self._usage.size_bytes + bytes_added > self._options.members_bytes_max:
            return ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
        return ErrorCode.NONE

    def _join_new(
        self, group: LiveGroup, request: JoinRequest, respond: Callable[[JoinResult], None]
    ) -> JoinResult | None:
        prefix = (request.group_instance_id or request.client_id)[:MEMBER_ID_PREFIX_CHARACTERS_MAX]
        member_id = f"{prefix}-{UUID(bytes=self._random_uuid())}"
        if request.group_instance_id is not None:
            old_member_id = group.static_members.get(request.group_instance_id)
            if old_member_id is not None:
                return self._replace_static(group, group.members[old_member_id], member_id, request, respond)
        elif request.needs_known_member_id:
            self._groups[group.id] = group
            group.give_out(
                member_id, self._after(request.session_timeout_ms, self._pending_expired, group, member_id)
            )
            return JoinResult(ErrorCode.MEMBER_ID_REQUIRED, member_id)
        self._add(group, member_id, request, respond)
        return None

    def _join_known(
        self, group: LiveGroup, request: JoinRequest, respond: Callable[[JoinResult], None]
    ) -> JoinResult | None:
        member_id = request.member_id
        if member_id in group.pending and request.group_instance_id is None:
            group.take_back(member_id)
            self._add(group, member_id, request, respond)
            return None
        error = check_member(group.members, group.static_members, member_id, request.group_instance_id)
        if error:
            return JoinResult(error, member_id)
        member = group.members[member_id]
        is_unchanged = member.protocols == request.protocols
        is_leader = group.leader == member_id
        if group.state is GroupState.COMPLETING_REBALANCE and is_unchanged:
            return self._current_generation(group, member)
        if group.state is GroupState.STABLE and is_unchanged and not is_leader:
            return self._current_generation(group, member)
        group.update(member, request)
        self._park_join(group, member, respond)
        self._rebalance(group)
        return None

    def _add(
        self, group: LiveGroup, member_id: str, request: JoinRequest, respond: Callable[[JoinResult], None]
    ) -> None:
        self._groups[group.id] = group
        if not group.members:
            group.protocol_type = request.protocol_type
        member = LiveMember.from_request(member_id, request)
        member.is_new = True
        group.add(member)
        if group.state is GroupState.PREPARING_REBALANCE and group.is_initial:
            group.has_newcomers = True
        self._park_join(group, member, respond)
        # A disconnect isn't seen while the join is parked; without a limit, who gave up would stay for ever.
        self._renew(group, member, self._options.new_member_join_timeout_ms)
        self._rebalance(group)

    def _park_join(self, group: LiveGroup, member: LiveMember, respond: Callable[[JoinResult], None]) -> None:
        """An older parked join of the same member is answered: its sender has asked again."""
        self._finish_join(group, member, JoinResult(ErrorCode.REBALANCE_IN_PROGRESS, member.member_id))
        member.join = respond
        group.joined_count += 1

    def _finish_join(self, group: LiveGroup, member: LiveMember, result: JoinResult) -> None:
        if member.join is not None:
            self._answers.append(partial(member.join, result))
            member.join = None
            group.joined_count -= 1

    def _current_generation(self, group: LiveGroup, member: LiveMember) -> JoinResult:
        is_leader = group.leader == member.member_id
        return JoinResult(
            ErrorCode.NONE,
            member.member_id,
            generation=group.generation,
            protocol_type=group.protocol_type,
            protocol=group.protocol,
            leader=group.leader or "",
            members=group.joined_members() if is_leader else (),
        )

    def _replace_static(
        self,
        group: LiveGroup,
        old: LiveMember,
        member_id: str,
        request: JoinRequest,
        respond: Callable[[JoinResult], None],
    ) -> JoinResult | None:
        """A static member came back without its member id; whoever uses the old one is fenced (KIP-345)."""
        old_leader = group.leader or ""
        self._finish_join(group, old, JoinResult(ErrorCode.FENCED_INSTANCE_ID, old.member_id))
        self._finish_sync(old, SyncResult(ErrorCode.FENCED_INSTANCE_ID))
        self._end_session(old)
        member = LiveMember.from_request(member_id, request)
        group.replace(old, member)
        self._renew(group, member, member.session_timeout_ms)
        if group.state is not GroupState.STABLE or group.choose_protocol() != group.protocol:
            self._park_join(group, member, respond)
            self._rebalance(group)
            return None
        reply = self._facts.execute(
            ReplaceStaticMember(group.id, group.generation, old.member_id, member.as_fact())
        )
        if reply.error:
            # There is no room for it: what a rebalance comes to decides.
            self._park_join(group, member, respond)
            self._rebalance(group)
            return None
        result = self._current_generation(group, member)
        if request.knows_skip_assignment:
            return result._replace(skip_assignment=bool(result.members))
        # Before KIP-814 a leader can't be told to leave the assignment alone; it isn't told that it leads.
        return result._replace(leader=old_leader, members=())

    # --- rebalancing ---

    def _rebalance(self, group: LiveGroup) -> None:
        """The members have changed: begin a rebalance, or see whether the current one is complete."""
        if group.state is GroupState.PREPARING_REBALANCE:
            if not group.is_initial and group.all_have_joined:
                self._complete_joins(group)
            return
        self._fail_syncs(group, ErrorCode.REBALANCE_IN_PROGRESS)
        _stop(group.sync_timer)
        group.unsynced.clear()
        group.is_initial = group.state is GroupState.EMPTY
        group.state = GroupState.PREPARING_REBALANCE
        if group.is_initial:
            delay_ms = self._options.group_initial_rebalance_delay_ms
            self._wait_for_more(group, delay_ms, max(group.rebalance_timeout_ms - delay_ms, 0))
        elif group.all_have_joined:
            self._complete_joins(group)
        else:
            group.join_timer = self._after(group.rebalance_timeout_ms, self._complete_joins, group)

    def _wait_for_more(self, group: LiveGroup, delay_ms: int, remaining_ms: int) -> None:
        """The first members of an Empty group wait, so that those who start with them are not too late."""
        group.has_newcomers = False
        if delay_ms <= 0:
            self._complete_joins(group)
            return
        group.join_timer = self._after(delay_ms, self._waited_for_more, group, remaining_ms)

    def _waited_for_more(self, group: LiveGroup, remaining_ms: int) -> None:
        delay_ms = min(self._options.group_initial_rebalance_delay_ms, remaining_ms)
        if group.has_newcomers and delay_ms > 0:
            self._wait_for_more(group, delay_ms, remaining_ms - delay_ms)
        else:
            self._complete_joins(group)

    def _complete_joins(self, group: LiveGroup) -> None:
        """Everybody has joined, or had the time to: those who are here are the next generation."""
        assert group.state is GroupState.PREPARING_REBALANCE
        _stop(group.join_timer)
        for member in group.not_joined():
            self._remove(group, member)
        if group.members and not group.elect_joined_leader():
            # Only static members that are away are left: wait until one is back, or their sessions end.
            pause_ms = max(group.rebalance_timeout_ms, LOOK_AGAIN_MIN_MS)
            group.join_timer = self._after(pause_ms, self._complete_joins, group)
            return
        group.is_initial = False
        group.protocol = group.choose_protocol() if group.members else None
        error = self._start_generation(group)
        if error:
            self._abandon(group, error)
            return
        group.generation += 1
        if not group.members:
            group.state = GroupState.EMPTY
            self._drop_if_idle(group)
            return
        group.state = GroupState.COMPLETING_REBALANCE
        group.unsynced = dict.fromkeys(group.members)
        self._await_syncs(group)
        for member in group.members.values():
            self._finish_join(group, member, self._current_generation(group, member))
            self._renew(group, member, member.session_timeout_ms)
            member.is_new = False

    def _start_generation(self, group: LiveGroup) -> ErrorCode:
        reply = self._facts.execute(
            StartGeneration(
                group.id,
                group.generation,
                group.protocol_type,
                group.protocol,
                group.leader,
                tuple(member.as_fact() for member in group.members.values()),
            )
        )
        return ErrorCode(reply.error)

    def _abandon(self, group: LiveGroup, error: ErrorCode) -> None:
        """The generation was refused, for a limit or for want of room: tell the members, and forget them."""
        for member in list(group.members.values()):
            self._finish_join(group, member, JoinResult(error, member.member_id))
            self._remove(group, member)
        group.take_back(*group.pending)
        group.state = GroupState.EMPTY
        group.protocol = None
        if not self._is_empty_in_fact(group) and not self._start_generation(group):
            group.generation += 1
        self._drop_if_idle(group)

    # --- syncing ---

    def sync(self, request: SyncRequest, respond: Callable[[SyncResult], None]) -> None:
        """Answer with the assignment, or park until the leader has sent it."""
        group = self._groups.get(request.group_id)
        error = self._check_sync(group, request)
        if error:
            respond(SyncResult(error))
            return
        assert group is not None
        member = group.members[request.member_id]
        self._finish_sync(member, SyncResult(ErrorCode.REBALANCE_IN_PROGRESS))
        member.sync = respond
        group.unsynced.pop(member.member_id, None)
        if not group.unsynced:
            _stop(group.sync_timer)
        if group.state is GroupState.STABLE:
            self._finish_sync(member, self._assignment(group, member))
            self._renew(group, member, member.session_timeout_ms)
        elif group.leader == member.member_id:
            self._assign(group, request.assignments)
        self._answer()

    def _check_sync(self, group: LiveGroup | None, request: SyncRequest) -> ErrorCode:
        if not request.group_id:
            return ErrorCode.INVALID_GROUP_ID
        if group is None:
            return ErrorCode.UNKNOWN_MEMBER_ID
        error = check_member(
            group.members, group.static_members, request.member_id, request.group_instance_id
        )
        if error:
            return error
        if request.generation != group.generation:
            return ErrorCode.ILLEGAL_GENERATION
        if request.protocol_type not in (None, group.protocol_type):
            return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
        if request.protocol not in (None, group.protocol):
            return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
        if group.state is GroupState.PREPARING_REBALANCE:
            return ErrorCode.REBALANCE_IN_PROGRESS
        return ErrorCode.NONE

    def _assign(self, group: LiveGroup, assignments: tuple[tuple[str, bytes], ...]) -> None:
        """The leader has spoken: its assignment becomes a fact, and all who wait for it get their part."""
        size_bytes = sum(len(member_id) + len(assignment) for member_id, assignment in assignments)
        if size_bytes > self._options.group_bytes_max:
            self._fail_syncs(group, ErrorCode.UNKNOWN_SERVER_ERROR)
            self._rebalance(group)
            return
        reply = self._facts.execute(StoreAssignment(group.id, group.generation, assignments))
        if reply.error:
            # There is no room for it. Whoever waits finds the coordinator again and joins again.
            self._fail_syncs(group, ErrorCode.COORDINATOR_NOT_AVAILABLE)
            self._rebalance(group)
            return
        group.state = GroupState.STABLE
        for member in group.members.values():
            if member.sync is not None:
                self._finish_sync(member, self._assignment(group, member))
                self._renew(group, member, member.session_timeout_ms)

    def _assignment(self, group: LiveGroup, member: LiveMember) -> SyncResult:
        assignments = self._facts.state.groups[group.id].assignments
        assert assignments is not None
        return SyncResult(ErrorCode.NONE, group.protocol_type, group.protocol, assignments[member.member_id])

    def _finish_sync(self, member: LiveMember, result: SyncResult) -> None:
        if member.sync is not None:
            self._answers.append(partial(member.sync, result))
            member.sync = None

    def _fail_syncs(self, group: LiveGroup, error: ErrorCode) -> None:
        for member in group.members.values():
            if member.sync is not None:
                self._finish_sync(member, SyncResult(error))
                self._renew(group, member, member.session_timeout_ms)

    def _await_syncs(self, group: LiveGroup) -> None:
        group.sync_timer = self._after(group.rebalance_timeout_ms, self._syncs_expired, group)

    def _syncs_expired(self, group: LiveGroup) -> None:
        """Whoever has not sent SyncGroup by now is out; the leader may be one of them."""
        for member_id in list(group.unsynced):
            self._remove(group, group.members[member_id])
        self._rebalance(group)

    # --- staying and leaving ---

    def heartbeat(
        self, group_id: str, generation: int, member_id: str, group_instance_id: str | None
    ) -> ErrorCode:
        """Renew the member's session; during a rebalance the member is told to join."""
        if not group_id:
            return ErrorCode.INVALID_GROUP_ID
        group = self._groups.get(group_id)
        if group is None:
            return ErrorCode.UNKNOWN_MEMBER_ID
        member = group.members.get(member_id)
        if member is None or group_instance_id is not None:
            error = check_member(group.members, group.static_members, member_id, group_instance_id)
            if error:
                return error
        assert member is not None
        if generation != group.generation:
            return ErrorCode.ILLEGAL_GENERATION
        self._renew(group, member, member.session_timeout_ms)
        if group.state is GroupState.PREPARING_REBALANCE:
            return ErrorCode.REBALANCE_IN_PROGRESS
        return ErrorCode.NONE

    def leave(self, group_id: str, leaving: tuple[LeavingMember, ...]) -> LeaveResult:
        """Let members go before their sessions end, pending and static ones too."""
        if not group_id:
            return LeaveResult(ErrorCode.INVALID_GROUP_ID, ())
        group = self._groups.get(group_id)
        if group is None:
            return LeaveResult(ErrorCode.NONE, (ErrorCode.UNKNOWN_MEMBER_ID,) * len(leaving))
        members_before = len(group.members)
        errors = tuple(self._leave(group, *member) for member in leaving)
        if group.state is GroupState.EMPTY:
            self._drop_if_idle(group)
        elif group.state is GroupState.PREPARING_REBALANCE or len(group.members) < members_before:
            self._rebalance(group)
        self._answer()
        return LeaveResult(ErrorCode.NONE, errors)

    def _leave(self, group: LiveGroup, member_id: str, group_instance_id: str | None) -> ErrorCode:
        if not member_id and group_instance_id is not None:
            member_id = group.static_members.get(group_instance_id, "")
        elif member_id in group.pending:
            group.take_back(member_id)
            return ErrorCode.NONE
        error = check_member(group.members, group.static_members, member_id, group_instance_id)
        if not error:
            self._remove(group, group.members[member_id])
        return error

    def _remove(self, group: LiveGroup, member: LiveMember) -> None:
        """What is parked for it is answered so that it joins anew if it is still there."""
        self._finish_join(group, member, JoinResult(ErrorCode.UNKNOWN_MEMBER_ID, ""))
        self._finish_sync(member, SyncResult(ErrorCode.UNKNOWN_MEMBER_ID))
        self._end_session(member)
        group.remove(member)
        if not group.unsynced:
            _stop(group.sync_timer)

    def _drop_if_idle(self, group: LiveGroup) -> None:
        """Nothing about it is soft any more: the machine knows the rest, if there ever was a generation."""
        if group.is_idle and self._is_empty_in_fact(group):
            self._groups.pop(group.id, None)

    def _is_empty_in_fact(self, group: LiveGroup) -> bool:
        """As the machine has it, which knows nothing of a generation that it had no room for."""
        fact = self._facts.state.groups.get(group.id)
        return fact is None or fact.is_empty

    # --- sessions ---

    def _renew(self, group: LiveGroup, member: LiveMember, timeout_ms: int) -> None:
        """The member's session lasts for so long from now; its timer stays as long as it looks in time."""
        member.alive_until_ms = until_ms = self._facts.age_ms() + timeout_ms
        if member.timer is None or member.timer_ends_ms > until_ms:
            _stop(member.timer)
            member.timer_ends_ms = until_ms
            member.timer = self._after(timeout_ms, self._look_after, group, member)

    def _look_after(self, group: LiveGroup, member: LiveMember) -> None:
        """The member's session ends, unless it was renewed meanwhile or we are what it waits for."""
        member.timer = None
        remaining_ms = member.alive_until_ms - self._facts.age_ms()
        if remaining_ms > 0:
            member.timer_ends_ms = member.alive_until_ms
            member.timer = self._after(remaining_ms, self._look_after, group, member)
        elif not member.is_excused:
            self._remove(group, member)
            self._rebalance(group)

    def _end_session(self, member: LiveMember) -> None:
        _stop(member.timer)
        member.timer = None

    def _pending_expired(self, group: LiveGroup, member_id: str) -> None:
        """A member id that was given out and never used; a rebalance no longer waits for it."""
        group.take_back(member_id)
        if group.state is GroupState.PREPARING_REBALANCE:
            self._rebalance(group)
        else:
            self._drop_if_idle(group)

    # --- committed offsets ---

    def commit_offsets(self, command: CommitOffsets) -> CommitOffsetsReply:
        """Ask the live group first, then the machine; a commit is a sign of life."""
        group = self._groups.get(command.group_id)
        if group is not None:
            error = self._check_commit(group, command, is_transactional=False)
            if error:
                return CommitOffsetsReply((error,) * len(command.offsets))
            member = group.members.get(command.member_id)
            if member is not None:
                self._renew(group, member, member.session_timeout_ms)
        reply: CommitOffsetsReply = self._facts.execute(command)
        return reply

    def commit_transactional_offsets(self, command: TxnOffsetCommit) -> TxnOffsetCommitReply:
        """Ask the live group first, then the machine, which checks the transaction."""
        group = self._groups.get(command.group_id)
        if group is not None:
            error = self._check_commit(group, command, is_transactional=True)
            if error:
                return TxnOffsetCommitReply((error,) * len(command.offsets))
        reply: TxnOffsetCommitReply = self._facts.execute(command)
        return reply

    def _check_commit(
        self, group: LiveGroup, command: CommitOffsets | TxnOffsetCommit, *, is_transactional: bool
    ) -> ErrorCode:
        return check_sender(
            group.members,
            group.static_members,
            is_empty=group.state is GroupState.EMPTY,
            is_completing=group.state is GroupState.COMPLETING_REBALANCE,
            is_transactional=is_transactional,
            generation=group.generation,
            generation_id=command.generation_id,
            member_id=command.member_id,
            group_instance_id=command.group_instance_id,
        )

    def delete_offsets(self, command: DeleteOffsets) -> DeleteOffsetsReply:
        """Forget offsets of topics that nobody in the group subscribes to."""
        group = self._groups.get(command.group_id)
        if group is not None and group.state is not GroupState.EMPTY and group.protocol_type != "consumer":
            errors = (ErrorCode.NON_EMPTY_GROUP,) * len(command.partitions)
            return DeleteOffsetsReply(ErrorCode.NON_EMPTY_GROUP, errors)
        reply: DeleteOffsetsReply = self._facts.execute(command)
        return reply

    def delete_group(self, group_id: str) -> ErrorCode:
        """Forget a group that nobody is in; ids given out to newcomers are void."""
        group = self._groups.get(group_id)
        if group is not None and group.state is not GroupState.EMPTY:
            return ErrorCode.NON_EMPTY_GROUP
        error = ErrorCode(self._facts.execute(DeleteGroup(group_id)).error)
        if group is not None and not error:
            group.take_back(*group.pending)
            del self._groups[group_id]
        return error

    # --- looking ---

    def describe(self, group_id: str) -> DescribedGroup | None:
        """What DescribeGroups shows, or None where there is no such group."""
        fact = self._facts.state.groups.get(group_id)
        group = self._groups.get(group_id)
        if group is None or group.is_idle:
            return (
                None if fact is None else DescribedGroup(GroupState.EMPTY.value, fact.protocol_type, "", ())
            )
        is_stable = group.state is GroupState.STABLE
        assignments = fact.assignments if is_stable and fact is not None else None
        members = tuple(
            DescribedMember(
                member.member_id,
                member.group_instance_id,
                member.client_id,
                member.client_host,
                member.metadata(group.protocol) if is_stable else b"",
                assignments[member.member_id] if assignments is not None else b"",
            )
            for member in group.members.values()
        )
        protocol = (group.protocol or "") if is_stable else ""
        return DescribedGroup(group.state.value, group.protocol_type, protocol, members)

    def all_groups(self) -> Iterator[ListedGroup]:
        """Every group that has a member, a generation or offsets."""
        facts = self._facts.state.groups
        for group_id, fact in facts.items():
            group = self._groups.get(group_id)
            if group is None:
                yield ListedGroup(group_id, fact.protocol_type, GroupState.EMPTY.value)
            else:
                yield ListedGroup(group_id, group.protocol_type, group.state.value)
        for group_id, group in self._groups.items():
            if group_id not in facts:
                yield ListedGroup(group_id, group.protocol_type, group.state.value)

    # --- expiry of offsets ---

    def _sweep_later(self) -> None:
        self._after(self._options.offsets_retention_check_interval_ms, self._sweep, self._expiries())

    def _sweep(self, expiries: Iterator[ExpireOffsets]) -> None:
        """Look at a chunk of offsets, and at the next one a little later."""
        looked_at = 0
        for command in expiries:
            self._facts.execute(command)
            looked_at += 1 + len(command.partitions)
            if looked_at >= EXPIRY_CHUNK_OFFSETS:
                self._after(EXPIRY_PAUSE_MS, self._sweep, expiries)
                return
        self._sweep_later()

    def _expiries(self) -> Iterator[ExpireOffsets]:
        """A command for each chunk of offsets; groups in a rebalance are left for the next time."""
        groups = self._facts.state.groups
        retention_ms = self._options.offsets_retention_ms
        for group_id in list(groups):
            fact = groups.get(group_id)
            partitions = [] if fact is None else list(fact.offsets)
            for start in range(0, len(partitions) or 1, EXPIRY_CHUNK_OFFSETS):
                group = self._groups.get(group_id)
                if group_id in groups and (group is None or group.state is GroupState.STABLE):
                    chunk = tuple(partitions[start : start + EXPIRY_CHUNK_OFFSETS])
                    yield ExpireOffsets(group_id, chunk, retention_ms)

    # --- timers and answers ---

    def _after(self, delay_ms: float, act: Callable[..., None], *arguments: Any) -> Timer:
        return self._timers.after(delay_ms, partial(self._on_timer, act, *arguments))

    def _on_timer(self, act: Callable[..., None], *arguments: Any) -> None:
        try:
            act(*arguments)
        except EngineFailed:
            self._answers.clear()
        self._answer()

    def _answer(self) -> None:
        """Give the answers that are due; one of them may bring a request that asks for more of this."""
        answers = self._answers
        while answers:
            answers.popleft()()


def _stop(timer: Timer | None) -> None:
    if timer is not None:
        timer.cancel()
