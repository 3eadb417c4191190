"""The life of a transactional id, gathered event by event out of a journal.

Who initialized it and whom that fenced, what each transaction wrote where, how it ended, why, and how long it
took. Only facts are in a journal: what was refused isn't, but the event since which it must be. It must not
know where events come from, nor what decides them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from oncelog.broker.lives import ENDED_BY, EXPIRED_BY, by
from oncelog.machine import events
from oncelog.machine.events import EndReason

Producer = tuple[int, int]
"""A producer id and epoch."""

NOBODY: Producer = (-1, -1)
HAPPENINGS_KEPT = 100


class Moment(NamedTuple):
    """When, and in which entry of the journal. age_ms: time of service, for how long something took."""

    position: int
    wall_ms: int
    age_ms: int


class Happening(NamedTuple):
    """One event in the life of a transactional id.

    holds: the producer that it has now. fenced: the one that had it before, where that didn't ask for it.
    facts: what else is to be told, by name.
    """

    at: Moment
    what: str
    holds: Producer
    fenced: Producer | None
    facts: dict[str, Any]


class Written:
    """What a transaction wrote to one partition."""

    __slots__ = ("batches", "bytes", "first_offset", "last_offset", "marker_offset", "records")

    def __init__(self) -> None:
        self.first_offset: int | None = None
        self.last_offset: int | None = None
        self.marker_offset: int | None = None
        self.records = self.batches = self.bytes = 0

    def add(self, event: events.BatchAppended) -> None:
        if self.first_offset is None:
            self.first_offset = event.base_offset
        self.last_offset = event.base_offset + event.last_offset_delta
        self.records += event.last_offset_delta + 1
        self.batches += 1
        self.bytes += event.size


class Life:
    """Gathers what happens to one transactional id; the newest of it, so much is `kept`.

    omitted: how many happenings were forgotten for newer ones.
    asked_for: a producer of which it is asked since when its requests must be refused; refused_since: since
        that happening, or None. One that its own commit moved on is refused, too: it knows its new epoch.
    newest_fencing: the last happening by which somebody was fenced, or None.
    """

    def __init__(self, name: str, kept: int = HAPPENINGS_KEPT, asked_for: Producer | None = None) -> None:
        self.name = name
        self.happenings: deque[Happening] = deque(maxlen=kept)
        self.omitted = 0
        self.asked_for = asked_for
        self.refused_since: Happening | None = None
        self.newest_fencing: Happening | None = None
        self._topics: dict[bytes, str] = {}
        self._holds = NOBODY
        self._is_given = False
        self._has_held = False
        self._began: Moment | None = None
        self._wrote: dict[tuple[bytes, int], Written] = {}
        self._groups: dict[str, int] = {}
        self._handlers: dict[type, Callable[[Any, Moment], None]] = {
            events.TopicCreated: self._topic_created,
            events.BatchAppended: self._batch_appended,
            events.TransactionalIdInitialized: self._initialized,
            events.TransactionPartitionsAdded: self._partitions_added,
            events.TransactionGroupAdded: self._group_added,
            events.TransactionOffsetsAdded: self._offsets_added,
            events.TransactionEnded: self._ended,
            events.TransactionalIdExpired: self._expired,
        }

    def take(self, event: Any, at: Moment) -> None:
        """The next event of the journal, whoever it is about."""
        handler = self._handlers.get(type(event))
        if handler is not None and getattr(event, "transactional_id", self.name) == self.name:
            handler(event, at)

    def finish(self, at: Moment) -> None:
        """The journal ends here: a transaction that is open stays so."""
        if self._began is not None:
            self._happened(at, "is open", self._holds, self._transaction(at), fences=False)

    # --- events ---

    def _topic_created(self, event: events.TopicCreated, _at: Moment) -> None:
        self._topics[event.topic_id] = event.name

    def _batch_appended(self, event: events.BatchAppended, _at: Moment) -> None:
        if (event.producer_id, event.producer_epoch) == self._holds and event.is_transactional:
            self._written_in(event.topic_id, event.partition).add(event)

    def _initialized(self, event: events.TransactionalIdInitialized, at: Moment) -> None:
        is_its_own = event.last_epoch >= 0 and event.last_epoch == self._holds[1]
        holds = event.producer_id, event.producer_epoch
        facts = {"by": by(event.client_id, event.host), "timeout_ms": event.timeout_ms}
        self._happened(at, "initialized", holds, facts, fences=self._is_given and not is_its_own)
        self._is_given = True

    def _partitions_added(self, event: events.TransactionPartitionsAdded, at: Moment) -> None:
        self._begin(at)
        for added in event.partitions:
            self._written_in(added.topic_id, added.partition)

    def _group_added(self, event: events.TransactionGroupAdded, at: Moment) -> None:
        self._begin(at)
        self._groups.setdefault(event.group_id, 0)

    def _offsets_added(self, event: events.TransactionOffsetsAdded, at: Moment) -> None:
        self._begin(at)
        self._groups[event.group_id] = self._groups.get(event.group_id, 0) + len(event.offsets)

    def _begin(self, at: Moment) -> None:
        if self._began is None:
            self._began = at

    def _written_in(self, topic_id: bytes, partition: int) -> Written:
        found = self._wrote.get((topic_id, partition))
        if found is None:
            found = self._wrote[topic_id, partition] = Written()
        return found

    def _ended(self, event: events.TransactionEnded, at: Moment) -> None:
        for marker in event.markers:
            self._written_in(marker.topic_id, marker.partition).marker_offset = marker.offset
        facts = {
            "ended_by": ENDED_BY[EndReason(event.reason)],
            "by": by(event.client_id, event.host),
            **self._transaction(at),
        }
        self._began = None
        self._wrote, self._groups = {}, {}
        what = "committed" if event.committed else "aborted"
        following = event.next_producer_id, event.next_producer_epoch
        self._happened(at, what, following, facts, fences=event.reason != EndReason.CLIENT)
        # The epoch that an abort for a newer producer leaves is given to nobody.
        self._is_given = event.reason != EndReason.NEWER_PRODUCER

    def _expired(self, _event: events.TransactionalIdExpired, at: Moment) -> None:
        self._happened(at, "forgotten", NOBODY, {"ended_by": EXPIRED_BY}, fences=False)
        self._is_given = False

    # --- telling ---

    def _happened(
        self, at: Moment, what: str, holds: Producer, facts: dict[str, Any], *, fences: bool
    ) -> None:
        is_moved = holds != self._holds and self._holds != NOBODY
        happening = Happening(at, what, holds, self._holds if fences and is_moved else None, facts)
        self._holds = holds
        if happening.fenced is not None:
            self.newest_fencing = happening
        if len(self.happenings) == self.happenings.maxlen:
            self.omitted += 1
        self.happenings.append(happening)
        if self.asked_for is not None and self.refused_since is None:
            self._look_for(self.asked_for, happening)

    def _look_for(self, producer: Producer, happening: Happening) -> None:
        """Whether this is what ends the time of the producer that is asked for."""
        producer_id, epoch = happening.holds
        if producer_id == producer[0]:
            self._has_held = self._has_held or epoch >= producer[1]
            is_over = epoch > producer[1]
        else:
            is_over = self._has_held
        if is_over:
            self.refused_since = happening

    def _transaction(self, at: Moment) -> dict[str, Any]:
        """What there is to tell of the transaction that is open, or ends now."""
        return {
            "began_wall_ms": None if self._began is None else self._began.wall_ms,
            "took_ms": None if self._began is None else at.age_ms - self._began.age_ms,
            "wrote": [
                {
                    "partition": f"{self._topics.get(topic_id, topic_id.hex())}-{index}",
                    "records": written.records,
                    "batches": written.batches,
                    "bytes": written.bytes,
                    "first_offset": written.first_offset,
                    "last_offset": written.last_offset,
                    "marker_offset": written.marker_offset,
                }
                for (topic_id, index), written in sorted(self._wrote.items())
            ],
            "groups": [{"group": name, "offsets": count} for name, count in sorted(self._groups.items())],
        }
