"""Tables that commands print: what they hold was named by clients."""

from __future__ import annotations

from oncelog.cli.printing import as_table


def test_one_long_name_does_not_widen_every_row() -> None:
    rows = [{"id": "x" * 32_767, "state": "Empty"}] + [{"id": "y" * 100, "state": "Ongoing"}] * 1000
    header, longest, *others = as_table(rows).splitlines()
    assert longest == "x" * 32_767 + "  Empty"
    assert header.index("STATE") == 102
    assert set(others) == {"y" * 100 + "  Ongoing"}
