"""Each fault, as it is seen on the wire: what is answered, what is not, and what was processed still."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import oncelog
from oncelog.broker.faults import Match
from oncelog.broker.options import UsageError
from oncelog.machine.state import State
from oncelog.testing.faults import FaultDidNotHappen, Faults
from oncelog.wire.definition import Message
from oncelog.wire.errors import ErrorCode
from oncelog.wire.frames import RequestHeader
from oncelog.wire.messages.add_partitions_to_txn import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnTopic,
    AddPartitionsToTxnTransaction,
)
from oncelog.wire.messages.delete_groups import DeleteGroupsRequest
from oncelog.wire.messages.delete_topics import DeleteTopicsRequest
from oncelog.wire.messages.describe_groups import DescribeGroupsRequest
from oncelog.wire.messages.end_txn import EndTxnRequest
from oncelog.wire.messages.find_coordinator import FindCoordinatorRequest
from oncelog.wire.messages.heartbeat import HeartbeatRequest
from oncelog.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from oncelog.wire.messages.offset_fetch import OffsetFetchRequest, OffsetFetchRequestGroup
from oncelog.wire.messages.produce import ProduceRequest
from tests.support.batches import batch
from tests.support.members import GroupMember
from tests.support.raw import RawConnection
from tests.support.speaking import (
    TransactionalProducer,
    committed_offset,
    fetch,
    find_coordinator,
    list_offset,
    log_end_offset,
    produce,
    produce_request,
    stored_batches,
)
from tests.support.waiting import wait_for

CLIENT = "oncelog-raw-tests"


@pytest.fixture
def raw(oncelog_broker: oncelog.Broker) -> Iterator[RawConnection]:
    connection = RawConnection(oncelog_broker.bootstrap)
    yield connection
    connection.close()


@pytest.fixture
def other(oncelog_broker: oncelog.Broker) -> Iterator[RawConnection]:
    """Another connection, to see what the first is not told."""
    connection = RawConnection(oncelog_broker.bootstrap)
    yield connection
    connection.close()


# -- refused --


def test_the_nth_requests_are_refused_and_not_processed(
    raw: RawConnection, oncelog_topic: str, oncelog_faults: Faults
) -> None:
    refused = oncelog_faults.refuse("Produce", error="NOT_LEADER_OR_FOLLOWER", nth=2, times=2)
    errors = [produce(raw, oncelog_topic, batch()).error_code for _ in range(4)]
    assert errors == [0, ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.NOT_LEADER_OR_FOLLOWER, 0]
    assert refused.count == 2
    assert log_end_offset(raw, oncelog_topic) == 2


def test_a_metadata_refusal_still_names_the_brokers(
    raw: RawConnection, oncelog_topic: str, oncelog_faults: Faults
) -> None:
    oncelog_faults.refuse("Metadata", error="LEADER_NOT_AVAILABLE", topic=oncelog_topic, times=2)
    for version, ask in ((12, True), (9, True), (12, False)):
        request = MetadataRequest(topics=[MetadataRequestTopic(name=oncelog_topic)])
        response = raw.call(request, version)
        assert len(response.brokers) == 1
        (topic,) = response.topics
        assert topic.name == oncelog_topic
        assert (topic.error_code == ErrorCode.LEADER_NOT_AVAILABLE) == ask


# -- which requests are meant --


def test_by_topic_also_where_topics_are_named_by_id(
    raw: RawConnection, oncelog_topic: str, oncelog_faults: Faults
) -> None:
    faults = [
        oncelog_faults.refuse(api, error="NOT_LEADER_OR_FOLLOWER", topic=oncelog_topic, times=2)
        for api in ("Produce", "Fetch", "ListOffsets")
    ]
    elsewhere = oncelog_faults.refuse("Produce", error="NOT_LEADER_OR_FOLLOWER", topic="another")
    for version in (11, 13):
        assert produce(raw, oncelog_topic, batch(), version=version).error_code
        assert fetch(raw, oncelog_topic, version=version).error_code
        assert list_offset(raw, oncelog_topic, -1).error_code
    assert all(fault.has_happened for fault in faults)
    assert elsewhere.sentence == (
        "the 1st Produce request for topic 'another' was to be refused with NOT_LEADER_OR_FOLLOWER; "
        "no such request came"
    )
    oncelog_faults.clear()


@pytest.mark.parametrize(
    ("match", "request_", "fits"),
    [
        (Match(transactional_id="t"), EndTxnRequest(transactional_id="t"), True),
        (Match(transactional_id="t"), EndTxnRequest(transactional_id="u"), False),
        (Match(transactional_id="t"), ProduceRequest(transactional_id=None), False),
        (Match(transactional_id="t"), HeartbeatRequest(group_id="t"), False),
        (
            Match(transactional_id="t"),
            AddPartitionsToTxnRequest(v3_and_below_transactional_id="t"),
            True,
        ),
        (
            Match(transactional_id="t"),
            AddPartitionsToTxnRequest(transactions=[AddPartitionsToTxnTransaction(transactional_id="t")]),
            True,
        ),
        (
            Match(topic="a"),
            AddPartitionsToTxnRequest(
                transactions=[
                    AddPartitionsToTxnTransaction(topics=[AddPartitionsToTxnTopic(name=name)])
                    for name in ("b", "a")
                ]
            ),
            True,
        ),
        (Match(transactional_id="t"), FindCoordinatorRequest(key="t", key_type=1), True),
        (Match(transactional_id="t"), FindCoordinatorRequest(key="t", key_type=0), False),
        (Match(group_id="g"), FindCoordinatorRequest(coordinator_keys=["f", "g"], key_type=0), True),
        (Match(group_id="g"), HeartbeatRequest(group_id="g"), True),
        (Match(group_id="g"), DescribeGroupsRequest(groups=["g"]), True),
        (Match(group_id="g"), DeleteGroupsRequest(groups_names=["g"]), True),
        (Match(group_id="g"), OffsetFetchRequest(groups=[OffsetFetchRequestGroup(group_id="g")]), True),
        (Match(group_id="g"), OffsetFetchRequest(groups=[OffsetFetchRequestGroup(group_id="h")]), False),
        (Match(topic="a"), DeleteTopicsRequest(topic_names=["a"]), True),
        (Match(topic="a"), DeleteTopicsRequest(topic_names=["b"]), False),
        (Match(api_key=26), EndTxnRequest(), True),
        (Match(api_key=0), EndTxnRequest(), False),
        (Match(client_id="me"), EndTxnRequest(), True),
        (Match(client_id="you"), EndTxnRequest(), False),
    ],
    ids=str,
)
def test_a_request_is_meant_or_not(match: Match, request_: Message, fits: bool) -> None:
    header = RequestHeader(request_.api_key, 0, 1, "me", 0)
    assert match.fits(header, request_, State()) == fits


def test_two_faults_of_the_same_requests_count_each_for_itself(
    raw: RawConnection, oncelog_topic: str, oncelog_faults: Faults
) -> None:
    oncelog_faults.refuse("Produce", error="NOT_LEADER_OR_FOLLOWER", nth=1)
    oncelog_faults.refuse("Produce", error="NOT_ENOUGH_REPLICAS", nth=2)
    errors = [produce(raw, oncelog_topic, batch()).error_code for _ in range(3)]
    assert errors == [ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.NOT_ENOUGH_REPLICAS, 0]


# -- delayed, late, lost --


def test_a_delayed_request_holds_up_its_own_connection_only(
    raw: RawConnection, other: RawConnection, oncelog_topic: str, oncelog_faults: Faults
) -> None:
    delayed = oncelog_faults.delay("Produce", ms=300, client_id=CLIENT)
    raw.send(produce_request([(oncelog_topic, 0, batch([b"delayed"]))]), 11)
    raw.send(produce_request([(oncelog_topic, 0, batch([b"behind it"]))]), 11)
    delayed.wait()
    produce(other, oncelog_topic, batch([b"meanwhile"]))
    offsets = [raw.receive().responses[0].partition_responses[0].base_offset for _ in range(2)]
    assert offsets == [1, 2]


def test_a_request_without_an_answer_can_be_delayed(
    raw: RawConnection, oncelog_topic: str, oncelog_faults: Faults
) -> None:
    delayed = oncelog_faults.delay("Produce", ms=20)
    raw.send(produce_request([(oncelog_topic, 0, batch())], acks=0), 11, expect_answer=False)
    delayed.wait()
    assert produce(raw, oncelog_topic, batch()).base_offset == 1


def test_a_request_that_waits_can_be_delayed(
    raw: RawConnection, oncelog_topic: str, oncelog_faults: Faults
) -> None:
    delayed = oncelog_faults.delay("Fetch", ms=20)
    produce(raw, oncelog_topic, batch())
    assert fetch(raw, oncelog_topic, max_wait_ms=5000).records
    assert delayed.has_happened


def test_a_late_request_is_processed_after_its_connection_is_gone(
    raw: RawConnection, other: RawConnection, oncelog_topic: str, oncelog_faults: Faults
) -> None:
    late = oncelog_faults.process_late("Produce", ms=100)
    raw.send(produce_request([(oncelog_topic, 0, batch([b"late"]))]), 11)
    assert raw.is_closed_by_broker()
    late.wait()
    assert produce(other, oncelog_topic, batch([b"in time"])).base_offset == 0
    wait_for(lambda: log_end_offset(other, oncelog_topic) == 2, "the late record")


@pytest.mark.parametrize("drop", ["drop_request", "drop_answer"])
@pytest.mark.parametrize("cut", [True, False], ids=["cut", "hanging"])
def test_a_lost_request_is_not_processed_and_a_lost_answers_is(
    raw: RawConnection, other: RawConnection, oncelog_topic: str, oncelog_faults: Faults, drop: str, cut: bool
) -> None:
    lost = getattr(oncelog_faults, drop)("Produce", cut=cut)
    raw.send(produce_request([(oncelog_topic, 0, batch())]), 11)
    lost.wait()
    if cut:
        assert raw.is_closed_by_broker()
    else:
        raw.send(produce_request([(oncelog_topic, 0, batch())]), 11)
        assert raw.is_silent(0.1), "a hung connection answers nothing, what came later neither"
    assert log_end_offset(other, oncelog_topic) == (1 if drop == "drop_answer" else 0)


def test_the_lost_answer_of_a_join(oncelog_broker: oncelog.Broker, oncelog_faults: Faults) -> None:
    lost = oncelog_faults.drop_answer("JoinGroup", group_id="lost-join")
    member = GroupMember(lambda: RawConnection(oncelog_broker.bootstrap), "lost-join")
    member.send_join(version=3)
    lost.wait()
    assert member.connection.is_closed_by_broker()


# -- connections --


def ask_as(connection: RawConnection, client_id: str) -> None:
    connection.send_bytes(connection.encode(MetadataRequest(topics=[]), 9, client_id=client_id))
    connection.receive()


def test_connections_of_one_client_are_cut(
    raw: RawConnection, other: RawConnection, oncelog_topic: str, oncelog_faults: Faults
) -> None:
    log_end_offset(raw, oncelog_topic)
    ask_as(other, "the other")
    nobody = oncelog_faults.cut(client_id="nobody")
    assert nobody.sentence == "the connections of client 'nobody' were to be cut, and there were none"
    assert oncelog_faults.cut(client_id=CLIENT).has_happened
    assert raw.is_closed_by_broker()
    ask_as(other, "the other")
    oncelog_faults.clear()


# -- crashes --


@pytest.fixture(params=["in memory", "on a directory"])
def any_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[oncelog.Broker]:
    directory = tmp_path / "data" if request.param == "on a directory" else None
    with oncelog.Broker(directory, topics=["t"]) as broker:
        yield broker


@pytest.mark.parametrize("synced", [True, False], ids=["synced", "not synced"])
def test_a_crash_on_a_request_keeps_what_was_synced(any_broker: oncelog.Broker, synced: bool) -> None:
    faults = Faults(any_broker)
    connection = RawConnection(any_broker.bootstrap)
    assert produce(connection, "t", batch([b"acknowledged"])).base_offset == 0
    crash = faults.crash_on("Produce", synced=synced)
    connection.send(produce_request([("t", 0, batch([b"in doubt"]))]), 11)
    assert connection.is_closed_by_broker(), "nobody was told"
    crash.wait()
    connection = RawConnection(any_broker.bootstrap)
    assert len(stored_batches(connection, "t")) == (2 if synced else 1)
    assert produce(connection, "t", batch([b"afterwards"])).base_offset == (2 if synced else 1)
    connection.close()


def test_a_crash_at_a_position_keeps_that_and_loses_what_follows(any_broker: oncelog.Broker) -> None:
    faults = Faults(any_broker)
    # The topic's creation, and the seal of the idle journal: no other position is taken by itself.
    wait_for(lambda: any_broker.journal_position == 2, "the seal")
    crash = faults.crash(at_position=3)
    connection = RawConnection(any_broker.bootstrap)
    big = batch([bytes(700_000)])
    encoded = [connection.encode(produce_request([("t", 0, big)]), 11) for _ in range(4)]
    connection.send_bytes(b"".join(encoded))
    assert connection.is_closed_by_broker(), "nobody was told of any"
    crash.wait()
    assert any_broker.journal_position in (3, 4), "opening a directory after a crash seals it"
    connection = RawConnection(any_broker.bootstrap)
    assert 1 <= log_end_offset(connection, "t") <= 2, "what an entry holds"
    connection.close()


def test_one_crash_at_a_position_is_waited_for_at_a_time(any_broker: oncelog.Broker) -> None:
    faults, others = Faults(any_broker), Faults(any_broker)
    wait_for(lambda: any_broker.journal_position == 2, "the seal")
    crash = faults.crash(at_position=3)
    for each in (faults, others):
        with pytest.raises(UsageError, match="is to crash at journal position 3 already"):
            each.crash(at_position=4)
    assert len(faults.unused()) == 1
    assert not others.unused()
    others.clear()
    connection = RawConnection(any_broker.bootstrap)
    connection.send(produce_request([("t", 0, batch())]), 11)
    assert connection.is_closed_by_broker(), "the first one is still meant"
    crash.wait()
    connection.close()
    wait_for(lambda: any_broker.journal_position >= 3, "the restart")
    faults.crash(at_position=any_broker.journal_position + 2)
    faults.clear()
    faults.crash(at_position=any_broker.journal_position + 2)
    faults.clear()


def test_a_crash_now_keeps_everything_that_was_acknowledged(any_broker: oncelog.Broker) -> None:
    connection = RawConnection(any_broker.bootstrap)
    producer = TransactionalProducer(connection, "crashing")
    producer.produce("t", [b"in a transaction"], version=12)
    producer.commit_offset("g", "t", 7, version=5)
    for _ in range(2):
        Faults(any_broker).crash()
        assert connection.is_closed_by_broker()
        producer.connection = connection = RawConnection(any_broker.bootstrap)
    assert producer.end(True, version=5).error_code == 0
    find_coordinator(connection, "g", 0)
    assert committed_offset(connection, "g", "t").offset == 7
    connection.close()


def test_faults_outlive_a_crash_and_a_restore() -> None:
    with oncelog.Broker(topics=["t"]) as broker:
        faults = Faults(broker)
        refused = faults.refuse("Produce", error="NOT_ENOUGH_REPLICAS")
        snapshot = broker.snapshot()
        faults.crash()
        broker.restore(snapshot)
        connection = RawConnection(broker.bootstrap)
        assert produce(connection, "t", batch()).error_code == ErrorCode.NOT_ENOUGH_REPLICAS
        assert refused.has_happened
        faults.clear()
        assert produce(connection, "t", batch()).error_code == 0
        connection.close()


def test_what_one_forgets_another_keeps() -> None:
    with oncelog.Broker(topics=["t"]) as broker:
        one, other = Faults(broker), Faults(broker)
        other.refuse("Produce", error="KAFKA_STORAGE_ERROR")
        other.crash(at_position=broker.journal_position + 1)
        refused = one.refuse("Produce", error="NOT_ENOUGH_REPLICAS")
        other.clear()
        connection = RawConnection(broker.bootstrap)
        assert produce(connection, "t", batch()).error_code == ErrorCode.NOT_ENOUGH_REPLICAS
        assert refused.has_happened
        assert produce(connection, "t", batch()).error_code == 0, "it did not crash"
        delayed = one.delay("Produce", ms=60_000)
        one.clear()
        assert produce(connection, "t", batch()).error_code == 0
        assert not delayed.has_happened
        connection.close()


def test_what_may_have_been_acknowledged_cannot_be_lost(oncelog_broker: oncelog.Broker) -> None:
    with pytest.raises(UsageError, match="is synced and may have been acknowledged"):
        Faults(oncelog_broker).crash(at_position=oncelog_broker.journal_position)
    oncelog_broker.without_faults()


# -- handles and misuse --


def test_a_handle_waits_and_says_what_did_not_come(
    raw: RawConnection, oncelog_topic: str, oncelog_faults: Faults
) -> None:
    fault = oncelog_faults.refuse(
        "Produce", error="NOT_ENOUGH_REPLICAS", nth=2, times=3, client_id=CLIENT, topic=oncelog_topic
    )
    for _ in range(3):
        produce(raw, oncelog_topic, batch())
    with pytest.raises(FaultDidNotHappen) as error:
        fault.wait(timeout_s=0)
    assert str(error.value) == (
        f"within 0 s this did not happen: the 2nd to 4th Produce request of client '{CLIENT}' for topic "
        f"'{oncelog_topic}' were to be refused with NOT_ENOUGH_REPLICAS; it happened 2 times; "
        "3 such requests came"
    )
    waiting = threading.Thread(target=fault.wait)
    waiting.start()
    produce(raw, oncelog_topic, batch())
    waiting.join(10)
    assert not waiting.is_alive()


def test_misspellings_are_refused_with_a_sentence(oncelog_faults: Faults) -> None:
    with pytest.raises(UsageError, match="there is no API 'EndTransaction'"):
        oncelog_faults.refuse("EndTransaction", error="NOT_COORDINATOR")
    with pytest.raises(UsageError, match="there is no API 'EndTxm'; did you mean EndTxn"):
        oncelog_faults.drop_answer("EndTxm")
    with pytest.raises(UsageError, match="no error 'NOT_COORDINATER'; did you mean NOT_COORDINATOR"):
        oncelog_faults.refuse("EndTxn", error="NOT_COORDINATER")
    with pytest.raises(UsageError, match="counted from 1: nth=0, times=1"):
        oncelog_faults.refuse("EndTxn", error="NOT_COORDINATOR", nth=0)
    with pytest.raises(UsageError, match="cannot be kept for -1 ms"):
        oncelog_faults.delay("EndTxn", ms=-1)
    with pytest.raises(UsageError, match="cannot be kept for nan ms"):
        oncelog_faults.process_late("EndTxn", ms=float("nan"))
