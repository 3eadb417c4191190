"""What takes its time: groups that wait for more members, a feature level that changes while clients run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from oncelog.wire.messages.find_coordinator import FindCoordinatorRequest
from oncelog.wire.messages.update_features import FeatureUpdateKey, UpdateFeaturesRequest
from tests.broker.test_housekeeping import client_with_topic
from tests.broker.test_races import join, joined
from tests.support.one_process import Client, OneProcess, one_process
from tests.support.speaking import (
    TransactionalProducer,
    batches_in,
    fetch,
    last_stable_offset,
)

INITIAL_DELAY_MS = 3_000
SAFE_DOWNGRADE, UPGRADE = 2, 1
GROUP_KEY, TRANSACTION_KEY = 0, 1


@pytest.fixture
def process() -> Iterator[OneProcess]:
    with one_process(group_initial_rebalance_delay_ms=INITIAL_DELAY_MS) as process:
        process.let_go()
        yield process
        assert process.errors == []
        assert process.failures == []


def test_the_first_members_of_a_group_wait_for_each_other(process: OneProcess) -> None:
    """Each newcomer lengthens the wait; all get one generation, and only its leader is told who they are."""
    clients = [process.connect() for _ in range(3)]
    join(clients[0], version=3)
    process.advance(2.9)
    assert clients[0].answers() == []
    join(clients[1], version=3)
    process.advance(1.0)
    join(clients[2], version=3)
    process.advance(2.0)
    assert [client.answers() for client in clients] == [[], [], []]
    process.advance(4.0)
    answers = [joined(client) for client in clients]
    assert [(answer.error_code, answer.generation_id) for answer in answers] == [(0, 1)] * 3
    leaders = [answer for answer in answers if answer.leader == answer.member_id]
    assert [len(answer.members) for answer in leaders] == [3]
    assert sorted(len(answer.members) for answer in answers) == [0, 0, 3]


def test_one_that_stays_alone_waits_no_longer_than_the_delay(process: OneProcess) -> None:
    client = process.connect()
    join(client, version=3)
    process.advance(INITIAL_DELAY_MS / 1000 - 0.1)
    assert client.answers() == []
    process.advance(0.2)
    assert joined(client).generation_id == 1


def set_level(client: Client, level: int, upgrade_type: int) -> None:
    update = FeatureUpdateKey(
        feature="transaction.version", max_version_level=level, upgrade_type=upgrade_type
    )
    assert client.call(UpdateFeaturesRequest(feature_updates=[update]), 1).error_code == 0


def test_transactions_go_on_while_their_feature_level_goes_down_and_up(process: OneProcess) -> None:
    """Whoever had not heard of it ends the transaction as it was begun; the next one follows the level."""
    client = client_with_topic(process)
    first = TransactionalProducer(client, "first")  # type: ignore[arg-type]
    second = TransactionalProducer(client, "second")  # type: ignore[arg-type]
    assert first.produce("t", [b"0"], version=12).error_code == 0
    assert second.produce("t", [b"1"], version=12).error_code == 0
    set_level(client, 1, SAFE_DOWNGRADE)
    assert first.end(True, version=5).error_code == 0
    assert second.end(False, version=5).error_code == 0
    for producer in (first, second):
        assert producer.add("t") == 0
        assert producer.produce("t", [b"2"], version=11).error_code == 0
    set_level(client, 2, UPGRADE)
    assert first.end(True, version=4).error_code == 0
    assert second.end(False, version=4).error_code == 0
    assert first.produce("t", [b"3"], version=12).error_code == 0
    assert first.end(True, version=5).error_code == 0
    found = fetch(client, "t", read_committed=True)
    assert last_stable_offset(client, "t") == 10
    data = [
        (header.base_offset, header.producer_id)
        for header, _ in batches_in(found.records)
        if not header.is_control
    ]
    assert [offset for offset, producer_id in data if producer_id == first.producer_id] == [0, 4, 8]
    aborted = [(each.producer_id, each.first_offset) for each in found.aborted_transactions]
    assert aborted == [(second.producer_id, 1), (second.producer_id, 5)]


@pytest.mark.parametrize("key_type", [GROUP_KEY, TRANSACTION_KEY])
def test_a_coordinator_is_there_from_the_first_question_on(process: OneProcess, key_type: int) -> None:
    """Kafka first creates the topic that it keeps its state in, and has clients ask again meanwhile."""
    for number in range(20):
        client = process.connect()
        answer = client.call(FindCoordinatorRequest(key=f"key-{number % 10}", key_type=key_type), 2)
        assert (answer.error_code, answer.node_id) == (0, 1)
        assert (answer.host, answer.port) == ("broker.test", 9092)
