"""What a record batch must be before the machine is asked: whole, single, of today's format, intact.

In Kafka's order and with Kafka's codes (KafkaApis, UnifiedLog.analyzeAndValidateRecords, LogValidator).
Only the header is read; the records are looked into to name those that are wrong, and for the keys that a
compacted topic needs. Must not know the broker's state.
"""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

from oncelog.wire.compression import CodecMissing
from oncelog.wire.definition import DecodeError
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.produce import BatchIndexAndErrorMessage
from oncelog.wire.records import (
    HEADER_SIZE,
    BatchHeader,
    batch_crc_is_valid,
    iterate_records,
    parse_batch_header,
)

ZSTD = 4
ZSTD_FIRST_VERSION = 7
COMPRESSION_CODECS_MAX = 4
BATCH_OVERHEAD_BYTES = 12
BATCH_LENGTH_MIN = 14
PREFIX_BYTES = 17
"""What the magic byte needs to be seen."""
DECOMPRESSED_BYTES_MAX = 16 << 20
"""Of one batch that is looked into; a batch that grows larger is refused."""

RECORD_ERRORS_MAX = 100
"""Of one batch; more records may be wrong, but a few kilobytes unpack to millions of them."""
RECORDS_LOOKED_AT_MAX = 10_000
"""To find those of a batch that are wrong: its header may lie, so that none is."""

Buffer = bytes | memoryview


class Refused(NamedTuple):
    """Why a partition's records never reach the machine."""

    error: ErrorCode
    message: str | None = None
    record_errors: list[BatchIndexAndErrorMessage] = []


_CORRUPT = ErrorCode.CORRUPT_MESSAGE
_INVALID = ErrorCode.INVALID_RECORD


def check_structure(records: Buffer | None, version: int, max_message_bytes: int) -> BatchHeader | Refused:
    """The header of the one good batch in `records`, or why there is none."""
    if records is None or len(records) < PREFIX_BYTES:
        return Refused(_INVALID, "no complete record batch")
    size_bytes = BATCH_OVERHEAD_BYTES + int.from_bytes(records[8:12], "big", signed=True)
    magic = records[16]
    if size_bytes < BATCH_OVERHEAD_BYTES + BATCH_LENGTH_MIN or magic > 2:
        return Refused(_CORRUPT, "the batch's size or magic is not valid")
    if magic != 2:
        return Refused(_INVALID, "only record batches of magic 2 are accepted")
    if size_bytes > len(records):
        return Refused(_INVALID, "no complete record batch")
    if size_bytes < len(records) and _has_another_batch(records, size_bytes):
        return Refused(_INVALID, "more than one record batch")
    if size_bytes < HEADER_SIZE:
        return Refused(_CORRUPT, "the batch is shorter than its header")
    header = parse_batch_header(records)
    attributes = header.attributes
    if attributes & 0x07 == ZSTD and version < ZSTD_FIRST_VERSION:
        return Refused(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE)
    if header.base_offset != 0:
        return Refused(_INVALID, "the base offset of a new batch must be 0")
    if size_bytes > max_message_bytes:
        return Refused(ErrorCode.MESSAGE_TOO_LARGE, f"max.message.bytes is {max_message_bytes}")
    if not batch_crc_is_valid(records[:size_bytes], header):
        return Refused(_CORRUPT, "the CRC-32C does not match")
    return _check_counts(header)


def _check_counts(header: BatchHeader) -> BatchHeader | Refused:
    if header.record_count <= 0 or header.record_count != header.last_offset_delta + 1:
        return Refused(_INVALID, "the record count and the last offset do not fit")
    if header.is_control:
        return Refused(_INVALID, "clients must not write control batches")
    if header.compression > COMPRESSION_CODECS_MAX:
        return Refused(_CORRUPT, "unknown compression codec")
    if header.producer_id >= 0 and (header.base_sequence < 0 or header.producer_epoch < 0):
        return Refused(_INVALID, "a producer's batch needs an epoch and a sequence")
    if header.is_transactional and header.producer_id < 0:
        return Refused(_INVALID, "a transactional batch needs a producer id")
    return header


def _has_another_batch(records: Buffer, size_bytes: int) -> bool:
    """A second batch counts only when it is complete; Kafka's reader takes a partial one for absent."""
    rest = len(records) - size_bytes
    if rest < PREFIX_BYTES:
        return False
    next_length = int.from_bytes(records[size_bytes + 8 : size_bytes + 12], "big", signed=True)
    return BATCH_OVERHEAD_BYTES + BATCH_LENGTH_MIN <= BATCH_OVERHEAD_BYTES + next_length <= rest


def check_keys(batch: Buffer) -> Refused | None:
    """A compacted topic needs a key in every record; those without are named."""
    try:
        without_key = (
            BatchIndexAndErrorMessage(
                batch_index=index,
                batch_index_error_message="a record of a compacted topic needs a key",
            )
            for index, record in enumerate(iterate_records(batch, DECOMPRESSED_BYTES_MAX))
            if record.key is None
        )
        missing = list(islice(without_key, RECORD_ERRORS_MAX))
    except DecodeError as damage:
        return Refused(_CORRUPT, str(damage))
    except CodecMissing as missing_codec:
        return Refused(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, str(missing_codec))
    if not missing:
        return None
    return Refused(_INVALID, "records of a compacted topic need keys", missing)


def timestamp_errors(batch: Buffer, earliest_ms: int, latest_ms: int) -> list[BatchIndexAndErrorMessage]:
    """Name the first records whose timestamps are out of range; empty where the batch can't be read."""
    records = iterate_records(batch, DECOMPRESSED_BYTES_MAX)
    try:
        out_of_range = (
            BatchIndexAndErrorMessage(
                batch_index=index, batch_index_error_message=f"timestamp {record.timestamp} is out of range"
            )
            for index, record in enumerate(islice(records, RECORDS_LOOKED_AT_MAX))
            if not earliest_ms <= record.timestamp <= latest_ms
        )
        return list(islice(out_of_range, RECORD_ERRORS_MAX))
    except (DecodeError, CodecMissing):
        return []
