"""DescribeLogDirs (key 35, v1-5): the data directory, and how many bytes of batches each partition holds.

Partitions share the journal, so their sizes are the sums of their batches. The sizes of the file system are
left unknown. Internal topics are views, which take no room. Topics and partitions that are not there are left
out, as Kafka does. No errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.machine.state import Partition
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.describe_log_dirs import (
    DescribableLogDirTopic,
    DescribeLogDirsPartition,
    DescribeLogDirsRequest,
    DescribeLogDirsResponse,
    DescribeLogDirsResult,
    DescribeLogDirsTopic,
)

API = Api(request=DescribeLogDirsRequest, response=DescribeLogDirsResponse)


def handle(context: Context, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse:
    """Describe the one directory."""
    topics = [
        DescribeLogDirsTopic(
            name=name,
            partitions=[
                DescribeLogDirsPartition(
                    partition_index=partition.index,
                    partition_size=partition.extents.size_bytes,
                    offset_lag=0,
                )
                for partition in partitions
            ],
        )
        for name, partitions in _wanted(context, request.topics)
        if partitions
    ]
    result = DescribeLogDirsResult(
        error_code=ErrorCode.NONE, log_dir=context.broker.options.data, topics=topics
    )
    return DescribeLogDirsResponse(error_code=ErrorCode.NONE, results=[result])


def _wanted(
    context: Context, asked: Iterable[DescribableLogDirTopic] | None
) -> Iterator[tuple[str, list[Partition]]]:
    """The partitions of each topic that is asked for; of all when none are named (null)."""
    state = context.broker.state
    if asked is None:
        for topic in state.listed_topics():
            yield topic.name, topic.partitions
        return
    indexes: dict[str, set[int]] = {}
    for each in asked:
        indexes.setdefault(each.topic, set()).update(each.partitions)
    for name, wanted in indexes.items():
        found = state.shown_topic_named(name)
        if found is not None:
            yield name, [partition for partition in found.partitions if partition.index in wanted]
