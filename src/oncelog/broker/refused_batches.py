"""A refused batch keeps later ones of its producer out until it has come again.

A partition that doesn't know a producer takes any sequence as its first. So where the first of several
batches in flight is refused and those behind it are not (its partition was added in between, there is room
again), the second would become the first, and the refused one could never be stored (KAFKA-14904). In
second-generation transactions the first sequence is 0, and nothing needs to be remembered; of a producer
without transactions only what was refused for want of room counts. (What was too large some clients send
again in parts, others go on without it and would be kept out.) Soft state, as Kafka's VerificationStateEntry
is: a refusal leaves no event, and who restarts has forgotten. It only ever refuses, with an error upon which
a client sends the earlier batch again. It must not know what a refusal was for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from oncelog.machine.commands import ProduceBatch, ProduceResult
from oncelog.machine.producer_window import is_after
from oncelog.machine.state import State, TopicPartition
from oncelog.wire.errors import ErrorCode
from oncelog.wire.records import BatchHeader

ENTRIES_MAX = 10_000
"""Producers in partitions; the one whose batch was refused first is forgotten first, and loses this guard."""
OF_NO_TRANSACTION = frozenset({ErrorCode.INVALID_PRODUCER_ID_MAPPING, ErrorCode.INVALID_PRODUCER_EPOCH})
"""Nobody goes on with such an id and epoch."""


class Refused(NamedTuple):
    """epoch: of the producer. base_sequence: the lowest that was refused. age_ms: when it was first."""

    epoch: int
    base_sequence: int
    age_ms: int


class RefusedBatches:
    """By partition and producer that it doesn't know, the lowest sequence of its epoch that was refused."""

    def __init__(
        self,
        state: State,
        age_ms: Callable[[], int],
        kept_ms: Callable[[], int],
        entries_max: int = ENTRIES_MAX,
    ) -> None:
        """kept_ms: for how long; an unknown producer that is idle for as long is nobody's any more."""
        self._state = state
        self._age_ms = age_ms
        self._kept_ms = kept_ms
        self._entries_max = entries_max
        self._refused: dict[tuple[TopicPartition, int], Refused] = {}

    def expecting(self, batches: Sequence[ProduceBatch]) -> Sequence[ProduceBatch]:
        """These batches, with what their partitions may take as the first of their producer."""
        return [self._expecting(batch) for batch in batches] if self._refused else batches

    def _expecting(self, batch: ProduceBatch) -> ProduceBatch:
        header = batch.header
        refused = self._refused.get(((batch.topic_id, batch.partition), header.producer_id))
        if refused is None or refused.epoch != header.producer_epoch or self._is_forgotten(refused):
            return batch
        return batch._replace(first_sequence_max=refused.base_sequence)

    def _is_forgotten(self, refused: Refused) -> bool:
        return self._age_ms() - refused.age_ms >= self._kept_ms()

    def decided(self, batches: Sequence[ProduceBatch], results: Sequence[ProduceResult]) -> None:
        """What became of these: one that is stored keeps nobody out any more."""
        for batch, result in zip(batches, results, strict=True):
            if result.error:
                if _comes_again(batch, result.error):
                    self.refused(batch)
            elif self._refused:
                self._refused.pop(((batch.topic_id, batch.partition), batch.header.producer_id), None)

    def refused(self, batch: ProduceBatch) -> None:
        """This one was, and its producer will send it again if it goes on."""
        header = batch.header
        partition = self._state.partition(batch.topic_id, batch.partition)
        if partition is None or header.producer_id < 0 or header.producer_id in partition.producers:
            return
        key = ((batch.topic_id, batch.partition), header.producer_id)
        known = self._refused.get(key)
        if known is not None:
            if not self._is_forgotten(known) and not _comes_before(header, known):
                return
            del self._refused[key]
        elif len(self._refused) >= self._entries_max:
            del self._refused[next(iter(self._refused))]
        self._refused[key] = Refused(header.producer_epoch, header.base_sequence, self._age_ms())
        assert len(self._refused) <= self._entries_max


def _comes_before(header: BatchHeader, known: Refused) -> bool:
    """Whether the batch, and not the one that is known, is the one to come first."""
    if header.producer_epoch != known.epoch:
        return header.producer_epoch > known.epoch
    return is_after(known.base_sequence, header.base_sequence)


def _comes_again(batch: ProduceBatch, error: ErrorCode) -> bool:
    if batch.header.is_transactional:
        return error not in OF_NO_TRANSACTION
    return error is ErrorCode.NOT_ENOUGH_REPLICAS
