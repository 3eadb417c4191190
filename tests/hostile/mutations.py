"""Spoiling a frame where it hurts: lengths, counts, varints, tags, texts, versions, inside record batches.

Takes the segments of a good frame and gives back bytes. Must not know sockets or single APIs.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from functools import cache

import google_crc32c

from oncelog.wire.codec import uvarint
from tests.hostile.segments import (
    BYTES,
    FIXED,
    KEY,
    LENGTH,
    MARK,
    RECORDS,
    TAG_COUNT,
    TEXT,
    VARINT_LENGTH,
    VERSION,
    Segment,
    joined,
)

EDGES = (-(2**63), -(2**31), -32768, -129, -2, -1, 0, 1, 2, 127, 128, 255, 32767, 65535, 2**31 - 1, 2**63 - 1)
VARINTS = (
    b"",
    b"\0",
    b"\x01",
    b"\x02",
    b"\x7f",
    b"\x80\x01",
    b"\x80\0",
    b"\x80\x80\x80\x80\0",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\x7f",
    b"\x80\x80\x80\x80\x08",
    b"\xff" * 5,
    b"\xff" * 10 + b"\x01",
)
TEXTS = (
    b"",
    b"\0",
    b"\xff\xfe",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"../../etc/passwd",
    b".",
    b"..",
    b"__consumer_offsets",
    b"\n2026-01-01 ERROR forged line\r\n",
    b"\x1b[31mred",
    "\u202eright to left \U0001f4a5".encode(),
    b"%s%n%x{0}",
    b"a" * 249,
    b"a" * 250,
    b"n" * 32767,
)
"""A fixed set, so that the topics, groups and ids that they may create are few."""

Mutation = Callable[[random.Random, list[Segment]], None]


def _pick(draw: random.Random, segments: list[Segment], kinds: tuple[str, ...]) -> int:
    places = [place for place, each in enumerate(segments) if each.kind in kinds]
    return draw.choice(places) if places else -1


def _lengths(draw: random.Random, segments: list[Segment]) -> None:
    """A length or count says something else than what follows."""
    place = _pick(draw, segments, (LENGTH, VARINT_LENGTH, TAG_COUNT, MARK))
    segment = segments[place]
    if place < 0 or not segment.data:
        _flips(draw, segments)
        return
    if segment.kind == LENGTH:
        size = len(segment.data)
        real = int.from_bytes(segment.data, "big", signed=True)
        value = draw.choice((real + 1, real - 1, real * 2 + 1, *EDGES))
        data = (value % (1 << 8 * size)).to_bytes(size, "big")
    elif draw.random() < 0.5:
        data = draw.choice(VARINTS)
    else:
        data = uvarint(max(0, segment.data[0] + draw.choice((-1, 1, 2, 20))))
    segments[place] = Segment(segment.kind, data)


def _tags(draw: random.Random, segments: list[Segment]) -> None:
    """Tagged fields that nobody knows: some, too many, too long, out of order, twice."""
    place = _pick(draw, segments, (TAG_COUNT,))
    if place < 0:
        _lengths(draw, segments)
        return
    count = draw.choice((1, 2, 3, 63, 64, 65, 200, 20_000))
    first = draw.choice((0, 1, 10, 2**31))
    step = draw.choice((1, 1, 1, 0, -1))
    size = draw.choice((0, 0, 1, 5)) if count > 3 else draw.choice((0, 1, 100, 70_000))
    segments[place] = Segment(TAG_COUNT, _tag_section(count, first, step, size))


@cache
def _tag_section(count: int, first: int, step: int, size: int) -> bytes:
    tags = [uvarint(max(0, first + step * n)) + uvarint(size) + bytes(size) for n in range(count)]
    return uvarint(count) + b"".join(tags)


def _texts(draw: random.Random, segments: list[Segment]) -> None:
    """Another text or other bytes, with the right length or with the old one."""
    place = _pick(draw, segments, (TEXT, BYTES))
    if place < 1:
        _flips(draw, segments)
        return
    segment = segments[place]
    data = draw.choice(TEXTS)
    before = segments[place - 1]
    if draw.random() < 0.8:
        if before.kind == LENGTH:
            size = len(before.data)
            segments[place - 1] = Segment(LENGTH, len(data).to_bytes(size, "big"))
        elif before.kind == VARINT_LENGTH:
            segments[place - 1] = Segment(VARINT_LENGTH, uvarint(len(data) + 1))
    segments[place] = Segment(segment.kind, data)


def _numbers(draw: random.Random, segments: list[Segment]) -> None:
    """A number at the edge of its type, or another one's."""
    place = _pick(draw, segments, (FIXED, MARK))
    if place < 0:
        _flips(draw, segments)
        return
    data = segments[place].data
    value = draw.choice(EDGES) % (1 << 8 * len(data))
    segments[place] = Segment(FIXED, value.to_bytes(len(data), "big"))


def _versions(draw: random.Random, segments: list[Segment]) -> None:
    """The body of one version under the header of another, or of an API that there is not."""
    if draw.random() < 0.7:
        version = int.from_bytes(segments[1].data, "big") + draw.choice((-2, -1, 1, 2, 100))
        segments[1] = Segment(VERSION, struct.pack(">H", version % 65536))
    else:
        segments[0] = Segment(KEY, struct.pack(">h", draw.choice((-1, 4, 7, 27, 52, 68, 99, 32767))))


def _shape(draw: random.Random, segments: list[Segment]) -> None:
    """Pieces missing, twice, or in another order."""
    place = draw.randrange(len(segments))
    what = draw.randrange(5)
    if what == 0:
        del segments[place]
    elif what == 1:
        segments.insert(place, segments[place])
    elif what == 2:
        other = draw.randrange(len(segments))
        segments[place], segments[other] = segments[other], segments[place]
    elif what == 3:
        segments[place:] = segments[place:] * draw.choice((2, 3, 50))
    else:
        segments.insert(place, Segment(FIXED, draw.randbytes(draw.choice((1, 2, 4, 8, 100)))))


def _flips(draw: random.Random, segments: list[Segment]) -> None:
    """Single bits."""
    for _ in range(draw.choice((1, 1, 2, 5))):
        place = draw.randrange(len(segments))
        data = bytearray(segments[place].data)
        if data:
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            segments[place] = Segment(segments[place].kind, bytes(data))


def _ends(draw: random.Random, segments: list[Segment]) -> None:
    """Too short or too long."""
    if draw.random() < 0.6:
        whole = joined(segments)
        segments[:] = [Segment(FIXED, whole[: draw.randrange(len(whole) + 1)])]
    else:
        segments.append(Segment(FIXED, draw.choice((b"\0", b"\0" * 9, b"\xff" * 40))))


def _records(draw: random.Random, segments: list[Segment]) -> None:
    """A record batch with wrong sizes, counts, bits or checksum; half of them with a checksum that fits."""
    place = _pick(draw, segments, (RECORDS,))
    if place < 1 or len(segments[place].data) < 61:
        _numbers(draw, segments)
        return
    data = bytearray(segments[place].data)
    what = draw.randrange(9)
    if what == 0:
        data[17:21] = draw.randbytes(4)
    elif what == 1:
        at, size = draw.choice(BATCH_NUMBERS)
        data[at : at + size] = (draw.choice(EDGES) % (1 << 8 * size)).to_bytes(size, "big")
    elif what == 2:
        data[21:23] = struct.pack(">H", draw.choice((1, 2, 3, 4, 5, 7, 8, 0x10, 0x20, 0x30, 0x40, 0xFFFF)))
    elif what == 3:
        data[43:51] = struct.pack(">q", draw.choice((-2, -1, 0, 1, 5, 6, 2**62)))
    elif what == 4:
        data[51:53] = struct.pack(">h", draw.choice((-2, -1, 0, 1, 5, 32767)))
    elif what == 5:
        del data[draw.randrange(len(data)) :]
    elif what == 6:
        data += bytes(data) if draw.random() < 0.5 else draw.randbytes(70)
    elif what == 7:
        at = draw.randrange(61, len(data)) if len(data) > 61 else 60
        data[at] ^= 1 << draw.randrange(8)
    else:
        codec = draw.choice((1, 2, 3, 4))
        data[61:] = draw.choice(COMPRESSED_NONSENSE)
        data[21:23] = struct.pack(">H", codec)
        data[8:12] = struct.pack(">i", len(data) - 12)
    if draw.random() < 0.7 and len(data) >= 61:
        data[17:21] = struct.pack(">I", google_crc32c.value(bytes(data[21:])))
    segments[place] = Segment(RECORDS, bytes(data))
    if draw.random() < 0.8:
        _fit_length(segments, place)


BATCH_NUMBERS = ((0, 8), (8, 4), (12, 4), (16, 1), (23, 4), (27, 8), (35, 8), (53, 4), (57, 4))
"""Where the numbers of a batch's header lie, and their sizes."""


def _fit_length(segments: list[Segment], place: int) -> None:
    length = len(segments[place].data)
    before = segments[place - 1]
    if before.kind == LENGTH and len(before.data) == 4:
        segments[place - 1] = Segment(LENGTH, length.to_bytes(4, "big"))
    elif before.kind == VARINT_LENGTH:
        segments[place - 1] = Segment(VARINT_LENGTH, uvarint(length + 1))


COMPRESSED_NONSENSE = (
    b"",
    b"\x1f\x8b\x08\0\0\0\0\0\0\0nonsense",
    b"\x82SNAPPY\0\0\0\0\1\0\0\0\1\x7f\xff\xff\xff",
    b"\xff\xff\xff\xff\x0f" + b"\0" * 30,
    b"\x04\x22\x4d\x18\x7c\x40\xff\xff\xff\xff\xff\xff\xff\xff\0",
    b"\x28\xb5\x2f\xfd\xa0\xff\xff\xff\x7f\1\0\0",
)

MUTATIONS: tuple[Mutation, ...] = (
    _lengths,
    _lengths,
    _tags,
    _texts,
    _numbers,
    _numbers,
    _versions,
    _shape,
    _flips,
    _ends,
    _records,
    _records,
)


def mutated(draw: random.Random, segments: list[Segment]) -> tuple[str, bytes]:
    """The names of what was done to the frame, and its bytes."""
    spoiled = list(segments)
    names = []
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        mutation = draw.choice(MUTATIONS)
        if len(spoiled) > 2:
            mutation(draw, spoiled)
            names.append(mutation.__name__.strip("_"))
    return "+".join(names), joined(spoiled)
