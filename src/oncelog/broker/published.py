"""What has become durable and may be shown to readers: watermarks per partition, moved once per entry.

The machine runs ahead of the disk; these values follow it entry by entry (laws 1 and 7). Only Fetch reads
them; every other answer waits for what it saw of the machine. Must not know requests or sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from oncelog.machine.moment import At
from oncelog.machine.state import Partition, State


class PartitionView:
    """The watermarks of one partition as of the newest durable entry, and who waits for them to move."""

    __slots__ = ("high_watermark", "last_stable_offset", "log_start_offset", "partition", "waiters")

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.high_watermark = 0
        self.last_stable_offset = 0
        self.log_start_offset = 0
        self.waiters: dict[Callable[[], None], None] = {}


class Watermarks(NamedTuple):
    """Where one partition stood when an entry closed."""

    partition: Partition
    log_end_offset: int
    last_stable_offset: int
    log_start_offset: int


class Movement(NamedTuple):
    """All that one entry changes in the published view; noted when it closes, applied when it is durable."""

    watermarks: list[Watermarks]
    removed: list[Partition]


def movement_of(at: At) -> Movement:
    """Note the watermarks as they are now: the machine will run on before the entry is durable."""
    return Movement(
        [
            Watermarks(
                partition,
                partition.log_end_offset,
                partition.last_stable_offset,
                partition.log_start_offset,
            )
            for partition in at.touched
        ],
        at.removed,
    )


class Published:
    """Every partition's view, by (topic id, partition index)."""

    def __init__(self) -> None:
        self.views: dict[tuple[bytes, int], PartitionView] = {}

    def publish_all(self, state: State) -> None:
        """Show everything in `state`: after replay, when all of it is durable."""
        for topic in (*state.topics.values(), *state.internal):
            for partition in topic.partitions:
                marks = Watermarks(
                    partition,
                    partition.log_end_offset,
                    partition.last_stable_offset,
                    partition.log_start_offset,
                )
                self._move(marks)

    def publish(self, movement: Movement) -> list[Callable[[], None]]:
        """Apply one durable entry's movement in one step; returns the wake-ups of those who waited."""
        woken: dict[Callable[[], None], None] = {}
        for marks in movement.watermarks:
            view = self._move(marks)
            if view.waiters:
                woken.update(view.waiters)
        for partition in movement.removed:
            gone = self.views.pop((partition.topic.id, partition.index), None)
            if gone is not None:
                woken.update(gone.waiters)
        return list(woken)

    def _move(self, marks: Watermarks) -> PartitionView:
        partition = marks.partition
        key = (partition.topic.id, partition.index)
        view = self.views.get(key)
        if view is None:
            view = self.views[key] = PartitionView(partition)
        assert marks.log_end_offset >= view.high_watermark, "law 7: the high watermark never goes back"
        assert marks.last_stable_offset >= view.last_stable_offset, "law 7: nor does the last stable offset"
        assert marks.log_start_offset >= view.log_start_offset, "law 7: nor does the log start"
        view.high_watermark = marks.log_end_offset
        view.last_stable_offset = marks.last_stable_offset
        view.log_start_offset = marks.log_start_offset
        return view
