"""Record batches, format v2: headers by offset, CRC, stamping, control batches, and the records inside.

The serving path reads and writes headers only; records are opaque to it. Must not know offsets' meaning,
producers' state or topics.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import NamedTuple

from oncelog.wire.compression import PIECE_BYTES, compress, decompress, decompress_in_pieces
from oncelog.wire.crc import crc32c
from oncelog.wire.definition import DecodeError

Buffer = bytes | memoryview

HEADER_SIZE = 61
MAGIC = 2
NO_PRODUCER_ID = -1
DECOMPRESSED_BYTES_MAX = 64 * 1024 * 1024
PIECE_COST_BYTES = 1024
RECORD_OVERHEAD_BYTES_MAX = 36
"""Of a record without headers in a batch, what is neither key nor value."""

_HEADER = struct.Struct(">qiibIhiqqqhii")
_STAMP = struct.Struct(">q4si")
_AFTER_CRC = struct.Struct(">hiqqqhii")
_CRC_OFFSET = 17
_ATTRIBUTES_OFFSET = 21
_MAX_TIMESTAMP_OFFSET = 35
_LENGTH_OVERHEAD = 12

_COMPRESSION_MASK = 0x07
_LOG_APPEND_TIME = 0x08
_TRANSACTIONAL = 0x10
_CONTROL = 0x20

Header = tuple[str, bytes | None]


class BatchHeader(NamedTuple):
    """The 61 bytes before a batch's first record."""

    base_offset: int
    batch_length: int
    partition_leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def size(self) -> int:
        """The batch's bytes, header included."""
        return _LENGTH_OVERHEAD + self.batch_length

    @property
    def compression(self) -> int:
        return self.attributes & _COMPRESSION_MASK

    @property
    def is_log_append_time(self) -> bool:
        return bool(self.attributes & _LOG_APPEND_TIME)

    @property
    def is_transactional(self) -> bool:
        return bool(self.attributes & _TRANSACTIONAL)

    @property
    def is_control(self) -> bool:
        return bool(self.attributes & _CONTROL)


class Record(NamedTuple):
    """One record; offset and timestamp are absolute."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()


def parse_batch_header(buffer: Buffer, offset: int = 0) -> BatchHeader:
    """The header at `offset`. Raises DecodeError when fewer than 61 bytes are there."""
    try:
        return BatchHeader._make(_HEADER.unpack_from(buffer, offset))
    except struct.error:
        raise DecodeError("a record batch is shorter than its header") from None


def batch_crc_is_valid(batch: Buffer, header: BatchHeader) -> bool:
    """Whether the CRC-32C of everything from the attributes on is the one in the header."""
    return crc32c(batch[_ATTRIBUTES_OFFSET : header.size]) == header.crc


def stamp(batch: Buffer, base_offset: int, leader_epoch: int) -> tuple[bytes, Buffer]:
    """The batch with its offset and leader epoch, as 16 new bytes and the rest: its CRC covers neither."""
    return _STAMP.pack(base_offset, bytes(batch[8:12]), leader_epoch), batch[16:]


def with_log_append_time(batch: Buffer, now_ms: int) -> bytes:
    """The batch with the broker's time as its own: timestamp type, max timestamp and CRC are rewritten."""
    changed = bytearray(batch)
    (attributes,) = struct.unpack_from(">h", changed, _ATTRIBUTES_OFFSET)
    struct.pack_into(">h", changed, _ATTRIBUTES_OFFSET, attributes | _LOG_APPEND_TIME)
    struct.pack_into(">q", changed, _MAX_TIMESTAMP_OFFSET, now_ms)
    struct.pack_into(">I", changed, _CRC_OFFSET, crc32c(bytes(changed[_ATTRIBUTES_OFFSET:])))
    return bytes(changed)


def control_batch(
    base_offset: int,
    leader_epoch: int,
    producer_id: int,
    producer_epoch: int,
    timestamp_ms: int,
    commit: bool,
    coordinator_epoch: int,
) -> bytes:
    """A transaction's marker: one record, 78 bytes. Source: EndTxnMarker, ControlRecordType."""
    key = struct.pack(">hh", 0, 1 if commit else 0)
    value = struct.pack(">hi", 0, coordinator_epoch)
    record = encode_record(0, 0, key, value, ())
    return _assemble(
        base_offset,
        leader_epoch,
        _TRANSACTIONAL | _CONTROL,
        0,
        timestamp_ms,
        timestamp_ms,
        producer_id,
        producer_epoch,
        -1,
        1,
        record,
    )


def _assemble(
    base_offset: int,
    leader_epoch: int,
    attributes: int,
    last_offset_delta: int,
    base_timestamp: int,
    max_timestamp: int,
    producer_id: int,
    producer_epoch: int,
    base_sequence: int,
    record_count: int,
    records: bytes,
) -> bytes:
    after = (
        _AFTER_CRC.pack(
            attributes,
            last_offset_delta,
            base_timestamp,
            max_timestamp,
            producer_id,
            producer_epoch,
            base_sequence,
            record_count,
        )
        + records
    )
    length = HEADER_SIZE - _LENGTH_OVERHEAD + len(records)
    return struct.pack(">qiibI", base_offset, length, leader_epoch, MAGIC, crc32c(after)) + after


# --- records ---


def _zigzag(value: int) -> bytes:
    value = value << 1 if value >= 0 else (-value << 1) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_zigzag(buffer: bytes, position: int, bits: int = 32) -> tuple[int, int]:
    value = buffer[position]
    position += 1
    if value > 127:
        value &= 127
        shift = 7
        while True:
            byte = buffer[position]
            position += 1
            value |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
            if shift >= bits:
                raise DecodeError("a varint of a record is too long")
        if value >> bits:
            raise DecodeError(f"a varint of a record does not fit into {bits} bits")
    return (value >> 1) ^ -(value & 1), position


def encode_record(
    timestamp_delta: int,
    offset_delta: int,
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[Header],
) -> bytes:
    """One record as it lies in a batch."""
    body = bytearray(b"\0")
    body += _zigzag(timestamp_delta)
    body += _zigzag(offset_delta)
    for part in (key, value):
        body += _zigzag(-1 if part is None else len(part))
        body += part or b""
    body += _zigzag(len(headers))
    for name, content in headers:
        raw = name.encode()
        body += _zigzag(len(raw)) + raw
        body += _zigzag(-1 if content is None else len(content)) + (content or b"")
    return _zigzag(len(body)) + bytes(body)


def build_batch(
    records: Sequence[tuple[int, bytes | None, bytes | None]] | Sequence[Record],
    *,
    base_offset: int = 0,
    leader_epoch: int = -1,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
    is_transactional: bool = False,
    compression: int = 0,
) -> bytes:
    """A batch of (timestamp, key, value) or of Records, offsets counting up from `base_offset`."""
    normal = [
        record if isinstance(record, Record) else Record(0, record[0], record[1], record[2])
        for record in records
    ]
    base_timestamp = normal[0].timestamp
    max_timestamp = max(record.timestamp for record in normal)
    body = b"".join(
        encode_record(record.timestamp - base_timestamp, delta, record.key, record.value, record.headers)
        for delta, record in enumerate(normal)
    )
    if compression:
        body = compress(compression, body)
    attributes = compression | (_TRANSACTIONAL if is_transactional else 0)
    return _assemble(
        base_offset,
        leader_epoch,
        attributes,
        len(normal) - 1,
        base_timestamp,
        max_timestamp,
        producer_id,
        producer_epoch,
        base_sequence,
        len(normal),
        body,
    )


def compacted_batch(records: Sequence[Record], leader_epoch: int) -> bytes:
    """A batch of records with ascending offsets, between which others may have been."""
    first, last = records[0], records[-1]
    body = b"".join(
        encode_record(
            record.timestamp - first.timestamp,
            record.offset - first.offset,
            record.key,
            record.value,
            record.headers,
        )
        for record in records
    )
    return _assemble(
        first.offset,
        leader_epoch,
        0,
        last.offset - first.offset,
        first.timestamp,
        max(record.timestamp for record in records),
        NO_PRODUCER_ID,
        -1,
        -1,
        len(records),
        body,
    )


def iterate_batches(buffer: Buffer) -> Iterator[tuple[BatchHeader, Buffer]]:
    """Every complete batch of a buffer; a partial one at its end is left out."""
    position = 0
    while len(buffer) - position >= HEADER_SIZE:
        header = parse_batch_header(buffer, position)
        if header.batch_length < HEADER_SIZE - _LENGTH_OVERHEAD:
            raise DecodeError("a record batch is shorter than its header")
        if position + header.size > len(buffer):
            return
        yield header, buffer[position : position + header.size]
        position += header.size


def iterate_records(batch: Buffer, limit_bytes: int = DECOMPRESSED_BYTES_MAX) -> Iterator[Record]:
    """The records of one batch, decompressed within `limit_bytes`. Raises DecodeError for malformed ones."""
    header = parse_batch_header(batch)
    if header.magic != MAGIC:
        raise DecodeError(f"a batch of magic {header.magic} is no record batch")
    if not HEADER_SIZE <= header.size <= len(batch):
        raise DecodeError("a record batch is not as long as it says")
    body = bytes(batch[HEADER_SIZE : header.size])
    if header.compression:
        body = decompress(header.compression, body, limit_bytes)
    position = 0
    for _ in range(header.record_count):
        try:
            record, position = _read_record(body, position, header)
        except (IndexError, UnicodeDecodeError) as error:
            raise DecodeError(f"a record is malformed: {error}") from None
        yield record
    if position != len(body):
        raise DecodeError("bytes follow the last record of a batch")


def unpack_in_steps(
    batch: Buffer, header: BatchHeader, limit_bytes: int = DECOMPRESSED_BYTES_MAX
) -> Generator[None, None, bytes]:
    """The bytes of a batch's records, with a pause after each megabyte that they decompress to.

    Pauses come after many small pieces, too: what each of them costs beside its bytes is counted.
    """
    body = bytes(batch[HEADER_SIZE : header.size])
    if not header.compression:
        return body
    pieces = []
    since_pause_bytes = 0
    for piece in decompress_in_pieces(header.compression, body, limit_bytes):
        pieces.append(piece)
        since_pause_bytes += len(piece) + PIECE_COST_BYTES
        if since_pause_bytes >= PIECE_BYTES:
            since_pause_bytes = 0
            yield
    return b"".join(pieces)


class RecordHead(NamedTuple):
    """What a record begins with; offset and timestamp are absolute."""

    offset: int
    timestamp: int
    has_key: bool


def iterate_heads(header: BatchHeader, body: bytes) -> Iterator[RecordHead]:
    """How each record of a batch begins; the rest, which may be thousands of headers, is passed over.

    body: as `unpack_in_steps` gives it. Raises DecodeError for records that don't follow one another.
    """
    base_offset, base_timestamp = header.base_offset, header.base_timestamp
    appended_at = header.max_timestamp if header.is_log_append_time else None
    position = 0
    for _ in range(header.record_count):
        try:
            length, position = _read_zigzag(body, position)
            end = position + length
            timestamp_delta, position = _read_zigzag(body, position + 1, 64)
            offset_delta, position = _read_zigzag(body, position)
            key_length, position = _read_zigzag(body, position)
        except IndexError:
            raise DecodeError("a record is cut short") from None
        if end > len(body) or key_length < -1 or position + max(key_length, 0) > end:
            raise DecodeError("a record is longer than its batch, or its key than the record")
        timestamp = base_timestamp + timestamp_delta if appended_at is None else appended_at
        yield RecordHead(base_offset + offset_delta, timestamp, key_length >= 0)
        position = end
    if position != len(body):
        raise DecodeError("bytes follow the last record of a batch")


def _read_record(body: bytes, position: int, header: BatchHeader) -> tuple[Record, int]:
    length, position = _read_zigzag(body, position)
    end = position + length
    if length < 0 or end > len(body):
        raise DecodeError("a record is longer than its batch")
    position += 1
    timestamp_delta, position = _read_zigzag(body, position, 64)
    offset_delta, position = _read_zigzag(body, position)
    key, position = _read_bytes(body, position, end)
    value, position = _read_bytes(body, position, end)
    count, position = _read_zigzag(body, position)
    if count < 0 or count > end - position:
        raise DecodeError("a record cannot have that many headers")
    headers = []
    for _ in range(count):
        name, position = _read_bytes(body, position, end)
        if name is None:
            raise DecodeError("a record header has no key")
        content, position = _read_bytes(body, position, end)
        headers.append((name.decode(), content))
    if position != end:
        raise DecodeError("a record is not as long as it says")
    timestamp = header.max_timestamp if header.is_log_append_time else header.base_timestamp + timestamp_delta
    return Record(header.base_offset + offset_delta, timestamp, key, value, tuple(headers)), end


def _read_bytes(body: bytes, position: int, end: int) -> tuple[bytes | None, int]:
    length, position = _read_zigzag(body, position)
    if length < 0:
        if length != -1:
            raise DecodeError("a negative length in a record")
        return None, position
    if position + length > end:
        raise DecodeError("a field of a record is longer than the record")
    return body[position : position + length], position + length


def encode_records(records: Iterable[Record]) -> bytes:
    """Records one after the other, as they lie uncompressed in a batch of their own."""
    return b"".join(
        encode_record(record.timestamp, record.offset, record.key, record.value, record.headers)
        for record in records
    )
