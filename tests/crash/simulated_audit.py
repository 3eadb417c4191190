"""The audit after a kill: a copy of the disk is started by itself, read to its end, compared with the ledger.

On the copy, every transactional id is taken over, which ends what was open: then read_committed shows all
that was ever committed, and nothing else. Must not look at anything that a client could not ask for.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from oncelog.disk.faulty import FaultyDisk
from oncelog.wire import frames
from oncelog.wire.definition import Message
from oncelog.wire.messages.init_producer_id import InitProducerIdRequest
from tests.crash.simulated_clients import (
    PLAIN,
    TOPICS,
    TRANSACTIONAL,
    TRANSACTIONAL_PARTITIONS,
    committed_offset_in,
    fetch_request,
    offset_fetch_request,
    response_type,
)
from tests.crash.simulated_ledger import (
    MAY_BE_VISIBLE,
    Batch,
    Ledger,
    Outcome,
    Place,
    Violation,
    decode_batches,
    split,
    visible_records,
)
from tests.crash.simulated_process import Network, Process, SimulatedLoop

PLACES = [(topic, index) for topic, count in TOPICS.items() for index in range(count)]
STEPS_MAX = 100_000


class Asking:
    """One connection that asks and waits."""

    def __init__(self, loop: SimulatedLoop, network: Network) -> None:
        self._loop = loop
        connection = network.connect(self)
        assert connection is not None
        self._connection = connection
        self._received = b""

    def received(self, data: bytes) -> None:
        self._received += data

    def lost(self) -> None:
        raise Violation("the broker closed the audit's connection")

    def ask(self, request: Message, version: int) -> Any:
        self._received = b""
        self._connection.send(frames.encode_request(1, "audit", request, version))
        for _ in range(STEPS_MAX):
            data = self._received
            if len(data) >= 4 and len(data) >= 4 + int.from_bytes(data[:4], "big"):
                _, answer = frames.decode_response(response_type(request), data[4:], version)
                return answer
            self._loop.step()
        raise Violation(f"no answer came to {type(request).__name__}")


class Audit:
    """Audits of one world, one after the other; what one saw on the disk, the next must see again."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[Place, tuple[bytes, list[Batch]]] = {}

    def run(self, disk: FaultyDisk, seed: int, *, is_final: bool = False) -> None:
        """Raises Violation. is_final: the clients have ended, so nothing may be missing or open."""
        loop = SimulatedLoop()
        network = Network(loop, random.Random(seed))
        process = Process(
            disk.clone(), loop, seed, on_crash=_crashed, on_failure=_failed, disk_delay_ms_max=0.0
        )
        process.start()
        network.process = process
        asking = Asking(loop, network)
        if not all(topic in process.state.topic_ids for topic in TOPICS):
            if self._known:
                raise Violation("a topic is gone")
            return
        self._read_uncommitted(asking)
        self._check_plain(is_final)
        for name in self._ledger.transactional_ids:
            taking_over = InitProducerIdRequest(transactional_id=name, transaction_timeout_ms=1000)
            error = asking.ask(taking_over, 4).error_code
            if error:
                raise Violation(f"taking over {name} was answered with error {error}")
        visible = self._read_committed(asking)
        committed = self._check_transactions(visible, is_final)
        self._check_offsets(asking, committed)
        process.life.is_alive = False
        process.journal.close()

    # --- reading ---

    def _fetch(self, asking: Asking, *, read_committed: bool) -> dict[Place, Any]:
        answer = asking.ask(fetch_request(dict.fromkeys(PLACES, 0), read_committed=read_committed), 12)
        found = {
            (topic.topic, part.partition_index): part
            for topic in answer.responses
            for part in topic.partitions
        }
        for place, part in found.items():
            if part.error_code:
                raise Violation(f"Fetch of {place} was answered with error {part.error_code}")
        return found

    def _read_uncommitted(self, asking: Asking) -> None:
        """Law 6 and 7: what was there is there, byte for byte, and the watermarks have not gone back."""
        for place, part in self._fetch(asking, read_committed=False).items():
            self._ledger.must_reach(place, part.high_watermark, part.last_stable_offset)
            raw = bytes(part.records or b"")
            before, batches = self._known.get(place, (b"", []))
            if raw[: len(before)] != before:
                raise Violation(f"{place} has other bytes than it had after an earlier kill")
            batches = batches + decode_batches(memoryview(raw)[len(before) :])
            end = batches[-1].last_offset + 1 if batches else 0
            if end != part.high_watermark:
                raise Violation(f"{place} can be read to {end}; its high watermark is {part.high_watermark}")
            expected = 0
            for batch in batches:
                if batch.base_offset != expected:
                    raise Violation(f"{place} has a batch at {batch.base_offset} where {expected} is next")
                expected = batch.last_offset + 1
            self._known[place] = raw, batches
            self._check_shown(place, batches)

    def _check_shown(self, place: Place, batches: Sequence[Batch]) -> None:
        values = {
            batch.base_offset + at: value
            for batch in batches
            if not batch.control
            for at, value in enumerate(batch.values)
        }
        for offset, value in self._ledger.shown.get(place, {}).items():
            if values.get(offset) != value:
                raise Violation(
                    f"{place} had {value!r} at offset {offset}, as a client was told, "
                    f"and now has {values.get(offset)!r}"
                )

    def _read_committed(self, asking: Asking) -> dict[Place, list[bytes]]:
        visible = {}
        for place, part in self._fetch(asking, read_committed=True).items():
            raw, batches = self._known[place]
            if part.last_stable_offset != part.high_watermark:
                raise Violation(
                    f"{place} has an open transaction though every transactional id was taken over"
                )
            records = memoryview(part.records or b"")
            if bytes(records[: len(raw)]) != raw:
                raise Violation(f"{place} shows read_committed consumers other bytes than all others")
            batches = batches + decode_batches(records[len(raw) :])
            visible[place] = [value for _, value in visible_records(batches, part.aborted_transactions)]
        return visible

    # --- comparing ---

    def _check_plain(self, is_final: bool) -> None:
        """Every acknowledged record once, in order; of each producer a prefix of what it sent."""
        for place in PLACES:
            if place[0] != PLAIN:
                continue
            counts: dict[str, int] = {}
            for batch in self._known[place][1]:
                for value in batch.values:
                    name, number = split(value)
                    expected = counts.get(name, 0)
                    if number != expected:
                        what = "again" if number < expected else f"where {expected} is next"
                        raise Violation(f"{place} has {value!r} {what}")
                    counts[name] = expected + 1
            for value in self._ledger.acknowledged_offsets.get(place, {}):
                name, number = split(value)
                if number >= counts.get(name, 0):
                    raise Violation(f"{place} has lost {value!r}, which was acknowledged")
            if is_final and sum(counts.values()) != len(self._ledger.acknowledged_offsets.get(place, {})):
                raise Violation(f"{place} holds records that nobody was told of at the end")

    def _check_transactions(self, visible: dict[Place, list[bytes]], is_final: bool) -> dict[str, list[int]]:
        """All or nothing; returns the committed transactions of each transactional id, in order."""
        of_partition: list[dict[str, list[int]]] = []
        for index in range(TRANSACTIONAL_PARTITIONS):
            numbers: dict[str, list[int]] = {name: [] for name in self._ledger.transactional_ids}
            for value in visible[TRANSACTIONAL, index]:
                name, number = split(value)
                numbers[name].append(number)
            of_partition.append(numbers)
        committed = of_partition[0]
        for index, numbers in enumerate(of_partition):
            for name, there in numbers.items():
                if there != sorted(set(there)):
                    raise Violation(
                        f"partition {index} has transactions of {name} twice or out of order: {there}"
                    )
                if there != committed[name]:
                    half = sorted(set(there) ^ set(committed[name]))
                    raise Violation(
                        f"{name}'s transactions {half} are in partition {index} or 0, but not in both"
                    )
        for name, outcomes in self._ledger.outcomes.items():
            there_now = set(committed[name])
            for number, outcome in outcomes.items():
                if outcome is Outcome.COMMITTED and number not in there_now:
                    raise Violation(
                        f"{name}'s transaction {number} was acknowledged as committed and is gone"
                    )
                if number in there_now and outcome not in MAY_BE_VISIBLE:
                    raise Violation(f"{name}'s transaction {number} is visible, but it is {outcome.value}")
                if is_final and outcome in (Outcome.OPEN, Outcome.COMMITTING, Outcome.ABORTING):
                    raise Violation(f"{name}'s transaction {number} is still {outcome.value} at the end")
        return committed

    def _check_offsets(self, asking: Asking, committed: dict[str, list[int]]) -> None:
        """A transaction's offset is committed exactly when its records are."""
        groups = [f"group-{name}" for name in self._ledger.transactional_ids]
        for group in asking.ask(offset_fetch_request(groups), 8).groups:
            offset = committed_offset_in(group)
            numbers = committed[group.group_id.removeprefix("group-")]
            expected = numbers[-1] + 1 if numbers else -1
            if offset != expected:
                raise Violation(
                    f"{group.group_id} is at offset {offset}; its transactions' records say {expected}"
                )
            if offset < self._ledger.group_offsets.get(group.group_id, -1):
                raise Violation(f"{group.group_id} went back to offset {offset}")


def _crashed() -> None:
    raise AssertionError("the copy's disk has no faults")


def _failed(reason: BaseException) -> None:
    raise Violation(f"the broker stopped during the audit: {reason!r}") from reason
