"""Topics and feature levels: what is refused and in which words, and what creating and deleting does."""

from __future__ import annotations

from typing import Any

import pytest

from oncelog.machine.commands import (
    CreatePartitions,
    CreateTopic,
    CreateTopicReply,
    DeleteTopic,
    FeatureUpdate,
    UpdateFeatures,
)
from oncelog.machine.events import TopicCreated
from oncelog.machine.limits import Limits
from oncelog.machine.moment import At
from oncelog.machine.topics import EVOLVE
from oncelog.wire.errors import ErrorCode
from tests.machine.driver import OTHER_TOPIC_ID, TOPIC_ID, Machine

A, B, C = b"a" * 16, b"b" * 16, b"c" * 16


@pytest.fixture
def machine() -> Machine:
    return empty_machine()


def empty_machine(limits: Limits = Limits()) -> Machine:  # noqa: B008 (a value)
    machine = Machine(limits)
    machine.remove_topic(TOPIC_ID)
    machine.remove_topic(OTHER_TOPIC_ID)
    return machine


def create(machine: Machine, topic_id: bytes, name: str, count: int = 1, **more: Any) -> CreateTopicReply:
    reply: CreateTopicReply = machine.do(CreateTopic(topic_id, name, count, **more))
    machine.check()
    return reply


# --- creating ---


def test_a_topic_is_created_with_its_partitions(machine: Machine) -> None:
    reply = create(machine, A, "things", 3, configs=(("retention.ms", "5"),))
    assert reply == (ErrorCode.NONE, None, 3)
    topic = machine.state.topic_named("things")
    assert topic is not None
    assert (topic.id, topic.name, topic.configs) == (A, "things", {"retention.ms": "5"})
    assert [partition.index for partition in topic.partitions] == [0, 1, 2]
    assert all(partition.topic is topic for partition in topic.partitions)
    assert machine.state.partition_count == 3
    assert machine.state.topics_version == 1


def test_what_was_created_is_touched_so_that_it_is_published(machine: Machine) -> None:
    at = At(1, 0, 0)
    event = TopicCreated(topic_id=A, name="things", partition_count=2, configs=[])
    EVOLVE[TopicCreated](machine.state, event, at)
    assert [(partition.topic.id, partition.index) for partition in at.touched] == [(A, 0), (A, 1)]


def test_validate_only_creates_nothing(machine: Machine) -> None:
    assert create(machine, A, "things", 3, validate_only=True) == (ErrorCode.NONE, None, 3)
    assert machine.events == []


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "x" * 249, "...", "__mine"])
def test_good_names(machine: Machine, name: str) -> None:
    assert create(machine, A, name).error == ErrorCode.NONE


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "the empty string is not allowed"),
        (".", "'.' is not allowed"),
        ("..", "'..' is not allowed"),
        ("x" * 250, f"the length of '{'x' * 250}' is longer than the max allowed length 249"),
        ("a b", "'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"),
        ("ä", "'ä' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"),
        ("a\n", "'a\n' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"),
    ],
)
def test_illegal_names(machine: Machine, name: str, reason: str) -> None:
    reply = create(machine, A, name)
    assert reply == (ErrorCode.INVALID_TOPIC_EXCEPTION, f"Topic name is invalid: {reason}", -1)


def test_kafkas_own_topics_cannot_be_created(machine: Machine) -> None:
    assert create(machine, A, "__consumer_offsets").error == ErrorCode.TOPIC_ALREADY_EXISTS
    assert create(machine, A, "__transaction_state").error == ErrorCode.TOPIC_ALREADY_EXISTS
    assert create(machine, A, "__share_group_state").error == ErrorCode.INVALID_TOPIC_EXCEPTION
    assert create(machine, A, "__consumer.offsets") == (
        ErrorCode.INVALID_TOPIC_EXCEPTION,
        "Topic '__consumer.offsets' collides with existing topic: __consumer_offsets",
        -1,
    )
    assert create(machine, A, "__cluster_metadata").error == ErrorCode.INVALID_REQUEST


def test_a_name_is_taken_until_its_topic_is_deleted(machine: Machine) -> None:
    create(machine, A, "things")
    reply = create(machine, B, "things")
    assert reply[:2] == (ErrorCode.TOPIC_ALREADY_EXISTS, "Topic 'things' already exists.")
    machine.do(DeleteTopic(A))
    assert create(machine, B, "things").error == ErrorCode.NONE
    assert machine.state.topic_ids == {"things": B}


def test_dots_and_underscores_collide_until_the_first_is_deleted(machine: Machine) -> None:
    create(machine, A, "a.b_c")
    reply = create(machine, B, "a_b.c")
    assert reply[:2] == (
        ErrorCode.INVALID_TOPIC_EXCEPTION,
        "Topic 'a_b.c' collides with existing topic: a.b_c",
    )
    machine.do(DeleteTopic(A))
    assert create(machine, B, "a_b.c").error == ErrorCode.NONE


@pytest.mark.parametrize("count", [0, -1, -2])
def test_partition_counts_that_are_none(machine: Machine, count: int) -> None:
    assert create(machine, A, "things", count).error == ErrorCode.INVALID_PARTITIONS


@pytest.mark.parametrize(("factor", "error"), [(-1, 0), (1, 0), (0, 38), (-2, 38), (2, 38), (3, 38)])
def test_replication_factors(machine: Machine, factor: int, error: int) -> None:
    assert create(machine, A, "things", replication_factor=factor).error == error


def test_assignments_tell_the_partition_count(machine: Machine) -> None:
    reply = create(machine, A, "things", -1, assignments=((1, (1,)), (0, (1,))))
    assert reply == (ErrorCode.NONE, None, 2)


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (((0, (7,)),), "includes broker 7, but no such broker is registered"),
        (((0, (1, 1)),), "includes the broker 1 more than once"),
        (((0, ()),), "includes an empty replica list"),
        (((0, (1,)), (2, (1,))), "consecutive 0-based"),
        (((-1, (1,)),), "consecutive 0-based"),
        (((0, (1,)), (0, (1,))), "multiple manual partition assignments for partition 0"),
    ],
)
def test_wrong_assignments(machine: Machine, assignments: Any, message: str) -> None:
    reply = create(machine, A, "things", -1, assignments=assignments)
    assert reply.error == ErrorCode.INVALID_REPLICA_ASSIGNMENT
    assert message in (reply.message or "")


def test_assignments_go_with_neither_count_nor_factor(machine: Machine) -> None:
    assignments = ((0, (1,)),)
    assert create(machine, A, "things", 1, assignments=assignments).error == ErrorCode.INVALID_REQUEST
    reply = create(machine, A, "things", -1, replication_factor=1, assignments=assignments)
    assert reply.error == ErrorCode.INVALID_REQUEST


def test_a_wrong_config_creates_nothing(machine: Machine) -> None:
    reply = create(machine, A, "things", configs=(("retention.ms", "soon"),))
    assert reply.error == ErrorCode.INVALID_CONFIG
    assert machine.events == []


def test_too_many_partitions_at_once() -> None:
    machine = empty_machine(Limits(partitions_per_request_max=10))
    assert create(machine, A, "things", 11).error == ErrorCode.POLICY_VIOLATION
    assert create(machine, A, "things", 10).error == ErrorCode.NONE
    assert machine.do(CreatePartitions(A, 21)).error == ErrorCode.POLICY_VIOLATION
    assert machine.do(CreatePartitions(A, 20)).error == ErrorCode.NONE


def test_too_many_partitions_in_all() -> None:
    machine = empty_machine(Limits(partitions_max=5))
    create(machine, A, "a", 3)
    assert create(machine, B, "b", 3).error == ErrorCode.POLICY_VIOLATION
    assert create(machine, B, "b", 2).error == ErrorCode.NONE
    assert machine.do(CreatePartitions(B, 3)).error == ErrorCode.POLICY_VIOLATION
    machine.do(DeleteTopic(A))
    assert machine.do(CreatePartitions(B, 5)).error == ErrorCode.NONE
    assert machine.state.partition_count == 5
    machine.check()


# --- deleting ---


def test_a_topic_is_deleted_with_what_is_in_it(machine: Machine) -> None:
    create(machine, A, "things", 2)
    partitions = list(machine.state.topics[A].partitions)
    event_version = machine.state.topics_version
    at = At(9, 0, 0)
    machine.do(DeleteTopic(A))
    EVOLVE[type(machine.events[0])](machine.state, machine.events[0], At(8, 0, 0))
    EVOLVE[type(machine.events[1])](machine.state, machine.events[1], at)
    assert [partition.index for partition in at.removed] == [partition.index for partition in partitions]
    assert (machine.state.topics, machine.state.topic_ids) == ({}, {})
    assert machine.state.partition_count == 0
    assert machine.state.topics_version > event_version


def test_deleting_an_unknown_id(machine: Machine) -> None:
    assert machine.do(DeleteTopic(C)).error == ErrorCode.UNKNOWN_TOPIC_ID
    assert machine.events == []


def test_a_transaction_ends_after_its_topic_was_deleted() -> None:
    machine = Machine()
    create(machine, A, "doomed")
    producer = machine.producer()
    machine.add(producer, 0)
    machine.add(producer, 0, topic_id=A)
    machine.produce(0, producer=producer, sequence=0, in_transaction="t")
    machine.produce(0, producer=producer, sequence=0, in_transaction="t", topic_id=A)
    machine.do(DeleteTopic(A))
    assert machine.commit(producer).error == ErrorCode.NONE
    assert machine.partition(0).last_stable_offset == machine.partition(0).log_end_offset == 2
    machine.check()


# --- growing ---


def test_partitions_are_added(machine: Machine) -> None:
    create(machine, A, "things", 2)
    assert machine.do(CreatePartitions(A, 4)) == (ErrorCode.NONE, None)
    machine.check()
    assert [partition.index for partition in machine.state.topics[A].partitions] == [0, 1, 2, 3]
    assert machine.state.partition_count == 4
    assert machine.state.topics_version == 2


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (2, "Topic already has 2 partition(s)."),
        (1, "The topic things currently has 2 partition(s); 1 would not be an increase."),
        (-1, "The topic things currently has 2 partition(s); -1 would not be an increase."),
    ],
)
def test_partitions_are_never_removed(machine: Machine, count: int, message: str) -> None:
    create(machine, A, "things", 2)
    assert machine.do(CreatePartitions(A, count)) == (ErrorCode.INVALID_PARTITIONS, message)


def test_assignments_of_added_partitions(machine: Machine) -> None:
    create(machine, A, "things", 2)
    wrong = ErrorCode.INVALID_REPLICA_ASSIGNMENT
    assert machine.do(CreatePartitions(A, 4, ((1,),))).error == wrong
    assert machine.do(CreatePartitions(A, 3, ((9,),))).error == wrong
    assert machine.do(CreatePartitions(A, 3, ())).error == wrong
    assert machine.do(CreatePartitions(A, 4, ((1,), (1,)))).error == ErrorCode.NONE


def test_checking_an_increase_adds_nothing(machine: Machine) -> None:
    create(machine, A, "things", 2)
    assert machine.do(CreatePartitions(A, 4, None, True)).error == ErrorCode.NONE
    assert machine.do(CreatePartitions(A, 1, None, True)).error == ErrorCode.INVALID_PARTITIONS
    assert len(machine.state.topics[A].partitions) == 2
    assert machine.do(CreatePartitions(C, 4)).error == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


# --- features ---

VERSION = "transaction.version"


def update(machine: Machine, *updates: tuple[str, int, bool | None], validate_only: bool = False) -> Any:
    reply = machine.do(UpdateFeatures(tuple(FeatureUpdate(*one) for one in updates), validate_only))
    machine.check()
    return reply


def test_a_feature_goes_down_and_up_again(machine: Machine) -> None:
    assert machine.state.feature_levels == {VERSION: 2}
    assert update(machine, (VERSION, 0, True)).error == ErrorCode.NONE
    assert (machine.state.feature_levels, machine.state.features_epoch) == ({VERSION: 0}, 1)
    assert update(machine, (VERSION, 2, False)).error == ErrorCode.NONE
    assert (machine.state.feature_levels, machine.state.features_epoch) == ({VERSION: 2}, 2)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ((VERSION, 3, False), "Local controller 1 only supports versions 0-2"),
        ((VERSION, -1, True), "A feature version cannot be less than 0."),
        ((VERSION, 1, False), "Can't downgrade the version of this feature without setting the upgrade type"),
        ((VERSION, 1, None), "The controller does not support the given upgrade type."),
        (("nope", 1, False), "Local controller 1 does not support this feature."),
    ],
)
def test_one_wrong_level_stops_them_all(
    machine: Machine, wrong: tuple[str, int, bool | None], message: str
) -> None:
    reply = update(machine, wrong, (VERSION, 1, True))
    assert reply.error == ErrorCode.INVALID_UPDATE_VERSION
    assert message in reply.message
    assert machine.state.features_epoch == 0


def test_checking_a_level_or_naming_the_same_changes_nothing(machine: Machine) -> None:
    assert update(machine, (VERSION, 1, True), validate_only=True).error == ErrorCode.NONE
    assert update(machine, (VERSION, 2, False)).error == ErrorCode.NONE
    assert update(machine).error == ErrorCode.NONE
    assert machine.events == []
