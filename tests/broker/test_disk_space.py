"""A nearly full disk: what grows the log is refused retriably, what ends things goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from oncelog.broker.deadlines import Deadlines
from oncelog.broker.disk_space import DiskSpace
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.init_producer_id import InitProducerIdRequest
from tests.support.batches import batch
from tests.support.raw import RawConnection
from tests.support.server import ServerProcess
from tests.support.speaking import produce
from tests.support.topics import create_topic

MORE_THAN_ANY_DISK = str(1 << 50)


class Disk:
    def __init__(self, free_bytes: int) -> None:
        self.left = free_bytes
        self.looks = 0

    def free_bytes(self) -> int:
        self.looks += 1
        return self.left


async def watch(disk: Disk) -> DiskSpace:
    return DiskSpace(disk.free_bytes, 1000, Deadlines(asyncio.get_running_loop(), pytest.fail))


def test_the_reserve_is_left_alone() -> None:
    assert not asyncio.run(watch(Disk(1000))).is_nearly_full
    assert asyncio.run(watch(Disk(999))).is_nearly_full


def test_it_looks_again_when_much_was_written() -> None:
    disk = Disk(1000)
    space = asyncio.run(watch(disk))
    disk.left = 999
    space.wrote(249)
    assert (disk.looks, space.is_nearly_full) == (1, False)
    space.wrote(1)
    assert (disk.looks, space.is_nearly_full) == (2, True)
    disk.left = 1000
    space.wrote(250)
    assert not space.is_nearly_full


@pytest.mark.parametrize("transactional_id", [None, "t"])
def test_a_broker_with_a_nearly_full_disk_refuses_so_that_clients_try_again(
    tmp_path: Path, transactional_id: str | None
) -> None:
    options = ("--disk-reserve-bytes", MORE_THAN_ANY_DISK)
    with ServerProcess(tmp_path / "data", options=options) as server:
        create_topic(server.bootstrap, "full", 1, {})
        connection = RawConnection(server.bootstrap)
        assert produce(connection, "full", batch()).error_code == ErrorCode.NOT_ENOUGH_REPLICAS
        answer = connection.call(
            InitProducerIdRequest(transactional_id=transactional_id, transaction_timeout_ms=1000), 4
        )
        assert answer.error_code == ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
        connection.close()
        assert "nearly full" in server.output()
