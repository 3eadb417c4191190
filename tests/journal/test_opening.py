"""Starting on a journal: what a crash cut short is cut, what is damaged is refused and named."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest

from oncelog.disk.faulty import Fault, FaultyDisk
from oncelog.journal import JournalError, JournalErrorKind
from oncelog.journal.directory import _crc_of
from oncelog.journal.file import FileJournal
from oncelog.journal.format import BLOCK_BYTES, ENTRY_HEADER, FILE_HEADER
from tests.journal.harness import (
    FIRST_FILE,
    PATH,
    SECOND_FILE,
    THIRD_FILE,
    disk_with,
    open_journal,
    opened,
    replay,
)

META = f"{PATH}/meta.json"


def refusal(disk: FaultyDisk) -> JournalError:
    """The error that opening or replaying ends with; nothing on the disk has changed by it."""
    before = disk.clone()
    with pytest.raises(JournalError) as raised:
        opened(disk)
    journal_files = [f"{PATH}/journal/{name}" for name in before.list(f"{PATH}/journal")]
    assert [disk.content(path) for path in journal_files] == [before.content(path) for path in journal_files]
    return raised.value


def put(disk: FaultyDisk, path: str, offset: int, data: bytes) -> None:
    """Change bytes where they lie, durably."""
    disk.open(path, for_writing=True).write([data], offset, durable=True)


def entry_addresses(disk: FaultyDisk, path: str = FIRST_FILE) -> list[int]:
    content = disk.content(path)
    return [at for at in range(BLOCK_BYTES, len(content), BLOCK_BYTES) if content[at : at + 4] == b"OLJE"]


def is_sealed_and_clean(disk: FaultyDisk, address: int) -> bool:
    """Whether there is a seal in that place and nothing behind it."""
    content = disk.content(FIRST_FILE)
    (seal,) = [at for at in entry_addresses(disk) if at >= address]
    rest = content[address + ENTRY_HEADER.size :]
    return seal == address and rest.count(0) == len(rest)


def spoilings(size_bytes: int) -> Iterator[int]:
    """Every place of a header, and some of what follows."""
    yield from range(ENTRY_HEADER.size)
    yield from range(ENTRY_HEADER.size, size_bytes, 97)
    yield size_bytes - 1


# --- the last entry: torn ---


def test_a_last_entry_cut_at_any_byte_is_cut_and_the_rest_stays() -> None:
    disk, sent = disk_with(100, 700)
    start = entry_addresses(disk)[-1]
    whole = disk.content(FIRST_FILE)[start : start + ENTRY_HEADER.size + len(sent[-1].events) + 700]
    for kept in range(len(whole)):
        torn = disk.clone()
        put(torn, FIRST_FILE, start + kept, bytes(len(whole) - kept))
        journal, entries, writer = opened(torn)
        assert entries == sent[:1], f"{kept} bytes of the last entry are there"
        assert is_sealed_and_clean(torn, start), "nothing of it is left"
        if kept % 50 == 0:
            writer.append(b"another", b"payload")
            journal.close()
            assert opened(torn).entries == sent[:1] + writer.sent


def test_a_file_cut_short_at_any_byte_of_its_last_entry_goes_on() -> None:
    disk, sent = disk_with(100, 700)
    start = entry_addresses(disk)[-1]
    size_bytes = ENTRY_HEADER.size + len(sent[-1].events) + 700
    for kept in [*range(0, size_bytes, 13), size_bytes]:
        torn = disk.clone()
        torn.open(FIRST_FILE, for_writing=True).truncate(start + kept)
        journal, entries, writer = opened(torn)
        assert entries == (sent if kept == size_bytes else sent[:1])
        writer.append(b"another", b"payload")
        journal.close()
        assert opened(torn).entries == entries + writer.sent


def test_garbage_behind_the_last_entry_is_cut() -> None:
    disk, sent = disk_with(100, 100)
    start = entry_addresses(disk)[-1] + BLOCK_BYTES
    put(disk, FIRST_FILE, start + 3 * BLOCK_BYTES, random.Random(1).randbytes(5000))
    journal, entries, writer = opened(disk)
    assert entries == sent
    assert is_sealed_and_clean(disk, start)
    writer.append(b"another")
    journal.close()
    assert opened(disk).entries == sent + writer.sent


def test_what_was_cut_can_never_be_taken_for_an_entry_again() -> None:
    """The torn entry's end lies where the entry after the next one would begin."""
    disk, sent = disk_with(100, 3 * BLOCK_BYTES)
    start = entry_addresses(disk)[-1]
    put(disk, FIRST_FILE, start + BLOCK_BYTES, bytes(100))
    journal, entries, writer = opened(disk)
    assert entries == sent[:1]
    writer.append(b"small")
    journal.close()
    assert opened(disk).entries == sent[:1] + writer.sent


def test_a_cut_is_said(caplog: pytest.LogCaptureFixture) -> None:
    disk, _ = disk_with(100, 100)
    put(disk, FIRST_FILE, entry_addresses(disk)[-1] + 80, b"\xff")
    opened(disk)
    assert "unfinished write of journal entry 2 was cut" in caplog.text
    assert FIRST_FILE in caplog.text


def test_a_torn_first_entry_of_the_next_file_is_cut_whether_the_index_is_there_or_not() -> None:
    disk, sent = disk_with(*[5000] * 7)
    (first,) = entry_addresses(disk, SECOND_FILE)[:1]
    assert entry_addresses(disk, SECOND_FILE) == [first], "the test needs just one entry in the second file"
    disk.remove(THIRD_FILE)
    disk.sync_directory(f"{PATH}/journal")
    index_at = entry_addresses(disk)[-1] + 2 * BLOCK_BYTES
    for keeps_index in (True, False):
        for kept in (0, 1, 76, 80, 5000):
            torn = disk.clone()
            put(torn, SECOND_FILE, first + kept, bytes(5100 - kept))
            if not keeps_index:
                put(torn, FIRST_FILE, index_at, b"\xff" * 20)
            journal, entries, writer = opened(torn)
            assert entries == sent[:-1], (keeps_index, kept)
            for _ in range(9):
                writer.append(b"another", b"p" * 5000)
            assert len(writer.confirmed) == 9
            journal.close()
            assert opened(torn).entries == sent[:-1] + writer.sent


# --- damage before the end ---


def test_a_spoiled_entry_before_the_last_is_refused_with_file_and_position() -> None:
    disk, sent = disk_with(100, 700, 100)
    start = entry_addresses(disk)[1]
    content = disk.content(FIRST_FILE)
    for at in spoilings(ENTRY_HEADER.size + len(sent[1].events) + 700):
        spoiled = disk.clone()
        put(spoiled, FIRST_FILE, start + at, bytes([content[start + at] ^ 0x41]))
        error = refusal(spoiled)
        assert error.kind is JournalErrorKind.DAMAGED
        assert "journal entry 2 is damaged" in str(error)
        assert f"{FIRST_FILE} at byte {start}" in str(error)
        assert "Entries 1 to 1 before it are whole" in str(error)


def test_a_seal_makes_the_last_entry_one_that_is_never_cut() -> None:
    disk, _ = disk_with(100, 700, seal=True)
    put(disk, FIRST_FILE, entry_addresses(disk)[1] + 300, b"\xff")
    assert "journal entry 2 is damaged" in str(refusal(disk))


def test_a_torn_seal_is_cut() -> None:
    disk, sent = disk_with(100, 700, seal=True)
    put(disk, FIRST_FILE, entry_addresses(disk)[-1] + 20, b"\xff")
    assert opened(disk).entries == sent


@pytest.mark.parametrize("first", ["first", "first in a file", "later"])
def test_what_was_found_after_a_kill_is_sealed_by_the_next_start(first: str) -> None:
    """The next process appends nothing; what it showed must not be taken for a write cut short later on."""
    sizes = {"first": [700], "first in a file": [5000] * 7, "later": [100, 700]}[first]
    disk, sent = disk_with(*sizes)
    for _ in range(3):
        journal, entries, _ = opened(disk)
        assert entries == sent
        journal.close()
    path = SECOND_FILE if first == "first in a file" else FIRST_FILE
    last, seal = entry_addresses(disk, path)[-2:]
    assert seal >= last + BLOCK_BYTES
    assert open_journal(disk.clone()).contents().entries > len(sent)
    put(disk, path, last + 300, b"\xff\xff")
    assert f"journal entry {len(sent)} is damaged" in str(refusal(disk))


def test_a_start_on_a_sealed_journal_writes_nothing_more() -> None:
    disk, sent = disk_with(100, 700)
    opened(disk)[0].close()
    before = disk.content(FIRST_FILE)
    for _ in range(3):
        journal, entries, _ = opened(disk)
        assert entries == sent
        journal.close()
    assert disk.content(FIRST_FILE) == before


def test_an_entry_that_is_gone_without_a_trace_is_missed() -> None:
    disk, _ = disk_with(100, 700, 100)
    put(disk, FIRST_FILE, entry_addresses(disk)[1], bytes(BLOCK_BYTES))
    assert refusal(disk).kind is JournalErrorKind.DAMAGED


def test_an_entry_in_the_wrong_place_is_no_entry() -> None:
    disk, _ = disk_with(100, 100, 100)
    first, second, _ = entry_addresses(disk)
    put(disk, FIRST_FILE, second, disk.content(FIRST_FILE)[first : first + BLOCK_BYTES])
    assert "journal entry 2 is damaged or missing" in str(refusal(disk))


def test_damage_in_a_closed_file_is_refused() -> None:
    disk, _ = disk_with(*[5000] * 30)
    put(disk, SECOND_FILE, entry_addresses(disk, SECOND_FILE)[2] + 100, b"\xff\xff")
    error = refusal(disk)
    assert error.kind is JournalErrorKind.DAMAGED
    assert SECOND_FILE in str(error)


def test_the_last_entries_of_a_closed_file_are_missed_even_when_nothing_follows() -> None:
    """Only the index of the closed file is left to tell that there was more."""
    disk, sent = disk_with(*[5000] * 7)
    disk.remove(THIRD_FILE)
    (only_of_second,) = entry_addresses(disk, SECOND_FILE)
    put(disk, SECOND_FILE, only_of_second, bytes(2 * BLOCK_BYTES))
    put(disk, FIRST_FILE, entry_addresses(disk)[-1], bytes(2 * BLOCK_BYTES))
    error = str(refusal(disk))
    assert f"journal entry {len(sent) - 1} is damaged or missing" in error
    assert f"the file's index tells of entries up to {len(sent) - 1}" in error


def test_a_file_whose_entries_are_all_gone_is_missed_when_a_later_one_was_made() -> None:
    disk, _ = disk_with(100, 100)
    assert disk.exists(SECOND_FILE)
    put(disk, FIRST_FILE, BLOCK_BYTES, bytes(2 * BLOCK_BYTES))
    error = refusal(disk)
    assert error.kind is JournalErrorKind.DAMAGED
    assert SECOND_FILE in str(error)


def test_a_file_whose_entries_are_all_gone_is_missed_where_only_a_later_empty_one_tells() -> None:
    disk, _ = disk_with(*[5000] * 7)
    (only_of_second,) = entry_addresses(disk, SECOND_FILE)
    put(disk, SECOND_FILE, only_of_second, bytes(2 * BLOCK_BYTES))
    disk.open(FIRST_FILE, for_writing=True).truncate(entry_addresses(disk)[-1] + 2 * BLOCK_BYTES)
    assert entry_addresses(disk, THIRD_FILE) == []
    error = refusal(disk)
    assert error.kind is JournalErrorKind.DAMAGED
    assert THIRD_FILE in str(error)


@pytest.mark.parametrize("lost", [FIRST_FILE, SECOND_FILE, THIRD_FILE])
def test_a_missing_file_is_named(lost: str) -> None:
    disk, _ = disk_with(*[5000] * 30)
    disk.remove(lost)
    error = refusal(disk)
    assert error.kind is JournalErrorKind.DAMAGED
    assert lost in str(error)


def test_a_missing_last_file_is_named_where_the_one_before_was_closed() -> None:
    disk, _ = disk_with(*[5000] * 30)
    *_, used, following = disk.list(f"{PATH}/journal")
    disk.remove(f"{PATH}/journal/{following}")
    disk.remove(f"{PATH}/journal/{used}")
    assert used in str(refusal(disk))


def test_all_files_missing_is_not_an_empty_journal() -> None:
    disk, _ = disk_with(100)
    for name in disk.list(f"{PATH}/journal"):
        disk.remove(f"{PATH}/journal/{name}")
    assert refusal(disk).kind is JournalErrorKind.DAMAGED


@pytest.mark.parametrize("at", range(FILE_HEADER.size))
def test_a_damaged_file_header_is_refused(at: int) -> None:
    disk, _ = disk_with(100)
    disk.flip(FIRST_FILE, at, 0x10)
    error = refusal(disk)
    assert error.kind is JournalErrorKind.DAMAGED
    assert FIRST_FILE in str(error)


def test_files_that_changed_places_are_refused() -> None:
    disk, _ = disk_with(*[5000] * 30)
    first, second = disk.content(FIRST_FILE), disk.content(SECOND_FILE)
    for path, content in ((FIRST_FILE, second), (SECOND_FILE, first)):
        file = disk.open(path, for_writing=True)
        file.truncate(0)
        file.write([content], 0)
    assert "that of file 2" in str(refusal(disk))


def test_a_file_of_another_journal_is_refused() -> None:
    disk, _ = disk_with(*[5000] * 30)
    other = FaultyDisk()
    journal, _, writer = opened(other, seed=99)
    for number in range(30):
        writer.append(b"events", bytes([number]) * 5000)
    journal.close()
    file = disk.open(SECOND_FILE, for_writing=True)
    file.truncate(0)
    file.write([other.content(SECOND_FILE)], 0)
    assert refusal(disk).kind is JournalErrorKind.DAMAGED


# --- the index ---


def test_a_damaged_or_missing_index_costs_time_only() -> None:
    disk, sent = disk_with(*[5000] * 30)
    content = disk.content(FIRST_FILE)
    index_at = entry_addresses(disk)[-1] + 2 * BLOCK_BYTES
    assert content[index_at : index_at + 4] == b"OLJI"
    for at in [*range(index_at, len(content), 7), len(content) - 1]:
        spoiled = disk.clone()
        spoiled.flip(FIRST_FILE, at, 0x20)
        assert opened(spoiled).entries == sent
        assert spoiled.content(FIRST_FILE) == content, "it is written again"
    for size_bytes in (index_at, index_at + 30):
        cut = disk.clone()
        cut.open(FIRST_FILE, for_writing=True).truncate(size_bytes)
        assert opened(cut).entries == sent
        assert cut.content(FIRST_FILE) == content


# --- versions, metadata, the directory ---


def test_another_format_version_of_a_file_is_refused_as_such() -> None:
    disk, _ = disk_with(100)
    content = bytearray(disk.content(FIRST_FILE)[: FILE_HEADER.size])
    fields = list(FILE_HEADER.struct.unpack(bytes(content)))
    fields[1] = 2
    header, _ = FILE_HEADER.pack(0, *fields[:-1])
    put(disk, FIRST_FILE, 0, header)
    error = refusal(disk)
    assert error.kind is JournalErrorKind.UNKNOWN_FORMAT
    assert "format version 2" in str(error)


def test_another_format_version_of_an_entry_is_refused_as_such() -> None:
    disk, _ = disk_with(100)
    (start,) = entry_addresses(disk)
    fields = list(ENTRY_HEADER.struct.unpack_from(disk.content(FIRST_FILE), start))
    fields[1] = 7
    header, _ = ENTRY_HEADER.pack(fields[3], *fields[:-1])
    put(disk, FIRST_FILE, start, header)
    error = refusal(disk)
    assert error.kind is JournalErrorKind.UNKNOWN_FORMAT
    assert "entry 1" in str(error)


def test_another_format_version_of_the_directory_is_refused_as_such() -> None:
    disk, _ = disk_with(100)
    facts: dict[str, object] = {"cluster_id": "x", "format_version": 2}
    facts["crc"] = _crc_of(facts)
    file = disk.open(META, for_writing=True)
    file.truncate(0)
    file.write([json.dumps(facts).encode()], 0)
    assert refusal(disk).kind is JournalErrorKind.UNKNOWN_FORMAT


def test_damaged_metadata_is_refused() -> None:
    disk, _ = disk_with(100)
    for at in range(len(disk.content(META)) - 1):
        spoiled = disk.clone()
        # White space between words is the only thing that may change unnoticed, and harms nothing.
        if spoiled.content(META)[at : at + 1] in b" \n":
            continue
        spoiled.flip(META, at, 0x04)
        error = refusal(spoiled)
        assert error.kind is JournalErrorKind.DAMAGED
        assert META in str(error)


def test_missing_metadata_with_entries_is_refused() -> None:
    disk, _ = disk_with(100)
    disk.remove(META)
    error = refusal(disk)
    assert error.kind is JournalErrorKind.DAMAGED
    assert META in str(error)


def test_a_foreign_directory_is_refused_and_left_alone() -> None:
    disk = FaultyDisk()
    disk.make_directory(PATH)
    disk.create(f"{PATH}/thesis.tex").write([b"years of work"], 0)
    with pytest.raises(JournalError) as raised:
        open_journal(disk)
    assert raised.value.kind is JournalErrorKind.UNKNOWN_FORMAT
    assert "thesis.tex" in str(raised.value)
    assert disk.content(f"{PATH}/thesis.tex") == b"years of work"


def test_a_directory_in_use_is_refused_and_free_after_close() -> None:
    disk = FaultyDisk()
    journal, _, _ = opened(disk)
    with pytest.raises(JournalError) as raised:
        open_journal(disk)
    assert raised.value.kind is JournalErrorKind.IN_USE
    assert "in use by process" in str(raised.value)
    journal.close()
    opened(disk)


def test_a_refused_start_gives_the_directory_back() -> None:
    disk, sent = disk_with(100)
    disk.flip(META, 3, 1)
    with pytest.raises(JournalError):
        open_journal(disk)
    disk.flip(META, 3, 1)
    assert opened(disk).entries == sent


def test_a_path_that_cannot_be_a_directory_is_refused_with_a_sentence() -> None:
    disk = FaultyDisk()
    with pytest.raises(JournalError, match="data directory /no/such/parent cannot be opened"):
        FileJournal.open(
            disk, "/no/such/parent", post=lambda *_: None, file_bytes_max=1 << 20, random_bytes=bytes
        )


def test_what_was_in_the_making_is_removed_and_unknown_files_are_left() -> None:
    disk, sent = disk_with(100)
    for name in ("journal/0000000003.journal.part", "meta.json.part"):
        file = disk.create(f"{PATH}/{name}")
        file.write([b"half"], 0)
        file.close()
    disk.create(f"{PATH}/journal/notes.txt").write([b"keep me"], 0)
    assert opened(disk).entries == sent
    assert not disk.exists(f"{PATH}/journal/0000000003.journal.part")
    assert not disk.exists(f"{PATH}/meta.json.part")
    assert disk.content(f"{PATH}/journal/notes.txt") == b"keep me"


def test_a_system_that_cannot_read_says_so() -> None:
    disk, _ = disk_with(100)
    journal = open_journal(disk)
    disk.faults.append(Fault("read", disk.calls["read"] + 2))
    with pytest.raises(JournalError) as raised:
        replay(journal)
    assert raised.value.kind is JournalErrorKind.READ_FAILED


def test_old_bytes_of_another_salt_are_no_entries() -> None:
    """A file that holds another journal's entry at its end, as recycled space may: it is cut, not refused."""
    disk, sent = disk_with(100)
    other = FaultyDisk()
    journal, _, writer = opened(other, seed=99)
    writer.append(b"foreign")
    writer.append(b"foreign")
    journal.close()
    put(disk, FIRST_FILE, 2 * BLOCK_BYTES, other.content(FIRST_FILE)[2 * BLOCK_BYTES : 3 * BLOCK_BYTES])
    assert opened(disk).entries == sent
