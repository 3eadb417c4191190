"""Level 0: bytes as the journal holds them, found by extent: hot from memory, cold from the journal's files.

The newest entries' payloads stay in a bounded cache. What is not there is read without waiting where the
page cache has it, else by a thread. Every batch that comes from a file is checked before anyone sees it: its
CRC-32C, and its base offset against the extent (law 9). Must not know requests, sockets or watermarks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from oncelog.disk.workers import ThreadWorker, Worker
from oncelog.machine.extents import Extent
from oncelog.wire.records import HEADER_SIZE, MAGIC, batch_crc_is_valid, parse_batch_header

log = logging.getLogger("oncelog.store")

READER_THREADS = 2
LEADER_EPOCH = 0
"""Every batch is stamped with it; batch checksums cover neither it nor the magic number."""

Done = Callable[[Sequence[memoryview | None]], None]
"""Called with the bytes of each extent; None for one that is damaged or could not be read."""


class Payloads(Protocol):
    """What is used of a journal."""

    def read_payload(self, position: int, offset: int, size_bytes: int) -> bytes: ...

    def read_payload_nowait(self, position: int, offset: int, size_bytes: int) -> bytes | None: ...


class PayloadCache:
    """Whole payloads of the newest entries, at most `bytes_max` of them together; the oldest go first."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._payloads: dict[int, bytes] = {}
        self.size_bytes = 0

    def put(self, position: int, payload: bytes) -> None:
        """Keep the payload of a durable entry; entries come in the order of their positions."""
        if not payload:
            return
        self._payloads[position] = payload
        self.size_bytes += len(payload)
        while self.size_bytes > self._bytes_max:
            oldest = next(iter(self._payloads))
            self.size_bytes -= len(self._payloads.pop(oldest))

    def get(self, extent: Extent) -> memoryview | None:
        """The extent's bytes, where its entry is kept."""
        payload = self._payloads.get(extent.position)
        if payload is None:
            return None
        return memoryview(payload)[extent.payload_offset : extent.payload_offset + extent.size]


class Reader:
    """Reads extents for those who may have to wait. post: as a journal's, brings results back to the loop."""

    def __init__(
        self,
        payloads: Payloads,
        cache: PayloadCache,
        *,
        post: Callable[..., object],
        worker: Worker | None = None,
    ) -> None:
        self.cache = cache
        self._payloads = payloads
        self._post = post
        self._worker = worker or ThreadWorker("oncelog-reader", READER_THREADS)
        self._is_closed = False

    def read(self, extents: Sequence[Extent], done: Done) -> None:
        """Call `done` once with the bytes of all extents in their order: at once when none has to wait."""
        buffers: list[memoryview | None] = []
        missing: list[int] = []
        for index, extent in enumerate(extents):
            found = self.cache.get(extent)
            if found is None:
                found = self._read_nowait(extent)
                if found is None:
                    missing.append(index)
            buffers.append(found)
        if not missing:
            done(buffers)
        elif not self._is_closed:
            self._worker.submit(lambda: self._read_cold(extents, buffers, missing, done))

    def close(self) -> None:
        """Wait for reads under way; later ones are never answered. Idempotent."""
        self._is_closed = True
        self._worker.close()

    def _read_nowait(self, extent: Extent) -> memoryview | None:
        """None when it would wait, and when it failed: the thread finds out why."""
        try:
            found = self._payloads.read_payload_nowait(extent.position, extent.payload_offset, extent.size)
        except Exception:
            return None
        return None if found is None or damage_in(extent, found) else memoryview(found)

    def _read_cold(
        self, extents: Sequence[Extent], buffers: list[memoryview | None], missing: Sequence[int], done: Done
    ) -> None:
        for index in missing:
            buffers[index] = self._read_one(extents[index])
        self._post(done, buffers)

    def _read_one(self, extent: Extent) -> memoryview | None:
        try:
            found = self._payloads.read_payload(extent.position, extent.payload_offset, extent.size)
        except Exception as failed:
            log.error("journal entry %d could not be read: %s", extent.position, failed)
            return None
        if damage := damage_in(extent, found):
            log.error(
                "offsets %d to %d in journal entry %d are damaged and not served: %s",
                extent.base_offset,
                extent.last_offset,
                extent.position,
                damage,
            )
            return None
        return memoryview(found)


def damage_in(extent: Extent, buffer: bytes) -> str:
    """What is wrong with an extent's bytes; empty when every batch is whole, in its place and in order."""
    view = memoryview(buffer)
    position = 0
    expected = extent.base_offset
    while position < len(buffer):
        if len(buffer) - position < HEADER_SIZE:
            return "a batch header is cut short"
        header = parse_batch_header(view, position)
        end = position + header.size
        if header.size < HEADER_SIZE or end > len(buffer):
            return "a batch has a length that does not fit"
        if extent.stamped and header.base_offset != expected:
            return f"a batch says it begins at offset {header.base_offset}, not {expected}"
        if header.magic != MAGIC or header.partition_leader_epoch != LEADER_EPOCH:
            return (
                f"the batch at offset {expected} has another magic number or leader epoch than it was given"
            )
        if not batch_crc_is_valid(view[position:end], header):
            return f"the batch at offset {expected} does not have its checksum"
        expected += header.last_offset_delta + 1
        position = end
    return "" if expected == extent.last_offset + 1 else "offsets are missing at its end"
