"""ListOffsets (key 2, v1-11): the offset that belongs to a timestamp, or to one of the special ones.

-1 latest (last stable offset for read_committed), -2 earliest, -3 of the largest timestamp (v7), -4 earliest
local (v8), -5 latest tiered (v9) and -6 earliest pending upload (v11), which without tiers have no offset.
A timestamp finds the first record that is not older; the extent is known from the state, the record is found
by reading its batches, so such a request waits until these are durable, and perhaps for the disk.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from oncelog.broker.context import Context
from oncelog.broker.fetching import READ_COMMITTED
from oncelog.broker.registry import Api
from oncelog.machine.extents import Extent
from oncelog.machine.state import Partition
from oncelog.store.level0 import LEADER_EPOCH
from oncelog.wire.compression import CodecMissing
from oncelog.wire.definition import DecodeError
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsPartitionResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)
from oncelog.wire.records import BatchHeader, iterate_records, parse_batch_header, stamp

log = logging.getLogger("oncelog.api")

API = Api(request=ListOffsetsRequest, response=ListOffsetsResponse, waits=True)

LATEST = -1
EARLIEST = -2
MAX_TIMESTAMP = -3
EARLIEST_LOCAL = -4
LATEST_TIERED = -5
EARLIEST_PENDING_UPLOAD = -6
FIRST_VERSION_WITH_LEADER_EPOCH = 4
STEP_RECORDS = 5000
"""What a search looks at before others have a turn, some 10 ms."""
FIRST_VERSION_OF = {
    LATEST: 1,
    EARLIEST: 1,
    MAX_TIMESTAMP: 7,
    EARLIEST_LOCAL: 8,
    LATEST_TIERED: 9,
    EARLIEST_PENDING_UPLOAD: 11,
}


class _Lookup(NamedTuple):
    """A timestamp whose record has to be found in an extent's batches."""

    answer: ListOffsetsPartitionResponse
    timestamp: int
    limit: int
    partition: Partition
    extent: Extent


def handle(
    context: Context, request: ListOffsetsRequest, respond: Callable[[ListOffsetsResponse, int], None]
) -> None:
    """Answer from the state what it knows; read batches for the rest, once they can be read."""
    response = ListOffsetsResponse(topics=[])
    lookups: list[_Lookup] = []
    repeated = _repeated_partitions(request)
    for topic in request.topics:
        topic_response = ListOffsetsTopicResponse(name=topic.name, partitions=[])
        response.topics.append(topic_response)
        for wanted in topic.partitions:
            answer = ListOffsetsPartitionResponse(
                partition_index=wanted.partition_index, error_code=ErrorCode.NONE, timestamp=-1, offset=-1
            )
            topic_response.partitions.append(answer)
            if (topic.name, wanted.partition_index) in repeated:
                answer.error_code = ErrorCode.INVALID_REQUEST
                continue
            known = context.broker.state.topic_named(topic.name)
            if known is None or not 0 <= wanted.partition_index < len(known.partitions):
                answer.error_code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
                continue
            partition = known.partitions[wanted.partition_index]
            lookup = _answer_from_state(context, request, wanted, partition, answer)
            if lookup is not None:
                lookups.append(lookup)

    def finish() -> None:
        if context.version < FIRST_VERSION_WITH_LEADER_EPOCH:
            for topic_response in response.topics:
                for partition_response in topic_response.partitions:
                    partition_response.leader_epoch = -1
        respond(response, position)

    search = _Search(context, lookups, finish)
    context.connection.on_close = search.cancel
    engine = context.broker.engine
    # What is told is told of now, however long the search takes.
    position = engine.stamp()
    if any(lookup.extent.position > engine.durable_position for lookup in lookups):
        engine.hold(search, position)
    else:
        search.release()


class _Search:
    """Lookups in extents that may still be on their way to the disk: read when they are there, in steps."""

    def __init__(self, context: Context, lookups: Sequence[_Lookup], finish: Callable[[], None]) -> None:
        self._context = context
        self._lookups = lookups
        self._finish = finish
        self._steps: Iterator[None] = iter(())
        self._is_cancelled = False

    def cancel(self) -> None:
        """The client has gone: look no further."""
        self._is_cancelled = True

    def release(self) -> None:
        """Read the extents of all lookups at once, then pick the records."""
        self._context.broker.reader.read([lookup.extent for lookup in self._lookups], self._begin)

    def _begin(self, buffers: Sequence[memoryview | None]) -> None:
        self._steps = _pick_records(self._lookups, buffers)
        self._go_on()

    def _go_on(self) -> None:
        if self._is_cancelled:
            return
        try:
            for _ in self._steps:
                self._context.broker.deadlines.after(0, self._go_on)
                return
        except Exception as error:
            self._context.connection.fault(error)
            return
        self._finish()


def _repeated_partitions(request: ListOffsetsRequest) -> set[tuple[str, int]]:
    seen: set[tuple[str, int]] = set()
    repeated: set[tuple[str, int]] = set()
    for topic in request.topics:
        for wanted in topic.partitions:
            key = (topic.name, wanted.partition_index)
            (repeated if key in seen else seen).add(key)
    return repeated


def _answer_from_state(
    context: Context,
    request: ListOffsetsRequest,
    wanted: ListOffsetsPartition,
    partition: Partition,
    answer: ListOffsetsPartitionResponse,
) -> _Lookup | None:
    """Fill in what needs no reading; returns what does."""
    if wanted.current_leader_epoch not in (-1, LEADER_EPOCH):
        is_newer = wanted.current_leader_epoch > LEADER_EPOCH
        answer.error_code = ErrorCode.UNKNOWN_LEADER_EPOCH if is_newer else ErrorCode.FENCED_LEADER_EPOCH
        return None
    timestamp = wanted.timestamp
    if timestamp < 0 and context.version < FIRST_VERSION_OF.get(timestamp, context.version + 1):
        answer.error_code = ErrorCode.UNSUPPORTED_VERSION
        return None
    is_committed = request.isolation_level == READ_COMMITTED and request.replica_id == -1
    limit = partition.last_stable_offset if is_committed else partition.log_end_offset
    if timestamp == LATEST:
        answer.offset = limit
        answer.leader_epoch = LEADER_EPOCH
    elif timestamp in (EARLIEST, EARLIEST_LOCAL):
        answer.offset = partition.log_start_offset
        answer.leader_epoch = LEADER_EPOCH
    elif timestamp == MAX_TIMESTAMP or timestamp >= 0:
        extents = partition.extents
        if timestamp == MAX_TIMESTAMP:
            timestamp = extents.newest_timestamp()
        index = extents.first_reaching(timestamp)
        if index < len(extents):
            return _Lookup(answer, timestamp, limit, partition, extents.extent(index))
    return None


def _pick_records(lookups: Sequence[_Lookup], buffers: Sequence[memoryview | None]) -> Iterator[None]:
    """Yields where others should have a turn: a few kilobytes unpack to millions of records."""
    for lookup, buffer in zip(lookups, buffers, strict=True):
        if buffer is None:
            lookup.answer.error_code = ErrorCode.KAFKA_STORAGE_ERROR
        else:
            yield from _pick_record(lookup, buffer)


def _pick_record(lookup: _Lookup, buffer: memoryview) -> Iterator[None]:
    """The first record at or after the timestamp, unless it lies beyond what the reader may see."""
    extent = lookup.extent
    if not extent.stamped:
        buffer = memoryview(b"".join(stamp(buffer, extent.base_offset, LEADER_EPOCH)))
    position = 0
    while position < len(buffer):
        header = parse_batch_header(buffer, position)
        batch = buffer[position : position + header.size]
        position += header.size
        if header.max_timestamp < lookup.timestamp:
            continue
        if header.compression:
            yield
        for number, (offset, timestamp) in enumerate(_offsets_and_timestamps(batch, header), start=1):
            if number % STEP_RECORDS == 0:
                yield
            if timestamp >= lookup.timestamp and offset >= lookup.partition.log_start_offset:
                if offset < lookup.limit:
                    lookup.answer.offset = offset
                    lookup.answer.timestamp = timestamp
                    lookup.answer.leader_epoch = LEADER_EPOCH
                return


def _offsets_and_timestamps(batch: memoryview, header: BatchHeader) -> Iterator[tuple[int, int]]:
    """Of each record; of the batch as a whole where it cannot be looked into, which is early, never late."""
    try:
        for record in iterate_records(batch):
            yield record.offset, record.timestamp
    except (CodecMissing, DecodeError) as reason:
        log.warning("a batch at offset %d cannot be searched by time: %s", header.base_offset, reason)
        yield header.base_offset, header.max_timestamp
