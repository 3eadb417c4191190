"""One journal file: making it, where each of its entries lies, its index, and a few files open for reading.

Must not know the order in which files are used, nor what a crash means for them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import NamedTuple

from oncelog.disk import Disk, File
from oncelog.journal import JournalError, JournalErrorKind
from oncelog.journal.directory import PART_SUFFIX, DataDirectory
from oncelog.journal.format import (
    BLOCK_BYTES,
    ENTRY_HEADER,
    FIRST_ADDRESS,
    FORMAT_VERSION,
    INDEX_ROW,
    Index,
    IndexRow,
    pack_file_header,
    pack_index,
    round_up,
    unpack_entry_header,
    unpack_file_header,
    unpack_index,
    unpack_index_address,
)


class JournalFile:
    """What is known of one file.

    first_position: of its first entry; 0 while it has none.   rows: as in its index, 24 bytes per entry.
    end_address: where the next entry would begin.   last_entry_crc: of its last entry's header.
    filled_bytes: how far it holds written or zeroed bytes, durably.
    """

    __slots__ = (
        "end_address",
        "filled_bytes",
        "first_position",
        "has_index",
        "last_entry_crc",
        "number",
        "path",
        "rows",
        "salt",
    )

    def __init__(self, number: int, path: str, salt: int, filled_bytes: int) -> None:
        self.number = number
        self.path = path
        self.salt = salt
        self.first_position = 0
        self.rows = bytearray()
        self.end_address = FIRST_ADDRESS
        self.last_entry_crc = 0
        self.filled_bytes = filled_bytes
        self.has_index = False

    @property
    def entry_count(self) -> int:
        return len(self.rows) // INDEX_ROW.size

    def row(self, position: int) -> IndexRow:
        """Where that entry lies. Raises IndexError for one that is not in this file."""
        index = position - self.first_position
        if not 0 <= index < self.entry_count:
            raise IndexError(position)
        return IndexRow(*INDEX_ROW.unpack_from(self.rows, index * INDEX_ROW.size))

    def index(self) -> Index:
        return Index(self.first_position, self.last_entry_crc, bytes(self.rows))


def create_file(directory: DataDirectory, number: int, salt: int, filled_bytes: int) -> JournalFile:
    """A new file with its header and zeros up to `filled_bytes`, durable before it gets its name."""
    disk = directory.disk
    path = directory.file_path(number)
    part = path + PART_SUFFIX
    handle = disk.create(part)
    try:
        try:
            handle.write([pack_file_header(salt, number)], 0)
            handle.zero_fill(BLOCK_BYTES, filled_bytes - BLOCK_BYTES)
            handle.sync()
        finally:
            handle.close()
    except Exception:
        # On a full disk, the space is better used for entries.
        with suppress(OSError):
            disk.remove(part)
        raise
    disk.rename(part, path)
    disk.sync_directory(directory.journal_path)
    return JournalFile(number, path, salt, filled_bytes)


def inspect_file(directory: DataDirectory, number: int, handle: File) -> JournalFile:
    """A file that exists, from its header; raises JournalError when that is not as it was written."""
    path = directory.file_path(number)
    header = unpack_file_header(handle.read(BLOCK_BYTES, 0))
    if header is None or header.number != number:
        found = "damaged" if header is None else f"that of file {header.number}"
        raise JournalError(
            JournalErrorKind.DAMAGED,
            f"the header of the journal file {path} is {found}; nothing in it can be read without it",
        )
    if header.format_version != FORMAT_VERSION:
        raise JournalError(
            JournalErrorKind.UNKNOWN_FORMAT,
            f"the journal file {path} has format version {header.format_version}; this program knows "
            f"{FORMAT_VERSION}",
        )
    return JournalFile(number, path, header.salt, handle.size())


def write_index(handle: File, file: JournalFile) -> None:
    """Close a file: its index goes behind its last entry, and the file ends there."""
    index = pack_index(file.salt, file.end_address, file.index())
    handle.write([index], file.end_address)
    handle.truncate(file.end_address + len(index))
    handle.sync()
    file.has_index = True


def read_index(handle: File, salt: int) -> tuple[int, Index] | None:
    """A closed file's index and where it begins; None where there is none, or none that is whole."""
    size_bytes = handle.size()
    address = unpack_index_address(handle.read(BLOCK_BYTES, max(0, size_bytes - BLOCK_BYTES)), salt)
    if address is None or not FIRST_ADDRESS <= address < size_bytes:
        return None
    index = unpack_index(handle.read(size_bytes - address, address), salt)
    return None if index is None else (address, index)


class Contents(NamedTuple):
    """What a file, or a journal, holds: so many entries, and their events in bytes."""

    entries: int
    events_bytes: int


def contents_of(handle: File, salt: int) -> Contents:
    """From the index of a closed file, else from the headers of the entries, one after the other."""
    found = read_index(handle, salt)
    if found is not None:
        lengths = [events_length for _, events_length, *_ in INDEX_ROW.iter_unpack(found[1].rows)]
        return Contents(len(lengths), sum(lengths))
    entries, events_bytes, address = 0, 0, FIRST_ADDRESS
    while header := unpack_entry_header(handle.read(ENTRY_HEADER.size, address), 0, salt):
        entries += 1
        events_bytes += header.events_length
        address += round_up(ENTRY_HEADER.size + header.events_length + header.payload_length)
    return Contents(entries, events_bytes)


def payload_address(row: IndexRow) -> int:
    return row.address + ENTRY_HEADER.size + row.events_length


class FileTable:
    """The files that hold entries, found by position. One thread adds, any thread looks up."""

    def __init__(self) -> None:
        self._first_positions: list[int] = []
        self._files: list[JournalFile] = []

    def add(self, file: JournalFile) -> None:
        assert file.first_position > (self._first_positions[-1] if self._first_positions else 0)
        # In this order, for a reader in another thread looks among the first positions.
        self._files.append(file)
        self._first_positions.append(file.first_position)

    def locate(self, position: int, offset: int, size_bytes: int) -> tuple[JournalFile, int]:
        """The file and the byte where that part of an entry's payload lies."""
        found = bisect_right(self._first_positions, position) - 1
        if found < 0:
            raise IndexError(position)
        file = self._files[found]
        row = file.row(position)
        if offset < 0 or offset + size_bytes > row.payload_length:
            raise IndexError(position)
        return file, payload_address(row) + offset


class OpenFiles:
    """A bounded number of files held open for reading; the one used longest ago is closed for another."""

    def __init__(self, disk: Disk, files_max: int) -> None:
        self._disk = disk
        self._files_max = files_max
        self._guard = Lock()
        self._open: dict[int, tuple[File, list[int]]] = {}

    @contextmanager
    def use(self, file: JournalFile) -> Iterator[File]:
        """The file, open for as long as the block runs; callable from any thread."""
        with self._guard:
            found = self._open.pop(file.number, None) or (self._disk.open(file.path), [0])
            self._open[file.number] = found
            handle, users = found
            users[0] += 1
            self._close_idle()
        try:
            yield handle
        finally:
            with self._guard:
                users[0] -= 1

    def _close_idle(self) -> None:
        """Close those used longest ago. Those in use stay, so there may be a few more for a while."""
        for number, (handle, users) in list(self._open.items()):
            if len(self._open) <= self._files_max:
                return
            if users[0] == 0:
                del self._open[number]
                handle.close()

    def close(self) -> None:
        """Close all; nobody uses any."""
        with self._guard:
            for handle, _ in self._open.values():
                handle.close()
            self._open.clear()
