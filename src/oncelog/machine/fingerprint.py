"""Fingerprints: whether two states are equal, field for field (law 2), and where they differ.

Walks the slots of the state's classes, so that a new field is compared without anybody thinking of it. Leaves
out references back to the owner, and caches (names that begin with an underscore, except in the packed
tables, which give their own bytes). It must not know what a field means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from hashlib import sha256
from typing import Any

from oncelog.machine.aborted_index import AbortedIndex
from oncelog.machine.extents import Extents
from oncelog.machine.life import Lives
from oncelog.machine.state import InternalTopic, State

Leaf = tuple[str, str]
"""Where a value stands, and the value."""


def state_leaves(state: State) -> Iterator[Leaf]:
    """Every plain value in the state by its path; dicts and sets in sorted order."""
    return _leaves("state", state)


def state_fingerprint(state: State) -> str:
    """A hash over everything in the state; equal states have equal ones, in whatever order they grew."""
    digest = sha256()
    for path, value in state_leaves(state):
        digest.update(f"{path}={value}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def state_differences(one: State, other: State) -> list[str]:
    """A line for each value that the two states don't share; empty where they are equal."""
    ours, theirs = dict(state_leaves(one)), dict(state_leaves(other))
    return [
        f"{path}: {ours.get(path, 'absent')} and {theirs.get(path, 'absent')}"
        for path in sorted(ours.keys() | theirs.keys())
        if ours.get(path) != theirs.get(path)
    ]


def _leaves(path: str, value: Any) -> Iterator[Leaf]:
    if value is None or isinstance(value, (int, float, str, bytes, Enum)):
        yield path, repr(value)
    elif isinstance(value, (Extents, AbortedIndex, Lives)):
        yield path, repr(value.packed())
    elif isinstance(value, InternalTopic):
        yield from _leaves(path, value.facts())
    elif isinstance(value, Mapping):
        yield f"{path}.count", repr(len(value))
        for key in sorted(value):
            yield from _leaves(f"{path}[{key!r}]", value[key])
    elif isinstance(value, (set, frozenset)):
        yield path, repr(sorted(value))
    elif isinstance(value, (list, tuple)):
        yield f"{path}.count", repr(len(value))
        for index, item in enumerate(value):
            yield from _leaves(f"{path}[{index}]", item)
    else:
        left_out: frozenset[str] = getattr(type(value), "BACK_REFERENCES", frozenset())
        for name in sorted(_slots(type(value))):
            if name not in left_out and not name.startswith("_"):
                yield from _leaves(f"{path}.{name}", getattr(value, name))


def _slots(kind: type) -> set[str]:
    names: set[str] = set()
    for part in kind.__mro__:
        slots = part.__dict__.get("__slots__", ())
        names.update((slots,) if isinstance(slots, str) else slots)
    assert names, f"{kind.__name__} is in the state but has no slots"
    return names
