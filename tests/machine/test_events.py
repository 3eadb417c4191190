"""The bytes of every event, kind by kind and version by version.

Journals are read by later releases: what golden_events.txt holds must be read for ever, as the same facts.
A new event or version gets its lines from `python -m tests.machine.test_events`, which prints what lacks.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oncelog.machine.events import (
    REGISTRY,
    BatchAppended,
    EventRegistry,
    GroupDeleted,
    TopicDeleted,
    UnknownEvent,
    decode_events,
)
from oncelog.wire.definition import DecodeError, Event, field, int32, string
from tests.wire.generating import full, generated, sparse, values

GOLDEN = Path(__file__).with_name("golden_events.txt")
KINDS = sorted(REGISTRY.kinds.items())
each_kind = pytest.mark.parametrize(
    "event_class", [cls for _, cls in KINDS], ids=[cls.__name__ for _, cls in KINDS]
)


class Golden(NamedTuple):
    """What an event said, and the bytes that said it."""

    kind: int
    version: int
    text: str
    data: bytes


def read_golden() -> list[Golden]:
    """Pairs of lines: the event as Python shows it, and its bytes; lines with # are comments."""
    lines = [line for line in GOLDEN.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    golden = []
    for text, written in zip(lines[::2], lines[1::2], strict=True):
        data = bytes.fromhex(written)
        kind, version, _ = struct.unpack_from(">HBI", data)
        golden.append(Golden(kind, version, text, data))
    return golden


def every_version() -> set[tuple[int, int]]:
    return {
        (kind, version)
        for kind, cls in REGISTRY.kinds.items()
        for version in range(cls.first_version, cls.version + 1)
    }


# --- golden bytes ---


def test_every_kind_and_version_has_golden_bytes() -> None:
    golden = read_golden()
    for kind, version in every_version():
        lines = [each for each in golden if (each.kind, each.version) == (kind, version)]
        assert len(lines) >= 2, f"kind {kind} version {version} lacks golden bytes, filled and sparse"


def test_golden_bytes_are_read_as_the_same_facts() -> None:
    for golden in read_golden():
        (event,) = decode_events(REGISTRY, golden.data)
        assert repr(event) == golden.text
        assert type(event).kind == golden.kind


def test_golden_bytes_are_written_again() -> None:
    for golden in read_golden():
        (event,) = decode_events(REGISTRY, golden.data)
        if type(event).version == golden.version:
            assert event.encode() == golden.data


def test_one_event_field_by_field() -> None:
    """Written out by hand, so that the golden bytes aren't the encoder's word alone."""
    event = BatchAppended(
        topic_id=bytes(range(16)),
        partition=3,
        base_offset=1 << 40,
        last_offset_delta=99,
        max_timestamp=1_700_000_000_000,
        size=12_345,
        producer_id=7,
        producer_epoch=2,
        base_sequence=1000,
        is_transactional=True,
    )
    fields = bytes(range(16)) + struct.pack(
        ">iqiqiqhi??", 3, 1 << 40, 99, 1_700_000_000_000, 12_345, 7, 2, 1000, True, False
    )
    assert event.encode() == struct.pack(">HBI", 10, 1, len(fields)) + fields
    deleted = TopicDeleted(topic_id=bytes(16), name="é")
    assert deleted.encode() == struct.pack(">HBI", 2, 1, 19) + bytes(16) + b"\3" + "é".encode()


# --- there and back ---


@each_kind
def test_what_is_encoded_is_decoded(event_class: type[Event]) -> None:
    """Serving evolves the decided event and replay the decoded one: they must be the same."""
    for event in (
        event_class(),
        sparse(event_class, event_class.version),
        full(event_class, event_class.version),
    ):
        assert decode_events(REGISTRY, event.encode()) == [event]

    @generated(15)
    @given(values(event_class, event_class.version))
    def check(event: Any) -> None:
        assert decode_events(REGISTRY, event.encode()) == [event]

    check()


@generated(15)
@given(st.lists(st.one_of([values(cls, cls.version) for _, cls in KINDS]), max_size=6))
def test_an_entry_of_several_events(events: list[Event]) -> None:
    data = b"".join(event.encode() for event in events)
    assert decode_events(REGISTRY, data) == events
    assert decode_events(REGISTRY, memoryview(data)) == events


# --- what nobody has written, or somebody newer ---


def framed(kind: int, version: int, fields: bytes) -> bytes:
    return struct.pack(">HBI", kind, version, len(fields)) + fields


@pytest.mark.parametrize("kind", [0, 7, 19, 29, 36, 50, 65535])
def test_unknown_kinds(kind: int) -> None:
    assert kind not in REGISTRY.kinds
    with pytest.raises(UnknownEvent, match=f"kind {kind} version 1"):
        decode_events(REGISTRY, GroupDeleted(group_id="g").encode() + framed(kind, 1, b""))


@each_kind
def test_unknown_versions(event_class: type[Event]) -> None:
    body = full(event_class, event_class.version).encode()[7:]
    for version in (0, event_class.version + 1, 255):
        with pytest.raises(UnknownEvent, match=f"kind {event_class.kind} version {version}"):
            decode_events(REGISTRY, framed(event_class.kind, version, body))


@each_kind
def test_truncated_and_overlong_events(event_class: type[Event]) -> None:
    data = full(event_class, event_class.version).encode()
    for size in range(1, len(data)):
        with pytest.raises(DecodeError):
            decode_events(REGISTRY, data[:size])
    body = data[7:]
    for fields in (body[:-1], body + b"\0"):
        # The next event's bytes follow, and must not be taken for this one's.
        with pytest.raises(DecodeError):
            decode_events(REGISTRY, framed(event_class.kind, event_class.version, fields) + data)


def test_kinds_are_unique_and_documented() -> None:
    for _, cls in KINDS:
        assert cls.__doc__
        assert not re.match(r"\s*$", cls.__doc__)
    with pytest.raises(AssertionError, match="two events have the kind 35"):
        EventRegistry([GroupDeleted, GroupDeleted])


class Renamed(Event, kind=900, versions="1-2"):
    """An event whose second version has one field more."""

    name: str = field(string)
    level: int = field(int32, versions="2+", default=-1)


def test_older_versions_of_an_event_are_read() -> None:
    registry = EventRegistry([Renamed])
    assert decode_events(registry, framed(900, 1, b"\2n")) == [Renamed(name="n", level=-1)]
    assert decode_events(registry, framed(900, 2, b"\2n\0\0\0\7")) == [Renamed(name="n", level=7)]
    assert Renamed(name="n").encode() == framed(900, 2, b"\2n\xff\xff\xff\xff")


def print_what_lacks() -> None:
    """Lines for golden_events.txt of newest versions that have none."""
    present = {(golden.kind, golden.version) for golden in read_golden()} if GOLDEN.exists() else set()
    for kind, cls in KINDS:
        if (kind, cls.version) not in present:
            for event in (full(cls, cls.version), sparse(cls, cls.version)):
                print(f"{event!r}\n{event.encode().hex()}\n")


if __name__ == "__main__":
    print_what_lacks()
