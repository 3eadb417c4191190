"""The diagram of transactions says what the table says: each transition that changes something, no other."""

from __future__ import annotations

import re

from oncelog.docs.transaction_diagram import BEGINS, markdown
from oncelog.machine.state import TransactionState
from oncelog.machine.transaction_table import transitions
from tests.docs.blocks import blocks

ARROW = re.compile(r"^    (\S+) --> (\S+) : (.*)$", re.MULTILINE)


def arrows(diagram: str) -> set[tuple[str, str, str]]:
    """(from, to, what happens), one for each line of a label."""
    return {
        (before, after, trigger)
        for before, after, label in ARROW.findall(diagram.replace(BEGINS, ""))
        for trigger in label.split("<br/>")
    }


def kafka_name(state: TransactionState | None) -> str:
    return "[*]" if state is None else state.kafka_name


def test_the_page_shows_what_the_table_decides() -> None:
    (diagram,) = blocks("docs/architecture.md", "mermaid")
    assert arrows(diagram) == {
        (row.before.kafka_name, kafka_name(row.outcome.after), row.trigger.value)
        for row in transitions()
        if row.outcome.changes
    }


def test_every_answer_stands_in_the_table() -> None:
    lines = [line.strip("| ").split(" | ") for line in markdown().splitlines() if line.startswith("| ")]
    states = [name.removeprefix("in ") for name in lines[0][1:]]
    table = {(state, row[0]): cell for row in lines[1:] for state, cell in zip(states, row[1:], strict=True)}
    rows = list(transitions())
    assert len(table) == len(rows)
    for row in rows:
        cell = table[row.before.kafka_name, row.trigger.value]
        if row.outcome.error:
            assert cell == row.outcome.error.name
        elif not row.outcome.changes:
            assert cell == "answered again"
        else:
            after = row.outcome.after
            assert f"→ {after.kafka_name if after is not None else 'forgotten'}" in cell
            assert cell.endswith(f"+ {row.outcome.epochs}") == bool(row.outcome.epochs)
            assert row.outcome.ending is None or cell.startswith(row.outcome.ending.value)
