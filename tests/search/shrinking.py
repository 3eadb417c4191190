"""Shrinking: the fewest and plainest steps that still show a difference.

Delta debugging over the drawn steps: chunks are left out, large ones first, then requests lose all but one
part, then time stands still. What is left is aimed again each time (aiming.py), for most numbers in a command
follow from the commands before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from tests.search.aiming import Meant, aimed, meant
from tests.search.comparing import Difference, Sides
from tests.search.drawing import Crash, Step

Item = TypeVar("Item")
_NUMBER = re.compile(r"\d+")


def difference_of(steps: list[Step]) -> tuple[int, str] | None:
    """After how many of the steps the two sides differ, and how; None where they agree."""
    sides = Sides()
    number = 0
    try:
        for number, step in enumerate([*steps, Step(0, Crash())]):  # noqa: B007 (told below)
            sides.do(step)
    except Difference as difference:
        return min(number + 1, len(steps)), str(difference)
    except Exception as error:  # the machine's assertions are differences, too
        return min(number + 1, len(steps)), f"{type(error).__name__}: {error}"
    return None


def shrink(steps: list[Step]) -> list[Step]:
    """A script of the same difference, none of whose steps can be left out."""
    found = difference_of(steps)
    assert found is not None, "there is nothing to shrink"
    steps = steps[: found[0]]
    wanted = _kind(steps, found)

    def differs(some: Sequence[Meant]) -> bool:
        aimed_steps = aimed(some)
        again = difference_of(aimed_steps)
        return again is not None and _kind(aimed_steps, again) == wanted

    some = without_what_can_go(meant(steps), differs)
    for number in range(len(some)):
        for plainer in _plainer(some[number]):
            changed = [*some[:number], plainer, *some[number + 1 :]]
            if differs(changed):
                some = changed
    return aimed(some)


def without_what_can_go(items: list[Item], differs: Callable[[list[Item]], bool]) -> list[Item]:
    """Leave out chunks as long as it still differs, until no single item can go."""
    chunk = max(1, len(items) // 2)
    while True:
        start, before = 0, len(items)
        while start < len(items):
            without = items[:start] + items[start + chunk :]
            if differs(without):
                items = without
            else:
                start += chunk
        if chunk == 1 and len(items) == before:
            return items
        chunk = max(1, chunk // 2)


def _kind(steps: list[Step], found: tuple[int, str]) -> tuple[type | None, str]:
    """What must stay the same of a difference while it shrinks, lest another one takes its place."""
    last = type(steps[found[0] - 1].command) if steps else None
    return last, _NUMBER.sub("", found[1].partition(":")[0])


def _plainer(each: Meant) -> Iterator[Meant]:
    step = each.step
    if step.after_ms:
        yield each._replace(step=Step(0, step.command))
    for name in ("batches", "partitions", "offsets", "members"):
        parts = getattr(step.command, name, ())
        if len(parts) < 2:
            continue
        for number, part in enumerate(parts):
            plainer = Step(step.after_ms, step.command._replace(**{name: (part,)}))
            batches = (each.batches[number],) if name == "batches" else each.batches
            yield each._replace(step=plainer, batches=batches)
