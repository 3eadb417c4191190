"""What the broker remembers of refused batches of first-generation transactions: how much, and how long.

That it keeps later batches out is in tests/raw/test_transactions_v1.py, of which Apache Kafka is asked too.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from oncelog.broker import refused_batches
from oncelog.wire.errors import ErrorCode
from tests.broker.test_housekeeping import client_with_topic
from tests.support.batches import SEQUENCE_MAX, batch
from tests.support.one_process import Client, OneProcess, one_process
from tests.support.speaking import TransactionalProducer, idempotent_producer, produce

TOPIC = "t"
IDLE_MS = 60_000
REFUSED, OUT_OF_ORDER = ErrorCode.TRANSACTION_ABORTABLE, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


@pytest.fixture
def process() -> Iterator[OneProcess]:
    with one_process(producer_id_expiration_ms=IDLE_MS) as process:
        process.let_go()
        yield process
        assert process.errors == []
        assert process.failures == []


def producer_of(client: Client, name: str = "id") -> TransactionalProducer:
    return TransactionalProducer(client, name)  # type: ignore[arg-type]


def test_a_full_disk_lets_no_later_batch_in_before_the_refused_one(process: OneProcess) -> None:
    """Both were on their way when there was no room, and there was room when the second came."""
    client = client_with_topic(process)
    producer = producer_of(client)
    assert producer.add(TOPIC) == 0
    batches = [producer.batch(TOPIC, [b"%d" % number]) for number in range(2)]

    def send(records: bytes) -> int:
        return int(produce(client, TOPIC, records, transactional_id="id").error_code)  # type: ignore[arg-type]

    process.broker.disk_space.is_nearly_full = True
    assert send(batches[0]) == ErrorCode.NOT_ENOUGH_REPLICAS
    process.broker.disk_space.is_nearly_full = False
    assert send(batches[1]) == OUT_OF_ORDER
    assert [send(records) for records in batches] == [0, 0]


def test_a_full_disk_keeps_the_order_of_an_idempotent_producer(process: OneProcess) -> None:
    client = client_with_topic(process)
    producer = idempotent_producer(client)  # type: ignore[arg-type]
    batches = [batch(producer_id=producer, epoch=0, sequence=sequence) for sequence in range(2)]

    def send(records: bytes) -> int:
        return int(produce(client, TOPIC, records).error_code)  # type: ignore[arg-type]

    process.broker.disk_space.is_nearly_full = True
    assert send(batches[0]) == ErrorCode.NOT_ENOUGH_REPLICAS
    process.broker.disk_space.is_nearly_full = False
    assert send(batches[1]) == OUT_OF_ORDER
    assert [send(records) for records in batches] == [0, 0]


def test_sequences_that_begin_anew_come_after_the_largest(process: OneProcess) -> None:
    """A forgotten producer may be that far: what was refused first is not the lowest number then."""
    client = client_with_topic(process)
    producer = idempotent_producer(client)  # type: ignore[arg-type]
    batches = [batch(producer_id=producer, epoch=0, sequence=sequence) for sequence in (SEQUENCE_MAX, 0)]

    def send(records: bytes) -> int:
        return int(produce(client, TOPIC, records).error_code)  # type: ignore[arg-type]

    process.broker.disk_space.is_nearly_full = True
    assert [send(records) for records in batches] == [ErrorCode.NOT_ENOUGH_REPLICAS] * 2
    process.broker.disk_space.is_nearly_full = False
    assert send(batches[1]) == OUT_OF_ORDER
    assert [send(records) for records in batches] == [0, 0]


def test_what_an_idempotent_producer_gives_up_keeps_nobody_out(process: OneProcess) -> None:
    """Without a transaction only a refusal for want of room is sent again."""
    client = client_with_topic(process)
    producer = idempotent_producer(client)  # type: ignore[arg-type]
    early = batch(producer_id=producer, epoch=0, sequence=0, timestamps_ms=[2**61])
    assert produce(client, TOPIC, early).error_code == ErrorCode.INVALID_TIMESTAMP  # type: ignore[arg-type]
    later = batch(producer_id=producer, epoch=0, sequence=1)
    assert produce(client, TOPIC, later).error_code == 0  # type: ignore[arg-type]


def test_a_restart_has_forgotten_it(process: OneProcess) -> None:
    """Nothing of a refusal is journaled."""
    client = client_with_topic(process)
    producer = producer_of(client)
    entries = len(process.journal.confirmed)
    assert producer.produce(TOPIC).error_code == REFUSED
    assert len(process.journal.confirmed) == entries
    assert producer.add(TOPIC) == 0
    assert producer.produce(TOPIC).error_code == OUT_OF_ORDER
    restarted = process.restarted()
    producer.connection = restarted.connect()  # type: ignore[assignment]
    assert producer.produce(TOPIC).error_code == 0
    restarted.close()


def test_it_is_forgotten_when_an_idle_producer_would_be(process: OneProcess) -> None:
    producer = producer_of(client_with_topic(process))
    assert producer.produce(TOPIC).error_code == REFUSED
    process.advance(IDLE_MS / 1000 - 2, step_s=1)
    assert producer.add(TOPIC) == 0
    assert producer.produce(TOPIC).error_code == OUT_OF_ORDER
    process.advance(2, step_s=1)
    assert producer.produce(TOPIC).error_code == 0


def test_what_is_forgotten_makes_room_for_what_is_refused_later(process: OneProcess) -> None:
    producer = producer_of(client_with_topic(process))
    assert producer.produce(TOPIC).error_code == REFUSED
    process.advance(IDLE_MS / 1000 + 1, step_s=1)
    producer.sequences[TOPIC, 0] = 5
    assert producer.produce(TOPIC).error_code == REFUSED
    assert producer.add(TOPIC) == 0
    producer.sequences[TOPIC, 0] = 6
    assert producer.produce(TOPIC).error_code == OUT_OF_ORDER


def test_only_so_much_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was refused first is forgotten first."""
    monkeypatch.setattr(refused_batches.RefusedBatches.__init__, "__defaults__", (2,))
    with one_process() as process:
        process.let_go()
        client = client_with_topic(process, partitions=3)
        producer = producer_of(client)
        for partition in range(3):
            assert producer.produce(TOPIC, partition=partition).error_code == REFUSED
        assert producer.add(TOPIC, range(3)) == 0
        told = [producer.produce(TOPIC, partition=partition).error_code for partition in range(3)]
        assert told == [0, OUT_OF_ORDER, OUT_OF_ORDER]


def test_who_nobody_knows_takes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be it refused by the machine, or for its size before that."""
    monkeypatch.setattr(refused_batches.RefusedBatches.__init__, "__defaults__", (1,))
    with one_process() as process:
        process.let_go()
        client = client_with_topic(process)
        producer = producer_of(client)
        assert producer.produce(TOPIC).error_code == REFUSED
        stranger = producer_of(client, "other")
        stranger.producer_id += 1_000
        assert stranger.produce(TOPIC).error_code == ErrorCode.INVALID_PRODUCER_ID_MAPPING
        assert stranger.produce(TOPIC, [b"x" * 2_000_000]).error_code == ErrorCode.MESSAGE_TOO_LARGE
        assert producer.add(TOPIC) == 0
        assert producer.produce(TOPIC).error_code == OUT_OF_ORDER
