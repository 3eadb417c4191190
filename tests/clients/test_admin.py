"""Administration: topics, partitions, configs, groups and their offsets."""

from __future__ import annotations

import pytest

from tests.clients.adapters.base import Client, ClientError
from tests.clients.scenario import drive, partitions_of, share_out
from tests.support.fixtures import MakeTopic
from tests.support.waiting import wait_for

UNKNOWN_TOPIC_OR_PARTITION, TOPIC_ALREADY_EXISTS, INVALID_PARTITIONS = 3, 36, 37
INVALID_CONFIG, INVALID_TOPIC_EXCEPTION = 40, 17
NON_EMPTY_GROUP, GROUP_ID_NOT_FOUND = 68, 69


def test_a_topic_is_created_and_deleted(client: Client, unique_name: str) -> None:
    admin = client.admin()
    admin.create_topic(unique_name, 3, {"retention.ms": "3600000"})
    wait_for(lambda: admin.partition_count(unique_name) == 3, "the topic")
    assert admin.topic_configs(unique_name)["retention.ms"] == "3600000"
    admin.delete_topic(unique_name)
    wait_for(lambda: admin.partition_count(unique_name) == 0, "its deletion")


def test_a_topic_cannot_be_created_twice(client: Client, make_topic: MakeTopic) -> None:
    with pytest.raises(ClientError) as refused:
        client.admin().create_topic(make_topic(), 1, {})
    assert refused.value.code == TOPIC_ALREADY_EXISTS


@pytest.mark.parametrize(
    ("configs", "code"),
    [({"retention.ms": "soon"}, INVALID_CONFIG), ({"no.such.config": "1"}, INVALID_CONFIG)],
    ids=["wrong value", "unknown name"],
)
def test_a_wrong_config_is_refused(
    client: Client, unique_name: str, configs: dict[str, str], code: int
) -> None:
    admin = client.admin()
    with pytest.raises(ClientError) as refused:
        admin.create_topic(unique_name, 1, configs)
    assert refused.value.code == code
    assert admin.partition_count(unique_name) == 0


def test_a_topic_with_an_illegal_name_is_refused(client: Client) -> None:
    with pytest.raises(ClientError) as refused:
        client.admin().create_topic("not a name!", 1, {})
    assert refused.value.code == INVALID_TOPIC_EXCEPTION


def test_deleting_what_is_not_there(client: Client, unique_name: str) -> None:
    with pytest.raises(ClientError) as refused:
        client.admin().delete_topic(unique_name)
    assert refused.value.code == UNKNOWN_TOPIC_OR_PARTITION


def test_partitions_are_added_and_never_removed(client: Client, make_topic: MakeTopic) -> None:
    topic = make_topic(partitions=2)
    admin = client.admin()
    admin.add_partitions(topic, 5)
    wait_for(lambda: admin.partition_count(topic) == 5, "five partitions")
    with pytest.raises(ClientError) as refused:
        admin.add_partitions(topic, 4)
    assert refused.value.code == INVALID_PARTITIONS
    producer = client.producer()
    producer.send(topic, b"to the new one", partition=4)
    assert producer.flush()[0].partition == 4


def test_a_topic_config_is_altered(client: Client, make_topic: MakeTopic) -> None:
    topic = make_topic()
    admin = client.admin()
    assert admin.topic_configs(topic)["max.message.bytes"] == "1048588"
    admin.alter_topic_config(topic, "max.message.bytes", "2000")
    wait_for(lambda: admin.topic_configs(topic)["max.message.bytes"] == "2000", "the new value")
    with pytest.raises(ClientError) as refused:
        admin.alter_topic_config(topic, "max.message.bytes", "many")
    assert refused.value.code == INVALID_CONFIG


def test_a_group_is_listed_and_described(client: Client, make_topic: MakeTopic, unique_name: str) -> None:
    topic = make_topic(partitions=2)
    admin = client.admin()
    members = [client.consumer(topics=[topic], group_id=unique_name) for _ in range(2)]
    drive(members, lambda: share_out(members, partitions_of(topic, 2), [1, 1]), "a group of two")
    assert unique_name in admin.groups()
    assert admin.describe_group(unique_name) == ("stable", 2)
    for member in members:
        member.close()
    wait_for(lambda: admin.describe_group(unique_name) == ("empty", 0), "the empty group")


@pytest.mark.needs("delete groups")
def test_only_an_empty_group_is_deleted(client: Client, make_topic: MakeTopic, unique_name: str) -> None:
    topic = make_topic()
    admin = client.admin()
    member = client.consumer(topics=[topic], group_id=unique_name)
    drive([member], lambda: share_out([member], [(topic, 0)], [1]), "the assignment")
    member.commit({(topic, 0): 7})
    with pytest.raises(ClientError) as refused:
        admin.delete_group(unique_name)
    assert refused.value.code == NON_EMPTY_GROUP
    member.close()
    wait_for(lambda: admin.describe_group(unique_name)[0] == "empty", "the empty group")
    admin.delete_group(unique_name)
    assert unique_name not in admin.groups()
    assert admin.group_offsets(unique_name, [(topic, 0)]) == {}
    with pytest.raises(ClientError) as missing:
        admin.delete_group(unique_name)
    assert missing.value.code == GROUP_ID_NOT_FOUND


@pytest.mark.needs("alter group offsets")
def test_offsets_of_an_empty_group_are_altered(
    client: Client, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic(partitions=2)
    admin = client.admin()
    admin.alter_group_offsets(unique_name, {(topic, 0): 5, (topic, 1): 6})
    assert admin.group_offsets(unique_name, partitions_of(topic, 2)) == {(topic, 0): 5, (topic, 1): 6}
    admin.alter_group_offsets(unique_name, {(topic, 1): 3})
    assert admin.group_offsets(unique_name, partitions_of(topic, 2)) == {(topic, 0): 5, (topic, 1): 3}


@pytest.mark.needs("delete group offsets")
def test_offsets_of_a_group_are_deleted(client: Client, make_topic: MakeTopic, unique_name: str) -> None:
    topic = make_topic(partitions=2)
    admin = client.admin()
    admin.alter_group_offsets(unique_name, {(topic, 0): 5, (topic, 1): 6})
    admin.delete_group_offsets(unique_name, [(topic, 0)])
    assert admin.group_offsets(unique_name, partitions_of(topic, 2)) == {(topic, 1): 6}


def test_the_cluster_is_described(client: Client) -> None:
    cluster_id, brokers = client.admin().cluster()
    assert len(cluster_id) == 22, "a UUID in Base64"
    assert brokers == 1


def test_offsets_by_time_and_at_the_end(client: Client, make_topic: MakeTopic) -> None:
    topic = make_topic(partitions=2)
    producer = client.producer()
    for number in range(3):
        producer.send(topic, b"x", partition=1, timestamp_ms=1_700_000_000_000 + number * 1000)
        producer.flush()
    admin = client.admin()
    assert admin.offsets_of(topic, 0, None) == 0
    assert admin.offsets_of(topic, 1, None) == 3
    assert admin.offsets_of(topic, 1, 1_600_000_000_000) == 0
    assert admin.offsets_of(topic, 1, 1_700_000_000_001) == 1
    assert admin.offsets_of(topic, 1, 1_700_000_002_000) == 2
