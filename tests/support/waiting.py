"""Waiting for a fact in a test: ask again until it holds or the time is up.

Knows nothing of brokers or clients. A test never sleeps for a while and hopes; it waits for what it needs,
and says what it last saw when that does not come.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class NotInTime(AssertionError):
    """What a test waited for did not come."""


def wait_for(probe: Callable[[], T], what: str, timeout_s: float = 15.0, pause_s: float = 0.02) -> T:
    """Call probe until it returns something true and return that. `what` names it in the failure."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise NotInTime(f"{what} did not come within {timeout_s} s; last seen: {value!r}")
        time.sleep(pause_s)
