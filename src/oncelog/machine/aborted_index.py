"""The aborted index of a partition: which offsets belong to aborted transactions, packed 32 bytes each.

Only this module knows the layout. A read_committed reader is handed the entries that overlap what it reads
and filters by them. It must not know why a transaction was aborted.
"""

from __future__ import annotations

from array import array
from typing import NamedTuple

# One entry is four 64-bit words: producer id, first offset, marker offset, last stable offset at completion.
_WORDS = 4
_MARKER_OFFSET = 2


class AbortedTransaction(NamedTuple):
    """One aborted transaction on this partition.

    last_stable_offset: as it was when the transaction completed. Whatever completed later began at or after
        it.
    """

    producer_id: int
    first_offset: int
    marker_offset: int
    last_stable_offset: int


class AbortedIndex:
    """A partition's aborted transactions in order of their markers."""

    __slots__ = ("_words",)

    def __init__(self) -> None:
        self._words: array[int] = array("q")

    def __len__(self) -> int:
        return len(self._words) // _WORDS

    def append(
        self, producer_id: int, first_offset: int, marker_offset: int, last_stable_offset: int
    ) -> None:
        """last_stable_offset: the partition's right after this transaction completed."""
        words = self._words
        assert first_offset < marker_offset
        assert last_stable_offset <= marker_offset + 1
        assert not words or (words[-2] < marker_offset and words[-1] <= last_stable_offset)
        words.extend((producer_id, first_offset, marker_offset, last_stable_offset))

    def entry(self, index: int) -> AbortedTransaction:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return AbortedTransaction(*self._words[index * _WORDS : (index + 1) * _WORDS])

    def overlapping(self, fetch_offset: int, end_offset: int) -> list[tuple[int, int]]:
        """(producer id, first offset) of each that overlaps [fetch_offset, end_offset), in marker order.

        The marker may lie at or above end_offset: records below it are aborted all the same. The walk stops
        at the first entry whose last stable offset reaches end_offset, for what was open then, or began
        later, begins no lower (Kafka's TransactionIndex.collectAbortedTxns).
        """
        words = self._words
        found = []
        for start in range(self._find(fetch_offset) * _WORDS, len(words), _WORDS):
            producer_id, first_offset, _, last_stable_offset = words[start : start + _WORDS]
            if first_offset < end_offset:
                found.append((producer_id, first_offset))
            if last_stable_offset >= end_offset:
                break
        return found

    def _find(self, offset: int) -> int:
        """The index of the first entry whose marker lies at or after the offset."""
        words = self._words
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if words[middle * _WORDS + _MARKER_OFFSET] < offset:
                low = middle + 1
            else:
                high = middle
        return low

    def drop_before(self, offset: int) -> None:
        """Forget the transactions whose markers lie below an offset that is no longer readable."""
        del self._words[: self._find(offset) * _WORDS]

    def packed(self) -> bytes:
        """The entries as they lie, for comparing and storing; the inverse is `from_packed`."""
        return self._words.tobytes()

    @classmethod
    def from_packed(cls, entries: bytes) -> AbortedIndex:
        index = cls()
        index._words.frombytes(entries)
        return index
