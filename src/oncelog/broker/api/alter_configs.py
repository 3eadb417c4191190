"""AlterConfigs (key 33, v0-2): replace all overrides of a resource's configs by those given.

Kafka has deprecated it for IncrementalAlterConfigs; the older clients know nothing else.
Errors per resource: INVALID_REQUEST, INVALID_CONFIG, UNKNOWN_TOPIC_OR_PARTITION, INVALID_TOPIC_EXCEPTION.
"""

from __future__ import annotations

from oncelog.broker.api._admin import Alteration, alter, brief, repeated
from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.machine.commands import AdminReply, ConfigChange, ConfigOperation
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.alter_configs import (
    AlterConfigsRequest,
    AlterConfigsResourceResponse,
    AlterConfigsResponse,
)

API = Api(request=AlterConfigsRequest, response=AlterConfigsResponse)


def handle(context: Context, request: AlterConfigsRequest) -> AlterConfigsResponse:
    """Change one resource after the other; one that is named twice is not touched."""
    twice = repeated(request.resources)
    response = AlterConfigsResponse(responses=[])
    for resource in request.resources:
        changes = tuple(
            ConfigChange(config.name, ConfigOperation.SET, config.value) for config in resource.configs
        )
        if (resource.resource_type, resource.resource_name) in twice:
            reply = AdminReply(ErrorCode.INVALID_REQUEST, "Each resource must appear at most once.")
        else:
            wanted = Alteration(resource.resource_type, resource.resource_name, changes)
            reply = alter(context, wanted, replaces_all=True, validate_only=request.validate_only)
        response.responses.append(
            AlterConfigsResourceResponse(
                error_code=reply.error,
                error_message=brief(reply.message),
                resource_type=resource.resource_type,
                resource_name=resource.resource_name,
            )
        )
    return response
