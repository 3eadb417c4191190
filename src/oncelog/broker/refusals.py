"""The response of an API that refuses a request with a given error, made from the message definitions.

The error stands wherever the API has one: at the top, and for each topic, partition, group or member that the
request names. Must not know why a request is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from oncelog.broker.context import Context
from oncelog.broker.registry import Route
from oncelog.wire.definition import FieldSpec, Message, Struct
from oncelog.wire.messages.metadata import MetadataRequest, MetadataResponse, MetadataResponseTopic

FETCH_KEY = 1
METADATA_KEY = 3

_ERRORS = frozenset(("error_code", "partition_error_code"))
_SAME_PLACE = (
    frozenset(("index", "partition", "partition_index")),
    frozenset(("name", "topic")),
    frozenset(("topic_id",)),
    frozenset(("group_id",)),
    frozenset(("transactional_id",)),
    frozenset(("member_id",)),
    frozenset(("group_instance_id",)),
    frozenset(("resource_type",)),
    frozenset(("resource_name",)),
    frozenset(("feature",)),
)
"""Fields that say what an element is about: request and response may call the same thing differently."""

_SCALARS = {"name": str, "key": str, "group_id": str, "partition_index": int}
"""Where an element of the request is a name or a number alone: the field that repeats it."""

_UNKNOWN = frozenset(
    (
        "base_offset",
        "committed_offset",
        "end_offset",
        "generation_id",
        "high_watermark",
        "last_stable_offset",
        "leader_epoch",
        "log_start_offset",
        "node_id",
        "offset",
        "port",
        "producer_epoch",
        "producer_id",
        "timestamp",
    )
)
"""Fields in which -1 says that there is nothing to say."""


def refusal(route: Route, context: Context, request: Message, error: int) -> Message:
    """What the client is told when its request is refused and nothing of it is done."""
    if route.key == METADATA_KEY:
        return _metadata(route, context, cast(MetadataRequest, request), error)
    response = cast(Message, _answered(route.api.response, request, context.version, error))
    if route.key == FETCH_KEY and getattr(response, "responses", None):
        # Beside errors of partitions, one at the top would end the client's fetch session.
        response.error_code = 0  # type: ignore[attr-defined]
    return response


def _metadata(route: Route, context: Context, request: MetadataRequest, error: int) -> Message:
    """The true answer, with the error for each topic: without the brokers a client would be lost."""
    request.allow_auto_topic_creation = False
    version = context.version
    told = MetadataResponse.decode(route.handle(context, request).encode(version), version)
    told.error_code = error
    told.topics = [
        MetadataResponseTopic(error_code=error, name=topic.name, topic_id=topic.topic_id, partitions=[])
        for topic in told.topics
    ]
    return told


def _answered(response: type[Struct], asked: Any, version: int, error: int) -> Struct:
    """One struct of the response for one element of the request."""
    values: dict[str, Any] = {}
    for spec in response.fields:
        if version not in spec.versions:
            continue
        if spec.name in _ERRORS:
            values[spec.name] = error
        elif (element := _element_with_error(spec)) is not None:
            named = _named_in(asked, version)
            values[spec.name] = [_answered(element, each, version, error) for each in named]
        elif spec.name in _UNKNOWN:
            values[spec.name] = -1
        elif (same := _same_field(spec, asked, version)) is not None:
            values[spec.name] = same
    return response(**values)


def _element_with_error(spec: FieldSpec) -> type[Struct] | None:
    """The struct that an array consists of, if an error has a place in it."""
    if spec.type.name != "array" or spec.type.element.name != "struct":
        return None
    element: type[Struct] = spec.type.element.element
    has_place = any(inner.name in _ERRORS or _element_with_error(inner) for inner in element.fields)
    return element if has_place else None


def _named_in(asked: Any, version: int) -> Sequence[Any]:
    """What the first array of a request, or of an element of it, names; one that this version has."""
    if not isinstance(asked, Struct):
        return ()
    for spec in asked.fields:
        if spec.type.name == "array" and version in spec.versions:
            return getattr(asked, spec.name) or ()
    return ()


def _same_field(spec: FieldSpec, asked: Any, version: int) -> Any:
    """What the request says in this field's place."""
    if not isinstance(asked, Struct):
        return asked if isinstance(asked, _SCALARS.get(spec.name, ())) else None
    for alike in _SAME_PLACE:
        if spec.name in alike:
            for other in asked.fields:
                if other.name in alike and version in other.versions:
                    return getattr(asked, other.name)
    return None
