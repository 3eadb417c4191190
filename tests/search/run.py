"""Search: draw commands from a seed, do them on both sides, count what was seen, shrink what differs.

`python -m tests.search.run --steps 10000000 --seed 1`. A run of steps begins with an empty state, so that a
script is short enough to be read; the seed of a run is told with what it found.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections import Counter
from random import Random
from time import perf_counter

from tests.search.comparing import Sides
from tests.search.drawing import Drawer, Step
from tests.search.outcomes import EXPECTED, Outcome, outcomes
from tests.search.shrinking import difference_of, shrink

STEPS_PER_RUN = 1000
HOLES_TOLD_FROM = 1_000_000
"""So many steps see everything that there is to see; the rarest outcomes have some 20 chances in them."""
Seen = Counter[Outcome]


def run(seed: int | str, count: int, seen: Seen | None = None) -> list[Step] | None:
    """Do so many steps; the script of the first difference, or None."""
    sides = Sides()
    drawer = Drawer(Random(seed), sides.model)
    steps: list[Step] = []
    queue = drawer.first()
    try:
        for _ in range(count):
            step = queue.pop(0) if queue else drawer.step()
            steps.append(step)
            sides.do(step)
            if seen is not None:
                for outcome in outcomes(step.command, sides.reply):
                    seen[outcome] += 1
        sides.compare_all()
    except Exception:  # a Difference, or an assertion of the machine, which is one, too
        return steps
    return None


def tell(steps: list[Step]) -> str:
    """A script as Python that can be pasted into a test."""
    return "\n".join(f"    Step({step.after_ms}, {step.command!r})," for step in steps)


def holes(seen: Seen) -> list[Outcome]:
    """What should have been seen and was not."""
    return [outcome for outcome in EXPECTED if not seen[outcome]]


def _tell_outcomes(seen: Seen) -> None:
    for (kind, outcome), count in sorted(
        seen.items(), key=lambda each: (each[0][0].__name__, str(each[0][1]))
    ):
        print(f"{kind.__name__:26}{outcome:40}{count:>12,}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    seen: Seen = Counter()
    done, number, started = 0, 0, perf_counter()
    gc.disable()  # the states of ended runs are rings of objects: they are collected between runs
    while done < options.steps:
        count = min(STEPS_PER_RUN, options.steps - done)
        seed = f"{options.seed}-{number}"
        found = run(seed, count, seen)
        if found is not None:
            print(f"a difference in run {seed} after {done + len(found):,} steps, {len(found)} of its own")
            print(f"which shows: {(difference_of(found) or (0, 'nothing when done again'))[1]}")
            smallest = shrink(found)
            print(f"shrunk to {len(smallest)} steps:\n{tell(smallest)}")
            print(f"which shows: {(difference_of(smallest) or (0, ''))[1]}")
            return 1
        done, number = done + count, number + 1
        if number % 50 == 0:
            gc.collect()
    seconds = perf_counter() - started
    _tell_outcomes(seen)
    missing = holes(seen)
    for kind, outcome in missing:
        print(f"never seen: {kind.__name__} {outcome}")
    print(f"{done:,} steps without a difference in {seconds:.1f} s: {done / seconds:,.0f} compared steps/s")
    return 1 if missing and done >= HOLES_TOLD_FROM else 0


if __name__ == "__main__":
    sys.exit(main())
