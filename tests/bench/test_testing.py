"""The figures of `python -m bench.testing` can be had, each of them; how large they are is not judged."""

from __future__ import annotations

import pytest

from bench import testing


@pytest.mark.parametrize("what", [what for what, *_ in testing.FIGURES])
def test_each_figure_is_a_time(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "TESTS", 2)
    (measure,) = (measure for name, measure, *_ in testing.FIGURES if name == what)
    assert 0 < measure() < 60
