"""CRC-32C from its C library. Without the library the import fails: a slow stand-in would hide for months."""

from __future__ import annotations

from collections.abc import Callable

import google_crc32c

if google_crc32c.implementation != "c":
    raise ImportError("google_crc32c came without its C implementation; install a wheel of it")

CHUNK_BYTES = 256 << 10
"""The library takes `bytes` only: long views are copied piece by piece, each of which stays in the cache."""

crc32c: Callable[[int, bytes], int] = google_crc32c.extend
"""The CRC-32C of some bytes, continued from a seed: crc32c(seed, data)."""


def crc32c_of_view(seed: int, view: memoryview) -> int:
    """The same of a view."""
    for start in range(0, len(view), CHUNK_BYTES):
        seed = crc32c(seed, bytes(view[start : start + CHUNK_BYTES]))
    return seed
