"""Groups through random histories: whatever members do, coordinator and machine agree, and all are answered.

The real coordinator with the real machine, on timers that the test moves; no sockets. After each step, what
is kept twice must be equal; at the end of all sessions nothing is left.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from oncelog.broker.groups import GroupCoordinator, GroupOptions, JoinRequest, LeavingMember, SyncRequest
from oncelog.broker.live_group import MEMBER_BYTES, GroupState, LiveGroup
from oncelog.machine.commands import CommitOffsets, OffsetToCommit
from oncelog.machine.decide import decide
from oncelog.machine.events import REGISTRY, decode_events
from oncelog.machine.evolve import evolve
from oncelog.machine.fingerprint import state_differences
from oncelog.machine.group_state import Group, MemberProtocol
from oncelog.machine.limits import Limits
from oncelog.machine.moment import At, Time
from oncelog.machine.state import State

SEEDS = 40
STEPS = 300
TIMERS_PER_STEP_MAX = 1000
"""More would be a timer that sets itself again and again."""


class Moment:
    """A deadline of the test's timers."""

    def __init__(self, when: float, order: int, callback: Callable[[], None]) -> None:
        self.when = when
        self.order = order
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None

    def __lt__(self, other: Moment) -> bool:
        return (self.when, self.order) < (other.when, other.order)


class World:
    """Facts and timers of a coordinator: the machine twice, as it serves and as it replays, and time."""

    def __init__(self, limits: Limits) -> None:
        self.state = State(limits)
        self.replayed = State(limits)
        self._now_ms = 0.0
        self._position = 0
        self._moments: list[Moment] = []
        self._order = 0

    def age_ms(self) -> int:
        return int(self._now_ms)

    def execute(self, command: Any) -> Any:
        now = Time(self.age_ms(), self.age_ms())
        events, reply = decide(self.state, command, now)
        if events:
            self._position += 1
            decoded = decode_events(REGISTRY, b"".join(event.encode() for event in events))
            for state, its_events in ((self.state, events), (self.replayed, decoded)):
                at = At(self._position, *now)
                for event in its_events:
                    evolve(state, event, at)
        return reply

    def after(self, delay_ms: float, callback: Callable[[], None]) -> Moment:
        self._order += 1
        moment = Moment(self._now_ms + delay_ms, self._order, callback)
        heapq.heappush(self._moments, moment)
        return moment

    def advance(self, ms: float) -> None:
        ends_ms = self._now_ms + ms
        ran = 0
        while self._moments and self._moments[0].when <= ends_ms:
            moment = heapq.heappop(self._moments)
            self._now_ms = max(self._now_ms, moment.when)
            if moment.callback is not None:
                ran += 1
                assert ran <= TIMERS_PER_STEP_MAX
                moment.callback()
        self._now_ms = ends_ms

    def forget_timers(self) -> None:
        self._moments.clear()


class History:
    """Members that mostly do what is right, with what they were told, and sometimes anything at all."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        choose = self.random.choice
        self.world = World(Limits(group_members_max=choose([2, 3, 10]), groups_max=choose([2, 3])))
        self.options = GroupOptions(
            group_initial_rebalance_delay_ms=choose([0, 3000]),
            offsets_retention_ms=choose([1000, 10_000_000]),
            offsets_retention_check_interval_ms=20_000,
        )
        self.groups = self.coordinator()
        self.parked: set[int] = set()
        self.member_ids = ["nobody"]
        self.generations = [0]
        self.asked = 0

    def coordinator(self) -> GroupCoordinator:
        return GroupCoordinator(self.world, self.world, lambda: self.random.randbytes(16), self.options)

    def respond(self) -> Callable[[Any], None]:
        """Takes one answer, and notes what it tells."""
        self.asked += 1
        number = self.asked
        self.parked.add(number)

        def take(answer: Any) -> None:
            assert number in self.parked, "answered twice, or for another broker"
            self.parked.remove(number)
            self.member_ids.append(getattr(answer, "member_id", "") or "nobody")
            self.generations.append(getattr(answer, "generation", -1))

        return take

    def step(self) -> None:
        choose, chance = self.random.choice, self.random.random()
        group_id = choose("abc" if self.random.random() < 0.95 else "d")
        live = self.groups._groups.get(group_id)
        member_id, instance, generation = self.somebody(live)
        if chance < 0.35:
            self.join(group_id, member_id, instance)
        elif chance < 0.6:
            assignments = tuple((each, b"part") for each in (live.members if live else ()))
            request = SyncRequest(group_id, generation, member_id, instance, None, None, assignments)
            self.groups.sync(request, self.respond())
        elif chance < 0.7:
            self.groups.heartbeat(group_id, generation, member_id, instance)
        elif chance < 0.76:
            by_id = self.random.random() < 0.7
            self.groups.leave(group_id, (LeavingMember(member_id if by_id else "", instance),))
        elif chance < 0.8:
            offset = OffsetToCommit(b"T" * 16, 0, 5, -1, "")
            sender = member_id if generation >= 0 else ""
            command = CommitOffsets(group_id, generation, sender, None, 9, choose([-1, 5000]), (offset,))
            self.groups.commit_offsets(command)
        elif chance < 0.82:
            self.groups.delete_group(group_id)
        elif chance < 0.84:
            self.groups.describe(group_id)
        elif chance < 0.85:
            self.restart()
        else:
            self.world.advance(choose([10, 1000, 3000, 7000, 31_000]))

    def somebody(self, live: LiveGroup | None) -> tuple[str, str | None, int]:
        """Member id, instance id and generation of a member, of a newcomer, or of anybody."""
        choose = self.random.choice
        if live is not None and live.members and self.random.random() < 0.8:
            member = choose(list(live.members.values()))
            return member.member_id, member.group_instance_id, live.generation
        generation = choose([*self.generations[-3:], -1])
        if live is not None and live.pending and self.random.random() < 0.7:
            return choose(list(live.pending)), None, generation
        return choose(self.member_ids[-6:]), choose([None, None, "one", "two"]), generation

    def join(self, group_id: str, member_id: str, instance: str | None) -> None:
        choose = self.random.choice
        if self.random.random() < 0.5:
            member_id, instance = "", choose([None, None, "one", "two"])
        names = self.random.sample(["range", "sticky", "cooperative"], choose([1, 2, 3]))
        request = JoinRequest(
            group_id=group_id,
            member_id=member_id,
            group_instance_id=instance,
            client_id="client",
            client_host="/127.0.0.1",
            session_timeout_ms=choose([6000, 30_000]),
            rebalance_timeout_ms=choose([0, 1000, 20_000]),
            protocol_type="consumer",
            protocols=tuple(MemberProtocol(name, choose([b"", b"more"])) for name in names),
            needs_known_member_id=self.random.random() < 0.6,
            knows_skip_assignment=self.random.random() < 0.5,
        )
        self.groups.join(request, self.respond())

    def restart(self) -> None:
        """What is soft is lost; the members of all generations are taken for alive."""
        self.world.forget_timers()
        self.parked.clear()
        self.groups = self.coordinator()

    def check(self) -> None:
        facts = self.world.state.groups
        kept = self.groups._groups
        for group in kept.values():
            check_group(group, facts.get(group.id))
        assert all(fact.is_empty or group_id in kept for group_id, fact in facts.items())
        in_use = sum(
            group.bytes_kept + MEMBER_BYTES * (len(group.members) + len(group.pending))
            for group in kept.values()
        )
        assert self.groups._usage.size_bytes == in_use


def check_group(group: LiveGroup, fact: Group | None) -> None:
    members = group.members.values()
    assert group.generation == (0 if fact is None else fact.generation)
    assert group.joined_count == sum(member.join is not None for member in members)
    assert group.supporters == dict(Counter(name for member in members for name, _ in member.protocols))
    assert group.bytes_kept == sum(member.bytes_count() for member in members)
    assert group.static_members == {
        member.group_instance_id: member.member_id for member in members if member.group_instance_id
    }
    assert all(member.timer is not None or member.is_excused for member in members)
    if group.state is GroupState.EMPTY:
        assert not group.members
        assert group.pending, "else nothing about it is soft"
        assert fact is None or fact.is_empty
    elif group.state is not GroupState.PREPARING_REBALANCE:
        assert fact is not None
        assert list(fact.members) == list(group.members)
        assert fact.leader == group.leader
        assert fact.is_completing == (group.state is GroupState.COMPLETING_REBALANCE)
        assert not any(member.join for member in members)
    if group.state is not GroupState.COMPLETING_REBALANCE:
        assert not any(member.sync for member in members)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_everybody_is_answered_and_nothing_is_left(seed: int) -> None:
    history = History(seed)
    for _ in range(STEPS):
        history.step()
        history.check()
    for _ in range(60):
        history.world.advance(60_000)
        history.check()
    assert not history.parked
    assert not history.groups._groups
    assert state_differences(history.world.state, history.world.replayed) == []
