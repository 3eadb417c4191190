"""Producers and transactions when their broker is killed: nothing is forgotten, nothing done twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from oncelog.wire.errors import ErrorCode
from tests.broker.test_housekeeping import DAY_S, NEVER_MS, client_with_topic, pass_time, remembered
from tests.support.batches import batch
from tests.support.one_process import OneProcess, one_process
from tests.support.speaking import (
    TransactionalProducer,
    batches_in,
    committed_offset,
    fetch,
    idempotent_producer,
    init_producer_id,
    last_stable_offset,
    log_end_offset,
    produce,
)

TOPIC = "t"


@pytest.fixture
def process() -> Iterator[OneProcess]:
    with one_process(connections_max_idle_ms=NEVER_MS) as process:
        process.let_go()
        yield process


def killed(process: OneProcess) -> OneProcess:
    """Another broker with what was durable."""
    successor = process.restarted()
    successor.let_go()
    return successor


def test_the_last_batches_are_known_and_the_next_sequence_is_due(process: OneProcess) -> None:
    client = client_with_topic(process)
    producer = idempotent_producer(client)
    sent = [batch([b"%d" % n], producer_id=producer, epoch=0, sequence=n) for n in range(7)]
    for records in sent:
        assert produce(client, TOPIC, records).error_code == 0
    successor = killed(process)
    client = successor.connect()
    again = [produce(client, TOPIC, records) for records in sent[2:]]
    assert [(answer.error_code, answer.base_offset) for answer in again] == [(0, n) for n in range(2, 7)]
    gap = produce(client, TOPIC, batch(producer_id=producer, epoch=0, sequence=8))
    assert gap.error_code == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert produce(client, TOPIC, batch(producer_id=producer, epoch=0, sequence=7)).base_offset == 7
    assert log_end_offset(client, TOPIC) == 8
    successor.close()


@pytest.mark.parametrize(("produce_version", "end_version"), [(11, 4), (12, 5)])
@pytest.mark.parametrize("commit", [True, False], ids=["commit", "abort"])
def test_an_open_transaction_stays_open_and_goes_on(
    process: OneProcess, produce_version: int, end_version: int, commit: bool
) -> None:
    producer = TransactionalProducer(client_with_topic(process), "id")  # type: ignore[arg-type]
    if produce_version < 12:
        assert producer.add(TOPIC) == 0
    assert producer.produce(TOPIC, [b"before"], version=produce_version).error_code == 0
    successor = killed(process)
    client = producer.connection = successor.connect()  # type: ignore[assignment]
    assert last_stable_offset(client, TOPIC) == 0
    assert producer.produce(TOPIC, [b"after"], version=produce_version).base_offset == 1
    assert producer.end(commit, version=end_version).error_code == 0
    found = fetch(client, TOPIC, read_committed=True)
    assert (found.last_stable_offset, len(batches_in(found.records))) == (3, 3)
    assert [each.first_offset for each in found.aborted_transactions] == ([] if commit else [0])
    successor.close()


@pytest.mark.parametrize("end_version", [4, 5])
@pytest.mark.parametrize("commit", [True, False], ids=["commit", "abort"])
def test_an_end_whose_answer_was_lost_with_the_broker_is_answered_again(
    process: OneProcess, end_version: int, commit: bool
) -> None:
    """Told now that it failed, the client would send the records again."""
    producer = TransactionalProducer(client_with_topic(process), "id")  # type: ignore[arg-type]
    assert producer.add(TOPIC) == 0
    assert producer.produce(TOPIC).error_code == 0
    first = (producer.producer_id, producer.epoch)
    given = producer.end(commit, version=end_version)
    assert given.error_code == 0
    successor = killed(process)
    client = producer.connection = successor.connect()  # type: ignore[assignment]
    again = producer.end(commit, version=end_version, producer_id=first[0], epoch=first[1])
    assert again == given
    opposite = producer.end(not commit, version=end_version, producer_id=first[0], epoch=first[1])
    assert opposite.error_code == ErrorCode.INVALID_TXN_STATE
    assert log_end_offset(client, TOPIC) == 2, "one record and one marker"
    successor.close()


@pytest.mark.parametrize("commit", [True, False], ids=["commit", "abort"])
def test_offsets_of_an_open_transaction_are_still_pending(process: OneProcess, commit: bool) -> None:
    producer = TransactionalProducer(client_with_topic(process), "id")  # type: ignore[arg-type]
    assert producer.commit_offset("g", TOPIC, 5, version=5) == 0
    successor = killed(process)
    client = producer.connection = successor.connect()  # type: ignore[assignment]
    unstable = committed_offset(client, "g", TOPIC, require_stable=True)
    assert unstable.error == ErrorCode.UNSTABLE_OFFSET_COMMIT
    assert committed_offset(client, "g", TOPIC).offset == -1
    assert producer.end(commit, version=5).error_code == 0
    found = committed_offset(client, "g", TOPIC, require_stable=True)
    assert (found.offset, found.error) == (5 if commit else -1, 0)
    successor.close()


def test_producer_ids_are_given_once_over_restarts(process: OneProcess) -> None:
    given = []
    processes = [process]
    for number in range(3):
        client = processes[-1].connect()
        given += [idempotent_producer(client) for _ in range(3)]
        given.append(int(init_producer_id(client, f"id-{number}").producer_id))
        processes.append(killed(processes[-1]))
    assert len(set(given)) == len(given) == 12
    for successor in processes[1:]:
        successor.close()


def test_a_zombie_is_fenced_after_a_restart_as_well(process: OneProcess) -> None:
    zombie = TransactionalProducer(client_with_topic(process), "id")  # type: ignore[arg-type]
    assert zombie.produce(TOPIC, version=12).error_code == 0
    assert init_producer_id(process.connect(), "id").error_code == 0
    successor = killed(process)
    zombie.connection = successor.connect()  # type: ignore[assignment]
    assert zombie.produce(TOPIC, version=12).error_code == ErrorCode.INVALID_PRODUCER_EPOCH
    assert zombie.end(True, version=5).error_code == ErrorCode.PRODUCER_FENCED
    successor.close()


def test_a_transactional_id_outlives_what_partitions_remember_of_its_producer(process: OneProcess) -> None:
    """Its next producer has the same producer id; the partition has forgotten it, fencing has not."""
    client = client_with_topic(process)
    zombie = TransactionalProducer(client, "id")  # type: ignore[arg-type]
    assert zombie.produce(TOPIC, version=12).error_code == 0
    assert zombie.end(True, version=5).error_code == 0
    pass_time(process, 2 * DAY_S)
    assert remembered(process) == set()
    producer = TransactionalProducer(client, "id")  # type: ignore[arg-type]
    assert (producer.producer_id, producer.epoch) == (zombie.producer_id, zombie.epoch + 1)
    late = batch(producer_id=zombie.producer_id, epoch=zombie.epoch, sequence=0, transactional=True)
    refused = produce(client, TOPIC, late, version=12, transactional_id="id")
    assert refused.error_code == ErrorCode.INVALID_PRODUCER_EPOCH
    assert producer.produce(TOPIC, version=12).base_offset == 2
