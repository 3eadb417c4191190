"""The journal: where entries become ordered and durable. Three verbs: append, confirm, read.

An entry is events (bytes) and payload (buffers); what they mean is not known here. Every implementation keeps
these promises:

- Positions count up from 1 without gaps. One append is in flight at a time.
- `confirm` is called exactly once per append, through the `post` that the journal was opened with, and never
  from inside `append`. Without an error, the entry is durable by then, and so is everything before it.
- A failure is final: the entry in flight and every later one is confirmed with an error, for a second sync
  that succeeds proves nothing about the first.
- After a restart, replay gives every confirmed entry, whole and in order, then at most the one that was in
  flight; damage raises a JournalError instead (law 9). A journal may add a seal of its own when replay ends.

Must not know the machine, the wire, asyncio, the time or randomness.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

Buffer = bytes | memoryview
Post = Callable[..., object]
"""Called as post(confirm, written), from any thread; `loop.call_soon_threadsafe` of an event loop is one."""

FIRST_POSITION = 1
"""The position of the first entry ever; 0 stands for "before everything"."""


class JournalErrorKind(Enum):
    """What went wrong, for those who answer by it; the error's message is for people."""

    DAMAGED = "damaged"
    """Bytes that were durable are not as they were written, or are missing."""
    IN_USE = "in use"
    """Another process owns the data directory."""
    UNKNOWN_FORMAT = "unknown format"
    """Written by a newer version, or not a data directory at all."""
    WRITE_FAILED = "write failed"
    """A write or a sync failed: nothing more is acknowledged."""
    FULL = "full"
    """No space was left for the entry; final like any other failed write."""
    READ_FAILED = "read failed"
    """The system could not read what is there."""
    CLOSED = "closed"
    """The journal has been closed."""


class JournalError(Exception):
    """A journal that cannot go on; the message is a sentence that names file and position where it can."""

    def __init__(self, kind: JournalErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class EntryToWrite(NamedTuple):
    """An entry as its writer hands it over.

    payload: buffers that stay as they are until confirmed; they are joined once, by the writer.
    seal: an entry without content, written when nothing else is: it carries `synced_through` forward.
    """

    position: int
    wall_ms: int
    age_ms: int
    events: bytes
    payload: Sequence[Buffer]
    seal: bool


class Written(NamedTuple):
    """The answer to one append. payload: the entry's payload in one piece, for a cache of what is hot."""

    position: int
    payload: bytes
    error: JournalError | None


class ReplayedEntry(NamedTuple):
    """An entry as it is read back at start; its payload was checked and is read by `read_payload`."""

    position: int
    wall_ms: int
    age_ms: int
    events: bytes
    payload_size: int


Confirm = Callable[[Written], None]


class Journal(Protocol):
    """What the engine, replay and readers use of a journal."""

    @property
    def next_position(self) -> int:
        """The position of the next entry to append; known once replay has been read to its end."""
        ...

    @property
    def size_bytes(self) -> int:
        """What the journal holds now, or, before replay, about how much there is to read."""
        ...

    @property
    def replayed_bytes(self) -> int:
        """How much of `size_bytes` replay has read, for showing progress."""
        ...

    def replay(self) -> Iterator[ReplayedEntry]:
        """Every entry from the first one on, seals included. To be read to its end, once, before appending.

        Raises JournalError (DAMAGED, UNKNOWN_FORMAT, READ_FAILED, WRITE_FAILED, FULL).
        """
        ...

    def append(self, entry: EntryToWrite, confirm: Confirm) -> None:
        """Make one entry durable; returns at once. The previous append must have been confirmed."""
        ...

    def read_payload(self, position: int, offset: int, size_bytes: int) -> bytes:
        """Part of a durable entry's payload; may block, callable from any thread.

        Raises JournalError (READ_FAILED, DAMAGED when the file has become shorter, CLOSED).
        """
        ...

    def read_payload_nowait(self, position: int, offset: int, size_bytes: int) -> bytes | None:
        """The same where it takes no waiting for a disk; None where it would, or where that is not known."""
        ...

    def free_bytes(self) -> int:
        """How much more fits; asks the system, so ask now and then, not per request."""
        ...

    def close(self) -> None:
        """Wait for the entry in flight, then let go of files and threads. Idempotent."""
        ...
