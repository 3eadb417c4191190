"""evolve: the only writer of the state. Applies one event, when serving and when replaying alike.

What each event means lives in the module of its domain; here they come together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oncelog.machine import configs, groups, producing, topics, transactions
from oncelog.machine.moment import At
from oncelog.machine.state import State
from oncelog.wire.definition import Event

Effect = Callable[[State, Any, At], None]


def _merge(*domains: dict[type, Effect]) -> dict[type, Effect]:
    effects: dict[type, Effect] = {}
    for domain in domains:
        twice = effects.keys() & domain.keys()
        assert not twice, f"evolved by two domains: {sorted(kind.__name__ for kind in twice)}"
        effects.update(domain)
    return effects


EFFECTS = _merge(configs.EVOLVE, topics.EVOLVE, producing.EVOLVE, transactions.EVOLVE, groups.EVOLVE)


def evolve(state: State, event: Event, at: At) -> None:
    """Apply the event; `at` is where evolve stands inside the entry, and moves on with it."""
    EFFECTS[type(event)](state, event, at)
