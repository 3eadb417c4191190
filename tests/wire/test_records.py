"""Record batches against the builders and readers of kio, kafka-python and aiokafka, in every compression."""

from __future__ import annotations

import datetime
import io
import struct
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka.record.default_records import (
    DefaultRecordBatch as AiokafkaBatch,
)
from aiokafka.record.default_records import (
    DefaultRecordBatchBuilder as AiokafkaBuilder,
)
from hypothesis import given
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch as KafkaPythonBatch
from kafka.record.default_records import DefaultRecordBatchBuilder as KafkaPythonBuilder
from kio.records import readers as kio_readers
from kio.records import writers as kio_writers
from kio.records.schema import NewRecordBatch, RecordHeader
from kio.records.schema import Record as KioRecord

from oncelog.wire import compression
from oncelog.wire.definition import DecodeError
from oncelog.wire.records import (
    HEADER_SIZE,
    Record,
    RecordHead,
    batch_crc_is_valid,
    build_batch,
    control_batch,
    encode_record,
    encode_records,
    iterate_batches,
    iterate_heads,
    iterate_records,
    parse_batch_header,
    stamp,
    unpack_in_steps,
    with_log_append_time,
)
from tests.support import batches as independent
from tests.wire.generating import generated

NOW_MS = 1_700_000_000_000
CODECS = list(compression.NAMES)
each_codec = pytest.mark.parametrize("codec", CODECS, ids=list(compression.NAMES.values()))

RECORDS = [
    Record(0, NOW_MS, b"key", b"value", (("header", b"content"), ("null", None), ("é", b""))),
    Record(1, NOW_MS + 5, None, b"v" * 300),
    Record(2, NOW_MS - 1000, b"", None),
    Record(3, NOW_MS + 70_000, b"k" * 70_000, b""),
]

some_records = st.lists(
    st.tuples(
        st.integers(0, 1 << 41),
        st.none() | st.binary(max_size=20) | st.just(bytes(64)) | st.just(bytes(9000)),
        st.none() | st.binary(max_size=200),
        st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=5)), max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=5,
).map(lambda parts: [Record(offset, *part) for offset, part in enumerate(parts)])


def as_records(batch: Any) -> list[Record]:
    """What another implementation reads."""
    return [
        Record(each.offset, each.timestamp, each.key, each.value, tuple(tuple(pair) for pair in each.headers))
        for each in batch
    ]


def build_elsewhere(builder: Any, records: Sequence[Record], codec: int, **producer: Any) -> bytes:
    built = builder(
        magic=2,
        compression_type=codec,
        is_transactional=producer.get("is_transactional", False),
        producer_id=producer.get("producer_id", -1),
        producer_epoch=producer.get("producer_epoch", -1),
        base_sequence=producer.get("base_sequence", -1),
        batch_size=1 << 24,
    )
    for record in records:
        assert built.append(record.offset, record.timestamp, record.key, record.value, list(record.headers))
    return bytes(built.build())


# --- both ways ---


@each_codec
@pytest.mark.parametrize("reader", [KafkaPythonBatch, AiokafkaBatch], ids=["kafka-python", "aiokafka"])
def test_others_read_ours(codec: int, reader: Any) -> None:
    batch = build_batch(RECORDS, compression=codec)
    read = reader(batch)
    assert read.validate_crc()
    assert as_records(read) == RECORDS


@each_codec
@pytest.mark.parametrize("builder", [KafkaPythonBuilder, AiokafkaBuilder], ids=["kafka-python", "aiokafka"])
def test_we_read_others(codec: int, builder: Any) -> None:
    producer = {"producer_id": 77, "producer_epoch": 3, "base_sequence": 9, "is_transactional": True}
    batch = build_elsewhere(builder, RECORDS, codec, **producer)
    header = parse_batch_header(batch)
    assert header.size == len(batch)
    assert header.magic == 2
    assert header.compression == codec
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (77, 3, 9)
    assert header.is_transactional
    assert not header.is_control
    assert not header.is_log_append_time
    assert (header.record_count, header.last_offset_delta) == (4, 3)
    assert (header.base_timestamp, header.max_timestamp) == (NOW_MS, NOW_MS + 70_000)
    assert batch_crc_is_valid(batch, header)
    assert list(iterate_records(batch)) == RECORDS
    assert list(iterate_records(memoryview(batch))) == RECORDS


@generated(30)
@given(records=some_records, is_transactional=st.booleans())
def test_same_bytes_as_kafka_python(records: list[Record], is_transactional: bool) -> None:
    producer = {"producer_id": 5, "producer_epoch": 0, "base_sequence": 1 << 30}
    ours = build_batch(records, is_transactional=is_transactional, leader_epoch=0, **producer)
    theirs = build_elsewhere(KafkaPythonBuilder, records, 0, is_transactional=is_transactional, **producer)
    assert ours == theirs
    assert list(iterate_records(ours)) == records


@generated(30)
@given(records=some_records)
def test_same_bytes_as_kio(records: list[Record]) -> None:
    # kio computes times with floats, which lose milliseconds: whole seconds only.
    records = [record._replace(timestamp=record.timestamp // 1000 * 1000) for record in records]
    ours = build_batch(records, producer_id=5, producer_epoch=1, base_sequence=2, leader_epoch=0)
    new = NewRecordBatch(
        producer_id=5,
        producer_epoch=1,
        base_sequence=2,
        attributes=0,
        records=tuple(_kio_record(record) for record in records),
    )
    buffer = io.BytesIO()
    kio_writers.write_batch(buffer, new)
    # kio's writer takes its last record's timestamp for the newest; what it says there isn't compared.
    header = parse_batch_header(buffer.getvalue())
    if header.max_timestamp == parse_batch_header(ours).max_timestamp:
        assert buffer.getvalue() == ours
    read, size = kio_readers.read_batch(ours, 0)
    assert size == len(ours)
    assert read.records == new.records
    assert read.crc == parse_batch_header(ours).crc


def _kio_record(record: Record) -> KioRecord:
    return KioRecord(
        attributes=0,
        timestamp=datetime.datetime.fromtimestamp(0, datetime.UTC)
        + datetime.timedelta(milliseconds=record.timestamp),
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=tuple(RecordHeader(key=name.encode(), value=content) for name, content in record.headers),
    )


@generated(20)
@given(records=some_records, codec=st.sampled_from(CODECS), base_offset=st.integers(0, 1 << 50))
def test_what_is_built_is_read(records: list[Record], codec: int, base_offset: int) -> None:
    batch = build_batch(records, base_offset=base_offset, compression=codec)
    expected = [record._replace(offset=base_offset + record.offset) for record in records]
    assert list(iterate_records(batch)) == expected
    assert batch_crc_is_valid(batch, parse_batch_header(batch))
    assert heads_of(batch) == [
        RecordHead(record.offset, record.timestamp, record.key is not None) for record in expected
    ]


def heads_of(batch: bytes) -> list[RecordHead]:
    header = parse_batch_header(batch)
    return list(iterate_heads(header, unpacked(batch)[0]))


def unpacked(batch: bytes) -> tuple[bytes, int]:
    """The bytes of its records, and how often it paused."""
    steps = unpack_in_steps(batch, parse_batch_header(batch))
    pauses = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value, pauses
        pauses += 1


def test_tuples_are_records_without_headers() -> None:
    batch = build_batch([(NOW_MS, b"k", b"v")])
    assert list(iterate_records(batch)) == [Record(0, NOW_MS, b"k", b"v")]


def test_extremes_of_timestamps_and_offsets() -> None:
    for timestamp in (-(1 << 63), -1, 0, (1 << 63) - 1):
        first = Record(0, 0, None, None)
        body = encode_record(timestamp, (1 << 31) - 1, None, None, ())
        batch = independent.batch([None], timestamps_ms=[0], records=body)
        assert list(iterate_records(batch)) == [first._replace(offset=(1 << 31) - 1, timestamp=timestamp)]


def test_records_one_after_the_other() -> None:
    assert encode_records(RECORDS[:2]) == b"".join(
        encode_record(record.timestamp, record.offset, record.key, record.value, record.headers)
        for record in RECORDS[:2]
    )


# --- batches as the broker handles them ---


@pytest.mark.parametrize("is_commit", [True, False], ids=["commit", "abort"])
def test_a_marker_is_78_bytes_that_others_read(is_commit: bool) -> None:
    marker = control_batch(42, 0, 77, 3, NOW_MS, is_commit, 5)
    assert len(marker) == 78
    header = parse_batch_header(marker)
    assert header.is_control
    assert header.is_transactional
    assert (header.base_offset, header.base_sequence, header.record_count) == (42, -1, 1)
    assert batch_crc_is_valid(marker, header)
    read = KafkaPythonBatch(marker)
    assert read.is_control_batch
    assert read.validate_crc()
    (record,) = read
    assert (record.version, record.commit, record.abort) == (0, is_commit, not is_commit)
    assert record.offset == 42
    assert record.timestamp == NOW_MS
    assert record.value == struct.pack(">hi", 0, 5)


def test_stamping_leaves_the_checksum_valid() -> None:
    batch = build_batch(RECORDS, producer_id=1, producer_epoch=0, base_sequence=0)
    head, rest = stamp(memoryview(batch), 1 << 40, 6)
    assert len(head) == 16
    assert isinstance(rest, memoryview)
    stamped = head + bytes(rest)
    header = parse_batch_header(stamped)
    assert (header.base_offset, header.partition_leader_epoch) == (1 << 40, 6)
    assert batch_crc_is_valid(stamped, header)
    assert [record.offset for record in iterate_records(stamped)] == [(1 << 40) + n for n in range(4)]
    assert KafkaPythonBatch(stamped).validate_crc()


@each_codec
def test_log_append_time_counts_for_all_records(codec: int) -> None:
    batch = with_log_append_time(build_batch(RECORDS, compression=codec), NOW_MS + 99)
    header = parse_batch_header(batch)
    assert header.is_log_append_time
    assert header.compression == codec
    assert batch_crc_is_valid(batch, header)
    assert {record.timestamp for record in iterate_records(batch)} == {NOW_MS + 99}
    read = KafkaPythonBatch(batch)
    assert read.validate_crc()
    assert {record.timestamp for record in read} == {NOW_MS + 99}


def test_batches_one_after_the_other_and_a_partial_one() -> None:
    first, second = build_batch(RECORDS[:1]), build_batch(RECORDS[:2], base_offset=1)
    both = first + second
    for rest in (b"", second[:60], second[:61], second[:-1]):
        found = list(iterate_batches(memoryview(both + rest)))
        assert [bytes(batch) for _, batch in found] == [first, second]
        assert [header.base_offset for header, _ in found] == [0, 1]


# --- what is wrong with a batch ---


def test_a_flipped_bit_is_noticed() -> None:
    batch = build_batch(RECORDS[:1])
    for position in range(17, len(batch)):
        spoilt = bytearray(batch)
        spoilt[position] ^= 0x10
        assert not batch_crc_is_valid(bytes(spoilt), parse_batch_header(spoilt)), position


def test_shorter_than_a_header() -> None:
    batch = build_batch(RECORDS[:1])
    for size in range(HEADER_SIZE):
        with pytest.raises(DecodeError):
            parse_batch_header(batch[:size])
    for size in range(len(batch)):
        with pytest.raises(DecodeError):
            list(iterate_records(batch[:size]))


@pytest.mark.parametrize("length", [-(1 << 31), -70, -12, -1, 0, 48])
def test_absurd_batch_lengths(length: int) -> None:
    batch = independent.batch([b"v"], batch_length=length)
    with pytest.raises(DecodeError):
        list(iterate_records(batch))
    with pytest.raises(DecodeError):
        list(iterate_batches(batch))


def test_a_negative_length_does_not_count_from_the_end() -> None:
    with pytest.raises(DecodeError):
        list(iterate_records(independent.batch([b"v"], batch_length=-20) + bytes(8)))


@pytest.mark.parametrize("magic", [0, 1, 3])
def test_other_formats_are_not_read_as_this_one(magic: int) -> None:
    with pytest.raises(DecodeError, match=f"magic {magic}"):
        list(iterate_records(independent.batch([b"v"], magic=magic)))


def varint(value: int) -> bytes:
    return independent.varint(value)


def one_record(body: bytes, length: int | None = None) -> bytes:
    return varint(len(body) if length is None else length) + body


@pytest.mark.parametrize(
    "records",
    [
        pytest.param(b"", id="none"),
        pytest.param(one_record(b"\0\0\0\1\1\0", -1), id="negative length"),
        pytest.param(one_record(b"\0\0\0\1\1\0", 1 << 30), id="longer than the batch"),
        pytest.param(one_record(b"\0\0\0\1\1\0", 5), id="shorter than its fields"),
        pytest.param(one_record(b"\0\0\0\1\1\0\0"), id="longer than its fields"),
        pytest.param(one_record(b"\0\0\0\1\1\0") + b"\0", id="bytes behind the last"),
        pytest.param(one_record(b"\0\0\0" + varint(-2) + b"\1\0"), id="key of length -2"),
        pytest.param(one_record(b"\0\0\0" + varint(9) + b"k\1\0"), id="key too long"),
        pytest.param(one_record(b"\0\0\0\1" + varint(1 << 30) + b"\0"), id="value too long"),
        pytest.param(one_record(b"\0\0\0\1\1" + varint(-1)), id="-1 headers"),
        pytest.param(one_record(b"\0\0\0\1\1" + varint(1 << 30)), id="very many headers"),
        pytest.param(one_record(b"\0\0\0\1\1\2\1\1"), id="a header without key"),
        pytest.param(one_record(b"\0\0\0\1\1\2\2\xff\1"), id="a header's key is not UTF-8"),
        pytest.param(one_record(b"\0\0" + b"\xff" * 5 + b"\1\1\0"), id="offset in six bytes"),
        pytest.param(one_record(b"\0\0\xff\xff\xff\xff\x1f\1\1\0"), id="offset of 33 bits"),
        pytest.param(one_record(b"\0" + b"\xff" * 9 + b"\3" + b"\0\1\1\0"), id="timestamp of 65 bits"),
        pytest.param(one_record(b"\0" + b"\x80" * 10 + b"\0" + b"\0\1\1\0"), id="timestamp in 11 bytes"),
    ],
)
def test_malformed_records(records: bytes) -> None:
    with pytest.raises(DecodeError):
        list(iterate_records(independent.batch([b"v"], timestamps_ms=[0], records=records)))


def test_a_good_record_in_the_same_form() -> None:
    """What the malformed ones are derived from."""
    batch = independent.batch([b"v"], timestamps_ms=[7], records=one_record(b"\0\0\0\1\1\0"))
    assert list(iterate_records(batch)) == [Record(0, 7, None, None)]


@pytest.mark.parametrize("count", [-1, 0, 2, (1 << 31) - 1])
def test_another_count_than_there_are_records(count: int) -> None:
    with pytest.raises(DecodeError):
        list(iterate_records(independent.batch([b"v"], record_count=count)))


@pytest.mark.parametrize(
    "records",
    [
        pytest.param(b"", id="none"),
        pytest.param(b"\x10\0\0\0\1\1\0", id="longer than the batch"),
        pytest.param(one_record(b"\0\0\0\1\1\0") + b"\0", id="bytes behind the last"),
        pytest.param(one_record(b"\0\0\0" + varint(-2) + b"\1\0"), id="key of length -2"),
        pytest.param(one_record(b"\0\0\0" + varint(9) + b"k\1\0"), id="key too long"),
        pytest.param(varint(-1) + b"\0\0\0\1\1\0", id="negative length"),
        pytest.param(one_record(b"\0\0" + b"\xff" * 5 + b"\1\1\0"), id="offset in six bytes"),
    ],
)
def test_heads_of_malformed_records(records: bytes) -> None:
    with pytest.raises(DecodeError):
        heads_of(independent.batch([b"v"], timestamps_ms=[0], records=records))


def test_heads_have_nothing_to_do_with_what_follows_them() -> None:
    """Headers of a record may be thousands, or wrong."""
    record = one_record(b"\0\0\0\2k\1" + varint(1 << 20))
    assert heads_of(independent.batch([b"v"], timestamps_ms=[7], records=record)) == [RecordHead(0, 7, True)]


# --- compression ---

each_real_codec = pytest.mark.parametrize("codec", CODECS[1:], ids=list(compression.NAMES.values())[1:])


@each_real_codec
def test_decompression_stops_at_its_limit(codec: int) -> None:
    packed = compression.compress(codec, bytes(100_000))
    assert compression.decompress(codec, packed, 100_000) == bytes(100_000)
    with pytest.raises(DecodeError, match="more than 99999 bytes"):
        compression.decompress(codec, packed, 99_999)
    with pytest.raises(DecodeError, match="more than 1000 bytes"):
        list(iterate_records(build_batch(RECORDS, compression=codec), limit_bytes=1000))


@each_real_codec
def test_unpacking_pauses_at_each_megabyte(codec: int) -> None:
    values = bytes(5 << 20)
    batch = build_batch([(0, b"k", values)], compression=codec)
    body, pauses = unpacked(batch)
    assert list(iterate_records(batch)) == [Record(0, 0, b"k", values)]
    assert len(body) > len(values)
    assert 4 <= pauses <= 6


def test_unpacking_pauses_among_pieces_without_a_byte() -> None:
    empty_blocks = b"\x82SNAPPY\0" + struct.pack(">ii", 1, 1) + b"\0\0\0\1\0" * 10_000
    batch = independent.batch([b"v"], attributes=compression.SNAPPY, records=empty_blocks)
    body, pauses = unpacked(batch)
    assert (body, pauses >= 9) == (b"", True)


@each_real_codec
def test_spoilt_compressed_bytes(codec: int) -> None:
    packed = compression.compress(codec, b"something that is compressed " * 20)
    for size in range(len(packed)):
        if codec == compression.SNAPPY and size == 16:
            continue  # the header alone is a stream of no blocks
        with pytest.raises(DecodeError):
            compression.decompress(codec, packed[:size], 10_000)
    for position in range(len(packed)):
        spoilt = packed[:position] + bytes((packed[position] ^ 0xFF,)) + packed[position + 1 :]
        try:
            compression.decompress(codec, spoilt, 10_000)
        except DecodeError:
            continue
    for garbage in (b"", b"\0", b"\xff" * 50, bytes(50)):
        if codec == compression.SNAPPY and garbage == b"\0":
            continue  # a raw block of no bytes
        with pytest.raises(DecodeError):
            compression.decompress(codec, garbage, 10_000)


@pytest.mark.parametrize("codec", [compression.GZIP, compression.LZ4, compression.ZSTD])
def test_several_frames_are_one_stream(codec: int) -> None:
    frame = compression.compress(codec, b"abc")
    assert compression.decompress(codec, frame * 3, 9) == b"abcabcabc"
    with pytest.raises(DecodeError, match="more than 8 bytes"):
        compression.decompress(codec, frame * 3, 8)
    with pytest.raises(DecodeError, match="too many frames"):
        compression.decompress(codec, frame * 65, 1000)
    with pytest.raises(DecodeError):
        compression.decompress(codec, frame + b"garbage", 1000)


def test_a_raw_snappy_block_is_read_too() -> None:
    """librdkafka and others send one raw block without the framing of xerial's library."""
    import cramjam

    block = bytes(cramjam.snappy.compress_raw(b"abc" * 100))
    assert compression.decompress(compression.SNAPPY, block, 300) == b"abc" * 100
    with pytest.raises(DecodeError):
        compression.decompress(compression.SNAPPY, block, 299)


def test_absurd_snappy_lengths() -> None:
    framed = compression.compress(compression.SNAPPY, b"abc")
    for length in (-1, 0x7FFFFFFF):
        with pytest.raises(DecodeError):
            compression.decompress(
                compression.SNAPPY, framed[:16] + struct.pack(">i", length) + framed[20:], 100
            )
    # A block that announces 4 GB.
    with pytest.raises(DecodeError):
        compression.decompress(compression.SNAPPY, b"\xff\xff\xff\xff\x0f" + bytes(20), 10_000)


@pytest.mark.parametrize("codec", [5, 6, 7])
def test_codecs_that_do_not_exist(codec: int) -> None:
    with pytest.raises(DecodeError):
        list(iterate_records(independent.batch([b"v"], attributes=codec)))
    with pytest.raises(ValueError, match="there is no codec"):
        compression.compress(codec, b"")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(module: str) -> Any:
        raise ImportError(module)

    monkeypatch.setattr("importlib.import_module", absent)
    for codec in (compression.SNAPPY, compression.LZ4, compression.ZSTD):
        with pytest.raises(compression.CodecMissing, match=r"pip install 'oncelog\[compression\]'"):
            compression.decompress(codec, b"x", 10)
