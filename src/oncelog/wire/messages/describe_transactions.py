"""DescribeTransactions (key 65): request and response."""

from __future__ import annotations

from oncelog.wire.definition import Message, Struct, array, field, int16, int32, int64, string


class DescribeTransactionsRequest(Message, api_key=65, versions="0", flexible="0+"):
    transactional_ids: list[str] = field(array(string))


class TopicData(Struct):
    """One of the `topics` of TransactionState."""

    topic: str = field(string)
    partitions: list[int] = field(array(int32))


class TransactionState(Struct):
    """One of the `transaction_states` of DescribeTransactionsResponse."""

    error_code: int = field(int16)
    transactional_id: str = field(string)
    transaction_state: str = field(string)
    transaction_timeout_ms: int = field(int32)
    transaction_start_time_ms: int = field(int64)
    producer_id: int = field(int64)
    producer_epoch: int = field(int16)
    topics: list[TopicData] = field(array(TopicData))


class DescribeTransactionsResponse(Message, api_key=65, versions="0", flexible="0+"):
    throttle_time_ms: int = field(int32)
    transaction_states: list[TransactionState] = field(array(TransactionState))
