"""CreateTopics, DeleteTopics, CreatePartitions, DescribeTopicPartitions, DescribeLogDirs, Metadata."""

from __future__ import annotations

from typing import Any

import pytest

from oncelog.broker.options import Options
from oncelog.machine.commands import DeleteTopic, Produce
from oncelog.wire.messages.create_partitions import (
    CreatePartitionsAssignment,
    CreatePartitionsRequest,
    CreatePartitionsTopic,
)
from oncelog.wire.messages.create_topics import (
    CreatableReplicaAssignment,
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from oncelog.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from oncelog.wire.messages.describe_log_dirs import DescribableLogDirTopic, DescribeLogDirsRequest
from oncelog.wire.messages.describe_topic_partitions import (
    Cursor,
    DescribeTopicPartitionsRequest,
    TopicRequest,
)
from oncelog.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from tests.broker.fake_context import ADDRESS, CLUSTER_ID, FakeBroker
from tests.machine.driver import batch

ZERO, UNKNOWN_ID = bytes(16), b"\x11" * 16
NO_OPERATIONS = -(2**31)


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker()


def topic(name: str, partitions: int = 1, factor: int = 1, **configs: str | None) -> CreatableTopic:
    return CreatableTopic(
        name=name,
        num_partitions=partitions,
        replication_factor=factor,
        configs=[
            CreatableTopicConfig(name=config.replace("_", "."), value=value)
            for config, value in configs.items()
        ],
    )


def create(
    broker: FakeBroker, *topics: CreatableTopic, version: int = 7, validate_only: bool = False
) -> dict[str, Any]:
    request = CreateTopicsRequest(topics=list(topics), validate_only=validate_only)
    return {result.name: result for result in broker.ask(request, version).topics}


# --- CreateTopics ---


@pytest.mark.parametrize("version", range(2, 8))
def test_create_topics_in_every_version(broker: FakeBroker, version: int) -> None:
    result = create(broker, topic("a", 2, retention_ms="7"), topic("b b"), version=version)
    assert (result["a"].error_code, result["b b"].error_code) == (0, 17)
    assert len(broker.topic("a").partitions) == 2
    if version >= 5:
        assert (result["a"].num_partitions, result["a"].replication_factor) == (2, 1)
        configs = {config.name: (config.value, config.config_source) for config in result["a"].configs}
        assert len(configs) == 33
        assert configs["retention.ms"] == ("7", 1)
        assert configs["flush.ms"] == (str(2**63 - 1), 5)
    if version >= 7:
        assert result["a"].topic_id == broker.topic("a").id
        assert result["b b"].topic_id == ZERO


def test_create_topics_uses_the_brokers_default_partition_count() -> None:
    broker = FakeBroker(Options(data="/data", num_partitions=4))
    assert create(broker, topic("a", -1, -1))["a"].num_partitions == 4


def test_create_topics_with_assignments(broker: FakeBroker) -> None:
    wanted = topic("a", -1, -1)
    wanted.assignments = [
        CreatableReplicaAssignment(partition_index=index, broker_ids=[1]) for index in (0, 1)
    ]
    assert create(broker, wanted)["a"].num_partitions == 2
    wanted.name, wanted.num_partitions = "b", 2
    assert create(broker, wanted)["b"].error_code == 42


def test_create_topics_refuses_each_topic_by_itself(broker: FakeBroker) -> None:
    results = create(
        broker,
        topic("twice"),
        topic("twice"),
        topic("good"),
        topic("bad", retention_ms="soon"),
        topic("null", retention_ms=None),
        topic("none", 0),
        topic("three", 1, 3),
    )
    assert {name: result.error_code for name, result in results.items()} == {
        "twice": 42,
        "good": 0,
        "bad": 40,
        "null": 40,
        "none": 37,
        "three": 38,
    }
    assert results["null"].error_message == "Null value not supported for topic configs: retention.ms"
    assert list(broker.state.topic_ids) == ["good"]


def test_create_topics_refuses_ten_thousand_and_one_partitions(broker: FakeBroker) -> None:
    results = create(broker, topic("a", 5000), topic("b", 5001))
    assert {result.error_code for result in results.values()} == {44}
    assert create(broker, topic("a", 5000), topic("b", 5000), validate_only=True)["b"].error_code == 0
    assert broker.engine.events == []


# --- DeleteTopics ---


def delete(broker: FakeBroker, *states: tuple[str | None, bytes]) -> list[tuple[str | None, int]]:
    request = DeleteTopicsRequest(
        topics=[DeleteTopicState(name=name, topic_id=topic_id) for name, topic_id in states]
    )
    return [(result.name, result.error_code) for result in broker.ask(request, 6).responses]


@pytest.mark.parametrize("version", range(1, 7))
def test_delete_topics_in_every_version(broker: FakeBroker, version: int) -> None:
    topic_id = broker.create("a").id
    if version < 6:
        request = DeleteTopicsRequest(topic_names=["a", "b"])
    else:
        request = DeleteTopicsRequest(topics=[DeleteTopicState(name=name) for name in ("a", "b")])
    response = broker.ask(request, version)
    assert [(result.name, result.error_code) for result in response.responses] == [("a", 0), ("b", 3)]
    if version >= 6:
        assert response.responses[0].topic_id == topic_id
    assert broker.state.topics == {}


def test_delete_topics_by_id(broker: FakeBroker) -> None:
    topic_id = broker.create("a").id
    assert delete(broker, (None, topic_id), (None, UNKNOWN_ID)) == [("a", 0), (None, 100)]


def test_delete_topics_refuses_what_is_named_twice_or_not_at_all(broker: FakeBroker) -> None:
    a, b = broker.create("a").id, broker.create("b").id
    assert delete(broker, ("a", a), (None, ZERO)) == [("a", 42), (None, 42)]
    assert delete(broker, ("a", ZERO), ("a", ZERO)) == [("a", 42)]
    assert delete(broker, (None, a), (None, a)) == [(None, 42)]
    assert delete(broker, ("a", ZERO), (None, a), ("b", ZERO)) == [("a", 42), (None, 42), ("b", 0)]
    assert list(broker.state.topics) == [a]
    assert b not in broker.state.topics


@pytest.mark.parametrize(("version", "error"), [(1, 42), (2, 42), (3, 73), (5, 73)])
def test_delete_topics_may_be_disabled(version: int, error: int) -> None:
    broker = FakeBroker(Options(data="/data", delete_topic_enable=False))
    broker.create("a")
    (result,) = broker.ask(DeleteTopicsRequest(topic_names=["a"]), version).responses
    assert result.error_code == error
    assert broker.topic("a")


# --- CreatePartitions ---


def grow(broker: FakeBroker, *topics: tuple[str, int], version: int = 3, **options: Any) -> dict[str, int]:
    request = CreatePartitionsRequest(
        topics=[CreatePartitionsTopic(name=name, count=count, assignments=None) for name, count in topics],
        **options,
    )
    return {result.name: result.error_code for result in broker.ask(request, version).results}


@pytest.mark.parametrize("version", range(4))
def test_create_partitions_in_every_version(broker: FakeBroker, version: int) -> None:
    broker.create("a", 2)
    assert grow(broker, ("a", 3), ("b", 3), version=version) == {"a": 0, "b": 3}
    assert len(broker.topic("a").partitions) == 3
    assert grow(broker, ("a", 3), version=version) == {"a": 37}


def test_create_partitions_refuses_duplicates_and_only_checks_when_asked_to(broker: FakeBroker) -> None:
    broker.create("a", 2)
    assert grow(broker, ("a", 3), ("a", 4)) == {"a": 42}
    assert grow(broker, ("a", 3), validate_only=True) == {"a": 0}
    assert len(broker.topic("a").partitions) == 2


def test_create_partitions_with_assignments(broker: FakeBroker) -> None:
    broker.create("a", 2)
    wanted = CreatePartitionsTopic(
        name="a", count=4, assignments=[CreatePartitionsAssignment(broker_ids=[1])]
    )
    (result,) = broker.ask(CreatePartitionsRequest(topics=[wanted]), 3).results
    assert (result.error_code, result.error_message) == (
        39,
        "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.",
    )


# --- DescribeTopicPartitions ---


def page(
    broker: FakeBroker, names: list[str], limit: int = 2000, cursor: tuple[str, int] | None = None
) -> tuple[list[tuple[str, int, list[int]]], tuple[str, int] | None]:
    request = DescribeTopicPartitionsRequest(
        topics=[TopicRequest(name=name) for name in names],
        response_partition_limit=limit,
        cursor=None if cursor is None else Cursor(topic_name=cursor[0], partition_index=cursor[1]),
    )
    response = broker.ask(request, 0)
    after = response.next_cursor
    topics = [
        (each.name, each.error_code, [partition.partition_index for partition in each.partitions])
        for each in response.topics
    ]
    return topics, None if after is None else (after.topic_name, after.partition_index)


B, C = ("b", 0, [0, 1, 2]), ("c", 0, [0, 1, 2])


@pytest.mark.parametrize(
    ("names", "limit", "cursor", "topics", "after"),
    [
        (["c", "b"], 2000, None, [B, C], None),
        (["c", "b", "b"], 6, None, [B, C], None),
        ([], 2000, None, [B, C], None),
        (["b", "c"], 2, None, [("b", 0, [0, 1])], ("b", 2)),
        (["b", "c"], 3, None, [B], ("c", 0)),
        (["b", "c"], 4, None, [B, ("c", 0, [0])], ("c", 1)),
        (["b", "c"], 2, ("b", 1), [("b", 0, [1, 2])], ("c", 0)),
        (["b", "c"], 2, ("b", 3), [("b", 0, []), ("c", 0, [0, 1])], ("c", 2)),
        ([], 2, ("c", 2), [("c", 0, [2])], None),
        ([], 9, ("bb", 1), [C], None),
        (["b"], 0, None, [("b", 0, [0])], ("b", 1)),
        (["b"], -5, None, [("b", 0, [0])], ("b", 1)),
        (["nope", "b"], 9, None, [B, ("nope", 3, [])], None),
        (["b b"], 9, None, [("b b", 17, [])], None),
        (["b", "c"], 9, ("b", -1), [("b", 42, []), ("c", 42, [])], None),
        (["c"], 9, ("b", 1), [("c", 42, [])], None),
    ],
)
def test_describe_topic_partitions_page_by_page(
    broker: FakeBroker, names: list[str], limit: int, cursor: Any, topics: Any, after: Any
) -> None:
    """Each answer is what Apache Kafka 4.3.1 gave for the same."""
    broker.create("c", 3)
    broker.create("b", 3)
    assert page(broker, names, limit, cursor) == (topics, after)


def test_describe_topic_partitions_never_gives_more_than_kafkas_limit(broker: FakeBroker) -> None:
    broker.create("a", 2001)
    topics, after = page(broker, ["a"], 5000)
    assert (len(topics[0][2]), after) == (2000, ("a", 2000))


# --- DescribeLogDirs ---


def append(broker: FakeBroker, topic_id: bytes, partition: int, size: int) -> None:
    command = Produce(None, (batch(partition, topic_id=topic_id, size=size),), 11, "client", "/127.0.0.1")
    assert broker.engine.execute(command)[0].appended


@pytest.mark.parametrize("version", range(1, 6))
def test_describe_log_dirs_adds_up_the_batches(broker: FakeBroker, version: int) -> None:
    topic_id = broker.create("a", 3).id
    broker.create("b")
    for partition, size in ((0, 100), (0, 50), (2, 7)):
        append(broker, topic_id, partition, size)
    wanted = [
        DescribableLogDirTopic(topic="a", partitions=[0, 1, 9]),
        DescribableLogDirTopic(topic="nope", partitions=[0]),
    ]
    (directory,) = broker.ask(DescribeLogDirsRequest(topics=wanted), version).results
    assert (directory.error_code, directory.log_dir) == (0, "/data")
    (described,) = directory.topics
    assert [(each.partition_index, each.partition_size) for each in described.partitions] == [
        (0, 150),
        (1, 0),
    ]
    (everything,) = broker.ask(DescribeLogDirsRequest(topics=None), version).results
    sizes = {
        each.name: [partition.partition_size for partition in each.partitions] for each in everything.topics
    }
    assert sizes == {"a": [150, 0, 7], "b": [0]}
    assert broker.ask(DescribeLogDirsRequest(topics=[]), version).results[0].topics == []


# --- Metadata ---


def metadata(
    broker: FakeBroker, *names: str, version: int = 12, ids: tuple[bytes, ...] = (), **options: Any
) -> Any:
    topics = [MetadataRequestTopic(name=name) for name in names]
    topics += [MetadataRequestTopic(name=None, topic_id=topic_id) for topic_id in ids]
    return broker.ask(MetadataRequest(topics=topics, **options), version)


def errors(response: Any) -> list[tuple[str | None, int]]:
    return [(each.name, each.error_code) for each in response.topics]


@pytest.mark.parametrize("version", range(14))
def test_metadata_in_every_version(broker: FakeBroker, version: int) -> None:
    topic_id = broker.create("a", 2).id
    for _ in range(2):  # made, and kept
        response = metadata(broker, "a", version=version)
        (one,) = response.brokers
        assert (one.node_id, one.host, one.port) == (1, *ADDRESS)
        (described,) = response.topics
        assert (described.error_code, described.name) == (0, "a")
        assert [partition.partition_index for partition in described.partitions] == [0, 1]
        assert {partition.leader_id for partition in described.partitions} == {1}
        assert described.partitions[0].replica_nodes == described.partitions[0].isr_nodes == [1]
        assert response.controller_id == (1 if version >= 1 else -1)
        assert response.cluster_id == (CLUSTER_ID if version >= 2 else None)
        assert described.topic_id == (topic_id if version >= 10 else ZERO)
        assert described.partitions[0].leader_epoch == (0 if version >= 7 else -1)
        assert described.topic_authorized_operations == NO_OPERATIONS
        assert response.cluster_authorized_operations == NO_OPERATIONS


def test_metadata_of_all_topics_and_of_none(broker: FakeBroker) -> None:
    broker.create("a")
    broker.create("b")
    assert errors(broker.ask(MetadataRequest(topics=[]), 0)) == [("a", 0), ("b", 0)]
    assert errors(broker.ask(MetadataRequest(topics=[]), 1)) == []
    for version in (1, 9, 13):
        assert errors(broker.ask(MetadataRequest(topics=None), version)) == [("a", 0), ("b", 0)]


def test_metadata_creates_a_missing_topic_and_tells_of_it_from_the_second_answer_on() -> None:
    broker = FakeBroker(Options(data="/data", num_partitions=3))
    assert errors(metadata(broker, "a", version=1)) == [("a", 3)]
    response = metadata(broker, "a", version=1)
    assert errors(response) == [("a", 0)]
    assert len(response.topics[0].partitions) == 3


@pytest.mark.parametrize(
    ("enabled", "version", "allowed", "created"),
    [
        (True, 3, True, True),
        (True, 4, True, True),
        (True, 4, False, False),
        (True, 13, False, False),
        (False, 3, True, False),
        (False, 13, True, False),
    ],
)
def test_metadata_creates_only_where_client_and_broker_allow_it(
    enabled: bool, version: int, allowed: bool, created: bool
) -> None:
    broker = FakeBroker(Options(data="/data", auto_create_topics_enable=enabled))
    response = metadata(broker, "a", version=version, allow_auto_topic_creation=allowed)
    assert errors(response) == [("a", 3)]
    assert ("a" in broker.state.topic_ids) is created


def test_metadata_never_creates_some_names(broker: FakeBroker) -> None:
    broker.create("a.b")
    response = metadata(
        broker, "x y", "", "__share_group_state", "__cluster_metadata", "a_b", "a.b", version=9
    )
    assert errors(response) == [
        ("a.b", 0),
        ("x y", 17),
        ("", 17),
        ("__share_group_state", 3),
        ("__cluster_metadata", 3),
        ("a_b", 17),
    ]
    assert [each.is_internal for each in response.topics] == [False, False, False, True, False, False]
    assert list(broker.state.topic_ids) == ["a.b"]


def test_metadata_creates_no_more_than_a_request_may() -> None:
    broker = FakeBroker(Options(data="/data", num_partitions=4000))
    metadata(broker, "a", "b", "c")
    assert list(broker.state.topic_ids) == ["a", "b"]


def test_metadata_by_id(broker: FakeBroker) -> None:
    topic_id = broker.create("a").id
    assert errors(metadata(broker, ids=(topic_id, UNKNOWN_ID, topic_id))) == [("a", 0), (None, 100)]
    assert errors(metadata(broker, "b", ids=(topic_id,))) == [("a", 0)], "names beside ids are not looked at"
    broker.engine.execute(DeleteTopic(topic_id))
    new_id = broker.create("a").id
    assert errors(metadata(broker, ids=(topic_id, new_id))) == [(None, 100), ("a", 0)]


@pytest.mark.parametrize("version", [10, 11])
def test_metadata_by_id_needs_version_12(broker: FakeBroker, version: int) -> None:
    topic_id = broker.create("a").id
    assert errors(metadata(broker, version=version, ids=(topic_id,))) == [("", 42)]
    assert errors(metadata(broker, version=version, ids=(ZERO,))) == [("", 42)]


def test_metadata_tells_authorized_operations_when_asked(broker: FakeBroker) -> None:
    broker.create("a")
    response = metadata(
        broker,
        "a",
        version=9,
        include_cluster_authorized_operations=True,
        include_topic_authorized_operations=True,
    )
    assert response.cluster_authorized_operations == 8096
    assert response.topics[0].topic_authorized_operations == 3576
    assert metadata(broker, "a", version=9).topics[0].topic_authorized_operations == NO_OPERATIONS


def test_metadata_that_was_kept_is_dropped_with_every_change_of_topics(broker: FakeBroker) -> None:
    broker.create("a", 1)
    assert errors(broker.ask(MetadataRequest(topics=None), 12)) == [("a", 0)]
    grow(broker, ("a", 2))
    assert len(metadata(broker, "a").topics[0].partitions) == 2
    broker.create("b")
    assert errors(broker.ask(MetadataRequest(topics=None), 12)) == [("a", 0), ("b", 0)]
    delete(broker, ("a", ZERO))
    assert errors(broker.ask(MetadataRequest(topics=None), 12)) == [("b", 0)]
    assert errors(metadata(broker, "a", allow_auto_topic_creation=False)) == [("a", 3)]


def test_metadata_names_the_address_that_each_client_came_in_by(broker: FakeBroker) -> None:
    broker.create("a")
    assert metadata(broker, "a").brokers[0].host == ADDRESS[0]
    broker.listener_address = ("other.test", 1)
    assert metadata(broker, "a").brokers[0].host == "other.test"
