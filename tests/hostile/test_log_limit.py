"""Log lines of one kind are few in a second, whatever clients do."""

from __future__ import annotations

import logging

from oncelog.broker.log_limit import RateLimit


def line(text: str, *arguments: object, at_s: float = 100.0) -> logging.LogRecord:
    record = logging.LogRecord("oncelog.test", logging.WARNING, __file__, 1, text, arguments, None)
    record.created = at_s
    return record


def test_lines_of_one_kind_are_bounded_and_counted() -> None:
    limit = RateLimit(2)
    assert [limit.filter(line("a batch at %d", offset)) for offset in range(5)] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert limit.filter(line("another line")), "other kinds are not held back"
    later = line("a batch at %d", 7, at_s=101.5)
    assert limit.filter(later)
    assert later.getMessage() == "a batch at 7 (3 lines like this were left out)"
    last = line("a batch at %d", 8, at_s=102.0)
    assert limit.filter(last)
    assert last.getMessage() == "a batch at 8"


def test_lines_without_arguments_are_counted_too() -> None:
    limit = RateLimit(1)
    assert [limit.filter(line("no room")) for _ in range(3)] == [True, False, False]
    later = line("no room", at_s=101.0)
    assert limit.filter(later)
    assert later.getMessage() == "no room (2 lines like this were left out)"
