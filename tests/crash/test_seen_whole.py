"""Transactions are whole to everybody who looks, before and after each kill -9 of a real broker."""

from __future__ import annotations

import random
import time
from functools import partial
from pathlib import Path

import pytest

from tests.crash.real_watching import (
    LOOKS,
    PARTITIONS,
    TOPIC,
    Seen,
    Writer,
    connected,
    keep_looking,
    on_a_connection,
    whole_transactions,
)
from tests.support.server import ServerProcess
from tests.support.topics import create_topic
from tests.support.waiting import wait_for

KILLS = 6
LOOKERS = 3
RUNS_S = (0.05, 0.3)
"""How long a broker that works goes on before it is killed."""


def goes_on(seen: Seen, writer: Writer, committed_before: int, answers_before: int) -> bool:
    return bool(seen.wrong) or (
        writer.committed > committed_before + 2 and seen.answers > answers_before + 20
    )


@pytest.mark.timeout(120)
def test_everybody_sees_all_of_a_transaction_or_nothing_whenever_the_broker_is_killed(tmp_path: Path) -> None:
    chance = random.Random(20)
    server = ServerProcess(tmp_path / "data").start()
    create_topic(server.bootstrap, TOPIC, len(PARTITIONS), {})
    seen = Seen()
    writer = Writer(seen)
    for _ in range(KILLS):
        works = partial(goes_on, seen, writer, writer.committed, seen.answers)
        threads = [on_a_connection(server.bootstrap, writer.write, seen.wrong)]
        threads += [
            on_a_connection(server.bootstrap, keep_looking(seen, random.Random(number)), seen.wrong)
            for number in range(LOOKERS)
        ]
        wait_for(works, "a broker that works")
        time.sleep(chance.uniform(*RUNS_S))  # any moment will do: this is where the kill falls, not a wait
        server.kill()
        for thread in threads:
            thread.join()
        server.start()
        with connected(server.bootstrap) as connection:
            for how in LOOKS:
                seen.look(connection, how)
            assert whole_transactions(connection) >= writer.committed
        assert seen.wrong == []
    server.kill()
    assert writer.committed > 3 * KILLS
