"""The reference model: what a broker of one machine owes its clients, in dictionaries and lists.

Written from what Kafka promises and from docs/protocol.md, not from the machine's code, and with other means:
every batch stays in a list, a retry is known by the pair of producer id and epoch that its sender held, each
offset carries the number of the step that wrote it. It must not import a rule of `oncelog.machine`, only the
commands and the limits; nothing in it is packed, indexed or bounded for speed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oncelog.machine import commands as c
from oncelog.machine.limits import Limits

NONE = 0
UNKNOWN_PARTITION, METADATA_TOO_LARGE, LOADING, ILLEGAL_GENERATION, UNKNOWN_MEMBER, REBALANCING = (
    3,
    12,
    14,
    22,
    25,
    27,
)
TOPIC_EXISTS, INVALID_PARTITIONS, INVALID_REQUEST, POLICY_VIOLATION = 36, 37, 42, 44
NO_ROOM = 19
OUT_OF_ORDER, DUPLICATE, INVALID_EPOCH, INVALID_STATE, NO_MAPPING, BAD_TIMEOUT = 45, 46, 47, 48, 49, 50
NOT_AUTHORIZED, NOT_ATTEMPTED, NOT_EMPTY, NO_GROUP, FENCED_INSTANCE, SUBSCRIBED = 53, 55, 68, 69, 82, 86
INVALID_RECORD, FENCED, UNKNOWN_TOPIC_ID, ABORTABLE = 87, 90, 100, 120
EMPTY, ONGOING, COMMITTED, ABORTED = 0, 1, 4, 5
SEQUENCES = 2**31
FIRST_ADDING_PRODUCE, FIRST_ADDING_OFFSETS = 12, 5
REMEMBERED = 5
NOBODY = (-1, -1)

Place = tuple[bytes, int]
Entry = tuple[int, str, int, int, int, int]
"""Base offset, kind ("data", "transactional", "commit", "abort"), producer id, epoch, sequence, records."""


class Window:
    """What a partition knows of a producer: every batch of its epoch, as (first, last, offset, records)."""

    __slots__ = ("batches", "epoch", "heard_ms", "run")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.batches: list[tuple[int, int, int, int]] = []
        self.run = 0
        self.heard_ms = 0


class Log:
    __slots__ = ("aborted", "end", "entries", "open", "windows")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.end = 0
        self.windows: dict[int, Window] = {}
        self.open: dict[int, int] = {}
        self.aborted: list[tuple[int, int, int, int]] = []

    @property
    def stable(self) -> int:
        return min(self.open.values(), default=self.end)


class Txn:
    """held: the pair that the sender of the last change held; whoever holds it still may ask again."""

    __slots__ = (
        "epoch",
        "groups",
        "held",
        "ids",
        "offsets",
        "pid",
        "places",
        "started_ms",
        "state",
        "timed_out",
        "timeout_ms",
        "updated_ms",
    )

    def __init__(self) -> None:
        self.pid, self.epoch, self.held = -1, -1, NOBODY
        self.ids: list[int] = []
        self.state, self.timed_out = EMPTY, False
        self.places: dict[Place, None] = {}
        self.groups: dict[str, None] = {}
        self.offsets: dict[tuple[str, bytes, int], tuple[int, int, int]] = {}
        self.timeout_ms = self.updated_ms = 0
        self.started_ms = -1


class ModelGroup:
    """offsets: by place (offset, number of the step that wrote it, when, until when or -1)."""

    __slots__ = (
        "assignments",
        "empty_since_ms",
        "generation",
        "leader",
        "members",
        "offsets",
        "protocol_type",
    )

    def __init__(self, now_ms: int) -> None:
        self.generation, self.protocol_type = 0, ""
        self.leader: str | None = None
        self.members: dict[str, Any] = {}
        self.assignments: dict[str, bytes] | None = None
        self.empty_since_ms = now_ms
        self.offsets: dict[Place, tuple[int, int, int, int]] = {}


class Model:
    """`apply` returns the reply that is owed; what a command changed stands in `appended` and `touched_*`."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.topics: dict[bytes, list[Log]] = {}
        self.names: dict[str, bytes] = {}
        self.txns: dict[str, Txn] = {}
        self.owners: dict[int, str] = {}
        self.groups: dict[str, ModelGroup] = {}
        self.next_pid = 0
        self.now_ms = 0
        self.step = 0
        self.appended: list[tuple[bytes, int, Entry]] = []
        self.touched_places: list[Place] = []
        self.touched_txns: list[str] = []
        self.touched_groups: list[str] = []
        self._rules = self._by_type()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_rules"}

    def __setstate__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)
        self._rules = self._by_type()

    def _by_type(self) -> dict[type, Callable[[Any], Any]]:
        return {
            c.Produce: self.produce,
            c.InitProducerId: self.init,
            c.AddPartitionsToTxn: self.add_partitions,
            c.AddOffsetsToTxn: self.add_group,
            c.TxnOffsetCommit: self.send_offsets,
            c.EndTxn: self.end,
            c.AbortTimedOutTransaction: self.time_out,
            c.AbortOnPartitions: self.abort_on,
            c.ExpireTransactionalId: self.expire_txn,
            c.ExpireProducers: self.expire_producers,
            c.CreateTopic: self.create_topic,
            c.DeleteTopic: self.delete_topic,
            c.CreatePartitions: self.create_partitions,
            c.StartGeneration: self.start_generation,
            c.StoreAssignment: self.store_assignment,
            c.ReplaceStaticMember: self.replace_static,
            c.CommitOffsets: self.commit_offsets,
            c.DeleteOffsets: self.delete_offsets,
            c.DeleteGroup: self.delete_group,
            c.ExpireOffsets: self.expire_offsets,
        }

    def apply(self, command: Any, now_ms: int) -> Any:
        self.now_ms = now_ms
        self.step += 1
        self.appended, self.touched_places, self.touched_txns, self.touched_groups = [], [], [], []
        return self._rules[type(command)](command)

    def log(self, topic_id: bytes, index: int) -> Log | None:
        logs = self.topics.get(topic_id)
        return logs[index] if logs is not None and 0 <= index < len(logs) else None

    def remembered(self) -> int:
        return sum(len(log.windows) for logs in self.topics.values() for log in logs)

    def covered(self) -> int:
        return sum(len(txn.places) for txn in self.txns.values())

    def promised(self) -> int:
        """Markers to come where their producer is not remembered."""
        logs = [(txn.pid, self.log(*place)) for txn in self.txns.values() for place in txn.places]
        return sum(log is not None and pid not in log.windows for pid, log in logs)

    def _is_full(self, more: int = 1) -> bool:
        return self.remembered() + self.covered() + more > self.limits.producers_max

    def _append(
        self, place: Place, log: Log, kind: str, pid: int, epoch: int, sequence: int, count: int
    ) -> int:
        base = log.end
        entry = (base, kind, pid, epoch, sequence, count)
        log.entries.append(entry)
        log.end = base + count
        self.appended.append((*place, entry))
        self.touched_places.append(place)
        return base

    # --- producing ---

    def produce(self, command: c.Produce) -> tuple[tuple[int, int, bool], ...]:
        batches = command.batches
        transactional = {
            (one.header.producer_id, one.header.producer_epoch)
            for one in batches
            if one.header.attributes & 16
        }
        whole = NONE
        if transactional and command.transactional_id is None:
            whole = NOT_AUTHORIZED
        elif len(transactional) > 1:
            whole = NO_MAPPING
        if whole:
            return tuple((whole, -1, False) for _ in batches)
        places = [(one.topic_id, one.partition) for one in batches]
        results = []
        for one, place in zip(batches, places, strict=True):
            log = self.log(*place)
            if places.count(place) > 1:
                results.append((INVALID_REQUEST, -1, False))
            elif log is None:
                by_id = command.version >= 13 and one.topic_id not in self.topics
                results.append((UNKNOWN_TOPIC_ID if by_id else UNKNOWN_PARTITION, -1, False))
            else:
                results.append(self._produce_one(command, one, place, log))
        return tuple(results)

    def _produce_one(
        self, command: c.Produce, one: c.ProduceBatch, place: Place, log: Log
    ) -> tuple[int, int, bool]:
        header = one.header
        pid, epoch, first, count = (
            header.producer_id,
            header.producer_epoch,
            header.base_sequence,
            header.record_count,
        )
        in_txn = bool(header.attributes & 16)
        if pid < 0:
            if in_txn:
                return INVALID_RECORD, -1, False
            return NONE, self._append(place, log, "data", -1, -1, -1, count), True
        owner = self.owners.get(pid)
        txn, joins = None, False
        window = log.windows.get(pid)
        if in_txn:
            if window is not None and epoch < window.epoch:
                return INVALID_EPOCH, -1, False
            error, txn, joins = self._may_write(command, pid, epoch, place)
            if error:
                return error, -1, False
        if epoch < 0 or first < 0:
            return INVALID_RECORD, -1, False
        if not in_txn and owner is not None:
            txn = self.txns[owner]
            if (txn.pid, txn.epoch) != (pid, epoch):
                return INVALID_EPOCH, -1, False
        last = (first + count - 1) % SEQUENCES
        adds = in_txn and command.version >= FIRST_ADDING_PRODUCE and pid not in log.open
        error, original = self._place(window, epoch, first, last, count, must_start_at_zero=adds)
        if not error and window is None and one.first_sequence_max >= 0:
            ahead = (first - one.first_sequence_max) % SEQUENCES
            error = OUT_OF_ORDER if 0 < ahead <= SEQUENCES // 2 else NONE
        if error or original >= 0:
            return error, original, False
        if pid in log.open and not in_txn:
            return INVALID_STATE, -1, False
        if window is None and (joins or not in_txn) and self._is_full():
            return NO_ROOM, -1, False
        if joins:
            assert txn is not None
            if len(txn.places) >= self.limits.transaction_partitions_max:
                return POLICY_VIOLATION, -1, False
            self._begin(command.transactional_id or "", txn)
            txn.places[place] = None
        base = self._append(place, log, "transactional" if in_txn else "data", pid, epoch, first, count)
        if window is None or window.epoch != epoch:
            window = log.windows[pid] = Window(epoch)
        window.batches.append((first, last, base, count))
        window.run += count
        window.heard_ms = self.now_ms
        if in_txn:
            log.open.setdefault(pid, base)
        if pid >= self.next_pid:
            self.next_pid = pid + 1
        return NONE, base, True

    def _may_write(
        self, command: c.Produce, pid: int, epoch: int, place: Place
    ) -> tuple[int, Txn | None, bool]:
        txn = self.txns.get(command.transactional_id or "")
        if txn is None:
            return NO_MAPPING, None, False
        if txn.pid != pid:
            return (INVALID_EPOCH if pid in txn.ids else NO_MAPPING), None, False
        if txn.epoch != epoch:
            return INVALID_EPOCH, None, False
        if place in txn.places:
            return NONE, txn, False
        if command.version >= FIRST_ADDING_PRODUCE:
            return NONE, txn, True
        return (ABORTABLE if command.version == 11 else INVALID_STATE), None, False

    @staticmethod
    def _place(
        window: Window | None, epoch: int, first: int, last: int, count: int, *, must_start_at_zero: bool
    ) -> tuple[int, int]:
        """The error, and the offset of the batch that this one repeats, or -1."""
        if window is None:
            return (OUT_OF_ORDER if must_start_at_zero and first else NONE), -1
        if epoch < window.epoch:
            return INVALID_EPOCH, -1
        if epoch > window.epoch:
            return (OUT_OF_ORDER if first else NONE), -1
        if not window.batches:
            return (OUT_OF_ORDER if first else NONE), -1
        recent = window.batches[-REMEMBERED:]
        for one in recent:
            if one[0] == first and one[1] == last:
                return NONE, one[2]
        if first == (recent[-1][1] + 1) % SEQUENCES:
            return NONE, -1
        back = (recent[-1][1] - first) % SEQUENCES + 1
        # Beyond half the circle nobody can tell what is behind from what is ahead.
        if back <= min(window.run, SEQUENCES // 2) and back - count >= sum(one[3] for one in recent):
            return DUPLICATE, -1
        return OUT_OF_ORDER, -1

    def expire_producers(self, command: c.ExpireProducers) -> tuple[int]:
        log = self.log(command.topic_id, command.partition)
        if log is None:
            return (UNKNOWN_PARTITION,)
        self.touched_places.append((command.topic_id, command.partition))
        for pid in command.producer_ids:
            window = log.windows.get(pid)
            txn = self.txns.get(self.owners.get(pid, ""))
            if txn is not None and txn.state == ONGOING:
                continue
            if window and self.now_ms - window.heard_ms >= command.idle_ms:
                del log.windows[pid]
        return (NONE,)

    # --- transactions ---

    def _new_pid(self) -> int:
        self.next_pid += 1
        return self.next_pid - 1

    def _begin(self, name: str, txn: Txn) -> None:
        self.touched_txns.append(name)
        if txn.state != ONGOING:
            txn.state, txn.started_ms = ONGOING, self.now_ms

    def init(self, command: c.InitProducerId) -> tuple[int, int, int]:
        name, held = command.transactional_id, (command.producer_id, command.producer_epoch)
        if (held[0] == -1) != (held[1] == -1):
            return INVALID_REQUEST, -1, -1
        if name is None:
            return (LOADING, -1, -1) if self._is_full() else (NONE, self._new_pid(), 0)
        if name == "":
            return INVALID_REQUEST, -1, -1
        if not 0 < command.timeout_ms <= self.limits.transaction_max_timeout_ms:
            return BAD_TIMEOUT, -1, -1
        txn = self.txns.get(name)
        if txn is None:
            if self._is_full() or len(self.txns) == self.limits.transactional_ids_max:
                return LOADING, -1, -1
            txn = self.txns[name] = Txn()
            self._give(name, txn, self._new_pid(), 0)
            held = NOBODY  # as in Kafka: who comes with what nobody remembers can't ask again
        elif held == NOBODY or held == (txn.pid, txn.epoch):
            steps = 1
            if txn.state == ONGOING:
                self._finish(name, txn, False, txn.epoch + 1)
                steps = 2
            if txn.epoch + steps > self.limits.producer_epoch_max:
                self._give(name, txn, self._new_pid(), 0)
            else:
                self._give(name, txn, txn.pid, txn.epoch + steps)
        elif held == txn.held and txn.state != ONGOING:
            if txn.state == EMPTY and txn.timeout_ms == command.timeout_ms:
                return (
                    NONE,
                    txn.pid,
                    txn.epoch,
                )  # nothing new: it isn't written, and the id is as idle as before
        else:
            return FENCED, -1, -1
        txn.held, txn.state, txn.timed_out = held, EMPTY, False
        txn.timeout_ms, txn.updated_ms = command.timeout_ms, self.now_ms
        self.touched_txns.append(name)
        return NONE, txn.pid, txn.epoch

    def _give(self, name: str, txn: Txn, pid: int, epoch: int) -> None:
        if txn.pid != pid:
            txn.ids.append(pid)
            self.owners[pid] = name
        txn.pid, txn.epoch = pid, epoch

    def _known(self, name: str, pid: int, epoch: int) -> tuple[int, Txn | None]:
        if name == "":
            return INVALID_REQUEST, None
        txn = self.txns.get(name)
        if txn is None or txn.pid != pid:
            return NO_MAPPING, None
        return (NONE if txn.epoch == epoch else FENCED), txn

    def add_partitions(self, command: c.AddPartitionsToTxn) -> tuple[int, tuple[int, ...]]:
        places = command.partitions
        missing = [self.log(*place) is None for place in places]
        if any(missing):
            return NONE, tuple(UNKNOWN_PARTITION if lacks else NOT_ATTEMPTED for lacks in missing)
        error, txn = self._known(command.transactional_id, command.producer_id, command.producer_epoch)
        if error or txn is None:
            return error, (error,) * len(places)
        if command.verify_only:
            return NONE, tuple(NONE if place in txn.places else ABORTABLE for place in places)
        wanted = txn.places.keys() | set(places)
        if len(wanted) > self.limits.transaction_partitions_max:
            return POLICY_VIOLATION, (POLICY_VIOLATION,) * len(places)
        logs = [self.log(*place) for place in wanted - txn.places.keys()]
        new = sum(txn.pid not in log.windows for log in logs if log is not None)
        if new and self._is_full(new):
            return LOADING, (LOADING,) * len(places)
        self._begin(command.transactional_id, txn)
        for place in places:
            txn.places.setdefault(place)
        return NONE, (NONE,) * len(places)

    def add_group(self, command: c.AddOffsetsToTxn) -> tuple[int]:
        error, txn = self._known(command.transactional_id, command.producer_id, command.producer_epoch)
        if not error and txn is not None:
            if (
                command.group_id not in txn.groups
                and len(txn.groups) >= self.limits.transaction_partitions_max
            ):
                return (POLICY_VIOLATION,)
            self._begin(command.transactional_id, txn)
            txn.groups.setdefault(command.group_id)
        return (error,)

    def end(self, command: c.EndTxn) -> tuple[int, int, int]:
        name, pid, epoch, commit = (
            command.transactional_id,
            command.producer_id,
            command.producer_epoch,
            command.commit,
        )
        if name == "":
            return INVALID_REQUEST, -1, -1
        txn = self.txns.get(name)
        if txn is None:
            return NO_MAPPING, -1, -1
        is_current = (pid, epoch) == (txn.pid, txn.epoch)
        again = NONE if (txn.state == COMMITTED) == commit else INVALID_STATE
        if not is_current:
            if (
                command.transactions_v2
                and NOBODY != (pid, epoch) == txn.held
                and txn.state in (COMMITTED, ABORTED)
            ):
                error = FENCED if txn.timed_out and commit else again
                return (error, txn.pid, txn.epoch) if error == NONE else (error, -1, -1)
            is_known = txn.pid == pid or (command.transactions_v2 and self._was_last_before(txn, pid, epoch))
            return (FENCED if is_known else NO_MAPPING), -1, -1
        if txn.state == ONGOING:
            if not command.transactions_v2:
                self._finish(name, txn, commit, epoch)
                txn.held, txn.timed_out = NOBODY, False
                return NONE, pid, epoch
            self._finish(name, txn, commit, epoch + 1)
        elif not command.transactions_v2:
            if txn.state == EMPTY or again:
                return INVALID_STATE, -1, -1
            return NONE, pid, epoch
        elif commit:
            return INVALID_STATE, -1, -1
        else:
            self._finish(name, txn, False, epoch + 1)
        self._move_on(name, txn)
        return NONE, txn.pid, txn.epoch

    def _was_last_before(self, txn: Txn, pid: int, epoch: int) -> bool:
        """Kafka's retryOnOverflow: the last pair of the id before, while the current one is still at 0."""
        return txn.ids[-2:-1] == [pid] and epoch == self.limits.producer_epoch_max and txn.epoch == 0

    def _move_on(self, name: str, txn: Txn) -> None:
        txn.held, txn.timed_out = (txn.pid, txn.epoch), False
        if txn.epoch + 1 > self.limits.producer_epoch_max:
            self._give(name, txn, self._new_pid(), 0)
        else:
            txn.epoch += 1

    def _finish(self, name: str, txn: Txn, commit: bool, marker_epoch: int) -> None:
        for place in txn.places:
            log = self.log(*place)
            if log is not None:
                self._mark(place, log, txn.pid, marker_epoch, commit)
        for (group_id, topic_id, index), (offset, step, _) in list(txn.offsets.items()):
            group = self.groups.get(group_id)
            if not commit or group is None:
                continue
            before = group.offsets.get((topic_id, index))
            if before is None or before[1] < step:
                if self.log(topic_id, index) is not None:
                    group.offsets[topic_id, index] = (offset, step, self.now_ms, -1)
                self._forget_pending(group_id, (topic_id, index), before_step=step)
        self.touched_groups += txn.groups
        self.touched_txns.append(name)
        txn.places, txn.groups, txn.offsets = {}, {}, {}
        txn.state = COMMITTED if commit else ABORTED
        txn.started_ms, txn.updated_ms = -1, self.now_ms

    def _mark(self, place: Place, log: Log, pid: int, epoch: int, commit: bool) -> None:
        offset = self._append(place, log, "commit" if commit else "abort", pid, epoch, -1, 1)
        first = log.open.pop(pid, None)
        if first is not None and not commit:
            log.aborted.append((pid, first, offset, log.stable))
        window = log.windows.get(pid)
        if window is None or window.epoch != epoch:
            window = log.windows[pid] = Window(epoch)
        window.heard_ms = self.now_ms

    def time_out(self, command: c.AbortTimedOutTransaction) -> tuple[int]:
        name = command.transactional_id
        error, txn = self._known(name, command.producer_id, command.producer_epoch)
        if error or txn is None:
            return (error,)
        if txn.state != ONGOING or self.now_ms - txn.started_ms < txn.timeout_ms:
            return (INVALID_STATE,)
        self._finish(name, txn, False, txn.epoch + 1)
        self._move_on(name, txn)
        txn.timed_out = True
        return (NONE,)

    def abort_on(self, command: c.AbortOnPartitions) -> tuple[tuple[int, ...]]:
        """An administrator's markers: for what the transaction covers, they end it as a whole."""
        pid, epoch, name = (
            command.producer_id,
            command.producer_epoch,
            self.owners.get(command.producer_id, ""),
        )
        txn = self.txns.get(name)
        errors, hits = [], False
        for place in command.partitions:
            log = self.log(*place)
            window = log.windows.get(pid) if log else None
            if log is None:
                errors.append(UNKNOWN_PARTITION)
            elif txn is not None and txn.pid == pid and place in txn.places:
                is_its = epoch == txn.epoch + command.transactions_v2
                hits = hits or is_its
                errors.append(NONE if is_its else INVALID_EPOCH)
            elif txn is not None and txn.state == ABORTED and txn.timed_out and (pid, epoch) == txn.held:
                errors.append(NONE)
            else:
                errors.append(INVALID_EPOCH if window is not None and window.epoch > epoch else NONE)
        if hits and txn is not None:
            self._finish(name, txn, False, txn.epoch + 1)
            self._move_on(name, txn)
            txn.timed_out = True
        return (tuple(errors),)

    def expire_txn(self, command: c.ExpireTransactionalId) -> tuple[int]:
        name = command.transactional_id
        error, txn = self._known(name, command.producer_id, command.producer_epoch)
        if error or txn is None:
            return (error,)
        if txn.state == ONGOING or self.now_ms - txn.updated_ms < command.idle_ms:
            return (INVALID_STATE,)
        for pid in txn.ids:
            del self.owners[pid]
        del self.txns[name]
        self.touched_txns.append(name)
        return (NONE,)

    # --- topics ---

    def create_topic(self, command: c.CreateTopic) -> tuple[int, int]:
        if command.name in self.names:
            return TOPIC_EXISTS, -1
        if command.partition_count < 1:
            return INVALID_PARTITIONS, -1
        if self._partitions() + command.partition_count > self.limits.partitions_max:
            return POLICY_VIOLATION, -1
        self.topics[command.topic_id] = [Log() for _ in range(command.partition_count)]
        self.names[command.name] = command.topic_id
        return NONE, command.partition_count

    def _partitions(self) -> int:
        return sum(map(len, self.topics.values()))

    def delete_topic(self, command: c.DeleteTopic) -> tuple[int]:
        if self.topics.pop(command.topic_id, None) is None:
            return (UNKNOWN_TOPIC_ID,)
        self.names = {name: each for name, each in self.names.items() if each != command.topic_id}
        return (NONE,)

    def create_partitions(self, command: c.CreatePartitions) -> tuple[int]:
        logs = self.topics.get(command.topic_id)
        if logs is None:
            return (UNKNOWN_PARTITION,)
        more = command.partition_count - len(logs)
        if more <= 0:
            return (INVALID_PARTITIONS,)
        if self._partitions() + more > self.limits.partitions_max:
            return (POLICY_VIOLATION,)
        logs += [Log() for _ in range(more)]
        return (NONE,)

    # --- groups ---

    def _member_error(self, group: ModelGroup, generation: int, member: str, instance: str | None) -> int:
        if instance is not None:
            holder = [each for each, known in group.members.items() if known.group_instance_id == instance]
            if not holder:
                return UNKNOWN_MEMBER
            if holder[0] != member:
                return FENCED_INSTANCE
        if member not in group.members:
            return UNKNOWN_MEMBER
        return NONE if generation == group.generation else ILLEGAL_GENERATION

    def _group_error(self, command: Any, *, plain: bool) -> int:
        group = self.groups.get(command.group_id)
        generation, member, instance = command.generation_id, command.member_id, command.group_instance_id
        if group is None:
            if generation >= 0:
                return NO_GROUP if command.version >= (9 if plain else 6) else ILLEGAL_GENERATION
            return NONE if len(self.groups) < self.limits.groups_max else LOADING
        if generation < 0 and not group.members:
            return NONE
        if generation >= 0 or member or instance is not None:
            error = self._member_error(group, generation, member, instance)
            if error:
                return error
        elif plain:
            return UNKNOWN_MEMBER
        if plain and group.members and group.assignments is None:
            return REBALANCING
        return NONE

    def _offset_errors(self, command: Any, shared: int, by_id_from: int | None = None) -> list[int]:
        """by_id_from: the version that names topics by id; None where partitions were looked up before."""
        errors = []
        for one in command.offsets:
            if by_id_from is not None and self.log(one.topic_id, one.partition) is None:
                by_id = command.version >= by_id_from and one.topic_id not in self.topics
                errors.append(UNKNOWN_TOPIC_ID if by_id else UNKNOWN_PARTITION)
            elif shared:
                errors.append(shared)
            elif one.metadata and len(one.metadata) > self.limits.offset_metadata_characters_max:
                errors.append(METADATA_TOO_LARGE)
            else:
                errors.append(NONE)
        return errors

    def _group_for_offsets(self, group_id: str) -> ModelGroup:
        self.touched_groups.append(group_id)
        if group_id not in self.groups:
            self.groups[group_id] = ModelGroup(self.now_ms)
        return self.groups[group_id]

    def send_offsets(self, command: c.TxnOffsetCommit) -> tuple[tuple[int, ...]]:
        name, adds = command.transactional_id, command.version >= FIRST_ADDING_OFFSETS
        error, txn = self._known(name, command.producer_id, command.producer_epoch)
        if error == FENCED:
            error = INVALID_EPOCH
        if not error and txn is not None and not adds and command.group_id not in txn.groups:
            error = ABORTABLE if command.version == 4 else INVALID_STATE
        errors = self._offset_errors(command, error or self._group_error(command, plain=False), 6)
        accepted = [one for one, failed in zip(command.offsets, errors, strict=True) if not failed]
        if accepted and txn is not None:
            group_id = command.group_id
            sent = {
                (group_id, one.topic_id, one.partition): (one.offset, self.step, len(one.metadata or ""))
                for one in accepted
            }
            after = txn.offsets | sent
            characters = sum(count for _, _, count in after.values())
            limits = self.limits
            if (
                len(txn.groups | {group_id: None}) > limits.transaction_partitions_max
                or len(after) > limits.transaction_offsets_max
                or characters > limits.transaction_metadata_characters_max
            ):
                return (tuple(each or POLICY_VIOLATION for each in errors),)
            self._group_for_offsets(group_id)
            self._begin(name, txn)
            txn.groups.setdefault(group_id)
            txn.offsets = after
        return (tuple(errors),)

    def commit_offsets(self, command: c.CommitOffsets) -> tuple[tuple[int, ...]]:
        errors = self._offset_errors(command, self._group_error(command, plain=True))
        accepted = [one for one, failed in zip(command.offsets, errors, strict=True) if not failed]
        if accepted:
            group = self._group_for_offsets(command.group_id)
            until = -1 if command.retention_ms < 0 else self.now_ms + command.retention_ms
            for one in accepted:
                place = (one.topic_id, one.partition)
                group.offsets[place] = (one.offset, self.step, self.now_ms, until)
                self._forget_pending(command.group_id, place)
        return (tuple(errors),)

    def delete_offsets(self, command: c.DeleteOffsets) -> tuple[int, tuple[int, ...]]:
        group, count = self.groups.get(command.group_id), len(command.partitions)
        if group is None:
            return NO_GROUP, (NO_GROUP,) * count
        if group.members and group.protocol_type != "consumer":
            return NOT_EMPTY, (NOT_EMPTY,) * count
        errors = tuple(
            SUBSCRIBED if group.members and place[0] in self.topics else NONE for place in command.partitions
        )
        for place, error in zip(command.partitions, errors, strict=True):
            if not error:
                group.offsets.pop(place, None)
                self._forget_pending(command.group_id, place)
        self.touched_groups.append(command.group_id)
        return NONE, errors

    def _forget_pending(self, group_id: str, place: Place | None, before_step: int = 2**62) -> None:
        """What can no longer win is no longer pending: it was overtaken by a commit, or deleted."""
        for txn in self.txns.values():
            for key, (_, step, _) in list(txn.offsets.items()):
                if key[0] == group_id and place in (None, key[1:]) and step < before_step:
                    del txn.offsets[key]

    def delete_group(self, command: c.DeleteGroup) -> tuple[int]:
        group = self.groups.get(command.group_id)
        if group is None:
            return (NO_GROUP,)
        if group.members:
            return (NOT_EMPTY,)
        del self.groups[command.group_id]
        self._forget_pending(command.group_id, None)
        self.touched_groups.append(command.group_id)
        return (NONE,)

    def expire_offsets(self, command: c.ExpireOffsets) -> tuple[int]:
        group = self.groups.get(command.group_id)
        if group is None:
            return (NO_GROUP,)
        self.touched_groups.append(command.group_id)
        pending = {key[1:] for txn in self.txns.values() for key in txn.offsets if key[0] == command.group_id}
        for place in command.partitions:
            if place in group.offsets and place not in pending and self._may_expire(group, place, command):
                del group.offsets[place]
        if not group.members and not group.offsets and not pending:
            del self.groups[command.group_id]
        return (NONE,)

    def _may_expire(self, group: ModelGroup, place: Place, command: c.ExpireOffsets) -> bool:
        _, _, committed_ms, until_ms = group.offsets[place]
        if self.log(*place) is None:
            return True
        if group.members:
            return False
        if until_ms >= 0:
            return self.now_ms >= until_ms
        since_ms = max(group.empty_since_ms, committed_ms) if group.protocol_type else committed_ms
        return self.now_ms - since_ms >= command.retention_ms

    def start_generation(self, command: c.StartGeneration) -> tuple[int]:
        group = self.groups.get(command.group_id)
        if group is None and len(self.groups) >= self.limits.groups_max:
            return (LOADING,)
        if command.generation != (group.generation if group else 0):
            return (ILLEGAL_GENERATION,)
        if len(command.members) > self.limits.group_members_max:
            return (81,)
        if group is None:
            group = self.groups[command.group_id] = ModelGroup(self.now_ms)
        self.touched_groups.append(command.group_id)
        group.generation += 1
        group.protocol_type, group.leader = command.protocol_type, command.leader
        group.members = {each.member_id: each for each in command.members}
        group.assignments = None
        if not group.members:
            group.empty_since_ms = self.now_ms
        return (NONE,)

    def store_assignment(self, command: c.StoreAssignment) -> tuple[int]:
        group = self.groups.get(command.group_id)
        if group is None or command.generation != group.generation:
            return (ILLEGAL_GENERATION,)
        if not group.members or group.assignments is not None:
            return (REBALANCING,)
        self.touched_groups.append(command.group_id)
        given = dict(command.assignments)
        group.assignments = {each: given.get(each, b"") for each in group.members}
        return (NONE,)

    def replace_static(self, command: c.ReplaceStaticMember) -> tuple[int]:
        group = self.groups.get(command.group_id)
        if group is None or command.generation != group.generation:
            return (ILLEGAL_GENERATION,)
        old = group.members.get(command.old_member_id)
        if old is None or old.group_instance_id != command.member.group_instance_id:
            return (UNKNOWN_MEMBER,)
        if command.member.member_id in group.members:
            return (FENCED_INSTANCE,)
        self.touched_groups.append(command.group_id)
        group.members = {
            command.member.member_id if each == command.old_member_id else each: (
                command.member if each == command.old_member_id else known
            )
            for each, known in group.members.items()
        }
        if group.assignments is not None:
            group.assignments = {
                command.member.member_id if each == command.old_member_id else each: bytes_
                for each, bytes_ in group.assignments.items()
            }
        if group.leader == command.old_member_id:
            group.leader = command.member.member_id
        return (NONE,)
