"""Finding and reading what a fetch wants: plan from the published view, read, cut to whole batches.

A plan takes all watermarks and extents before anything is awaited, so that one response shows every
transaction in all of its partitions or in none (law 5). Must not know sessions or the wire form of Fetch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from oncelog.broker import internal_records
from oncelog.broker.fetch_sessions import PartitionFetch
from oncelog.broker.published import PartitionView
from oncelog.machine.extents import Extent
from oncelog.machine.state import InternalPartition, Partition, State
from oncelog.store.level0 import LEADER_EPOCH
from oncelog.wire.errors import ErrorCode
from oncelog.wire.records import stamp

if TYPE_CHECKING:
    from oncelog.broker.broker import Broker
    from oncelog.broker.deadlines import Deadline

READ_COMMITTED = 1
RESPONSE_BYTES_MAX = 57_671_680
"""Kafka's fetch.max.bytes."""
ENOUGH_BYTES = 1 << 62
"""More than any client waits for."""

_BATCH_PLACE = Struct(">qi11xi")
"""Base offset, batch length and last offset delta of a batch header."""


class FetchedPartition(NamedTuple):
    """One partition's part of the answer; records is empty where nothing could be read."""

    wanted: PartitionFetch
    error: int
    high_watermark: int
    last_stable_offset: int
    log_start_offset: int
    aborted: list[tuple[int, int]] | None
    records: bytes | memoryview


class PartitionPlan:
    """What will be read of one partition: whole extents, cut to size once their bytes are there.

    internal_records: of an internal topic, its records themselves; None for any other.
    """

    __slots__ = (
        "budget_bytes",
        "error",
        "extents",
        "internal_records",
        "limit",
        "partition",
        "view_marks",
        "wanted",
    )

    def __init__(self, wanted: PartitionFetch) -> None:
        self.wanted = wanted
        self.error: int = ErrorCode.NONE
        self.partition: Partition | None = None
        self.view_marks = (-1, -1, -1)
        self.limit = 0
        self.budget_bytes = 0
        self.extents: list[Extent] = []
        self.internal_records: bytes | None = None


class FetchPlan:
    """The plan of one fetch over all its partitions, as of one moment.

    internal_records: how many of internal topics it has; internal_bytes: how much was encoded for it. One
    record is reason enough to answer, be it small: to count the bytes that there are, all would have to be
    encoded.
    """

    __slots__ = (
        "available_bytes",
        "has_error",
        "internal_bytes",
        "internal_records",
        "looked_at_machine",
        "must_wait_for_durability",
        "partitions",
        "views",
    )

    def __init__(self) -> None:
        self.partitions: list[PartitionPlan] = []
        self.views: list[PartitionView] = []
        self.available_bytes = 0
        self.internal_records = 0
        self.internal_bytes = 0
        self.has_error = False
        self.looked_at_machine = False
        self.must_wait_for_durability = False


def plan_fetch(
    state: State,
    views: dict[tuple[bytes, int], PartitionView],
    wanted_partitions: Sequence[PartitionFetch],
    max_bytes: int,
    isolation_level: int,
) -> FetchPlan:
    """Take every watermark and the extents to read, in the order of the request.

    Offsets between the limit and the machine's log end are in range but have nothing to read yet.
    """
    plan = FetchPlan()
    remaining = min(max_bytes, RESPONSE_BYTES_MAX)
    for wanted in wanted_partitions:
        part = PartitionPlan(wanted)
        plan.partitions.append(part)
        view = _look_up(state, views, wanted, part, plan)
        if view is None:
            continue
        plan.views.append(view)
        part.partition = view.partition
        part.view_marks = (view.high_watermark, view.last_stable_offset, view.log_start_offset)
        part.limit = view.last_stable_offset if isolation_level == READ_COMMITTED else view.high_watermark
        if wanted.fetch_offset < part.limit and (remaining > 0 or not plan.available_bytes):
            part.budget_bytes = max(0, min(wanted.partition_max_bytes, remaining))
            if isinstance(view.partition, InternalPartition):
                size_bytes = _take_internal_records(state, view.partition, part, plan)
            else:
                size_bytes = _take_extents(view.partition, part)
            plan.available_bytes += size_bytes
            remaining -= size_bytes
    return plan


def _look_up(
    state: State,
    views: dict[tuple[bytes, int], PartitionView],
    wanted: PartitionFetch,
    part: PartitionPlan,
    plan: FetchPlan,
) -> PartitionView | None:
    """The view that `wanted` names, if it can be read; else the error, or the wish to wait, is noted."""
    name_or_id, index = wanted.key
    if isinstance(name_or_id, str):
        topic = state.shown_topic_named(name_or_id)
        topic_id = None if topic is None else topic.id
    else:
        topic = state.shown_topic(name_or_id)
        topic_id = name_or_id
    partition = state.shown_partition(topic_id, index) if topic_id is not None else None
    view = views.get((topic_id, index)) if topic_id is not None else None
    if partition is None or view is None or view.partition is not partition:
        plan.looked_at_machine = True
        if (partition is None) != (view is None) or partition is not None:
            plan.must_wait_for_durability = True
        elif topic is None and not isinstance(name_or_id, str):
            part.error = ErrorCode.UNKNOWN_TOPIC_ID
        else:
            part.error = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        plan.has_error = True
        return None
    offset = wanted.fetch_offset
    if offset < partition.log_start_offset and view.log_start_offset < partition.log_start_offset:
        plan.looked_at_machine = plan.must_wait_for_durability = True
        return view
    if wanted.current_leader_epoch >= 0 and wanted.current_leader_epoch != LEADER_EPOCH:
        is_newer = wanted.current_leader_epoch > LEADER_EPOCH
        part.error = ErrorCode.UNKNOWN_LEADER_EPOCH if is_newer else ErrorCode.FENCED_LEADER_EPOCH
        plan.looked_at_machine = True
    elif offset < view.log_start_offset or offset > partition.log_end_offset:
        part.error = ErrorCode.OFFSET_OUT_OF_RANGE
        plan.looked_at_machine = True
    elif offset > view.high_watermark:
        plan.looked_at_machine = True
    if part.error:
        plan.has_error = True
        return None
    return view


def _take_extents(partition: Partition, part: PartitionPlan) -> int:
    """Add extents from the fetch offset on until the budget is met; returns the bytes that count."""
    extents = partition.extents
    size_bytes = 0
    for i in range(extents.find(part.wanted.fetch_offset), len(extents)):
        extent = extents.extent(i)
        if extent.base_offset >= part.limit:
            break
        part.extents.append(extent)
        size_bytes += extent.size
        if size_bytes >= part.budget_bytes:
            return max(part.budget_bytes, 1)
    return size_bytes


def _take_internal_records(
    state: State, partition: InternalPartition, part: PartitionPlan, plan: FetchPlan
) -> int:
    """Encode them at once: the state moves on before bytes from the disk would be there."""
    records_max = internal_records.RECORDS_PER_FETCH_MAX - plan.internal_records
    bytes_max = min(part.budget_bytes, internal_records.BYTES_PER_FETCH_MAX - plan.internal_bytes)
    may_exceed = not plan.available_bytes
    if records_max <= 0 or not (may_exceed or bytes_max > 0):
        return 0
    records, count = internal_records.batch_from(
        state,
        partition,
        part.wanted.fetch_offset,
        part.limit,
        LEADER_EPOCH,
        bytes_max=bytes_max,
        records_max=records_max,
    )
    # What turns out too large has taken its time, too: a record may have megabytes, in many partitions.
    plan.internal_bytes += len(records)
    if len(records) > bytes_max and not may_exceed:
        return 0
    part.internal_records = records
    if count:
        # Records before these may be gone by a change that is not durable yet, and a crash would bring them
        # back behind a reader who was told of these.
        plan.looked_at_machine = True
    plan.internal_records += count
    return len(records)


def cut_batches(
    buffer: memoryview, fetch_offset: int, limit: int, budget_bytes: int, may_exceed: bool
) -> tuple[memoryview, int]:
    """The whole batches of an extent that a fetch may have.

    Batches before `fetch_offset` and from `limit` on are left out; the first batch may exceed the budget
    only when `may_exceed`. Returns the slice and the offset after its last batch (-1 when it is empty).
    """
    position = 0
    start = -1
    end_offset = -1
    size_bytes = len(buffer)
    while position < size_bytes:
        base_offset, batch_length, last_offset_delta = _BATCH_PLACE.unpack_from(buffer, position)
        total = 12 + batch_length
        next_offset = base_offset + last_offset_delta + 1
        if next_offset > fetch_offset:
            if base_offset >= limit:
                break
            if start < 0:
                start = position
            if position + total - start > budget_bytes and not (may_exceed and position == start):
                break
            end_offset = next_offset
        position += total
    if end_offset < 0:
        return buffer[:0], -1
    return buffer[start:position], end_offset


def read_from(part: PartitionPlan, buffers: Sequence[memoryview], may_exceed: bool) -> FetchedPartition:
    """Cut one partition's extents to what may be returned, and list the aborted transactions in it."""
    wanted = part.wanted
    remaining = part.budget_bytes
    pieces: list[bytes | memoryview] = []
    end_offset = wanted.fetch_offset
    for extent, buffer in zip(part.extents, buffers, strict=True):
        if not extent.stamped:
            buffer = memoryview(b"".join(stamp(buffer, extent.base_offset, LEADER_EPOCH)))
        is_whole = (
            extent.base_offset >= wanted.fetch_offset
            and extent.last_offset < part.limit
            and extent.size <= remaining
        )
        if is_whole:
            piece, piece_end = buffer, extent.last_offset + 1
        else:
            piece, piece_end = cut_batches(buffer, wanted.fetch_offset, part.limit, remaining, may_exceed)
            if piece_end < 0:
                break
        pieces.append(piece)
        end_offset = piece_end
        may_exceed = False
        remaining -= len(piece)
        if piece_end <= extent.last_offset:
            break
    if part.internal_records:
        pieces.append(part.internal_records)
    records = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    high_watermark, last_stable_offset, log_start_offset = part.view_marks
    assert end_offset <= max(part.limit, wanted.fetch_offset), "law 1: a read stays below its limit"
    aborted: list[tuple[int, int]] = []
    if pieces and part.partition is not None:
        aborted = part.partition.aborted.overlapping(wanted.fetch_offset, end_offset)
    return FetchedPartition(
        wanted, ErrorCode.NONE, high_watermark, last_stable_offset, log_start_offset, aborted, records
    )


class Growth:
    """What there is to read of one partition that a fetch waits for; each extent is counted once."""

    __slots__ = ("bytes_max", "counted_to", "size_bytes", "view")

    def __init__(self, view: PartitionView, wanted: PartitionFetch) -> None:
        self.view = view
        self.counted_to = wanted.fetch_offset
        self.bytes_max = max(wanted.partition_max_bytes, 1)
        self.size_bytes = 0

    def bytes_below(self, limit: int) -> int:
        """As many as the plan of a fetch would take; of an internal topic, whether it would take any."""
        partition = self.view.partition
        if isinstance(partition, InternalPartition):
            return ENOUGH_BYTES if internal_records.has_records(partition, self.counted_to, limit) else 0
        extents = partition.extents
        for i in range(extents.find(self.counted_to), len(extents)):
            extent = extents.extent(i)
            if extent.base_offset >= limit or self.size_bytes >= self.bytes_max:
                break
            self.size_bytes += extent.size
            self.counted_to = extent.last_offset + 1
        return min(self.size_bytes, self.bytes_max)


class Fetch:
    """One fetch under way: plans, waits for enough bytes or its time, reads, and answers once.

    done: called with the partitions' results and the journal position that the answer depends on (0 when it
    only showed published values).
    failed: called instead, with an error of ours.
    """

    def __init__(
        self,
        broker: Broker,
        wanted: Sequence[PartitionFetch],
        *,
        isolation_level: int,
        min_bytes: int,
        max_bytes: int,
        max_wait_ms: int,
        done: Callable[[list[FetchedPartition], int], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._broker = broker
        self._wanted = wanted
        self._isolation_level = isolation_level
        self._min_bytes = min(min_bytes, max_bytes)
        self._max_bytes = max_bytes
        self._max_wait_ms = max_wait_ms
        self._done = done
        self._failed = failed
        self._waits_on: list[Growth] = []
        self._deadline: Deadline | None = None
        self._is_over_time = max_wait_ms <= 0 or not wanted
        self._is_held = False
        self._is_cancelled = False

    def start(self) -> None:
        """Answer now if there is enough, else when there is or when the time is up."""
        self._attempt()

    def cancel(self) -> None:
        """The client has gone: never answer."""
        self._is_cancelled = True
        self._stop_waiting()

    def release(self) -> None:
        """What the machine knew and the view did not is durable now: plan anew."""
        self._is_held = False
        if not self._is_cancelled:
            self._attempt()

    def _attempt(self) -> None:
        try:
            self._attempt_or_raise()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """An error of ours ends this fetch, not the turn of those that are woken or released with it."""
        self.cancel()
        self._failed(error)

    def _attempt_or_raise(self) -> None:
        broker = self._broker
        plan = plan_fetch(
            broker.state, broker.published.views, self._wanted, self._max_bytes, self._isolation_level
        )
        engine = broker.engine
        if plan.must_wait_for_durability and engine.stamp() > engine.durable_position:
            self._is_held = True
            engine.hold(self, engine.stamp())
            return
        assert not plan.must_wait_for_durability, "machine and view differ though all is durable"
        if (
            plan.has_error
            or self._is_over_time
            or plan.internal_records
            or plan.available_bytes >= self._min_bytes
        ):
            self._stop_waiting()
            self._read(plan, engine.stamp() if plan.looked_at_machine else 0)
        else:
            self._wait(plan)

    def _wait(self, plan: FetchPlan) -> None:
        if self._waits_on:
            return
        parts = zip(plan.views, plan.partitions, strict=True)
        self._waits_on = [Growth(view, part.wanted) for view, part in parts]
        for view in plan.views:
            view.waiters[self._woken] = None
        self._deadline = self._broker.deadlines.after(self._max_wait_ms, self._time_is_up)

    def _stop_waiting(self) -> None:
        for growth in self._waits_on:
            growth.view.waiters.pop(self._woken, None)
        self._waits_on = []
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _woken(self) -> None:
        if not self._is_cancelled and not self._is_held and self._waits_on and self._has_reason():
            self._attempt()

    def _has_reason(self) -> bool:
        """Whether a new plan may find enough, or an error: plans that find too little would add up."""
        state = self._broker.state
        is_committed = self._isolation_level == READ_COMMITTED
        size_bytes = 0
        for growth in self._waits_on:
            view = growth.view
            partition = view.partition
            is_gone = state.shown_topic(partition.topic.id) is not partition.topic
            if is_gone or partition.log_start_offset > growth.counted_to:
                return True
            size_bytes += growth.bytes_below(view.last_stable_offset if is_committed else view.high_watermark)
        return size_bytes >= self._min_bytes

    def _time_is_up(self) -> None:
        self._is_over_time = True
        self._deadline = None
        if not self._is_held:
            self._attempt()

    def _read(self, plan: FetchPlan, position: int) -> None:
        """Collect the bytes of every extent, from memory where they are, else from the disk by the door."""
        reader = self._broker.reader
        parts = [part for part in plan.partitions if part.extents]
        wanted = [extent for part in parts for extent in part.extents]

        def finish(buffers: Sequence[memoryview | None]) -> None:
            if self._is_cancelled:
                return
            try:
                self._answer(plan, buffers, position)
            except Exception as error:
                self._fail(error)

        reader.read(wanted, finish)

    def _answer(self, plan: FetchPlan, buffers: Sequence[memoryview | None], position: int) -> None:
        results: list[FetchedPartition] = []
        taken = 0
        may_exceed = True
        for part in plan.partitions:
            if part.error:
                results.append(FetchedPartition(part.wanted, part.error, -1, -1, -1, None, b""))
                continue
            count = len(part.extents)
            found = [buffer for buffer in buffers[taken : taken + count] if buffer is not None]
            taken += count
            if len(found) < count:
                error = ErrorCode.KAFKA_STORAGE_ERROR
                results.append(FetchedPartition(part.wanted, error, -1, -1, -1, None, b""))
                continue
            fetched = read_from(part, found, may_exceed)
            if fetched.records:
                may_exceed = False
            results.append(fetched)
        self._done(results, position)
