"""The bytes of a journal file, declared as data: the code packs by these tables, and the documentation of the
format is made from them. Only this module knows the layouts.

A file is its header block, then entries, each on a block boundary (an entry header, events, payload, zeros up
to the next boundary), then zeros that wait to be written over. A closed file ends right behind its index:
after the last entry, on a block boundary, an index header, one row per entry and an index trailer.
All numbers are big-endian. Must not know files, threads or what events mean.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from oncelog.journal.checksum import crc32c

FORMAT_VERSION = 1
BLOCK_BYTES = 4096
"""Entries begin on multiples of this, so that a torn write touches the last entry only."""
FIRST_ADDRESS = BLOCK_BYTES
"""Where a file's first entry begins: behind the header block."""

FILE_MAGIC = 0x4F4C4A46  # "OLJF"
ENTRY_MAGIC = 0x4F4C4A45  # "OLJE"
INDEX_MAGIC = 0x4F4C4A49  # "OLJI"
TRAILER_MAGIC = 0x4F4C4A54  # "OLJT"

SEAL_FLAG = 1
"""The entry has no content: it was written because nothing else was, to carry `synced_through` forward."""


class LayoutField(NamedTuple):
    """One number of a layout. code: its form, as the struct module names it."""

    name: str
    code: str
    meaning: str


class Layout:
    """Numbers in a row, the last of them the CRC-32C of all the others."""

    def __init__(self, name: str, fields: Sequence[LayoutField]) -> None:
        assert (fields[-1].name, fields[-1].code) == ("crc", "I")
        self.name = name
        self.fields = tuple(fields)
        codes = "".join(field.code for field in fields)
        self.struct = struct.Struct(">" + codes)
        self.summed = struct.Struct(">" + codes[:-1])
        self.size = self.struct.size

    def pack(self, seed: int, *values: int) -> tuple[bytes, int]:
        """The bytes of all numbers, and the CRC that ends them."""
        start = self.summed.pack(*values)
        crc = crc32c(seed, start)
        return start + crc.to_bytes(4, "big"), crc


FILE_HEADER = Layout(
    "file header",
    [
        LayoutField("magic", "I", 'Always the letters "OLJF".'),
        LayoutField("format_version", "H", "The version of all layouts in the file."),
        LayoutField("reserved", "H", "0."),
        LayoutField("salt", "I", "A random number: the file's checksums start from it, save this header's."),
        LayoutField("number", "Q", "The file's place in the order of files, from 1; its name says it too."),
        LayoutField("crc", "I", "CRC-32C of the fields before, started from 0."),
    ],
)

ENTRY_HEADER = Layout(
    "entry header",
    [
        LayoutField("magic", "I", 'Always the letters "OLJE".'),
        LayoutField("format_version", "H", "As in the file header."),
        LayoutField("flags", "H", "1: a seal, an entry without events and payload. Other bits are 0."),
        LayoutField("salt", "I", "The file's salt."),
        LayoutField("previous_crc", "I", "The crc of the entry header before; 0 in the first entry ever."),
        LayoutField("incarnation", "Q", "A random number that each serving process draws anew."),
        LayoutField("position", "Q", "The entry's place in the journal: 1, 2, 3, through all files."),
        LayoutField("wall_ms", "q", "Unix time when the entry was opened, as the clock had it."),
        LayoutField("age_ms", "q", "Milliseconds of service since the journal began, downtime not counted."),
        LayoutField("synced_through", "Q", "The last position that was durable when this was written."),
        LayoutField("events_length", "I", "Bytes of events, which follow this header."),
        LayoutField("payload_length", "I", "Bytes of payload, which follow the events."),
        LayoutField("events_crc", "I", "CRC-32C of the events, started from the salt."),
        LayoutField("payload_crc", "I", "CRC-32C of the payload, started from the salt."),
        LayoutField("crc", "I", "CRC-32C of the fields before, started from the salt."),
    ],
)

INDEX_HEADER = Layout(
    "index header",
    [
        LayoutField("magic", "I", 'Always the letters "OLJI".'),
        LayoutField("format_version", "H", "As in the file header."),
        LayoutField("reserved", "H", "0."),
        LayoutField("salt", "I", "The file's salt."),
        LayoutField("first_position", "Q", "The position of the file's first entry."),
        LayoutField("entry_count", "I", "The number of rows that follow."),
        LayoutField("last_entry_crc", "I", "The crc of the last entry's header."),
        LayoutField("rows_crc", "I", "CRC-32C of the rows, started from the salt."),
        LayoutField("crc", "I", "CRC-32C of the fields before, started from the salt."),
    ],
)

INDEX_ROW = struct.Struct(">QIIII")
INDEX_ROW_FIELDS = (
    LayoutField("address", "Q", "Where in the file the entry's header begins."),
    LayoutField("events_length", "I", "As in the entry's header."),
    LayoutField("payload_length", "I", "As in the entry's header."),
    LayoutField("events_crc", "I", "As in the entry's header."),
    LayoutField("payload_crc", "I", "As in the entry's header."),
)

INDEX_TRAILER = Layout(
    "index trailer",
    [
        LayoutField("magic", "I", 'Always the letters "OLJT".'),
        LayoutField("salt", "I", "The file's salt."),
        LayoutField("index_address", "Q", "Where in the file the index header begins."),
        LayoutField("crc", "I", "CRC-32C of the fields before, started from the salt."),
    ],
)


class FileHeader(NamedTuple):
    magic: int
    format_version: int
    reserved: int
    salt: int
    number: int
    crc: int


class EntryHeader(NamedTuple):
    magic: int
    format_version: int
    flags: int
    salt: int
    previous_crc: int
    incarnation: int
    position: int
    wall_ms: int
    age_ms: int
    synced_through: int
    events_length: int
    payload_length: int
    events_crc: int
    payload_crc: int
    crc: int


class IndexRow(NamedTuple):
    address: int
    events_length: int
    payload_length: int
    events_crc: int
    payload_crc: int


class Index(NamedTuple):
    """A closed file's index. rows: packed, one after the other."""

    first_position: int
    last_entry_crc: int
    rows: bytes

    @property
    def entry_count(self) -> int:
        return len(self.rows) // INDEX_ROW.size


def round_up(size_bytes: int) -> int:
    """The next block boundary at or after."""
    return (size_bytes + BLOCK_BYTES - 1) // BLOCK_BYTES * BLOCK_BYTES


def pack_file_header(salt: int, number: int) -> bytes:
    """A file's first block."""
    header, _ = FILE_HEADER.pack(0, FILE_MAGIC, FORMAT_VERSION, 0, salt, number)
    return header.ljust(BLOCK_BYTES, b"\0")


def unpack_file_header(block: bytes) -> FileHeader | None:
    """The header, of whatever version; None when these bytes are not one."""
    if len(block) < FILE_HEADER.size:
        return None
    header = FileHeader(*FILE_HEADER.struct.unpack_from(block))
    if header.magic != FILE_MAGIC or header.crc != crc32c(0, block[: FILE_HEADER.summed.size]):
        return None
    return header


def pack_entry(
    salt: int,
    previous_crc: int,
    incarnation: int,
    position: int,
    wall_ms: int,
    age_ms: int,
    synced_through: int,
    events: bytes,
    payload: bytes,
    seal: bool,
) -> tuple[list[bytes], int]:
    """The buffers of an entry, whole blocks together, and the crc of its header."""
    assert position > synced_through
    assert not seal or not (events or payload)
    header, crc = ENTRY_HEADER.pack(
        salt,
        ENTRY_MAGIC,
        FORMAT_VERSION,
        SEAL_FLAG if seal else 0,
        salt,
        previous_crc,
        incarnation,
        position,
        wall_ms,
        age_ms,
        synced_through,
        len(events),
        len(payload),
        crc32c(salt, events),
        crc32c(salt, payload),
    )
    size_bytes = ENTRY_HEADER.size + len(events) + len(payload)
    return [header, events, payload, bytes(round_up(size_bytes) - size_bytes)], crc


def unpack_entry_header(buffer: bytes | bytearray | memoryview, offset: int, salt: int) -> EntryHeader | None:
    """The entry header at that place in a buffer, of whatever version; None where none of this salt is."""
    if len(buffer) - offset < ENTRY_HEADER.size:
        return None
    header = EntryHeader(*ENTRY_HEADER.struct.unpack_from(buffer, offset))
    if header.magic != ENTRY_MAGIC or header.salt != salt:
        return None
    summed = bytes(buffer[offset : offset + ENTRY_HEADER.summed.size])
    return header if crc32c(salt, summed) == header.crc else None


def pack_index(salt: int, address: int, index: Index) -> bytes:
    """A file's index, trailer included, to lie at `address`; the file ends behind it."""
    rows = index.rows
    header, _ = INDEX_HEADER.pack(
        salt,
        INDEX_MAGIC,
        FORMAT_VERSION,
        0,
        salt,
        index.first_position,
        index.entry_count,
        index.last_entry_crc,
        crc32c(salt, rows),
    )
    trailer, _ = INDEX_TRAILER.pack(salt, TRAILER_MAGIC, salt, address)
    return header + rows + trailer


def unpack_index_address(end: bytes, salt: int) -> int | None:
    """Where a file's index begins, from the file's last bytes; None where these are no trailer of it."""
    if len(end) < INDEX_TRAILER.size:
        return None
    trailer = end[-INDEX_TRAILER.size :]
    magic, its_salt, address, crc = INDEX_TRAILER.struct.unpack(trailer)
    if magic != TRAILER_MAGIC or its_salt != salt:
        return None
    return int(address) if crc32c(salt, trailer[: INDEX_TRAILER.summed.size]) == crc else None


def unpack_index(index: bytes, salt: int) -> Index | None:
    """The index that `pack_index` made; None when it is damaged."""
    if len(index) < INDEX_HEADER.size + INDEX_TRAILER.size:
        return None
    fields = INDEX_HEADER.struct.unpack_from(index)
    magic, _, _, its_salt, first_position, count, last_entry_crc, rows_crc, crc = fields
    rows = index[INDEX_HEADER.size : -INDEX_TRAILER.size]
    if (
        magic != INDEX_MAGIC
        or its_salt != salt
        or crc32c(salt, index[: INDEX_HEADER.summed.size]) != crc
        or len(rows) != count * INDEX_ROW.size
        or crc32c(salt, rows) != rows_crc
    ):
        return None
    return Index(first_position, last_entry_crc, rows)
