"""The level of transaction.version goes up and down while producers of both generations are at work.

What a request means is told by its version and not by the level, so that a client which has not noticed goes
on as it was (KIP-890, KIP-1022).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from oncelog.wire.errors import ErrorCode
from tests.support.features import level, set_level
from tests.support.fixtures import MakeTopic
from tests.support.raw import OpenConnection, RawConnection
from tests.support.speaking import (
    TransactionalProducer,
    committed_offset,
    last_stable_offset,
    log_end_offset,
    stored_batches,
)
from tests.support.waiting import wait_for

GENERATIONS = [1, 2]
END_VERSION = {1: 4, 2: 5}
PRODUCE_VERSION = {1: 11, 2: 12}
OFFSETS_VERSION = {1: 3, 2: 5}
LEVELS = {1: (1, 2, 0, 2, 1, 0, 2), 2: (1, 2, 1, 2, 1, 2, 1)}
"""That a producer of a generation goes through, without noticing."""


@pytest.fixture
def admin(open_connection: OpenConnection) -> Iterator[RawConnection]:
    """Leaves the level as every other test expects it."""
    connection = open_connection()
    yield connection
    set_level(connection, 2)


def begin(producer: TransactionalProducer, topic: str, generation: int) -> None:
    if generation == 1:
        assert producer.add(topic) == 0
    assert producer.produce(topic, version=PRODUCE_VERSION[generation]).error_code == 0


def end(producer: TransactionalProducer, generation: int, *, commit: bool = True) -> None:
    assert producer.end(commit, version=END_VERSION[generation]).error_code == 0


def assert_all_ended(connection: RawConnection, topic: str) -> None:
    wait_for(
        lambda: last_stable_offset(connection, topic) == log_end_offset(connection, topic),
        "the end of all transactions",
    )


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_producer_that_has_not_noticed_goes_on(
    connection: RawConnection, admin: RawConnection, make_topic: MakeTopic, unique_name: str, generation: int
) -> None:
    """The level changes between its transactions and within them."""
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    epochs = [producer.epoch]
    for wanted in LEVELS[generation]:
        begin(producer, topic, generation)
        set_level(admin, wanted)
        end(producer, generation)
        epochs.append(producer.epoch)
        begin(producer, topic, generation)
        end(producer, generation, commit=False)
        epochs.append(producer.epoch)
    assert epochs == [epochs[0] + (number if generation == 2 else 0) for number in range(15)]
    assert_all_ended(connection, topic)
    kinds = [header.is_control for header, _ in stored_batches(connection, topic)]
    assert kinds == [False, True] * 14


def test_a_producer_that_follows_the_level_takes_its_epoch_along(
    connection: RawConnection, admin: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    """An epoch that the second generation gave is good in the first, and the other way about."""
    topic = make_topic()
    producer = TransactionalProducer(connection, unique_name)
    first_epoch = producer.epoch
    ends = 0
    for wanted in (1, 2, 0, 2, 1, 2):
        set_level(admin, wanted)
        generation = 2 if level(connection) == 2 else 1
        for commit in (True, False):
            begin(producer, topic, generation)
            end(producer, generation, commit=commit)
            ends += generation == 2
    assert producer.epoch == first_epoch + ends == first_epoch + 6
    assert_all_ended(connection, topic)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_offsets_of_a_transaction_outlive_the_change(
    connection: RawConnection, admin: RawConnection, make_topic: MakeTopic, unique_name: str, generation: int
) -> None:
    topic, group = make_topic(), f"{unique_name}-group"
    producer = TransactionalProducer(connection, unique_name)
    begin(producer, topic, generation)
    if generation == 1:
        assert producer.add_offsets(group) == 0
    assert producer.commit_offset(group, topic, 7, version=OFFSETS_VERSION[generation]) == 0
    set_level(admin, 1)
    end(producer, generation)
    wait_for(lambda: committed_offset(connection, group, topic).offset == 7, "the offset")


@pytest.mark.deliberate_difference(
    "Kafka cannot store what the second generation needs at level 0: it answers UNSUPPORTED_VERSION, and the "
    "transaction is stuck until the coordinator loads anew"
)
def test_at_level_0_the_second_generation_is_served_all_the_same(
    connection: RawConnection, admin: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    """So that nobody is stuck who has not noticed."""
    topic, group = make_topic(partitions=2), f"{unique_name}-group"
    producer = TransactionalProducer(connection, unique_name)
    first_epoch = producer.epoch
    begin(producer, topic, 2)
    set_level(admin, 0)
    assert producer.produce(topic, partition=1, version=12).error_code == 0
    assert producer.commit_offset(group, topic, 7, version=5) == 0
    end(producer, 2)
    end(producer, 2, commit=False)
    begin(producer, topic, 2)
    end(producer, 2)
    assert producer.epoch == first_epoch + 3
    assert committed_offset(connection, group, topic).offset == 7
    assert_all_ended(connection, topic)


def test_a_zombie_is_fenced_whatever_the_level(
    connection: RawConnection, admin: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    zombie = TransactionalProducer(connection, unique_name)
    begin(zombie, topic, 2)
    set_level(admin, 1)
    successor = TransactionalProducer(connection, unique_name)
    begin(successor, topic, 1)
    set_level(admin, 2)
    assert zombie.produce(topic, version=12).error_code == ErrorCode.INVALID_PRODUCER_EPOCH
    assert zombie.end(True, version=5).error_code == ErrorCode.PRODUCER_FENCED
    end(successor, 1)
    assert_all_ended(connection, topic)
