"""The records of one internal partition by offset: which key each of them is about, and nothing of its value.

Of each key there is one record, its newest, so that the index grows with the keys and not with the changes.
It lies in chunks, so that a change costs two bisections and a short move in memory however many keys there
are. It must not know what a key means.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Any, NamedTuple

CHUNK_ENTRIES_MAX = 512
CHUNK_ENTRIES_LOW = CHUNK_ENTRIES_MAX // 4
"""A chunk that has shrunk to this joins a neighbour, where both fit into one."""


class Entry(NamedTuple):
    """A record that is there. owner, place: the key, as whoever appended it named it."""

    offset: int
    owner: Any
    place: Any


class _Chunk:
    """Entries with ascending offsets, side by side. places: None while no entry has one."""

    __slots__ = ("offsets", "owners", "places")

    def __init__(self) -> None:
        self.offsets = array("q")
        self.owners: list[Any] = []
        self.places: list[Any] | None = None

    def append(self, offset: int, owner: Any, place: Any) -> None:
        self.offsets.append(offset)
        self.owners.append(owner)
        if self.places is not None:
            self.places.append(place)
        elif place is not None:
            self.places = [None] * (len(self.owners) - 1)
            self.places.append(place)

    def take(self, position: int) -> tuple[Any, Any]:
        del self.offsets[position]
        place = None if self.places is None else self.places.pop(position)
        return self.owners.pop(position), place

    def place(self, position: int) -> Any:
        return None if self.places is None else self.places[position]

    def join(self, later: _Chunk) -> None:
        """Take the entries of the chunk that follows."""
        for position, offset in enumerate(later.offsets):
            self.append(offset, later.owners[position], later.place(position))


class RecordIndex:
    """Offsets and the keys of their records, in the order of the offsets."""

    __slots__ = ("_chunks", "_firsts", "count")

    def __init__(self) -> None:
        self._chunks: list[_Chunk] = []
        self._firsts = array("q")
        self.count = 0

    def append(self, offset: int, owner: Any, place: Any) -> None:
        """A key's record at the end: the offset is above all others."""
        chunks = self._chunks
        if not chunks or len(chunks[-1].owners) >= CHUNK_ENTRIES_MAX:
            chunks.append(_Chunk())
            self._firsts.append(offset)
        chunks[-1].append(offset, owner, place)
        self.count += 1

    def take(self, offset: int) -> tuple[Any, Any]:
        """Remove the record at that offset, which is there, and return its key."""
        number = bisect_right(self._firsts, offset) - 1
        chunk = self._chunks[number]
        position = bisect_left(chunk.offsets, offset)
        assert chunk.offsets[position] == offset, "a key remembers the offset of its record"
        key = chunk.take(position)
        self.count -= 1
        if len(chunk.owners) <= CHUNK_ENTRIES_LOW:
            self._shrunk(number)
        return key

    def move(self, offset: int, new_offset: int) -> None:
        """The key of the record at `offset` has a newer one, at the end."""
        chunk = self._chunks[-1]
        offsets = chunk.offsets
        if offsets[-1] == offset:
            offsets[-1] = new_offset
        elif offset > offsets[0]:
            # In the last chunk, which is where keys lie that change often.
            position = bisect_left(offsets, offset)
            assert offsets[position] == offset, "a key remembers the offset of its record"
            del offsets[position]
            offsets.append(new_offset)
            owners, places = chunk.owners, chunk.places
            owners.append(owners.pop(position))
            if places is not None:
                places.append(places.pop(position))
        else:
            self.append(new_offset, *self.take(offset))

    def entries(self, offset: int = 0) -> Iterator[Entry]:
        """The records at `offset` and after it. To be used up before anything changes."""
        number = max(0, bisect_right(self._firsts, offset) - 1)
        for chunk in self._chunks[number:]:
            for position in range(bisect_left(chunk.offsets, offset), len(chunk.owners)):
                yield Entry(chunk.offsets[position], chunk.owners[position], chunk.place(position))

    def first_offset(self, offset: int) -> int | None:
        """The first record's offset at `offset` or after it."""
        return next((entry.offset for entry in self.entries(offset)), None)

    def _shrunk(self, number: int) -> None:
        chunks, firsts = self._chunks, self._firsts
        size = len(chunks[number].owners)
        if not size:
            del chunks[number], firsts[number]
            return
        for first in (number - 1, number):
            if 0 <= first < len(chunks) - 1:
                one, other = chunks[first], chunks[first + 1]
                if len(one.owners) + len(other.owners) <= CHUNK_ENTRIES_MAX:
                    one.join(other)
                    del chunks[first + 1], firsts[first + 1]
                    return
