"""A broker inside the test's own process: it starts, serves clients of every kind, and leaves no trace."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import kafka
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka import Producer

import oncelog
from oncelog import embedded
from oncelog.broker.options import UsageError
from oncelog.journal import EntryToWrite, JournalError, JournalErrorKind, Written
from oncelog.journal.memory import MemoryJournal
from oncelog.wire.errors import ErrorCode
from tests.support.batches import batch
from tests.support.coordinator_records import partition_of
from tests.support.raw import RawConnection
from tests.support.speaking import (
    TransactionalProducer,
    commit_offsets,
    committed_offset,
    log_end_offset,
    produce,
    produce_request,
    stored_batches,
)
from tests.support.topics import create_topic
from tests.support.waiting import wait_for


def send(broker: oncelog.Broker, topic: str, *values: bytes) -> None:
    """By confluent-kafka, which has threads of its own and blocks its caller."""
    errors: list[Any] = []
    producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 0})
    for value in values:
        producer.produce(topic, value, partition=0, on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(10) == 0
    assert errors == [None] * len(values)


def poll_one(broker: oncelog.Broker, topic: str) -> bytes:
    """By kafka-python, whose poll() runs in the caller's thread."""
    consumer = kafka.KafkaConsumer(
        topic, bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest", group_id=None
    )
    try:
        found: dict[Any, list[Any]] = {}
        while not found:
            found = consumer.poll(timeout_ms=5000, max_records=1)
        ((record,),) = found.values()
        return bytes(record.value)
    finally:
        consumer.close()


def test_blocking_clients_in_a_with_block() -> None:
    with oncelog.Broker(topics=["orders"]) as broker:
        send(broker, "orders", b"one")
        assert poll_one(broker, "orders") == b"one"


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_each_event_loop_serves_and_goes_on_after_a_crash(tmp_path: Path, loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not there for this Python")
    with oncelog.Broker(tmp_path / "data", topics=["orders"], loop=loop) as broker:
        assert type(broker._loop).__module__.partition(".")[0] == loop
        send(broker, "orders", b"one")
        broker.crash()
        assert poll_one(broker, "orders") == b"one"


def test_a_loop_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(oncelog.CannotStart, match="uvloop is not installed"):
        oncelog.Broker(loop="uvloop").start()
    with oncelog.Broker(topics=["orders"]) as broker:
        assert type(broker._loop).__module__.partition(".")[0] == "asyncio"


def test_blocking_clients_inside_an_async_function_return() -> None:
    async def main() -> None:
        async with oncelog.Broker(topics=["orders"]) as broker:
            send(broker, "orders", b"one")
            assert poll_one(broker, "orders") == b"one"

    asyncio.run(main())


def test_a_client_on_the_programs_own_loop() -> None:
    async def main() -> None:
        async with oncelog.Broker(topics={"orders": 2}) as broker:
            async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
                await producer.send_and_wait("orders", b"one", partition=1)
            async with AIOKafkaConsumer(
                "orders", bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest"
            ) as consumer:
                assert (await consumer.getone()).value == b"one"

    asyncio.run(main())


def event_loop_policy() -> Any:
    """None where Python has none any more; asking for it is deprecated since 3.14."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return getattr(asyncio, "get_event_loop_policy", lambda: None)()


def test_it_changes_nothing_global() -> None:
    def facts() -> list[Any]:
        return [
            gc.isenabled(),
            gc.get_threshold(),
            gc.get_freeze_count(),
            sys.getswitchinterval(),
            {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)},
            event_loop_policy(),
            list(logging.getLogger().handlers),
            logging.getLogger().level,
            logging.getLogger("oncelog").handlers,
        ]

    before, threads_before = facts(), set(threading.enumerate())
    with oncelog.Broker() as broker:
        create_topic(broker.bootstrap, "t", 1, {})
        assert facts() == before
    assert facts() == before
    assert set(threading.enumerate()) <= threads_before


def test_importing_the_package_loads_no_broker() -> None:
    program = "import sys, oncelog; print(any(name.startswith('oncelog.broker') for name in sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", program]) == b"False\n"


def test_a_data_directory_outlives_the_broker(tmp_path: Path) -> None:
    for value in (b"first", b"second"):
        with oncelog.Broker(tmp_path / "data", topics=["kept"]) as broker:
            send(broker, "kept", value)
    with oncelog.Broker(tmp_path / "data") as broker:
        connection = RawConnection(broker.bootstrap)
        assert log_end_offset(connection, "kept") == 2
        connection.close()


def test_a_second_broker_on_a_directory_is_refused(tmp_path: Path) -> None:
    with (
        oncelog.Broker(tmp_path / "data"),
        pytest.raises(JournalError, match="is in use"),
        oncelog.Broker(tmp_path / "data"),
    ):
        pass


def test_a_full_memory_refuses_as_a_full_disk_does() -> None:
    with oncelog.Broker(topics=["t"], memory_bytes_max=1 << 20) as broker:
        connection = RawConnection(broker.bootstrap)
        producer = TransactionalProducer(connection, "still ends")
        producer.produce("t", version=12)
        answers = [produce(connection, "t", batch([bytes(1000)])).error_code for _ in range(1100)]
        assert ErrorCode.NOT_ENOUGH_REPLICAS in answers[900:]
        assert answers[0] == 0
        assert producer.end(True, version=5).error_code == 0
        connection.close()


def test_small_entries_stop_short_of_the_reserve_too() -> None:
    with oncelog.Broker(topics=["t"], memory_bytes_max=1 << 20) as broker:
        snapshot = broker.snapshot()
        connection = RawConnection(broker.bootstrap)
        answers = [0]
        while answers[-1] == 0 and len(answers) < 10_000:
            answers.append(produce(connection, "t", batch()).error_code)
        assert answers[-1] == ErrorCode.NOT_ENOUGH_REPLICAS
        connection.close()
        broker.restore(snapshot)
        connection = RawConnection(broker.bootstrap)
        assert produce(connection, "t", batch()).error_code == 0
        connection.close()


# -- snapshots --


def test_a_snapshot_brings_back_topics_records_and_offsets() -> None:
    with oncelog.Broker(topics=["t"]) as broker:
        connection = RawConnection(broker.bootstrap)
        produce(connection, "t", batch([b"before"]))
        snapshot = broker.snapshot()
        produce(connection, "t", batch([b"after"]))
        create_topic(broker.bootstrap, "later", 1, {})
        producer = TransactionalProducer(connection, "t")
        producer.commit_offset("g", "t", 1, version=5)
        producer.end(True, version=5)
        for _ in range(2):
            broker.restore(snapshot)
            assert connection.is_closed_by_broker()
            connection = RawConnection(broker.bootstrap)
            ((_, stored),) = stored_batches(connection, "t")
            assert b"before" in stored
            assert committed_offset(connection, "g", "t").offset == -1
            create_topic(broker.bootstrap, "later", 1, {})
            assert produce(connection, "t", batch([b"anew"])).base_offset == 1
        connection.close()


def test_a_snapshot_brings_back_internal_topics() -> None:
    """What was told after it is told no more, and its offsets are given anew."""
    partition = partition_of("g")
    with oncelog.Broker(topics=["t"]) as broker:
        connection = RawConnection(broker.bootstrap)
        commit_offsets(connection, "g", ("t", 0, 1))
        before = stored_batches(connection, "__consumer_offsets", partition)
        snapshot = broker.snapshot()
        for offset in (2, 3):
            commit_offsets(connection, "g", ("t", 0, offset))
            assert stored_batches(connection, "__consumer_offsets", partition) != before
            broker.restore(snapshot)
            connection.close()
            connection = RawConnection(broker.bootstrap)
            assert stored_batches(connection, "__consumer_offsets", partition) == before
            commit_offsets(connection, "g", ("t", 0, offset))
            assert log_end_offset(connection, "__consumer_offsets", partition) == 2
            broker.restore(snapshot)
            connection = RawConnection(broker.bootstrap)
        connection.close()


def test_a_snapshot_is_of_one_broker_in_memory(tmp_path: Path) -> None:
    with (
        oncelog.Broker() as one,
        oncelog.Broker() as other,
        pytest.raises(UsageError, match="another broker"),
    ):
        other.restore(one.snapshot())
    with oncelog.Broker(tmp_path / "data") as durable, pytest.raises(UsageError, match="in memory"):
        durable.snapshot()


def test_a_snapshot_that_an_earlier_ones_restore_forgot_is_refused_and_the_broker_goes_on() -> None:
    with oncelog.Broker(topics=["t"]) as broker:
        empty = broker.snapshot()
        send(broker, "t", b"one")
        one = broker.snapshot()
        broker.restore(empty)
        with pytest.raises(UsageError, match="restored to an earlier one"):
            broker.restore(one)
        send(broker, "t", b"other", b"other")
        again = broker.snapshot()
        with pytest.raises(UsageError, match="restored to an earlier one"):
            broker.restore(one)
        broker.restore(again)
        broker.restore(empty)
        send(broker, "t", b"served")
        broker.restore(empty)


# -- misuse and failure --


def test_what_cannot_be_meant_is_refused_with_a_sentence() -> None:
    with pytest.raises(UsageError, match="there is no option num_partition; did you mean num_partitions"):
        oncelog.Broker(num_partition=3)
    with pytest.raises(UsageError, match="listen='nowhere' is not HOST:PORT"):
        oncelog.Broker(listen="nowhere")
    with pytest.raises(UsageError, match="topic 'no/name' with 1 partitions: INVALID_TOPIC_EXCEPTION"):
        oncelog.Broker(topics=["no/name"]).start()
    with pytest.raises(UsageError, match=r"several names are meant, such as \['orders'\]"):
        oncelog.Broker(topics="orders")
    with pytest.raises(UsageError, match="memory_bytes_max=1048575 is less than 1048576"):
        oncelog.Broker(memory_bytes_max=(1 << 20) - 1)
    with pytest.raises(UsageError, match="data='' must not be empty"):
        oncelog.Broker("")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("num_partitions", "3", "'3' is not what the option takes: N"),
        ("num_partitions", 0, "0 is not between 1 and 2147483647"),
        ("loop", "turbo", "'turbo' is none of auto, uvloop, asyncio"),
        ("auto_create_topics_enable", "no", "'no' is not what the option takes: true|false"),
        ("disk_reserve_bytes", None, "None "),
    ],
)
def test_a_value_that_an_option_cannot_have_is_refused(name: str, value: Any, reason: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"{name}={reason}")):
        oncelog.Broker(**{name: value})


def test_a_broker_is_entered_once() -> None:
    broker = oncelog.Broker()
    with broker, pytest.raises(UsageError, match="started once"):
        broker.start()
    broker.stop()
    with pytest.raises(UsageError, match="not running"):
        broker.snapshot()


def test_an_address_in_use_is_told() -> None:
    with oncelog.Broker() as broker, pytest.raises(oncelog.CannotStart, match="cannot listen on"):
        oncelog.Broker(listen=broker.bootstrap).start()


# -- what becomes of it when its program does not go the usual way --


def test_a_program_that_is_cancelled_while_it_leaves_has_the_broker_stopped(tmp_path: Path) -> None:
    broker = oncelog.Broker(tmp_path / "data")

    async def main() -> None:
        await broker.__aenter__()
        leaving = asyncio.create_task(broker.__aexit__(None, None, None))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving

    asyncio.run(main())
    broker.stop()
    with oncelog.Broker(tmp_path / "data"):
        pass


@pytest.mark.parametrize("is_started", [False, True])
def test_a_program_that_is_cancelled_while_it_enters_leaves_no_broker(
    tmp_path: Path, is_started: bool
) -> None:
    broker = oncelog.Broker(tmp_path / "data")

    async def main() -> None:
        entering = asyncio.create_task(broker.__aenter__())
        await asyncio.sleep(0)
        if is_started:
            broker._started.result(10)  # blocks this loop, so that the task learns of both at once
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering

    asyncio.run(main())
    broker._ended.result(10)
    assert broker.failure is None
    with oncelog.Broker(tmp_path / "data"):
        pass


def test_what_cannot_start_leaves_no_thread(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with pytest.raises(UsageError, match="INVALID_TOPIC_EXCEPTION"):
        oncelog.Broker(tmp_path / "data", topics=["no/name"]).start()
    with oncelog.Broker() as broker, pytest.raises(oncelog.CannotStart):
        oncelog.Broker(tmp_path / "data", listen=broker.bootstrap).start()
    wait_for(lambda: set(threading.enumerate()) == before, "the threads to end")


FORKING = """
import os, oncelog
with oncelog.Broker() as broker:
    child = os.fork()
    if child == 0:
        try:
            broker.snapshot()
        except oncelog.UsageError as error:
            print(error, flush=True)
    else:
        assert os.waitpid(child, 0)[1] == 0
        broker.snapshot()
        print("the parent's goes on")
if child == 0:
    os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system doesn't fork")
def test_a_forked_child_leaves_the_block_and_its_parents_broker_alone() -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING], capture_output=True, text=True, timeout=60
    )
    assert ran.stdout.splitlines() == [
        "the broker is in the process that started it, and this one was forked from that",
        "the parent's goes on",
    ], ran.stderr


class FailingJournal(MemoryJournal):
    """Its third append fails, as a disk may."""

    def append(self, entry: EntryToWrite, confirm: Any) -> None:
        if entry.position >= 3:
            error = JournalError(JournalErrorKind.WRITE_FAILED, "the disk said no")
            self._post(confirm, Written(entry.position, b"", error))
        else:
            super().append(entry, confirm)


def test_a_failed_broker_tells_its_owner_and_leaves_the_program_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(embedded, "MemoryJournal", FailingJournal)
    broker = oncelog.Broker(topics=["t"]).start()
    connection = RawConnection(broker.bootstrap)
    assert produce(connection, "t", batch()).error_code == 0
    connection.send(produce_request([("t", 0, batch())]), 9)
    assert connection.is_closed_by_broker(), "nothing is acknowledged any more"
    with pytest.raises(oncelog.BrokerFailed, match="the disk said no"):
        broker.stop()
    assert isinstance(broker.failure, JournalError)
