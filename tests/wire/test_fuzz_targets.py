"""The fuzzer's targets without the fuzzer: they cover each version, their seeds hold, and they can fail."""

from __future__ import annotations

import pytest

from fuzz import targets
from tests.wire.catalogue import EVERY_VERSION


def test_each_version_has_a_target() -> None:
    names = [target.name for target in targets.TARGETS]
    assert len(set(names)) == len(names)
    assert {f"{message.__name__}-v{version}" for message, version in EVERY_VERSION} <= set(names)


def test_seeds_hold_and_are_spread_over_the_targets() -> None:
    seen = set()
    for _, data in targets.seeds():
        targets.run(data)
        seen.add(data[: targets.SELECTOR_BYTES])
    assert len(seen) == len(targets.TARGETS)


def test_another_exception_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that let a bare IndexError out would be found with the first truncated input."""
    number = next(n for n, target in enumerate(targets.TARGETS) if target.name == "HeartbeatRequest-v4")
    truncated = number.to_bytes(targets.SELECTOR_BYTES, "big") + b"\x05abcd"
    targets.run(truncated)
    monkeypatch.setattr("oncelog.wire.codec._decode_error", IndexError)
    with pytest.raises(IndexError):
        targets.run(truncated)
