"""InitProducerId (key 22): request and response."""

from __future__ import annotations

from oncelog.wire.definition import Message, bool_, field, int16, int32, int64, string


class InitProducerIdRequest(Message, api_key=22, versions="0-5", flexible="2+"):
    transactional_id: str | None = field(string, nullable="0+")
    transaction_timeout_ms: int = field(int32)
    producer_id: int = field(int64, versions="3+", default=-1)
    producer_epoch: int = field(int16, versions="3+", default=-1)
    enable2_pc: bool = field(bool_, versions="6+", default=False)
    keep_prepared_txn: bool = field(bool_, versions="6+", default=False)


class InitProducerIdResponse(Message, api_key=22, versions="0-5", flexible="2+"):
    throttle_time_ms: int = field(int32, ignorable=True)
    error_code: int = field(int16)
    producer_id: int = field(int64, default=-1)
    producer_epoch: int = field(int16)
    ongoing_txn_producer_id: int = field(int64, versions="6+", default=-1)
    ongoing_txn_producer_epoch: int = field(int16, versions="6+", default=-1)
