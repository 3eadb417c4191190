"""Search: draw commands from a seed, do them on both sides, count what was seen, shrink what differs.

`python -m tests.search.run --steps 10000000 --seed 1`. A run of steps begins with an empty state, so that a
script is short enough to be read; the seed of a run is told with what it found.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from random import Random
from time import perf_counter
from typing import Any

from oncelog.wire.errors import ErrorCode
from tests.search.comparing import Difference, Sides
from tests.search.drawing import Crash, Drawer, Step
from tests.search.shrinking import difference_of, shrink

STEPS_PER_RUN = 1000
Seen = Counter[tuple[type, Any]]


def outcomes(reply: Any) -> Any:
    """What is counted of a reply: its errors."""
    first = reply[0] if reply else None
    if isinstance(first, tuple):
        return [one[0] for one in reply] if first and isinstance(first[0], int) and len(first) > 1 else first
    return (first,)


def run(seed: int | str, count: int, seen: Seen | None = None) -> list[Step] | None:
    """Do so many steps; the script of the first difference, or None."""
    sides = Sides()
    drawer = Drawer(Random(seed), sides.model)
    steps: list[Step] = []
    draw, do, remember = drawer.step, sides.do, steps.append
    queue = drawer.first()
    try:
        for _ in range(count):
            step = queue.pop(0) if queue else draw()
            remember(step)
            do(step)
            if seen is not None:
                count_outcome(seen, step.command, sides.reply)
        sides.crash()
    except Difference:
        return steps
    except Exception:
        return steps
    return None


def count_outcome(seen: Seen, command: Any, reply: Any) -> None:
    kind = type(command)
    if kind is Crash:
        seen[kind, None] += 1
        return
    if kind.__name__ == "Produce":
        for one in reply:
            error = one.error
            seen[kind, "duplicate" if error == 0 and not one.appended else error] += 1
    elif kind.__name__ == "AddPartitionsToTxn":
        for error in reply.partition_errors:
            seen[kind, error] += 1
    elif kind.__name__ in ("TxnOffsetCommit", "CommitOffsets"):
        for error in reply.errors:
            seen[kind, error] += 1
    elif kind.__name__ == "DeleteOffsets":
        for error in reply.partition_errors:
            seen[kind, error] += 1
    else:
        seen[kind, reply.error] += 1


def tell(steps: list[Step]) -> str:
    """A script as Python that can be pasted into a test."""
    return "\n".join(f"    Step({step.after_ms}, {step.command!r})," for step in steps)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    seen: Seen = Counter()
    done, number, started = 0, 0, perf_counter()
    while done < options.steps:
        count = min(STEPS_PER_RUN, options.steps - done)
        seed = f"{options.seed}-{number}"
        found = run(seed, count, seen)
        if found is not None:
            print(f"a difference in run {seed} after {done + len(found):,} steps, {len(found)} of its own")
            smallest = shrink(found)
            print(f"shrunk to {len(smallest)} steps:\n{tell(smallest)}")
            print(f"which shows: {(difference_of(smallest) or (0, ''))[1]}")
            return 1
        done, number = done + count, number + 1
    seconds = perf_counter() - started
    for kind, outcome in sorted(seen, key=lambda key: (key[0].__name__, str(key[1]))):
        named = outcome.name if isinstance(outcome, ErrorCode) else str(outcome or "")
        print(f"{kind.__name__:28}{named:36}{seen[kind, outcome]:>12,}")
    print(f"{done:,} steps without a difference in {seconds:.1f} s: {done / seconds:,.0f} compared steps/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
