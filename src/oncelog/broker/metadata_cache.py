"""Encoded Metadata answers, kept until an event changes what they tell. Must not know how they are made."""

from __future__ import annotations

from collections.abc import Hashable

BYTES_MAX = 16 << 20
"""Of all answers together; beyond it they are made anew."""


class MetadataCache:
    """Answers of one `topics_version` of the state; the first look at another version drops them all."""

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._topics_version = -1
        self._answers: dict[Hashable, bytes] = {}

    def find(self, question: Hashable, topics_version: int) -> bytes | None:
        """The answer that was kept for this question, if it is still true."""
        if topics_version != self._topics_version:
            self._drop()
            self._topics_version = topics_version
        return self._answers.get(question)

    def keep(self, question: Hashable, topics_version: int, answer: bytes) -> None:
        """Keep an answer that was made from this version of the state."""
        if topics_version != self._topics_version or len(answer) > self._bytes_max:
            return
        if self._bytes + len(answer) > self._bytes_max:
            self._drop()
        self._answers[question] = answer
        self._bytes += len(answer)

    def _drop(self) -> None:
        self._answers.clear()
        self._bytes = 0
