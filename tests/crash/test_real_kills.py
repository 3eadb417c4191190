"""kill -9 of a real broker under load by stock clients, ten times; `make crash` does it more often."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.real_run import Run, table

KILLS = 10
SEED = 4


@pytest.mark.timeout(180)
def test_the_broker_keeps_its_word_whenever_it_is_killed(tmp_path: Path) -> None:
    result = Run(tmp_path, KILLS, SEED).run()
    assert result.failures == [], table(result)
