"""A well-behaved client in a process of its own: what it notices while others send nonsense.

It produces one record and asks for metadata in turn, one request in flight, a few hundred a second, and
checks each answer; its offsets must count up without a gap. A process of its own, so that the work of making
hostile frames is not counted as the broker's slowness.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from types import TracebackType
from typing import NamedTuple

from oncelog.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from tests.support.batches import batch
from tests.support.raw import RawConnection
from tests.support.speaking import produce
from tests.support.topics import create_topic

TOPIC = "well-behaved"
PAUSE_S = 0.003


class Latencies(NamedTuple):
    """Of the requests since the last question, in milliseconds."""

    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class Bystander:
    """The client's process, seen from the one that measures."""

    def __init__(self, bootstrap: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.bystander", bootstrap],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def latencies(self) -> Latencies:
        """Those since the last call. Raises AssertionError when the client was not served rightly."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the well-behaved client failed"
        return Latencies(**json.loads(line))

    def __enter__(self) -> Bystander:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


def _measure(bootstrap: str) -> None:
    connection = RawConnection(bootstrap)
    create_topic(bootstrap, TOPIC, 1, {})
    took_ms: list[float] = []
    lock = threading.Lock()
    is_over = threading.Event()
    wanted = MetadataRequest(topics=[MetadataRequestTopic(name=TOPIC)], allow_auto_topic_creation=False)

    def answer_questions() -> None:
        for _ in sys.stdin:
            with lock:
                found = sorted(took_ms) or [0.0]
                took_ms.clear()
            print(json.dumps(_summary(found)), flush=True)
        is_over.set()

    threading.Thread(target=answer_questions, daemon=True).start()
    sent = 0
    while not is_over.is_set():
        began_s = time.perf_counter()
        if sent % 2 == 0:
            answer = produce(connection, TOPIC, batch([b"x" * 100]))
            assert (answer.error_code, answer.base_offset) == (0, sent // 2), answer
        else:
            assert connection.call(wanted, 12).topics[0].error_code == 0
        elapsed_ms = (time.perf_counter() - began_s) * 1000
        sent += 1
        with lock:
            took_ms.append(elapsed_ms)
        is_over.wait(PAUSE_S)


def _summary(sorted_ms: list[float]) -> dict[str, float]:
    count = len(sorted_ms)
    return {
        "count": count,
        "p50_ms": sorted_ms[count // 2],
        "p99_ms": sorted_ms[count * 99 // 100],
        "max_ms": sorted_ms[-1],
    }


if __name__ == "__main__":
    _measure(sys.argv[1])
