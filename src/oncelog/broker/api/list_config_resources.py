"""ListConfigResources (key 74, v0-1): the topics and the broker; nothing else has configs here (KIP-1142).

v0 asks for subscriptions to client metrics only, of which there are none. The broker's loggers are left out,
for DescribeConfigs refuses them. Errors: UNSUPPORTED_VERSION for an unknown kind of resource.
"""

from __future__ import annotations

from oncelog.broker.api._admin import BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC
from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.list_config_resources import (
    ConfigResource,
    ListConfigResourcesRequest,
    ListConfigResourcesResponse,
)

API = Api(request=ListConfigResourcesRequest, response=ListConfigResourcesResponse)

KINDS = frozenset({TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP})
FIRST_VERSION_WITH_KINDS = 1


def handle(context: Context, request: ListConfigResourcesRequest) -> ListConfigResourcesResponse:
    """List the resources of the kinds that are asked for; of all when none is."""
    kinds = frozenset({CLIENT_METRICS})
    if context.version >= FIRST_VERSION_WITH_KINDS:
        kinds = frozenset(request.resource_types) or KINDS
    if not kinds <= KINDS:
        return ListConfigResourcesResponse(error_code=ErrorCode.UNSUPPORTED_VERSION, config_resources=[])
    broker = context.broker
    found = []
    if BROKER in kinds:
        found.append(ConfigResource(resource_name=str(broker.node_id), resource_type=BROKER))
    if TOPIC in kinds:
        found += [
            ConfigResource(resource_name=topic.name, resource_type=TOPIC)
            for topic in broker.state.listed_topics()
        ]
    return ListConfigResourcesResponse(error_code=ErrorCode.NONE, config_resources=found)
