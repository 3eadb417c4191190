"""The codecs of record batches, decompressing within a bound. The libraries are imported when first needed.

gzip comes with Python; snappy, lz4 and zstd need the extra `compression`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from oncelog.wire.definition import DecodeError

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
NAMES = {0: "none", GZIP: "gzip", SNAPPY: "snappy", LZ4: "lz4", ZSTD: "zstd"}

_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER = struct.Struct(">8sii")
_XERIAL_BLOCK_BYTES = 32 * 1024
PIECE_BYTES = 1 << 20
FRAMES_MAX = 64
"""Each frame costs a copy of what follows it, so that very many small ones would be slow to refuse."""


class CodecMissing(RuntimeError):
    """The library of a codec is not installed."""


def _library(codec: int, module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        raise CodecMissing(
            f"looking into {NAMES[codec]} batches needs the package {module.split('.')[0]}: "
            "pip install 'oncelog[compression]'"
        ) from None


def _zstd() -> Any:
    try:
        return _library(ZSTD, "compression.zstd")
    except CodecMissing:
        return _library(ZSTD, "backports.zstd")


def compress(codec: int, data: bytes) -> bytes:
    """`data` in the form that Kafka's clients use for that codec."""
    if codec == GZIP:
        compressor = zlib.compressobj(wbits=31)
        return compressor.compress(data) + compressor.flush()
    if codec == SNAPPY:
        raw = _library(codec, "cramjam").snappy
        out = [_XERIAL_HEADER.pack(_XERIAL_MAGIC, 1, 1)]
        for start in range(0, len(data), _XERIAL_BLOCK_BYTES):
            block = bytes(raw.compress_raw(data[start : start + _XERIAL_BLOCK_BYTES]))
            out += struct.pack(">i", len(block)), block
        return b"".join(out)
    if codec == LZ4:
        return bytes(_library(codec, "lz4.frame").compress(data))
    if codec == ZSTD:
        return bytes(_zstd().compress(data))
    raise ValueError(f"there is no codec {codec}")


def decompress(codec: int, data: bytes, limit_bytes: int) -> bytes:
    """The bytes behind `data`. Raises DecodeError when it is malformed or would exceed `limit_bytes`."""
    return b"".join(decompress_in_pieces(codec, data, limit_bytes))


def decompress_in_pieces(codec: int, data: bytes, limit_bytes: int) -> Iterator[bytes]:
    """The same, piece by piece: a megabyte at a time at most, except for what one snappy block makes."""
    try:
        if codec == GZIP:
            yield from _decompress_frames(_Gzip, data, limit_bytes)
        elif codec == SNAPPY:
            yield from _unsnappy(data, limit_bytes)
        elif codec == LZ4:
            yield from _decompress_frames(
                _library(codec, "lz4.frame").LZ4FrameDecompressor, data, limit_bytes
            )
        elif codec == ZSTD:
            yield from _decompress_frames(_zstd().ZstdDecompressor, data, limit_bytes)
        else:
            raise DecodeError(f"there is no codec {codec}")
    except (CodecMissing, DecodeError):
        raise
    except Exception as error:
        raise DecodeError(f"a {NAMES.get(codec, codec)} batch is malformed: {error}") from None


class _Gzip:
    """zlib's decompressor with the manners of the others: it keeps what it has not used yet."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)

    def decompress(self, data: bytes, bytes_max: int) -> bytes:
        return self._zlib.decompress(data or self._zlib.unconsumed_tail, bytes_max)

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data


def _decompress_frames(new: Callable[[], Any], data: bytes, limit_bytes: int) -> Iterator[bytes]:
    """One frame after the other: a compressed stream may consist of several."""
    total = frames = 0
    rest = data
    while rest or not frames:
        if frames == FRAMES_MAX:
            raise DecodeError("a batch is compressed in too many frames")
        frames += 1
        decompressor = new()
        while not decompressor.eof:
            piece = decompressor.decompress(rest, min(PIECE_BYTES, limit_bytes - total + 1))
            rest = b""
            total += len(piece)
            if total > limit_bytes:
                raise DecodeError(f"a batch decompresses to more than {limit_bytes} bytes")
            if not piece and not decompressor.eof and decompressor.needs_input:
                raise DecodeError("a compressed batch ends too early")
            yield piece
        rest = decompressor.unused_data or b""


def _unsnappy(data: bytes, limit_bytes: int) -> Iterator[bytes]:
    """Xerial's framing of raw blocks, or one raw block as some clients send it."""
    raw = _library(SNAPPY, "cramjam").snappy
    if not data:
        raise DecodeError("a snappy batch without a single byte")
    blocks = _xerial_blocks(data) if data.startswith(_XERIAL_MAGIC) else [data]
    total = 0
    for block in blocks:
        total += raw.decompress_raw_len(block)
        if total > limit_bytes:
            raise DecodeError(f"a batch decompresses to more than {limit_bytes} bytes")
        yield bytes(raw.decompress_raw(block))


def _xerial_blocks(data: bytes) -> Iterator[bytes]:
    position = _XERIAL_HEADER.size
    if len(data) < position:
        raise DecodeError("a snappy batch is shorter than its header")
    while position < len(data):
        (length,) = struct.unpack_from(">i", data, position)
        position += 4
        if length < 0 or position + length > len(data):
            raise DecodeError("a snappy block is longer than its batch")
        yield data[position : position + length]
        position += length
