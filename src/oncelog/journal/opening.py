"""Reading a journal back at start: every entry checked, damage told from a write that a crash cut short.

The rule (laws 8 and 9): everything up to the newest `synced_through` must be whole, and is never cut. Behind
it lies at most the entry that was being written; when it is not whole it is cut, reported, zeroed and
synced. What is whole behind it is written and synced once more before anyone sees it, for the page cache may
show what a failed sync never brought to the disk.

Must not know what entries mean, nor how they are written while serving.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple, NoReturn

from oncelog.disk import File
from oncelog.disk.file import ZEROS
from oncelog.journal import FIRST_POSITION, JournalError, JournalErrorKind, ReplayedEntry
from oncelog.journal.checksum import crc32c, crc32c_of_view
from oncelog.journal.directory import DataDirectory
from oncelog.journal.failures import write_failure
from oncelog.journal.files import FileTable, JournalFile, inspect_file, read_index
from oncelog.journal.format import (
    BLOCK_BYTES,
    ENTRY_HEADER,
    ENTRY_MAGIC,
    FIRST_ADDRESS,
    FORMAT_VERSION,
    INDEX_ROW,
    EntryHeader,
    round_up,
    unpack_entry_header,
)

log = logging.getLogger("oncelog.journal")

WINDOW_BYTES = 8 << 20
"""What is read at a time; longer entries are read by themselves."""

_NO_ENTRY = "no whole entry header is there"
_OUT_OF_ORDER = "the entry there does not follow the one before"


class CutTail(NamedTuple):
    """What an unfinished write left behind the last entry, and was replaced by zeros."""

    path: str
    address: int
    size_bytes: int
    position: int


class _Place(NamedTuple):
    """Index of a file in the order of files, and a byte in it."""

    file: int
    address: int


class Replay:
    """One pass over a journal's files. After `entries` has ended, the attributes tell where the log ends.

    next_position, last_crc: what the next entry continues.
    files: all of them; active: the index of the one to go on with.
    last_header: of the last entry; None where there is none.
    """

    def __init__(self, directory: DataDirectory, numbers: list[int]) -> None:
        self.table = FileTable()
        self.files: list[JournalFile] = []
        self.active = 0
        self.next_position = FIRST_POSITION
        self.last_crc = 0
        self.last_header: EntryHeader | None = None
        self.replayed_bytes = 0
        self.cuts: list[CutTail] = []
        self._directory = directory
        self._numbers = numbers
        self._handles: list[File] = []
        self._window = bytearray(WINDOW_BYTES)
        self._tail = _Place(0, FIRST_ADDRESS)
        self._stop_reason = _NO_ENTRY

    def entries(self) -> Iterator[ReplayedEntry]:
        """Every entry in order; at the end, what the rule above asks for has been done to the files."""
        with ExitStack() as stack:
            try:
                for number in self._numbers:
                    handle = self._directory.disk.open(self._directory.file_path(number), for_writing=True)
                    stack.callback(handle.close)
                    self._handles.append(handle)
                    self.files.append(inspect_file(self._directory, number, handle))
                last = 0
                while True:
                    yield from self._entries_of(last)
                    self._check_index(last)
                    if not self._goes_on_in(last + 1):
                        break
                    last += 1
                self._settle(last)
            except OSError as failed:
                raise _read_error(failed, self.next_position) from failed
            finally:
                self._handles.clear()
                self._window = bytearray()

    def _entries_of(self, number: int) -> Iterator[ReplayedEntry]:
        """The entries of one file, until something is not the entry that must come next."""
        file, handle = self.files[number], self._handles[number]
        salt, size_bytes, rows = file.salt, handle.size(), file.rows
        window, unpack, pack_row = self._window, ENTRY_HEADER.struct.unpack_from, INDEX_ROW.pack
        header_bytes, summed_bytes = ENTRY_HEADER.size, ENTRY_HEADER.summed.size
        view = memoryview(window)
        expected, last_crc = self.next_position, self.last_crc
        bytes_before = self.replayed_bytes
        start = filled = 0
        address = FIRST_ADDRESS
        while True:
            at = address - start
            if at + BLOCK_BYTES > filled:
                start, at = address, 0
                filled = handle.read_into(view, start)
                if filled < header_bytes:
                    self._stop_reason = "the file ends there"
                    break
            (
                magic, version, _, its_salt, previous_crc, _, position, wall_ms, age_ms, synced_through,
                events_length, payload_length, events_crc, payload_crc, crc,
            ) = unpack(window, at)  # fmt: skip
            if (
                magic != ENTRY_MAGIC
                or its_salt != salt
                or crc32c(salt, bytes(view[at : at + summed_bytes])) != crc
            ):
                self._stop_reason = _NO_ENTRY
                break
            if version != FORMAT_VERSION:
                raise _unknown_version(version, position, file)
            if position != expected or previous_crc != last_crc:
                self._stop_reason = _OUT_OF_ORDER
                break
            total_bytes = header_bytes + events_length + payload_length
            if address + total_bytes > size_bytes:
                self._stop_reason = "the file ends within the entry"
                break
            if total_bytes > WINDOW_BYTES:
                events, its_crc = self._read_long(handle, address, events_length, payload_length, salt)
            else:
                if at + total_bytes > filled:
                    start, at = address, 0
                    filled = handle.read_into(view, start)
                body = at + header_bytes
                payload = body + events_length
                events = bytes(view[body:payload])
                its_crc = crc32c_of_view(salt, view[payload : payload + payload_length])
            if crc32c(salt, events) != events_crc:
                self._stop_reason = "its events do not have their checksum"
                break
            if its_crc != payload_crc:
                self._stop_reason = "its payload does not have its checksum"
                break
            rows += pack_row(address, events_length, payload_length, events_crc, payload_crc)
            if not file.first_position:
                file.first_position = position
                self.table.add(file)
            if synced_through >= position - 1:
                self._tail = _Place(number, address)
            expected += 1
            last_crc = crc
            address += (total_bytes + BLOCK_BYTES - 1) // BLOCK_BYTES * BLOCK_BYTES
            self.replayed_bytes = bytes_before + address
            yield ReplayedEntry(position, wall_ms, age_ms, events, payload_length)
        self.replayed_bytes = bytes_before + size_bytes
        self.next_position, self.last_crc = expected, last_crc
        file.end_address = address
        file.last_entry_crc = last_crc

    def _read_long(
        self, handle: File, address: int, events_length: int, payload_length: int, salt: int
    ) -> tuple[bytes, int]:
        """The events and the payload's CRC of an entry that is longer than the window."""
        address += ENTRY_HEADER.size
        events = handle.read(events_length, address)
        address += events_length
        crc = salt
        piece = memoryview(bytearray(1 << 20))
        while payload_length:
            count = handle.read_into(piece[: min(len(piece), payload_length)], address)
            if count == 0:
                break
            crc = crc32c_of_view(crc, piece[:count])
            address += count
            payload_length -= count
        return events, crc

    # --- where the log ends ---

    def _goes_on_in(self, number: int) -> bool:
        """Whether the next entry, whole or not, is to be looked for in that file."""
        if self.files[number - 1].has_index:
            if number == len(self.files):
                self._refuse_missing(number)
            return True
        if number == len(self.files):
            return False
        block = self._handles[number].read(BLOCK_BYTES, FIRST_ADDRESS)
        header = unpack_entry_header(block, 0, self.files[number].salt)
        return header is not None and self._continues(header)

    def _continues(self, header: EntryHeader) -> bool:
        return header.position == self.next_position and header.previous_crc == self.last_crc

    def _refuse_missing(self, number: int) -> NoReturn:
        path = self._directory.file_path(self.files[number - 1].number + 1)
        raise JournalError(
            JournalErrorKind.DAMAGED,
            f"the journal file {path} is missing: the one before it was closed, which happens only when the "
            f"next one is there. {_readable(self.next_position)} Put the missing file back",
        )

    def _check_index(self, number: int) -> None:
        """A closed file's index must tell of no entry that is not there."""
        file = self.files[number]
        found = read_index(self._handles[number], file.salt)
        if found is None:
            return
        address, index = found
        if index == file.index() and address == file.end_address:
            file.has_index = True
            return
        last_position = index.first_position + index.entry_count - 1
        if last_position >= self.next_position:
            self._refuse(number, f"the file's index tells of entries up to {last_position}")

    def _settle(self, last: int) -> None:
        """The log ends in files[last]: look for lost entries behind it, then make the end clean and safe."""
        if last + 2 < len(self.files):
            self._refuse(
                last, f"{self.files[last + 2].path} was made only when the file before it was in use"
            )
        if last + 1 < len(self.files) and not self.files[last].entry_count:
            self._refuse(last, f"{self.files[last + 1].path} was made only when this file was in use")
        remains = []
        for number in range(last, len(self.files)):
            remains += self._search(last, number, self.files[number].end_address)
        try:
            self._write_tail_again(last)
            for place, size_bytes in remains:
                self._cut(place, size_bytes)
            for handle in self._handles[last:]:
                handle.sync()
        except OSError as failed:
            raise write_failure("making the journal's end durable", failed) from failed
        self.active = last
        self.last_header = self._read_last_header(last)
        for number in range(last, len(self.files)):
            size_bytes = self._handles[number].size()
            self.files[number].filled_bytes = max(size_bytes, self.files[number].end_address)

    def _read_last_header(self, last: int) -> EntryHeader | None:
        for file, handle in zip(self.files[last::-1], self._handles[last::-1], strict=True):
            if file.entry_count:
                address = file.row(self.next_position - 1).address
                return unpack_entry_header(handle.read(ENTRY_HEADER.size, address), 0, file.salt)
        return None

    def _search(self, last: int, number: int, start: int) -> list[tuple[_Place, int]]:
        """Look through a file, from `start` on, for what is not zero; returns where that is, as one stretch.

        Raises JournalError when it holds an entry that was written after the log's end.
        """
        file, handle = self.files[number], self._handles[number]
        first = end = -1
        found: list[int] = []
        address = start
        while chunk := handle.read(len(ZEROS), address):
            if chunk != ZEROS and chunk != bytes(len(chunk)):
                for offset in range(0, len(chunk), BLOCK_BYTES):
                    block = chunk[offset : offset + BLOCK_BYTES]
                    if block.count(0) == len(block):
                        continue
                    first = first if first >= 0 else address + offset
                    end = address + offset + len(block)
                    header = unpack_entry_header(block, 0, file.salt)
                    if header is None or header.position < self.next_position:
                        continue
                    is_unfinished = self._continues(header) and address + offset == start
                    if not is_unfinished:
                        found.append(header.position)
            address += len(chunk)
        if found:
            entries = f"{len(found)} whole entry headers, from {min(found)} to {max(found)}"
            self._refuse(last, f"there or behind it in {file.path} are {entries}")
        return [] if first < 0 else [(_Place(number, start), end - start)]

    def _refuse(self, number: int, evidence: str) -> NoReturn:
        file = self.files[number]
        raise JournalError(
            JournalErrorKind.DAMAGED,
            f"journal entry {self.next_position} is damaged or missing in {file.path} at byte "
            f"{file.end_address}: {self._stop_reason}. It had been acknowledged, for {evidence}. "
            f"{_readable(self.next_position)} Nothing was changed; restore the file from a copy",
        )

    # --- making the end clean and durable ---

    def _write_tail_again(self, last: int) -> None:
        """Write what lies behind the newest `synced_through` where it is: then the disk has it for sure."""
        if self.next_position == FIRST_POSITION:
            return
        for number in range(self._tail.file, last + 1):
            handle = self._handles[number]
            address = self._tail.address if number == self._tail.file else FIRST_ADDRESS
            # The zeros behind a last entry that is whole may have been cut short.
            end = min(self.files[number].end_address, handle.size())
            while address < end:
                piece = handle.read(min(len(ZEROS), end - address), address)
                assert piece, "the tail has been read before"
                handle.write([piece], address, durable=True)
                address += len(piece)

    def _cut(self, place: _Place, size_bytes: int) -> None:
        """Replace by zeros what an unfinished write left: nothing of it can then be taken for more."""
        file, handle = self.files[place.file], self._handles[place.file]
        # Not beyond the file's end, for a full disk has no room for that.
        handle.zero_fill(place.address, min(round_up(size_bytes), handle.size() - place.address))
        cut = CutTail(file.path, place.address, size_bytes, self.next_position)
        self.cuts.append(cut)
        log.warning(
            "an unfinished write of journal entry %d was cut: up to %d bytes in %s from byte %d on; "
            "it had not been acknowledged",
            cut.position,
            cut.size_bytes,
            cut.path,
            cut.address,
        )


def _readable(next_position: int) -> str:
    if next_position == FIRST_POSITION:
        return "No entry before it can be read."
    return f"Entries {FIRST_POSITION} to {next_position - 1} before it are whole."


def _unknown_version(version: int, position: int, file: JournalFile) -> JournalError:
    return JournalError(
        JournalErrorKind.UNKNOWN_FORMAT,
        f"journal entry {position} in {file.path} has format version {version}; this program knows "
        f"{FORMAT_VERSION}",
    )


def _read_error(failed: OSError, position: int) -> JournalError:
    return JournalError(
        JournalErrorKind.READ_FAILED, f"the journal could not be read near entry {position}: {failed}"
    )
