"""The stock admin clients ask what consoles ask. (No Python client asks for quotas; Kafka's own tools do.)"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import ElectionType, KafkaError, TopicPartition
from confluent_kafka.admin import (
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from kafka import KafkaAdminClient
from kafka.admin import ACLFilter, ACLOperation, ACLPermissionType, ResourcePatternFilter
from kafka.admin import ACLResourcePatternType as PatternType
from kafka.admin import ResourceType as Kind
from kafka.errors import ElectionNotNeededError, SecurityDisabledError, UnknownTopicOrPartitionError

import oncelog

TIMEOUT_S = 10


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    with oncelog.Broker(topics=["a"]) as broker:
        yield broker.bootstrap


@pytest.fixture(scope="module")
def kafka_python(bootstrap: str) -> Iterator[KafkaAdminClient]:
    client = KafkaAdminClient(bootstrap_servers=bootstrap)
    yield client
    client.close()


@pytest.fixture(scope="module")
def confluent(bootstrap: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap})


def test_kafka_python_finds_a_quorum_of_one(kafka_python: KafkaAdminClient) -> None:
    (topic,) = kafka_python.describe_metadata_quorum()["topics"]
    (partition,) = topic["partitions"]
    (voter,) = partition["current_voters"]
    assert (partition["leader_id"], voter["replica_id"]) == (1, 1)
    assert voter["log_end_offset"] == partition["high_watermark"] > 0


def test_kafka_python_finds_no_reassignments(kafka_python: KafkaAdminClient) -> None:
    assert kafka_python.list_partition_reassignments() == {}
    assert kafka_python.list_partition_reassignments({"a": [0]}) == {}


def test_kafka_python_is_told_that_no_election_is_needed(kafka_python: KafkaAdminClient) -> None:
    (result,) = kafka_python.elect_leaders(0, {"a": [0]}).replica_election_results
    assert [each.error_code for each in result.partition_result] == [ElectionNotNeededError.errno]
    with pytest.raises(UnknownTopicOrPartitionError):
        kafka_python.elect_leaders(0, {"a": [7]})


def test_kafka_python_lists_what_has_configs(kafka_python: KafkaAdminClient) -> None:
    assert kafka_python.list_config_resources() == {"broker": ["1"], "topic": ["a"]}
    assert kafka_python.list_config_resources(["CLIENT_METRICS", "GROUP"]) == {}


def test_kafka_python_is_told_that_security_is_off(kafka_python: KafkaAdminClient) -> None:
    everything = ResourcePatternFilter(Kind.ANY, None, PatternType.ANY)
    with pytest.raises(SecurityDisabledError):
        kafka_python.describe_acls(ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY, everything))


def test_confluent_kafka_is_told_that_no_election_is_needed(confluent: AdminClient) -> None:
    asked = [TopicPartition("a", 0), TopicPartition("a", 7)]
    answer = confluent.elect_leaders(ElectionType.PREFERRED, asked).result(TIMEOUT_S)
    errors = {partition.partition: error.code() for partition, error in answer.items()}
    assert errors == {0: KafkaError.ELECTION_NOT_NEEDED, 7: KafkaError.UNKNOWN_TOPIC_OR_PART}
    assert confluent.elect_leaders(ElectionType.UNCLEAN).result(TIMEOUT_S) == {}


def test_confluent_kafka_finds_no_acls(confluent: AdminClient) -> None:
    """Without an error, as it does with an Apache Kafka that has no authorizer."""
    anything = AclBindingFilter(
        ResourceType.ANY,
        None,
        ResourcePatternType.ANY,
        None,
        None,
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    assert confluent.describe_acls(anything).result(TIMEOUT_S) == []
