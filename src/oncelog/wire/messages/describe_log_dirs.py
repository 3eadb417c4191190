"""DescribeLogDirs (key 35): request and response."""

from __future__ import annotations

from oncelog.wire.definition import Message, Struct, array, bool_, field, int16, int32, int64, string


class DescribableLogDirTopic(Struct):
    """One of the `topics` of DescribeLogDirsRequest."""

    topic: str = field(string)
    partitions: list[int] = field(array(int32))


class DescribeLogDirsRequest(Message, api_key=35, versions="1-5", flexible="2+"):
    topics: list[DescribableLogDirTopic] | None = field(array(DescribableLogDirTopic), nullable="0+")


class DescribeLogDirsPartition(Struct):
    """One of the `partitions` of DescribeLogDirsTopic."""

    partition_index: int = field(int32)
    partition_size: int = field(int64)
    offset_lag: int = field(int64)
    is_future_key: bool = field(bool_)


class DescribeLogDirsTopic(Struct):
    """One of the `topics` of DescribeLogDirsResult."""

    name: str = field(string)
    partitions: list[DescribeLogDirsPartition] = field(array(DescribeLogDirsPartition))


class DescribeLogDirsResult(Struct):
    """One of the `results` of DescribeLogDirsResponse."""

    error_code: int = field(int16)
    log_dir: str = field(string)
    topics: list[DescribeLogDirsTopic] = field(array(DescribeLogDirsTopic))
    total_bytes: int = field(int64, versions="4+", default=-1, ignorable=True)
    usable_bytes: int = field(int64, versions="4+", default=-1, ignorable=True)
    is_cordoned: bool = field(bool_, versions="5+", default=False, ignorable=True)


class DescribeLogDirsResponse(Message, api_key=35, versions="1-5", flexible="2+"):
    throttle_time_ms: int = field(int32)
    error_code: int = field(int16, versions="3+", ignorable=True)
    results: list[DescribeLogDirsResult] = field(array(DescribeLogDirsResult))
