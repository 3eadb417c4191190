"""One question for every API whose answer betrays a change, and the changes: what the tests of S1 and S2 ask.

A row says: after this change, this question is answered so; without the change, it would be answered so.
Must not know journals or what is durable.
"""

# ruff: noqa: ARG005 (every question is made from a world, whether it needs it or not)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from oncelog.wire.definition import Message
from oncelog.wire.messages.add_offsets_to_txn import AddOffsetsToTxnRequest
from oncelog.wire.messages.add_partitions_to_txn import AddPartitionsToTxnRequest, AddPartitionsToTxnTopic
from oncelog.wire.messages.alter_configs import (
    AlterableConfig as PlainConfig,
)
from oncelog.wire.messages.alter_configs import (
    AlterConfigsRequest,
)
from oncelog.wire.messages.alter_configs import (
    AlterConfigsResource as PlainResource,
)
from oncelog.wire.messages.api_versions import ApiVersionsRequest
from oncelog.wire.messages.create_partitions import CreatePartitionsRequest, CreatePartitionsTopic
from oncelog.wire.messages.create_topics import CreatableTopic, CreatableTopicConfig, CreateTopicsRequest
from oncelog.wire.messages.delete_groups import DeleteGroupsRequest
from oncelog.wire.messages.delete_topics import DeleteTopicsRequest
from oncelog.wire.messages.describe_configs import DescribeConfigsRequest, DescribeConfigsResource
from oncelog.wire.messages.describe_groups import DescribeGroupsRequest
from oncelog.wire.messages.describe_log_dirs import DescribableLogDirTopic, DescribeLogDirsRequest
from oncelog.wire.messages.describe_producers import DescribeProducersRequest
from oncelog.wire.messages.describe_producers import TopicRequest as ProducersOfTopic
from oncelog.wire.messages.describe_quorum import DescribeQuorumRequest, PartitionData, TopicData
from oncelog.wire.messages.describe_topic_partitions import DescribeTopicPartitionsRequest, TopicRequest
from oncelog.wire.messages.describe_transactions import DescribeTransactionsRequest
from oncelog.wire.messages.elect_leaders import ElectLeadersRequest
from oncelog.wire.messages.elect_leaders import TopicPartitions as ElectedPartitions
from oncelog.wire.messages.end_txn import EndTxnRequest
from oncelog.wire.messages.heartbeat import HeartbeatRequest
from oncelog.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from oncelog.wire.messages.init_producer_id import InitProducerIdRequest
from oncelog.wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from oncelog.wire.messages.leave_group import LeaveGroupRequest, MemberIdentity
from oncelog.wire.messages.list_config_resources import ListConfigResourcesRequest
from oncelog.wire.messages.list_groups import ListGroupsRequest
from oncelog.wire.messages.list_offsets import ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic
from oncelog.wire.messages.list_transactions import ListTransactionsRequest
from oncelog.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from oncelog.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from oncelog.wire.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
)
from oncelog.wire.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
)
from oncelog.wire.messages.offset_for_leader_epoch import (
    OffsetForLeaderEpochRequest,
    OffsetForLeaderPartition,
    OffsetForLeaderTopic,
)
from oncelog.wire.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from oncelog.wire.messages.txn_offset_commit import (
    TxnOffsetCommitRequest,
    TxnOffsetCommitRequestPartition,
    TxnOffsetCommitRequestTopic,
)
from oncelog.wire.messages.update_features import FeatureUpdateKey, UpdateFeaturesRequest
from oncelog.wire.messages.write_txn_markers import (
    WritableTxnMarker,
    WritableTxnMarkerTopic,
    WriteTxnMarkersRequest,
)
from tests.support.batches import batch
from tests.support.one_process import Client, OneProcess
from tests.support.speaking import (
    TransactionalProducer,
    fetch_request,
    idempotent_producer,
    produce,
    produce_request,
)

TOPIC, NEW_TOPIC, GROUP, NEW_GROUP, TRANSACTIONAL_ID = "known", "new", "group", "new-group", "t-id"
INCREMENTAL_TOPIC_TYPE = 2
KEPT_CONFIG = "retention.ms"
JOURNAL_END = 11
"""The position behind all that `world` makes, with the entry that seals the journal when no more comes."""
Question = tuple[Message, int]


@dataclass
class World:
    """A broker with a topic, producers and a group that somebody is about to join; all of it durable."""

    process: OneProcess
    client: Client
    topic_id: bytes
    idempotent: int
    transactional: TransactionalProducer
    member_id: str
    notes: dict[str, Any] = field(default_factory=dict)


def world(process: OneProcess) -> World:
    """Make it, with the journal confirming at once."""
    client = process.connect()
    created = client.call(create_topic(TOPIC, partitions=2), 7).topics[0]
    assert produce(client, TOPIC, batch([b"old"])).error_code == 0
    commit = client.call(offset_commit(GROUP, 3), 7)
    assert commit.topics[0].partitions[0].error_code == 0
    transactional = TransactionalProducer(client, TRANSACTIONAL_ID)  # type: ignore[arg-type]
    assert transactional.add(TOPIC, (0, 1)) == 0
    assert transactional.produce(TOPIC, [b"in the transaction"], partition=1).error_code == 0
    assert transactional.add_offsets(GROUP) == 0
    assert transactional.commit_offset(GROUP, TOPIC, 7) == 0
    told_id = client.call(join_group("", NEW_GROUP), 5)
    return World(
        process,
        client,
        bytes(created.topic_id),
        idempotent_producer(client),  # type: ignore[arg-type]
        transactional,
        told_id.member_id,
    )


# -- requests --


def create_topic(name: str, *, partitions: int = 1, **configs: str) -> CreateTopicsRequest:
    wanted = [CreatableTopicConfig(name=key.replace("_", "."), value=value) for key, value in configs.items()]
    topic = CreatableTopic(name=name, num_partitions=partitions, replication_factor=1, configs=wanted)
    return CreateTopicsRequest(topics=[topic], timeout_ms=10_000)


def metadata(*names: str, may_create: bool = False) -> MetadataRequest:
    return MetadataRequest(
        topics=[MetadataRequestTopic(name=name) for name in names], allow_auto_topic_creation=may_create
    )


def offset_commit(
    group_id: str,
    offset: int,
    *,
    generation: int = -1,
    member_id: str = "",
    topic: str = TOPIC,
    metadata: str = "",
) -> OffsetCommitRequest:
    partition = OffsetCommitRequestPartition(
        partition_index=0, committed_offset=offset, committed_metadata=metadata
    )
    return OffsetCommitRequest(
        group_id=group_id,
        generation_id_or_member_epoch=generation,
        member_id=member_id,
        topics=[OffsetCommitRequestTopic(name=topic, partitions=[partition])],
    )


def offset_fetch(group_id: str) -> OffsetFetchRequest:
    topic = OffsetFetchRequestTopics(name=TOPIC, partition_indexes=[0])
    return OffsetFetchRequest(groups=[OffsetFetchRequestGroup(group_id=group_id, topics=[topic])])


def join_group(member_id: str, group_id: str = NEW_GROUP) -> JoinGroupRequest:
    return JoinGroupRequest(
        group_id=group_id,
        session_timeout_ms=30_000,
        rebalance_timeout_ms=30_000,
        member_id=member_id,
        protocol_type="consumer",
        protocols=[JoinGroupRequestProtocol(name="range", metadata=b"subscription")],
    )


def sync_group(member_id: str, generation: int = 1, group_id: str = NEW_GROUP) -> SyncGroupRequest:
    return SyncGroupRequest(
        group_id=group_id,
        generation_id=generation,
        member_id=member_id,
        assignments=[SyncGroupRequestAssignment(member_id=member_id, assignment=b"all of it")],
    )


def list_offsets(
    timestamp: int, *, partition: int = 0, read_committed: bool = False, topic: str = TOPIC
) -> ListOffsetsRequest:
    wanted = ListOffsetsPartition(partition_index=partition, timestamp=timestamp)
    return ListOffsetsRequest(
        replica_id=-1,
        isolation_level=int(read_committed),
        topics=[ListOffsetsTopic(name=topic, partitions=[wanted])],
    )


def alter_config(topic: str, name: str, value: str) -> IncrementalAlterConfigsRequest:
    config = AlterableConfig(name=name, config_operation=0, value=value)
    resource = AlterConfigsResource(
        resource_type=INCREMENTAL_TOPIC_TYPE, resource_name=topic, configs=[config]
    )
    return IncrementalAlterConfigsRequest(resources=[resource])


def end_txn(producer: TransactionalProducer, *, commit: bool = True) -> EndTxnRequest:
    return EndTxnRequest(
        transactional_id=producer.transactional_id,
        producer_id=producer.producer_id,
        producer_epoch=producer.epoch,
        committed=commit,
    )


def feature_level(level: int, *, upgrade_type: int, validate_only: bool = False) -> UpdateFeaturesRequest:
    update = FeatureUpdateKey(
        feature="transaction.version", max_version_level=level, upgrade_type=upgrade_type
    )
    return UpdateFeaturesRequest(feature_updates=[update], validate_only=validate_only)


def quorum_of_the_metadata() -> DescribeQuorumRequest:
    partition = PartitionData(partition_index=0)
    return DescribeQuorumRequest(topics=[TopicData(topic_name="__cluster_metadata", partitions=[partition])])


def _offset_delete(group_id: str) -> OffsetDeleteRequest:
    partition = OffsetDeleteRequestPartition(partition_index=0)
    topic = OffsetDeleteRequestTopic(name=TOPIC, partitions=[partition])
    return OffsetDeleteRequest(group_id=group_id, topics=[topic])


# -- changes --


def _numbered_batch(at: World, sequence: int = 0) -> bytes:
    if sequence not in at.notes:
        at.notes[sequence] = batch([b"numbered"], producer_id=at.idempotent, epoch=0, sequence=sequence)
    return bytes(at.notes[sequence])


TIME_PASSES_S = 62.0
CHANGES: dict[str, Callable[[World], Question | None]] = {
    "topic created": lambda at: (create_topic(NEW_TOPIC, partitions=2), 7),
    "topic deleted": lambda at: (DeleteTopicsRequest(topic_names=[TOPIC], timeout_ms=1000), 5),
    "partitions created": lambda at: (
        CreatePartitionsRequest(
            topics=[CreatePartitionsTopic(name=TOPIC, count=5, assignments=None)], timeout_ms=1000
        ),
        3,
    ),
    "config altered": lambda at: (alter_config(TOPIC, KEPT_CONFIG, "12345"), 1),
    "feature level": lambda at: (feature_level(1, upgrade_type=2), 2),
    "records produced": lambda at: (produce_request([(TOPIC, 0, batch([b"new", b"newer"]))]), 11),
    "numbered records produced": lambda at: (produce_request([(TOPIC, 0, _numbered_batch(at))]), 11),
    "producer fenced": lambda at: (
        InitProducerIdRequest(transactional_id=TRANSACTIONAL_ID, transaction_timeout_ms=60_000),
        4,
    ),
    "transaction committed": lambda at: (end_txn(at.transactional), 4),
    "transaction aborted": lambda at: (end_txn(at.transactional, commit=False), 4),
    "transaction aborted by marker": lambda at: _abort_by_marker(at),
    "offsets committed": lambda at: (offset_commit("committed-first", 5), 7),
    "generation started": lambda at: (join_group(at.member_id), 5),
    "topic created by asking for it": lambda at: (metadata(NEW_TOPIC, may_create=True), 9),
    "offsets deleted": lambda at: (_offset_delete(GROUP), 0),
    "group deleted": lambda at: (DeleteGroupsRequest(groups_names=[GROUP]), 2),
    "producer id given": lambda at: (InitProducerIdRequest(transactional_id=None), 4),
    "transaction timed out": lambda at: None,
}
"""By name. None: time passes (TIME_PASSES_S), and the broker does it by itself."""


# -- questions --


@dataclass(frozen=True)
class Asked:
    """A question about a change. after, before: what `told` makes of the answer with and without it.

    at_once: it reads the published view: its answer may leave while the change is held, if it is `before`.
    """

    change: str
    question: Callable[[World], Question]
    told: Callable[[Any], Any]
    after: Any
    before: Any
    at_once: bool = False


def _topic_errors(answer: Any) -> Any:
    return answer.topics[0].error_code


def _produced(answer: Any) -> Any:
    partition = answer.responses[0].partition_responses[0]
    return partition.error_code, partition.base_offset


def _fetched(answer: Any) -> Any:
    partition = answer.responses[0].partitions[0]
    return partition.error_code, partition.high_watermark, partition.last_stable_offset


def _listed(answer: Any) -> Any:
    partition = answer.topics[0].partitions[0]
    return partition.error_code, partition.offset


def _first_partition_error(answer: Any) -> Any:
    return answer.topics[0].partitions[0].error_code


def _fetch_of(partition: int, topic: str = TOPIC) -> Callable[[World], Question]:
    return lambda at: (fetch_request(topic, 0, partition=partition, read_committed=True), 11)


def _old_transactional_batch(at: World) -> Question:
    producer = at.transactional
    records = batch(producer_id=producer.producer_id, epoch=producer.epoch, sequence=1, transactional=True)
    return (
        produce_request([(TOPIC, 1, records)], transactional_id=producer.transactional_id),
        11,
    )


def _add_partitions(at: World) -> Question:
    producer = at.transactional
    return (
        AddPartitionsToTxnRequest(
            v3_and_below_transactional_id=producer.transactional_id,
            v3_and_below_producer_id=producer.producer_id,
            v3_and_below_producer_epoch=producer.epoch,
            v3_and_below_topics=[AddPartitionsToTxnTopic(name=TOPIC, partitions=[0])],
        ),
        3,
    )


def _add_offsets(at: World) -> Question:
    producer = at.transactional
    return (
        AddOffsetsToTxnRequest(
            transactional_id=producer.transactional_id,
            producer_id=producer.producer_id,
            producer_epoch=producer.epoch,
            group_id=GROUP,
        ),
        3,
    )


def _txn_offset_commit(at: World) -> Question:
    producer = at.transactional
    partition = TxnOffsetCommitRequestPartition(partition_index=0, committed_offset=9, committed_metadata="")
    return (
        TxnOffsetCommitRequest(
            transactional_id=producer.transactional_id,
            group_id=GROUP,
            producer_id=producer.producer_id,
            producer_epoch=producer.epoch,
            topics=[TxnOffsetCommitRequestTopic(name=TOPIC, partitions=[partition])],
        ),
        3,
    )


def _init_again(at: World) -> Question:
    producer = at.transactional
    return (
        InitProducerIdRequest(
            transactional_id=producer.transactional_id,
            transaction_timeout_ms=60_000,
            producer_id=producer.producer_id,
            producer_epoch=producer.epoch,
        ),
        4,
    )


def _producers(partition: int) -> Callable[[World], Question]:
    return lambda at: (
        DescribeProducersRequest(topics=[ProducersOfTopic(name=TOPIC, partition_indexes=[partition])]),
        0,
    )


def _producer_epochs(answer: Any) -> Any:
    producers = answer.topics[0].partitions[0].active_producers
    return [(each.producer_epoch, each.current_txn_start_offset) for each in producers]


def _describe_transaction(at: World) -> Question:
    return DescribeTransactionsRequest(transactional_ids=[at.transactional.transactional_id]), 0


def _transaction_state(answer: Any) -> Any:
    state = answer.transaction_states[0]
    return state.transaction_state, state.producer_epoch


def _abort_by_marker(at: World) -> Question:
    marker = WritableTxnMarker(
        producer_id=at.transactional.producer_id,
        producer_epoch=at.transactional.epoch,
        topics=[WritableTxnMarkerTopic(name=TOPIC, partition_indexes=[1])],
    )
    return WriteTxnMarkersRequest(markers=[marker]), 1


def _marker_error(answer: Any) -> Any:
    return answer.markers[0].topics[0].partitions[0].error_code


def _log_dirs_size(answer: Any) -> Any:
    return answer.results[0].topics[0].partitions[0].partition_size > 100


QUESTIONS: dict[str, tuple[Asked, ...]] = {
    "Produce": (
        Asked(
            "topic created",
            lambda at: (produce_request([(NEW_TOPIC, 0, batch())]), 11),
            _produced,
            (0, 0),
            (3, -1),
        ),
        Asked(
            "numbered records produced",
            lambda at: (produce_request([(TOPIC, 0, _numbered_batch(at))]), 11),
            _produced,
            (0, 1),
            (0, 1),
        ),
        Asked("producer fenced", _old_transactional_batch, _produced, (47, -1), (0, 1)),
        Asked(
            "transaction committed",
            lambda at: (produce_request([(TOPIC, 1, batch())]), 11),
            _produced,
            (0, 2),
            (0, 1),
        ),
    ),
    "Fetch": (
        Asked("records produced", _fetch_of(0), _fetched, (0, 3, 3), (0, 1, 1), at_once=True),
        Asked("transaction committed", _fetch_of(1), _fetched, (0, 2, 2), (0, 1, 0), at_once=True),
        Asked("transaction timed out", _fetch_of(1), _fetched, (0, 2, 2), (0, 1, 0), at_once=True),
        Asked("topic created", _fetch_of(0, NEW_TOPIC), _fetched, (0, 0, 0), (3, -1, -1)),
        Asked("topic deleted", _fetch_of(0), _fetched, (3, -1, -1), (0, 1, 1)),
    ),
    "ListOffsets": (
        Asked("records produced", lambda at: (list_offsets(-1), 7), _listed, (0, 3), (0, 1)),
        Asked("records produced", lambda at: (list_offsets(-3), 7), _listed, (0, 1), (0, 0)),
        Asked(
            "transaction committed",
            lambda at: (list_offsets(-1, partition=1, read_committed=True), 7),
            _listed,
            (0, 2),
            (0, 0),
        ),
        Asked("topic created", lambda at: (list_offsets(-1, topic=NEW_TOPIC), 7), _listed, (0, 0), (3, -1)),
    ),
    "Metadata": (
        Asked("topic created", lambda at: (metadata(NEW_TOPIC), 9), _topic_errors, 0, 3),
        Asked("topic created by asking for it", lambda at: (metadata(NEW_TOPIC), 9), _topic_errors, 0, 3),
        Asked("topic deleted", lambda at: (metadata(TOPIC), 9), _topic_errors, 3, 0),
        Asked(
            "partitions created",
            lambda at: (metadata(TOPIC), 9),
            lambda answer: len(answer.topics[0].partitions),
            5,
            2,
        ),
    ),
    "OffsetCommit": (
        Asked(
            "generation started",
            lambda at: (offset_commit(NEW_GROUP, 1, generation=1, member_id=at.member_id), 7),
            _first_partition_error,
            27,
            22,
        ),
        Asked("topic deleted", lambda at: (offset_commit("any", 1), 7), _first_partition_error, 3, 0),
    ),
    "OffsetFetch": (
        Asked(
            "offsets deleted",
            lambda at: (offset_fetch(GROUP), 8),
            lambda answer: answer.groups[0].topics[0].partitions[0].committed_offset,
            -1,
            3,
        ),
        Asked(
            "offsets committed",
            lambda at: (offset_fetch("committed-first"), 8),
            lambda answer: answer.groups[0].topics[0].partitions[0].committed_offset,
            5,
            -1,
        ),
        Asked(
            "transaction committed",
            lambda at: (offset_fetch(GROUP), 8),
            lambda answer: answer.groups[0].topics[0].partitions[0].committed_offset,
            7,
            3,
        ),
    ),
    "JoinGroup": (
        Asked(
            "generation started",
            lambda at: (join_group(at.member_id), 5),
            lambda answer: (answer.error_code, answer.generation_id),
            (0, 1),
            (25, -1),
        ),
    ),
    "Heartbeat": (
        Asked(
            "generation started",
            lambda at: (
                HeartbeatRequest(group_id=NEW_GROUP, generation_id=1, member_id=at.member_id),
                3,
            ),
            lambda answer: answer.error_code,
            0,
            25,
        ),
    ),
    "LeaveGroup": (
        Asked(
            "generation started",
            lambda at: (
                LeaveGroupRequest(group_id=NEW_GROUP, members=[MemberIdentity(member_id=at.member_id)]),
                3,
            ),
            lambda answer: answer.members[0].error_code,
            0,
            25,
        ),
    ),
    "SyncGroup": (
        Asked(
            "generation started",
            lambda at: (sync_group(at.member_id), 3),
            lambda answer: (answer.error_code, bytes(answer.assignment)),
            (0, b"all of it"),
            (25, b""),
        ),
    ),
    "DescribeGroups": (
        Asked(
            "generation started",
            lambda at: (DescribeGroupsRequest(groups=[NEW_GROUP]), 5),
            lambda answer: answer.groups[0].group_state,
            "CompletingRebalance",
            "Dead",
        ),
    ),
    "ListGroups": (
        Asked(
            "group deleted",
            lambda at: (ListGroupsRequest(), 4),
            lambda answer: GROUP in {group.group_id for group in answer.groups},
            False,
            True,
        ),
        Asked(
            "offsets committed",
            lambda at: (ListGroupsRequest(), 4),
            lambda answer: "committed-first" in {group.group_id for group in answer.groups},
            True,
            False,
        ),
    ),
    "ApiVersions": (
        Asked(
            "feature level",
            lambda at: (ApiVersionsRequest(client_software_name="t", client_software_version="1"), 4),
            lambda answer: answer.finalized_features[0].max_version_level,
            1,
            2,
        ),
    ),
    "CreateTopics": (Asked("topic created", lambda at: (create_topic(NEW_TOPIC), 7), _topic_errors, 36, 0),),
    "DeleteTopics": (
        Asked(
            "topic created",
            lambda at: (DeleteTopicsRequest(topic_names=[NEW_TOPIC], timeout_ms=1000), 5),
            lambda answer: answer.responses[0].error_code,
            0,
            3,
        ),
    ),
    "InitProducerId": (
        Asked(
            "producer id given",
            lambda at: (InitProducerIdRequest(transactional_id=None), 4),
            lambda answer: answer.producer_id,
            3,
            2,
        ),
        Asked("producer fenced", _init_again, lambda answer: answer.error_code, 90, 0),
        Asked(
            "producer fenced",
            lambda at: (
                InitProducerIdRequest(transactional_id=TRANSACTIONAL_ID, transaction_timeout_ms=60_000),
                4,
            ),
            lambda answer: answer.producer_epoch,
            3,
            2,
        ),
    ),
    "OffsetForLeaderEpoch": (
        Asked(
            "records produced",
            lambda at: (
                OffsetForLeaderEpochRequest(
                    topics=[
                        OffsetForLeaderTopic(
                            topic=TOPIC, partitions=[OffsetForLeaderPartition(partition=0, leader_epoch=0)]
                        )
                    ]
                ),
                3,
            ),
            lambda answer: answer.topics[0].partitions[0].end_offset,
            3,
            1,
        ),
    ),
    "AddPartitionsToTxn": (
        Asked(
            "producer fenced",
            _add_partitions,
            lambda answer: (
                answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
            ),
            90,
            0,
        ),
    ),
    "AddOffsetsToTxn": (Asked("producer fenced", _add_offsets, lambda answer: answer.error_code, 90, 0),),
    "EndTxn": (
        Asked(
            "producer fenced",
            lambda at: (end_txn(at.transactional), 4),
            lambda answer: answer.error_code,
            90,
            0,
        ),
        Asked(
            "transaction timed out",
            lambda at: (end_txn(at.transactional), 4),
            lambda answer: answer.error_code,
            90,
            0,
        ),
        Asked(
            "transaction aborted",
            lambda at: (end_txn(at.transactional), 4),
            lambda answer: answer.error_code,
            48,
            0,
        ),
    ),
    "DescribeProducers": (
        Asked("producer fenced", _producers(1), _producer_epochs, [(1, -1)], [(0, 0)]),
        Asked("transaction aborted by marker", _producers(1), _producer_epochs, [(1, -1)], [(0, 0)]),
        Asked("numbered records produced", _producers(0), _producer_epochs, [(0, -1)], []),
    ),
    "DescribeTransactions": (
        Asked("producer fenced", _describe_transaction, _transaction_state, ("Empty", 2), ("Ongoing", 0)),
        Asked(
            "transaction aborted by marker",
            _describe_transaction,
            _transaction_state,
            ("CompleteAbort", 1),
            ("Ongoing", 0),
        ),
    ),
    "ListTransactions": (
        Asked(
            "transaction committed",
            lambda at: (ListTransactionsRequest(state_filters=["Ongoing"]), 2),
            lambda answer: len(answer.transaction_states),
            0,
            1,
        ),
    ),
    "WriteTxnMarkers": (
        Asked("producer fenced", _abort_by_marker, _marker_error, 47, 0),
        Asked("topic deleted", _abort_by_marker, _marker_error, 3, 0),
    ),
    "TxnOffsetCommit": (Asked("producer fenced", _txn_offset_commit, _first_partition_error, 47, 0),),
    "DescribeConfigs": (
        Asked(
            "config altered",
            lambda at: (
                DescribeConfigsRequest(
                    resources=[
                        DescribeConfigsResource(
                            resource_type=INCREMENTAL_TOPIC_TYPE,
                            resource_name=TOPIC,
                            configuration_keys=[KEPT_CONFIG],
                        )
                    ]
                ),
                4,
            ),
            lambda answer: answer.results[0].configs[0].value,
            "12345",
            "604800000",
        ),
    ),
    "AlterConfigs": (
        Asked(
            "topic created",
            lambda at: (
                AlterConfigsRequest(
                    resources=[
                        PlainResource(
                            resource_type=INCREMENTAL_TOPIC_TYPE,
                            resource_name=NEW_TOPIC,
                            configs=[PlainConfig(name=KEPT_CONFIG, value="9")],
                        )
                    ]
                ),
                2,
            ),
            lambda answer: answer.responses[0].error_code,
            0,
            3,
        ),
    ),
    "IncrementalAlterConfigs": (
        Asked(
            "topic created",
            lambda at: (alter_config(NEW_TOPIC, KEPT_CONFIG, "9"), 1),
            lambda answer: answer.responses[0].error_code,
            0,
            3,
        ),
    ),
    "DescribeLogDirs": (
        Asked(
            "records produced",
            lambda at: (
                DescribeLogDirsRequest(topics=[DescribableLogDirTopic(topic=TOPIC, partitions=[0])]),
                4,
            ),
            _log_dirs_size,
            True,
            False,
        ),
    ),
    "CreatePartitions": (
        Asked(
            "topic created",
            lambda at: (
                CreatePartitionsRequest(
                    topics=[CreatePartitionsTopic(name=NEW_TOPIC, count=3, assignments=None)],
                    timeout_ms=1000,
                ),
                3,
            ),
            lambda answer: answer.results[0].error_code,
            0,
            3,
        ),
    ),
    "DeleteGroups": (
        Asked(
            "offsets committed",
            lambda at: (DeleteGroupsRequest(groups_names=["committed-first"]), 2),
            lambda answer: answer.results[0].error_code,
            0,
            69,
        ),
    ),
    "OffsetDelete": (
        Asked(
            "offsets committed",
            lambda at: (
                _offset_delete("committed-first"),
                0,
            ),
            lambda answer: answer.error_code,
            0,
            69,
        ),
    ),
    "UpdateFeatures": (
        Asked(
            "feature level",
            lambda at: (feature_level(1, upgrade_type=1, validate_only=True), 2),
            lambda answer: answer.error_code,
            0,
            95,
        ),
    ),
    "ElectLeaders": (
        Asked(
            "topic created",
            lambda at: (
                ElectLeadersRequest(
                    topic_partitions=[ElectedPartitions(topic=NEW_TOPIC, partitions=[1])], timeout_ms=1000
                ),
                2,
            ),
            lambda answer: answer.replica_election_results[0].partition_result[0].error_code,
            84,
            3,
        ),
    ),
    "DescribeQuorum": (
        Asked(
            "records produced",
            lambda at: (quorum_of_the_metadata(), 2),
            lambda answer: answer.topics[0].partitions[0].high_watermark,
            JOURNAL_END + 1,
            JOURNAL_END,
        ),
    ),
    "ListConfigResources": (
        Asked(
            "topic created",
            lambda at: (ListConfigResourcesRequest(resource_types=[INCREMENTAL_TOPIC_TYPE]), 1),
            lambda answer: {each.resource_name for each in answer.config_resources} & {TOPIC, NEW_TOPIC},
            {TOPIC, NEW_TOPIC},
            {TOPIC},
        ),
    ),
    "DescribeTopicPartitions": (
        Asked(
            "topic created",
            lambda at: (DescribeTopicPartitionsRequest(topics=[TopicRequest(name=NEW_TOPIC)]), 0),
            _topic_errors,
            0,
            3,
        ),
    ),
}
"""By API. An API that has none betrays nothing, and says so in LOOKS_AT_NOTHING."""

LOOKS_AT_NOTHING = {
    "DescribeAcls": "security is off, whatever is asked",
    "DescribeClientQuotas": "there are no quotas, and nothing makes any",
    "ListPartitionReassignments": "partitions have one replica, and there is no other broker",
    "FindCoordinator": "the coordinator is this broker, whatever is asked",
    "DescribeCluster": "the cluster is this broker, and was when it started",
}
