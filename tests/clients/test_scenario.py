"""The steps that scenarios share lose nothing of what they read, whenever a consumer gives it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.clients.adapters.base import Consumer, Partition, Received
from tests.clients.scenario import drive, read_some, share_out


def record(offset: int) -> Received:
    return Received("topic", 0, offset, None, b"%d" % offset, (), 0)


class Scripted(Consumer):
    """Gives the nth of its answers to the nth poll and nothing after them; all is its own after the last."""

    group_id = None

    def __init__(self, answers: list[list[Received]]) -> None:
        self._answers = answers

    def poll(self, timeout_s: float = 0.2) -> list[Received]:  # noqa: ARG002
        return self._answers.pop(0) if self._answers else []

    def assignment(self) -> frozenset[Partition]:
        return frozenset() if self._answers else frozenset({("topic", 0)})

    def membership(self) -> Any:
        raise NotImplementedError

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        raise NotImplementedError

    def rewind_to_committed(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class PolledApart(Scripted):
    must_be_polled_all_the_time = True


class Failing(PolledApart):
    def poll(self, timeout_s: float = 0.2) -> list[Received]:  # noqa: ARG002
        raise RuntimeError("polled in vain")


@pytest.mark.parametrize("silent_polls", range(4))
def test_the_first_records_are_read_whichever_poll_brings_them(silent_polls: int) -> None:
    consumer = Scripted([[]] * silent_polls + [[record(0)], [record(1), record(2)], [record(3)]])
    assert [each.offset for each in read_some(consumer, 2, "two records")] == [0, 1, 2]


@pytest.mark.parametrize("kind", [Scripted, PolledApart])
def test_what_members_read_while_their_group_settles_is_returned(kind: type[Scripted]) -> None:
    members = [kind([[record(0)], [], [record(1)]]), kind([[record(2)]])]
    records = drive(
        members, lambda: share_out(members, [("topic", 0)] * 2, [1, 1]), "both members' assignments"
    )
    assert sorted(each.offset for each in records) == [0, 1, 2]


def test_what_a_members_own_thread_raised_is_raised() -> None:
    members = [Failing([[]]), Scripted([])]
    with pytest.raises(RuntimeError, match="in vain"):
        drive(members, lambda: False, "the end of time", timeout_s=0.1)
