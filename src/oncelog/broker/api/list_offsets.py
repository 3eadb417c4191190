"""ListOffsets (key 2, v1-11): the offset that belongs to a timestamp, or to one of the special ones.

-1 latest (last stable offset for read_committed), -2 earliest, -3 of the largest timestamp (v7), -4 earliest
local (v8), -5 latest tiered (v9) and -6 earliest pending upload (v11), which without tiers have no offset.
A timestamp finds the first record that is not older; the extent is known from the state, the record is found
by reading its batches, so such a request waits until these are durable, and perhaps for the disk. Records of
internal topics are in the state themselves.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from oncelog.broker.context import Context
from oncelog.broker.fetching import READ_COMMITTED
from oncelog.broker.internal_records import offsets_and_timestamps
from oncelog.broker.registry import Api
from oncelog.broker.turns import Work
from oncelog.machine.extents import Extent
from oncelog.machine.state import InternalPartition, Partition, State
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
from oncelog.wire.records import BatchHeader, iterate_heads, parse_batch_header, stamp, unpack_in_steps

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
BATCH_LIKE_RECORDS = 10
"""Looking at a batch takes about as long as that many records."""
READ_BYTES_MAX = 4 << 20
"""Extents that are read together, or one that is longer."""
READ_EXTENTS_MAX = 100
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


class _InternalLookup(NamedTuple):
    """A timestamp whose record has to be found among those of an internal topic."""

    answer: ListOffsetsPartitionResponse
    timestamp: int
    limit: int
    partition: InternalPartition


def handle(
    context: Context, request: ListOffsetsRequest, respond: Callable[[ListOffsetsResponse, int], None]
) -> None:
    """Answer from the state what it knows; read batches for the rest, once they can be read."""
    engine = context.broker.engine
    response = ListOffsetsResponse(topics=[])
    lookups: list[_Lookup] = []
    internal_lookups: list[_InternalLookup] = []
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
            known = context.broker.state.shown_topic_named(topic.name)
            if known is None or not 0 <= wanted.partition_index < len(known.partitions):
                answer.error_code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
                continue
            partition = known.partitions[wanted.partition_index]
            lookup = _answer_from_state(context, request, wanted, partition, answer)
            if isinstance(lookup, _InternalLookup):
                internal_lookups.append(lookup)
            elif lookup is not None:
                lookups.append(lookup)

    def finish() -> None:
        if context.version < FIRST_VERSION_WITH_LEADER_EPOCH:
            for topic_response in response.topics:
                for partition_response in topic_response.partitions:
                    partition_response.leader_epoch = -1
        if internal_lookups:
            # A record may have been passed over because its key has changed during the search.
            respond(response, engine.stamp())
            return
        respond(response, position)

    search = _Search(context, lookups, internal_lookups, finish)
    context.connection.on_close = search.cancel
    # What is told is told of now, however long the search takes.
    position = engine.stamp()
    if any(lookup.extent.position > engine.durable_position for lookup in lookups):
        engine.hold(search, position)
    else:
        search.release()


class _Search:
    """Lookups in extents that may still be on their way to the disk: read when they are there, in steps."""

    def __init__(
        self,
        context: Context,
        lookups: Sequence[_Lookup],
        internal_lookups: Sequence[_InternalLookup],
        finish: Callable[[], None],
    ) -> None:
        self._context = context
        self._lookups = lookups
        self._internal_lookups = internal_lookups
        self._finish = finish
        self._next = 0
        self._work: Work | None = None
        self._is_cancelled = False

    def cancel(self) -> None:
        """The client has gone: look no further."""
        self._is_cancelled = True
        if self._work is not None:
            self._work.cancel()

    def release(self) -> None:
        """Read extents, pick the records, and so on until all lookups are done."""
        if self._is_cancelled:
            return
        try:
            together = self._take_some()
            if together:
                extents = [lookup.extent for lookup in together]
                self._context.broker.reader.read(extents, lambda buffers: self._pick(together, buffers))
                return
        except Exception as error:
            self._context.connection.fault(error)
            return
        self._pick_internal()

    def _pick_internal(self) -> None:
        connection = self._context.connection
        steps = _pick_internal_records(self._context.broker.state, self._internal_lookups)
        self._work = self._context.broker.turns.take(steps, self._finish, connection.fault)

    def _pick(self, lookups: Sequence[_Lookup], buffers: Sequence[memoryview | None]) -> None:
        if not self._is_cancelled:
            connection = self._context.connection
            steps = _pick_records(lookups, buffers)
            self._work = self._context.broker.turns.take(steps, self._go_on, connection.fault)

    def _go_on(self) -> None:
        if self._next < len(self._lookups):
            self._context.broker.deadlines.after(0, self.release)
        else:
            self.release()

    def _take_some(self) -> list[_Lookup]:
        """The next lookups whose extents are read together: at least one, as long as there are any."""
        together: list[_Lookup] = []
        size_bytes = 0
        while self._next < len(self._lookups) and len(together) < READ_EXTENTS_MAX:
            lookup = self._lookups[self._next]
            size_bytes += lookup.extent.size
            if together and size_bytes > READ_BYTES_MAX:
                break
            together.append(lookup)
            self._next += 1
        return together


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
) -> _Lookup | _InternalLookup | None:
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
    elif isinstance(partition, InternalPartition):
        if timestamp == MAX_TIMESTAMP or timestamp >= 0:
            return _InternalLookup(answer, timestamp, limit, partition)
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
    looked_at = 0
    for lookup, buffer in zip(lookups, buffers, strict=True):
        if buffer is None:
            lookup.answer.error_code = ErrorCode.KAFKA_STORAGE_ERROR
        else:
            looked_at = yield from _pick_record(lookup, buffer, looked_at)


def _pick_record(lookup: _Lookup, buffer: memoryview, looked_at: int) -> Generator[None, None, int]:
    """The first record at or after the timestamp, unless it lies beyond what the reader may see.

    looked_at: how many records were looked at, batches counted as several; returns how many by then.
    """
    extent = lookup.extent
    if not extent.stamped:
        buffer = memoryview(b"".join(stamp(buffer, extent.base_offset, LEADER_EPOCH)))
    position = 0
    while position < len(buffer):
        header = parse_batch_header(buffer, position)
        batch = buffer[position : position + header.size]
        position += header.size
        looked_at += BATCH_LIKE_RECORDS
        if looked_at % STEP_RECORDS < BATCH_LIKE_RECORDS:
            yield
        if header.max_timestamp < lookup.timestamp:
            continue
        if header.compression:
            yield
        for offset, timestamp in (yield from _offsets_and_timestamps(batch, header)):
            looked_at += 1
            if looked_at % STEP_RECORDS == 0:
                yield
            if timestamp >= lookup.timestamp and offset >= lookup.partition.log_start_offset:
                if offset < lookup.limit:
                    lookup.answer.offset = offset
                    lookup.answer.timestamp = timestamp
                    lookup.answer.leader_epoch = LEADER_EPOCH
                return looked_at
    return looked_at


def _pick_internal_records(state: State, lookups: Sequence[_InternalLookup]) -> Iterator[None]:
    """Yields where others should have a turn, which may change the state: what is below the limit stays."""
    for lookup in lookups:
        offset = 0
        while (offset := _look_at_some(state, lookup, offset)) < lookup.limit:
            yield


def _look_at_some(state: State, lookup: _InternalLookup, first: int) -> int:
    """Look for the first record at or after the timestamp, or for the newest; returns where to go on."""
    answer, wanted = lookup.answer, lookup.timestamp
    looked_at, offset = 0, first
    for offset, timestamp in islice(offsets_and_timestamps(state, lookup.partition, first), STEP_RECORDS):
        looked_at += 1
        if offset >= lookup.limit:
            return lookup.limit
        is_found = timestamp >= wanted >= 0
        if is_found or (wanted < 0 and timestamp > answer.timestamp):
            answer.offset, answer.timestamp, answer.leader_epoch = offset, timestamp, LEADER_EPOCH
        if is_found:
            return lookup.limit
    return offset + 1 if looked_at == STEP_RECORDS else lookup.limit


def _offsets_and_timestamps(
    batch: memoryview, header: BatchHeader
) -> Generator[None, None, Iterator[tuple[int, int]]]:
    """Of each record; of the batch as a whole where it cannot be looked into, which is early, never late."""
    try:
        body = yield from unpack_in_steps(batch, header)
    except (CodecMissing, DecodeError) as reason:
        return iter([_of_the_whole(header, reason)])
    return _of_each(header, body)


def _of_each(header: BatchHeader, body: bytes) -> Iterator[tuple[int, int]]:
    try:
        for head in iterate_heads(header, body):
            yield head.offset, head.timestamp
    except DecodeError as reason:
        yield _of_the_whole(header, reason)


def _of_the_whole(header: BatchHeader, reason: Exception) -> tuple[int, int]:
    log.warning("a batch at offset %d cannot be searched by time: %s", header.base_offset, reason)
    return header.base_offset, header.max_timestamp
