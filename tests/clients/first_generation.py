"""Every client of first-generation transactions under cut connections, lost, slow and late requests.

`python -m tests.clients.first_generation` (`make first-generation`) tries the guard of broker/overtaken.py
against each: it closes a connection that a producer has left for a newer one, and must break nobody by that.
What is struck is drawn from a seed; the next fault comes when the last one has happened. Afterwards each
committed transaction is there once and whole, no aborted one is, and nothing is held back.
Clients of the second generation go through the same beside them.
`--without-guard` shows what the guard is for: late requests then reach later transactions.
"""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from random import Random
from typing import Any, NamedTuple
from unittest.mock import patch

import oncelog
from oncelog.broker.overtaken import Overtaken
from oncelog.testing.faults import FaultHandle, Faults
from tests.clients.adapters.confluent import ConfluentClient
from tests.clients.conftest import CLIENTS
from tests.clients.java_client import (
    FIRST_GENERATION,
    SECOND_GENERATION,
    JavaMissing,
    JavaTransactions,
)
from tests.clients.scenario import partitions_of, read_everything, values_of
from tests.clients.transacting import (
    ABORT_EVERY,
    RECORDS,
    Outcome,
    ProgramWorker,
    StockWorker,
    Transaction,
    Worker,
    broken,
    held_back,
)
from tests.franz_go.program import Franz, GoMissing
from tests.support.raw import RawConnection
from tests.support.speaking import TransactionalProducer
from tests.support.waiting import NotInTime, wait_for

TOPIC, PARTITIONS = "topic", 3
FRANZ_GO, JAVA = "franz-go", "Java"
FRANZ_GO_SECOND, JAVA_SECOND = "franz-go-v2", "Java-v2"
SECOND = (FRANZ_GO_SECOND, JAVA_SECOND)
"""The same two as they speak the second generation; they have no need of the guard."""
NAMES = (*CLIENTS, FRANZ_GO, JAVA, *SECOND)
APIS = ("EndTxn", "EndTxn", "Produce", "AddPartitionsToTxn")
"""Drawn from; an end does most harm where it does not belong. The last is of the first generation alone."""
LATE_MS_MAX, SLOW_MS_MAX = 300, 400
FAULT_TIMEOUT_S = 15.0
ERRORS_SHOWN = 4
PROGRAM_FLAGS: Mapping[str, object] = {
    "topic": TOPIC,
    "partitions": PARTITIONS,
    "records": RECORDS,
    "abort_every": ABORT_EVERY,
}


class Missing(Exception):
    """Why a client is left out, in words."""


class Report(NamedTuple):
    """What became of one client. closed: connections that the guard has closed. wrong: what must not be."""

    client: str
    transactions: list[Transaction]
    faults: int
    closed: int
    wrong: list[str]

    def errors(self) -> Counter[str]:
        """What the client was told, and how often."""
        return Counter(each.error for each in self.transactions if each.error is not None)

    def row(self) -> str:
        """One line of the table."""
        outcomes = Counter(each.outcome for each in self.transactions)
        counts = [outcomes[outcome] for outcome in Outcome]
        cells = [*counts, self.errors().total(), self.faults, self.closed, len(self.wrong)]
        return f"{self.client:<16}" + "".join(f"{cell:>11}" for cell in cells)


HEAD = f"{'client':<16}" + "".join(
    f"{word:>11}" for word in ("committed", "aborted", "unknown", "errors", "faults", "closed", "wrong")
)


@contextmanager
def worker_of(name: str, bootstrap: str) -> Iterator[Worker]:
    """That client, at work."""
    with ExitStack() as opened:
        if name in (FRANZ_GO, FRANZ_GO_SECOND):
            is_first = name == FRANZ_GO
            try:
                program: Any = Franz(
                    bootstrap,
                    "transactions",
                    id=name,
                    client_id=name,
                    first_generation=is_first,
                    **PROGRAM_FLAGS,
                )
            except GoMissing as missing:
                raise Missing(str(missing)) from None
            yield ProgramWorker(name, opened.enter_context(program))
        elif name in (JAVA, JAVA_SECOND):
            version = FIRST_GENERATION if name == JAVA else SECOND_GENERATION
            try:
                program = JavaTransactions(version, bootstrap, id=name, client_id=name, **PROGRAM_FLAGS)
            except JavaMissing as missing:
                raise Missing(str(missing)) from None
            yield ProgramWorker(name, opened.enter_context(program))
        else:
            module_name, class_name = CLIENTS[name]
            module = import_module(module_name)
            try:
                client = getattr(module, class_name)(bootstrap)
            except getattr(module, "NodeMissing", ()) as missing:
                raise Missing(str(missing)) from None
            opened.callback(client.close)
            yield StockWorker(name, client, TOPIC, PARTITIONS)


@contextmanager
def counted_guard(is_on: bool) -> Iterator[list[int]]:
    """How many requests the guard has kept from being executed."""
    closes = Overtaken.closes
    closed = [0]

    def counting(self: Overtaken, *asked: Any) -> bool:
        if not is_on or not closes(self, *asked):
            return False
        closed[0] += 1
        return True

    with patch.object(Overtaken, "closes", counting):
        yield closed


def strike(faults: Faults, name: str, random: Random) -> FaultHandle:
    """One thing that happens to that client."""
    api = random.choice(APIS[:-1] if name in SECOND else APIS)
    place: dict[str, Any] = {"transactional_id": name, "nth": random.randint(1, 3)}
    kinds: list[Callable[[], FaultHandle]] = [
        lambda: faults.drop_answer(api, **place),
        lambda: faults.drop_request(api, **place),
        lambda: faults.process_late(api, ms=random.randint(1, LATE_MS_MAX), **place),
        lambda: faults.process_late("EndTxn", ms=random.randint(1, LATE_MS_MAX), **place),
        lambda: faults.delay(api, ms=random.randint(1, SLOW_MS_MAX), **place),
        lambda: wait_for(lambda: _cut(faults), "a connection to cut"),
    ]
    return random.choice(kinds)()


def _cut(faults: Faults) -> FaultHandle | None:
    """None where the client has none just now, as after the cut before."""
    cut = faults.cut()
    return cut if cut.has_happened else None


def tried(name: str, faults_count: int, seed: int, *, guard: bool = True) -> Report:
    """That client at work, until so many things have happened to it."""
    random = Random(f"{name} {seed}")
    happened = 0
    with (
        counted_guard(guard) as closed,
        oncelog.Broker(topics={TOPIC: PARTITIONS}) as broker,
        worker_of(name, broker.bootstrap) as worker,
    ):
        faults = Faults(broker)
        wrong = []
        try:
            faults.delay("EndTxn", ms=1, transactional_id=name)
            wait_for(worker.committed, "the first commit", FAULT_TIMEOUT_S)
            for _ in range(faults_count):
                _strike_and_go_on(worker, faults, random)
                happened += 1
            worker.stop()
        except AssertionError as stuck:
            wrong.append(f"{name} is stuck after {happened} faults: {stuck}")
        faults.clear()
        _end_what_is_open(broker.bootstrap, name)
        told = worker.transactions()
        if not wrong:
            wrong = [
                *broken(told, _stored(broker.bootstrap)),
                *held_back(broker.bootstrap, TOPIC, PARTITIONS),
            ]
        return Report(name, told, happened, closed[0], wrong)


def _strike_and_go_on(worker: Worker, faults: Faults, random: Random) -> None:
    """A fault, and a transaction that is committed after it."""
    before = worker.committed()
    struck = strike(faults, worker.name, random)
    try:
        wait_for(
            lambda: struck.has_happened and worker.committed() > before, "the next commit", FAULT_TIMEOUT_S
        )
    except NotInTime as late:
        last = worker.transactions()[-1:]
        raise AssertionError(f"no commit after {struck.sentence or 'a cut'}; last of all: {last}") from late


def _end_what_is_open(bootstrap: str, name: str) -> None:
    """As the next producer of that id would."""
    connection = RawConnection(bootstrap)
    TransactionalProducer(connection, name)
    connection.close()


def _stored(bootstrap: str) -> list[str]:
    reader = ConfluentClient(bootstrap)
    try:
        values = values_of(read_everything(reader, partitions_of(TOPIC, PARTITIONS)))
        return [value.decode() for value in values if value is not None]
    finally:
        reader.close()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.clients.first_generation", description=__doc__)
    parser.add_argument("--only", action="append", choices=NAMES, help="this client; may be repeated")
    parser.add_argument("--faults", type=int, default=200, help="for each client (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--without-guard", action="store_true", help="late requests are executed as they come"
    )
    asked = parser.parse_args()
    logging.disable(logging.ERROR)
    warnings.simplefilter("ignore")
    print(HEAD, flush=True)
    is_wrong = False
    for name in asked.only or NAMES:
        try:
            report = tried(name, asked.faults, asked.seed, guard=not asked.without_guard)
        except Missing as missing:
            print(f"{name:<16} left out: {missing}")
            continue
        print(report.row(), flush=True)
        for error, count in report.errors().most_common(ERRORS_SHOWN):
            print(f"    told {count} times: {error[:150]}")
        for sentence in report.wrong[:10]:
            print(f"    {sentence}")
        is_wrong = is_wrong or bool(report.wrong)
    return 1 if is_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
