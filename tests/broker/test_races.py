"""What happens between two durable entries: fetches that are woken twice, groups that change while they wait.

Found by review; each test is one sequence of events that no client makes on purpose.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from oncelog.broker.api.list_offsets import STEP_RECORDS
from oncelog.broker.groups import GroupCoordinator
from oncelog.machine.extents import Extents
from oncelog.wire.messages.delete_topics import DeleteTopicsRequest
from oncelog.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from oncelog.wire.messages.heartbeat import HeartbeatRequest
from oncelog.wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse
from oncelog.wire.messages.leave_group import LeaveGroupRequest, MemberIdentity
from oncelog.wire.messages.sync_group import SyncGroupRequest
from oncelog.wire.records import BatchHeader, RecordHead, build_batch, iterate_heads
from tests.broker.asking import create_topic, list_offsets, metadata
from tests.support.batches import batch
from tests.support.one_process import Client, OneProcess, one_process
from tests.support.speaking import TransactionalProducer, batches_in, fetch_request, produce_request

UNKNOWN_TOPIC_ID = 100
REBALANCE_IN_PROGRESS = 27
UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID = 25, 82
MESSAGE_TOO_LARGE, INVALID_TIMESTAMP = 10, 32
LOADING = 14
MEMBER_ID_REQUIRED, GROUP_MAX_SIZE_REACHED = 79, 81
GROUP = "group"


@pytest.fixture
def process() -> Iterator[OneProcess]:
    with one_process() as made:
        yield made
        assert made.errors == []
        assert made.failures == []


def made_topics(client: Client, *names: str) -> list[bytes]:
    """Their ids."""
    created = [client.call(create_topic(name), 7).topics[0] for name in names]
    assert [topic.error_code for topic in created] == [0] * len(names)
    return [bytes(topic.topic_id) for topic in created]


def fetch_each(topic_ids: Sequence[bytes], max_wait_ms: int) -> FetchRequest:
    topics = [
        FetchTopic(
            topic_id=topic_id,
            partitions=[FetchPartition(partition=0, fetch_offset=0, partition_max_bytes=1 << 20)],
        )
        for topic_id in topic_ids
    ]
    return FetchRequest(max_wait_ms=max_wait_ms, min_bytes=1 << 20, max_bytes=1 << 20, topics=topics)


def test_a_fetch_that_waits_for_durability_is_answered_once(process: OneProcess) -> None:
    """Its time is up while the deletion that it has seen is on its way to the disk."""
    client = process.connect()
    topic_ids = made_topics(client, "gone", "stays")
    reader = process.connect()
    process.journal.hold()
    reader.send(fetch_each(topic_ids, max_wait_ms=500), 13)
    assert reader.answers() == []
    client.send(produce_request([("stays", 0, batch([b"one"]))]), 11)
    process.settle()
    client.send(DeleteTopicsRequest(topic_names=["gone"], timeout_ms=1000), 5)
    process.settle()
    process.confirm()
    process.advance(0.6)
    process.journal.is_cold = True
    process.reads.is_holding = True
    process.confirm()
    assert len(process.reads.jobs) == 1
    process.reads.let_go()
    (answer,) = reader.answers()
    assert [topic.partitions[0].error_code for topic in answer.responses] == [UNKNOWN_TOPIC_ID, 0]


# -- groups --


def test_ids_that_are_given_out_and_members_have_one_limit(process: OneProcess) -> None:
    """They cost a request each, and stay for half an hour."""
    groups = process.broker.groups
    groups._options = replace(groups._options, members_bytes_max=3_500)
    clients = [process.connect() for _ in range(5)]
    for client in clients:
        join(client)
    answers = [joined(client) for client in clients]
    assert [answer.error_code for answer in answers] == [MEMBER_ID_REQUIRED] * 4 + [LOADING]
    for client, answer in zip(clients[:2], answers[:2], strict=True):
        leave = LeaveGroupRequest(group_id=GROUP, members=[MemberIdentity(member_id=answer.member_id)])
        assert [each.error_code for each in client.call(leave, 4).members] == [0]
    join(clients[2], answers[2].member_id)
    join(clients[4], version=3)
    process.advance(31, step_s=1)
    assert [joined(clients[number]).error_code for number in (2, 4)] == [0, 0]
    process.advance(31, step_s=1)
    assert groups._usage.size_bytes == 0, "every session is over"


def join(
    client: Client,
    member_id: str = "",
    *,
    instance: str | None = None,
    metadata: bytes = b"",
    version: int = 5,
    rebalance_timeout_ms: int = 10_000,
    session_timeout_ms: int = 30_000,
) -> None:
    request = JoinGroupRequest(
        group_id=GROUP,
        session_timeout_ms=session_timeout_ms,
        rebalance_timeout_ms=rebalance_timeout_ms,
        member_id=member_id,
        protocol_type="consumer",
        protocols=[JoinGroupRequestProtocol(name="range", metadata=metadata)],
    )
    if instance is not None:
        request.group_instance_id = instance
    client.send(request, version)


def joined(client: Client) -> JoinGroupResponse:
    (answer,) = client.answers()
    assert isinstance(answer, JoinGroupResponse)
    return answer


def sync(client: Client, member_id: str, generation: int, *, instance: str | None = None) -> int:
    request = SyncGroupRequest(
        group_id=GROUP,
        generation_id=generation,
        member_id=member_id,
        group_instance_id=instance,
        protocol_type="consumer",
        protocol_name="range",
        assignments=[],
    )
    return int(client.call(request, 5).error_code)


def heartbeat(client: Client, member_id: str, generation: int) -> int:
    request = HeartbeatRequest(group_id=GROUP, generation_id=generation, member_id=member_id)
    return int(client.call(request, 4).error_code)


def test_static_members_that_are_away_keep_their_places() -> None:
    """They stay in the next generation, which would be too large with whoever took their places."""
    with one_process(group_max_size=2) as process:
        first, second, newcomer = process.connect(), process.connect(), process.connect()
        join(first, instance="first")
        leader = joined(first).member_id
        join(second, instance="second")
        process.settle()
        join(first, leader, instance="first")
        generation = joined(first).generation_id
        assert sync(first, leader, generation, instance="first") == 0
        follower = joined(second).member_id
        assert sync(second, follower, generation, instance="second") == 0

        join(first, leader, instance="first", metadata=b"changed")
        join(newcomer, version=3)
        assert joined(newcomer).error_code == GROUP_MAX_SIZE_REACHED
        process.advance(11, step_s=0.5)
        answer = joined(first)
        assert (answer.error_code, answer.generation_id, len(answer.members)) == (0, generation + 1, 2)
        join(second, instance="second")
        process.advance(11, step_s=0.5)
        assert not second.is_closed
        assert process.failures == []


def test_a_newcomer_that_leaves_before_it_joined_disturbs_nobody(process: OneProcess) -> None:
    member, newcomer = process.connect(), process.connect()
    join(member, version=3)
    answer = joined(member)
    assert sync(member, answer.member_id, answer.generation_id) == 0
    join(newcomer)
    pending = joined(newcomer)
    assert pending.error_code == MEMBER_ID_REQUIRED
    leave = LeaveGroupRequest(group_id=GROUP, members=[MemberIdentity(member_id=pending.member_id)])
    assert [each.error_code for each in newcomer.call(leave, 4).members] == [0]
    assert heartbeat(member, answer.member_id, answer.generation_id) == 0


def test_a_fetch_that_waits_for_many_bytes_counts_each_batch_once(
    process: OneProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each entry would cost as much as all that came before it."""
    client, reader = process.connect(), process.connect()
    made_topics(client, "slow")
    reader.send(fetch_request("slow", max_wait_ms=60_000, min_bytes=10_000), 11)
    looked_at = []
    look = Extents.extent
    monkeypatch.setattr(Extents, "extent", lambda *place: looked_at.append(place) or look(*place))
    one = batch([bytes(100)])
    for _ in range(10_000 // len(one)):
        assert client.call(produce_request([("slow", 0, one)]), 11).responses
    assert reader.answers() == []
    assert 0 < len(looked_at) < 200
    client.call(produce_request([("slow", 0, one)]), 11)
    (answer,) = reader.answers()
    assert len(answer.responses[0].partitions[0].records) == (10_000 // len(one) + 1) * len(one)


def test_a_fetch_that_waits_sees_a_transaction_end(process: OneProcess) -> None:
    """What it may read grows then, though not a byte of records comes."""
    client, reader = process.connect(), process.connect()
    made_topics(client, "slow")
    producer = TransactionalProducer(client, "t")  # type: ignore[arg-type]
    assert producer.add("slow", (0,)) == 0
    for _ in range(3):
        assert producer.produce("slow", [bytes(1000)]).error_code == 0
    reader.send(fetch_request("slow", max_wait_ms=60_000, min_bytes=3000, read_committed=True), 11)
    assert client.call(produce_request([("slow", 0, batch([b"behind it"]))]), 11).responses
    assert reader.answers() == []
    producer.end(commit=True, version=4)
    (answer,) = reader.answers()
    assert len(batches_in(answer.responses[0].partitions[0].records)) == 5


def test_a_rebalance_that_nobody_joins_is_not_looked_at_all_the_time(
    process: OneProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its members are static, away, and gave rebalances no time worth mentioning."""
    static, dynamic = process.connect(), process.connect()
    join(static, instance="static", rebalance_timeout_ms=20)
    answer = joined(static)
    assert sync(static, answer.member_id, answer.generation_id, instance="static") == 0
    join(dynamic, version=3, rebalance_timeout_ms=20)
    process.advance(0.02)
    left = joined(dynamic).member_id
    looks: list[str] = []
    look = GroupCoordinator._complete_joins
    monkeypatch.setattr(
        GroupCoordinator,
        "_complete_joins",
        lambda groups, group: (looks.append(group.state.value), look(groups, group)),
    )
    leave = LeaveGroupRequest(group_id=GROUP, members=[MemberIdentity(member_id=left)])
    dynamic.call(leave, 4)
    process.advance(5)
    assert 0 < len(looks) <= 7
    assert set(looks) == {"PreparingRebalance"}
    join(static, instance="static")
    process.advance(10)
    assert joined(static).error_code == 0


def two_members(process: OneProcess, leader_session_ms: int = 30_000) -> tuple[Client, str, Client, str, int]:
    """The leader, its id, the follower, its id, and their generation, whose assignment is there."""
    leader, follower = process.connect(), process.connect()
    join(leader, version=3, session_timeout_ms=leader_session_ms)
    first = joined(leader)
    join(follower, version=3)
    process.settle()
    join(leader, first.member_id, session_timeout_ms=leader_session_ms)
    second = joined(leader)
    generation = second.generation_id
    assert generation == first.generation_id + 1
    assert sync(leader, first.member_id, generation) == 0
    follower_id = joined(follower).member_id
    assert sync(follower, follower_id, generation) == 0
    return leader, first.member_id, follower, follower_id, generation


def test_who_has_left_adds_no_offsets_to_a_transaction(process: OneProcess) -> None:
    """The machine still has it in the last generation; its partitions are somebody else's soon (KIP-447)."""
    leader, leader_id, follower, follower_id, generation = two_members(process)
    made_topics(leader, "consumed")
    producer = TransactionalProducer(leader, "t")  # type: ignore[arg-type]
    assert producer.add_offsets(GROUP) == 0
    leave = LeaveGroupRequest(group_id=GROUP, members=[MemberIdentity(member_id=follower_id)])
    follower.call(leave, 4)
    told = [
        producer.commit_offset(GROUP, "consumed", 5, generation_id=generation, member_id=member_id)
        for member_id in (follower_id, leader_id)
    ]
    assert told == [UNKNOWN_MEMBER_ID, 0]


def test_a_static_member_that_comes_back_fences_the_sync_of_its_predecessor(process: OneProcess) -> None:
    leader, before, after = process.connect(), process.connect(), process.connect()
    join(leader, version=3)
    leader_id = joined(leader).member_id
    join(before, instance="static")
    process.settle()
    join(leader, leader_id)
    generation = joined(leader).generation_id
    request = SyncGroupRequest(
        group_id=GROUP,
        generation_id=generation,
        member_id=joined(before).member_id,
        group_instance_id="static",
        protocol_type="consumer",
        protocol_name="range",
    )
    before.send(request, 5)
    assert before.answers() == [], "the leader has not assigned yet"
    join(after, instance="static")
    (fenced,) = before.answers()
    assert fenced.error_code == FENCED_INSTANCE_ID


def test_a_generation_that_was_overtaken_ends_nobodys_time_to_sync(process: OneProcess) -> None:
    """The leader never assigned in the first one, whose time is up while the second is Stable."""
    leader, leader_id, follower, follower_id, generation = two_members(process)
    process.advance(11, step_s=1)
    assert heartbeat(leader, leader_id, generation) == 0
    assert heartbeat(follower, follower_id, generation) == 0


def test_a_member_that_waits_for_others_outlives_its_session(process: OneProcess) -> None:
    leader, leader_id, follower, follower_id, generation = two_members(process, 6_000)
    join(leader, leader_id, session_timeout_ms=6_000, rebalance_timeout_ms=20_000, metadata=b"changed")
    process.advance(10, step_s=1)
    assert heartbeat(follower, follower_id, generation) == REBALANCE_IN_PROGRESS
    process.advance(5, step_s=1)
    join(follower, follower_id)
    assert joined(leader).generation_id == joined(follower).generation_id == generation + 1


def test_who_never_came_back_after_its_join_is_out(process: OneProcess) -> None:
    member = process.connect()
    join(member, version=3, session_timeout_ms=6_000, rebalance_timeout_ms=60_000)
    answer = joined(member)
    process.advance(7, step_s=1)
    assert heartbeat(member, answer.member_id, answer.generation_id) == UNKNOWN_MEMBER_ID


def test_who_heartbeats_and_never_syncs_is_out(process: OneProcess) -> None:
    member = process.connect()
    join(member, version=3, rebalance_timeout_ms=10_000)
    answer = joined(member)
    process.advance(9, step_s=1)
    assert heartbeat(member, answer.member_id, answer.generation_id) == 0
    process.advance(2, step_s=1)
    assert heartbeat(member, answer.member_id, answer.generation_id) == UNKNOWN_MEMBER_ID


def test_a_member_that_has_changed_joins_another_generation_before_the_assignment(
    process: OneProcess,
) -> None:
    """The leader would assign by what the member no longer subscribes to."""
    member = process.connect()
    join(member, version=3)
    answer = joined(member)
    join(member, answer.member_id)
    assert joined(member).generation_id == answer.generation_id
    join(member, answer.member_id, metadata=b"changed")
    changed = joined(member)
    assert changed.generation_id == answer.generation_id + 1
    assert [each.metadata for each in changed.members] == [b"changed"]


# -- looking into batches --


def test_a_request_has_only_so_many_records_for_compacted_topics(
    process: OneProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is read for its key, and a few kilobytes unpack to millions of them."""
    monkeypatch.setattr("oncelog.broker.api.produce.KEYED_RECORDS_MAX", 5)
    client = process.connect()
    created = client.call(create_topic("compacted", partitions=3, cleanup_policy="compact"), 7).topics[0]
    assert created.error_code == 0
    three = batch([b"value"] * 3, key=b"key")
    answer = client.call(produce_request([("compacted", index, three) for index in range(3)]), 11)
    partitions = answer.responses[0].partition_responses
    assert [partition.error_code for partition in partitions] == [0, MESSAGE_TOO_LARGE, MESSAGE_TOO_LARGE]
    assert client.call(produce_request([("compacted", 1, three)]), 11).responses


def test_an_answer_names_wrong_records_of_so_many_records_only(
    process: OneProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A header may lie about timestamps, so that every record is looked at and none is wrong."""
    monkeypatch.setattr("oncelog.broker.batch_checks.RECORDS_LOOKED_AT_MAX", 5)
    client = process.connect()
    made_topics(client, "dated")
    now_ms = process.clock.wall_ms()
    for early, named in ((0, [0, 1, 2, 3, 4]), (4, [4]), (5, [])):
        wrong = batch([b""] * 8, timestamps_ms=[now_ms] * early + [now_ms + 86_400_000] * (8 - early))
        answer = client.call(produce_request([("dated", 0, wrong)]), 11)
        (partition,) = answer.responses[0].partition_responses
        assert partition.error_code == INVALID_TIMESTAMP
        assert [each.batch_index for each in partition.record_errors] == named


# -- searching by time --


def test_a_search_ends_with_its_connection(process: OneProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    client, gone = process.connect(), process.connect()
    made_topics(client, "dense")
    began_ms, count = process.clock.wall_ms(), 10 * STEP_RECORDS
    dense = build_batch([(began_ms, None, None)] * (count - 1) + [(began_ms + 1, None, None)], compression=1)
    assert client.call(produce_request([("dense", 0, dense)]), 11).responses
    looked_at = []

    def iterate(header: BatchHeader, body: bytes) -> Iterator[RecordHead]:
        for head in iterate_heads(header, body):
            looked_at.append(head.offset)
            yield head

    monkeypatch.setattr("oncelog.broker.api.list_offsets.iterate_heads", iterate)
    process.within(
        lambda: gone.transport.protocol.data_received(
            gone.encode(list_offsets(began_ms + 1, topic="dense"), 7)
        )
    )
    gone.transport.close()
    process.settle()
    assert len(looked_at) < count / 2
    assert client.call(metadata("dense"), 9).topics[0].error_code == 0


def test_a_search_among_many_records_gives_others_a_turn(process: OneProcess) -> None:
    """A few kilobytes unpack to millions of records."""
    client, other = process.connect(), process.connect()
    made_topics(client, "dense")
    began_ms, count = process.clock.wall_ms(), 4 * STEP_RECORDS
    records = [(began_ms + (number == count - 1), None, None) for number in range(count)]
    dense = build_batch(records, compression=1)
    answer = client.call(produce_request([("dense", 0, dense)]), 11)
    assert answer.responses[0].partition_responses[0].error_code == 0
    process.write_order.clear()
    client.send(list_offsets(began_ms + 1, topic="dense"), 7)
    other.send(metadata("dense"), 9)
    process.settle()
    assert process.write_order == [other.transport, client.transport]
    (answer,) = client.answers()
    found = answer.topics[0].partitions[0]
    assert (found.error_code, found.offset, found.timestamp) == (0, count - 1, began_ms + 1)
