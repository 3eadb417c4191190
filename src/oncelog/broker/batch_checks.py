"""What a record batch must be before the machine is asked: whole, single, of today's format, intact.

In Kafka's order and with Kafka's codes (KafkaApis, UnifiedLog.analyzeAndValidateRecords, LogValidator).
Only the header is read; the records are looked into to name those that are wrong, and for the keys that a
compacted topic needs. Must not know the broker's state.
"""

from __future__ import annotations

from collections.abc import Generator
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
    iterate_heads,
    parse_batch_header,
    unpack_in_steps,
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
RECORDS_LOOKED_AT_MAX = 4_000
"""To name those of a batch whose timestamps are wrong: its header may lie, so that none is."""
NAMED_WITHIN_BYTES = 1 << 20
"""Of an unpacked batch; what is not named is refused all the same."""
NAMED_WITHIN_STEPS = 3
"""Of unpacking: a batch may consist of very many pieces without a byte."""
STEP_RECORDS = 5_000
"""What is looked at before others have a turn, some 10 ms."""

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


class Keyed(NamedTuple):
    """What was found of a batch for a compacted topic. refused: why it is; unpacked_bytes: of its records."""

    refused: Refused | None
    unpacked_bytes: int


def check_keys_in_steps(batch: Buffer) -> Generator[None, None, Keyed]:
    """A compacted topic needs a key in every record; those without are named."""
    missing: list[BatchIndexAndErrorMessage] = []
    unpacked_bytes = 0
    try:
        header = parse_batch_header(batch)
        body = yield from unpack_in_steps(batch, header, DECOMPRESSED_BYTES_MAX)
        unpacked_bytes = len(body)
        for index, head in enumerate(iterate_heads(header, body)):
            if not head.has_key and len(missing) < RECORD_ERRORS_MAX:
                missing.append(
                    BatchIndexAndErrorMessage(
                        batch_index=index,
                        batch_index_error_message="a record of a compacted topic needs a key",
                    )
                )
            if index % STEP_RECORDS == STEP_RECORDS - 1:
                yield
    except DecodeError as damage:
        return Keyed(Refused(_CORRUPT, str(damage)), unpacked_bytes or DECOMPRESSED_BYTES_MAX)
    except CodecMissing as missing_codec:
        return Keyed(Refused(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, str(missing_codec)), 0)
    if missing:
        return Keyed(Refused(_INVALID, "records of a compacted topic need keys", missing), unpacked_bytes)
    return Keyed(None, unpacked_bytes)


def _unpacked_quickly(batch: Buffer, header: BatchHeader) -> bytes:
    """Raises DecodeError where that is not to be had at once."""
    unpacking = unpack_in_steps(batch, header, NAMED_WITHIN_BYTES)
    for _ in range(NAMED_WITHIN_STEPS):
        try:
            next(unpacking)
        except StopIteration as end:
            return bytes(end.value)
    raise DecodeError("the batch takes long to unpack")


def timestamp_errors(batch: Buffer, earliest_ms: int, latest_ms: int) -> list[BatchIndexAndErrorMessage]:
    """Name the first records whose timestamps are out of range, as far as the batch can be read quickly."""
    errors: list[BatchIndexAndErrorMessage] = []
    try:
        header = parse_batch_header(batch)
        body = _unpacked_quickly(batch, header)
        for index, head in enumerate(islice(iterate_heads(header, body), RECORDS_LOOKED_AT_MAX)):
            if not earliest_ms <= head.timestamp <= latest_ms:
                message = f"timestamp {head.timestamp} is out of range"
                errors.append(BatchIndexAndErrorMessage(batch_index=index, batch_index_error_message=message))
                if len(errors) == RECORD_ERRORS_MAX:
                    break
    except (DecodeError, CodecMissing):
        # Where it cannot be read, or is too long, those found before are named.
        pass
    return errors
