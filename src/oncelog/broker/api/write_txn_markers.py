"""WriteTxnMarkers (key 27, v1-2): an administrator's abort of an open transaction (KIP-664).

The transaction of the producer id and epoch ends as a whole, in all its partitions, and its producer is
fenced, as if it had timed out; Kafka ends it in the named partition alone. Between brokers this API has
another use, which there is none of here: a marker that commits is refused. Errors per partition:
UNKNOWN_TOPIC_OR_PARTITION; INVALID_PRODUCER_EPOCH for any epoch but the open transaction's;
CLUSTER_AUTHORIZATION_FAILED for a commit. Where nothing is open there is nothing to do, and no error.
"""

from __future__ import annotations

from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.machine.commands import AbortOnPartitions
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.write_txn_markers import (
    WritableTxnMarker,
    WritableTxnMarkerPartitionResult,
    WritableTxnMarkerResult,
    WritableTxnMarkerTopicResult,
    WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
)

API = Api(request=WriteTxnMarkersRequest, response=WriteTxnMarkersResponse)

FIRST_LEVEL_WITH_OWN_EPOCHS = 2
"""transaction.version from which a marker's epoch is one above its transaction's (KIP-890)."""
NO_TOPIC = bytes(16)


def handle(context: Context, request: WriteTxnMarkersRequest) -> WriteTxnMarkersResponse:
    """Each marker is a decision of its own."""
    return WriteTxnMarkersResponse(markers=[_write(context, marker) for marker in request.markers])


def _write(context: Context, marker: WritableTxnMarker) -> WritableTxnMarkerResult:
    topic_ids = context.broker.state.topic_ids
    partitions = tuple(
        (topic_ids.get(topic.name, NO_TOPIC), index)
        for topic in marker.topics
        for index in topic.partition_indexes
    )
    if marker.transaction_result:
        errors = (ErrorCode.CLUSTER_AUTHORIZATION_FAILED,) * len(partitions)
    else:
        errors = context.broker.engine.execute(
            AbortOnPartitions(
                marker.producer_id,
                marker.producer_epoch,
                partitions,
                marker.transaction_version >= FIRST_LEVEL_WITH_OWN_EPOCHS,
                context.client_id,
                context.host,
            )
        ).partition_errors
    remaining = iter(errors)
    return WritableTxnMarkerResult(
        producer_id=marker.producer_id,
        topics=[
            WritableTxnMarkerTopicResult(
                name=topic.name,
                partitions=[
                    WritableTxnMarkerPartitionResult(partition_index=index, error_code=next(remaining))
                    for index in topic.partition_indexes
                ],
            )
            for topic in marker.topics
        ],
    )
