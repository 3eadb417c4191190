"""Which frameworks are run, how their example is started, and what each of them does not claim to do.

Knows the examples' commands and messages only; nothing of how they are tested.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
ENVIRONMENTS = ROOT / ".venv-frameworks"
INSTALL_LIMIT_S = 600
ORDER_LIMIT_S = 60

CONSUME_PRODUCE = "consume, produce"
GROUP_OF_TWO = "group of two"
RETRY = "retry"
EXACTLY_ONCE = "exactly once"
KILLED = "service killed, started again"
BROKER_KILLED = "broker killed, started again"


def order_as_json(item: str) -> bytes:
    return json.dumps({"item": item}).encode()


def order_as_task(item: str) -> bytes:
    """What taskiq sends for `order.kiq(item=item)`; its own sending is part of the first check."""
    task = {
        "task_id": item,
        "task_name": "order",
        "labels": {"retry_on_error": "True"},
        "labels_types": {"retry_on_error": 5},
        "args": [],
        "kwargs": {"item": item},
    }
    return json.dumps(task).encode()


def receipt_as_json(value: bytes) -> dict[str, object]:
    receipt: dict[str, object] = json.loads(value)
    return receipt


def receipt_as_task(value: bytes) -> dict[str, object]:
    task: dict[str, dict[str, object]] = json.loads(value)
    return task["kwargs"]


@dataclass(frozen=True)
class Framework:
    """One example. `not_claimed` gives, by check, the reason why the framework does not promise it."""

    name: str
    requirement: str
    distributions: tuple[str, ...]
    example: str
    command: tuple[str, ...]
    not_claimed: Mapping[str, str]
    encode_order: Callable[[str], bytes] = order_as_json
    decode_receipt: Callable[[bytes], dict[str, object]] = receipt_as_json
    sends: tuple[str, ...] = field(default=())
    """Its own command that orders what is appended, where an order is more than a line of JSON."""

    @property
    def environment(self) -> Path:
        return ENVIRONMENTS / self.requirement

    def program(self, words: Sequence[str]) -> list[str]:
        """The command with its program taken from the framework's environment."""
        return [str(self.environment / "bin" / words[0]), *words[1:]]

    def wanted(self) -> str:
        """Its requirement as it stands in pyproject.toml's group `frameworks`."""
        groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
        (found,) = [each for each in groups["frameworks"] if each.startswith(self.requirement)]
        return str(found)

    def install(self) -> str | None:
        """Make the environment unless it is there already. Returns why that was not possible."""
        wanted = self.wanted()
        ready = self.environment / "ready"
        if ready.exists() and ready.read_text() == wanted:
            return None
        for command in (
            [sys.executable, "-m", "venv", str(self.environment)],
            self.program(["pip", "install", "--quiet", "--disable-pip-version-check", wanted]),
        ):
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_LIMIT_S)
            if done.returncode:
                return (done.stderr.strip() or "no reason given").splitlines()[-1]
        ready.write_text(wanted)
        return None

    def versions(self) -> str:
        program = "import sys, importlib.metadata as m; print(*map(m.version, sys.argv[1:]))"
        command = self.program(["python", "-c", program, *self.distributions])
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = zip(self.distributions, done.stdout.split(), strict=True)
        return ", ".join(f"{name} {version}" for name, version in found)

    def order_by_itself(self, bootstrap: str, items: Sequence[str]) -> None:
        """Have the framework's own producer send the orders."""
        subprocess.run(
            self.program([*self.sends, *items]),
            env=surroundings(bootstrap, "sender"),
            cwd=EXAMPLES,
            check=True,
            capture_output=True,
            timeout=ORDER_LIMIT_S,
        )


def surroundings(bootstrap: str, worker: str) -> dict[str, str]:
    return {
        **os.environ,
        "KAFKA": bootstrap,
        "WORKER": worker,
        "PYTHONPATH": str(EXAMPLES),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }


class Worker:
    """One process of an example, with its children. Killed it is started again, as a supervisor would."""

    def __init__(self, framework: Framework, bootstrap: str, name: str, directory: Path) -> None:
        self.name = name
        self.output_path = directory / f"{name}.output"
        self._directory = directory / name
        self._directory.mkdir()
        self._command = framework.program([word.format(examples=EXAMPLES) for word in framework.command])
        self._environment = surroundings(bootstrap, name)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        assert not self.is_running
        with self.output_path.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def kill(self) -> None:
        """kill -9 of the process and its children."""
        if self._process is not None:
            if self.is_running:
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def output(self) -> str:
        return self.output_path.read_text(errors="replace")


NO_TRANSACTIONS = "FastStream passes a transactional id on, but begins no transactions"
OUTSIDE_TRANSACTIONS = (
    "Faust's \"exactly_once\" failed here: it writes to topics that the service doesn't read "
    "outside its transactions"
)

FRAMEWORKS = (
    Framework(
        name="FastStream (aiokafka)",
        requirement="faststream",
        distributions=("faststream", "aiokafka"),
        example="faststream_service.py",
        command=("python", "{examples}/faststream_service.py"),
        not_claimed={EXACTLY_ONCE: NO_TRANSACTIONS},
    ),
    Framework(
        name="FastStream (confluent-kafka)",
        requirement="faststream",
        distributions=("faststream", "confluent-kafka"),
        example="faststream_confluent_service.py",
        command=("python", "{examples}/faststream_confluent_service.py"),
        not_claimed={EXACTLY_ONCE: NO_TRANSACTIONS},
    ),
    Framework(
        name="faust-streaming",
        requirement="faust-streaming",
        distributions=("faust-streaming", "aiokafka"),
        example="faust_service.py",
        command=("python", "{examples}/faust_service.py", "worker", "--without-web"),
        not_claimed={EXACTLY_ONCE: OUTSIDE_TRANSACTIONS},
    ),
    Framework(
        name="Quix Streams",
        requirement="quixstreams",
        distributions=("quixstreams", "confluent-kafka"),
        example="quixstreams_service.py",
        command=("python", "{examples}/quixstreams_service.py"),
        not_claimed={},
    ),
    Framework(
        name="taskiq",
        requirement="taskiq-aio-kafka",
        distributions=("taskiq", "taskiq-aio-kafka", "aiokafka"),
        example="taskiq_service.py",
        command=("taskiq", "worker", "--workers", "1", "taskiq_service:broker"),
        not_claimed={
            EXACTLY_ONCE: "taskiq has no transactions",
            KILLED: "taskiq-aio-kafka commits tasks that it only holds",
        },
        encode_order=order_as_task,
        decode_receipt=receipt_as_task,
        sends=("python", "taskiq_service.py"),
    ),
)
