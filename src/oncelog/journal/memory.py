"""The journal of a broker that keeps everything in memory: what is durable here lives as long as the process.

Entries are kept as they come and confirmed in the next turn of the loop, so that the broker above behaves as
on a disk. It can be cut back to an earlier position, which no journal on a disk ever is. Bounded: at
`bytes_max` an append fails as on a full disk. Must not know what entries mean.
"""

from __future__ import annotations

from collections.abc import Iterator

from oncelog.journal import (
    FIRST_POSITION,
    Confirm,
    EntryToWrite,
    JournalError,
    JournalErrorKind,
    Post,
    ReplayedEntry,
    Written,
)

ENTRY_OVERHEAD_BYTES = 450
"""What an entry costs in memory besides its bytes: here, in the cache and in the machine's extents."""


class MemoryJournal:
    """A Journal of entries in a list; see the promises of `oncelog.journal`."""

    def __init__(self, post: Post, bytes_max: int) -> None:
        self._post = post
        self._bytes_max = bytes_max
        self._entries: list[EntryToWrite] = []
        self._payloads: list[bytes] = []
        self._failure: JournalError | None = None
        self._is_closed = False
        self.size_bytes = 0

    @property
    def next_position(self) -> int:
        return FIRST_POSITION + len(self._entries)

    @property
    def replayed_bytes(self) -> int:
        return self.size_bytes

    def replay(self) -> Iterator[ReplayedEntry]:
        for entry, payload in zip(self._entries, self._payloads, strict=True):
            yield ReplayedEntry(entry.position, entry.wall_ms, entry.age_ms, entry.events, len(payload))

    def append(self, entry: EntryToWrite, confirm: Confirm) -> None:
        assert not self._is_closed, "append to a closed journal"
        assert entry.position == self.next_position, "positions count up without gaps"
        payload = b"".join(entry.payload)
        size_bytes = _cost_bytes(entry, payload)
        if self._failure is None and size_bytes > self.free_bytes():
            self._failure = JournalError(
                JournalErrorKind.FULL, f"the memory for the journal ({self._bytes_max} bytes) is used up"
            )
        if self._failure is None:
            # The buffers of the request are let go; what is kept is the one payload.
            self._entries.append(entry._replace(payload=()))
            self._payloads.append(payload)
            self.size_bytes += size_bytes
        self._post(confirm, Written(entry.position, payload, self._failure))

    def read_payload(self, position: int, offset: int, size_bytes: int) -> bytes:
        if self._is_closed:
            raise JournalError(JournalErrorKind.CLOSED, "the journal has been closed")
        if not FIRST_POSITION <= position < self.next_position:
            raise JournalError(JournalErrorKind.READ_FAILED, f"there is no journal entry {position}")
        return self._payloads[position - FIRST_POSITION][offset : offset + size_bytes]

    def read_payload_nowait(self, position: int, offset: int, size_bytes: int) -> bytes | None:
        return self.read_payload(position, offset, size_bytes)

    def free_bytes(self) -> int:
        return self._bytes_max - self.size_bytes

    def payloads(self) -> Iterator[tuple[int, bytes]]:
        """(position, payload) of every entry, for filling a cache that shares them."""
        yield from enumerate(self._payloads, start=FIRST_POSITION)

    def cut_back(self, next_position: int) -> None:
        """Forget every entry from that position on. Nobody may be using the journal meanwhile."""
        assert FIRST_POSITION <= next_position <= self.next_position
        kept = next_position - FIRST_POSITION
        for entry, payload in zip(self._entries[kept:], self._payloads[kept:], strict=True):
            self.size_bytes -= _cost_bytes(entry, payload)
        del self._entries[kept:]
        del self._payloads[kept:]
        self._failure = None

    def close(self) -> None:
        self._is_closed = True


def _cost_bytes(entry: EntryToWrite, payload: bytes) -> int:
    return len(entry.events) + len(payload) + ENTRY_OVERHEAD_BYTES
