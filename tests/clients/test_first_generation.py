"""A short run of tests/clients/first_generation.py: the guard against late requests breaks no client."""

from __future__ import annotations

import pytest

from tests.clients.first_generation import JAVA, JAVA_SECOND, NAMES, Missing, tried

FAULTS, SEED = 8, 1


@pytest.mark.parametrize("name", [name for name in NAMES if name not in (JAVA, JAVA_SECOND)])
def test_no_client_is_broken_by_late_requests_that_are_not_executed(name: str) -> None:
    try:
        report = tried(name, FAULTS, SEED)
    except Missing as missing:
        pytest.skip(str(missing))
    assert report.wrong == []
    assert report.faults == FAULTS
