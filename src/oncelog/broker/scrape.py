"""What `/metrics` says, gathered when it is asked for: of the process, and of the log.

The part of the log looks at the machine, which runs ahead of the disk: whoever sends it on waits until what
it looked at is durable, as with any answer (law 1). It is bounded: `rows_max` topics and groups by name, the
first ones, and OFFSETS_MAX committed offsets; totals are of all. Must not know how it is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from oncelog.broker import metrics, process
from oncelog.broker.broker import Broker
from oncelog.broker.metrics import Histogram, Sample, Summary, single
from oncelog.broker.server import Server
from oncelog.machine.group_state import Group
from oncelog.machine.state import State, TransactionalId

PARTITIONS_MAX = 100_000
"""Partitions of open transactions that are looked at for one answer."""
OFFSETS_MAX = 20_000
"""Committed offsets that are looked at for one answer."""
NAME_CHARACTERS_MAX = 255
HIGH_WATERMARK, LAST_STABLE_OFFSET = "high_watermark", "last_stable_offset"


# --- the process ---


class Watched(NamedTuple):
    """What the asker has seen of the process."""

    started_wall_s: float
    lag_s: Histogram
    is_ready: bool


def of_process(broker: Broker, server: Server, watched: Watched) -> list[Sample]:
    """What the process has done and holds: no facts of the log."""
    engine = broker.engine
    counts = engine.counts
    routes = broker.registry.routes.values()
    return [
        single(metrics.READY, int(watched.is_ready)),
        single(metrics.SYNC_SECONDS, counts.sync_s),
        single(metrics.SYNC_WAITING_SECONDS, counts.sync_waiting_s),
        single(metrics.ENTRY_BYTES, Summary(counts.entries, counts.size_bytes)),
        single(metrics.ENTRY_COMMANDS, Summary(counts.entries, counts.commands)),
        single(metrics.REPLIES_HELD, engine.held_count),
        single(metrics.PRODUCES_WAITING, engine.waiting_for_room_count),
        Sample(metrics.REQUESTS, {(route.name,): route.requests for route in routes}),
        single(metrics.LOOP_LAG_SECONDS, watched.lag_s),
        single(metrics.CONNECTIONS, server.connection_count),
        single(metrics.CONNECTIONS_ACCEPTED, server.accepted_count),
        single(metrics.CONNECTIONS_CLOSED, server.closed_for_cause),
        single(metrics.HELD_BYTES, server.held_bytes),
        single(metrics.JOURNAL_BYTES, broker.journal_bytes()),
        single(metrics.DISK_FREE_BYTES, broker.disk_space.free_bytes),
        *_of_system(watched.started_wall_s),
    ]


def _of_system(started_wall_s: float) -> Iterator[Sample]:
    """What the system does not tell is left out."""
    if (memory_bytes := process.resident_bytes()) is not None:
        yield single(metrics.MEMORY_BYTES, memory_bytes)
    open_files = process.open_files()
    if open_files is not None and open_files.soft != process.NO_LIMIT:
        yield single(metrics.MAX_FDS, open_files.soft)
    yield single(metrics.CPU_SECONDS, time.process_time())
    yield single(metrics.START_SECONDS, started_wall_s)


# --- the log ---


def of_state(broker: Broker, rows_max: int) -> list[Sample]:
    """What is true in the machine now. Not to be shown before `engine.stamp()` is durable."""
    state = broker.state
    unstable = _unstable_records(state)
    topics = list(islice(state.topics.values(), rows_max))
    by_topic: dict[tuple[str, ...], int] = {(topic.name,): unstable.get(topic.id, 0) for topic in topics}
    return [
        Sample(metrics.ERRORS, _errors(broker)),
        single(metrics.TOPICS, len(state.topics)),
        single(metrics.PARTITIONS, state.partition_count),
        single(metrics.GROUPS, len(state.groups)),
        single(metrics.PRODUCERS, state.limits.producers_max - state.producers_room()),
        single(metrics.TRANSACTIONAL_IDS, len(state.transactions)),
        Sample(metrics.EVICTED, {(each.option,): each.evicted for each in broker.evictions}),
        single(metrics.TRANSACTIONS_OPEN, sum(map(len, state.ongoing.values()))),
        single(metrics.TRANSACTION_OLDEST_SECONDS, _oldest_s(state, broker.engine.age_ms())),
        single(metrics.UNSTABLE_RECORDS, sum(unstable.values())),
        Sample(metrics.TOPIC_UNSTABLE_RECORDS, by_topic),
        single(metrics.TOPICS_LEFT_OUT, len(state.topics) - len(topics)),
        *_groups(state, rows_max),
    ]


def _errors(broker: Broker) -> dict[tuple[str, ...], int]:
    return {
        (api, metrics.error_name(code)): count
        for api, counts in broker.errors.by_api.items()
        for code, count in counts.items()
    }


def _open_transactions(state: State) -> Iterator[TransactionalId]:
    for transactions in state.ongoing.values():
        yield from transactions.values()


def _oldest_s(state: State, age_ms: int) -> float:
    """Those of one timeout are in the order of their beginning."""
    firsts = [next(iter(transactions.values())) for transactions in state.ongoing.values() if transactions]
    return max((age_ms - first.started_age_ms for first in firsts), default=0) / 1000


def _unstable_records(state: State) -> dict[bytes, int]:
    """By topic, the records between last stable offset and log end: only open transactions make any."""
    seen: set[tuple[bytes, int]] = set()
    records: dict[bytes, int] = {}
    for transaction in _open_transactions(state):
        for key in transaction.partitions:
            partition = None if key in seen else state.partition(*key)
            seen.add(key)
            if partition is not None:
                gap = partition.log_end_offset - partition.last_stable_offset
                records[key[0]] = records.get(key[0], 0) + gap
        if len(seen) > PARTITIONS_MAX:
            break
    return records


def _groups(state: State, rows_max: int) -> Iterator[Sample]:
    rows: dict[tuple[str, ...], int] = {}
    shown = offsets = 0
    for group in state.groups.values():
        if shown == rows_max or offsets >= OFFSETS_MAX:
            break
        if len(group.id) > NAME_CHARACTERS_MAX:
            continue
        shown += 1
        offsets += len(group.offsets)
        rows[group.id, HIGH_WATERMARK], rows[group.id, LAST_STABLE_OFFSET] = _lag(state, group)
    yield Sample(metrics.GROUP_LAG_RECORDS, rows)
    yield single(metrics.GROUPS_LEFT_OUT, len(state.groups) - shown)


def _lag(state: State, group: Group) -> tuple[int, int]:
    """Behind the high watermark, and behind the last stable offset."""
    to_end = to_stable = 0
    for key, committed in group.offsets.items():
        partition = state.shown_partition(*key)
        if partition is not None:
            to_end += max(0, partition.log_end_offset - committed.offset)
            to_stable += max(0, partition.last_stable_offset - committed.offset)
    return to_end, to_stable
