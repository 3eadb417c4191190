"""AddPartitionsToTxn (key 24): request and response."""

from __future__ import annotations

from oncelog.wire.definition import Message, Struct, array, bool_, field, int16, int32, int64, string


class AddPartitionsToTxnTopic(Struct):
    """One of `AddPartitionsToTxnTransaction.topics` and `AddPartitionsToTxnRequest.v3_and_below_topics`."""

    name: str = field(string)
    partitions: list[int] = field(array(int32))


class AddPartitionsToTxnTransaction(Struct):
    """One of the `transactions` of AddPartitionsToTxnRequest."""

    transactional_id: str = field(string, versions="4+")
    producer_id: int = field(int64, versions="4+")
    producer_epoch: int = field(int16, versions="4+")
    verify_only: bool = field(bool_, versions="4+", default=False)
    topics: list[AddPartitionsToTxnTopic] = field(array(AddPartitionsToTxnTopic), versions="4+")


class AddPartitionsToTxnRequest(Message, api_key=24, versions="0-5", flexible="3+"):
    transactions: list[AddPartitionsToTxnTransaction] = field(
        array(AddPartitionsToTxnTransaction), versions="4+"
    )
    v3_and_below_transactional_id: str = field(string, versions="0-3")
    v3_and_below_producer_id: int = field(int64, versions="0-3")
    v3_and_below_producer_epoch: int = field(int16, versions="0-3")
    v3_and_below_topics: list[AddPartitionsToTxnTopic] = field(array(AddPartitionsToTxnTopic), versions="0-3")


class AddPartitionsToTxnPartitionResult(Struct):
    """One of the `results_by_partition` of AddPartitionsToTxnTopicResult."""

    partition_index: int = field(int32)
    partition_error_code: int = field(int16)


class AddPartitionsToTxnTopicResult(Struct):
    """A topic of one transaction (v0-3), or of one among several."""

    name: str = field(string)
    results_by_partition: list[AddPartitionsToTxnPartitionResult] = field(
        array(AddPartitionsToTxnPartitionResult)
    )


class AddPartitionsToTxnResult(Struct):
    """One of the `results_by_transaction` of AddPartitionsToTxnResponse."""

    transactional_id: str = field(string, versions="4+")
    topic_results: list[AddPartitionsToTxnTopicResult] = field(
        array(AddPartitionsToTxnTopicResult), versions="4+"
    )


class AddPartitionsToTxnResponse(Message, api_key=24, versions="0-5", flexible="3+"):
    throttle_time_ms: int = field(int32)
    error_code: int = field(int16, versions="4+", ignorable=True)
    results_by_transaction: list[AddPartitionsToTxnResult] = field(
        array(AddPartitionsToTxnResult), versions="4+"
    )
    results_by_topic_v3_and_below: list[AddPartitionsToTxnTopicResult] = field(
        array(AddPartitionsToTxnTopicResult), versions="0-3"
    )
