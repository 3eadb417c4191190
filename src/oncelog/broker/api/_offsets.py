"""What OffsetCommit and TxnOffsetCommit share: from the topics of a request to offsets, back to errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from oncelog.machine.commands import OffsetToCommit
from oncelog.machine.state import State
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.offset_commit import OffsetCommitRequestTopic
from oncelog.wire.messages.txn_offset_commit import TxnOffsetCommitRequestTopic


def commit(
    state: State,
    topics: Sequence[OffsetCommitRequestTopic] | Sequence[TxnOffsetCommitRequestTopic],
    execute: Callable[[tuple[OffsetToCommit, ...]], tuple[ErrorCode, ...]],
    *,
    is_by_id: bool,
) -> list[list[ErrorCode]]:
    """One error per partition, per topic; `execute` is asked once, for all partitions that exist."""
    offsets: list[OffsetToCommit] = []
    places: list[tuple[list[ErrorCode], int]] = []
    rows: list[list[ErrorCode]] = []
    for asked in topics:
        topic = state.shown_topic(asked.topic_id) if is_by_id else state.shown_topic_named(asked.name)
        row: list[ErrorCode] = []
        for partition in asked.partitions:
            index = partition.partition_index
            if topic is None:
                row.append(ErrorCode.UNKNOWN_TOPIC_ID if is_by_id else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            elif not 0 <= index < len(topic.partitions):
                row.append(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            else:
                places.append((row, len(row)))
                row.append(ErrorCode.NONE)
                offsets.append(
                    OffsetToCommit(
                        topic.id,
                        index,
                        partition.committed_offset,
                        partition.committed_leader_epoch,
                        partition.committed_metadata,
                    )
                )
        rows.append(row)
    if offsets:
        for (row, place), error in zip(places, execute(tuple(offsets)), strict=True):
            row[place] = error
    return rows
