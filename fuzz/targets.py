"""What is fuzzed, and what must hold for any bytes: a DecodeError or a value, nothing else.

An input is two bytes that choose a target (one for each API and version, and some for what lies around
messages) and the bytes that the target reads. Must not know the fuzzer: tests run the same inputs without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from oncelog.machine.events import REGISTRY, UnknownEvent, decode_events
from oncelog.wire import compression, frames
from oncelog.wire.codec import decode_bounded, decoder, struct
from oncelog.wire.definition import DecodeError, Message
from oncelog.wire.records import build_batch, control_batch, iterate_batches, iterate_records
from tests.wire.catalogue import EVERY_VERSION, is_request
from tests.wire.generating import full, sparse

DECOMPRESSED_BYTES_MAX = 1 << 20
ELEMENTS_MAX = 100


class Target(NamedTuple):
    """One decoder with what must hold for it, and good inputs to begin with."""

    name: str
    check: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


# --- messages ---


def _message_target(message: type[Message], version: int) -> Target:
    def check(data: bytes) -> None:
        try:
            value = message.decode(data, version)
        except DecodeError:
            value = None
        _agree(message, version, data, value)
        if value is None:
            return
        # Unknown tags and long forms of numbers are gone after one round; then nothing changes any more.
        written = value.encode(version)
        again = message.decode(written, version).encode(version)
        assert again == written, f"{message.__name__} v{version} changes with each round"

    def seeds() -> list[bytes]:
        return [make(message, version).encode(version) for make in (full, sparse)] + [
            message().encode(version)
        ]

    return Target(f"{message.__name__}-v{version}", check, seeds)


def _agree(message: type[Message], version: int, data: bytes, value: Message | None) -> None:
    """The tuned, the plain and the counting decoder are of one opinion."""
    flexible = message.is_flexible(version)
    if message.tuned_decoder is not None:
        plain = None
        try:
            plain, end = decoder(message, version, flexible, flexible)(data, memoryview(data), 0, len(data))
            if end != len(data):
                plain = None
        except (DecodeError, IndexError, struct.error, UnicodeDecodeError):
            pass
        assert plain == value, f"{message.__name__} v{version}: the tuned decoder has another opinion"
    try:
        bounded = decode_bounded(message, data, version, 0, True, ELEMENTS_MAX)
    except DecodeError:
        return
    assert value is not None, f"{message.__name__} v{version}: only the counting decoder accepts this"
    assert bounded.encode(version) == value.encode(version)


# --- around messages ---


def _check_request_header(data: bytes) -> None:
    try:
        header = frames.decode_request_header(data)
    except DecodeError:
        return
    assert 0 < header.body_offset <= len(data)


def _check_response_header(data: bytes) -> None:
    message, version = RESPONSES[data[0] % len(RESPONSES)] if data else RESPONSES[0]
    try:
        frames.decode_response(message, data[1:], version)
    except DecodeError:
        return


def _check_batches(data: bytes) -> None:
    try:
        for _, batch in iterate_batches(data):
            for _ in iterate_records(batch, DECOMPRESSED_BYTES_MAX):
                pass
    except DecodeError:
        return


def _check_records(data: bytes) -> None:
    """The records of one batch, whatever its header says."""
    try:
        for _ in iterate_records(data, DECOMPRESSED_BYTES_MAX):
            pass
    except DecodeError:
        return


def _check_decompression(data: bytes) -> None:
    try:
        unpacked = compression.decompress(data[0] % 8 if data else 1, data[1:], DECOMPRESSED_BYTES_MAX)
    except DecodeError:
        return
    assert len(unpacked) <= DECOMPRESSED_BYTES_MAX


def _check_events(data: bytes) -> None:
    try:
        events = decode_events(REGISTRY, data)
    except (DecodeError, UnknownEvent):
        return
    written = b"".join(event.encode() for event in events)
    assert b"".join(event.encode() for event in decode_events(REGISTRY, written)) == written


RESPONSES = [(message, version) for message, version in EVERY_VERSION if not is_request(message)]
_RECORDS = [(1_700_000_000_000, b"key", b"value"), (1_700_000_000_001, None, b"x" * 100)]


def _batches() -> list[bytes]:
    return [build_batch(_RECORDS, compression=codec) for codec in compression.NAMES] + [
        control_batch(3, 0, 7, 1, 5, True, 0),
        build_batch(_RECORDS) + build_batch(_RECORDS, base_offset=2),
    ]


def _request_headers() -> list[bytes]:
    return [
        frames.encode_request(1, client_id, full(message, message.versions[1]), message.versions[1])[4:]
        for message in dict.fromkeys(message for message, _ in EVERY_VERSION if is_request(message))
        for client_id in (None, "client")
    ]


def _compressed() -> list[bytes]:
    return [
        bytes((codec,)) + compression.compress(codec, data)
        for codec in compression.NAMES
        if codec
        for data in (b"", b"abc" * 50)
    ]


def _responses() -> list[bytes]:
    return [
        bytes((index,)) + b"".join(frames.encode_response(1, full(message, version), version))[4:]
        for index, (message, version) in enumerate(RESPONSES[:256])
    ]


def _events() -> list[bytes]:
    return [make(cls, cls.version).encode() for cls in REGISTRY.kinds.values() for make in (full, sparse)]


TARGETS: tuple[Target, ...] = (
    Target("request-header", _check_request_header, _request_headers),
    Target("response-header", _check_response_header, _responses),
    Target("batches", _check_batches, _batches),
    Target("records", _check_records, _batches),
    Target("decompression", _check_decompression, _compressed),
    Target("events", _check_events, _events),
    *(_message_target(message, version) for message, version in EVERY_VERSION),
)

SELECTOR_BYTES = 2


def run(data: bytes) -> None:
    """One input of the fuzzer. Raises what is a finding."""
    if len(data) < SELECTOR_BYTES:
        return
    target = TARGETS[int.from_bytes(data[:SELECTOR_BYTES], "big") % len(TARGETS)]
    target.check(data[SELECTOR_BYTES:])


def seeds() -> Iterator[tuple[str, bytes]]:
    """(name, input): what our own encoders write, for each target."""
    for index, target in enumerate(TARGETS):
        for number, data in enumerate(target.seeds()):
            yield f"{target.name}-{number}", index.to_bytes(SELECTOR_BYTES, "big") + data
