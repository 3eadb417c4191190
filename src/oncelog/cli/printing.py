"""How commands print what they found: tables for people, moments in UTC. Must not know what is printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

COLUMN_CHARACTERS_MAX = 100
"""What is longer sticks out: a client may choose a name of 32,767 bytes, and padding is for every row."""


def as_time(milliseconds: int) -> str | None:
    """A moment in UTC; None where there is none, or none that a calendar has."""
    if milliseconds < 0:
        return None
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return None


def as_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Columns in the order in which rows name them."""
    if not rows:
        return "nothing found"
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [[name.upper() for name in names]]
    lines += [[_cell(row.get(name)) for name in names] for row in rows]
    widths = [
        min(max(len(line[column]) for line in lines), COLUMN_CHARACTERS_MAX) for column in range(len(names))
    ]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def printable(text: str) -> str:
    """What clients chose as names must not move the cursor of who reads them."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ",".join(map(_cell, value)) or "-"
    return printable(str(value))
