"""Creating topics for tests, and waiting until the broker serves them."""

from __future__ import annotations

from collections.abc import Mapping

from oncelog.wire.messages.create_topics import CreatableTopic, CreatableTopicConfig, CreateTopicsRequest
from oncelog.wire.messages.list_offsets import ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic
from tests.support.raw import RawConnection
from tests.support.waiting import wait_for


def create_topic(bootstrap: str, name: str, partitions: int, configs: Mapping[str, str]) -> None:
    connection = RawConnection(bootstrap, 30.0)
    topic = CreatableTopic(
        name=name,
        num_partitions=partitions,
        replication_factor=1,
        configs=[CreatableTopicConfig(name=config, value=value) for config, value in configs.items()],
    )
    response = connection.call(CreateTopicsRequest(topics=[topic], timeout_ms=30_000), 5)
    assert response.topics[0].error_code == 0, response.topics[0]
    wait_for(lambda: is_served(connection, name, partitions), f"topic {name}")
    connection.close()


def is_served(connection: RawConnection, name: str, partitions: int) -> bool:
    """Apache Kafka knows a new topic, and who leads it, before the leader itself does."""
    wanted = [ListOffsetsPartition(partition_index=index, timestamp=-1) for index in range(partitions)]
    request = ListOffsetsRequest(replica_id=-1, topics=[ListOffsetsTopic(name=name, partitions=wanted)])
    (topic,) = connection.call(request, 7).topics
    return all(each.error_code == 0 for each in topic.partitions)
