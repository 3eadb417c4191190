"""Metadata (key 3): request and response."""

from __future__ import annotations

from oncelog.wire.definition import Message, Struct, array, bool_, field, int16, int32, string, uuid


class MetadataRequestTopic(Struct):
    """One of the `topics` of MetadataRequest."""

    topic_id: bytes = field(uuid, versions="10+", ignorable=True)
    name: str | None = field(string, nullable="10+")


class MetadataRequest(Message, api_key=3, versions="0-13", flexible="9+"):
    topics: list[MetadataRequestTopic] | None = field(array(MetadataRequestTopic), nullable="1+")
    allow_auto_topic_creation: bool = field(bool_, versions="4+", default=True)
    include_cluster_authorized_operations: bool = field(bool_, versions="8-10")
    include_topic_authorized_operations: bool = field(bool_, versions="8+")


class MetadataResponseBroker(Struct):
    """One of the `brokers` of MetadataResponse."""

    node_id: int = field(int32)
    host: str = field(string)
    port: int = field(int32)
    rack: str | None = field(string, versions="1+", nullable="1+", default=None, ignorable=True)


class MetadataResponsePartition(Struct):
    """One of the `partitions` of MetadataResponseTopic."""

    error_code: int = field(int16)
    partition_index: int = field(int32)
    leader_id: int = field(int32)
    leader_epoch: int = field(int32, versions="7+", default=-1, ignorable=True)
    replica_nodes: list[int] = field(array(int32))
    isr_nodes: list[int] = field(array(int32))
    offline_replicas: list[int] = field(array(int32), versions="5+", ignorable=True)


class MetadataResponseTopic(Struct):
    """One of the `topics` of MetadataResponse."""

    error_code: int = field(int16)
    name: str | None = field(string, nullable="12+")
    topic_id: bytes = field(uuid, versions="10+", ignorable=True)
    is_internal: bool = field(bool_, versions="1+", default=False, ignorable=True)
    partitions: list[MetadataResponsePartition] = field(array(MetadataResponsePartition))
    topic_authorized_operations: int = field(int32, versions="8+", default=-2147483648)


class MetadataResponse(Message, api_key=3, versions="0-13", flexible="9+"):
    throttle_time_ms: int = field(int32, versions="3+", ignorable=True)
    brokers: list[MetadataResponseBroker] = field(array(MetadataResponseBroker))
    cluster_id: str | None = field(string, versions="2+", nullable="2+", default=None, ignorable=True)
    controller_id: int = field(int32, versions="1+", default=-1, ignorable=True)
    topics: list[MetadataResponseTopic] = field(array(MetadataResponseTopic))
    cluster_authorized_operations: int = field(int32, versions="8-10", default=-2147483648)
    error_code: int = field(int16, versions="13+", ignorable=True)
