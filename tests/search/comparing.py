"""Side by side: the machine and the model do one command after another, and must agree after each.

Compared at each step are the reply, what was appended where, and what the command touched; every so many
steps all that both know. Replies of the model are plain tuples, here is told how the machine's are read.
"""

from __future__ import annotations

from typing import Any

from oncelog.machine import commands as c
from oncelog.machine import producer_window
from oncelog.machine.decide import decide
from oncelog.machine.events import REGISTRY, BatchAppended, TransactionEnded, decode_events
from oncelog.machine.evolve import evolve
from oncelog.machine.fingerprint import state_differences
from oncelog.machine.limits import Limits
from oncelog.machine.moment import At, Time
from oncelog.machine.state import Partition, State
from oncelog.wire.definition import Event
from tests.search.drawing import SMALL, WALL_MS, Crash, Step
from tests.search.model import Log, Model, Place

FULL_COMPARISON_EVERY = 250


class Difference(Exception):
    """The machine and the model disagree."""


class Sides:
    """Both sides after the same commands. journal: what the machine decided, entry by entry."""

    def __init__(self, limits: Limits = SMALL) -> None:
        self.limits = limits
        self.state = State(limits)
        self.model = Model(limits)
        self.age_ms = 0
        self.steps = 0
        self.journal: list[tuple[int, list[Event]]] = []
        self.reply: Any = None

    def do(self, step: Step) -> None:
        """One step on both sides. Raises Difference."""
        self.steps += 1
        self.age_ms += step.after_ms
        command = step.command
        if type(command) is Crash:
            self.crash()
            return
        age_ms = self.age_ms
        time = Time(WALL_MS + age_ms, age_ms)
        events, self.reply = decide(self.state, command, time)
        if events:
            self.journal.append((age_ms, events))
            at = At(len(self.journal), WALL_MS + age_ms, age_ms)
            for event in events:
                evolve(self.state, event, at)
        self.compare(command, self.reply, events, age_ms)
        if self.steps % FULL_COMPARISON_EVERY == 0:
            self.compare_all()

    def compare(self, command: Any, reply: Any, events: list[Event], age_ms: int) -> None:
        """Let the model follow, and compare the replies and what the command touched. Raises Difference."""
        model = self.model
        owed = model.apply(command, age_ms)
        if owed != _plain(command, reply):
            _same("the reply", _plain(command, reply), owed)
        if events or model.appended:
            ours, theirs = _appended(events), model.appended
            if ours != theirs:
                _same("what was appended", sorted(ours), sorted(theirs))
        for place in model.touched_places:
            self._compare_place(place)
        for name in model.touched_txns:
            self._compare_txn(name)
        for group_id in model.touched_groups:
            self._compare_group(group_id)

    def crash(self) -> None:
        """What is read again is what served (law 2)."""
        self.compare_all()
        fresh = State(self.limits)
        for number, (age_ms, events) in enumerate(self.journal):
            decoded = decode_events(REGISTRY, b"".join(event.encode() for event in events))
            _same("an event after its bytes", decoded, events)
            at = At(number + 1, WALL_MS + age_ms, age_ms)
            for event in decoded:
                evolve(fresh, event, at)
        _same("what was read again", state_differences(self.state, fresh), [])
        self.state = fresh

    # --- what is true on both sides ---

    def compare_all(self) -> None:
        state, model = self.state, self.model
        _same("topics", state.topic_ids, model.names)
        _same("ids of topics", sorted(state.topics), sorted(model.topics))
        _same("the count of partitions", state.partition_count, sum(map(len, model.topics.values())))
        for topic_id, logs in model.topics.items():
            _same("partitions", len(state.topics[topic_id].partitions), len(logs))
            for index, log in enumerate(logs):
                partition = self._compare_place((topic_id, index))
                assert partition is not None
                self._compare_windows(partition, log)
        _same("transactional ids", sorted(state.transactions), sorted(model.txns))
        for name in model.txns:
            self._compare_txn(name)
        _same("the count of producers", state.producer_count, model.remembered())
        _same("the count of covered partitions", state.covered_count, model.covered())
        if model.remembered() + model.promised() > self.limits.producers_max:
            _same("too many producers", model.remembered() + model.promised(), self.limits.producers_max)
        _same("owners", state.producer_owners, model.owners)
        _same("the next producer id", state.next_producer_id, model.next_pid)
        _same("groups", sorted(state.groups), sorted(model.groups))
        for group_id in model.groups:
            self._compare_group(group_id)
        pending: dict[str, dict[Place, set[str]]] = {}
        for name, txn in model.txns.items():
            for group_id, *place in txn.offsets:
                pending.setdefault(group_id, {}).setdefault((place[0], place[1]), set()).add(name)
        _same("pending offsets", state.pending_offsets, pending)

    def _compare_place(self, place: Place) -> Partition | None:
        partition, log = self.state.partition(*place), self.model.log(*place)
        if partition is None or log is None:
            _same("whether there is a partition", partition is None, log is None)
            return None
        if partition.log_end_offset != log.end:
            _same("the log end", partition.log_end_offset, log.end)
        if partition.last_stable_offset != log.stable:
            _same("the last stable offset", partition.last_stable_offset, log.stable)
        if partition.open_transactions != log.open:
            _same("open transactions", partition.open_transactions, log.open)
        count = len(log.aborted)
        if len(partition.aborted) != count or (
            count and partition.aborted.entry(count - 1) != log.aborted[-1]
        ):
            entries = [tuple(partition.aborted.entry(number)) for number in range(len(partition.aborted))]
            _same("aborted transactions", entries, log.aborted)
        return partition

    def _compare_windows(self, partition: Partition, log: Log) -> None:
        _same("producers", sorted(partition.producers), sorted(log.windows))
        for pid, window in log.windows.items():
            packed = producer_window.unpack(partition.producers[pid])
            recent = window.batches[-5:]
            _same(f"the epoch of producer {pid}", packed.epoch, window.epoch)
            _same(
                f"the last batches of producer {pid}",
                sorted((one.base_sequence, one.last_sequence, one.base_offset) for one in packed.batches),
                sorted(one[:3] for one in recent),
            )
            _same(f"the last sequence of {pid}", packed.last_sequence, recent[-1][1] if recent else -1)

    def _compare_txn(self, name: str) -> None:
        ours, theirs = self.state.transactions.get(name), self.model.txns.get(name)
        if ours is None or theirs is None:
            _same(f"whether {name} is known", ours is None, theirs is None)
            return
        if (ours.producer_id, ours.producer_epoch, ours.state, ours.started_age_ms, ours.timeout_ms) != (
            theirs.pid,
            theirs.epoch,
            theirs.state,
            theirs.started_ms,
            theirs.timeout_ms,
        ):
            raise Difference(
                f"{name}: the machine has {ours!r} since {ours.started_age_ms},"
                f" the model {theirs.pid} {theirs.epoch} in state {theirs.state} since {theirs.started_ms}"
            )
        if ours.partitions != theirs.places or [*ours.groups] != [*theirs.groups]:
            _same(f"what {name} covers", (ours.partitions, ours.groups), (theirs.places, theirs.groups))
        if ours.offsets or theirs.offsets:
            flat = {
                (group, *place): one.offset
                for group, offsets in ours.offsets.items()
                for place, one in offsets.items()
            }
            _same(f"offsets of {name}", flat, {key: one[0] for key, one in theirs.offsets.items()})

    def _compare_group(self, group_id: str) -> None:
        ours, theirs = self.state.groups.get(group_id), self.model.groups.get(group_id)
        if ours is None or theirs is None:
            _same(f"whether there is a group {group_id}", ours is None, theirs is None)
            return
        known = self.model.log
        _same(
            f"offsets of group {group_id}",
            {place: one.offset for place, one in ours.offsets.items() if known(*place)},
            {place: one[0] for place, one in theirs.offsets.items() if known(*place)},
        )
        if ours.generation != theirs.generation or ours.members != theirs.members:
            _same(f"generation of {group_id}", ours.generation, theirs.generation)
            _same(f"members of {group_id}", ours.members, theirs.members)
        if ours.assignments != theirs.assignments:
            _same(f"assignments of {group_id}", ours.assignments, theirs.assignments)
        if theirs.members and (ours.leader != theirs.leader or ours.protocol_type != theirs.protocol_type):
            _same(f"leader of {group_id}", ours.leader, theirs.leader)
            _same(f"protocol type of {group_id}", ours.protocol_type, theirs.protocol_type)


def _plain(command: Any, reply: Any) -> Any:
    kind = type(command)
    if kind is c.Produce:
        return tuple([(one[0], one[1], one[4]) for one in reply])
    if kind is c.CreateTopic:
        return reply.error, reply.partition_count
    if kind in (c.DeleteTopic, c.CreatePartitions):
        return (reply.error,)
    return reply


def _appended(events: list[Event]) -> list[Any]:
    found: list[Any] = []
    for event in events:
        if type(event) is BatchAppended:
            kind = "transactional" if event.is_transactional else "data"
            entry = (
                event.base_offset,
                kind,
                event.producer_id,
                event.producer_epoch,
                event.base_sequence,
                event.last_offset_delta + 1,
            )
            found.append((event.topic_id, event.partition, entry))
        elif type(event) is TransactionEnded:
            kind = "commit" if event.committed else "abort"
            pid, epoch = event.producer_id, event.marker_epoch
            found += [
                (one.topic_id, one.partition, (one.offset, kind, pid, epoch, -1, 1)) for one in event.markers
            ]
    return found


def _same(what: str, ours: Any, theirs: Any) -> None:
    if ours != theirs:
        raise Difference(f"{what}: the machine says {ours!r}, the model {theirs!r}")
