"""IncrementalAlterConfigs (key 44, v0-1): set, delete, append to or subtract from configs (KIP-339).

Of topics and brokers; each resource is changed wholly or not at all, whatever becomes of the others.
Errors per resource: INVALID_REQUEST, INVALID_CONFIG, UNKNOWN_TOPIC_OR_PARTITION, INVALID_TOPIC_EXCEPTION.
"""

from __future__ import annotations

from oncelog.broker.api._admin import Alteration, alter, brief, repeated
from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.machine.commands import AdminReply, ConfigChange, ConfigOperation
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.incremental_alter_configs import (
    AlterConfigsResource,
    AlterConfigsResourceResponse,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)

API = Api(request=IncrementalAlterConfigsRequest, response=IncrementalAlterConfigsResponse)

OPERATIONS = {int(operation): operation for operation in ConfigOperation}


def handle(context: Context, request: IncrementalAlterConfigsRequest) -> IncrementalAlterConfigsResponse:
    """Change one resource after the other; one that is named twice is not touched."""
    twice = repeated(request.resources)
    response = IncrementalAlterConfigsResponse(responses=[])
    for resource in request.resources:
        wanted = _wanted(resource)
        if (resource.resource_type, resource.resource_name) in twice:
            reply = AdminReply(ErrorCode.INVALID_REQUEST, "Each resource must appear at most once.")
        else:
            reply = alter(context, wanted, replaces_all=False, validate_only=request.validate_only)
        response.responses.append(
            AlterConfigsResourceResponse(
                error_code=reply.error,
                error_message=brief(reply.message),
                resource_type=resource.resource_type,
                resource_name=resource.resource_name,
            )
        )
    return response


def _wanted(resource: AlterConfigsResource) -> Alteration:
    changes: list[ConfigChange] = []
    refused = None
    for config in resource.configs:
        operation = OPERATIONS.get(config.config_operation)
        if operation is None:
            refused = AdminReply(
                ErrorCode.INVALID_REQUEST, f"Unknown operation {config.config_operation} on {config.name}"
            )
        else:
            changes.append(ConfigChange(config.name, operation, config.value))
    return Alteration(resource.resource_type, resource.resource_name, tuple(changes), refused)
