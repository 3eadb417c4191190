"""WriteTxnMarkers (key 27): request and response."""

from __future__ import annotations

from oncelog.wire.definition import Message, Struct, array, bool_, field, int8, int16, int32, int64, string


class WritableTxnMarkerTopic(Struct):
    """One of the `topics` of WritableTxnMarker."""

    name: str = field(string)
    partition_indexes: list[int] = field(array(int32))


class WritableTxnMarker(Struct):
    """One of the `markers` of WriteTxnMarkersRequest."""

    producer_id: int = field(int64)
    producer_epoch: int = field(int16)
    transaction_result: bool = field(bool_)
    topics: list[WritableTxnMarkerTopic] = field(array(WritableTxnMarkerTopic))
    coordinator_epoch: int = field(int32)
    transaction_version: int = field(int8, versions="2+", ignorable=True)


class WriteTxnMarkersRequest(Message, api_key=27, versions="1-2", flexible="1+"):
    markers: list[WritableTxnMarker] = field(array(WritableTxnMarker))


class WritableTxnMarkerPartitionResult(Struct):
    """One of the `partitions` of WritableTxnMarkerTopicResult."""

    partition_index: int = field(int32)
    error_code: int = field(int16)


class WritableTxnMarkerTopicResult(Struct):
    """One of the `topics` of WritableTxnMarkerResult."""

    name: str = field(string)
    partitions: list[WritableTxnMarkerPartitionResult] = field(array(WritableTxnMarkerPartitionResult))


class WritableTxnMarkerResult(Struct):
    """One of the `markers` of WriteTxnMarkersResponse."""

    producer_id: int = field(int64)
    topics: list[WritableTxnMarkerTopicResult] = field(array(WritableTxnMarkerTopicResult))


class WriteTxnMarkersResponse(Message, api_key=27, versions="1-2", flexible="1+"):
    markers: list[WritableTxnMarkerResult] = field(array(WritableTxnMarkerResult))
