"""What is told of a transactional id to people who ask: its life, what it was refused, and since when.

As plain values for JSON: the events that the state keeps (machine/life.py), a transaction that is open, and
between them the refusals of this process (refusal_history.py). Must not know how it is asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from oncelog.broker.refusal_history import Refusal, holder
from oncelog.machine.events import EndReason
from oncelog.machine.life import EVENTS_MAX, NOBODY, PLACES_MAX, Kind, LifeEvent, Producer
from oncelog.machine.state import State, TransactionalId, TransactionState
from oncelog.wire.errors import ErrorCode

if TYPE_CHECKING:
    from oncelog.broker.broker import Broker

Told = dict[str, Any]

WHAT = {
    Kind.INITIALIZED: "initialized",
    Kind.COMMITTED: "committed",
    Kind.ABORTED: "aborted",
    Kind.EXPIRED: "forgotten",
}
ENDED_BY = {
    EndReason.CLIENT: "its producer",
    EndReason.NEWER_PRODUCER: "a newer producer",
    EndReason.TIMEOUT: "its timeout",
    EndReason.ADMIN: "an administrator",
}
EXPIRED_BY = "nobody had used it for long"
FENCED = frozenset(
    (ErrorCode.PRODUCER_FENCED, ErrorCode.INVALID_PRODUCER_EPOCH, ErrorCode.INVALID_PRODUCER_ID_MAPPING)
)
"""Of these the event is named since which such requests are refused."""


def by(client_id: str | None, host: str) -> str | None:
    """Who asked; None where the broker acted by itself."""
    if not host:
        return None
    return f"{client_id or 'a client without a name'} at {host.removeprefix('/')}"


def life_of(broker: Broker, name: str, asked_for: Producer | None = None) -> Told | None:
    """All that is known of a transactional id; None where that is nothing.

    asked_for: a producer of which it is asked since when its requests are refused.
    """
    events = broker.state.lives.of(name)
    refusals = broker.refusals.of(name)
    transaction = broker.state.transactions.get(name)
    if not events and not refusals and transaction is None:
        return None
    life = [_event(broker.state, event) for event in events]
    whole = _in_their_place(events, life, [_refusal(each) for each in refusals], refusals)
    if transaction is not None and transaction.state is TransactionState.ONGOING:
        whole.append(_open(broker, transaction))
    producers = [each.sent for each in refusals if each.error in FENCED]
    if asked_for is not None:
        producers = [asked_for]
    elif not producers:
        producers = [each.before for each in events if each.fences][-1:]
    return {
        "transactional_id": name,
        **_producer(holder(broker.state, name)),
        "state": "Dead" if transaction is None else transaction.state.kafka_name,
        "is_complete": _is_complete(events),
        "life": whole,
        "refused": [{**_producer(each), **_since(events, life, each)} for each in dict.fromkeys(producers)],
    }


def refusals_of(broker: Broker, producer_id: int) -> Told:
    """What a producer without a transactional id was refused; the id's name where it has one."""
    return {
        "producer_id": producer_id,
        "transactional_id": broker.state.producer_owners.get(producer_id),
        "refusals": [_refusal(each) for each in broker.refusals.of(producer_id)],
    }


def _is_complete(events: Sequence[LifeEvent]) -> bool:
    """Whether the first of them is the first that happened; when in doubt, no."""
    return bool(events) and len(events) < EVENTS_MAX and events[0].before == NOBODY


def _in_their_place(
    events: Sequence[LifeEvent], life: Sequence[Told], told: Sequence[Told], refusals: Sequence[Refusal]
) -> list[Told]:
    """Refusals among the events. In one journal entry, a refusal knew the producer of its moment."""
    whole: list[Told] = []
    waiting = deque(zip(refusals, told, strict=True))
    for number, its in enumerate(life):
        while waiting and _is_before(waiting[0][0], number, events):
            whole.append(waiting.popleft()[1])
        whole.append(its)
    return [*whole, *(each for _, each in waiting)]


def _is_before(refusal: Refusal, number: int, events: Sequence[LifeEvent]) -> bool:
    """Whether the refusal came before the event of that number."""
    position = events[number].position
    if refusal.position != position:
        return refusal.position < position
    knew = [
        earlier
        for earlier, each in enumerate(events)
        if each.position == position and each.after == refusal.known
    ]
    return not knew or knew[-1] < number


# --- since when ---


def _since(events: Sequence[LifeEvent], life: Sequence[Told], producer: Producer) -> Told:
    """Whether the time of this producer is over, and the event that ended it; None where that is not kept."""
    has_held = False
    for event, told in zip(events, life, strict=True):
        # What an event found is what the one before it left, unless others between them are not kept.
        for (producer_id, epoch), since in ((event.before, None), (event.after, told)):
            is_over = has_held
            if producer_id == producer[0]:
                is_over = epoch > producer[1]
                has_held = has_held or epoch >= producer[1]
            if is_over:
                return {"is_over": True, "since": since}
    return {"is_over": False, "since": None}


# --- events and refusals ---


def _producer(producer: Producer) -> Told:
    return {"producer_id": producer[0], "producer_epoch": producer[1]}


def _event(state: State, event: LifeEvent) -> Told:
    told: Told = {
        "wall_ms": event.wall_ms,
        "journal_entry": event.position,
        "what": WHAT[event.kind],
        **_producer(event.after),
    }
    if event.fences:
        told["fenced"] = _producer(event.before)
    if event.gap_follows:
        told["gap_follows"] = True
    if event.kind is Kind.EXPIRED:
        told["ended_by"] = EXPIRED_BY
        return told
    if event.kind is Kind.INITIALIZED:
        told["by"] = by(event.client_id, event.host)
        told["timeout_ms"] = event.timeout_ms
        return told
    told["ended_by"] = ENDED_BY[event.reason]
    told["by"] = by(event.client_id, event.host)
    told["began_wall_ms"] = None if event.began_wall_ms < 0 else event.began_wall_ms
    told["took_ms"] = None if event.took_ms < 0 else event.took_ms
    told["wrote"] = [
        {
            "partition": f"{_topic(state, place.topic_id)}-{place.partition}",
            "first_offset": None if place.first_offset < 0 else place.first_offset,
            "marker_offset": place.marker_offset,
        }
        for place in event.places
    ]
    told["partition_count"] = event.place_count
    told["groups"] = [{"group": group, "offsets": count} for group, count in event.groups]
    told["group_count"] = event.group_count
    return told


def _topic(state: State, topic_id: bytes) -> str:
    topic = state.topics.get(topic_id)
    return topic_id.hex() if topic is None else topic.name


def _open(broker: Broker, transaction: TransactionalId) -> Told:
    """The transaction that is open now."""
    covered = list(_covered(broker.state, transaction))
    groups = list(transaction.groups)[:PLACES_MAX]
    return {
        "wall_ms": broker.engine.wall_ms(),
        "journal_entry": broker.engine.stamp(),
        "what": "is open",
        **_producer((transaction.producer_id, transaction.producer_epoch)),
        "timeout_ms": transaction.timeout_ms,
        "began_wall_ms": transaction.started_wall_ms,
        "took_ms": broker.engine.age_ms() - transaction.started_age_ms,
        "wrote": covered,
        "partition_count": len(transaction.partitions),
        "groups": [{"group": name, "offsets": len(transaction.offsets.get(name, ()))} for name in groups],
        "group_count": len(transaction.groups),
    }


def _covered(state: State, transaction: TransactionalId) -> Iterator[Told]:
    """Its first partitions, as many as a life names."""
    for (topic_id, index), _ in zip(transaction.partitions, range(PLACES_MAX), strict=False):
        partition = state.partition(topic_id, index)
        first_offset = None if partition is None else partition.open_transactions.get(transaction.producer_id)
        yield {"partition": f"{_topic(state, topic_id)}-{index}", "first_offset": first_offset}


def _refusal(refusal: Refusal) -> Told:
    return {
        "wall_ms": refusal.wall_ms,
        "journal_entry": refusal.position,
        "what": "refused",
        **_producer(refusal.sent),
        "api": refusal.api,
        "error": ErrorCode(refusal.error).name,
        "by": by(refusal.client_id, refusal.host),
        "known": _producer(refusal.known),
        "times": refusal.times,
        "last_wall_ms": refusal.last_wall_ms,
    }
