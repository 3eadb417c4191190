"""What the administrative APIs share: authorized operations, resources of configs, the operations on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from oncelog.broker.context import Context
from oncelog.machine.commands import AdminReply, AlterBrokerConfigs, AlterTopicConfigs, ConfigChange
from oncelog.machine.configs import ALL_BROKERS
from oncelog.machine.topics import topic_name_error
from oncelog.wire.errors import ErrorCode

CLUSTER_OPERATIONS = 0b1_1111_1010_0000
"""Everything that Kafka lets do on a cluster, as bits; there is no authorization yet."""
TOPIC_OPERATIONS = 0b1101_1111_1000
"""Everything that Kafka lets do on a topic."""

TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP = 2, 4, 8, 16, 32
"""Resource types of configs, by Kafka's numbers."""

NOT_SERVED = {
    BROKER_LOGGER: "The log level is set by the broker's option log-level",
    CLIENT_METRICS: "Client metrics are not collected by this broker, so nothing can be subscribed to",
    GROUP: "This broker has no configs of single groups",
}


MESSAGE_CHARACTERS_MAX = 1000
"""Messages quote what clients sent; uncut, a long name would not fit into the answer that tells of it."""


def brief(message: str | None) -> str | None:
    """A message as it may stand in an answer, whatever names are quoted in it."""
    if message is None or len(message) <= MESSAGE_CHARACTERS_MAX:
        return message
    return message[:MESSAGE_CHARACTERS_MAX] + "..."


def view_refusal(name: str) -> AdminReply:
    """What who would change an internal topic is told."""
    message = f"The topic '{name}' is internal: a view of the broker's state, which can only be read."
    return AdminReply(ErrorCode.INVALID_TOPIC_EXCEPTION, message)


class Resource(Protocol):
    """A topic, broker or something else that has configs, as requests name it."""

    resource_type: int
    resource_name: str


class Alteration(NamedTuple):
    """What an API wants of one resource. refused: why not, where the request itself is wrong."""

    resource_type: int
    resource_name: str
    changes: tuple[ConfigChange, ...]
    refused: AdminReply | None = None


def repeated(resources: Sequence[Resource]) -> set[tuple[int, str]]:
    """Resources that a request names more than once."""
    counts = Counter((resource.resource_type, resource.resource_name) for resource in resources)
    return {resource for resource, count in counts.items() if count > 1}


def broker_id_error(context: Context, name: str, *, what: str, of_all: str) -> str | None:
    """Why a broker's resource name is wrong, in Kafka's words, or None. "" means all brokers."""
    if name == ALL_BROKERS or name == str(context.broker.node_id):
        return None
    try:
        int(name)
    except ValueError:
        return f"{what} id must be an integer, but it is: {name}"
    return f"Unexpected broker id, expected {context.broker.node_id}{of_all} but received {name}"


def alter(context: Context, wanted: Alteration, *, replaces_all: bool, validate_only: bool) -> AdminReply:
    """Change the configs of one resource."""
    if wanted.refused is not None:
        return wanted.refused
    if wanted.resource_type == TOPIC:
        reply = _alter_topic(context, wanted, replaces_all, validate_only)
    elif wanted.resource_type == BROKER:
        reply = _alter_broker(context, wanted, replaces_all, validate_only)
    elif wanted.resource_type in NOT_SERVED:
        return AdminReply(ErrorCode.INVALID_REQUEST, NOT_SERVED[wanted.resource_type])
    else:
        return AdminReply(ErrorCode.INVALID_REQUEST, f"Unknown resource type {wanted.resource_type}")
    if not reply.error and not validate_only:
        context.broker.warn_of_configs([change.name for change in wanted.changes if change.value is not None])
    return reply


def _alter_topic(context: Context, wanted: Alteration, replaces_all: bool, validate_only: bool) -> AdminReply:
    name = wanted.resource_name
    if not name:
        return AdminReply(ErrorCode.INVALID_REQUEST, "Default topic resources are not allowed.")
    invalid = topic_name_error(name)
    if invalid is not None:
        return AdminReply(ErrorCode.INVALID_TOPIC_EXCEPTION, invalid)
    if context.broker.state.internal.named(name) is not None:
        return view_refusal(name)
    topic_id = context.broker.state.topic_ids.get(name)
    if topic_id is None:
        return AdminReply(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"The topic '{name}' does not exist.")
    reply: AdminReply = context.broker.engine.execute(
        AlterTopicConfigs(topic_id, wanted.changes, replaces_all, validate_only)
    )
    return reply


def _alter_broker(
    context: Context, wanted: Alteration, replaces_all: bool, validate_only: bool
) -> AdminReply:
    wrong = broker_id_error(context, wanted.resource_name, what="Node", of_all=",")
    if wrong is not None:
        return AdminReply(ErrorCode.INVALID_REQUEST, wrong)
    reply: AdminReply = context.broker.engine.execute(
        AlterBrokerConfigs(wanted.resource_name, wanted.changes, replaces_all, validate_only)
    )
    return reply
