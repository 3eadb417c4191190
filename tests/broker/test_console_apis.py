"""What consoles ask of a broker, answered as Apache Kafka 4.3 does, except for messages that quote names.

ListPartitionReassignments, ElectLeaders, DescribeQuorum, DescribeClientQuotas, DescribeAcls and
ListConfigResources.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from oncelog.wire.messages.describe_acls import DescribeAclsRequest
from oncelog.wire.messages.describe_client_quotas import ComponentData, DescribeClientQuotasRequest
from oncelog.wire.messages.describe_quorum import DescribeQuorumRequest, PartitionData, TopicData
from oncelog.wire.messages.elect_leaders import ElectLeadersRequest, TopicPartitions
from oncelog.wire.messages.list_config_resources import ListConfigResourcesRequest
from oncelog.wire.messages.list_partition_reassignments import (
    ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsTopics,
)
from tests.broker.asking import create_topic
from tests.broker.fake_context import FakeBroker
from tests.support.batches import batch
from tests.support.one_process import OneProcess, one_process
from tests.support.speaking import produce

NO_ID = bytes(16)
PREFERRED, UNCLEAN = 0, 1
EXACT, DEFAULT, SPECIFIED = 0, 1, 2
TOPIC, BROKER, LOGGER, CLIENT_METRICS, GROUP = 2, 4, 8, 16, 32


@pytest.fixture
def broker() -> FakeBroker:
    broker = FakeBroker()
    broker.create("a", partitions=2)
    broker.create("b")
    return broker


@pytest.fixture
def process() -> Iterator[OneProcess]:
    with one_process() as made:
        yield made


# --- ListPartitionReassignments ---


@pytest.mark.parametrize(
    "topics", [None, [], [ListPartitionReassignmentsTopics(name="a", partition_indexes=[0, 9])]]
)
def test_nothing_is_ever_reassigned(broker: FakeBroker, topics: Any) -> None:
    answer = broker.ask(ListPartitionReassignmentsRequest(topics=topics), 0)
    assert (answer.error_code, answer.error_message, answer.topics) == (0, None, [])


# --- ElectLeaders ---


def elect(broker: FakeBroker, version: int, *asked: tuple[str, list[int]], kind: int = PREFERRED) -> Any:
    wanted = [TopicPartitions(topic=topic, partitions=partitions) for topic, partitions in asked]
    request = ElectLeadersRequest(topic_partitions=wanted)
    if version >= 1:
        request.election_type = kind
    answer = broker.ask(request, version)
    assert answer.error_code == 0 or kind not in (PREFERRED, UNCLEAN)
    return [
        (result.topic, [(each.partition_id, each.error_code) for each in result.partition_result])
        for result in answer.replica_election_results
    ]


@pytest.mark.parametrize(("version", "kind"), [(0, PREFERRED), (1, UNCLEAN), (2, PREFERRED), (2, UNCLEAN)])
def test_no_election_is_needed(broker: FakeBroker, version: int, kind: int) -> None:
    asked = ("a", [1, 2, 0, -1]), ("nope", [0]), ("", [0])
    assert elect(broker, version, *asked, kind=kind) == [
        ("a", [(1, 84), (2, 3), (0, 84), (-1, 3)]),
        ("nope", [(0, 3)]),
        ("", [(0, 3)]),
    ]


def test_of_all_partitions_none_needed_an_election(broker: FakeBroker) -> None:
    answer = broker.ask(ElectLeadersRequest(topic_partitions=None), 2)
    assert answer.error_code == 0
    named = [(each.topic, each.partition_result) for each in answer.replica_election_results]
    assert named == [("a", []), ("b", [])]


def test_an_unknown_kind_of_election_is_refused(broker: FakeBroker) -> None:
    assert elect(broker, 2, ("a", [0]), kind=7) == [("a", [(0, 42)])]
    answer = broker.ask(ElectLeadersRequest(election_type=7, topic_partitions=None), 2)
    assert (answer.error_code, answer.replica_election_results) == (42, [])


# --- DescribeQuorum ---


def quorum(*asked: tuple[str, list[int]]) -> DescribeQuorumRequest:
    return DescribeQuorumRequest(
        topics=[
            TopicData(topic_name=name, partitions=[PartitionData(partition_index=each) for each in indexes])
            for name, indexes in asked
        ]
    )


@pytest.mark.parametrize("version", [0, 1, 2])
def test_the_quorum_is_this_broker(process: OneProcess, version: int) -> None:
    answer = process.connect().call(quorum(("__cluster_metadata", [0])), version)
    (topic,) = answer.topics
    (partition,) = topic.partitions
    (voter,) = partition.current_voters
    assert (answer.error_code, topic.topic_name, partition.partition_index) == (0, "__cluster_metadata", 0)
    assert (partition.error_code, partition.leader_id, partition.observers) == (0, 1, [])
    assert (voter.replica_id, voter.replica_directory_id) == (1, NO_ID)
    assert voter.log_end_offset == partition.high_watermark
    now_ms = process.clock.wall_ms() if version >= 1 else -1
    assert (voter.last_fetch_timestamp, voter.last_caught_up_timestamp) == (now_ms, now_ms)
    listeners = [
        (node.node_id, each.name, each.host, each.port) for node in answer.nodes for each in node.listeners
    ]
    assert listeners == ([(1, "PLAINTEXT", "broker.test", 9092)] if version >= 2 else [])


def test_the_quorums_offset_is_the_journals_and_never_goes_back(process: OneProcess) -> None:
    client = process.connect()

    def offset(client: Any = client) -> int:
        answer = client.call(quorum(("__cluster_metadata", [0])), 2)
        return int(answer.topics[0].partitions[0].high_watermark)

    first = offset()
    assert client.call(create_topic("a"), 7).topics[0].error_code == 0
    assert offset() == process.journal.next_position == first + 1
    assert produce(client, "a", batch([b"one"])).error_code == 0
    process.advance(1)
    last = offset()
    assert last == process.journal.next_position > first + 2, "the entry that seals counts, too"
    restarted = process.restarted()
    assert offset(restarted.connect()) == last
    restarted.close()


@pytest.mark.parametrize(
    "asked",
    [
        [("a", [0])],
        [("__cluster_metadata", [1])],
        [("__cluster_metadata", [0, 1])],
        [("__cluster_metadata", [0]), ("a", [0])],
        [],
    ],
)
@pytest.mark.parametrize("version", [0, 2])
def test_other_partitions_have_no_quorum(
    process: OneProcess, version: int, asked: list[tuple[str, list[int]]]
) -> None:
    answer = process.connect().call(quorum(*asked), version)
    assert (answer.error_code, answer.nodes) == (0, [])
    told = [
        (topic.topic_name, [(each.partition_index, each.error_code) for each in topic.partitions])
        for topic in answer.topics
    ]
    assert told == [(name, [(index, 3) for index in indexes]) for name, indexes in asked]


# --- DescribeClientQuotas ---


def quotas(broker: FakeBroker, *components: tuple[str, int, str | None], version: int = 1) -> Any:
    filters = [
        ComponentData(entity_type=kind, match_type=match_type, match=match)
        for kind, match_type, match in components
    ]
    answer = broker.ask(DescribeClientQuotasRequest(components=filters, strict=True), version)
    return answer.error_code, answer.error_message, answer.entries


@pytest.mark.parametrize(
    "components",
    [
        [],
        [("user", SPECIFIED, None)],
        [("user", DEFAULT, None), ("client-id", EXACT, "c")],
        [("ip", EXACT, "not an address")],
    ],
)
@pytest.mark.parametrize("version", [0, 1])
def test_there_are_no_quotas(broker: FakeBroker, components: Any, version: int) -> None:
    assert quotas(broker, *components, version=version) == (0, None, [])


@pytest.mark.parametrize(
    ("components", "error", "message"),
    [
        ([("user", EXACT, None)], 42, "Request specified MATCH_TYPE_EXACT, but set match string to null."),
        (
            [("user", DEFAULT, "u")],
            42,
            "Request specified MATCH_TYPE_DEFAULT, but also specified a match string.",
        ),
        (
            [("ip", SPECIFIED, "")],
            42,
            "Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.",
        ),
        ([("user", 9, None)], 42, "Unknown match type 9"),
        ([("color", SPECIFIED, None)], 35, "Unsupported entity type color"),
        ([("", SPECIFIED, None)], 42, "Invalid empty entity type."),
        (
            [("user", SPECIFIED, None), ("user", DEFAULT, None)],
            42,
            "Entity type user cannot appear more than once in the filter.",
        ),
        (
            [("client-id", SPECIFIED, None), ("ip", SPECIFIED, None)],
            42,
            "Invalid entity filter component combination. IP filter component should not be used with user or"
            " clientId filter component.",
        ),
    ],
)
def test_a_filter_that_matches_no_quota_is_refused(
    broker: FakeBroker, components: Any, error: int, message: str
) -> None:
    assert quotas(broker, *components) == (error, message, None)


def test_a_long_kind_of_entity_is_not_quoted_in_full(broker: FakeBroker) -> None:
    _, message, _ = quotas(broker, ("x" * 30_000, SPECIFIED, None))
    assert len(message) < 1100


# --- DescribeAcls ---


@pytest.mark.parametrize("version", [1, 2, 3])
def test_without_an_authorizer_there_are_no_acls(broker: FakeBroker, version: int) -> None:
    request = DescribeAclsRequest(
        resource_type_filter=1,
        resource_name_filter=None,
        principal_filter=None,
        host_filter=None,
        operation=1,
        permission_type=1,
    )
    answer = broker.ask(request, version)
    told = answer.error_code, answer.error_message, answer.resources
    assert told == (54, "No Authorizer is configured on the broker", [])


# --- ListConfigResources ---


def resources(broker: FakeBroker, *kinds: int) -> tuple[int, set[tuple[int, str]]]:
    answer = broker.ask(ListConfigResourcesRequest(resource_types=list(kinds)), 1)
    found = [(each.resource_type, each.resource_name) for each in answer.config_resources]
    assert len(found) == len(set(found))
    return answer.error_code, set(found)


@pytest.mark.parametrize(
    ("kinds", "found"),
    [
        ([], {(TOPIC, "a"), (TOPIC, "b"), (BROKER, "1")}),
        ([TOPIC], {(TOPIC, "a"), (TOPIC, "b")}),
        ([BROKER], {(BROKER, "1")}),
        ([BROKER, TOPIC, TOPIC], {(TOPIC, "a"), (TOPIC, "b"), (BROKER, "1")}),
        ([LOGGER, CLIENT_METRICS, GROUP], set()),
    ],
)
def test_topics_and_the_broker_have_configs(broker: FakeBroker, kinds: list[int], found: Any) -> None:
    assert resources(broker, *kinds) == (0, found)


@pytest.mark.parametrize("kind", [0, 1, 3, 64, -1])
def test_an_unknown_kind_of_resource_is_refused(broker: FakeBroker, kind: int) -> None:
    assert resources(broker, TOPIC, kind) == (35, set())


def test_the_first_version_asks_for_client_metrics_only(broker: FakeBroker) -> None:
    answer = broker.ask(ListConfigResourcesRequest(), 0)
    assert (answer.error_code, answer.config_resources) == (0, [])
