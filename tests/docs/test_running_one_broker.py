"""Pages for those who run a broker do what they say, typed as they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.docs.blocks import ROOT, all_blocks, blocks
from tests.docs.session import Session
from tests.support.topics import create_topic

TUTORIAL, REFERENCE = "docs/running-one-broker.md", "docs/operating.md"
TRANSACTIONS = "docs/transactions.md"


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    made = Session(tmp_path)
    yield made
    made.close()


def test_who_types_the_tutorial_sees_what_it_says(session: Session) -> None:
    session.run(TUTORIAL)


def test_the_alerts_of_the_tutorial_are_about_metrics_that_are_served() -> None:
    """The table of the reference is made from the code."""
    served = set(re.findall(r"^\| `(\w+)`", (ROOT / REFERENCE).read_text(), re.MULTILINE))
    (_, alerts) = blocks(TUTORIAL, "yaml")
    named = set(re.findall(r"oncelog_\w+", alerts))
    assert len(named) == 4
    assert named <= served


def test_the_reference_s_commands_run(session: Session) -> None:
    session.run(REFERENCE)


def test_the_commands_about_transactions_run(session: Session) -> None:
    """They ask what an operator asks who has two open transactions."""
    session.start("oncelog serve --data ./data --admin 127.0.0.1:9644")
    bootstrap = session.here("127.0.0.1:9092")
    create_topic(bootstrap, "orders", 4, {})
    for transactional_id, partition in (("payments-7", 0), ("payments-8", 3)):
        producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": transactional_id})
        producer.init_transactions(20)
        producer.begin_transaction()
        producer.produce("orders", b"never committed", partition=partition)
        assert producer.flush(20) == 0
    for block in all_blocks(TRANSACTIONS):
        if "--data" in block.text:
            session.stop()
        if block.is_run and block.language == "sh":
            session.type(block)
