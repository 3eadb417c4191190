"""Incremental fetch sessions (KIP-227): what a client keeps asking for, and what it was told last.

Must not know how records are found or read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

SESSIONS_MAX = 1000
PARTITIONS_MAX = 500_000
"""Of all sessions together, about 300 bytes each."""
STALE_AFTER_S = 120.0
EPOCH_MAX = 2**31 - 1
ID_MAX = 2**31 - 1

PartitionKey = tuple[bytes | str, int]
"""Topic id (Fetch v13 and later) or name, and partition index."""


class PartitionFetch:
    """What a client wants of one partition, and the watermarks that it was last shown in its session."""

    __slots__ = (
        "current_leader_epoch",
        "fetch_offset",
        "key",
        "last_fetched_epoch",
        "partition_max_bytes",
        "shown_high_watermark",
        "shown_log_start_offset",
    )

    def __init__(self, key: PartitionKey) -> None:
        self.key = key
        self.fetch_offset = 0
        self.partition_max_bytes = 0
        self.current_leader_epoch = -1
        self.last_fetched_epoch = -1
        self.shown_high_watermark = -1
        self.shown_log_start_offset = -1


class FetchSession:
    """One client's session; epoch is the one that its next request must carry."""

    __slots__ = ("epoch", "id", "last_used_s", "partitions", "uses_topic_ids")

    def __init__(self, session_id: int, uses_topic_ids: bool, now_s: float) -> None:
        self.id = session_id
        self.uses_topic_ids = uses_topic_ids
        self.epoch = 1
        self.last_used_s = now_s
        self.partitions: dict[PartitionKey, PartitionFetch] = {}

    def advance(self, now_s: float) -> None:
        """Count an accepted incremental request; after the largest epoch comes 1."""
        self.epoch = 1 if self.epoch == EPOCH_MAX else self.epoch + 1
        self.last_used_s = now_s

    def update(self, wanted: Iterable[PartitionFetch]) -> bool:
        """Add partitions, or change what is wanted of those that are there. Whether there are more now."""
        before = len(self.partitions)
        for new in wanted:
            known = self.partitions.get(new.key)
            if known is None:
                self.partitions[new.key] = new
                continue
            known.fetch_offset = new.fetch_offset
            known.partition_max_bytes = new.partition_max_bytes
            known.current_leader_epoch = new.current_leader_epoch
            known.last_fetched_epoch = new.last_fetched_epoch
        return len(self.partitions) > before

    def forget(self, keys: Iterable[PartitionKey]) -> None:
        for key in keys:
            self.partitions.pop(key, None)

    def move_to_end(self, key: PartitionKey) -> None:
        """Partitions that gave data come last next time, so that none starves."""
        wanted = self.partitions.pop(key, None)
        if wanted is not None:
            self.partitions[key] = wanted


class FetchSessions:
    """The sessions of one broker, at most `sessions_max`; the longest unused stale one gives way to a new.

    random_bytes: where ids come from. Ids in a row would begin anew after a restart, and a client that still
        holds one would read on in the session of whoever has it now, at offsets that it never asked for.
    partitions_max: of all sessions together; the session that grows beyond it ends.
    """

    def __init__(
        self,
        random_bytes: Callable[[int], bytes],
        sessions_max: int = SESSIONS_MAX,
        partitions_max: int = PARTITIONS_MAX,
    ) -> None:
        self._random_bytes = random_bytes
        self._sessions: dict[int, FetchSession] = {}
        self._sessions_max = sessions_max
        self._partitions_max = partitions_max

    def open(self, uses_topic_ids: bool, now_s: float) -> FetchSession | None:
        """A new session, or None when all places are taken: the client then sends full requests."""
        if len(self._sessions) >= self._sessions_max and not self._evict(now_s):
            return None
        session = FetchSession(self._new_id(), uses_topic_ids, now_s)
        self._sessions[session.id] = session
        return session

    def _new_id(self) -> int:
        """A positive int32 that no session has."""
        session_id = 0
        while not session_id or session_id in self._sessions:
            session_id = int.from_bytes(self._random_bytes(4), "big") & ID_MAX
        return session_id

    def update(self, session: FetchSession, wanted: Iterable[PartitionFetch]) -> bool:
        """Take over what a client wants; False when its session grew too large and was closed for it."""
        has_grown = session.update(wanted)
        if has_grown and self._partition_count() > self._partitions_max:
            self.close(session.id)
            return False
        return True

    def _partition_count(self) -> int:
        return sum(len(session.partitions) for session in self._sessions.values())

    def get(self, session_id: int) -> FetchSession | None:
        return self._sessions.get(session_id)

    def close(self, session_id: int) -> None:
        self._sessions.pop(session_id, None)

    def _evict(self, now_s: float) -> bool:
        oldest = min(self._sessions.values(), key=lambda session: session.last_used_s)
        if now_s - oldest.last_used_s < STALE_AFTER_S:
            return False
        del self._sessions[oldest.id]
        return True
