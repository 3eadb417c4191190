"""`oncelog txn` on clusters that this machine has not: several brokers, older ones, hanging transactions."""

from __future__ import annotations

import argparse
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from oncelog.cli import cluster as cluster_module
from oncelog.cli import txn
from oncelog.cli.cluster import Cluster, ClusterError, Leader, parse_address
from oncelog.wire import frames
from oncelog.wire.definition import Message
from oncelog.wire.messages import describe_producers, describe_transactions, list_offsets, list_transactions
from oncelog.wire.messages.api_versions import ApiVersion, ApiVersionsRequest, ApiVersionsResponse
from oncelog.wire.messages.find_coordinator import (
    Coordinator,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
)
from oncelog.wire.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from oncelog.wire.messages.metadata import MetadataRequest, MetadataResponse, MetadataResponseBroker

STABLE = 1
"""The isolation level of readers of what is committed."""


# --- what is asked of whom ---


class FakeCluster:
    """Two brokers, each of which answers only for what is its own."""

    def __init__(self) -> None:
        self.placed = [Leader("a", 0, 1), Leader("a", 1, 2), Leader("b", 0, -1)]
        self.ends = {("a", 0): (5, 9), ("a", 1): (3, 4)}
        self.active = {
            ("a", 0): [(8, 2, 7), (7, 0, 5), (6, 0, -1)],
            ("a", 1): [(9, 1, 3)],
        }
        self.transactions = {1: [("eight", 8, "Ongoing", 1000)], 2: [("seven", 7, "Ongoing", 500)]}

    def brokers(self) -> list[int]:
        return [1, 2]

    def leaders(self, topics: Any) -> list[Leader]:
        return [each for each in self.placed if topics is None or each.topic in topics]

    def settled(self, ask: Callable[[], Any], _errors_of: Any) -> Any:
        return ask()

    def ask(self, node_id: int, request: Message, *, at_least: int = 0) -> Any:  # noqa: ARG002
        return getattr(self, type(request).__name__)(node_id, request)

    def ListOffsetsRequest(self, node_id: int, request: Any) -> Any:
        def end(topic: str, index: int) -> int:
            assert Leader(topic, index, node_id) in self.placed
            return self.ends[topic, index][request.isolation_level != STABLE]

        return list_offsets.ListOffsetsResponse(
            topics=[
                list_offsets.ListOffsetsTopicResponse(
                    name=topic.name,
                    partitions=[
                        list_offsets.ListOffsetsPartitionResponse(
                            partition_index=each.partition_index, offset=end(topic.name, each.partition_index)
                        )
                        for each in topic.partitions
                    ],
                )
                for topic in request.topics
            ]
        )

    def DescribeProducersRequest(self, node_id: int, request: Any) -> Any:
        def producers(topic: str, index: int) -> list[Any]:
            assert Leader(topic, index, node_id) in self.placed
            return [
                describe_producers.ProducerState(
                    producer_id=producer_id,
                    producer_epoch=epoch,
                    last_timestamp=2_000_000,
                    current_txn_start_offset=start,
                )
                for producer_id, epoch, start in self.active[topic, index]
            ]

        return describe_producers.DescribeProducersResponse(
            topics=[
                describe_producers.TopicResponse(
                    name=topic.name,
                    partitions=[
                        describe_producers.PartitionResponse(
                            partition_index=index, active_producers=producers(topic.name, index)
                        )
                        for index in topic.partition_indexes
                    ],
                )
                for topic in request.topics
            ]
        )

    def ListTransactionsRequest(self, node_id: int, request: Any) -> Any:
        return list_transactions.ListTransactionsResponse(
            unknown_state_filters=[],
            transaction_states=[
                list_transactions.TransactionState(
                    transactional_id=name, producer_id=producer_id, transaction_state=state
                )
                for name, producer_id, state, _ in self.transactions[node_id]
                if not request.producer_id_filters or producer_id in request.producer_id_filters
            ],
        )

    def DescribeTransactionsRequest(self, node_id: int, request: Any) -> Any:
        known = {name: each for each in self.transactions[node_id] for name in each[:1]}
        return describe_transactions.DescribeTransactionsResponse(
            transaction_states=[
                describe_transactions.TransactionState(
                    transactional_id=name,
                    producer_id=known[name][1],
                    transaction_state=known[name][2],
                    transaction_start_time_ms=known[name][3],
                    transaction_timeout_ms=60_000,
                    topics=[],
                )
                for name in request.transactional_ids
            ]
        )


def stuck(fake: FakeCluster, *topics: str) -> list[txn.Row]:
    return txn.stuck(fake, argparse.Namespace(topic=list(topics) or None))  # type: ignore[arg-type]


def test_the_oldest_of_each_partition_holds_it_back_and_hangs_where_nobody_knows_it() -> None:
    known, unknown = stuck(FakeCluster())
    assert (known["topic"], known["partition"]) == ("a", 0)
    assert (known["transactional_id"], known["producer_id"], known["producer_epoch"]) == ("seven", 7, 0)
    assert (known["last_stable_offset"], known["records_held"]) == (5, 4)
    assert known["since"] == "1970-01-01T00:00:00.500+00:00"
    assert known["verdict"] == "past its timeout"
    assert (unknown["partition"], unknown["transactional_id"], unknown["producer_id"]) == (1, None, 9)
    assert unknown["verdict"].startswith("hanging: no coordinator knows this producer")
    assert unknown["since"] == "1970-01-01T00:33:20.000+00:00", "when it was last heard of"
    assert unknown["times_out_in_s"] is None


def test_a_transaction_that_its_coordinator_has_ended_hangs() -> None:
    fake = FakeCluster()
    fake.transactions[2] = [("seven", 7, "CompleteAbort", 500)]
    row, _ = stuck(fake)
    assert row["transactional_id"] == "seven"
    assert row["verdict"].startswith("hanging: its coordinator says CompleteAbort")
    assert row["times_out_in_s"] is None


def test_one_that_began_just_now_is_open() -> None:
    fake = FakeCluster()
    fake.transactions[2] = [("seven", 7, "Ongoing", int(time.time() * 1000))]
    row = next(row for row in stuck(fake) if row["partition"] == 0)
    assert row["verdict"] == "open"
    assert 0 < row["times_out_in_s"] <= 60


def test_what_was_ended_meanwhile_is_not_told() -> None:
    fake = FakeCluster()
    fake.active = {("a", 0): [(7, 0, -1)], ("a", 1): []}
    assert stuck(fake) == []
    fake.ends = {("a", 0): (9, 9), ("a", 1): (4, 4)}
    assert stuck(fake) == []


@pytest.mark.parametrize("then", [(8, 2, -1), (8, 2, 9), (8, 3, 7)])
def test_one_that_ends_while_coordinators_are_asked_does_not_hang(then: tuple[int, int, int]) -> None:
    class Commits(FakeCluster):
        def DescribeTransactionsRequest(self, node_id: int, request: Any) -> Any:
            self.active["a", 0] = [then]
            self.transactions[1] = [("eight", 8, "CompleteCommit", 1000)]
            return super().DescribeTransactionsRequest(node_id, request)

    fake = Commits()
    fake.active["a", 0] = [(8, 2, 7)]
    fake.active["a", 1] = []
    assert stuck(fake) == []


def test_what_holds_nothing_back_is_not_told() -> None:
    fake = FakeCluster()
    fake.ends["a", 0] = (9, 9)
    assert [(row["topic"], row["partition"]) for row in stuck(fake)] == [("a", 1)]


def test_each_broker_lists_its_own() -> None:
    wanted = argparse.Namespace(state=[], producer_id=[], open_longer_than_s=None, pattern=None)
    rows = txn.list_transactions(FakeCluster(), wanted)  # type: ignore[arg-type]
    assert [(row["transactional_id"], row["coordinator"]) for row in rows] == [("eight", 1), ("seven", 2)]


def test_a_partition_without_a_leader_is_named() -> None:
    with pytest.raises(ClusterError, match="b-0 has no leader now"):
        txn.producers(FakeCluster(), argparse.Namespace(topic="b", partition=None))  # type: ignore[arg-type]


# --- one broker, byte by byte ---


class FakeBroker:
    """Serves the APIs and versions that it is told to, and answers in turn what it is told to."""

    def __init__(self, apis: dict[type[Message], tuple[int, int]]) -> None:
        self.apis = apis
        self.answers: list[Message] = []
        self.asked: list[tuple[Any, int]] = []
        self.correlation_ahead = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        """Until the client has gone."""
        with connection, connection.makefile("rb") as stream:
            while size := stream.read(4):
                frame = stream.read(*struct.unpack(">i", size))
                header = frames.decode_request_header(frame)
                answer = self._answer(frame, header)
                number = header.correlation_id + self.correlation_ahead
                connection.sendall(b"".join(frames.encode_response(number, answer, header.api_version)))

    def _answer(self, frame: bytes, header: frames.RequestHeader) -> Message:
        if header.api_key == ApiVersionsRequest.api_key:
            return self._versions()
        request = next(each for each in self.apis if each.api_key == header.api_key)
        self.asked.append((request.decode(frame, header.api_version, header.body_offset), header.api_version))
        return self._metadata() if request is MetadataRequest else self.answers.pop(0)

    def _versions(self) -> ApiVersionsResponse:
        return ApiVersionsResponse(
            api_keys=[
                ApiVersion(api_key=each.api_key, min_version=first, max_version=last)
                for each, (first, last) in self.apis.items()
            ]
        )

    def _metadata(self) -> MetadataResponse:
        return MetadataResponse(
            brokers=[MetadataResponseBroker(node_id=3, host="127.0.0.1", port=self.port)], topics=[]
        )


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBroker]:
    monkeypatch.setattr(cluster_module, "FIRST_PAUSE_S", 0.001)
    made = FakeBroker(
        {
            MetadataRequest: (0, 9),
            FindCoordinatorRequest: (0, 3),
            InitProducerIdRequest: (0, 4),
            list_transactions.ListTransactionsRequest: (0, 0),
        }
    )
    yield made
    made.close()


@pytest.fixture
def client(broker: FakeBroker) -> Iterator[Cluster]:
    with Cluster(f"127.0.0.1:{broker.port}", 20.0) as opened:
        yield opened


def test_the_newest_version_of_both_is_spoken(broker: FakeBroker, client: Cluster) -> None:
    assert client.brokers() == [3]
    (_, version), *_ = broker.asked
    assert version == 9


def test_what_a_broker_does_not_serve_is_named(broker: FakeBroker, client: Cluster) -> None:
    client.brokers()
    with pytest.raises(ClusterError, match="doesn't serve DescribeProducers"):
        client.ask(3, describe_producers.DescribeProducersRequest(topics=[]))
    with pytest.raises(ClusterError, match="serves ListTransactions in versions 0 to 0, but 2 is needed"):
        client.ask(3, list_transactions.ListTransactionsRequest(), at_least=2)
    assert len(broker.asked) == 1


def test_older_brokers_are_asked_for_one_coordinator_at_a_time(broker: FakeBroker, client: Cluster) -> None:
    broker.answers = [FindCoordinatorResponse(node_id=3, host="127.0.0.1", port=broker.port)]
    assert client.coordinators(["t"]) == {"t": 3}
    request, version = broker.asked[-1]
    assert (request.key, request.key_type, version) == ("t", 1, 3)


def test_newer_brokers_are_asked_by_list(broker: FakeBroker) -> None:
    broker.apis[FindCoordinatorRequest] = (0, 6)
    broker.answers = [
        FindCoordinatorResponse(
            coordinators=[Coordinator(key="t", node_id=3, host="127.0.0.1", port=broker.port)]
        )
    ]
    with Cluster(f"127.0.0.1:{broker.port}", 20.0) as client:
        assert client.coordinators(["t"]) == {"t": 3}
    assert broker.asked[-1][0].coordinator_keys == ["t"]


def test_a_coordinator_that_is_not_ready_is_asked_again(broker: FakeBroker, client: Cluster) -> None:
    broker.answers = [
        FindCoordinatorResponse(error_code=15, host="", node_id=-1, port=-1),
        FindCoordinatorResponse(error_code=14, host="", node_id=-1, port=-1),
        FindCoordinatorResponse(node_id=3, host="127.0.0.1", port=broker.port),
    ]
    assert client.coordinators(["t"]) == {"t": 3}
    broker.answers = [FindCoordinatorResponse(error_code=53, host="", node_id=-1, port=-1)]
    with pytest.raises(ClusterError, match="no coordinator of 't': TRANSACTIONAL_ID_AUTHORIZATION_FAILED"):
        client.coordinators(["t"])


def test_an_answer_to_something_else_is_not_taken(broker: FakeBroker, client: Cluster) -> None:
    broker.correlation_ahead = 1
    with pytest.raises(ClusterError, match="answered another request"):
        client.brokers()


def test_another_address_is_tried(broker: FakeBroker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        gone = taken.getsockname()[1]
    with Cluster(f"127.0.0.1:{gone}, 127.0.0.1:{broker.port}", 20.0) as client:
        assert client.brokers() == [3]


def test_what_can_not_be_encoded_is_told(client: Cluster) -> None:
    client.brokers()
    with pytest.raises(ClusterError, match="this can't be asked"):
        client.ask(3, InitProducerIdRequest(transactional_id="\udcff"))


def test_time_is_up_for_all_of_it_together(broker: FakeBroker) -> None:
    broker.answers = [FindCoordinatorResponse(error_code=15, host="", node_id=-1, port=-1)] * 1000
    with Cluster(f"127.0.0.1:{broker.port}", 0.3) as client, pytest.raises(ClusterError) as late:
        client.coordinators(["t"])
    assert "COORDINATOR_NOT_AVAILABLE" in str(late.value) or "took too long" in str(late.value)


def test_the_answers_of_an_init_are_read(broker: FakeBroker, client: Cluster) -> None:
    broker.answers = [InitProducerIdResponse(producer_id=5, producer_epoch=2)]
    client.brokers()
    answer = client.ask(3, InitProducerIdRequest(transactional_id="t"))
    assert (answer.producer_id, answer.producer_epoch) == (5, 2)
    with pytest.raises(ClusterError, match="there is no broker 9"):
        client.ask(9, InitProducerIdRequest(transactional_id="t"))


@pytest.mark.parametrize(
    ("address", "parsed"),
    [("host:1", ("host", 1)), ("[::1]:9092", ("::1", 9092)), ("::1:9092", ("::1", 9092))],
)
def test_addresses(address: str, parsed: tuple[str, int]) -> None:
    assert parse_address(address) == parsed


@pytest.mark.parametrize(
    "address", ["", "host", "host:", ":9092", "host:0", "host:65536", "host:x", "host:-1"]
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ClusterError):
        parse_address(address)
