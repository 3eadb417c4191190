"""The internal topics of a machine: what takes an offset, what is compacted, what stays of what is gone."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from oncelog.machine import commands as c
from oncelog.machine import internal_topics
from oncelog.machine.commands import OffsetToCommit
from oncelog.machine.fingerprint import state_differences
from oncelog.machine.group_state import Member, MemberProtocol
from oncelog.machine.internal_topics import TOMBSTONE_KEPT_MS, partition_of
from oncelog.machine.state import InternalPartition
from oncelog.wire.errors import ErrorCode
from tests.machine.driver import OTHER_TOPIC_ID, TOPIC_ID, Machine
from tests.support.coordinator_records import Told
from tests.support.internal_reader import InternalReader

OFFSETS, TRANSACTIONS = "__consumer_offsets", "__transaction_state"
NEW_TOPIC_ID = b"V" * 16


@pytest.fixture
def machine() -> Machine:
    return Machine()


def commit(
    machine: Machine, *offsets: int, group: str = "g", topic_id: bytes = TOPIC_ID, **more: Any
) -> None:
    """One offset for each partition from 0 on."""
    named = tuple(OffsetToCommit(topic_id, index, offset, -1, None) for index, offset in enumerate(offsets))
    retention_ms = more.get("retention_ms", -1)
    reply = machine.do(c.CommitOffsets(group, -1, "", None, 7, retention_ms, named))
    assert set(reply.errors) == {ErrorCode.NONE}


def log_of(machine: Machine, name: str = "g", topic: str = OFFSETS) -> InternalPartition:
    internal = machine.state.internal.named(topic)
    assert internal is not None
    return internal.partition(partition_of(name))


def offsets_in(partition: InternalPartition) -> list[int]:
    return [entry.offset for entry in partition.records.entries()]


def told(machine: Machine, topic: str = OFFSETS) -> list[Told]:
    """All records that are there, in order."""
    reader = InternalReader(topic).read(machine.state)
    machine.check()
    return [reader.seen[place] for place in sorted(reader.seen)]


def member(name: str) -> Member:
    protocols = (MemberProtocol("range", b"to range"), MemberProtocol("sticky", b"to sticky"))
    return Member(name, f"static {name}", "client", "/host", 30_000, 60_000, protocols)


def start_generation(machine: Machine, generation: int, *members: str) -> None:
    leader = members[0] if members else None
    of_members = "sticky" if members else None
    everyone = tuple(map(member, members))
    command = c.StartGeneration("g", generation, "consumer", of_members, leader, everyone)
    assert machine.do(command).error == ErrorCode.NONE


# -- what takes an offset --


def test_every_commit_takes_an_offset_and_leaves_one_record_of_each_key(machine: Machine) -> None:
    commit(machine, 10, 20)
    commit(machine, 11)
    commit(machine, 12, 21, 30)
    log = log_of(machine)
    assert log.log_end_offset == 6
    assert offsets_in(log) == [3, 4, 5]
    assert [(each.key.partition, each.value.offset) for each in told(machine)] == [(0, 12), (1, 21), (2, 30)]


def test_groups_of_one_partition_share_its_offsets(machine: Machine) -> None:
    names = [f"group {number}" for number in range(200)]
    together = [name for name in names if partition_of(name) == partition_of(names[0])]
    assert len(together) > 1
    for name in together:
        commit(machine, 1, group=name)
    log = log_of(machine, names[0])
    assert offsets_in(log) == list(range(len(together)))
    assert [each.key.group for each in told(machine)] == together


def test_an_offset_says_all_of_a_commit(machine: Machine) -> None:
    machine.pass_time(5)
    machine.do(c.CommitOffsets("g", -1, "", None, 4, 1000, (OffsetToCommit(TOPIC_ID, 2, 7, -1, "old"),)))
    machine.do(c.CommitOffsets("g", -1, "", None, 7, -1, (OffsetToCommit(TOPIC_ID, 1, 8, 3, "new"),)))
    old, new = told(machine)
    assert (old.key.group, old.key.topic, old.key.partition, old.version) == ("g", "things", 2, 1)
    assert (old.value.offset, old.value.metadata) == (7, "old")
    assert (old.value.commit_timestamp, old.value.expire_timestamp) == (
        machine.wall_ms,
        machine.wall_ms + 1000,
    )
    assert (new.key.partition, new.version, new.value.topic_id.bytes) == (1, 4, TOPIC_ID)
    assert (new.value.offset, new.value.leader_epoch, new.value.metadata) == (8, 3, "new")


def test_a_generation_has_one_record_whatever_happens_to_it(machine: Machine) -> None:
    commit(machine, 10)
    start_generation(machine, 0, "a", "b")
    before = told(machine)[-1].value
    machine.do(c.StoreAssignment("g", 1, (("a", b"of a"), ("b", b"of b"))))
    stored = told(machine)[-1].value
    machine.do(c.ReplaceStaticMember("g", 1, "b", member("c")._replace(group_instance_id="static b")))
    replaced = told(machine)[-1].value
    machine.pass_time(9)
    start_generation(machine, 1)
    empty = told(machine)[-1].value
    log = log_of(machine)
    assert (log.log_end_offset, offsets_in(log)) == (5, [0, 4])
    assert [each.assignment for each in before.members] == [b"", b""]
    assert (before.protocol_type, before.generation, before.protocol, before.leader) == (
        "consumer",
        1,
        "sticky",
        "a",
    )
    first = stored.members[0]
    assert (first.subscription, first.assignment) == (b"to sticky", b"of a")
    assert (first.group_instance_id, first.client_id, first.client_host) == ("static a", "client", "/host")
    assert (first.session_timeout, first.rebalance_timeout) == (30_000, 60_000)
    assert [each.member_id for each in replaced.members] == ["a", "c"]
    assert (empty.generation, empty.protocol, empty.leader, empty.members) == (2, None, None, ())
    assert empty.current_state_timestamp == machine.wall_ms


def test_a_transactional_id_tells_its_life(machine: Machine) -> None:
    stories = []

    def note() -> None:
        (record,) = told(machine, TRANSACTIONS)
        value = record.value
        covered = {each.topic: each.partition_ids for each in value.transaction_partitions or ()}
        stories.append((value.transaction_status, value.producer_epoch, covered))

    producer = machine.producer("t")
    note()
    machine.add(producer, 0, 2)
    note()
    machine.add_group(producer, "g")
    note()
    ended = machine.commit(producer, v2=True)
    note()
    machine.abort((ended.producer_id, ended.producer_epoch), v2=True)
    note()
    assert stories == [
        (0, 0, {}),
        (1, 0, {"things": (0, 2)}),
        (1, 0, {"things": (0, 2), OFFSETS: (partition_of("g"),)}),
        (4, 1, {}),
        (5, 2, {}),
    ]
    log = log_of(machine, "t", TRANSACTIONS)
    assert (log.log_end_offset, offsets_in(log)) == (5, [4])


def test_a_transaction_without_partitions_has_null_before_and_none_after(machine: Machine) -> None:
    producer = machine.producer("t")
    assert told(machine, TRANSACTIONS)[0].value.transaction_partitions is None
    machine.add_group(producer, "g")
    machine.commit(producer)
    value = told(machine, TRANSACTIONS)[0].value
    assert value.transaction_partitions == ()
    assert (value.previous_producer_id, value.next_producer_id, value.client_transaction_version) == (
        -1,
        -1,
        0,
    )


@pytest.mark.parametrize(("level", "version"), [(0, 0), (1, 1), (2, 1)])
def test_the_value_is_of_the_version_that_the_feature_level_had(
    machine: Machine, level: int, version: int
) -> None:
    """Also when the level is another one by now: what was read once is not read differently later."""
    machine.do(c.UpdateFeatures((c.FeatureUpdate("transaction.version", level, True),), False))
    machine.producer("t")
    assert told(machine, TRANSACTIONS)[0].version == version
    other = 2 if level == 0 else 0
    machine.do(c.UpdateFeatures((c.FeatureUpdate("transaction.version", other, True),), False))
    assert told(machine, TRANSACTIONS)[0].version == version


def test_who_ended_a_transaction_in_which_generation(machine: Machine) -> None:
    ended = machine.end(machine.producer("t"), False, v2=True)
    assert told(machine, TRANSACTIONS)[0].value.client_transaction_version == 2
    machine.add((ended.producer_id, ended.producer_epoch), 0)
    machine.time_out()
    assert told(machine, TRANSACTIONS)[0].value.client_transaction_version == 0


def test_offsets_of_a_transaction_are_records_when_it_is_committed(machine: Machine) -> None:
    producer = machine.producer("t")
    machine.add_group(producer)
    machine.send_offsets(producer, {0: 5})
    assert told(machine) == []
    machine.commit(producer)
    assert [(each.key.group, each.value.offset) for each in told(machine)] == [("g", 5)]


# -- what is gone --


def test_a_deleted_offset_leaves_a_tombstone_for_a_day(machine: Machine) -> None:
    commit(machine, 1, 2)
    machine.do(c.DeleteOffsets("g", ((TOPIC_ID, 0),)))
    assert [(each.key.partition, each.value is None) for each in told(machine)] == [(1, False), (0, True)]
    commit(machine, 1, 3)
    machine.pass_time(TOMBSTONE_KEPT_MS - 1)
    machine.do(c.DeleteOffsets("g", ((TOPIC_ID, 1),)))
    assert len(told(machine)) == 2
    commit(machine, 1, 3)
    assert [each.value is None for each in told(machine)] == [False, False], "a key that is back has no other"
    machine.do(c.DeleteOffsets("g", ((TOPIC_ID, 0),)))
    commit(machine, 1, group="other")
    machine.pass_time(TOMBSTONE_KEPT_MS)
    assert sum(each.value is None for each in told(machine)) == 1
    machine.do(c.DeleteOffsets("g", ((TOPIC_ID, 1),)))
    assert [each.key.partition for each in told(machine) if each.value is None] == [1]


def test_the_last_offset_stays_though_it_is_a_tombstone(machine: Machine) -> None:
    commit(machine, 1)
    commit(machine, 1, group="other")
    assert partition_of("g") != partition_of("other")
    machine.do(c.DeleteGroup("g"))
    machine.pass_time(2 * TOMBSTONE_KEPT_MS)
    machine.do(c.DeleteGroup("other"))
    assert sorted((each.key.group, each.value) for each in told(machine)) == [("g", None), ("other", None)]
    commit(machine, 5)
    commit(machine, 6, group="other")
    assert [each.value is None for each in told(machine)] == [False, False]


def test_a_deleted_group_leaves_a_tombstone_of_each_key(machine: Machine) -> None:
    commit(machine, 1, 2)
    start_generation(machine, 0, "a")
    start_generation(machine, 1)
    machine.do(c.DeleteGroup("g"))
    gone = told(machine)
    assert all(each.value is None for each in gone)
    assert sorted(getattr(each.key, "partition", -1) for each in gone) == [-1, 0, 1]
    assert log_of(machine).records.count == 3


def test_an_expired_transactional_id_leaves_a_tombstone(machine: Machine) -> None:
    producer = machine.producer("t")
    machine.pass_time(10)
    machine.do(c.ExpireTransactionalId("t", *producer, 10))
    (record,) = told(machine, TRANSACTIONS)
    assert (record.key.transactional_id, record.value) == ("t", None)
    machine.producer("t")
    (record,) = told(machine, TRANSACTIONS)
    assert record.value is not None


def test_there_are_only_so_many_tombstones(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internal_topics, "TOMBSTONES_MAX", 10)
    for number in range(100):
        commit(machine, 1, group=f"g{number}")
        machine.do(c.DeleteGroup(f"g{number}"))
    topic = machine.state.internal.consumer_offsets
    assert len(topic.tombstones) <= 10 + len(topic.used), "and the last offset of each partition"
    assert {offset for log in topic.used.values() for offset in offsets_in(log)[-1:]} >= {1}
    for log in topic.used.values():
        assert offsets_in(log)[-1] == log.log_end_offset - 1


# -- topics that are gone --


def create(machine: Machine, topic_id: bytes, name: str) -> None:
    assert machine.do(c.CreateTopic(topic_id, name, 3)).error == ErrorCode.NONE


def expire(machine: Machine, *places: tuple[bytes, int]) -> None:
    assert machine.do(c.ExpireOffsets("g", places, 1 << 50)).error == ErrorCode.NONE


def test_offsets_of_a_deleted_topic_stay_until_they_are_swept(machine: Machine) -> None:
    create(machine, NEW_TOPIC_ID, "new")
    commit(machine, 4, topic_id=NEW_TOPIC_ID)
    commit(machine, 1)
    before = told(machine)
    machine.do(c.DeleteTopic(NEW_TOPIC_ID))
    assert told(machine) == before, "what was read once is not read differently later"
    expire(machine, (NEW_TOPIC_ID, 0))
    assert [(each.key.topic, each.value is None) for each in told(machine)] == [
        ("things", False),
        ("new", True),
    ]


def test_a_topic_made_again_keeps_what_is_committed_to_it(machine: Machine) -> None:
    """The old topic's offset is of the same key, and newer records must not be taken back by its end."""
    create(machine, NEW_TOPIC_ID, "new")
    commit(machine, 4, topic_id=NEW_TOPIC_ID)
    machine.do(c.DeleteTopic(NEW_TOPIC_ID))
    create(machine, OTHER_TOPIC_ID[:15] + b"!", "new")
    commit(machine, 1, topic_id=OTHER_TOPIC_ID[:15] + b"!")
    reader = InternalReader(OFFSETS).read(machine.state)
    expire(machine, (NEW_TOPIC_ID, 0))
    reader.read(machine.state)
    assert [each.value.offset for each in reader.last.values()] == [1]
    assert [each.value.offset for each in told(machine)] == [1]


def test_names_of_topics_deleted_long_ago_are_forgotten(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(internal_topics, "DELETED_NAMES_MAX", 1)
    for topic_id, name in ((NEW_TOPIC_ID, "new"), (b"W" * 16, "newer")):
        create(machine, topic_id, name)
        commit(machine, 4, topic_id=topic_id)
        machine.do(c.DeleteTopic(topic_id))
    assert [each.key.topic for each in told(machine)] == ["newer"]
    expire(machine, (NEW_TOPIC_ID, 0))
    assert [each.key.topic for each in told(machine)] == ["newer"]


# -- internal topics as topics --


def test_offsets_of_an_internal_topic_are_kept_as_others_are(machine: Machine) -> None:
    topic_id = machine.state.internal.consumer_offsets.id
    commit(machine, 4, topic_id=topic_id)
    expire(machine, (topic_id, 0))
    assert [(each.key.topic, each.value.offset) for each in told(machine)] == [(OFFSETS, 4)]
    producer = machine.producer("t")
    machine.add_group(producer)
    assert machine.send_offsets(producer, {1: 9}, topic_id=topic_id) == (ErrorCode.NONE,)
    assert machine.send_offsets(producer, {50: 9}, topic_id=topic_id) == (
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    )
    machine.commit(producer)
    assert [(each.key.partition, each.value.offset) for each in told(machine)] == [(0, 4), (1, 9)]


def test_they_are_listed_once_they_hold_something(machine: Machine) -> None:
    def listed() -> list[str]:
        return [topic.name for topic in machine.state.listed_topics() if topic.name.startswith("__")]

    assert listed() == []
    version = machine.state.topics_version
    commit(machine, 1)
    assert listed() == [OFFSETS]
    assert machine.state.topics_version > version
    machine.producer("t")
    assert listed() == [OFFSETS, TRANSACTIONS]
    machine.do(c.DeleteGroup("g"))
    assert listed() == [OFFSETS, TRANSACTIONS]


def test_asking_for_a_partition_is_no_fact(machine: Machine) -> None:
    commit(machine, 1)
    assert len(machine.state.internal.consumer_offsets.partitions) == 50
    machine.check()
    copied = pickle.loads(pickle.dumps(machine.state))
    assert state_differences(machine.state, copied) == []
    log_of(machine).records.append(1, "g", None)
    assert state_differences(machine.state, copied) != []
    log_of(machine).records.take(1)
    assert state_differences(machine.state, copied) == []
    log_of(machine).log_end_offset += 1
    assert state_differences(machine.state, copied) != []
