"""Kafka's internal topics, read as any other topic: what is in them, and who may change them."""

from __future__ import annotations

from typing import Any

import pytest

from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.alter_configs import AlterableConfig, AlterConfigsRequest, AlterConfigsResource
from oncelog.wire.messages.create_partitions import CreatePartitionsRequest, CreatePartitionsTopic
from oncelog.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from oncelog.wire.messages.delete_groups import DeleteGroupsRequest
from oncelog.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from oncelog.wire.messages.describe_configs import DescribeConfigsRequest, DescribeConfigsResource
from oncelog.wire.messages.describe_log_dirs import DescribableLogDirTopic, DescribeLogDirsRequest
from oncelog.wire.messages.describe_producers import DescribeProducersRequest, TopicRequest
from oncelog.wire.messages.describe_topic_partitions import (
    DescribeTopicPartitionsRequest,
)
from oncelog.wire.messages.describe_topic_partitions import (
    TopicRequest as TopicToDescribe,
)
from oncelog.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from oncelog.wire.messages.offset_for_leader_epoch import (
    OffsetForLeaderEpochRequest,
    OffsetForLeaderPartition,
    OffsetForLeaderTopic,
)
from oncelog.wire.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from oncelog.wire.records import batch_crc_is_valid, iterate_records
from tests.support.batches import batch, now_ms
from tests.support.coordinator_records import PARTITIONS, Told, decode, partition_of
from tests.support.fixtures import MakeTopic
from tests.support.members import GroupMember
from tests.support.raw import OpenConnection, RawConnection
from tests.support.speaking import (
    EARLIEST,
    GROUP_KEY,
    LATEST,
    MAX_TIMESTAMP,
    TransactionalProducer,
    batches_in,
    commit_offsets,
    committed_offset,
    fetch,
    fetch_request,
    find_coordinator,
    list_offset,
    log_end_offset,
    settled,
    topic_id,
)

OFFSETS, TRANSACTIONS = "__consumer_offsets", "__transaction_state"


def records_from(
    connection: RawConnection, topic: str, partition: int, offset: int = 0, **options: Any
) -> list[tuple[int, Told]]:
    """The records of one partition to its end, each with its offset."""
    found: list[tuple[int, Told]] = []
    while True:
        answer = fetch(connection, topic, offset, partition=partition, **options)
        assert answer.error_code == 0
        batches = batches_in(answer.records)
        if not batches:
            assert offset == answer.high_watermark
            return found
        for header, whole in batches:
            assert batch_crc_is_valid(whole, header)
            assert (header.partition_leader_epoch, header.compression) == (0, 0)
            for record in iterate_records(whole):
                assert record.offset >= offset
                assert record.key is not None
                if not header.is_control:
                    found.append((record.offset, decode(topic, record.key, record.value)))
            offset = header.base_offset + header.last_offset_delta + 1


def of_group(connection: RawConnection, group: str, **options: Any) -> list[Told]:
    found = records_from(connection, OFFSETS, partition_of(group), **options)
    return [told for _, told in found if told.key.group == group]


def of_transactional_id(connection: RawConnection, name: str) -> list[Told]:
    found = records_from(connection, TRANSACTIONS, partition_of(name))
    return [told for _, told in found if told.key.transactional_id == name]


# -- what is in them --


def test_a_commit_is_a_record_of_its_group(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    before_ms = now_ms() - 5000
    commit_offsets(connection, unique_name, (topic, 0, 41), metadata="noted")
    told = of_group(connection, unique_name)[-1]
    assert (told.key.group, told.key.topic, told.key.partition) == (unique_name, topic, 0)
    assert (told.value.offset, told.value.leader_epoch, told.value.metadata) == (41, -1, "noted")
    assert told.value.commit_timestamp > before_ms
    assert told.version == 4
    assert told.value.topic_id.bytes == topic_id(connection, topic)


def test_of_many_commits_the_last_one_is_told(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic(partitions=2)
    for offset in range(5):
        commit_offsets(connection, unique_name, (topic, offset % 2, offset))
    last = {told.key.partition: told.value.offset for told in of_group(connection, unique_name)}
    assert last == {0: 4, 1: 3}


def test_a_group_tells_its_generation(
    open_connection: OpenConnection, connection: RawConnection, unique_name: str
) -> None:
    member = GroupMember(open_connection, unique_name, instance="one")
    member.join()
    member.sync({member.member_id: b"assigned"})
    told = of_group(connection, unique_name)[-1]
    value = told.value
    assert (told.key.group, told.version) == (unique_name, 3)
    assert (value.protocol_type, value.generation, value.protocol) == ("consumer", 1, "range")
    assert value.leader == member.member_id
    (only,) = value.members
    assert (only.member_id, only.group_instance_id, only.assignment) == (member.member_id, "one", b"assigned")
    assert only.subscription == dict(member.protocols)["range"]
    assert (only.session_timeout, only.rebalance_timeout) == (10_000, 10_000)
    assert only.client_host.startswith("/")


def test_a_deleted_group_is_told_to_be_gone(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    commit_offsets(connection, unique_name, (topic, 0, 41))
    deleted = connection.call(DeleteGroupsRequest(groups_names=[unique_name]), 2).results[0]
    assert deleted.error_code == 0
    last = {told.key: told.value for told in of_group(connection, unique_name)}
    assert set(last.values()) == {None}


def test_a_transactional_id_tells_its_transaction(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic(partitions=2)
    producer = TransactionalProducer(connection, unique_name)
    begun = of_transactional_id(connection, unique_name)[-1]
    assert begun.version == 1
    assert (begun.value.producer_id, begun.value.producer_epoch) == (producer.producer_id, producer.epoch)
    assert (begun.value.transaction_status, begun.value.transaction_partitions) == (0, None)
    assert producer.add(topic, (0, 1)) == 0
    assert producer.add_offsets(unique_name) == 0
    ongoing = of_transactional_id(connection, unique_name)[-1].value
    covered = {each.topic: sorted(each.partition_ids) for each in ongoing.transaction_partitions}
    assert covered == {topic: [0, 1], OFFSETS: [partition_of(unique_name)]}
    assert ongoing.transaction_status == 1
    assert 0 < ongoing.transaction_start_timestamp_ms <= ongoing.transaction_last_update_timestamp_ms
    assert producer.commit_offset(unique_name, topic, 7) == 0
    assert producer.end(True, version=3).error_code == 0
    ended = settled(
        lambda: of_transactional_id(connection, unique_name)[-1].value,
        lambda value: 0 if value.transaction_status == 4 else int(ErrorCode.CONCURRENT_TRANSACTIONS),
    )
    assert (ended.transaction_status, ended.transaction_partitions) == (4, ())
    assert [told.value.offset for told in of_group(connection, unique_name, read_committed=True)] == [7]


def test_a_second_generation_end_moves_the_epoch_on(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    assert producer.produce(topic, version=12).error_code == 0
    first_epoch = producer.epoch
    assert producer.end(False, version=5).error_code == 0
    ended = settled(
        lambda: of_transactional_id(connection, unique_name)[-1].value,
        lambda value: 0 if value.transaction_status == 5 else int(ErrorCode.CONCURRENT_TRANSACTIONS),
    )
    assert (ended.producer_epoch, ended.client_transaction_version) == (first_epoch + 1, 2)


# -- fetching them --


@pytest.mark.parametrize("version", [4, 11, 12, 13, 18])
@pytest.mark.parametrize("read_committed", [False, True])
def test_they_are_fetched_by_name_and_by_id(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str, version: int, read_committed: bool
) -> None:
    topic = make_topic()
    commit_offsets(connection, unique_name, (topic, 0, 41))
    told = of_group(connection, unique_name, version=version, read_committed=read_committed)
    assert [each.value.offset for each in told] == [41]


def test_one_byte_is_room_for_one_record(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic(partitions=3)
    commit_offsets(connection, unique_name, *((topic, index, index) for index in range(3)))
    for options in ({"max_bytes": 1}, {"partition_max_bytes": 1}, {"max_bytes": 0, "partition_max_bytes": 0}):
        told = of_group(connection, unique_name, **options)
        assert [each.value.offset for each in told] == [0, 1, 2]


@pytest.mark.deliberate_difference("Kafka compacts closed segments, and in its own time")
def test_an_offset_that_was_compacted_away_gives_the_next_one(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    partition = partition_of(unique_name)
    start = log_end_offset(connection, OFFSETS, partition)
    for offset in range(10):
        commit_offsets(connection, unique_name, (topic, 0, offset))
    for offset in (start, start + 4, start + 9):
        answer = fetch(connection, OFFSETS, offset, partition=partition)
        ((header, _),) = batches_in(answer.records)
        assert (header.base_offset, header.last_offset_delta, header.record_count) == (start + 9, 0, 1)


def test_a_fetch_at_the_end_waits_for_the_next_change(
    open_connection: OpenConnection, connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    commit_offsets(connection, unique_name, (topic, 0, 1))
    partition = partition_of(unique_name)
    end = log_end_offset(connection, OFFSETS, partition)
    waiting = open_connection()
    waiting.send(fetch_request(OFFSETS, end, partition=partition, max_wait_ms=30_000, min_bytes=1), 12)
    assert waiting.is_silent(0.1)
    commit_offsets(connection, unique_name, (topic, 0, 2))
    answer = waiting.receive().responses[0].partitions[0]
    assert answer.high_watermark > end
    assert batches_in(answer.records)[0][0].base_offset >= end


def test_behind_the_end_is_out_of_range(connection: RawConnection) -> None:
    end = log_end_offset(connection, OFFSETS, 0)
    assert fetch(connection, OFFSETS, end).error_code == 0
    for offset in (-1, end + 1):
        assert fetch(connection, OFFSETS, offset).error_code == ErrorCode.OFFSET_OUT_OF_RANGE
    unknown = fetch(connection, OFFSETS, 0, partition=PARTITIONS)
    assert unknown.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    fenced = fetch(connection, OFFSETS, 0, leader_epoch=1000)
    assert fenced.error_code == ErrorCode.UNKNOWN_LEADER_EPOCH


def test_a_fetch_session_tells_what_changed(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    partition = partition_of(unique_name)
    commit_offsets(connection, unique_name, (topic, 0, 1))
    end = log_end_offset(connection, OFFSETS, partition)
    first = connection.call(fetch_request(OFFSETS, end, partition=partition, session_epoch=0), 12)
    assert first.session_id
    again = fetch_request(OFFSETS, end, partition=partition, session_id=first.session_id, session_epoch=1)
    again.topics = []
    assert connection.call(again, 12).responses == []
    commit_offsets(connection, unique_name, (topic, 0, 2))
    again.session_epoch = 2
    (changed,) = connection.call(again, 12).responses[0].partitions
    assert [header.base_offset for header, _ in batches_in(changed.records)] == [end]


def test_many_partitions_are_read_in_one_fetch(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    """Those that had no room are read by the next one; what was not changed is not told again."""
    topic = make_topic()
    groups = [f"{unique_name}-{number}" for number in range(60)]
    for number, group in enumerate(groups):
        commit_offsets(connection, group, (topic, 0, number))
    positions = dict.fromkeys(range(PARTITIONS), 0)
    told: dict[str, int] = {}
    while True:
        request = fetch_request(OFFSETS, max_bytes=2000)
        template = request.topics[0].partitions[0]
        request.topics[0].partitions = [
            type(template)(partition=index, fetch_offset=offset, partition_max_bytes=700)
            for index, offset in positions.items()
        ]
        answers = connection.call(request, 12).responses[0].partitions
        size = sum(len(each.records or b"") for each in answers)
        if not size:
            break
        assert size <= 2000 or sum(bool(each.records) for each in answers) == 1
        for each in answers:
            for header, whole in batches_in(each.records):
                positions[each.partition_index] = header.base_offset + header.last_offset_delta + 1
                for record in [] if header.is_control else iterate_records(whole):
                    key = decode(OFFSETS, record.key or b"", record.value)
                    if key.value is not None and getattr(key.key, "topic", "") == topic:
                        told[key.key.group] = key.value.offset
    assert told == {group: number for number, group in enumerate(groups)}


# -- asking about them --


@pytest.mark.parametrize("version", [7, 11])
def test_both_ends_and_the_search_by_time(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str, version: int
) -> None:
    topic = make_topic()
    partition = partition_of(unique_name)
    commit_offsets(connection, unique_name, (topic, 0, 1))
    end = log_end_offset(connection, OFFSETS, partition)

    def listed(timestamp: int, **options: Any) -> tuple[int, int, int]:
        answer = list_offset(connection, OFFSETS, timestamp, partition=partition, version=version, **options)
        return answer.error_code, answer.offset, answer.timestamp

    assert listed(EARLIEST) == (0, 0, -1)
    assert listed(LATEST) == listed(LATEST, read_committed=True) == (0, end, -1)
    _, newest, newest_ms = listed(MAX_TIMESTAMP)
    assert newest == end - 1
    assert abs(newest_ms - now_ms()) < 60_000
    assert listed(newest_ms)[1:] == (newest, newest_ms)
    first = listed(0)
    assert first[1] <= newest
    assert listed(now_ms() + 100_000) == (0, -1, -1)


@pytest.mark.parametrize("version", range(14))
def test_metadata_knows_them(connection: RawConnection, version: int) -> None:
    for name in (OFFSETS, TRANSACTIONS):
        request = MetadataRequest(topics=[MetadataRequestTopic(name=name)])
        (found,) = connection.call(request, version).topics
        assert (found.error_code, found.name, len(found.partitions)) == (0, name, PARTITIONS)
        if version >= 1:
            assert found.is_internal
        if version >= 12:
            by_id = MetadataRequestTopic(name=None, topic_id=found.topic_id)
            (same,) = connection.call(MetadataRequest(topics=[by_id]), version).topics
            assert (same.error_code, same.name, same.is_internal) == (0, name, True)


def test_they_are_among_all_topics_once_they_hold_something(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    commit_offsets(connection, unique_name, (make_topic(), 0, 1))
    TransactionalProducer(connection, unique_name)
    everything = connection.call(MetadataRequest(topics=None), 9).topics
    assert {topic.name for topic in everything if topic.is_internal} >= {OFFSETS, TRANSACTIONS}
    described = connection.call(DescribeTopicPartitionsRequest(topics=[]), 0).topics
    assert {topic.name for topic in described if topic.is_internal} >= {OFFSETS, TRANSACTIONS}


def test_what_else_tells_of_topics(connection: RawConnection) -> None:
    named = DescribeTopicPartitionsRequest(topics=[TopicToDescribe(name=OFFSETS)])
    (described,) = connection.call(named, 0).topics
    assert (described.error_code, described.is_internal, len(described.partitions)) == (0, True, PARTITIONS)
    log_dirs = DescribeLogDirsRequest(topics=[DescribableLogDirTopic(topic=OFFSETS, partitions=[0, 1])])
    (directory,) = connection.call(log_dirs, 1).results
    assert {each.partition_index for each in directory.topics[0].partitions} == {0, 1}
    asked = DescribeProducersRequest(topics=[TopicRequest(name=OFFSETS, partition_indexes=[0])])
    assert connection.call(asked, 0).topics[0].partitions[0].error_code == 0
    epochs = OffsetForLeaderEpochRequest(
        topics=[
            OffsetForLeaderTopic(
                topic=OFFSETS, partitions=[OffsetForLeaderPartition(partition=0, leader_epoch=0)]
            )
        ]
    )
    (answer,) = connection.call(epochs, 4).topics[0].partitions
    assert (answer.error_code, answer.end_offset) == (0, log_end_offset(connection, OFFSETS))


def test_their_configs_are_those_that_kafka_gives_them(connection: RawConnection) -> None:
    resource = DescribeConfigsResource(resource_type=2, resource_name=OFFSETS, configuration_keys=None)
    (result,) = connection.call(DescribeConfigsRequest(resources=[resource]), 4).results
    assert result.error_code == 0
    values = {config.name: config.value for config in result.configs}
    assert values["cleanup.policy"] == "compact"
    assert values["segment.bytes"] == "104857600"
    assert values["compression.type"] == "producer"


def test_a_group_may_follow_its_own_commits(connection: RawConnection, unique_name: str) -> None:
    """Each of them is a record that is new to the group, so that it never arrives, as in Kafka."""
    partition = partition_of(unique_name)
    for _ in range(3):
        end = log_end_offset(connection, OFFSETS, partition)
        commit_offsets(connection, unique_name, (OFFSETS, partition, end))
        assert log_end_offset(connection, OFFSETS, partition) == end + 1
        assert committed_offset(connection, unique_name, OFFSETS, partition=partition).offset == end
    told = of_group(connection, unique_name)[-1]
    assert (told.key.topic, told.key.partition, told.value.offset) == (OFFSETS, partition, end)


# -- changing them --


def test_nobody_creates_them(connection: RawConnection) -> None:
    find_coordinator(connection, "g", GROUP_KEY)
    for name in (OFFSETS, TRANSACTIONS):
        topic = CreatableTopic(name=name, num_partitions=1, replication_factor=1)
        (refused,) = connection.call(CreateTopicsRequest(topics=[topic]), 7).topics
        assert refused.error_code == ErrorCode.TOPIC_ALREADY_EXISTS


@pytest.mark.deliberate_difference("Kafka lets who administers it delete, grow and configure them")
def test_nobody_deletes_or_changes_them(connection: RawConnection) -> None:
    refused = ErrorCode.INVALID_TOPIC_EXCEPTION
    by_name = DeleteTopicsRequest(topic_names=[OFFSETS])
    assert connection.call(by_name, 5).responses[0].error_code == refused
    state = DeleteTopicState(name=None, topic_id=topic_id(connection, OFFSETS))
    (deleted,) = connection.call(DeleteTopicsRequest(topics=[state]), 6).responses
    assert deleted.error_code == refused
    assert "view of the broker's state" in deleted.error_message
    grow = CreatePartitionsTopic(name=OFFSETS, count=60, assignments=None)
    assert connection.call(CreatePartitionsRequest(topics=[grow]), 3).results[0].error_code == refused
    config = AlterableConfig(name="retention.ms", value="1")
    resource = AlterConfigsResource(resource_type=2, resource_name=OFFSETS, configs=[config])
    altered = connection.call(AlterConfigsRequest(resources=[resource]), 2).responses[0]
    assert altered.error_code == refused


def test_nobody_writes_to_them_by_id(connection: RawConnection) -> None:
    data = PartitionProduceData(index=0, records=batch())
    topic = TopicProduceData(topic_id=topic_id(connection, OFFSETS), partition_data=[data])
    answer = connection.call(ProduceRequest(acks=-1, timeout_ms=1000, topic_data=[topic]), 13)
    (partition,) = answer.responses[0].partition_responses
    assert partition.error_code == ErrorCode.INVALID_TOPIC_EXCEPTION


def test_nobody_adds_them_to_a_transaction(connection: RawConnection, unique_name: str) -> None:
    producer = TransactionalProducer(connection, unique_name)
    assert producer.add_each(OFFSETS, [0]) == {0: ErrorCode.TOPIC_AUTHORIZATION_FAILED}
    assert producer.produce(OFFSETS, version=12).error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
