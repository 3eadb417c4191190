"""A journal on a faulty disk, driven step by step: what tests of the journal share.

Knows the journal's protocol and its data directory's path; must not know the bytes of a file.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from oncelog.disk import Disk
from oncelog.disk.faulty import FaultyDisk
from oncelog.disk.workers import InlineWorker
from oncelog.journal import EntryToWrite, Written
from oncelog.journal.file import FileJournal

PATH = "/data"
FILE_BYTES_MAX = 64 << 10
FIRST_FILE = f"{PATH}/journal/0000000001.journal"
SECOND_FILE = f"{PATH}/journal/0000000002.journal"
THIRD_FILE = f"{PATH}/journal/0000000003.journal"


class Entry(NamedTuple):
    """What was appended, as it should come back."""

    position: int
    wall_ms: int
    age_ms: int
    events: bytes
    payload: bytes


class Post:
    """Keeps what a journal posts until the test lets it run, as an event loop would."""

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def __call__(self, callback: Callable[..., object], *arguments: Any) -> None:
        self.calls.append((callback, arguments))

    def run(self) -> None:
        calls, self.calls = self.calls, []
        for callback, arguments in calls:
            callback(*arguments)


class Writer:
    """Appends entries to a journal one after the other and remembers which were confirmed."""

    def __init__(self, journal: FileJournal, post: Post) -> None:
        self.journal = journal
        self.confirmed: list[Entry] = []
        self.sent: list[Entry] = []
        self.outcomes: list[Written] = []
        self._post = post

    def append(self, events: bytes = b"events", *payload: bytes, seal: bool = False) -> Written:
        """Append one entry and let its confirmation arrive."""
        position = self.journal.next_position if not self.sent else self.sent[-1].position + 1
        entry = Entry(position, 1000 + position, 2000 + position, events, b"".join(payload))
        self.sent.append(entry)
        outcomes: list[Written] = []
        self.journal.append(
            EntryToWrite(position, entry.wall_ms, entry.age_ms, events, payload, seal), outcomes.append
        )
        assert not outcomes, "confirmed from inside of append"
        self._post.run()
        (written,) = outcomes
        assert written.position == position
        if written.error is None:
            assert written.payload == entry.payload
            self.confirmed.append(entry)
        self.outcomes.append(written)
        return written


def with_content(entries: Iterable[Entry]) -> list[Entry]:
    """Without seals: a journal adds some by itself."""
    return [entry for entry in entries if entry.events or entry.payload]


class Opened(NamedTuple):
    """entries: those with content."""

    journal: FileJournal
    entries: list[Entry]
    writer: Writer


def open_journal(disk: Disk, *, file_bytes_max: int = FILE_BYTES_MAX, seed: int = 1) -> FileJournal:
    """The journal before its replay. Its workers run inline."""
    post = Post()
    journal = FileJournal.open(
        disk,
        PATH,
        post=post,
        file_bytes_max=file_bytes_max,
        random_bytes=random.Random(seed).randbytes,
        writer=InlineWorker(),
        preparer=InlineWorker(),
    )
    journal.post_of_test = post  # type: ignore[attr-defined]
    return journal


def replay(journal: FileJournal) -> list[Entry]:
    """All that replay gives, payloads included."""
    found = [(each, each.payload_size) for each in journal.replay()]
    return [
        Entry(
            each.position,
            each.wall_ms,
            each.age_ms,
            each.events,
            journal.read_payload(each.position, 0, size) if size else b"",
        )
        for each, size in found
    ]


def opened(disk: Disk, *, file_bytes_max: int = FILE_BYTES_MAX, seed: int = 1) -> Opened:
    """A journal that is ready to append to, and what it held."""
    journal = open_journal(disk, file_bytes_max=file_bytes_max, seed=seed)
    entries = with_content(replay(journal))
    return Opened(journal, entries, Writer(journal, journal.post_of_test))  # type: ignore[attr-defined]


def disk_with(*payload_sizes: int, seal: bool = False) -> tuple[FaultyDisk, list[Entry]]:
    """A disk with a journal of one entry per size, closed; and these entries."""
    disk = FaultyDisk()
    journal, _, writer = opened(disk)
    for size in payload_sizes:
        writer.append(b"events", bytes([len(writer.sent) + 1]) * size)
    sent = writer.sent.copy()
    if seal:
        writer.append(b"", seal=True)
    journal.close()
    return disk, sent
