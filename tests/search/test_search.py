"""The search in the default run: a short one; and that it finds what is broken, and shrinks it."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.search.run import STEPS_PER_RUN, Seen, run

RUNS = 20


@pytest.mark.parametrize("seed", range(RUNS))
def test_the_machine_and_the_model_agree(seed: int) -> None:
    seen: Seen = Counter()
    found = run(seed, STEPS_PER_RUN, seen)
    assert found is None, f"make search would shrink this: {len(found or [])} steps of seed {seed}"
    assert seen.total() >= STEPS_PER_RUN
