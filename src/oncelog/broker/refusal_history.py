"""What producers were refused last, kept in memory for whoever asks why: refusals are not journaled.

Of each transactional id, and of each producer id that none owns, the last 20 refusals; of all together 4 MiB,
of which those that nothing was refused to for longest lose theirs first. A request that is refused again and
again is one refusal with a count. While nothing is refused, nothing is done here; nothing is decided by it.
Must not know why a request is refused, nor how that is told.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from oncelog.broker.context import Context
from oncelog.machine import producer_window
from oncelog.machine.life import NOBODY, Producer
from oncelog.machine.state import State
from oncelog.wire.errors import ErrorCode

REFUSALS_MAX = 20
"""Kept of one transactional id or producer id."""
REFUSALS_BYTES_MAX = 4 << 20
"""Of all together."""
REFUSAL_BYTES = 1024
"""What one takes at most, its names included; what they belong to takes as much again, and its name."""
NAME_CHARACTERS_MAX = 60

TOLD = frozenset(
    (
        ErrorCode.CONCURRENT_TRANSACTIONS,
        ErrorCode.FENCED_INSTANCE_ID,
        ErrorCode.ILLEGAL_GENERATION,
        ErrorCode.INVALID_PRODUCER_EPOCH,
        ErrorCode.INVALID_PRODUCER_ID_MAPPING,
        ErrorCode.INVALID_TRANSACTION_TIMEOUT,
        ErrorCode.INVALID_TXN_STATE,
        ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode.POLICY_VIOLATION,
        ErrorCode.PRODUCER_FENCED,
        ErrorCode.TRANSACTION_ABORTABLE,
        ErrorCode.UNKNOWN_MEMBER_ID,
        ErrorCode.UNKNOWN_PRODUCER_ID,
    )
)
"""What is kept: refusals that have to do with producers and their transactions."""

Whose = str | int
"""A transactional id, or a producer id that none owns."""


class Refusal:
    """One request that was refused, or the same one several times without another between.

    position: the journal entry that the state stood at.
    sent, known: the producer in the request, and the one that the transactional id (or partition) had then.
    """

    __slots__ = (
        "api",
        "client_id",
        "error",
        "host",
        "known",
        "last_wall_ms",
        "position",
        "sent",
        "times",
        "wall_ms",
    )

    def __init__(self, context: Context, api: str, error: ErrorCode, sent: Producer, known: Producer) -> None:
        engine = context.broker.engine
        client_id = context.client_id
        self.wall_ms = self.last_wall_ms = engine.wall_ms()
        self.position = engine.stamp()
        self.times = 1
        self.client_id = None if client_id is None else client_id[:NAME_CHARACTERS_MAX]
        self.host = context.host[:NAME_CHARACTERS_MAX]
        self.api = api
        self.error = error
        self.sent = sent
        self.known = known

    def is_like(self, other: Refusal) -> bool:
        return all(
            getattr(self, name) == getattr(other, name)
            for name in ("api", "client_id", "error", "host", "known", "sent")
        )


class Refusals:
    """The last refusals, by whose requests they were."""

    def __init__(self, bytes_max: int = REFUSALS_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._refusals: OrderedDict[Whose, deque[Refusal]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._refusals)

    @property
    def size_bytes(self) -> int:
        """What they take, by this module's reckoning."""
        return self._bytes

    def of(self, whose: Whose) -> list[Refusal]:
        """Oldest first."""
        return list(self._refusals.get(whose, ()))

    def add(self, whose: Whose, refusal: Refusal) -> None:
        kept = self._refusals.get(whose)
        if kept is None:
            kept = self._refusals[whose] = deque()
            self._bytes += _cost(whose)
        self._refusals.move_to_end(whose)
        if kept and kept[-1].is_like(refusal):
            kept[-1].times += 1
            kept[-1].last_wall_ms = refusal.wall_ms
            return
        kept.append(refusal)
        self._bytes += REFUSAL_BYTES
        if len(kept) > REFUSALS_MAX:
            kept.popleft()
            self._bytes -= REFUSAL_BYTES
        while self._bytes > self._bytes_max and len(self._refusals) > 1:
            forgotten, its = self._refusals.popitem(last=False)
            self._bytes -= _cost(forgotten) + REFUSAL_BYTES * len(its)


def _cost(whose: Whose) -> int:
    return REFUSAL_BYTES + (4 * len(whose) if isinstance(whose, str) else 0)


def refused(
    context: Context, api: str, transactional_id: str | None, sent: Producer, error: ErrorCode
) -> None:
    """A request of a transactional producer was refused: keep it, if it is of the kind that is told."""
    if error in TOLD and transactional_id:
        broker = context.broker
        known = holder(broker.state, transactional_id)
        broker.refusals.add(transactional_id, Refusal(context, api, error, sent, known))


def refused_in_partition(
    context: Context,
    api: str,
    transactional_id: str | None,
    place: tuple[bytes, int],
    sent: Producer,
    error: ErrorCode,
) -> None:
    """A batch was refused; without a transactional id it is its owner's, or the producer id's own."""
    if error not in TOLD or sent[0] < 0:
        return
    broker = context.broker
    transactional_id = transactional_id or broker.state.producer_owners.get(sent[0])
    if transactional_id is not None:
        refused(context, api, transactional_id, sent, error)
        return
    partition = broker.state.partition(*place)
    window = None if partition is None else partition.producers.get(sent[0])
    known = NOBODY if window is None else (sent[0], producer_window.epoch_of(window))
    broker.refusals.add(sent[0], Refusal(context, api, error, sent, known))


def holder(state: State, transactional_id: str) -> Producer:
    """The producer that it has now."""
    transaction = state.transactions.get(transactional_id)
    return NOBODY if transaction is None else (transaction.producer_id, transaction.producer_epoch)
