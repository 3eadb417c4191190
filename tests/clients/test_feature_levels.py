"""The level of transaction.version goes up and down twenty times while clients of both generations commit.

Nothing is lost, stored twice or stuck. tests/raw/test_feature_levels.py has it step by step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

import pytest

from tests.clients.adapters.base import Client
from tests.clients.conftest import CLIENTS
from tests.clients.scenario import partitions_of, read_everything, values_of
from tests.clients.transacting import (
    Outcome,
    ProgramWorker,
    RawWorker,
    StockWorker,
    Transaction,
    Worker,
    broken,
    held_back,
    more,
)
from tests.franz_go.program import Franz, GoMissing
from tests.support.features import level, set_level
from tests.support.raw import RawConnection
from tests.support.server import ServerProcess
from tests.support.topics import create_topic

TOPIC, PARTITIONS = "topic", 3
CHANGES = (1, 2, 0, 2) * 5
BETWEEN = 2
"""Transactions that each client commits between two changes."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data") as server:
        create_topic(server.bootstrap, TOPIC, PARTITIONS, {})
        yield server


@pytest.fixture
def clients(server: ServerProcess) -> Iterator[dict[str, Client]]:
    """Those that are installed here; nothing else is left out."""
    with ExitStack() as opened:
        found = {}
        for name, (module_name, class_name) in CLIENTS.items():
            module = import_module(module_name)
            try:
                found[name] = getattr(module, class_name)(server.bootstrap)
            except getattr(module, "NodeMissing", ()):
                continue
            opened.callback(found[name].close)
        yield found


def franz_workers(bootstrap: str) -> list[Worker]:
    """One that stays, and one that is a new client now and then and learns the level anew."""
    flags = {"topic": TOPIC, "partitions": PARTITIONS, "records": 2, "abort_every": 4}
    names = {"franz-go": 0, "franz-go-anew": 3}
    try:
        return [
            ProgramWorker(
                name,
                Franz(bootstrap, "transactions", id=name, client_id=name, client_every=every, **flags),
            )
            for name, every in names.items()
        ]
    except GoMissing:
        return []


def test_nothing_is_lost_or_stuck_while_the_level_changes(
    server: ServerProcess, clients: dict[str, Client]
) -> None:
    stock: list[Worker] = [StockWorker(name, client, TOPIC, PARTITIONS) for name, client in clients.items()]
    by_hand = [
        RawWorker("second", server.bootstrap, TOPIC, PARTITIONS, generation=2),
        RawWorker("following", server.bootstrap, TOPIC, PARTITIONS),
    ]
    workers = [*stock, *by_hand, *franz_workers(server.bootstrap)]
    admin = RawConnection(server.bootstrap)
    more(workers, BETWEEN)
    for wanted in CHANGES:
        set_level(admin, wanted)
        more(workers, BETWEEN)
    for worker in workers:
        worker.stop()
    assert {worker.name: worker.errors() for worker in workers if worker.errors()} == {}
    assert held_back(server.bootstrap, TOPIC, PARTITIONS) == []
    reader = clients["confluent-kafka"]
    stored = values_of(read_everything(reader, partitions_of(TOPIC, PARTITIONS)))
    told = [transaction for worker in workers for transaction in worker.transactions()]
    assert broken(told, [value.decode() for value in stored if value is not None]) == []
    second, following = by_hand
    assert second.epoch == second.first_epoch + len(second.transactions())
    assert following.epoch == following.first_epoch + following.generations[2]
    assert min(following.generations.values()) > BETWEEN
    assert level(admin) == 2
    admin.close()


def test_the_audit_sees_what_is_wrong() -> None:
    """A check that cannot fail checks nothing."""
    transactions = [
        Transaction(("a", "b"), Outcome.COMMITTED),
        Transaction(("c", "d"), Outcome.ABORTED),
        Transaction(("e", "f"), Outcome.UNKNOWN),
    ]
    assert broken(transactions, ["a", "b"]) == []
    assert broken(transactions, ["a", "b", "e", "f"]) == []
    assert "is there 2 times" in broken(transactions, ["a", "a", "b"])[0]
    assert "only 1 records" in broken(transactions, ["a"])[0]
    assert "aborted transaction" in broken(transactions, ["a", "b", "d"])[0]
    assert "half of" in broken(transactions, ["a", "b", "e"])[0]
    assert "nobody wrote" in broken(transactions, ["a", "b", "z"])[0]
