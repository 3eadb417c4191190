"""AddPartitionsToTxn (key 24): request and response."""

from __future__ import annotations

from oncelog.wire.definition import Message, Struct, array, bool_, field, int16, int32, int64, string


class AddPartitionsToTxnTopic(Struct):
    """Add partitions to txn topic."""

    name: str = field(string)
    partitions: list[int] = field(array(int32))


class AddPartitionsToTxnTransaction(Struct):
    """Add partitions to txn transaction."""

    transactional_id: str = field(string, versions="4+")
    producer_id: int = field(int64, versions="4+")
    producer_epoch: int = field(int16, versions="4+")
    verify_only: bool = field(bool_, versions="4+", default=False)
    topics: list[AddPartitionsToTxnTopic] = field(array(AddPartitionsToTxnTopic), versions="4+")


class AddPartitionsToTxnRequest(Message, api_key=24, versions="0-5", flexible="3+"):
    """AddPartitionsToTxn as a request."""

    transactions: list[AddPartitionsToTxnTransaction] = field(
        array(AddPartitionsToTxnTransaction), versions="4+"
    )
    v3_and_below_transactional_id: str = field(string, versions="0-3")
    v3_and_below_producer_id: int = field(int64, versions="0-3")
    v3_and_below_producer_epoch: int = field(int16, versions="0-3")
    v3_and_below_topics: list[AddPartitionsToTxnTopic] = field(array(AddPartitionsToTxnTopic), versions="0-3")


class AddPartitionsToTxnPartitionResult(Struct):
    """Add partitions to txn partition result."""

    partition_index: int = field(int32)
    partition_error_code: int = field(int16)


class AddPartitionsToTxnTopicResult(Struct):
    """Add partitions to txn topic result."""

    name: str = field(string)
    results_by_partition: list[AddPartitionsToTxnPartitionResult] = field(
        array(AddPartitionsToTxnPartitionResult)
    )


class AddPartitionsToTxnResult(Struct):
    """Add partitions to txn result."""

    transactional_id: str = field(string, versions="4+")
    topic_results: list[AddPartitionsToTxnTopicResult] = field(
        array(AddPartitionsToTxnTopicResult), versions="4+"
    )


class AddPartitionsToTxnResponse(Message, api_key=24, versions="0-5", flexible="3+"):
    """AddPartitionsToTxn as a response."""

    throttle_time_ms: int = field(int32)
    error_code: int = field(int16, versions="4+", ignorable=True)
    results_by_transaction: list[AddPartitionsToTxnResult] = field(
        array(AddPartitionsToTxnResult), versions="4+"
    )
    results_by_topic_v3_and_below: list[AddPartitionsToTxnTopicResult] = field(
        array(AddPartitionsToTxnTopicResult), versions="0-3"
    )
