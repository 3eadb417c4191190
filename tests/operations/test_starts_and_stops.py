"""What stands in the way of a start is told in a sentence; a stop is clean, also in the middle of things."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.batches import batch
from tests.support.raw import RawConnection
from tests.support.server import ServerProcess
from tests.support.speaking import last_stable_offset, produce_request
from tests.support.topics import create_topic
from tests.support.waiting import wait_for

CANNOT_START = 3


def serve(data: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("oncelog"), "serve", "--listen", "127.0.0.1:0", "--data", data],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("file", "Not a directory (DIR/file/LOCK); a file is where a directory must be: move it away, or"),
        ("file/under", "Not a directory; a file is where a directory must be"),
        ("journal-is-a-file", "Not a directory (DIR/journal-is-a-file/journal); a file is where a directory"),
        ("no/such", "No such file or directory; only the last directory of a path is made"),
        pytest.param(
            "/proc/x",
            "No such file or directory; only the last directory of a path is made, and not in every",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux has /proc"),
        ),
    ],
)
def test_a_data_directory_that_cannot_be_had(tmp_path: Path, data: str, told: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "journal-is-a-file").mkdir()
    (tmp_path / "journal-is-a-file" / "journal").touch()
    path = str(tmp_path / data)
    refused = serve(path)
    assert refused.returncode == CANNOT_START
    assert refused.stdout == ""
    (line,) = refused.stderr.splitlines()
    expected = told.replace("DIR", str(tmp_path))
    assert line.startswith(f"oncelog cannot start: the data directory {path} cannot be opened: {expected}")


def test_a_variable_that_is_no_option_is_told_and_does_no_harm(tmp_path: Path) -> None:
    """No error: Kubernetes gives each container variables like ONCELOG_PORT for a service of that name."""
    server = ServerProcess(tmp_path / "data", environment={"ONCELOG_LISTEM": "x", "ONCELOG_PORT": "tcp://x"})
    server.start()
    assert server.stop() == 0
    assert "ONCELOG_LISTEM is no option; did you mean ONCELOG_LISTEN?" in server.output()
    assert "ONCELOG_PORT is no option" in server.output()


def program(tmp_path: Path, change: str) -> list[str]:
    """`oncelog serve` with something changed first."""
    script = (
        "import os, signal, sys\nfrom oncelog.broker import serve\nfrom oncelog.cli.main import main\n"
        f"{change}\n"
        "sys.exit(main(['serve', '--listen', '127.0.0.1:0', '--data', sys.argv[1]]))\n"
    )
    return [sys.executable, "-c", script, str(tmp_path / "data")]


def test_a_signal_ends_a_replay(tmp_path: Path) -> None:
    """It may take minutes, and whoever started us waits less before it kills."""
    change = """\
def replay_without_end(state, entries):
    os.kill(os.getpid(), signal.SIGTERM)
    while True:
        yield 1
serve.replay_in_steps = replay_without_end"""
    ServerProcess(tmp_path / "data").start().stop()
    ended = subprocess.run(program(tmp_path, change), capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert "Traceback" not in ended.stderr
    server = ServerProcess(tmp_path / "data").start()
    assert server.stop() == 0


def test_who_asks_again_to_stop_need_not_wait(tmp_path: Path) -> None:
    change = """\
async def hang(self):
    await serve.asyncio.sleep(3600)
serve.Server.close = hang"""
    running = subprocess.Popen(program(tmp_path, change), stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    with running.stdout:
        assert running.stdout.readline().startswith("oncelog ready")

    def is_over() -> bool:
        running.send_signal(signal.SIGINT)
        return running.poll() is not None

    try:
        wait_for(is_over, "the end")
    finally:
        running.kill()
    assert running.wait() == 1


def test_a_stop_under_load_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data").start()
    create_topic(server.bootstrap, "topic", 1, {})
    acknowledged = [0] * 4
    is_under_way = threading.Event()

    def produce(number: int) -> None:
        connection = RawConnection(server.bootstrap)
        while True:
            try:
                answer = connection.call(produce_request([("topic", 0, batch([b"value"]))]), 11)
            except (OSError, EOFError, AssertionError):
                return
            assert answer.responses[0].partition_responses[0].error_code == 0
            acknowledged[number] += 1
            if acknowledged[number] >= 50:
                is_under_way.set()

    threads = [threading.Thread(target=produce, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    assert is_under_way.wait(30)
    assert server.stop() == 0
    for thread in threads:
        thread.join()
    assert "Traceback" not in server.output()
    server.start()
    stored = last_stable_offset(RawConnection(server.bootstrap), "topic")
    assert sum(acknowledged) <= stored <= sum(acknowledged) + len(threads)
    server.stop()
