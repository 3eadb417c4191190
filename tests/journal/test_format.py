"""The bytes of a journal file: golden ones, so that no release changes them unnoticed."""

from __future__ import annotations

from oncelog.journal.format import (
    BLOCK_BYTES,
    ENTRY_HEADER,
    FILE_HEADER,
    INDEX_HEADER,
    INDEX_ROW,
    INDEX_ROW_FIELDS,
    INDEX_TRAILER,
    EntryHeader,
    FileHeader,
    Index,
    IndexRow,
    pack_entry,
    pack_file_header,
    pack_index,
    unpack_entry_header,
    unpack_file_header,
    unpack_index,
    unpack_index_address,
)

SALT = 0x01020304


def test_a_file_header_is_these_bytes() -> None:
    block = pack_file_header(SALT, 7)
    assert len(block) == BLOCK_BYTES
    assert block[:24].hex() == "4f4c4a46000100000102030400000000000000077b15b3b9"
    assert block[FILE_HEADER.size :].count(0) == BLOCK_BYTES - FILE_HEADER.size
    header = unpack_file_header(block)
    assert header is not None
    assert (header.format_version, header.salt, header.number) == (1, SALT, 7)


def test_an_entry_is_these_bytes() -> None:
    buffers, crc = pack_entry(SALT, 0x0A0B0C0D, 0x11, 5, -2, 3, 4, b"events", b"payload", False)
    whole = b"".join(buffers)
    assert len(whole) == BLOCK_BYTES
    assert whole[:60].hex() == (
        "4f4c4a45" "0001" "0000" "01020304" "0a0b0c0d" "0000000000000011" "0000000000000005"
        "fffffffffffffffe" "0000000000000003" "0000000000000004" "00000006"
    )  # fmt: skip
    assert whole[ENTRY_HEADER.size :][:13] == b"eventspayload"
    assert whole[72:76] == crc.to_bytes(4, "big")
    assert unpack_entry_header(whole, 0, SALT) is not None
    assert unpack_entry_header(whole, 0, SALT + 1) is None


def test_an_index_comes_back_and_none_of_its_bytes_may_change() -> None:
    rows = INDEX_ROW.pack(4096, 1, 2, 3, 4) + INDEX_ROW.pack(8192, 5, 6, 7, 8)
    index = Index(9, 0x55, rows)
    packed = pack_index(SALT, 12_288, index)
    assert unpack_index(packed, SALT) == index
    assert unpack_index_address(packed, SALT) == 12_288
    for at in range(len(packed)):
        changed = bytearray(packed)
        changed[at] ^= 0x08
        trailer_starts = len(packed) - INDEX_TRAILER.size
        if at < trailer_starts:
            assert unpack_index(bytes(changed), SALT) is None, at
        else:
            assert unpack_index_address(bytes(changed), SALT) is None, at


def test_the_tuples_have_the_fields_of_the_declared_layouts() -> None:
    assert FileHeader._fields == tuple(field.name for field in FILE_HEADER.fields)
    assert EntryHeader._fields == tuple(field.name for field in ENTRY_HEADER.fields)
    assert IndexRow._fields == tuple(field.name for field in INDEX_ROW_FIELDS)
    assert INDEX_ROW.format == ">" + "".join(field.code for field in INDEX_ROW_FIELDS)
    assert (FILE_HEADER.size, ENTRY_HEADER.size, INDEX_HEADER.size, INDEX_TRAILER.size) == (24, 76, 36, 20)
