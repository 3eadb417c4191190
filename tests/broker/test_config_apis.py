"""DescribeConfigs, IncrementalAlterConfigs, AlterConfigs, DescribeCluster, UpdateFeatures, ApiVersions."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from oncelog.broker.api.api_versions import unsupported_version_response
from oncelog.broker.options import Address, Listener, Options
from oncelog.broker.registry import Registry
from oncelog.wire.messages import alter_configs as replacing
from oncelog.wire.messages import incremental_alter_configs as altering
from oncelog.wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from oncelog.wire.messages.describe_cluster import DescribeClusterRequest
from oncelog.wire.messages.describe_configs import DescribeConfigsRequest, DescribeConfigsResource
from oncelog.wire.messages.update_features import FeatureUpdateKey, UpdateFeaturesRequest
from tests.broker.fake_context import ADDRESS, CLUSTER_ID, FakeBroker

TOPIC, BROKER, LOGGER, CLIENT_METRICS, GROUP = 2, 4, 8, 16, 32
SET, DELETE, APPEND, SUBTRACT = range(4)


@pytest.fixture
def broker() -> FakeBroker:
    broker = FakeBroker()
    broker.create("a")
    return broker


def describe(
    broker: FakeBroker, kind: int, name: str, *keys: str, version: int = 4, all_keys: bool = False
) -> Any:
    resource = DescribeConfigsResource(
        resource_type=kind, resource_name=name, configuration_keys=None if all_keys else list(keys)
    )
    request = DescribeConfigsRequest(resources=[resource], include_synonyms=True)
    (result,) = broker.ask(request, version).results
    assert (result.resource_type, result.resource_name) == (kind, name)
    return result


def values(result: Any) -> dict[str, tuple[str | None, int]]:
    assert result.error_code == 0, result
    return {config.name: (config.value, config.config_source) for config in result.configs}


def alter(
    broker: FakeBroker, kind: int, name: str, *operations: Any, **options: Any
) -> tuple[int, str | None]:
    resource = altering.AlterConfigsResource(
        resource_type=kind,
        resource_name=name,
        configs=[
            altering.AlterableConfig(name=config, config_operation=operation, value=value)
            for config, operation, value in operations
        ],
    )
    request = altering.IncrementalAlterConfigsRequest(resources=[resource], **options)
    (result,) = broker.ask(request, 1).responses
    return result.error_code, result.error_message


def replace(broker: FakeBroker, kind: int, name: str, version: int = 2, **configs: str | None) -> int:
    resource = replacing.AlterConfigsResource(
        resource_type=kind,
        resource_name=name,
        configs=[
            replacing.AlterableConfig(name=config.replace("_", "."), value=value)
            for config, value in configs.items()
        ],
    )
    (result,) = broker.ask(replacing.AlterConfigsRequest(resources=[resource]), version).responses
    error: int = result.error_code
    return error


# --- DescribeConfigs ---


@pytest.mark.parametrize("version", range(1, 5))
def test_describe_configs_of_a_topic_in_every_version(broker: FakeBroker, version: int) -> None:
    alter(broker, TOPIC, "a", ("cleanup.policy", APPEND, "compact"))
    result = describe(broker, TOPIC, "a", version=version, all_keys=True)
    assert len(result.configs) == 33
    policy = next(config for config in result.configs if config.name == "cleanup.policy")
    assert (policy.value, policy.config_source, policy.read_only, policy.is_sensitive) == (
        "delete,compact",
        1,
        False,
        False,
    )
    assert [(each.name, each.value, each.source) for each in policy.synonyms] == [
        ("cleanup.policy", "delete,compact", 1),
        ("log.cleanup.policy", "delete", 5),
    ]
    if version >= 3:
        assert (policy.config_type, policy.documentation) == (7, None)


def test_describe_configs_gives_the_keys_that_were_asked_for(broker: FakeBroker) -> None:
    assert values(describe(broker, TOPIC, "a", "retention.ms", "no.such")) == {
        "retention.ms": ("604800000", 5)
    }
    assert len(values(describe(broker, TOPIC, "a"))) == 33, "no keys are all keys"


def test_describe_configs_without_synonyms(broker: FakeBroker) -> None:
    resource = DescribeConfigsResource(
        resource_type=TOPIC, resource_name="a", configuration_keys=["cleanup.policy"]
    )
    (result,) = broker.ask(DescribeConfigsRequest(resources=[resource]), 4).results
    assert result.configs[0].synonyms == []


@pytest.mark.parametrize(
    ("kind", "name", "error", "message"),
    [
        (TOPIC, "nope", 3, ""),
        (TOPIC, "", 17, "Topic name is invalid: the empty string is not allowed"),
        (BROKER, "2", 42, "Unexpected broker id, expected 1 or empty string, but received 2"),
        (BROKER, "x", 42, "Broker id must be an integer, but it is: x"),
        (GROUP, "", 42, "Group name must not be empty"),
        (CLIENT_METRICS, "", 42, "Client metrics subscription name must not be empty"),
        (LOGGER, "1", 42, "The log level is set by the broker's option log-level"),
        (1, "x", 42, "This most likely occurs because of a request being malformed"),
        (99, "x", 42, "This most likely occurs because of a request being malformed"),
    ],
)
def test_describe_configs_of_what_is_not_there(
    broker: FakeBroker, kind: int, name: str, error: int, message: str
) -> None:
    result = describe(broker, kind, name)
    assert (result.error_code, result.configs) == (error, [])
    assert result.error_message.startswith(message)
    assert bool(result.error_message) == bool(message)


def test_describe_configs_of_a_group_and_of_client_metrics_as_nobody_changed_them(broker: FakeBroker) -> None:
    group = describe(broker, GROUP, "any", all_keys=True)
    assert len(group.configs) == 17
    timeout = next(config for config in group.configs if config.name == "consumer.session.timeout.ms")
    assert (timeout.value, timeout.config_source, timeout.config_type) == ("45000", 5, 3)
    assert timeout.synonyms[0].name == "group.consumer.session.timeout.ms"
    assert values(describe(broker, CLIENT_METRICS, "any", all_keys=True)) == {
        "interval.ms": ("300000", 5),
        "match": ("", 5),
        "metrics": ("", 5),
    }


def test_describe_configs_of_the_broker() -> None:
    broker = FakeBroker(
        Options(
            data="/data",
            listen=(Listener(Address("127.0.0.1", 0)), Listener(Address("0.0.0.0", 9), Address("other", 9))),
            num_partitions=3,
            delete_topic_enable=False,
        )
    )
    result = describe(broker, BROKER, "1", all_keys=True)
    shown = values(result)
    assert shown["num.partitions"] == ("3", 4)
    assert shown["delete.topic.enable"] == ("false", 4)
    assert shown["auto.create.topics.enable"] == ("true", 5)
    assert shown["log.dirs"] == ("/data", 4)
    assert shown["node.id"] == shown["broker.id"] == ("1", 4)
    assert shown["listeners"] == (
        f"PLAINTEXT://127.0.0.1:{ADDRESS[1]},PLAINTEXT_2://0.0.0.0:9",
        4,
    )
    assert shown["advertised.listeners"] == (f"PLAINTEXT://{ADDRESS[0]}:{ADDRESS[1]}", 4)
    assert shown["log.retention.ms"] == (None, 5)
    read_only = {config.name for config in result.configs if config.read_only}
    assert "num.partitions" in read_only
    assert "message.max.bytes" not in read_only


def test_describe_configs_of_all_brokers_shows_what_was_set_for_all(broker: FakeBroker) -> None:
    assert values(describe(broker, BROKER, "", all_keys=True)) == {}
    alter(broker, BROKER, "", ("message.max.bytes", SET, "3000"))
    alter(broker, BROKER, "1", ("message.max.bytes", SET, "2000"))
    assert values(describe(broker, BROKER, "", all_keys=True)) == {"message.max.bytes": ("3000", 3)}
    assert values(describe(broker, BROKER, "1", "message.max.bytes")) == {"message.max.bytes": ("2000", 2)}
    assert values(describe(broker, TOPIC, "a", "max.message.bytes")) == {"max.message.bytes": ("2000", 2)}


# --- IncrementalAlterConfigs ---


@pytest.mark.parametrize("version", [0, 1])
def test_incremental_alter_configs_changes_each_resource_by_itself(broker: FakeBroker, version: int) -> None:
    def wanted(name: str, value: str) -> altering.AlterConfigsResource:
        config = altering.AlterableConfig(name="retention.ms", config_operation=SET, value=value)
        return altering.AlterConfigsResource(resource_type=TOPIC, resource_name=name, configs=[config])

    broker.create("b")
    request = altering.IncrementalAlterConfigsRequest(
        resources=[wanted("a", "7"), wanted("nope", "7"), wanted("b", "1"), wanted("b", "2")]
    )
    responses = broker.ask(request, version).responses
    assert [(each.resource_name, each.error_code) for each in responses] == [
        ("a", 0),
        ("nope", 3),
        ("b", 42),
        ("b", 42),
    ]
    assert (broker.topic("a").configs, broker.topic("b").configs) == ({"retention.ms": "7"}, {})


@pytest.mark.parametrize(
    ("kind", "name", "operation", "error", "message"),
    [
        (TOPIC, "nope", ("retention.ms", SET, "1"), 3, "The topic 'nope' does not exist."),
        (TOPIC, "", ("retention.ms", SET, "1"), 42, "Default topic resources are not allowed."),
        (TOPIC, "b b", ("retention.ms", SET, "1"), 17, "Topic name is invalid: 'b b' contains"),
        (TOPIC, "a", ("retention.ms", 4, "1"), 42, "Unknown operation 4 on retention.ms"),
        (TOPIC, "a", ("retention.ms", -1, "1"), 42, "Unknown operation -1 on retention.ms"),
        (TOPIC, "a", ("retention.ms", SET, None), 42, "Null value not supported for : retention.ms"),
        (TOPIC, "a", ("retention.ms", SET, "x"), 40, "Invalid value x for configuration retention.ms"),
        (
            BROKER,
            "2",
            ("message.max.bytes", SET, "1"),
            42,
            "Unexpected broker id, expected 1, but received 2",
        ),
        (BROKER, "x", ("message.max.bytes", SET, "1"), 42, "Node id must be an integer, but it is: x"),
        (BROKER, "1", ("num.partitions", SET, "1"), 42, "Cannot update these configs dynamically"),
        (
            GROUP,
            "g",
            ("consumer.session.timeout.ms", SET, "1"),
            42,
            "This broker has no configs of single groups",
        ),
        (LOGGER, "1", ("root", SET, "INFO"), 42, "The log level is set by"),
        (77, "1", ("root", SET, "INFO"), 42, "Unknown resource type 77"),
    ],
)
def test_incremental_alter_configs_refuses(
    broker: FakeBroker, kind: int, name: str, operation: Any, error: int, message: str
) -> None:
    before = len(broker.engine.events)
    refused, told = alter(broker, kind, name, operation)
    assert refused == error
    assert (told or "").startswith(message)
    assert len(broker.engine.events) == before


def test_incremental_alter_configs_only_checks_when_asked_to(broker: FakeBroker) -> None:
    assert alter(broker, TOPIC, "a", ("retention.ms", SET, "7"), validate_only=True) == (0, None)
    assert alter(broker, TOPIC, "a", ("retention.ms", SET, "x"), validate_only=True)[0] == 40
    assert broker.topic("a").configs == {}


def test_what_is_not_acted_on_is_warned_of_once(broker: FakeBroker, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "oncelog.configs"):
        alter(broker, TOPIC, "a", ("retention.ms", SET, "7"), validate_only=True)
        alter(broker, TOPIC, "a", ("retention.ms", SET, "x"))
        alter(broker, TOPIC, "a", ("retention.ms", DELETE, None))
        alter(broker, TOPIC, "a", ("max.message.bytes", SET, "7"))
        assert caplog.messages == []
        alter(broker, TOPIC, "a", ("retention.ms", SET, "7"))
        broker.create("b", retention_ms="8", cleanup_policy="compact")
        replace(broker, TOPIC, "a", retention_ms="9")
    assert [message.split()[2] for message in caplog.messages] == ["retention.ms", "cleanup.policy"]


# --- AlterConfigs ---


@pytest.mark.parametrize("version", [0, 1, 2])
def test_alter_configs_replaces_all_overrides(broker: FakeBroker, version: int) -> None:
    assert replace(broker, TOPIC, "a", version, flush_ms="5", retention_ms="6") == 0
    assert replace(broker, TOPIC, "a", version, flush_ms="7") == 0
    assert broker.topic("a").configs == {"flush.ms": "7"}
    assert replace(broker, TOPIC, "a", version) == 0
    assert broker.topic("a").configs == {}


def test_alter_configs_refuses(broker: FakeBroker) -> None:
    assert replace(broker, TOPIC, "a", flush_ms=None) == 42
    assert replace(broker, TOPIC, "a", flush_ms="x") == 40
    assert replace(broker, TOPIC, "nope") == 3
    assert replace(broker, BROKER, "1", broker_id="1") == 42
    assert replace(broker, BROKER, "1", message_max_bytes="5") == 0
    assert broker.state.broker_configs == {"1": {"message.max.bytes": "5"}}
    resource = replacing.AlterConfigsResource(resource_type=TOPIC, resource_name="a", configs=[])
    twice = broker.ask(replacing.AlterConfigsRequest(resources=[resource, resource]), 2)
    assert [each.error_code for each in twice.responses] == [42, 42]


# --- DescribeCluster ---


@pytest.mark.parametrize("version", [0, 1, 2])
def test_describe_cluster_in_every_version(broker: FakeBroker, version: int) -> None:
    response = broker.ask(DescribeClusterRequest(), version)
    assert (response.error_code, response.cluster_id, response.controller_id) == (0, CLUSTER_ID, 1)
    (one,) = response.brokers
    assert (one.broker_id, one.host, one.port, one.rack, one.is_fenced) == (1, *ADDRESS, None, False)
    assert response.cluster_authorized_operations == -(2**31)
    response = broker.ask(DescribeClusterRequest(include_cluster_authorized_operations=True), version)
    assert response.cluster_authorized_operations == 8096


def test_describe_cluster_has_no_controllers_apart(broker: FakeBroker) -> None:
    assert broker.ask(DescribeClusterRequest(endpoint_type=2), 1).error_code == 114
    assert broker.ask(DescribeClusterRequest(endpoint_type=3), 1).error_code == 115


# --- UpdateFeatures and ApiVersions ---


def software(name: str = "tests", version: str = "1.0") -> ApiVersionsRequest:
    return ApiVersionsRequest(client_software_name=name, client_software_version=version)


def finalized(broker: FakeBroker) -> tuple[dict[str, int], int]:
    response = broker.ask(software(), 3)
    levels = {each.name: each.max_version_level for each in response.finalized_features}
    return levels, response.finalized_features_epoch


@pytest.mark.parametrize("version", [0, 1, 2])
def test_update_features_in_every_version(broker: FakeBroker, version: int) -> None:
    def update(level: int, downgrade: bool) -> Any:
        key = FeatureUpdateKey(feature="transaction.version", max_version_level=level)
        if version == 0:
            key.allow_downgrade = downgrade
        else:
            key.upgrade_type = 2 if downgrade else 1
        return broker.ask(UpdateFeaturesRequest(feature_updates=[key]), version)

    refused = update(1, downgrade=False)
    assert (refused.error_code, refused.results) == (95, [])
    assert refused.error_message.startswith("The update failed for all features since")
    lowered = update(1, downgrade=True)
    assert lowered.error_code == 0
    assert len(lowered.results) == (1 if version < 2 else 0)
    assert finalized(broker) == ({"transaction.version": 1}, 1)
    update(0, downgrade=True)
    assert finalized(broker) == ({}, 2)
    update(2, downgrade=False)
    assert finalized(broker) == ({"transaction.version": 2}, 3)


def test_update_features_of_an_unknown_upgrade_type(broker: FakeBroker) -> None:
    for upgrade_type in (0, 4):
        key = FeatureUpdateKey(feature="transaction.version", max_version_level=2, upgrade_type=upgrade_type)
        assert broker.ask(UpdateFeaturesRequest(feature_updates=[key]), 1).error_code == 95


@pytest.mark.parametrize("version", range(5))
def test_api_versions_in_every_version(broker: FakeBroker, version: int) -> None:
    response = broker.ask(software(), version)
    assert response.error_code == 0
    assert [(row.api_key, row.min_version, row.max_version) for row in response.api_keys] == [
        (0, 0, 13),
        (18, 0, 4),
    ]
    supported = {each.name: (each.min_version, each.max_version) for each in response.supported_features}
    assert supported == ({"transaction.version": (0, 2)} if version >= 4 else {})
    assert response.finalized_features_epoch == (0 if version >= 3 else -1)


@pytest.mark.parametrize(
    ("name", "version", "error"),
    [
        ("a", "1", 0),
        ("a.b-c", "1.0-x", 0),
        ("", "1", 42),
        ("a", "", 42),
        ("-a", "1", 42),
        ("a.", "1", 42),
        ("a b", "1", 42),
        ("a", "1\n", 42),
        ("ü", "1", 42),
    ],
)
def test_api_versions_checks_what_the_client_says_of_itself(
    broker: FakeBroker, name: str, version: str, error: int
) -> None:
    response = broker.ask(software(name, version), 3)
    assert response.error_code == error
    assert bool(response.api_keys) is not bool(error)
    assert broker.ask(software(name, version), 2).error_code == 0


def test_an_unknown_version_of_api_versions_is_told_ours() -> None:
    response = ApiVersionsResponse.decode(unsupported_version_response(0, 4).encode(0), 0)
    assert response.error_code == 35
    assert [(row.api_key, row.min_version, row.max_version) for row in response.api_keys] == [(18, 0, 4)]


KAFKA_4_3 = {
    3: (0, 13),
    18: (0, 4),
    19: (2, 7),
    20: (1, 6),
    32: (1, 4),
    33: (0, 2),
    35: (1, 5),
    37: (0, 3),
    44: (0, 1),
    57: (0, 2),
    60: (0, 2),
    75: (0, 0),
}
"""What Apache Kafka 4.3.1 advertises of these APIs."""


def test_these_apis_are_served_in_the_versions_of_kafka_4_3() -> None:
    table = {key: (first, last) for key, first, last in Registry.load().table}
    assert {key: table[key] for key in KAFKA_4_3} == KAFKA_4_3
