"""A broker that does nothing: it reads frames, answers success and keeps no record.

What the stock client reaches against it is the client's own limit on this machine. It reads whole frames
and decodes requests, as any broker must; it checks nothing, stores nothing and syncs nothing. Whoever
fetches gets the same ready-made records at every offset, so that consumers have something to read.
Measures that need their own records back (bench/measures.py: end-to-end) cannot be run against it.

    python -m bench.null_broker --port 29093
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import signal
import sys
from collections.abc import Callable
from typing import Any, cast

from oncelog.wire import records
from oncelog.wire.definition import Message
from oncelog.wire.frames import decode_request_header, encode_response
from oncelog.wire.messages import (
    add_offsets_to_txn,
    add_partitions_to_txn,
    api_versions,
    create_topics,
    end_txn,
    fetch,
    find_coordinator,
    heartbeat,
    init_producer_id,
    join_group,
    leave_group,
    list_offsets,
    metadata,
    offset_fetch,
    produce,
    sync_group,
    txn_offset_commit,
)

HOST = "127.0.0.1"
NODE_ID = 1
RECEIVE_BYTES = 4 * 1024 * 1024
RECORDS_PER_BATCH = 8000
LOG_END = 1 << 40

_BATCH = records.build_batch([(0, None, bytes(100))] * RECORDS_PER_BATCH)


class NullBroker:
    """How many partitions a topic was created with is all that it knows."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.partition_counts: dict[str, int] = {}
        self._producer_ids = itertools.count(1)
        self.handlers: dict[int, tuple[type[Message], tuple[int, int], Callable[[Any], Message]]] = {}
        self._serve(produce.ProduceRequest, 3, 10, self._produce, advertised_from=0)
        self._serve(fetch.FetchRequest, 4, 12, self._fetch)
        self._serve(list_offsets.ListOffsetsRequest, 1, 7, self._list_offsets)
        self._serve(metadata.MetadataRequest, 0, 9, self._metadata)
        self._serve(offset_fetch.OffsetFetchRequest, 1, 7, self._offset_fetch)
        self._serve(find_coordinator.FindCoordinatorRequest, 0, 3, self._find_coordinator)
        self._serve(join_group.JoinGroupRequest, 0, 5, self._join_group)
        self._serve(heartbeat.HeartbeatRequest, 0, 3, lambda _: heartbeat.HeartbeatResponse())
        self._serve(leave_group.LeaveGroupRequest, 0, 3, lambda _: leave_group.LeaveGroupResponse())
        self._serve(sync_group.SyncGroupRequest, 0, 3, self._sync_group)
        self._serve(api_versions.ApiVersionsRequest, 0, 3, self._api_versions)
        self._serve(create_topics.CreateTopicsRequest, 2, 4, self._create_topics)
        self._serve(init_producer_id.InitProducerIdRequest, 0, 4, self._init_producer_id)
        self._serve(add_partitions_to_txn.AddPartitionsToTxnRequest, 0, 3, self._add_partitions)
        self._serve(
            add_offsets_to_txn.AddOffsetsToTxnRequest,
            0,
            3,
            lambda _: add_offsets_to_txn.AddOffsetsToTxnResponse(),
        )
        self._serve(end_txn.EndTxnRequest, 0, 3, lambda _: end_txn.EndTxnResponse())
        self._serve(txn_offset_commit.TxnOffsetCommitRequest, 0, 3, self._txn_offset_commit)

    def _serve(
        self,
        request: type[Message],
        lowest: int,
        highest: int,
        handler: Callable[[Any], Message],
        advertised_from: int | None = None,
    ) -> None:
        """Clients are told `advertised_from`: librdkafka before 2.11.1 wants Produce from 0 (KAFKA-18659)."""
        advertised = (lowest if advertised_from is None else advertised_from, highest)
        self.handlers[request.api_key] = (request, advertised, handler)

    def answer(self, frame: memoryview) -> list[bytes | memoryview]:
        """The response's buffers."""
        header = decode_request_header(bytes(frame[:300]))
        request_type, (_, highest), handler = self.handlers[header.api_key]
        version = header.api_version
        if version > highest:
            response = self._api_versions(None)
            response.error_code = 35
            return encode_response(header.correlation_id, response, 0)
        request = request_type.decode(frame, version, header.body_offset)
        return encode_response(header.correlation_id, handler(request), version)

    def _api_versions(self, _request: object) -> api_versions.ApiVersionsResponse:
        return api_versions.ApiVersionsResponse(
            api_keys=[
                api_versions.ApiVersion(api_key=key, min_version=lowest, max_version=highest)
                for key, (_, (lowest, highest), _) in sorted(self.handlers.items())
            ]
        )

    def _metadata(self, request: metadata.MetadataRequest) -> metadata.MetadataResponse:
        names = self.partition_counts if request.topics is None else [topic.name for topic in request.topics]
        return metadata.MetadataResponse(
            brokers=[metadata.MetadataResponseBroker(node_id=NODE_ID, host=HOST, port=self.port)],
            cluster_id="null",
            controller_id=NODE_ID,
            topics=[
                metadata.MetadataResponseTopic(name=name, partitions=self._partitions(name))
                for name in names
                if name is not None
            ],
        )

    def _partitions(self, topic: str) -> list[metadata.MetadataResponsePartition]:
        return [
            metadata.MetadataResponsePartition(
                partition_index=index, leader_id=NODE_ID, leader_epoch=0, replica_nodes=[1], isr_nodes=[1]
            )
            for index in range(self.partition_counts.get(topic, 1))
        ]

    def _create_topics(
        self, request: create_topics.CreateTopicsRequest
    ) -> create_topics.CreateTopicsResponse:
        self.partition_counts.update({topic.name: topic.num_partitions for topic in request.topics})
        return create_topics.CreateTopicsResponse(
            topics=[
                create_topics.CreatableTopicResult(name=topic.name, error_message=None)
                for topic in request.topics
            ]
        )

    def _produce(self, request: produce.ProduceRequest) -> produce.ProduceResponse:
        return produce.ProduceResponse(
            responses=[
                produce.TopicProduceResponse(
                    name=topic.name,
                    partition_responses=[
                        produce.PartitionProduceResponse(index=partition.index, log_start_offset=0)
                        for partition in topic.partition_data
                    ],
                )
                for topic in request.topic_data
            ]
        )

    def _fetch(self, request: fetch.FetchRequest) -> fetch.FetchResponse:
        return fetch.FetchResponse(
            responses=[
                fetch.FetchableTopicResponse(
                    topic=topic.topic,
                    partitions=[
                        fetch.PartitionData(
                            partition_index=partition.partition,
                            high_watermark=LOG_END,
                            last_stable_offset=LOG_END,
                            log_start_offset=0,
                            aborted_transactions=None,
                            records=b"".join(records.stamp(_BATCH, partition.fetch_offset, 0)),
                        )
                        for partition in topic.partitions
                    ],
                )
                for topic in request.topics
            ]
        )

    def _list_offsets(self, request: list_offsets.ListOffsetsRequest) -> list_offsets.ListOffsetsResponse:
        return list_offsets.ListOffsetsResponse(
            topics=[
                list_offsets.ListOffsetsTopicResponse(
                    name=topic.name,
                    partitions=[
                        list_offsets.ListOffsetsPartitionResponse(
                            partition_index=partition.partition_index,
                            offset=LOG_END if partition.timestamp == -1 else 0,
                            leader_epoch=0,
                        )
                        for partition in topic.partitions
                    ],
                )
                for topic in request.topics
            ]
        )

    def _offset_fetch(self, request: offset_fetch.OffsetFetchRequest) -> offset_fetch.OffsetFetchResponse:
        return offset_fetch.OffsetFetchResponse(
            topics=[
                offset_fetch.OffsetFetchResponseTopic(
                    name=topic.name,
                    partitions=[
                        offset_fetch.OffsetFetchResponsePartition(
                            partition_index=index, committed_offset=-1, metadata=""
                        )
                        for index in topic.partition_indexes
                    ],
                )
                for topic in request.topics or []
            ]
        )

    def _find_coordinator(
        self, _request: find_coordinator.FindCoordinatorRequest
    ) -> find_coordinator.FindCoordinatorResponse:
        return find_coordinator.FindCoordinatorResponse(
            error_message=None, node_id=NODE_ID, host=HOST, port=self.port
        )

    def _join_group(self, request: join_group.JoinGroupRequest) -> join_group.JoinGroupResponse:
        """Every member is alone in its group, and leads it."""
        protocol = request.protocols[0]
        return join_group.JoinGroupResponse(
            generation_id=1,
            protocol_name=protocol.name,
            leader="member",
            member_id="member",
            members=[join_group.JoinGroupResponseMember(member_id="member", metadata=protocol.metadata)],
        )

    def _sync_group(self, request: sync_group.SyncGroupRequest) -> sync_group.SyncGroupResponse:
        return sync_group.SyncGroupResponse(assignment=request.assignments[0].assignment)

    def _init_producer_id(
        self, _request: init_producer_id.InitProducerIdRequest
    ) -> init_producer_id.InitProducerIdResponse:
        return init_producer_id.InitProducerIdResponse(producer_id=next(self._producer_ids), producer_epoch=0)

    def _add_partitions(
        self, request: add_partitions_to_txn.AddPartitionsToTxnRequest
    ) -> add_partitions_to_txn.AddPartitionsToTxnResponse:
        return add_partitions_to_txn.AddPartitionsToTxnResponse(
            results_by_topic_v3_and_below=[
                add_partitions_to_txn.AddPartitionsToTxnTopicResult(
                    name=topic.name,
                    results_by_partition=[
                        add_partitions_to_txn.AddPartitionsToTxnPartitionResult(partition_index=index)
                        for index in topic.partitions
                    ],
                )
                for topic in request.v3_and_below_topics
            ]
        )

    def _txn_offset_commit(
        self, request: txn_offset_commit.TxnOffsetCommitRequest
    ) -> txn_offset_commit.TxnOffsetCommitResponse:
        return txn_offset_commit.TxnOffsetCommitResponse(
            topics=[
                txn_offset_commit.TxnOffsetCommitResponseTopic(
                    name=topic.name,
                    partitions=[
                        txn_offset_commit.TxnOffsetCommitResponsePartition(
                            partition_index=partition.partition_index
                        )
                        for partition in topic.partitions
                    ],
                )
                for topic in request.topics
            ]
        )


class Connection(asyncio.BufferedProtocol):
    """One client: frames in, responses out, in order; one write for all frames that came together."""

    def __init__(self, broker: NullBroker) -> None:
        self._broker = broker
        self._buffer = bytearray(RECEIVE_BYTES)
        self._filled = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  (the protocol names it)
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        assert self._transport is not None
        self._filled += nbytes
        view = memoryview(self._buffer)
        begin = 0
        replies: list[bytes | memoryview] = []
        while self._filled - begin >= 4:
            end = begin + 4 + int.from_bytes(view[begin : begin + 4], "big")
            if end > self._filled:
                self._make_room(end - begin)
                break
            replies += self._broker.answer(view[begin + 4 : end])
            begin = end
        if replies:
            self._transport.writelines(replies)
        if begin:
            rest = bytes(view[begin : self._filled])
            self._buffer[: len(rest)] = rest
            self._filled = len(rest)

    def _make_room(self, frame_bytes: int) -> None:
        if frame_bytes > len(self._buffer):
            self._buffer = self._buffer + bytes(frame_bytes)


async def _run(port: int) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, stop.set)
    broker = NullBroker(port)
    server = await loop.create_server(lambda: Connection(broker), HOST, port)
    broker.port = server.sockets[0].getsockname()[1]
    print(f"null broker: {HOST}:{broker.port}", flush=True)
    await stop.wait()
    server.close()


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=29093)
    port = parser.parse_args().port
    try:
        import uvloop
    except ImportError:
        print("uvloop is not installed: the plain loop is slower", file=sys.stderr)
        asyncio.run(_run(port))
    else:
        uvloop.run(_run(port))


if __name__ == "__main__":
    main()
