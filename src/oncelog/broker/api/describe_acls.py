"""DescribeAcls (key 29, v1-3): there are none, as on Kafka without an authorizer.

Errors: SECURITY_DISABLED, always.
"""

from __future__ import annotations

from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.describe_acls import DescribeAclsRequest, DescribeAclsResponse

API = Api(request=DescribeAclsRequest, response=DescribeAclsResponse)


def handle(_: Context, __: DescribeAclsRequest) -> DescribeAclsResponse:
    """Say so in Kafka's words, which tools look for."""
    return DescribeAclsResponse(
        error_code=ErrorCode.SECURITY_DISABLED,
        error_message="No Authorizer is configured on the broker",
        resources=[],
    )
