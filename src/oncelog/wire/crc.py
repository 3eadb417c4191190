"""CRC-32C (Castagnoli) from a C library; its absence is an error, never a slow fallback."""

from __future__ import annotations

from google_crc32c import extend, implementation

if implementation == "python":
    raise ImportError("google-crc32c has no compiled part here; install a wheel of it for this platform")


def crc32c(data: bytes | bytearray | memoryview, crc: int = 0) -> int:
    """The CRC of `data`, going on from `crc`."""
    value: int = extend(crc, data if type(data) is bytes else bytes(data))
    return value
