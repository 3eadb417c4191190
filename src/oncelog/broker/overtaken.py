"""First-generation requests on a connection that their producer has left for a newer one are not executed.

Transactions that end by EndTxn up to v4 share an epoch (KIP-98): nothing in a late request says which of them
it was sent for. But a request is late, as a rule, because its connection hung, and the client has repeated it
on another since. So, once a producer has spoken acceptably on a newer connection, what it left on an older
one is not executed, and that connection is closed: who still uses it asks again. Requests of one kind only
are compared, since clients may keep connections for different kinds; producers that are fenced are told so.
Soft state: it only ever keeps a request from being executed. It must not know what any request means.
"""

from __future__ import annotations

from enum import Enum

from oncelog.broker.context import Context

PRODUCERS_MAX = 100_000
"""Whose newest connections are known; the one known for longest is forgotten first, and loses this guard."""
REASON = "a request of a transactional producer that has gone on by a newer connection"

Producer = tuple[int, int]
"""Producer id and epoch."""


class Kind(Enum):
    """Requests that a client sends over one connection at a time."""

    PRODUCE = "Produce"
    ADD_PARTITIONS = "AddPartitionsToTxn"
    ADD_OFFSETS = "AddOffsetsToTxn"
    COMMIT_OFFSETS = "TxnOffsetCommit"
    END = "EndTxn"


class Overtaken:
    """By producer, the newest connection that each kind of request was acceptable on."""

    def __init__(self, producers_max: int = PRODUCERS_MAX) -> None:
        self._producers_max = producers_max
        self._newest: dict[Producer, dict[Kind, int]] = {}

    def closes(self, context: Context, kind: Kind, producer: Producer) -> bool:
        """Whether this request is one of those; its connection is closed then, and nothing answered."""
        newest = self._newest.get(producer)
        if newest is None or context.connection.id >= newest.get(kind, 0):
            return False
        context.broker.close_connection(context, REASON)
        return True

    def spoke(self, context: Context, kind: Kind, producer: Producer) -> None:
        """The request was acceptable."""
        newest = self._newest.get(producer)
        if newest is None:
            if len(self._newest) >= self._producers_max:
                del self._newest[next(iter(self._newest))]
            newest = self._newest[producer] = {}
        newest[kind] = context.connection.id
