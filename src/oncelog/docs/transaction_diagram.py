"""The life of a transactional id as docs/architecture.md shows it: a diagram, and the whole table behind it.

Both are made from the table that decides (`machine/transaction_table.py`). The diagram leaves out what
changes nothing; the table has every answer. Must not know how a transition becomes an event.
"""

from __future__ import annotations

from collections.abc import Iterable

from oncelog.machine.state import TransactionState
from oncelog.machine.transaction_table import Outcome, Transition, Trigger, transitions

BEGINS = "    [*] --> Empty : InitProducerId of a new transactional id"
"""Before it the state knows nothing of the id, so the table has no row for it."""
FORGOTTEN = "[*]"


def markdown() -> str:
    """The diagram and the table."""
    rows = list(transitions())
    return (
        "```mermaid\n"
        f"{_diagram(rows)}\n"
        "```\n\n"
        'What follows in which state; a cell without an arrow changes nothing. "Again" is a retry by a\n'
        "sender that still holds the epoch from before; + n is how many epochs the producer moves on.\n\n"
        f"{_table(rows)}\n"
    )


def _diagram(rows: Iterable[Transition]) -> str:
    """One arrow for each pair of states, with all that leads from the one to the other."""
    labels: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.outcome.changes:
            arrow = row.before.kafka_name, _state(row.outcome.after)
            labels.setdefault(arrow, []).append(row.trigger.value)
    arrows = [
        f"    {before} --> {after} : {'<br/>'.join(triggers)}" for (before, after), triggers in labels.items()
    ]
    return "\n".join(["stateDiagram-v2", BEGINS, *arrows])


def _table(rows: Iterable[Transition]) -> str:
    cells: dict[Trigger, dict[TransactionState, str]] = {}
    for row in rows:
        cells.setdefault(row.trigger, {})[row.before] = _cell(row.outcome)
    states = list(TransactionState)
    lines = [
        "| what happens | " + " | ".join(f"in {state.kafka_name}" for state in states) + " |",
        "|---" * (len(states) + 1) + "|",
    ]
    for trigger, by_state in cells.items():
        lines.append(f"| {trigger.value} | " + " | ".join(by_state[state] for state in states) + " |")
    return "\n".join(lines)


def _cell(outcome: Outcome) -> str:
    if not outcome.changes:
        return outcome.error.name if outcome.error else "answered again"
    arrow = "→ forgotten" if outcome.after is None else f"→ {outcome.after.kafka_name}"
    ending = "" if outcome.ending is None else f"{outcome.ending.value} "
    epochs = f" + {outcome.epochs}" if outcome.epochs else ""
    return f"{ending}{arrow}{epochs}"


def _state(state: TransactionState | None) -> str:
    return FORGOTTEN if state is None else state.kafka_name
