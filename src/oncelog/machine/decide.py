"""decide: a command against the state, to events and a reply. Changes nothing.

The rules live in the module of each domain, which exports them by type of command; here they come together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oncelog.machine import configs, groups, producing, topics, transactions
from oncelog.machine.moment import Time
from oncelog.machine.state import State
from oncelog.wire.definition import Event

Rule = Callable[[State, Any, Time], tuple[list[Event], Any]]


def _merge(*domains: dict[type, Rule]) -> dict[type, Rule]:
    rules: dict[type, Rule] = {}
    for domain in domains:
        twice = rules.keys() & domain.keys()
        assert not twice, f"decided by two domains: {sorted(kind.__name__ for kind in twice)}"
        rules.update(domain)
    return rules


RULES = _merge(configs.DECIDE, topics.DECIDE, producing.DECIDE, transactions.DECIDE, groups.DECIDE)


def decide(state: State, command: Any, time: Time) -> tuple[list[Event], Any]:
    """What the command makes happen, and the reply to it; a refusal is a reply without events."""
    return RULES[type(command)](state, command, time)
