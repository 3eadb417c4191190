"""DescribeCluster (key 60, v0-2): the cluster id and its one broker, which is the controller too (KIP-700).

Errors: MISMATCHED_ENDPOINT_TYPE where controllers are asked for, UNSUPPORTED_ENDPOINT_TYPE.
"""

from __future__ import annotations

from oncelog.broker.api._admin import CLUSTER_OPERATIONS
from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.describe_cluster import (
    DescribeClusterBroker,
    DescribeClusterRequest,
    DescribeClusterResponse,
)

API = Api(request=DescribeClusterRequest, response=DescribeClusterResponse)

BROKERS, CONTROLLERS = 1, 2


def handle(context: Context, request: DescribeClusterRequest) -> DescribeClusterResponse:
    """Name this broker by the address that the client came in by."""
    if request.endpoint_type == CONTROLLERS:
        return DescribeClusterResponse(
            error_code=ErrorCode.MISMATCHED_ENDPOINT_TYPE,
            error_message="The request was sent to an endpoint of type BROKER, but we wanted an endpoint of "
            "type CONTROLLER",
            brokers=[],
        )
    if request.endpoint_type != BROKERS:
        return DescribeClusterResponse(
            error_code=ErrorCode.UNSUPPORTED_ENDPOINT_TYPE,
            error_message=f"Unsupported endpoint type {request.endpoint_type}",
            brokers=[],
        )
    broker = context.broker
    host, port = context.connection.listener_address
    response = DescribeClusterResponse(
        cluster_id=broker.cluster_id,
        controller_id=broker.node_id,
        brokers=[DescribeClusterBroker(broker_id=broker.node_id, host=host, port=port)],
    )
    if request.include_cluster_authorized_operations:
        response.cluster_authorized_operations = CLUSTER_OPERATIONS
    return response
