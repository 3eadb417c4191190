"""Extents: where each batch of a partition lies, packed 40 bytes each. Only this module knows the layout.

An extent names a journal position and a place in that entry's payload; the journal turns the position into
file and byte. It must not know what the bytes are.
"""

from __future__ import annotations

from array import array
from typing import NamedTuple

CHUNK_EXTENTS = 1024
"""Extents per chunk: old extents are dropped by whole chunks, so that dropping never moves the rest."""

# One extent is five 64-bit words: base offset, last offset, max timestamp, position, and the place:
# payload offset (32 bits), stamped (1 bit), size (31 bits).
_WORDS = 5
_LAST_OFFSET = 1
_MAX_TIMESTAMP = 2
_POSITION = 3
_CHUNK_WORDS = CHUNK_EXTENTS * _WORDS
_STAMPED = 1 << 31
_SIZE_MASK = _STAMPED - 1


class Extent(NamedTuple):
    """Adjacent batches of one partition in one entry.

    stamped: the bytes carry their base offsets and leader epoch. A control batch that several partitions
        share cannot, and is stamped for each of them when it is read.
    """

    base_offset: int
    last_offset: int
    max_timestamp: int
    position: int
    payload_offset: int
    size: int
    stamped: bool


class Extents:
    """A partition's extents in order of their offsets. size_bytes: of all of them together."""

    __slots__ = ("_chunks", "size_bytes")

    def __init__(self) -> None:
        self._chunks: list[array[int]] = []
        self.size_bytes = 0

    def __len__(self) -> int:
        chunks = self._chunks
        if not chunks:
            return 0
        return (len(chunks) - 1) * CHUNK_EXTENTS + len(chunks[-1]) // _WORDS

    def append(
        self,
        base_offset: int,
        last_offset: int,
        max_timestamp: int,
        position: int,
        payload_offset: int,
        size: int,
        stamped: bool,
    ) -> None:
        """Add a batch, to the last extent where it lies right behind it in the same entry.

        Unstamped bytes stay by themselves, so that a reader stamps exactly one batch.
        """
        assert last_offset >= base_offset
        assert 0 < size < _STAMPED > payload_offset >= 0
        self.size_bytes += size
        chunks = self._chunks
        words = chunks[-1] if chunks else None
        if words:
            assert base_offset > words[_LAST_OFFSET - _WORDS], "extents come in order of their offsets"
            if words[_POSITION - _WORDS] == position and stamped:
                place = words[-1]
                end = (place >> 32) + (place & _SIZE_MASK)
                if place & _STAMPED and end == payload_offset and (place & _SIZE_MASK) + size < _STAMPED:
                    words[_LAST_OFFSET - _WORDS] = last_offset
                    if max_timestamp > words[_MAX_TIMESTAMP - _WORDS]:
                        words[_MAX_TIMESTAMP - _WORDS] = max_timestamp
                    words[-1] = place + size
                    return
        if words is None or len(words) == _CHUNK_WORDS:
            words = array("q")
            chunks.append(words)
        place = payload_offset << 32 | size
        words.extend(
            (base_offset, last_offset, max_timestamp, position, place | _STAMPED if stamped else place)
        )

    def extent(self, index: int) -> Extent:
        """The extent at that index, 0 being the oldest that is kept."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        words = self._chunks[index // CHUNK_EXTENTS]
        start = index % CHUNK_EXTENTS * _WORDS
        base_offset, last_offset, max_timestamp, position, place = words[start : start + _WORDS]
        return Extent(
            base_offset,
            last_offset,
            max_timestamp,
            position,
            place >> 32,
            place & _SIZE_MASK,
            place & _STAMPED != 0,
        )

    def find(self, offset: int) -> int:
        """The index of the first extent that ends at or after the offset; len(self) where none does."""
        chunks = self._chunks
        low, high = 0, len(chunks)
        while low < high:
            middle = (low + high) // 2
            if chunks[middle][-_WORDS + _LAST_OFFSET] < offset:
                low = middle + 1
            else:
                high = middle
        if low == len(chunks):
            return len(self)
        words = chunks[low]
        first, end = 0, len(words) // _WORDS
        while first < end:
            middle = (first + end) // 2
            if words[middle * _WORDS + _LAST_OFFSET] < offset:
                first = middle + 1
            else:
                end = middle
        return low * CHUNK_EXTENTS + first

    def first_reaching(self, timestamp: int) -> int:
        """The index of the first extent with a record of that timestamp or later; len(self) for none."""
        for number, words in enumerate(self._chunks):
            timestamps = words[_MAX_TIMESTAMP::_WORDS]
            if max(timestamps) >= timestamp:
                within = next(i for i, newest in enumerate(timestamps) if newest >= timestamp)
                return number * CHUNK_EXTENTS + within
        return len(self)

    def newest_timestamp(self) -> int:
        """The largest timestamp of any record, or -1 where there are no extents."""
        return max((max(words[_MAX_TIMESTAMP::_WORDS]) for words in self._chunks), default=-1)

    def drop_before(self, position: int) -> int:
        """Forget the whole chunks that lie before a journal position; says how many extents that were."""
        chunks = self._chunks
        count = 0
        while (
            count < len(chunks)
            and len(chunks[count]) == _CHUNK_WORDS
            and chunks[count][-_WORDS + _POSITION] < position
        ):
            count += 1
        self.size_bytes -= sum(map(_size_bytes, chunks[:count]))
        del chunks[:count]
        return count * CHUNK_EXTENTS

    def packed(self) -> list[bytes]:
        """The chunks as they lie, for comparing and storing; the inverse is `from_packed`."""
        return [words.tobytes() for words in self._chunks]

    @classmethod
    def from_packed(cls, chunks: list[bytes]) -> Extents:
        extents = cls()
        for chunk in chunks:
            words: array[int] = array("q")
            words.frombytes(chunk)
            extents._chunks.append(words)
            extents.size_bytes += _size_bytes(words)
        return extents


def _size_bytes(words: array[int]) -> int:
    return sum(place & _SIZE_MASK for place in words[_WORDS - 1 :: _WORDS])
