"""Bytes that nobody should send: each is a DecodeError, whatever is wrong, and costs little memory."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc

import pytest

from oncelog.wire.codec import TAG_BYTES_MAX, TAGS_MAX, decode_bounded, uvarint
from oncelog.wire.definition import (
    DecodeError,
    Message,
    Struct,
    WireError,
    array,
    bool_,
    bytes_,
    field,
    int16,
    int32,
    int64,
    records,
    string,
    uuid,
)
from tests.wire.catalogue import EVERY_VERSION, MESSAGES, each_version
from tests.wire.generating import full


class Inner(Struct):
    number: int = field(int16)


class Sample(Message, api_key=4711, versions="0-1", flexible="1+"):
    """One of each type; v1 is flexible."""

    text: str = field(string)
    maybe_text: str | None = field(string, nullable="0+")
    data: bytes = field(bytes_)
    batch: bytes | memoryview | None = field(records, nullable="0+")
    numbers: list[int] = field(array(int64))
    ids: list[bytes] = field(array(uuid))
    texts: list[str] = field(array(string))
    inners: list[Inner] = field(array(Inner))
    maybe_inners: list[Inner] | None = field(array(Inner), nullable="0+")
    inner: Inner | None = field(Inner, nullable="0+", default=None)
    flag: bool = field(bool_)
    tagged: int = field(int32, versions="1+", tag=3, tagged="1+")
    tagged_text: str = field(string, versions="1+", tag=130, tagged="1+")


VALUE = Sample(
    text="t",
    maybe_text="m",
    data=b"d",
    batch=b"b",
    numbers=[1],
    ids=[bytes(range(16))],
    texts=["x"],
    inners=[Inner(number=2)],
    maybe_inners=[Inner(number=3)],
    inner=Inner(number=4),
    flag=True,
    tagged=5,
    tagged_text="z",
)

# Where the lengths lie in the encoding of VALUE, per version: (field, offset, how it is written).
LENGTHS_V0 = [
    ("text", 0, ">h"),
    ("maybe_text", 3, ">h"),
    ("data", 6, ">i"),
    ("batch", 11, ">i"),
    ("numbers", 16, ">i"),
    ("ids", 28, ">i"),
    ("texts", 48, ">i"),
    ("element of texts", 52, ">h"),
    ("inners", 55, ">i"),
    ("maybe_inners", 61, ">i"),
]
LENGTHS_V1 = [
    ("text", 0),
    ("maybe_text", 2),
    ("data", 4),
    ("batch", 6),
    ("numbers", 8),
    ("ids", 17),
    ("texts", 34),
    ("element of texts", 35),
    ("inners", 37),
    ("maybe_inners", 41),
]
NULLABLE = {"maybe_text", "batch", "maybe_inners"}
V1 = VALUE.encode(1)


def test_the_sample_lies_as_these_tests_believe() -> None:
    v0 = Sample(**{spec.name: getattr(VALUE, spec.name) for spec in Sample.fields[:-2]}).encode(0)
    for name, offset, form in LENGTHS_V0:
        assert struct.unpack_from(form, v0, offset) == (1,), name
    for name, offset in LENGTHS_V1:
        assert V1[offset] == 2, name
    assert Sample.decode(V1, 1) == VALUE


V0 = Sample(**{spec.name: getattr(VALUE, spec.name) for spec in Sample.fields[:-2]}).encode(0)


@pytest.mark.parametrize(("name", "offset", "form"), LENGTHS_V0, ids=[name for name, _, _ in LENGTHS_V0])
def test_lengths_before_compact_ones(name: str, offset: int, form: str) -> None:
    size = struct.calcsize(form)
    most = (1 << 8 * size - 1) - 1
    # 1000 elements of 2 bytes: more than are there, though fewer than the largest number.
    for length in (-2, -128, -most - 1, most, most - 1, 1000):
        data = V0[:offset] + struct.pack(form, length) + V0[offset + size :]
        with pytest.raises(DecodeError):
            Sample.decode(data, 0)
    null = V0[:offset] + struct.pack(form, -1) + V0[offset + size :]
    with pytest.raises(DecodeError, match=None if name in NULLABLE else "must not be null"):
        Sample.decode(null, 0)


@pytest.mark.parametrize(("name", "offset"), LENGTHS_V1, ids=[name for name, _ in LENGTHS_V1])
def test_compact_lengths(name: str, offset: int) -> None:
    for length in (
        uvarint(1001),
        uvarint((1 << 31) - 1),
        uvarint(1 << 31),
        uvarint((1 << 32) - 1),
        b"\xff\xff\xff\xff\x10",  # 33 bits
        b"\xff\xff\xff\xff\x7f",
        b"\x80\x80\x80\x80\x80\x00",  # six bytes
        b"\xff" * 10,
    ):
        with pytest.raises(DecodeError):
            Sample.decode(V1[:offset] + length + V1[offset + 1 :], 1)
    with pytest.raises(DecodeError, match=None if name in NULLABLE else "must not be null"):
        Sample.decode(V1[:offset] + b"\0" + V1[offset + 1 :], 1)


def test_null_is_read_where_it_is_allowed() -> None:
    """What the tests above take for an error is the byte that then follows; alone, null is one."""
    value = Sample(maybe_text=None, batch=None, maybe_inners=None, inner=None)
    for version in (0, 1):
        assert Sample.decode(value.encode(version), version) == value


@pytest.mark.parametrize(
    ("name", "offset", "form"), [("maybe_text", 2, ">h"), ("batch", 8, ">i"), ("maybe_inners", 28, ">i")]
)
def test_only_minus_one_is_null(name: str, offset: int, form: str) -> None:
    present = {"batch": b""} if name == "maybe_inners" else {}
    data = bytearray(Sample(maybe_text=None, maybe_inners=None, **present).encode(0))
    assert struct.unpack_from(form, data, offset) == (-1,)
    assert getattr(Sample.decode(bytes(data), 0), name) is None
    struct.pack_into(form, data, offset, -2)
    with pytest.raises(DecodeError, match="negative length"):
        Sample.decode(bytes(data), 0)


def test_a_longer_varint_than_needed_is_read_as_kafka_does() -> None:
    assert Sample.decode(b"\x82\x00" + V1[1:], 1) == VALUE
    assert Sample.decode(b"\x82\x80\x80\x80\x00" + V1[1:], 1) == VALUE


def test_a_struct_is_there_or_null_and_nothing_else() -> None:
    assert V1[45:46] == b"\1"
    for byte in (0, 2, 127, 128, 254):
        with pytest.raises(DecodeError, match="neither there nor null"):
            Sample.decode(V1[:45] + bytes((byte,)) + V1[46:], 1)


def test_text_must_be_utf8() -> None:
    for raw in (b"\xff", b"\xc0", b"\x80"):
        with pytest.raises(DecodeError):
            Sample.decode(V1[:1] + raw + V1[2:], 1)


def test_text_with_surrogates_is_refused() -> None:
    with pytest.raises(DecodeError):
        Sample.decode(b"\x04\xed\xa0\x80" + V1[2:], 1)


# --- tagged fields ---

BODY = V1[:50]


def test_the_body_ends_where_these_tests_believe() -> None:
    assert Sample.decode(BODY + b"\0", 1).text == "t"


def tags(*parts: tuple[int, bytes], count: int | None = None) -> bytes:
    written = b"".join(uvarint(tag) + uvarint(len(content)) + content for tag, content in parts)
    return uvarint(len(parts) if count is None else count) + written


def test_unknown_tagged_fields_are_skipped() -> None:
    known = (3, struct.pack(">i", 5)), (130, b"\2z")
    section = tags((0, b"a"), known[0], (4, b""), (5, bytes(1000)), known[1], (1 << 31, b"x"))
    assert Sample.decode(BODY + section, 1) == VALUE
    as_many_as_allowed = tags(*((200 + tag, bytes(TAG_BYTES_MAX // TAGS_MAX)) for tag in range(TAGS_MAX)))
    assert Sample.decode(BODY + as_many_as_allowed, 1).tagged == 0


@pytest.mark.parametrize(
    "section",
    [
        pytest.param(b"", id="no section"),
        pytest.param(tags(*((tag + 200, b"") for tag in range(TAGS_MAX + 1))), id="65 of them"),
        pytest.param(b"\xff\xff\xff\xff\x0f", id="absurdly many"),
        pytest.param(tags((7, b""), (7, b"")), id="one of them twice"),
        pytest.param(tags((3, bytes(4)), (3, bytes(4))), id="a known one twice"),
        pytest.param(tags((8, b""), (7, b"")), id="descending"),
        pytest.param(tags((7, b"abc"), count=2), id="fewer than announced"),
        pytest.param(tags((7, b"abc"), (8, b""), count=1), id="more than announced"),
        pytest.param(b"\1\7\4abc", id="longer than what is left"),
        pytest.param(b"\1\7\xff\xff\xff\xff\x0f", id="absurdly long"),
        pytest.param(b"\1\x80\x80\x80\x80\x80\1\0", id="a tag of six bytes"),
        pytest.param(b"\1\xff\xff\xff\xff\x1f\0", id="a tag of 33 bits"),
        pytest.param(tags((7, bytes(TAG_BYTES_MAX + 1))), id="unknown and too long"),
        pytest.param(tags((7, bytes(40_000)), (8, bytes(40_000))), id="together too long"),
        pytest.param(tags((3, bytes(3))), id="number shorter than it is"),
        pytest.param(tags((3, bytes(5))), id="number longer than it is"),
        pytest.param(tags((130, b"\2")), id="text longer than its field"),
        pytest.param(tags((130, b"\2zz")), id="text shorter than its field"),
        pytest.param(tags((130, b"\0")), id="null text"),
    ],
)
def test_malformed_tagged_fields(section: bytes) -> None:
    with pytest.raises(DecodeError):
        Sample.decode(BODY + section, 1)


# --- every API and version ---


@each_version
def test_bounded_decoding_is_decoding(message: type[Message], version: int) -> None:
    """With a budget that suffices, the same value; with none, not even one element."""
    value = full(message, version)
    data = value.encode(version)
    budget = len(data) - 1  # so that the bytes alone don't prove that there are few elements
    assert decode_bounded(message, data, version, 0, True, budget) == value
    if any(spec.type.name == "array" and version in spec.versions for spec in message.fields):
        with pytest.raises(DecodeError, match="too many elements"):
            decode_bounded(message, data, version, 0, True, 0)
    for size in range(0, len(data), 5):
        with pytest.raises(DecodeError):
            decode_bounded(message, data[:size], version, 0, True, size - 1)


@each_version
def test_every_truncation_is_noticed(message: type[Message], version: int) -> None:
    data = full(message, version).encode(version)
    for size in range(len(data)):
        with pytest.raises(DecodeError):
            message.decode(data[:size], version)
    with pytest.raises(DecodeError, match="1 bytes after its end"):
        message.decode(data + b"\0", version)
    assert message.decode(data + b"\0", version, exact=False) == message.decode(data, version)


ENDS = [(message, version) for message, version in EVERY_VERSION if version in message.versions]


@pytest.mark.parametrize(
    ("message", "version"), ENDS, ids=[f"{message.__name__}-v{version}" for message, version in ENDS]
)
def test_spoilt_bytes_are_decoded_or_refused(message: type[Message], version: int) -> None:
    """Each byte in turn is another one: no exception but DecodeError, and what decodes can be encoded."""
    data = full(message, version).encode(version)
    refused = 0
    for position in range(len(data)):
        for byte in (0x00, 0x7F, 0x80, 0xFF):
            spoilt = data[:position] + bytes((byte,)) + data[position + 1 :]
            try:
                value = message.decode(spoilt, version)
            except DecodeError:
                refused += 1
                continue
            assert message.decode(value.encode(version), version) == value
    if any(not spec.type.format for spec in message.fields if version in spec.versions):
        assert refused


def test_absurd_counts_allocate_nothing() -> None:
    """Every 4 bytes of every request in turn announce 2 billion of something."""
    tracemalloc.start()
    try:
        for message in MESSAGES:
            for version in message.versions:
                data = full(message, version).encode(version)
                for position in range(0, len(data), 3):
                    absurd = b"\xff\xff\xff\xff\x07" if message.is_flexible(version) else b"\x7f\xff\xff\xff"
                    spoilt = data[:position] + absurd + data[position + len(absurd) :]
                    tracemalloc.reset_peak()
                    before, _ = tracemalloc.get_traced_memory()
                    with contextlib.suppress(WireError):
                        message.decode(spoilt, version)
                    _, peak = tracemalloc.get_traced_memory()
                    assert peak - before < 500_000
    finally:
        tracemalloc.stop()
