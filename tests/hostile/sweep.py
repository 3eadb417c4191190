"""Mutated frames by the thousand or the million against a running broker: `make hostile FRAMES=N SEED=N`.

Every frame must be answered, or its connection closed, in time; the broker must stay up, its memory must not
grow, it must log no error of its own, and a well-behaved client beside it must not notice. Several
connections are open at once, each with one frame under way, so that each frame's time is its own.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import select
import socket
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from oncelog.broker.registry import Registry, Route
from oncelog.wire.definition import DecodeError
from oncelog.wire.frames import decode_request_header
from oncelog.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from oncelog.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from oncelog.wire.messages.fetch import FetchRequest
from oncelog.wire.messages.init_producer_id import InitProducerIdRequest
from oncelog.wire.messages.join_group import JoinGroupRequest
from oncelog.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from oncelog.wire.messages.produce import ProduceRequest
from tests.hostile.bystander import TOPIC as BYSTANDER_TOPIC
from tests.hostile.bystander import Bystander, Latencies
from tests.hostile.mutations import mutated
from tests.hostile.requests import LONG_WAIT_MS, PARTITIONS, TOPICS, TRANSACTIONAL_IDS, Generator
from tests.hostile.segments import Segment, joined, request_segments
from tests.support.raw import RawConnection
from tests.support.server import ServerProcess

SERVER_OPTIONS = (
    *("--max-partitions", "500"),
    *("--max-groups", "500"),
    *("--payload-cache-bytes", "1MiB"),
    *("--group-initial-rebalance-delay-ms", "0"),
    *("--group-min-session-timeout-ms", "100"),
    *("--group-max-session-timeout-ms", "1000"),
    *("--log-level", "warning"),
)
"""Limits that keep what mutated frames create legitimately (topics, groups, cached bytes) small."""

CLIENT_ID = "hostile"
CONNECTIONS = 16
BASES_PER_VERSION = 6
RENEW_AFTER_FRAMES = 20_000
WARM_UP_FRAMES = 30_000
SLICE_FRAMES_MIN = 20_000
SLICES_MAX = 20
SAY_AFTER_S = 15.0
ANSWER_WITHIN_S = 1.0
MEMORY_GROWTH_BYTES_MAX = 50 << 20
BYSTANDER_FACTOR_MAX = 2.0
CORRELATION_ID = 7
PROBE_CORRELATION_ID = 0x7EA5_0001
PROBE = struct.pack(">ihhih", 10, 18, 0, PROBE_CORRELATION_ID, -1)
"""An ApiVersions request: its answer shows that a Produce with acks=0, which has none, was dealt with."""
FAULT_SIGNS = ("Traceback", "an error of ours", "CRITICAL", "Exception in callback", "Error in")


@dataclass
class Base:
    """A good request, taken apart."""

    api: str
    version: int
    segments: list[Segment]


@dataclass
class Report:
    """What became of the frames of one run."""

    frames: int = 0
    answered: int = 0
    closed: int = 0
    without_answer_by_design: int = 0
    left_out: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    late: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    by_api: dict[str, Counter[str]] = field(default_factory=dict)
    memory_bytes: list[int] = field(default_factory=list)
    was_interrupted: bool = False

    def count(self, api: str, what: str) -> None:
        self.by_api.setdefault(api, Counter())[what] += 1

    def add(self, other: Report) -> None:
        """Take in what became of more frames."""
        self.frames += other.frames
        self.answered += other.answered
        self.closed += other.closed
        self.without_answer_by_design += other.without_answer_by_design
        self.left_out += other.left_out
        self.seconds += other.seconds
        self.slowest_s = max(self.slowest_s, other.slowest_s)
        self.late += other.late
        self.wrong += other.wrong
        self.memory_bytes += other.memory_bytes
        self.was_interrupted |= other.was_interrupted
        for api, counts in other.by_api.items():
            self.by_api.setdefault(api, Counter()).update(counts)


class ServerGone(AssertionError):
    """The broker does not take connections any more."""


class Attacker:
    """One connection with at most one frame under way."""

    __slots__ = ("address", "api", "buffer", "described", "frame", "has_probe", "sent_s", "socket")

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.socket: socket.socket | None = None
        self.buffer = b""
        self.frame: bytes | None = None
        self.api = ""
        self.described = ""
        self.sent_s = 0.0
        self.has_probe = False

    def connect(self) -> socket.socket:
        try:
            made = socket.create_connection(self.address, 5.0)
        except OSError as error:
            raise ServerGone(f"the broker takes no connections: {error}") from error
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = made
        self.buffer = b""
        return made

    def correlation_ids(self) -> list[int]:
        """Those of the whole replies that have come, in order."""
        found = []
        while len(self.buffer) >= 8:
            size, correlation_id = struct.unpack_from(">ii", self.buffer)
            if len(self.buffer) < 4 + size:
                break
            found.append(correlation_id)
            self.buffer = self.buffer[4 + size :]
        return found


class Sweep:
    """Sends frames made from good requests; `run` returns when each was answered or its connection closed.

    mutate: False sends the good requests themselves, to compare with. answer_within_s: later answers are
    faults. pace_per_s: frames a second, or as many as go.
    """

    def __init__(
        self,
        server: ServerProcess,
        *,
        seed: int,
        answer_within_s: float = ANSWER_WITHIN_S,
        mutate: bool = True,
        connections: int = CONNECTIONS,
        pace_per_s: float | None = None,
    ) -> None:
        self._server = server
        self._seed = seed
        self._answer_within_s = answer_within_s
        self._mutate = mutate
        self._pace_per_s = pace_per_s
        self._random = random.Random(seed)
        self._routes: dict[int, Route] = Registry.load().routes
        host, _, port = server.bootstrap.rpartition(":")
        self._attackers = [Attacker((host, int(port))) for _ in range(connections)]
        self._by_descriptor: dict[int, Attacker] = {}
        self._poll = select.epoll()
        self._bases: list[Base] = []
        self._renewals = 0
        self.report = Report()

    # --- what is sent ---

    def _renew(self) -> None:
        """Delete the topics and make them again, and draw new good requests.

        Deleting bounds what the broker rightly remembers: each batch that was accepted, each topic created.
        """
        topic_ids = prepare(self._server.bootstrap)
        generator = Generator(self._seed * 1_000_003 + self._renewals, topic_ids)
        self._renewals += 1
        self._bases = [
            Base(
                route.name,
                version,
                request_segments(
                    generator.request(route.api.request, version), version, CORRELATION_ID, CLIENT_ID
                ),
            )
            for route in self._routes.values()
            for version in range(route.min_version, route.max_version + 1)
            for _ in range(BASES_PER_VERSION)
        ]

    def _next(self, attacker: Attacker) -> None:
        """Put the next frame that may be sent into the attacker."""
        while True:
            base = self._random.choice(self._bases)
            names, frame = ("as it is", joined(base.segments))
            if self._mutate:
                names, frame = mutated(self._random, base.segments)
            fate = self._fate(frame)
            if fate == "waits":
                self.report.left_out += 1
                continue
            attacker.api = base.api
            attacker.frame = frame
            attacker.described = f"{base.api} v{base.version} {names}"
            attacker.has_probe = fate == "no answer"
            return

    def _fate(self, frame: bytes) -> str:
        """Whether a frame is a good request that rightly waits for longer than a second, or has no answer."""
        if frame[:2] not in (b"\0\0", b"\0\1", b"\0\x0b"):
            return "answer"
        try:
            header = decode_request_header(frame)
            route = self._routes[header.api_key]
            if not route.min_version <= header.api_version <= route.max_version:
                return "answer"
            request = route.decode(frame, header.api_version, header.body_offset, False)
        except DecodeError:
            return "answer"
        if isinstance(request, ProduceRequest):
            return "no answer" if request.acks == 0 else "answer"
        if isinstance(request, FetchRequest):
            return "waits" if request.max_wait_ms > LONG_WAIT_MS else "answer"
        assert isinstance(request, JoinGroupRequest)
        longest_ms = max(request.session_timeout_ms, request.rebalance_timeout_ms)
        return "waits" if longest_ms > LONG_WAIT_MS else "answer"

    # --- sending and receiving ---

    def run(self, frames: int, *, watch_memory: bool = False, say: bool = False) -> Report:
        """Send so many frames. watch_memory: note the broker's resident memory once a second."""
        report = self.report = Report()
        began_s = last_s = said_s = time.monotonic()
        sent = 0
        self._renew()
        renew_at = RENEW_AFTER_FRAMES
        idle = list(self._attackers)
        try:
            while idle or self._by_descriptor:
                now_s = time.monotonic()
                pace_per_s = self._pace_per_s
                allowed = frames if pace_per_s is None else int((now_s - began_s) * pace_per_s) + 1
                while idle and sent < min(frames, allowed):
                    self._send(idle.pop())
                    sent += 1
                if sent >= frames and len(idle) == len(self._attackers):
                    break
                for descriptor, _ in self._poll.poll(0.005 if idle else 0.05):
                    self._receive(self._by_descriptor[descriptor], idle)
                if now_s - last_s >= 1.0:
                    last_s = now_s
                    self._find_late(now_s, idle)
                    if watch_memory:
                        report.memory_bytes.append(resident_bytes(self._server.process_id))
                    if say and (sys.stderr.isatty() or now_s - said_s >= SAY_AFTER_S):
                        said_s = now_s
                        self._say(sent, frames, now_s - began_s)
                if sent >= renew_at:
                    renew_at += RENEW_AFTER_FRAMES
                    self._renew()
        except KeyboardInterrupt:
            # Enough: the table tells of those that were sent.
            sent -= len(self._attackers) - len(idle)
            report.was_interrupted = True
        finally:
            for attacker in self._attackers:
                self._drop(attacker)
        report.frames = sent
        report.seconds = time.monotonic() - began_s
        return report

    def _send(self, attacker: Attacker) -> None:
        self._next(attacker)
        made = attacker.socket
        if made is None:
            made = attacker.connect()
            self._by_descriptor[made.fileno()] = attacker
            self._poll.register(made.fileno(), select.EPOLLIN)
        frame = attacker.frame
        assert frame is not None
        attacker.sent_s = time.monotonic()
        # A broker that closes while a long frame is still being sent is seen when receiving.
        with contextlib.suppress(OSError):
            made.sendall(struct.pack(">i", len(frame)) + frame + (PROBE if attacker.has_probe else b""))

    def _receive(self, attacker: Attacker, idle: list[Attacker]) -> None:
        assert attacker.socket is not None
        try:
            data = attacker.socket.recv(1 << 18)
        except OSError:
            data = b""
        report = self.report
        is_under_way = attacker.frame is not None
        if not data:
            self._drop(attacker)
            if is_under_way:
                report.closed += 1
                self._finish(attacker, "closed", idle)
            return
        attacker.buffer += data
        for correlation_id in attacker.correlation_ids():
            self._answered(attacker, correlation_id, idle)

    def _answered(self, attacker: Attacker, correlation_id: int, idle: list[Attacker]) -> None:
        report = self.report
        frame = attacker.frame
        if frame is None:
            report.wrong.append(f"{attacker.described}: answered twice, or something else was")
            return
        if attacker.has_probe and correlation_id == PROBE_CORRELATION_ID:
            report.without_answer_by_design += 1
            self._finish(attacker, "no answer", idle)
            return
        (expected,) = struct.unpack_from(">i", frame, 4) if len(frame) >= 8 else (None,)
        if correlation_id != expected:
            report.wrong.append(f"{attacker.described}: answered {correlation_id}: {frame.hex()[:4000]}")
        report.answered += 1
        self._finish(attacker, "answered", idle)

    def _finish(self, attacker: Attacker, what: str, idle: list[Attacker]) -> None:
        took_s = time.monotonic() - attacker.sent_s
        assert attacker.frame is not None
        report = self.report
        report.slowest_s = max(report.slowest_s, took_s)
        report.count(attacker.api, what)
        if took_s > self._answer_within_s:
            shown = attacker.frame[:2000].hex()
            report.late.append(f"{attacker.described}: {what} after {took_s:.2f} s: {shown}")
        attacker.frame = None
        idle.append(attacker)

    def _find_late(self, now_s: float, idle: list[Attacker]) -> None:
        """Give up on frames that nothing became of."""
        for attacker in self._attackers:
            if attacker.frame is not None and now_s - attacker.sent_s > 3 * self._answer_within_s:
                self._drop(attacker)
                self._finish(attacker, "nothing", idle)

    def _drop(self, attacker: Attacker) -> None:
        dropped, attacker.socket = attacker.socket, None
        if dropped is not None:
            # Closing takes it out of the poll.
            self._by_descriptor.pop(dropped.fileno(), None)
            dropped.close()

    def _say(self, sent: int, frames: int, seconds: float) -> None:
        report = self.report
        memory = f", {report.memory_bytes[-1] >> 20} MiB" if report.memory_bytes else ""
        print(
            f"{sent:,} of {frames:,} frames, {sent / seconds:,.0f}/s, {report.answered:,} answered, "
            f"{report.closed:,} closed, {len(report.late)} late{memory}   ",
            end="\r" if sys.stderr.isatty() else "\n",
            file=sys.stderr,
            flush=True,
        )


def prepare(bootstrap: str) -> tuple[bytes, ...]:
    """Make the topics and transactional ids that requests are about, and no others; the topics' ids."""
    connection = RawConnection(bootstrap)
    there = connection.call(MetadataRequest(topics=None), 12).topics
    old = [DeleteTopicState(name=topic.name) for topic in there if topic.name != BYSTANDER_TOPIC]
    connection.call(DeleteTopicsRequest(topics=old, timeout_ms=10_000), 6)
    topics = [CreatableTopic(name=name, num_partitions=PARTITIONS, replication_factor=1) for name in TOPICS]
    connection.call(CreateTopicsRequest(topics=topics, timeout_ms=10_000), 5)
    for name in TRANSACTIONAL_IDS:
        request = InitProducerIdRequest(transactional_id=name, transaction_timeout_ms=60_000)
        connection.call(request, 4)
    wanted = [MetadataRequestTopic(name=name) for name in TOPICS]
    answer = connection.call(MetadataRequest(topics=wanted, allow_auto_topic_creation=False), 12)
    connection.close()
    return tuple(bytes(topic.topic_id) for topic in answer.topics)


def resident_bytes(process_id: int) -> int:
    """The resident memory of a process."""
    pages = int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def faults_in(output: str) -> list[str]:
    """Lines of the broker's log that show an error of its own."""
    return [line for line in output.splitlines() if any(sign in line for sign in FAULT_SIGNS)]


# --- the command ---


@contextlib.contextmanager
def served(directory: Path) -> Iterator[ServerProcess]:
    with ServerProcess(directory / "data", options=SERVER_OPTIONS) as server:
        yield server


def main() -> int:
    parser = argparse.ArgumentParser(description="Mutated frames against a broker of its own.")
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a directory for the broker's data and log")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = arguments.keep or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        with served(directory) as server:
            return _sweep(server, arguments.frames, arguments.seed)


def _sweep(server: ServerProcess, frames: int, seed: int) -> int:
    Sweep(server, seed=seed + 1).run(min(WARM_UP_FRAMES, frames), say=True)
    before_bytes = resident_bytes(server.process_id)
    slices = max(1, min(SLICES_MAX, frames // SLICE_FRAMES_MIN))
    good, mutated_ = Sweep(server, seed=seed + 2, mutate=False), Sweep(server, seed=seed)
    report = Report()
    beside_good, beside_mutated = [], []
    with Bystander(server.bootstrap) as bystander:
        bystander.latencies()
        time.sleep(5.0)
        alone = bystander.latencies()
        Sweep(server, seed=seed + 3, pace_per_s=500.0).run(2500, say=True)
        beside_paced = bystander.latencies()
        # By turns, so that whatever else the machine does falls on both alike.
        for number in range(slices):
            good.run(SLICE_FRAMES_MIN // 2)
            beside_good.append(bystander.latencies())
            count = frames * (number + 1) // slices - frames * number // slices
            report.add(mutated_.run(count, watch_memory=True, say=True))
            beside_mutated.append(bystander.latencies())
            if report.was_interrupted:
                break
    grown_bytes = max([*report.memory_bytes, resident_bytes(server.process_id)]) - before_bytes
    print(file=sys.stderr)
    _print_table(report)
    _print_latencies(
        ("alone", alone),
        ("beside 500 mutated frames/s", beside_paced),
        ("beside good frames, as many as go", middle(beside_good)),
        ("beside mutated frames, as many as go", middle(beside_mutated)),
    )
    print(f"\n{report.frames:,} mutated frames, seed {seed}: {report.frames / report.seconds:,.0f}/s")
    broken = _verdicts(server, report, before_bytes, grown_bytes, middle(beside_good), middle(beside_mutated))
    for line in (*report.late[:5], *report.wrong[:5], *faults_in(server.output())[:10]):
        print("  " + line[:2000])
    return 1 if broken else 0


def middle(rows: list[Latencies]) -> Latencies:
    """The medians of several rows, which one busy moment of the machine does not move."""
    return Latencies(
        sum(row.count for row in rows),
        median(row.p50_ms for row in rows),
        median(row.p99_ms for row in rows),
        max(row.max_ms for row in rows),
    )


def _verdicts(
    server: ServerProcess,
    report: Report,
    before_bytes: int,
    grown_bytes: int,
    good: Latencies,
    mutated_: Latencies,
) -> bool:
    faults = faults_in(server.output())
    factor = mutated_.p99_ms / good.p99_ms
    checks = (
        (
            f"answered or closed within {ANSWER_WITHIN_S:g} s: slowest {report.slowest_s * 1000:.0f} ms, "
            f"{len(report.late)} late",
            not report.late,
        ),
        (f"answers with another correlation id: {len(report.wrong)}", not report.wrong),
        (
            f"resident memory: {before_bytes / 2**20:.0f} MiB, grown by {grown_bytes / 2**20:.1f} MiB",
            grown_bytes < MEMORY_GROWTH_BYTES_MAX,
        ),
        (
            f"a well-behaved client's p99: {mutated_.p99_ms:.2f} ms, {factor:.2f} times the one beside good",
            factor <= BYSTANDER_FACTOR_MAX,
        ),
        (f"errors of the broker's own in its log: {len(faults)}", not faults),
        ("the broker's process is up", server.is_running),
    )
    for text, holds in checks:
        print(f"{'ok    ' if holds else 'BROKEN'} {text}")
    return not all(holds for _, holds in checks)


def _print_table(report: Report) -> None:
    columns = ("answered", "no answer", "closed", "nothing")
    print(f"{'API':<24}" + "".join(f"{column:>12}" for column in columns))
    for api, counts in sorted(report.by_api.items()):
        print(f"{api:<24}" + "".join(f"{counts[column]:>12,}" for column in columns))
    totals = [sum(counts[column] for counts in report.by_api.values()) for column in columns]
    print(f"{'all':<24}" + "".join(f"{total:>12,}" for total in totals))
    print(f"left out because they rightly wait for longer: {report.left_out:,}\n")


def _print_latencies(*rows: tuple[str, Latencies]) -> None:
    print(f"{'a well-behaved client':<40}{'requests':>10}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}")
    for name, row in rows:
        print(f"{name:<40}{row.count:>10,}{row.p50_ms:>10.2f}{row.p99_ms:>10.2f}{row.max_ms:>10.2f}")


if __name__ == "__main__":
    sys.exit(main())
