"""ListPartitionReassignments (key 46, v0): none, for partitions have one replica, on this broker (KIP-455).

Like Kafka, partitions that are not there are passed over in silence. No errors.
"""

from __future__ import annotations

from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.list_partition_reassignments import (
    ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
)

API = Api(request=ListPartitionReassignmentsRequest, response=ListPartitionReassignmentsResponse)


def handle(_: Context, __: ListPartitionReassignmentsRequest) -> ListPartitionReassignmentsResponse:
    """Nothing is ever on its way to another broker."""
    return ListPartitionReassignmentsResponse(error_code=ErrorCode.NONE, error_message=None, topics=[])
