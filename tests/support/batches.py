"""Record batches for tests, written out field by field so that any of them can be wrong on purpose.

Knows the batch format and nothing else; independent of oncelog.wire, which it helps to test.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence

import google_crc32c

SEQUENCE_MAX = 2**31 - 1
TRANSACTIONAL, CONTROL, LOG_APPEND_TIME = 0x10, 0x20, 0x08


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def varint(number: int) -> bytes:
    """Zig-zag and seven bits a byte, as inside of records."""
    left = (number << 1) ^ (number >> 63)
    written = bytearray()
    while left > 0x7F:
        written.append(left & 0x7F | 0x80)
        left >>= 7
    written.append(left)
    return bytes(written)


def varint_bytes(data: bytes | None) -> bytes:
    return varint(-1) if data is None else varint(len(data)) + data


def record(
    value: bytes | None,
    *,
    key: bytes | None = None,
    headers: Sequence[tuple[bytes, bytes | None]] = (),
    offset_delta: int = 0,
    timestamp_delta: int = 0,
) -> bytes:
    body = b"\0" + varint(timestamp_delta) + varint(offset_delta) + varint_bytes(key) + varint_bytes(value)
    body += varint(len(headers)) + b"".join(varint_bytes(name) + varint_bytes(each) for name, each in headers)
    return varint(len(body)) + body


def batch(
    values: Sequence[bytes | None] = (b"value",),
    *,
    producer_id: int = -1,
    epoch: int = -1,
    sequence: int = -1,
    transactional: bool = False,
    attributes: int = 0,
    key: bytes | None = None,
    timestamps_ms: Sequence[int] | None = None,
    base_offset: int = 0,
    leader_epoch: int = -1,
    magic: int = 2,
    record_count: int | None = None,
    last_offset_delta: int | None = None,
    batch_length: int | None = None,
    records: bytes | None = None,
    crc_xor: int = 0,
) -> bytes:
    """A batch as a client sends it, right unless told otherwise.

    timestamps_ms: one per value (default: now). records: the records section as it is, instead of the values.
    crc_xor: what to spoil the checksum with; unspoilt, it is that of the bytes as they are, wrong or not.
    """
    times = list(timestamps_ms) if timestamps_ms is not None else [now_ms()] * len(values)
    base_timestamp_ms = times[0] if times else -1
    if records is None:
        records = b"".join(
            record(value, key=key, offset_delta=place, timestamp_delta=times[place] - base_timestamp_ms)
            for place, value in enumerate(values)
        )
    summed = struct.pack(
        ">hiqqqhii",
        attributes | (TRANSACTIONAL if transactional else 0),
        len(values) - 1 if last_offset_delta is None else last_offset_delta,
        base_timestamp_ms,
        max(times, default=-1),
        producer_id,
        epoch,
        sequence,
        len(values) if record_count is None else record_count,
    )
    summed += records
    crc = google_crc32c.value(summed) ^ crc_xor
    length = 9 + len(summed) if batch_length is None else batch_length
    return struct.pack(">qiibI", base_offset, length, leader_epoch, magic, crc) + summed
