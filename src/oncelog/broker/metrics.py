"""The metrics of a broker: what there is, as one table, and the counters that fill in while it works.

Counting is a plain addition where the work is done; everything else waits for somebody who asks. The table
gives `/metrics` its texts and the documentation its chapter. Must not know how values are come by (scrape.py)
nor how they are asked for (admin.py).
"""

from __future__ import annotations

import functools
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import CodeType
from typing import Any, NamedTuple

from oncelog.wire.definition import Struct
from oncelog.wire.errors import ErrorCode

# --- the table ---


class Kind(Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"


class Metric(NamedTuple):
    """One family. alert: when to wake somebody, for the documentation: an expression, and what it means.

    of_state: a fact of the log, told only once it is durable.
    """

    name: str
    kind: Kind
    help: str
    alert: str
    labels: tuple[str, ...] = ()
    of_state: bool = False


READY = Metric(
    "oncelog_ready",
    Kind.GAUGE,
    "1 when the journal was replayed, a sync has succeeded and the engine goes on.",
    "`oncelog_ready == 0` for 1 minute: clients are not served",
)
SYNC_SECONDS = Metric(
    "oncelog_sync_seconds",
    Kind.HISTOGRAM,
    "From handing a journal entry to its writer until it was durable, seals included.",
    "`histogram_quantile(0.99, rate(oncelog_sync_seconds_bucket[5m])) > 0.1` for 10 minutes: the disk is "
    "slow, and every acknowledgement waits for it",
)
SYNC_WAITING_SECONDS = Metric(
    "oncelog_sync_waiting_seconds",
    Kind.GAUGE,
    "How long the entry that is with the writer has been there; 0 when none is.",
    "`oncelog_sync_waiting_seconds > 5`: the disk hangs, nothing is acknowledged",
)
ENTRY_BYTES = Metric(
    "oncelog_entry_bytes",
    Kind.SUMMARY,
    "Bytes of events and record batches in one journal entry.",
    "`rate(oncelog_entry_bytes_sum[5m])` above four fifths of what the disk was measured to write",
)
ENTRY_COMMANDS = Metric(
    "oncelog_entry_commands",
    Kind.SUMMARY,
    "Commands, such as one Produce or one EndTxn, that share one journal entry and its sync.",
    "`rate(oncelog_entry_commands_sum[5m]) / rate(oncelog_entry_commands_count[5m]) > 500` for 10 minutes: "
    "syncs are too slow for the load",
)
REPLIES_HELD = Metric(
    "oncelog_replies_held",
    Kind.GAUGE,
    "Answers that are made and wait for their entry to be durable.",
    "`oncelog_replies_held > 10000` for 1 minute: more comes in than the disk takes",
)
PRODUCES_WAITING = Metric(
    "oncelog_produces_waiting",
    Kind.GAUGE,
    "Connections whose Produce waits for room in the next entry.",
    "`oncelog_produces_waiting > 0` for 10 minutes: producers are throttled by the disk",
)
REQUESTS = Metric(
    "oncelog_requests_total",
    Kind.COUNTER,
    "Requests that were started.",
    '`rate(oncelog_requests_total{api="Produce"}[10m]) == 0` where there is always traffic: '
    "producers have lost their way",
    ("api",),
)
ERRORS = Metric(
    "oncelog_errors_total",
    Kind.COUNTER,
    "Errors in answers, each partition's and member's by itself.",
    '`rate(oncelog_errors_total{error=~"NOT_ENOUGH_REPLICAS|CORRUPT_MESSAGE|KAFKA_STORAGE_ERROR|'
    'UNKNOWN_SERVER_ERROR"}[5m]) > 0`: the disk is nearly full, or data arrives or lies damaged',
    ("api", "error"),
    of_state=True,
)
LOOP_LAG_SECONDS = Metric(
    "oncelog_loop_lag_seconds",
    Kind.HISTOGRAM,
    "How late a timer ran that is set ten times a second.",
    "`histogram_quantile(0.99, rate(oncelog_loop_lag_seconds_bucket[5m])) > 0.1` for 10 minutes: "
    "the processor is the limit",
)
CONNECTIONS = Metric(
    "oncelog_connections",
    Kind.GAUGE,
    "Connections of clients.",
    "`oncelog_connections` above four fifths of `--max-connections`, or of `process_max_fds`",
)
CONNECTIONS_ACCEPTED = Metric(
    "oncelog_connections_accepted_total",
    Kind.COUNTER,
    "Connections that were accepted.",
    "`rate(oncelog_connections_accepted_total[5m]) > 50` for 10 minutes: a client connects for every "
    "request, or in despair",
)
CONNECTIONS_CLOSED = Metric(
    "oncelog_connections_closed_for_cause_total",
    Kind.COUNTER,
    "Connections that the broker closed for what they did, or for a limit; see the log.",
    "`rate(oncelog_connections_closed_for_cause_total[5m]) > 0` for 10 minutes: the log says who and why",
)
HELD_BYTES = Metric(
    "oncelog_held_bytes",
    Kind.GAUGE,
    "Bytes of requests and answers that connections hold, as of the last second.",
    "`oncelog_held_bytes` above half of `--held-bytes` for 5 minutes: clients don't read their answers",
)
JOURNAL_BYTES = Metric(
    "oncelog_journal_bytes",
    Kind.GAUGE,
    "Bytes of the journal's files that are in use.",
    "`predict_linear(oncelog_journal_bytes[6h], 86400)` above the size of the disk",
)
DISK_FREE_BYTES = Metric(
    "oncelog_disk_free_bytes",
    Kind.GAUGE,
    "Bytes that the data directory's file system has left, as of the last look.",
    "`oncelog_disk_free_bytes` below twice `--disk-reserve-bytes`: Produce is refused from the reserve on",
)
STATE_SHOWN = Metric(
    "oncelog_state_shown",
    Kind.GAUGE,
    "0 when what this answer says of the log was left out, since it was not durable within a second.",
    "`oncelog_state_shown == 0` for 1 minute: the disk hangs; see `oncelog_sync_waiting_seconds`",
)
TOPICS = Metric(
    "oncelog_topics",
    Kind.GAUGE,
    "Topics.",
    "`delta(oncelog_topics[1h]) > 100`: a client creates topics by mistake",
    of_state=True,
)
PARTITIONS = Metric(
    "oncelog_partitions",
    Kind.GAUGE,
    "Partitions of all topics.",
    "`oncelog_partitions` above four fifths of `--max-partitions`",
    of_state=True,
)
GROUPS = Metric(
    "oncelog_groups",
    Kind.GAUGE,
    "Consumer groups.",
    "`oncelog_groups` above four fifths of `--max-groups`",
    of_state=True,
)
PRODUCERS = Metric(
    "oncelog_producers",
    Kind.GAUGE,
    "Producers that partitions remember, counted in each partition, with what open transactions may add.",
    "`oncelog_producers` above nine tenths of `--max-producers`: new producers are about to be refused",
    of_state=True,
)
TRANSACTIONAL_IDS = Metric(
    "oncelog_transactional_ids",
    Kind.GAUGE,
    "Transactional ids that are remembered.",
    "`oncelog_transactional_ids` above nine tenths of `--max-transactional-ids`: new ones are about to be "
    "refused; ids that are made up anew at each start are the common cause",
    of_state=True,
)
EVICTED = Metric(
    "oncelog_evicted_total",
    Kind.COUNTER,
    "Producers and transactional ids that were forgotten before their time, to make room.",
    "`rate(oncelog_evicted_total[1h]) > 0`: the limit named is small for the load, and who sends a batch "
    "again after more than 15 minutes may store it twice",
    ("limit",),
    of_state=True,
)
TRANSACTIONS_OPEN = Metric(
    "oncelog_transactions_open",
    Kind.GAUGE,
    "Transactions that have begun and not ended.",
    "`oncelog_transactions_open` above twice the number of transactional producers that you run",
    of_state=True,
)
TRANSACTION_OLDEST_SECONDS = Metric(
    "oncelog_transaction_oldest_seconds",
    Kind.GAUGE,
    "How long the oldest open transaction has been open; 0 when none is.",
    "`oncelog_transaction_oldest_seconds > 60`: consumers with read_committed see nothing that came after it",
    of_state=True,
)
UNSTABLE_RECORDS = Metric(
    "oncelog_unstable_records",
    Kind.GAUGE,
    "High watermark minus last stable offset, of all partitions together.",
    "`oncelog_unstable_records > 100000` for 5 minutes: an open transaction holds back read_committed",
    of_state=True,
)
TOPIC_UNSTABLE_RECORDS = Metric(
    "oncelog_topic_unstable_records",
    Kind.GAUGE,
    "High watermark minus last stable offset, of a topic's partitions together.",
    "`oncelog_topic_unstable_records > 10000` for 5 minutes, for topics that are read with read_committed",
    ("topic",),
    of_state=True,
)
TOPICS_LEFT_OUT = Metric(
    "oncelog_topics_left_out",
    Kind.GAUGE,
    "Topics without a row of their own: there are more than `--metrics-rows`.",
    "`oncelog_topics_left_out > 0`: alerts on single topics may miss some; raise `--metrics-rows`",
    of_state=True,
)
GROUP_LAG_RECORDS = Metric(
    "oncelog_group_lag_records",
    Kind.GAUGE,
    "Offsets from what a group has committed to the high watermark, and to the last stable offset, "
    "of its partitions together.",
    '`oncelog_group_lag_records{until="last_stable_offset"} > 10000` for 10 minutes: the group is too slow; '
    'while only `until="high_watermark"` grows, it waits for an open transaction',
    ("group", "until"),
    of_state=True,
)
GROUPS_LEFT_OUT = Metric(
    "oncelog_groups_left_out",
    Kind.GAUGE,
    "Groups without rows of their own: there are more than `--metrics-rows`, their offsets are very many, "
    "or their name is longer than 255 characters.",
    "`oncelog_groups_left_out > 0`: alerts on lag may miss some; raise `--metrics-rows`",
    of_state=True,
)
MEMORY_BYTES = Metric(
    "process_resident_memory_bytes",
    Kind.GAUGE,
    "Memory that the process has in use.",
    "`process_resident_memory_bytes` above four fifths of the machine's, or of the container's",
)
MAX_FDS = Metric(
    "process_max_fds",
    Kind.GAUGE,
    "Files and connections that the process may have open.",
    "`process_max_fds < 4096`: `oncelog doctor` says how to raise it",
)
CPU_SECONDS = Metric(
    "process_cpu_seconds_total",
    Kind.COUNTER,
    "Processor time that the process has used.",
    "`rate(process_cpu_seconds_total[5m]) > 0.9` for 10 minutes: one processor is used up",
)
START_SECONDS = Metric(
    "process_start_time_seconds",
    Kind.GAUGE,
    "When the broker began to start, in Unix time.",
    "`changes(process_start_time_seconds[1h]) > 2`: it restarts again and again",
)

METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))


# --- counting ---

SECONDS_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Histogram:
    """How many values were at most each of the bounds, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        return sum(self.counts)


class Summary(NamedTuple):
    """How many values there were, and their sum."""

    number: int
    total: int


class EngineCounts:
    """What the engine counts, once per journal entry: entries, and the commands and bytes in all of them.

    now_s: a clock finer than the loop's, whose time stands still within a turn; nothing but these counts
    depends on it.
    """

    __slots__ = ("_now_s", "_submitted_s", "commands", "entries", "size_bytes", "sync_s")

    def __init__(self, now_s: Callable[[], float] = time.perf_counter) -> None:
        self.sync_s = Histogram(SECONDS_BOUNDS)
        self.entries = 0
        self.commands = 0
        self.size_bytes = 0
        self._now_s = now_s
        self._submitted_s: float | None = None

    def submitted(self, commands: int, size_bytes: int) -> None:
        """An entry goes to the writer."""
        self.entries += 1
        self.commands += commands
        self.size_bytes += size_bytes
        self._submitted_s = self._now_s()

    def submitted_seal(self) -> None:
        """An entry without content goes to the writer."""
        self._submitted_s = self._now_s()

    def confirmed(self) -> None:
        """The entry with the writer is durable."""
        if self._submitted_s is not None:
            self.sync_s.observe(self._now_s() - self._submitted_s)
            self._submitted_s = None

    @property
    def sync_waiting_s(self) -> float:
        """How long the entry with the writer has been there."""
        return 0.0 if self._submitted_s is None else self._now_s() - self._submitted_s


class ErrorCounts:
    """Errors in answers, by API and code: answers are looked through as they are made."""

    def __init__(self, apis: Iterable[tuple[str, type[Struct]]]) -> None:
        """apis: each one's name and the class of its answers."""
        self.by_api: dict[str, dict[int, int]] = {}
        self._looks: dict[type[Struct], Callable[[Any], None]] = {}
        for name, response in apis:
            counts: dict[int, int] = {}
            look = look_for_errors(response, counts)
            if look is not None:
                self.by_api[name] = counts
                self._looks[response] = look

    def look_at(self, response: Struct) -> None:
        """Count the errors in an answer. Kinds of answers that are none of the APIs' own have none."""
        look = self._looks.get(type(response))
        if look is not None:
            look(response)


def look_for_errors(struct: type[Struct], counts: dict[int, int]) -> Callable[[Any], None] | None:
    """A function that counts the errors in a value, its own and its lists'; None where it has none.

    It is written out as nested loops and compiled: it runs for every answer.
    """
    code = _code_for_errors(struct)
    if code is None:
        return None
    names: dict[str, Any] = {"counts": counts}
    exec(code, names)
    look: Callable[[Any], None] = names["look"]
    return look


@functools.cache
def _code_for_errors(struct: type[Struct]) -> CodeType | None:
    """Compiled once for each kind of answer: a broker that is restored counts anew, by the same code."""
    body = _lines_for_errors(struct, "value", 1)
    return compile("\n".join(["def look(value):", *body]), "<oncelog errors>", "exec") if body else None


def _lines_for_errors(struct: type[Struct], name: str, depth: int) -> list[str]:
    """Statements that look at the struct in the variable `name`, and at what is in its lists."""
    indent = "    " * depth
    lines: list[str] = []
    for spec in struct.fields:
        if spec.name.endswith("error_code"):
            code = f"{name}.{spec.name}"
            lines.append(f"{indent}if {code}: counts[{code}] = counts.get({code}, 0) + 1")
        element = spec.type.element
        if spec.type.name == "array" and element.name == "struct":
            inside = _lines_for_errors(element.element, f"{name}_", depth + 1)
            if inside:
                lines += [f"{indent}for {name}_ in {name}.{spec.name} or ():", *inside]
    return lines


def error_name(code: int) -> str:
    """Kafka's name of an error code."""
    try:
        return ErrorCode(code).name
    except ValueError:
        return str(code)


# --- the text ---


Value = float | int | Histogram | Summary


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of one family: a value for each set of labels, in the order of the family's labels."""

    metric: Metric
    rows: Mapping[tuple[str, ...], Value]


def single(metric: Metric, value: Value) -> Sample:
    """A family without labels."""
    return Sample(metric, {(): value})


def exposition(samples: Iterable[Sample]) -> str:
    """Prometheus's text format, version 0.0.4."""
    lines: list[str] = []
    for sample in samples:
        metric = sample.metric
        lines.append(f"# HELP {metric.name} {_escaped(metric.help, quotes=False)}")
        lines.append(f"# TYPE {metric.name} {metric.kind.value}")
        for values, value in sample.rows.items():
            labels = [f'{name}="{_escaped(text)}"' for name, text in zip(metric.labels, values, strict=True)]
            if isinstance(value, Histogram):
                lines += _histogram_lines(metric.name, labels, value)
            elif isinstance(value, Summary):
                lines.append(f"{metric.name}_sum{_braced(labels)} {value.total}")
                lines.append(f"{metric.name}_count{_braced(labels)} {value.number}")
            else:
                lines.append(f"{metric.name}{_braced(labels)} {_number(value)}")
    return "".join(f"{line}\n" for line in lines)


def _histogram_lines(name: str, labels: list[str], value: Histogram) -> Iterable[str]:
    total = 0
    for bound, count in zip([*map(_number, value.bounds), "+Inf"], value.counts, strict=True):
        total += count
        within = f'le="{bound}"'
        yield f"{name}_bucket{_braced([*labels, within])} {total}"
    yield f"{name}_sum{_braced(labels)} {_number(value.sum)}"
    yield f"{name}_count{_braced(labels)} {total}"


def _braced(labels: list[str]) -> str:
    return f"{{{','.join(labels)}}}" if labels else ""


def _number(value: float | int) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _escaped(text: str, quotes: bool = True) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def metrics_markdown() -> str:
    """The documentation's table."""
    lines = ["| metric | kind | what it says | alert |", "|---|---|---|---|"]
    for metric in METRICS:
        labels = f" by {', '.join(metric.labels)}" if metric.labels else ""
        alert = metric.alert.replace("|", "\\|")
        lines.append(f"| `{metric.name}`{labels} | {metric.kind.value} | {metric.help} | {alert} |")
    return "\n".join(lines) + "\n"
