"""DescribeConfigs (key 32, v1-4): the configs of topics and brokers with their sources and synonyms.

Groups and client metrics are answered as by a cluster on which nobody has changed theirs. No documentation is
sent. Errors per resource: UNKNOWN_TOPIC_OR_PARTITION, INVALID_TOPIC_EXCEPTION, INVALID_REQUEST.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from oncelog.broker.api._admin import (
    BROKER,
    BROKER_LOGGER,
    CLIENT_METRICS,
    GROUP,
    NOT_SERVED,
    TOPIC,
    brief,
    broker_id_error,
)
from oncelog.broker.context import Context
from oncelog.broker.options import Address, Listener
from oncelog.broker.registry import Api
from oncelog.machine.config_table import (
    DYNAMIC_BROKER_CONFIGS,
    READ_ONLY_BROKER_CONFIGS,
    TOPIC_CONFIGS,
    ConfigType,
)
from oncelog.machine.configs import (
    ALL_BROKERS,
    ConfigSource,
    describe_broker_config,
    describe_topic_config,
)
from oncelog.machine.topics import topic_name_error
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
    DescribeConfigsResourceResult,
    DescribeConfigsResponse,
    DescribeConfigsResult,
    DescribeConfigsSynonym,
)

API = Api(request=DescribeConfigsRequest, response=DescribeConfigsResponse)

GROUP_CONFIGS: tuple[tuple[str, ConfigType, str], ...] = (
    ("consumer.assignment.interval.ms", ConfigType.INT, "1000"),
    ("consumer.heartbeat.interval.ms", ConfigType.INT, "5000"),
    ("consumer.session.timeout.ms", ConfigType.INT, "45000"),
    ("share.assignment.interval.ms", ConfigType.INT, "1000"),
    ("share.auto.offset.reset", ConfigType.STRING, "latest"),
    ("share.delivery.count.limit", ConfigType.INT, "5"),
    ("share.heartbeat.interval.ms", ConfigType.INT, "5000"),
    ("share.isolation.level", ConfigType.STRING, "read_uncommitted"),
    ("share.partition.max.record.locks", ConfigType.INT, "2000"),
    ("share.record.lock.duration.ms", ConfigType.INT, "30000"),
    ("share.renew.acknowledge.enable", ConfigType.BOOLEAN, "true"),
    ("share.session.timeout.ms", ConfigType.INT, "45000"),
    ("streams.assignment.interval.ms", ConfigType.INT, "1000"),
    ("streams.heartbeat.interval.ms", ConfigType.INT, "5000"),
    ("streams.initial.rebalance.delay.ms", ConfigType.INT, "3000"),
    ("streams.num.standby.replicas", ConfigType.INT, "0"),
    ("streams.session.timeout.ms", ConfigType.INT, "45000"),
)
"""What Kafka 4.3 shows for any group by default."""

CLIENT_METRICS_CONFIGS: tuple[tuple[str, ConfigType, str], ...] = (
    ("interval.ms", ConfigType.INT, "300000"),
    ("match", ConfigType.LIST, ""),
    ("metrics", ConfigType.LIST, ""),
)

RESOURCES_MAX = 2000
"""Each is answered with dozens of configs: what takes few bytes to ask for takes very many to answer."""
TOO_MANY = f"At most {RESOURCES_MAX} resources are described in one answer; ask for the others in another"

MALFORMED = (
    "This most likely occurs because of a request being malformed by the client library or the message was "
    "sent to an incompatible broker. See the broker logs for more details."
)
NO_NAME = {
    GROUP: "Group name must not be empty",
    CLIENT_METRICS: "Client metrics subscription name must not be empty",
}


class _Refused(Exception):
    """Why a resource is not described; (error, message)."""


def handle(context: Context, request: DescribeConfigsRequest) -> DescribeConfigsResponse:
    """Describe one resource after the other."""
    response = DescribeConfigsResponse(results=[])
    for number, resource in enumerate(request.resources):
        result = DescribeConfigsResult(
            error_code=ErrorCode.NONE,
            error_message="",
            resource_type=resource.resource_type,
            resource_name=resource.resource_name,
            configs=[],
        )
        try:
            if number >= RESOURCES_MAX:
                raise _Refused(ErrorCode.POLICY_VIOLATION, TOO_MANY)
            result.configs = _describe(context, resource, request.include_synonyms)
        except _Refused as refused:
            result.error_code, message = refused.args
            result.error_message = brief(message)
        response.results.append(result)
    return response


def _describe(
    context: Context, resource: DescribeConfigsResource, with_synonyms: bool
) -> list[DescribeConfigsResourceResult]:
    kind, name = resource.resource_type, resource.resource_name
    # An empty list of keys means all of them, as null does (KAFKA-9461).
    wanted = set(resource.configuration_keys or ())
    if kind == TOPIC:
        return _topic(context, name, wanted, with_synonyms)
    if kind == BROKER:
        return _broker(context, name, wanted, with_synonyms)
    if kind in (GROUP, CLIENT_METRICS):
        if not name:
            raise _Refused(ErrorCode.INVALID_REQUEST, NO_NAME[kind])
        table = GROUP_CONFIGS if kind == GROUP else CLIENT_METRICS_CONFIGS
        synonym_prefix = "group." if kind == GROUP and with_synonyms else None
        return [_default(*row, synonym_prefix) for row in table if not wanted or row[0] in wanted]
    if kind == BROKER_LOGGER:
        raise _Refused(ErrorCode.INVALID_REQUEST, NOT_SERVED[kind])
    raise _Refused(ErrorCode.INVALID_REQUEST, MALFORMED)


def _topic(
    context: Context, name: str, wanted: set[str], with_synonyms: bool
) -> list[DescribeConfigsResourceResult]:
    invalid = topic_name_error(name)
    if invalid is not None:
        raise _Refused(ErrorCode.INVALID_TOPIC_EXCEPTION, invalid)
    state = context.broker.state
    topic = state.shown_topic_named(name)
    if topic is None:
        raise _Refused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "")
    described = (
        describe_topic_config(config, topic.configs, state.broker_configs)
        for config in TOPIC_CONFIGS
        if not wanted or config in wanted
    )
    return [
        DescribeConfigsResourceResult(
            name=each.config.name,
            value=each.value,
            config_source=each.source,
            synonyms=_synonyms(each.synonyms, with_synonyms),
            config_type=each.config.type,
            documentation=None,
        )
        for each in described
    ]


def _broker(
    context: Context, name: str, wanted: set[str], with_synonyms: bool
) -> list[DescribeConfigsResourceResult]:
    wrong = broker_id_error(context, name, what="Broker", of_all=" or empty string,")
    if wrong is not None:
        raise _Refused(ErrorCode.INVALID_REQUEST, wrong)
    overrides = context.broker.state.broker_configs
    static = {} if name == ALL_BROKERS else _static_configs(context)
    results = []
    for config in sorted({**DYNAMIC_BROKER_CONFIGS, **READ_ONLY_BROKER_CONFIGS}):
        if wanted and config not in wanted:
            continue
        if name == ALL_BROKERS and config not in overrides.get(ALL_BROKERS, {}):
            continue
        shown = overrides if name != ALL_BROKERS else {ALL_BROKERS: overrides[ALL_BROKERS]}
        described = describe_broker_config(config, shown, static)
        synonyms = described.synonyms[:1] if name == ALL_BROKERS else described.synonyms
        results.append(
            DescribeConfigsResourceResult(
                name=config,
                value=described.value,
                read_only=config in READ_ONLY_BROKER_CONFIGS,
                config_source=described.source,
                synonyms=_synonyms(synonyms, with_synonyms),
                config_type=described.config.type,
                documentation=None,
            )
        )
    return results


def _static_configs(context: Context) -> dict[str, str]:
    """What this broker was started with and is, as far as it differs from Kafka's defaults."""
    broker = context.broker
    options = broker.options
    advertised = Address(*context.connection.listener_address)
    values = options.kafka_configs() | {
        "advertised.listeners": f"PLAINTEXT://{advertised}",
        "broker.id": str(broker.node_id),
        "inter.broker.listener.name": "PLAINTEXT",
        "listeners": _listeners(options.listen, advertised),
        "log.dirs": options.data,
        "node.id": str(broker.node_id),
        "process.roles": "broker,controller",
    }
    known = DYNAMIC_BROKER_CONFIGS | READ_ONLY_BROKER_CONFIGS
    return {name: value for name, value in values.items() if known[name].default != value}


def _listeners(listeners: Sequence[Listener], advertised: Address) -> str:
    """As Kafka writes them, by name. A port that the system picked is the one that the client came in by."""
    names = ["PLAINTEXT", *(f"PLAINTEXT_{number}" for number in range(2, len(listeners) + 1))]
    addresses = [Address(each.address.host, each.address.port or advertised.port) for each in listeners]
    return ",".join(f"{name}://{address}" for name, address in zip(names, addresses, strict=True))


def _synonyms(found: Iterable[tuple[str, str, int]], wanted: bool) -> list[DescribeConfigsSynonym]:
    if not wanted:
        return []
    return [DescribeConfigsSynonym(name=name, value=value, source=source) for name, value, source in found]


def _default(
    name: str, kind: ConfigType, value: str, synonym_prefix: str | None
) -> DescribeConfigsResourceResult:
    synonyms = []
    if synonym_prefix is not None:
        synonyms = [
            DescribeConfigsSynonym(name=synonym_prefix + name, value=value, source=ConfigSource.DEFAULT)
        ]
    return DescribeConfigsResourceResult(
        name=name,
        value=value,
        config_source=ConfigSource.DEFAULT,
        synonyms=synonyms,
        config_type=kind,
        documentation=None,
    )
