"""A small world, walked to its end: every state that two producers of one transactional id can bring about.

Two partitions, one group, two epochs, one batch per epoch and partition. Each producer sends what a client of
its generation sends; requests and answers of the first may be lost (a broker that dies before or after its
entry is durable looks like that to a client), what was not answered may be sent again, and a producer may
begin anew as another process; the transaction may time out at any step. With `copies`, what was answered may
arrive once more as well. States that differ only in offsets, in the numbers of producer ids and in what
nobody can refer to any more are the same state, so there is an end: no new state. In every state the
invariants hold, machine and model agree, and what the journal's bytes say is what served.

`python -m tests.search.small_world` walks the worlds and prints how many states each has.
"""

from __future__ import annotations

import argparse
import copyreg
import pickle
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from time import perf_counter
from types import MappingProxyType
from typing import Any, NamedTuple

from oncelog.machine import commands as c
from oncelog.machine import producer_window
from oncelog.machine.decide import decide
from oncelog.machine.events import REGISTRY, BatchAppended, TransactionEnded, decode_events
from oncelog.machine.evolve import evolve
from oncelog.machine.extents import Extents
from oncelog.machine.fingerprint import state_differences
from oncelog.machine.life import Lives
from oncelog.machine.limits import Limits
from oncelog.machine.moment import At, Time
from oncelog.machine.state import NOTHING, State, TransactionState
from oncelog.wire.definition import Event
from oncelog.wire.errors import ErrorCode
from tests.search.comparing import Sides
from tests.search.drawing import WALL_MS, batch
from tests.search.model import NOBODY, Model

TOPIC = b"T" * 16
NAME, GROUP = "t", "g"
PARTITIONS = (0, 1)
TIMEOUT_MS = 100
FINGERPRINT_EVERY = 20
"""Of the new states, each of which was made from the journal's bytes: how often what served is made, too."""
NONE = ErrorCode.NONE

Pair = tuple[int, int]


class World(NamedTuple):
    """What may happen.

    generations: 1 or 2 for each producer. last_epoch: Kafka's 32,766. batches: per epoch and partition.
    copies: what was answered may arrive once more. lossy: whose requests and answers may be lost.
    together: each request names both partitions. offsets: whether the group is used.
    """

    generations: tuple[int, int]
    last_epoch: int = 1
    batches: int = 1
    copies: bool = False
    lossy: tuple[bool, bool] = (True, False)
    together: bool = True
    offsets: bool = True


class Client(NamedTuple):
    """What a producer knows: its pair, the next sequence by partition, its last request, whether it waits."""

    holds: Pair = NOBODY
    sequences: tuple[int, ...] = (0,) * len(PARTITIONS)
    last: Any = None
    waits: bool = False


def _nothing() -> Any:
    return NOTHING


copyreg.pickle(MappingProxyType, lambda _: (_nothing, ()))


class Pickled:
    """Machine and model, of which each way on begins with a copy; pickled once somebody needs them again."""

    __slots__ = ("_bytes", "_sides")

    def __init__(self, state: State, model: Model) -> None:
        self._sides: tuple[State, Model] | None = (state, model)
        self._bytes = b""

    def copy(self) -> tuple[State, Model]:
        if self._sides is not None:
            self._bytes = pickle.dumps(self._sides, pickle.HIGHEST_PROTOCOL)
            self._sides = None
        sides: tuple[State, Model] = pickle.loads(self._bytes)
        return sides


class Node(NamedTuple):
    """A state of the world.

    stored: partition, producer, epoch and sequence of every batch on the way here.
    events: what led here from the state before.
    """

    sides: Pickled
    clients: tuple[Client, Client]
    stored: frozenset[tuple[int, int, int, int]] = frozenset()
    events: tuple[Event, ...] = ()


class Walked(NamedTuple):
    states: int
    steps: int
    depth: int
    seconds: float


# --- what a producer may send ---


def requests(client: Client, generation: int, world: World) -> Iterator[Any]:
    """A client of that generation, between two requests."""
    if client.holds == NOBODY:
        yield c.InitProducerId(NAME, TIMEOUT_MS, *NOBODY, None, "")
        return
    yield c.InitProducerId(NAME, TIMEOUT_MS, *client.holds, None, "")
    pid, epoch = client.holds
    is_second = generation == 2
    for places in [PARTITIONS] if world.together else [(partition,) for partition in PARTITIONS]:
        sequence = client.sequences[places[0]]
        if sequence < world.batches:
            batches = tuple(batch((TOPIC, place), pid, epoch, sequence, 1, True) for place in places)
            yield c.Produce(NAME, batches, 12 if is_second else 11, None, "")
        if not is_second:
            yield c.AddPartitionsToTxn(
                NAME, pid, epoch, tuple((TOPIC, place) for place in places), False, None, ""
            )
    if not is_second and world.offsets:
        yield c.AddOffsetsToTxn(NAME, pid, epoch, GROUP, None, "")
    if world.offsets:
        # Each generation sends an offset of its own, so that one can tell whose was committed.
        offset = c.OffsetToCommit(TOPIC, 0, generation, -1, None)
        version = 5 if is_second else 3
        yield c.TxnOffsetCommit(NAME, GROUP, pid, epoch, -1, "", None, version, (offset,), None, "")
    for commit in (True, False):
        yield c.EndTxn(NAME, pid, epoch, commit, is_second, None, "")


def after_answer(client: Client, request: Any, reply: Any, world: World) -> Client:
    last = request if world.copies else None
    client = client._replace(last=last, waits=False)
    kind = type(request)
    if kind is c.Produce:
        sequences = [*client.sequences]
        for one, sent in zip(reply, request.batches, strict=True):
            if one.error is NONE:
                sequences[sent.partition] = max(sequences[sent.partition], sent.header.base_sequence + 1)
        return client._replace(sequences=tuple(sequences))
    elif kind in (c.InitProducerId, c.EndTxn) and reply.error is NONE:
        pair = (reply.producer_id, reply.producer_epoch)
        if pair != client.holds:
            return client._replace(holds=pair, sequences=(0,) * len(PARTITIONS))
    return client


# --- walking ---


class Walk:
    """One world on its way; `compared` is what compares the copies, one after the other."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.checked = 0
        self.compared = Sides(Limits(producer_epoch_max=world.last_epoch))

    def to_the_end(self, states_max: int) -> Walked:
        """Breadth first, so that the first way to a state is a shortest one."""
        started = perf_counter()
        state, first = self._beginning()
        seen = {_canonical(state, first.clients, self.world)}
        queue = deque([(first, 0)])
        steps = depth = 0
        while queue:
            node, depth = queue.popleft()
            for state, follower in self._followers(node):
                steps += 1
                name = _canonical(state, follower.clients, self.world)
                if name in seen:
                    continue
                seen.add(name)
                assert len(seen) <= states_max, f"more than {states_max} states"
                if follower.sides is not node.sides:
                    self._check(node, follower)
                queue.append((follower._replace(events=()), depth + 1))
        return Walked(len(seen), steps, depth, perf_counter() - started)

    def _beginning(self) -> tuple[State, Node]:
        state, model = self.compared.state, self.compared.model
        create = c.CreateTopic(TOPIC, "things", len(PARTITIONS))
        events, reply = decide(state, create, Time(WALL_MS, 0))
        for event in events:
            evolve(state, event, At(1, WALL_MS, 0))
        self.compared.compare(create, reply, events, 0)
        return state, Node(Pickled(state, model), (Client(), Client()))

    def _followers(self, node: Node) -> Iterator[tuple[State, Node]]:
        state, model = node.sides.copy()
        copies = self.world.copies
        for number, client in enumerate(node.clients):
            fresh = requests(client, self.world.generations[number], self.world)
            for request in [client.last] if client.waits else list(fresh):
                done_state, done, reply = self._do(node, state, model, request)
                waiting = client._replace(last=request, waits=True)
                answered = after_answer(client, request, reply, self.world)
                yield done_state, _with(done, number, answered)
                if self.world.lossy[number]:
                    yield done_state, _with(done, number, waiting)
                    yield state, _with(node, number, waiting)
            if client.holds != NOBODY or client.waits:
                # Another process takes the place of this one; what is under way may still arrive.
                yield state, _with(node, number, Client(last=client.last if copies else None))
            if copies and client.last is not None and not client.waits:
                done_state, done, _ = self._do(node, state, model, client.last)
                yield done_state, done
        transaction = state.transactions.get(NAME)
        if transaction is not None and transaction.state is TransactionState.ONGOING:
            pair = (transaction.producer_id, transaction.producer_epoch)
            late = c.AbortTimedOutTransaction(NAME, *pair)
            done_state, done, reply = self._do(node, state, model, late, TIMEOUT_MS)
            assert reply.error is NONE
            yield done_state, done

    def _do(
        self, node: Node, state: State, model: Model, command: Any, after_ms: int = 0
    ) -> tuple[State, Node, Any]:
        """The command on a copy of both sides, as its journal's bytes say; a refusal changes neither side."""
        age_ms = model.now_ms + after_ms
        events, reply = decide(state, command, Time(WALL_MS + age_ms, age_ms))
        compared = self.compared
        if not events:
            compared.state, compared.model = state, model
            compared.compare(command, reply, events, age_ms)
            return state, node, reply
        _check_step(state, command, events, node)
        compared.state, compared.model = state, model = node.sides.copy()
        decoded = decode_events(REGISTRY, b"".join(event.encode() for event in events))
        assert decoded == events
        _evolve(state, decoded, age_ms)
        compared.compare(command, reply, events, age_ms)
        _forget_history(state, model)
        stored = node.stored | _stored(events)
        return state, Node(Pickled(state, model), node.clients, stored, tuple(events)), reply

    def _check(self, before: Node, after: Node) -> None:
        """Of a new state: both sides agree, the invariants hold, a crash gives what served (law 2)."""
        state, model_after = after.sides.copy()
        self.compared.state, self.compared.model = state, model_after
        self.compared.compare_all()
        _check_state(state)
        self.checked += 1
        if self.checked % FINGERPRINT_EVERY:
            return
        served, model = before.sides.copy()
        _evolve(served, after.events, model_after.now_ms)
        _forget_history(served, model)
        assert state_differences(served, state) == []


def _evolve(state: State, events: Iterable[Event], age_ms: int) -> None:
    at = At(1, WALL_MS + age_ms, age_ms)
    for event in events:
        evolve(state, event, at)


def _with(node: Node, number: int, client: Client) -> Node:
    clients = (client, node.clients[1]) if number == 0 else (node.clients[0], client)
    return node._replace(clients=clients)


def _stored(events: list[Event]) -> frozenset[tuple[int, int, int, int]]:
    return frozenset(
        (event.partition, event.producer_id, event.producer_epoch, event.base_sequence)
        for event in events
        if isinstance(event, BatchAppended)
    )


def _forget_history(state: State, model: Model) -> None:
    """What no decision looks at and would grow for ever: where batches lie, who was aborted, lives, logs."""
    state.lives = Lives()
    for partition in state.topics[TOPIC].partitions:
        partition.extents = Extents()
        partition.aborted.drop_before(partition.log_end_offset)
    for log in model.topics[TOPIC]:
        log.entries.clear()
        log.aborted.clear()


# --- what is true in every state, and of every step ---


def _check_step(state: State, command: Any, events: list[Event], node: Node) -> None:
    """Once (law 3), fenced (law 4), all or nothing (law 5)."""
    assert not _stored(events) & node.stored, "a sequence is stored twice"
    transaction = state.transactions.get(NAME)
    if transaction is not None:
        pair = _pair_of(command)
        current = (transaction.producer_id, transaction.producer_epoch)
        is_held = type(command) is c.InitProducerId and (
            pair == NOBODY or pair[1] == transaction.last_epoch != -1
        )
        assert pair == current or is_held, "who doesn't hold the current epoch changes nothing"
    for event in events:
        if isinstance(event, TransactionEnded):
            assert transaction is not None
            marked = {(one.topic_id, one.partition) for one in event.markers}
            assert marked == set(transaction.partitions), "a transaction ends in all its partitions at once"


def _pair_of(command: Any) -> Pair:
    if type(command) is c.Produce:
        header = command.batches[0].header
        return header.producer_id, header.producer_epoch
    return command.producer_id, command.producer_epoch


def _check_state(state: State) -> None:
    transaction = state.transactions.get(NAME)
    is_open = transaction is not None and transaction.state is TransactionState.ONGOING
    for partition in state.topics[TOPIC].partitions:
        assert partition.last_stable_offset <= partition.log_end_offset
        for producer_id in partition.open_transactions:
            assert transaction is not None
            assert is_open, "nothing is open without a transaction"
            assert producer_id == transaction.producer_id
            assert (TOPIC, partition.index) in transaction.partitions
        if not partition.open_transactions:
            assert partition.last_stable_offset == partition.log_end_offset
    assert is_open or not state.pending_offsets, "nothing is pending without a transaction"
    assert is_open == bool(state.ongoing)
    if transaction is not None:
        assert 0 <= transaction.producer_epoch <= state.limits.producer_epoch_max


# --- which states are the same ---


def _canonical(state: State, clients: tuple[Client, Client], world: World) -> Any:
    """The state by what can still matter: no offsets, producer ids by who refers to them."""
    one = _named(state, clients)
    if world.generations[0] != world.generations[1] or world.lossy[0] != world.lossy[1]:
        return one
    return min(one, _named(state, (clients[1], clients[0])), key=repr)


def _named(state: State, clients: tuple[Client, Client]) -> Any:
    names: dict[int, int] = {-1: -1}
    transaction = state.transactions.get(NAME)
    if transaction is not None:
        names.setdefault(transaction.producer_id, 0)
    for client in clients:
        names.setdefault(client.holds[0], len(names))
        if client.last is not None:
            names.setdefault(_pair_of(client.last)[0], len(names))
    group = state.groups.get(GROUP)
    committed = group.offsets.get((TOPIC, 0)) if group is not None else None
    return (
        None
        if transaction is None
        else (
            int(transaction.state),
            transaction.producer_epoch,
            names.get(transaction.previous_producer_id, -1),
            transaction.last_epoch,
            transaction.ended_by_coordinator,
            tuple(sorted(transaction.partitions)),
            bool(transaction.groups),
            tuple(one.offset for offsets in transaction.offsets.values() for one in offsets.values()),
        ),
        tuple(_partition_named(partition, names) for partition in state.topics[TOPIC].partitions),
        group is not None,
        committed.offset if committed is not None else -1,
        tuple(_client_named(client, names) for client in clients),
    )


def _partition_named(partition: Any, names: dict[int, int]) -> Any:
    windows = []
    for producer_id, packed in partition.producers.items():
        if producer_id in names:
            window = producer_window.unpack(packed)
            batches = tuple((one.base_sequence, one.last_sequence) for one in window.batches)
            windows.append((names[producer_id], window.epoch, window.last_sequence, window.run, batches))
    return tuple(sorted(windows)), bool(partition.open_transactions)


def _client_named(client: Client, names: dict[int, int]) -> Any:
    last = client.last
    request: Any = None
    if last is not None:
        pid, epoch = _pair_of(last)
        request = (type(last).__name__, names[pid], epoch, _rest_of(last))
    return names[client.holds[0]], client.holds[1], client.sequences, request, client.waits


def _rest_of(command: Any) -> Any:
    kind = type(command)
    if kind is c.Produce:
        first = command.batches[0]
        return first.partition, first.header.base_sequence, len(command.batches), command.version
    if kind is c.AddPartitionsToTxn:
        return command.partitions
    if kind is c.EndTxn:
        return command.commit, command.transactions_v2
    return command.version if kind is c.TxnOffsetCommit else None


WORLDS = {
    "both of the second generation": World((2, 2)),
    "one of each generation": World((2, 1)),
    "both of the first generation": World((1, 1)),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", action="store_true", help="answered requests may arrive once more")
    parser.add_argument("--apart", action="store_true", help="a request for each partition")
    parser.add_argument("--both-lossy", action="store_true", help="both producers lose requests and answers")
    parser.add_argument("--last-epoch", type=int, default=1)
    parser.add_argument("--states-max", type=int, default=10_000_000)
    options = parser.parse_args()
    for name, standard in WORLDS.items():
        world = standard._replace(
            copies=options.copies,
            last_epoch=options.last_epoch,
            together=not options.apart,
            lossy=(True, options.both_lossy),
        )
        walked = Walk(world).to_the_end(options.states_max)
        print(
            f"{name}: {walked.states:,} states, no new one after {walked.steps:,} steps,"
            f" the farthest {walked.depth} steps from the beginning; {walked.seconds:.1f} s",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
