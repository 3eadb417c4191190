"""Shrinking: the fewest and plainest steps that still show a difference.

Delta debugging over the drawn steps: chunks are left out, large ones first, then requests lose all but one
part. Any list of steps is a script, for commands carry all that they say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from tests.search.comparing import Difference, Sides
from tests.search.drawing import Step

_NUMBER = re.compile(r"\d+")


def difference_of(steps: list[Step]) -> tuple[int, str] | None:
    """After how many of the steps the two sides differ, and how; None where they agree."""
    sides = Sides()
    for number, step in enumerate(steps):
        try:
            sides.do(step)
        except Difference as difference:
            return number + 1, str(difference)
        except Exception as error:
            return number + 1, f"{type(error).__name__}: {error}"
    try:
        sides.compare_all()
    except Exception as error:
        return len(steps), str(error)
    return None


def shrink(steps: list[Step], differs: Callable[[list[Step]], bool] | None = None) -> list[Step]:
    """A script none of whose steps can be left out; `differs` tells what must stay true of it."""
    if differs is None:
        found = difference_of(steps)
        assert found is not None, "there is nothing to shrink"
        steps = steps[: found[0]]
        wanted = _kind(steps, found)

        def differs(some: list[Step]) -> bool:
            again = difference_of(some)
            return again is not None and _kind(some, again) == wanted

    chunk = max(1, len(steps) // 2)
    while True:
        start, shorter = 0, False
        while start < len(steps):
            without = steps[:start] + steps[start + chunk :]
            if differs(without):
                steps, shorter = without, True
            else:
                start += chunk
        if chunk == 1 and not shorter:
            break
        chunk = max(1, chunk // 2)
    for number in range(len(steps)):
        for plainer in _plainer(steps[number]):
            changed = [*steps[:number], plainer, *steps[number + 1 :]]
            if differs(changed):
                steps = changed
    return steps


def _kind(steps: list[Step], found: tuple[int, str]) -> tuple[type, str]:
    """What must stay the same of a difference while it shrinks, lest another one takes its place."""
    return type(steps[found[0] - 1].command), _NUMBER.sub("", found[1].partition(":")[0])


def _plainer(step: Step) -> Iterator[Step]:
    if step.after_ms:
        yield Step(0, step.command)
    for name in ("batches", "partitions", "offsets"):
        parts = getattr(step.command, name, ())
        if len(parts) > 1:
            for part in parts:
                yield Step(step.after_ms, step.command._replace(**{name: (part,)}))
