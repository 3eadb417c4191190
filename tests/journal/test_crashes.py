"""Power is lost, or the process killed, at every single disk call of a journal's life.

Whatever happens, the journal opens again, holds every confirmed entry in order and at most one more, and can
be appended to. The loops count their calls first, so that none is left out.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from oncelog.disk.faulty import Crashed, Fault, FaultyDisk
from oncelog.journal import JournalError
from oncelog.journal import file as file_module
from tests.journal.harness import Entry, Writer, open_journal, opened, replay, with_content

KIB = 1 << 10
FILE_BYTES_MAX = 64 * KIB

MOMENTS = ("before", "during", "after")
Ending = Callable[[FaultyDisk, random.Random], FaultyDisk]


def power_loss(disk: FaultyDisk, chance: random.Random) -> FaultyDisk:
    return disk.crash(chance)


def kill(disk: FaultyDisk, _: random.Random) -> FaultyDisk:
    return disk.kill()


def kill_then_power_loss(disk: FaultyDisk, chance: random.Random) -> FaultyDisk:
    """The next process opens the journal, goes on, and only then the power goes."""
    disk = disk.kill()
    _, entries, writer = opened(disk, seed=chance.randrange(1 << 30))
    writer.append(b"after the kill")
    found = disk.crash(chance)
    assert opened(found.clone()).entries == entries + writer.sent, "all of it was confirmed or shown"
    return found


ENDINGS = (power_loss, kill, kill_then_power_loss)


class Life:
    """One process's life of a journal: opening, appending over several files, closing."""

    def __init__(self, disk: FaultyDisk, seed: int) -> None:
        self.disk = disk
        self.seed = seed
        self.found: list[Entry] | None = None
        self.writer: Writer | None = None

    def run(self) -> None:
        """Raises Crashed where the disk's fault says so."""
        self.found = None
        journal, self.found, self.writer = opened(self.disk, seed=self.seed)
        sizes = random.Random(self.seed)
        for _ in range(9):
            self.writer.append(b"events" * 10, sizes.randbytes(sizes.choice((0, 100, 5000, 14_000))))
        self.writer.append(b"", seal=True)
        journal.close()

    def run_until_crash(self) -> bool:
        """Whether it crashed."""
        try:
            self.run()
        except Crashed:
            return True
        return False


def check(before: list[Entry], life: Life, after: list[Entry]) -> None:
    """Every confirmed entry, then at most the one that was being written."""
    if life.found is not None:
        assert life.found == before
    confirmed = before + with_content(life.writer.confirmed if life.writer is not None else [])
    sent = before + with_content(life.writer.sent if life.writer is not None else [])
    assert after[: len(confirmed)] == confirmed
    assert len(after) <= len(confirmed) + 1
    assert after == sent[: len(after)]


@pytest.fixture(autouse=True)
def _small_fills(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_module, "FILL_STEP_BYTES_FIRST", 16 * KIB)
    monkeypatch.setattr(file_module, "FILL_STEP_BYTES_MAX", 32 * KIB)


def calls_of(run: Callable[[FaultyDisk], Any], disk: FaultyDisk) -> int:
    before = disk.calls["any"]
    run(disk)
    return disk.calls["any"] - before


def used_disk() -> tuple[FaultyDisk, list[Entry]]:
    """A journal of several files whose last process ended without a clean stop."""
    disk = FaultyDisk()
    entries: list[Entry] = []
    for seed in (11, 12):
        _, found, writer = opened(disk, seed=seed)
        assert found == entries
        for number in range(8):
            writer.append(b"old", bytes([number]) * 9000)
        entries += writer.sent
        disk = disk.kill()
    return disk, entries


def test_the_life_that_is_crashed_does_what_it_should() -> None:
    """It rolls, fills, writes indexes and makes files: the sweep below covers all of them."""
    disk = FaultyDisk()
    Life(disk, 1).run()
    assert disk.calls["truncate"] >= 1, "a file was closed"
    assert disk.calls["rename"] >= 3, "files were made"
    assert disk.calls["write"] > 10 + disk.calls["rename"], "zeros were written ahead"
    assert calls_of(lambda disk: Life(disk, 1).run(), FaultyDisk()) > 45


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_crash_at_any_call_of_a_new_journal(moment: str) -> None:
    total = calls_of(lambda disk: Life(disk, 1).run(), FaultyDisk())
    crashes = 0
    for nth in range(1, total + 1):
        for ending in ENDINGS:
            for luck in range(3 if ending is not kill else 1):
                disk = FaultyDisk([Fault("any", nth, crash=moment)])
                life = Life(disk, 1)
                crashes += life.run_until_crash()
                found = ending(disk, random.Random(luck))
                after = opened(found, seed=77)
                if ending is kill_then_power_loss:
                    after = after._replace(entries=after.entries[:-1])
                check([], life, after.entries)
                after.writer.append(b"life goes on")
                after.journal.close()
                assert opened(found).entries[-1:] == after.writer.sent
    assert crashes == total * 7


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_crash_at_any_call_of_a_used_journal(moment: str) -> None:
    """Opening after an unclean end included: writing the tail again, indexes, the next file."""
    pristine, before = used_disk()
    total = calls_of(lambda disk: Life(disk, 5).run(), pristine.clone())
    for nth in range(1, total + 1):
        for ending in ENDINGS:
            disk = pristine.clone()
            disk.faults = [Fault("any", nth, crash=moment)]
            life = Life(disk, 5)
            assert life.run_until_crash()
            found = ending(disk, random.Random(nth))
            entries = opened(found, seed=77).entries
            check(before, life, entries[:-1] if ending is kill_then_power_loss else entries)


def test_a_crash_while_a_torn_end_is_being_cut() -> None:
    """Crash after crash in the very repair that the first one made necessary."""
    torn = FaultyDisk()
    _, _, writer = opened(torn)
    for _ in range(3):
        writer.append(b"events", b"p" * 9000)
    torn.faults = [Fault("any", torn.calls["any"] + 1, crash="during")]
    with pytest.raises(Crashed):
        writer.append(b"torn", b"t" * 12_000)
    cut = crashes = 0
    for luck in range(40):
        disk = torn.clone().crash(random.Random(luck))
        total = calls_of(lambda disk: replay(open_journal(disk)), disk.clone())
        cut += len(opened(disk.clone()).entries) == 3
        for nth in range(1, total + 1):
            again = disk.clone()
            again.faults = [Fault("any", nth, crash=random.Random(nth).choice(MOMENTS))]
            try:
                replay(open_journal(again))
            except Crashed:
                crashes += 1
            found = opened(again.crash(random.Random(luck + nth))).entries
            assert found[:3] == writer.confirmed
            assert found in (writer.confirmed, writer.sent)
    assert cut > 5, "often enough there was something to cut"
    assert crashes > 200


@pytest.mark.parametrize("keeps_pages", [True, False])
def test_an_error_at_any_call_of_a_life_stops_it_or_costs_nothing(keeps_pages: bool) -> None:
    """EIO at each call: entries are confirmed truly or not at all, and the next process finds them."""
    total = calls_of(lambda disk: Life(disk, 1).run(), FaultyDisk())
    stopped = 0
    for nth in range(1, total + 1):
        disk = FaultyDisk([Fault("any", nth, keeps_pages=keeps_pages)])
        life = Life(disk, 1)
        with suppress(JournalError):
            life.run()
        failed = [] if life.writer is None else [each for each in life.writer.outcomes if each.error]
        stopped += bool(failed) or life.writer is None
        if failed and life.writer is not None:
            first = life.writer.outcomes.index(failed[0])
            assert all(each.error for each in life.writer.outcomes[first:]), "a failure is final"
        # A process that could not open never confirmed anything; one that failed is killed by its owner.
        found = disk.kill()
        entries = opened(found, seed=77).entries
        check([], life, entries)
        assert opened(found.crash(random.Random(nth))).entries[: len(entries)] == entries, "shown is durable"
    assert stopped > total // 3


def test_a_sync_that_does_nothing_is_noticed_by_these_tests() -> None:
    """The tests' own test: with a disk that lies about syncs, confirmed entries are lost."""
    lost = 0
    for luck in range(20):
        disk = FaultyDisk()
        disk.sync_is_noop = True
        life = Life(disk, 1)
        life.run()
        try:
            check([], life, opened(disk.crash(random.Random(luck))).entries)
        except (AssertionError, JournalError):
            lost += 1
    assert lost >= 15
