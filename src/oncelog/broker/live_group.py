"""The soft state of one group with members: who is here, has joined or synced, leads, and votes for what.

It is lost with the process and made anew by the members. It must not know timers, commands or requests:
groups.py moves it from state to state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from oncelog.machine.group_state import Group, Member, MemberProtocol
from oncelog.wire.errors import ErrorCode

if TYPE_CHECKING:
    from oncelog.broker.groups import JoinRequest


MEMBER_BYTES = 1000
"""Of a member, or of an id that was given out, beside what its client sent."""


class Timer(Protocol):
    """A deadline that was set."""

    def cancel(self) -> None: ...


class GroupState(Enum):
    """Kafka's states of a classic group, by Kafka's names. A Dead group is one that nobody knows."""

    EMPTY = "Empty"
    PREPARING_REBALANCE = "PreparingRebalance"
    COMPLETING_REBALANCE = "CompletingRebalance"
    STABLE = "Stable"


class JoinedMember(NamedTuple):
    """What the leader is told of a member; metadata is that for the chosen protocol."""

    member_id: str
    group_instance_id: str | None
    metadata: bytes


class JoinResult(NamedTuple):
    """The answer to a JoinGroup request; only a leader is given members."""

    error: ErrorCode
    member_id: str
    generation: int = -1
    protocol_type: str | None = None
    protocol: str | None = None
    leader: str = ""
    skip_assignment: bool = False
    members: tuple[JoinedMember, ...] = ()


class SyncResult(NamedTuple):
    """The answer to a SyncGroup request."""

    error: ErrorCode
    protocol_type: str | None = None
    protocol: str | None = None
    assignment: bytes = b""


class Usage:
    """Roughly the bytes that members, and ids given out to newcomers, take in all groups together."""

    __slots__ = ("size_bytes",)

    def __init__(self) -> None:
        self.size_bytes = 0


class LiveMember:
    """A member as it is now.

    join, sync: how to answer its parked JoinGroup or SyncGroup, or None.
    is_new: it has not been in any generation yet, so it can't send heartbeats.
    alive_until_ms: when its session ends, in age_ms; timer_ends_ms is when its timer looks next, never after
        that. A heartbeat only moves alive_until_ms.
    """

    __slots__ = (
        "alive_until_ms",
        "client_host",
        "client_id",
        "group_instance_id",
        "is_new",
        "join",
        "member_id",
        "protocols",
        "rebalance_timeout_ms",
        "session_timeout_ms",
        "sync",
        "timer",
        "timer_ends_ms",
    )

    def __init__(
        self,
        member_id: str,
        group_instance_id: str | None,
        client_id: str,
        client_host: str,
        session_timeout_ms: int,
        rebalance_timeout_ms: int,
        protocols: tuple[MemberProtocol, ...],
    ) -> None:
        self.member_id = member_id
        self.group_instance_id = group_instance_id
        self.client_id = client_id
        self.client_host = client_host
        self.session_timeout_ms = session_timeout_ms
        self.rebalance_timeout_ms = rebalance_timeout_ms
        self.protocols = protocols
        self.join: Callable[[JoinResult], None] | None = None
        self.sync: Callable[[SyncResult], None] | None = None
        self.is_new = False
        self.alive_until_ms = 0
        self.timer: Timer | None = None
        self.timer_ends_ms = 0

    @classmethod
    def from_request(cls, member_id: str, request: JoinRequest) -> LiveMember:
        return cls(
            member_id,
            request.group_instance_id,
            request.client_id,
            request.client_host,
            request.session_timeout_ms,
            request.rebalance_timeout_ms,
            request.protocols,
        )

    def as_fact(self) -> Member:
        return Member(
            self.member_id,
            self.group_instance_id,
            self.client_id,
            self.client_host,
            self.session_timeout_ms,
            self.rebalance_timeout_ms,
            self.protocols,
        )

    @property
    def is_excused(self) -> bool:
        """It waits for us, so its session doesn't end; one that was never told its id may have given up."""
        return not self.is_new and (self.join is not None or self.sync is not None)

    def metadata(self, protocol: str | None) -> bytes:
        for name, metadata in self.protocols:
            if name == protocol:
                return metadata
        return b""

    def bytes_count(self) -> int:
        """Roughly what it costs to keep, and to journal in a generation."""
        names = len(self.member_id) + len(self.client_id) + len(self.group_instance_id or "")
        return names + sum(len(name) + len(metadata) for name, metadata in self.protocols)


class LiveGroup:
    """A group that has, or is about to have, members.

    members: in the order in which they came.
    pending: member ids that were given out and have not been used yet, with the timer that takes them back.
    supporters: by protocol, how many members support it.
    joined_count: how many members have a parked JoinGroup.
    unsynced: members of the generation that have not sent SyncGroup yet.
    is_initial: the rebalance began with the group Empty, and gives others the time to come (KIP-134).
    has_newcomers: during that time somebody came since the last look.
    usage: what all groups take; this one adds its own.
    """

    __slots__ = (
        "bytes_kept",
        "generation",
        "has_newcomers",
        "id",
        "is_initial",
        "join_timer",
        "joined_count",
        "leader",
        "members",
        "pending",
        "protocol",
        "protocol_type",
        "state",
        "static_members",
        "supporters",
        "sync_timer",
        "unsynced",
        "usage",
    )

    def __init__(self, group_id: str, usage: Usage) -> None:
        self.id = group_id
        self.usage = usage
        self.state = GroupState.EMPTY
        self.generation = 0
        self.protocol_type = ""
        self.protocol: str | None = None
        self.leader: str | None = None
        self.members: dict[str, LiveMember] = {}
        self.static_members: dict[str, str] = {}
        self.pending: dict[str, Timer] = {}
        self.supporters: dict[str, int] = {}
        self.joined_count = 0
        self.bytes_kept = 0
        self.unsynced: dict[str, None] = {}
        self.is_initial = False
        self.has_newcomers = False
        self.join_timer: Timer | None = None
        self.sync_timer: Timer | None = None

    @classmethod
    def from_fact(cls, group: Group, usage: Usage) -> LiveGroup:
        """The group of a completed generation: what is left of it after a restart."""
        live = cls(group.id, usage)
        live.generation = group.generation
        live.protocol_type = group.protocol_type
        for member in group.members.values():
            live.add(LiveMember(*member))
        live.protocol = group.protocol
        live.leader = group.leader
        if group.is_completing:
            live.state = GroupState.COMPLETING_REBALANCE
            live.unsynced = dict.fromkeys(group.members)
        elif group.members:
            live.state = GroupState.STABLE
        return live

    @property
    def is_idle(self) -> bool:
        """Nothing here that the machine doesn't know."""
        return self.state is GroupState.EMPTY and not self.members and not self.pending

    @property
    def rebalance_timeout_ms(self) -> int:
        return max((member.rebalance_timeout_ms for member in self.members.values()), default=0)

    @property
    def all_have_joined(self) -> bool:
        return self.joined_count == len(self.members) and not self.pending

    def next_is_full(self, members_max: int, *, besides: LiveMember | None) -> bool:
        """Whether so many others are in it: who has joined, and static members that are away."""
        if self.joined_count + len(self.static_members) < members_max:
            return False
        static = (self.members[member_id] for member_id in self.static_members.values())
        away = sum(member.join is None and member is not besides for member in static)
        return self.joined_count + away >= members_max

    # --- members ---

    def add(self, member: LiveMember) -> None:
        """The first member leads until another is chosen."""
        assert member.member_id not in self.members
        if self.leader is None:
            self.leader = member.member_id
        self.members[member.member_id] = member
        if member.group_instance_id is not None:
            assert member.group_instance_id not in self.static_members
            self.static_members[member.group_instance_id] = member.member_id
        self._count(member, 1)

    def remove(self, member: LiveMember) -> None:
        """Its parked requests are to be answered before."""
        assert member.join is None
        assert member.sync is None
        del self.members[member.member_id]
        self.unsynced.pop(member.member_id, None)
        if member.group_instance_id is not None:
            del self.static_members[member.group_instance_id]
        self._count(member, -1)
        if self.leader == member.member_id:
            self.leader = next(iter(self.members), None)

    def replace(self, old: LiveMember, new: LiveMember) -> None:
        """A static member under a new id; its parked requests are to be answered before."""
        assert old.group_instance_id is not None
        assert old.group_instance_id == new.group_instance_id
        assert old.join is None
        assert old.sync is None
        leader = new.member_id if self.leader == old.member_id else self.leader
        self.members = {
            member.member_id: member
            for member in (new if member is old else member for member in self.members.values())
        }
        self.unsynced = {
            new.member_id if member_id == old.member_id else member_id: None for member_id in self.unsynced
        }
        self.static_members[old.group_instance_id] = new.member_id
        self._count(old, -1)
        self._count(new, 1)
        self.leader = leader

    def update(self, member: LiveMember, request: JoinRequest) -> None:
        """The member joins again, perhaps with other protocols and timeouts."""
        self._count(member, -1)
        member.protocols = request.protocols
        member.session_timeout_ms = request.session_timeout_ms
        member.rebalance_timeout_ms = request.rebalance_timeout_ms
        self._count(member, 1)

    def _count(self, member: LiveMember, step: int) -> None:
        for name, _ in member.protocols:
            count = self.supporters.get(name, 0) + step
            if count:
                self.supporters[name] = count
            else:
                del self.supporters[name]
        size_bytes = member.bytes_count()
        self.bytes_kept += step * size_bytes
        self.usage.size_bytes += step * (MEMBER_BYTES + size_bytes)

    def give_out(self, member_id: str, timer: Timer) -> None:
        """The id is a newcomer's, until the timer takes it back."""
        self.pending[member_id] = timer
        self.usage.size_bytes += MEMBER_BYTES

    def take_back(self, *member_ids: str) -> None:
        """These ids were used, or are void."""
        for member_id in member_ids:
            self.pending.pop(member_id).cancel()
            self.usage.size_bytes -= MEMBER_BYTES

    # --- protocols and leaders ---

    def supports(self, protocol_type: str, protocols: tuple[MemberProtocol, ...]) -> bool:
        """Whether a member with these protocols fits in: one of them is everybody's."""
        if not self.members:
            return bool(protocol_type) and bool(protocols)
        everybody = len(self.members)
        return protocol_type == self.protocol_type and any(
            self.supporters.get(name, 0) == everybody for name, _ in protocols
        )

    def choose_protocol(self) -> str:
        """Each member votes for the first of its protocols that all support; the most votes win."""
        everybody = len(self.members)
        votes = {name: 0 for name, _ in self._first_protocols() if self.supporters[name] == everybody}
        for member in self.members.values():
            for name, _ in member.protocols:
                if name in votes:
                    votes[name] += 1
                    break
        assert votes, "members without a common protocol are not let in"
        return max(votes, key=votes.__getitem__)

    def _first_protocols(self) -> tuple[MemberProtocol, ...]:
        return next(iter(self.members.values())).protocols

    def elect_joined_leader(self) -> bool:
        """Keep the leader if it has joined, else take the first that has; False where nobody has."""
        if self.leader is not None and self.members[self.leader].join is not None:
            return True
        for member in self.members.values():
            if member.join is not None:
                self.leader = member.member_id
                return True
        return False

    def joined_members(self) -> tuple[JoinedMember, ...]:
        """The list for the leader."""
        return tuple(
            JoinedMember(member.member_id, member.group_instance_id, member.metadata(self.protocol))
            for member in self.members.values()
        )

    def not_joined(self) -> Iterator[LiveMember]:
        """Dynamic members without a parked JoinGroup; static ones stay until their session ends."""
        for member in list(self.members.values()):
            if member.join is None and member.group_instance_id is None:
                yield member

    def __repr__(self) -> str:
        return f"<LiveGroup {self.id!r} {self.state.value} generation {self.generation}>"
