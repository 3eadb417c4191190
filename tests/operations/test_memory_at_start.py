"""A start whose replay needs more memory than is free is refused with a sentence, and changes nothing."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from oncelog.broker import memory
from oncelog.broker.assembly import CannotStart
from oncelog.broker.serve import replay_with_turns
from oncelog.disk.real import RealDisk
from oncelog.journal import EntryToWrite, Written
from oncelog.journal.file import FileJournal
from oncelog.machine.events import BatchAppended, TopicCreated
from oncelog.machine.limits import STANDARD_LIMITS
from oncelog.machine.state import State
from tests.support.server import ServerProcess
from tests.support.waiting import wait_for

WITH_SO_MUCH_MEMORY = (
    "import sys; from pathlib import Path\n"
    "from oncelog.broker import memory; from oncelog.cli.main import main\n"
    "memory.MEMINFO, memory.CONTAINER_LIMIT = Path(sys.argv[1]), Path(sys.argv[2]);"
    "sys.exit(main(['serve', '--listen', '127.0.0.1:0', '--data', sys.argv[3]]))"
)
PLENTY_KIB, LITTLE_KIB = 1 << 30, 8 << 10
MANY_EVENTS = 20_000
"""In one entry; they take more than a megabyte, and their state may take ten times that."""


def told(directory: Path, meminfo_kib: int, limit: str) -> tuple[Path, Path]:
    """Files that say so, as the system does."""
    meminfo, container = directory / "meminfo", directory / "memory.max"
    meminfo.write_text(f"MemTotal:  999999999 kB\nMemFree:  1 kB\nMemAvailable:   {meminfo_kib} kB\n")
    container.write_text(f"{limit}\n")
    return meminfo, container


@pytest.mark.parametrize(
    ("meminfo_kib", "limit", "least_bytes"),
    [(PLENTY_KIB, "max", PLENTY_KIB << 10), (PLENTY_KIB, "8192", 8192), (64, "655360", 65536)],
)
def test_what_is_free_is_the_least_that_is_told(
    meminfo_kib: int, limit: str, least_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meminfo, container = told(tmp_path, meminfo_kib, limit)
    monkeypatch.setattr(memory, "MEMINFO", meminfo)
    monkeypatch.setattr(memory, "CONTAINER_LIMIT", container)
    assert memory.free_bytes() == least_bytes


def test_nothing_told_is_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "none")
    monkeypatch.setattr(memory, "CONTAINER_LIMIT", tmp_path / "none")
    assert memory.free_bytes() is None


def test_what_a_container_takes_is_not_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Except for what it only keeps of files."""
    _, limit = told(tmp_path, PLENTY_KIB, "100000")
    monkeypatch.setattr(memory, "CONTAINER_LIMIT", limit)
    (tmp_path / "memory.current").write_text("70000\n")
    assert memory.container_bytes() == 30000
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 20000\nactive_file 7\n")
    assert memory.container_bytes() == 50000
    (tmp_path / "memory.current").write_text("170000\n")
    assert memory.container_bytes() == 0


def write_an_entry_of_many_events(data: Path) -> None:
    """What requests that came together make: one entry, with an event for each of their batches."""
    confirmed: list[Written] = []
    journal = FileJournal.open(
        RealDisk(),
        str(data),
        post=lambda confirm, written: confirm(written),
        file_bytes_max=64 << 20,
        random_bytes=os.urandom,
    )
    assert [entry.events for entry in journal.replay() if entry.events] == []
    topic_id = bytes(range(16))
    topic = TopicCreated(topic_id=topic_id, name="topic", partition_count=1, configs=[])
    batches = (
        BatchAppended(
            topic_id=topic_id,
            partition=0,
            base_offset=offset,
            last_offset_delta=0,
            max_timestamp=1,
            size=1,
            is_transactional=False,
            is_log_append_time=False,
        )
        for offset in range(MANY_EVENTS)
    )
    events = b"".join(event.encode() for event in (topic, *batches))
    entry = EntryToWrite(journal.next_position, 1, 1, events, [bytes(MANY_EVENTS)], False)
    journal.append(entry, confirmed.append)
    wait_for(lambda: confirmed, "the entry")
    assert confirmed[0].error is None
    journal.close()


@pytest.mark.parametrize(("meminfo_kib", "limit"), [(LITTLE_KIB, "max"), (PLENTY_KIB, str(LITTLE_KIB << 10))])
def test_a_start_without_memory_for_the_replay_is_refused(
    meminfo_kib: int, limit: str, tmp_path: Path
) -> None:
    """One entry may hold thousands of events: these count, not the entries."""
    write_an_entry_of_many_events(tmp_path / "data")
    files = [path for path in sorted((tmp_path / "data").rglob("*.journal")) if path.is_file()]
    before = [path.read_bytes() for path in files]

    refused = subprocess.run(
        [sys.executable, "-c", WITH_SO_MUCH_MEMORY, *told(tmp_path, meminfo_kib, limit), tmp_path / "data"],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert refused.returncode == 3
    assert refused.stdout == ""
    assert "oncelog cannot start: replaying 1 journal entries with 1308 KiB of events may need 12 MiB of" in (
        refused.stderr
    )
    assert "and 8 MiB are free; free some, or start on a machine with more" in refused.stderr
    assert before
    assert [path.read_bytes() for path in files] == before
    server = ServerProcess(tmp_path / "data").start()
    server.stop()


def test_a_replay_that_takes_more_than_was_expected_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_an_entry_of_many_events(tmp_path / "data")
    free_mib = iter([1 << 20, 31])
    monkeypatch.setattr(memory, "free_bytes", lambda: next(free_mib) << 20)
    journal = FileJournal.open(
        RealDisk(),
        str(tmp_path / "data"),
        post=lambda confirm, written: confirm(written),
        file_bytes_max=64 << 20,
        random_bytes=os.urandom,
    )
    with pytest.raises(CannotStart, match=r"memory ran short while replaying the journal: 1 entries.*31 MiB"):
        asyncio.run(replay_with_turns(State(STANDARD_LIMITS), journal, None))
    journal.close()
