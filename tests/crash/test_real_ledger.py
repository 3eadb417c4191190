"""The check of the kill -9 tests: each way in which a broker can break its word is found."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.crash.real_ledger import (
    PLAIN_PARTITIONS,
    SLOTS,
    TRANSACTION_PARTITIONS,
    Found,
    Outcome,
    Part,
    Told,
    check,
    slots,
    unacknowledged,
)


def told() -> Told:
    """Ten plain records in each partition, eight of them acknowledged; transactions 0 to 3; a group at 5."""
    return Told(
        sent=[10] * PLAIN_PARTITIONS,
        acknowledged=[8] * PLAIN_PARTITIONS,
        outcomes={0: Outcome.COMMITTED, 1: Outcome.ABORTED, 2: Outcome.COMMITTED, 3: Outcome.NOTHING},
        seen=[6] * PLAIN_PARTITIONS,
        group_committed=[5] * PLAIN_PARTITIONS,
    )


def offsets_of(transactions: Sequence[int]) -> list[int]:
    offsets = [-1001] * SLOTS
    for number in transactions:
        for slot in slots(number):
            offsets[slot] = number + 1
    return offsets


def found(*transactions: int) -> Found:
    numbers = transactions or (0, 2)
    parts = [Part(number, index, 2) for number in numbers for index in range(2)]
    return Found(
        plain=[list(range(8)) for _ in range(PLAIN_PARTITIONS)],
        parts=[list(parts) for _ in range(TRANSACTION_PARTITIONS)],
        transaction_offsets=offsets_of(numbers),
        group_offsets=[5] * PLAIN_PARTITIONS,
    )


def test_what_was_promised_is_there() -> None:
    assert check(told(), found()) == []


def test_what_was_not_answered_may_be_there_or_not() -> None:
    more = found(0, 2, 3)
    more.plain[1] += [8, 9]
    more.group_offsets[2] = 6
    assert check(told(), more) == []
    assert unacknowledged(told(), more) == 2


def lose_acknowledged(found: Found) -> None:
    found.plain[2].pop()


def repeat(found: Found) -> None:
    found.plain[2].insert(4, 3)


def reorder(found: Found) -> None:
    found.plain[2][3:5] = [4, 3]


def invent(found: Found) -> None:
    found.plain[2] += [8, 9, 10]


def lose_committed(found: Found) -> None:
    for parts in found.parts:
        del parts[2:]
    found.transaction_offsets = offsets_of([0])


def half_in_one_partition(found: Found) -> None:
    found.parts[7].pop()


def half_over_partitions(found: Found) -> None:
    for parts in found.parts[:5]:
        parts += [Part(3, 0, 1)]


def show_aborted(found: Found) -> None:
    for parts in found.parts:
        parts.insert(2, Part(1, 0, 1))


def commit_twice(found: Found) -> None:
    for parts in found.parts:
        parts += [Part(2, 0, 2), Part(2, 1, 2)]


def forget_offsets(found: Found) -> None:
    found.transaction_offsets[slots(2)[-1]] = -1001


def offsets_ahead(found: Found) -> None:
    found.transaction_offsets = offsets_of([0, 2, 3])


def group_goes_back(found: Found) -> None:
    found.group_offsets[0] = 4


def group_runs_ahead(found: Found) -> None:
    found.group_offsets[0] = 7


@pytest.mark.parametrize(
    ("breaking", "says"),
    [
        (lose_acknowledged, "plain 2: ends at 7, told were 8"),
        (repeat, "plain 2: 3 at offset 4"),
        (reorder, "plain 2: 4 at offset 3"),
        (invent, "plain 2: ends at 11, sent were 10"),
        (lose_committed, "transaction 2 was committed and is not there"),
        (half_in_one_partition, "transactions 7: ends before"),
        (half_over_partitions, "transactions 5: has other transactions"),
        (show_aborted, "transaction 1 was aborted and is there"),
        (commit_twice, "one is there twice"),
        (forget_offsets, "offset -1001 in slot 29 instead of 3"),
        (offsets_ahead, "offset 4 in slot 30 instead of 0"),
        (group_goes_back, "group: plain 0 is at 4, committed was 5"),
        (group_runs_ahead, "group: plain 0 is at 7, committed was 5, seen 6"),
    ],
)
def test_a_broken_promise_is_found(breaking: Callable[[Found], None], says: str) -> None:
    broken = found()
    breaking(broken)
    assert any(says in violation for violation in check(told(), broken)), check(told(), broken)


def test_acknowledgements_out_of_order_or_with_a_wrong_offset_are_found() -> None:
    ledger = Told(sent=[3] * PLAIN_PARTITIONS)
    ledger.acknowledge(0, 0, 0)
    ledger.acknowledge(0, 1, -1001)
    assert ledger.violations == []
    ledger.acknowledge(0, 2, 3)
    ledger.acknowledge(1, 1, 1)
    assert ledger.violations == [
        "plain 0: 2 acknowledged with offset 3",
        "plain 1: 1 acknowledged instead of 0",
    ]


def test_a_group_may_read_again_but_not_skip() -> None:
    ledger = Told()
    ledger.see(0, 0, 0, None)
    ledger.see(0, 0, 0, None)
    ledger.see(0, 1, 1, 1)
    assert ledger.violations == []
    ledger.see(0, 3, 3, 2)
    ledger.see(1, 0, 1, None)
    assert ledger.violations == [
        "group: plain 0 went from 1 to 3",
        "group: plain 0 skipped 2 to 2",
        "group: plain 1 has 1 at offset 0",
    ]
