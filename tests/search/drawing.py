"""Drawing commands: what clients, zombies, operators and the broker itself might send next.

Looks at the model for what would make sense, and then often sends something else: an older pair of producer
and epoch, a batch that was sent before, a transactional id of another. It must not know what is right.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Any, NamedTuple

from oncelog.machine import commands as c
from oncelog.machine.group_state import Member, MemberProtocol
from oncelog.machine.limits import Limits
from oncelog.wire.records import BatchHeader
from tests.search.model import EMPTY, NOBODY, ONGOING, SEQUENCES, Log, Model, Place

TOPICS = 3
UNKNOWN_TOPIC = b"?" * 16
NAMES = ("t", "u")
TOO_MANY = "v"
"""One more transactional id than there may be, for the most part."""
GROUPS = ("g", "h", "i", "j")
MEMBERS = ("m", "n", "o")
INSTANCES = {"m": None, "n": "instance", "o": "instance"}
CRASH_CHANCE = 0.03
"""Of the draws of topics: about one crash in every two runs, for each reads all that its run wrote."""
WALL_MS = 1_700_000_000_000
SMALL = Limits(
    producer_epoch_max=3,
    transactional_ids_max=2,
    producers_max=40,
    transaction_max_timeout_ms=1000,
    transaction_partitions_max=3,
    transaction_offsets_max=3,
    transaction_metadata_characters_max=4,
    partitions_max=7,
    groups_max=2,
    group_members_max=2,
    offset_metadata_characters_max=4,
)


class Crash(NamedTuple):
    """The process dies: what was journaled is read again into an empty state."""


class Step(NamedTuple):
    """Let so much time pass, then do this."""

    after_ms: int
    command: Any


def batch(
    place: Place, pid: int, epoch: int, sequence: int, count: int, transactional: bool
) -> c.ProduceBatch:
    header = BatchHeader(
        0, 88, -1, 2, 0, 16 if transactional else 0, count - 1, -1, -1, pid, epoch, sequence, count
    )
    return c.ProduceBatch(*place, header, 100)


class Drawer:
    """Draws one command after another; `sent` holds what may be sent again, as retries and delayed copies."""

    def __init__(self, random: Random, model: Model) -> None:
        self.random = random.random
        self.model = model
        self.sent: deque[Any] = deque(maxlen=24)
        self.ever: deque[tuple[str, int, int]] = deque(maxlen=12)
        self.fresh = 0
        self.topics = [bytes([65 + n]) * 16 for n in range(TOPICS)]
        self._table: list[Any] = []
        for weight, draw in (
            (34, self._produce),
            (10, self._produce_plain),
            (9, self._init),
            (9, self._add),
            (4, self._add_group),
            (7, self._send_offsets),
            (15, self._end),
            (4, self._time_out),
            (3, self._commit),
            (10, self._again),
            (2, self._start_generation),
            (2, self._store_assignment),
            (1, self._replace_static),
            (1, self._delete_offsets),
            (1, self._expire_offsets),
            (1, self._delete_group),
            (1, self._expire_txn),
            (1, self._expire_producers),
            (2, self._topic),
            (1, self._admin_abort),
        ):
            self._table += [draw] * weight

    def _of(self, options: Any) -> Any:
        return options[int(self.random() * len(options))]

    def first(self) -> list[Step]:
        return [
            Step(0, c.CreateTopic(self.topics[0], "topic0", 2)),
            Step(0, c.CreateTopic(self.topics[1], "topic1", 1)),
        ]

    def step(self) -> Step:
        after = 0 if self.random() < 0.8 else self._of((1, 5, 50, 400))
        command = self._of(self._table)()
        if self.random() < 0.3 and type(command) is not c.CreateTopic:
            self.sent.append(command)
        return Step(after, command)

    # --- what they have in common ---

    def _place(self) -> Place:
        if self.random() < 0.985:
            topic_id = self._of(self.topics[:2] if self.random() < 0.9 else self.topics)
            logs = self.model.topics.get(topic_id)
            if logs:
                return topic_id, int(self.random() * len(logs))
        return self._of((*self.topics, UNKNOWN_TOPIC)), self._of((-1, 0, 1, 9))

    def _sender(self) -> tuple[str, int, int]:
        """A transactional id with the pair that its sender holds, mostly the current one."""
        name, chance = self._of(NAMES), self.random()
        txn = self.model.txns.get(name)
        if txn is not None and chance < 0.85:
            now = (name, txn.pid, txn.epoch)
            if chance < 0.2:
                self.ever.append(now)
            return now
        if chance < 0.95 and self.ever:
            return self._of(self.ever)
        if txn is None:
            return name, 0, 0
        return self._of(
            (
                (name, txn.pid, txn.epoch + 1),
                (name, txn.pid, max(0, txn.epoch - 1)),
                (name, txn.pid + 1, txn.epoch),
                ("", txn.pid, txn.epoch),
                ("nobody", txn.pid, txn.epoch),
            )
        )

    def _group(self) -> str:
        """Mostly one that is there, for only so many may be."""
        groups = self.model.groups
        return self._of(list(groups)) if groups and self.random() < 0.75 else self._of(GROUPS)

    def _again(self) -> Any:
        return self._of(self.sent) if self.sent else self._init()

    # --- producing ---

    def _produce(self) -> Any:
        name, pid, epoch = self._sender()
        second = self.random() < 0.5
        txn = self.model.txns.get(name)
        places = [self._place()]
        if not second and txn is not None and txn.places and self.random() < 0.9:
            places = [self._of(list(txn.places))]
        while self.random() < 0.2:
            place = self._place()
            if place not in places or self.random() < 0.1:
                places.append(place)
        batches = [self._batch(place, pid, epoch, self.random() < 0.97) for place in places]
        if self.random() < 0.01:
            batches.append(self._batch(self._place(), *self._sender()[1:], True))
        version = self._of((12, 13)) if second else self._of((9, 10, 11))
        return c.Produce(None if self.random() < 0.01 else name, tuple(batches), version, "client", "host")

    def _produce_plain(self) -> Any:
        chance = self.random()
        if chance < 0.15:
            batches = [batch(self._place(), -1, -1, -1, self._of((1, 2)), chance < 0.01)]
        elif chance < 0.75:
            free = [pid for pid in range(self.model.next_pid) if pid not in self.model.owners]
            free = free[:2] + free[-1:]
            pid = self._of(free) if free and chance < 0.7 else self.model.next_pid + self._of((0, 2))
            batches = [self._batch(self._place(), pid, None, False)]
        else:
            _, pid, epoch = self._sender()
            batches = [self._batch(self._place(), pid, epoch, False)]
        return c.Produce(None, tuple(batches), self._of((11, 12, 13)), "client", "host")

    def _batch(self, place: Place, pid: int, epoch: int | None, transactional: bool) -> c.ProduceBatch:
        log = self.model.log(*place) or Log()
        window, chance = log.windows.get(pid), self.random()
        if epoch is None:
            known = 0 if window is None else window.epoch
            epoch = known if self.random() < 0.9 else max(-1, known + self._of((-1, 1)))
        count = self._of((1, 1, 2, 3)) if chance < 0.96 else 600_000_007
        if window is None or not window.batches or window.epoch != epoch:
            start = 0 if chance < 0.85 else self._of((1, -1, 7, SEQUENCES - 1, SEQUENCES - 2))
            drawn = batch(place, pid, epoch, start, count, transactional)
            return (
                drawn
                if chance < 0.9
                else drawn._replace(first_sequence_max=self._of((0, 1, 2, SEQUENCES - 1)))
            )
        following = (window.batches[-1][1] + 1) % SEQUENCES
        if chance < 0.7 or chance >= 0.96:
            return batch(place, pid, epoch, following, count, transactional)
        if chance < 0.85:
            first, _, _, count = self._of(window.batches[-8:])
            return batch(place, pid, epoch, first, count, transactional)
        around = (following + self._of((-12, -9, -4, -3, -2, -1, 1, 2))) % SEQUENCES
        return batch(place, pid, epoch, around, count, transactional)

    def _expire_producers(self) -> Any:
        log_place = self._place()
        log = self.model.log(*log_place)
        pids = tuple(sorted(log.windows)) if log else (0,)
        return c.ExpireProducers(*log_place, pids, self._of((50, 400, 400)))

    # --- transactions ---

    def _init(self) -> Any:
        chance = self.random()
        if chance < 0.08:
            return c.InitProducerId(None, 500, -1, -1, "client", "host")
        name, pid, epoch = self._sender()
        if chance < 0.09:
            return c.InitProducerId(TOO_MANY, 500, -1, -1, "client", "host")
        if chance < 0.45:
            pid, epoch = NOBODY
        elif chance < 0.5:
            pid, epoch = self._of(((-1, epoch), (pid, -1)))
        elif chance < 0.7 and name in self.model.txns:
            pid, epoch = self.model.txns[name].held
        return c.InitProducerId(
            name, 500 if chance < 0.97 else self._of((0, 1001)), pid, epoch, "client", "host"
        )

    def _add(self) -> Any:
        name, pid, epoch = self._sender()
        places = [self._place()]
        while self.random() < 0.4:
            places.append(self._place())
        return c.AddPartitionsToTxn(
            name, pid, epoch, tuple(dict.fromkeys(places)), self.random() < 0.1, "client", "host"
        )

    def _add_group(self) -> Any:
        return c.AddOffsetsToTxn(*self._sender(), self._group(), "client", "host")

    def _end(self) -> Any:
        name, pid, epoch = self._sender()
        txn = self.model.txns.get(name)
        if txn is not None and txn.state != ONGOING and txn.held != NOBODY and self.random() < 0.5:
            pid, epoch = txn.held
        return c.EndTxn(name, pid, epoch, self.random() < 0.6, self.random() < 0.55, "client", "host")

    def _time_out(self) -> Any:
        return c.AbortTimedOutTransaction(*self._sender())

    def _admin_abort(self) -> Any:
        name, pid, epoch = self._sender()
        txn, second = self.model.txns.get(name), self.random() < 0.5
        places = [self._place()]
        if txn is not None and txn.places and self.random() < 0.6:
            places.append(self._of(list(txn.places)))
        epoch += second if self.random() < 0.9 else 0
        return c.AbortOnPartitions(pid, epoch, tuple(dict.fromkeys(places)), second, "client", "host")

    def _expire_txn(self) -> Any:
        return c.ExpireTransactionalId(*self._sender(), self._of((0, 400)))

    # --- groups ---

    def _offsets(self) -> tuple[c.OffsetToCommit, ...]:
        places = [self._place()]
        while self.random() < 0.3:
            places.append(self._place())
        metadata = None if self.random() < 0.7 else "x" * self._of((1, 2, 4, 4, 5))
        self.fresh += 1
        return tuple(c.OffsetToCommit(*place, self.fresh, -1, metadata) for place in dict.fromkeys(places))

    def _consumer(self, group_id: str) -> tuple[int, str, str | None]:
        group, chance = self.model.groups.get(group_id), self.random()
        if group is None or not group.members:
            return (-1, "", None) if chance < 0.9 else (self._of((0, 1)), self._of(MEMBERS), None)
        if chance < 0.1:
            return -1, "", None
        member = self._of(MEMBERS)
        instance = INSTANCES[member] if chance < 0.7 else None
        return group.generation + (self._of((-1, 1)) if chance > 0.9 else 0), member, instance

    def _send_offsets(self) -> Any:
        name, pid, epoch = self._sender()
        txn = self.model.txns.get(name)
        group = self._group()
        version = self._of((5, 6)) if self.random() < 0.5 else self._of((3, 4))
        if version < 5 and txn is not None and txn.groups:
            group = self._of(list(txn.groups))
        offsets = self._offsets()
        pending = [key for each in self.model.txns.values() for key in each.offsets]
        if pending and self.random() < 0.3:
            # What another transaction would commit, too.
            group, *place = self._of(pending)
            version, offsets = 5, (offsets[0]._replace(topic_id=place[0], partition=place[1]),)
        return c.TxnOffsetCommit(
            name, group, pid, epoch, *self._consumer(group), version, offsets, "client", "host"
        )

    def _commit(self) -> Any:
        group = self._group()
        retention = -1 if self.random() < 0.8 else 50
        offsets = tuple(one for one in self._offsets() if self.model.log(one.topic_id, one.partition))
        return c.CommitOffsets(group, *self._consumer(group), self._of((8, 9, 10)), retention, offsets)

    def _delete_offsets(self) -> Any:
        return c.DeleteOffsets(self._group(), (self._place(),))

    def _expire_offsets(self) -> Any:
        group = self._group()
        known = self.model.groups.get(group)
        return c.ExpireOffsets(group, tuple(sorted(known.offsets)) if known else (), self._of((0, 50, 400)))

    def _delete_group(self) -> Any:
        return c.DeleteGroup(self._group())

    def _generation(self, group_id: str) -> int:
        group = self.model.groups.get(group_id)
        return (group.generation if group else 0) - (self.random() < 0.1)

    def _member(self, member: str) -> Member:
        return Member(member, INSTANCES[member], "client", "host", 10, 10, (MemberProtocol("range", b""),))

    def _start_generation(self) -> Any:
        group = self._group()
        chance = self.random()
        members: tuple[str, ...] = ()
        if chance < 0.65:
            members = self._of((("m",), ("n",), ("m", "n"), ("o", "m")))
        elif chance < 0.7:
            members = ("m", "n", "p")
        if "p" in members:
            named = (*map(self._member, ("m", "n")), self._member("m")._replace(member_id="p"))
        else:
            named = tuple(map(self._member, members))
        kind = "consumer" if chance < 0.55 else "connect"
        return c.StartGeneration(
            group,
            self._generation(group),
            kind,
            "range" if members else None,
            members[0] if members else None,
            named,
        )

    def _store_assignment(self) -> Any:
        group_id = self._group()
        group = self.model.groups.get(group_id)
        members = tuple(group.members) if group else ("m",)
        return c.StoreAssignment(
            group_id, self._generation(group_id), tuple((each, b"all") for each in members[:1])
        )

    def _replace_static(self) -> Any:
        group_id = self._group()
        old, new = self._of((("n", "o"), ("o", "n"), ("m", "o"), ("o", "m"), ("n", "m")))
        member = self._member(new)
        if self.random() < 0.9:
            member = member._replace(group_instance_id="instance")
        return c.ReplaceStaticMember(group_id, self._generation(group_id), old, member)

    # --- topics ---

    def _topic(self) -> Any:
        chance, number = self.random(), self._of((0, 1, 2, 2, 2))
        if chance < CRASH_CHANCE:
            return Crash()
        if chance < 0.25:
            return c.DeleteTopic(self.topics[number] if chance < 0.22 else UNKNOWN_TOPIC)
        if chance < 0.45:
            return c.CreatePartitions(self.topics[number], self._of((1, 2, 3, 4, 9)))
        missing = [n for n, topic_id in enumerate(self.topics) if topic_id not in self.model.topics]
        self.fresh += 1
        topic_id = self.fresh.to_bytes(16, "big")
        if missing:
            number = missing[0]
            self.topics[number] = topic_id
        return c.CreateTopic(topic_id, f"topic{number}", self._of((1, 2, 2, 2, 0, 9)))


__all__ = ["EMPTY", "SMALL", "WALL_MS", "Crash", "Drawer", "Step", "batch"]
