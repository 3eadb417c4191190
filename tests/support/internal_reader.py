"""Someone who reads an internal topic of a state to its end, again and again, and keeps last values.

Reads the encoded batches as a consumer would, with the decoder that is not ours, and sees to it that offsets
ascend and that none ever has two records. Knows nothing of sockets or of what is durable.
"""

from __future__ import annotations

from typing import Any

from oncelog.broker.internal_records import batch_from
from oncelog.machine.state import INTERNAL_PARTITIONS, InternalTopic, State
from oncelog.wire.records import Record, batch_crc_is_valid, iterate_batches, iterate_records
from tests.support.coordinator_records import Told, decode


class InternalReader:
    """Tails all partitions of one internal topic; `last` holds no keys that are gone."""

    def __init__(self, topic: str, *, bytes_max: int = 1 << 20, records_max: int = 100) -> None:
        self.topic = topic
        self.bytes_max = bytes_max
        self.records_max = records_max
        self.positions = [0] * INTERNAL_PARTITIONS
        self.last: dict[Any, Told] = {}
        self.seen: dict[tuple[int, int], Told] = {}
        self.tombstones = 0

    def read(self, state: State) -> InternalReader:
        """Up to the end of every partition."""
        topic = state.internal.named(self.topic)
        assert topic is not None
        for index in list(topic.used):
            self._read_partition(state, topic, index)
        return self

    def _read_partition(self, state: State, topic: InternalTopic, index: int) -> None:
        partition = topic.partition(index)
        while True:
            batch, count = batch_from(
                state,
                partition,
                self.positions[index],
                partition.log_end_offset,
                0,
                bytes_max=self.bytes_max,
                records_max=self.records_max,
            )
            if not batch:
                break
            ((header, whole),) = iterate_batches(batch)
            assert batch_crc_is_valid(whole, header)
            assert len(batch) <= self.bytes_max or count == 1
            records = list(iterate_records(whole))
            assert len(records) == count <= self.records_max
            for record in records:
                self._take(index, record)
            assert self.positions[index] == header.base_offset + header.last_offset_delta + 1
        assert self.positions[index] == partition.log_end_offset, "the last offset is always there"

    def _take(self, index: int, record: Record) -> None:
        assert record.offset >= self.positions[index]
        self.positions[index] = record.offset + 1
        assert record.key is not None
        told = decode(self.topic, record.key, record.value)
        assert self.seen.setdefault((index, record.offset), told) == told
        if told.value is None:
            self.tombstones += 1
            self.last.pop(told.key, None)
        else:
            self.last[told.key] = told
