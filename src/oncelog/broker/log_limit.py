"""A bound on log lines of one kind: what a client can cause, it can cause a thousand times a second.

Knows log records only, and takes the time from them.
"""

from __future__ import annotations

import logging


class RateLimit(logging.Filter):
    """Lets `lines_per_s` lines of one template pass in a second; the next to pass tells how many did not."""

    def __init__(self, lines_per_s: int) -> None:
        super().__init__()
        self._lines_per_s = lines_per_s
        self._seen: dict[tuple[str, str], tuple[int, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        template = str(record.msg)
        second, count = self._seen.get((record.name, template), (0, 0))
        if int(record.created) != second:
            left_out = count - self._lines_per_s
            if left_out > 0:
                record.msg = f"{template} (%d lines like this were left out)"
                record.args = (*_arguments(record), left_out)
            second, count = int(record.created), 0
        self._seen[record.name, template] = (second, count + 1)
        return count < self._lines_per_s


def _arguments(record: logging.LogRecord) -> tuple[object, ...]:
    return record.args if isinstance(record.args, tuple) else (record.args,)
