"""A start whose replay needs more memory than is free is refused with a sentence, and changes nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from oncelog.broker import memory
from tests.support.server import ServerProcess

WITH_SO_MUCH_MEMORY = (
    "import sys; from pathlib import Path\n"
    "from oncelog.broker import memory; from oncelog.cli.main import main\n"
    "memory.MEMINFO, memory.CONTAINER_LIMIT = Path(sys.argv[1]), Path(sys.argv[2]);"
    "sys.exit(main(['serve', '--listen', '127.0.0.1:0', '--data', sys.argv[3]]))"
)
PLENTY_KIB, LITTLE_KIB = 1 << 30, 8
"""A journal file that was not closed has room for thousands of entries: megabytes."""


def told(directory: Path, meminfo_kib: int, limit: str) -> tuple[Path, Path]:
    """Files that say so, as the system does."""
    meminfo, container = directory / "meminfo", directory / "memory.max"
    meminfo.write_text(f"MemTotal:  999999999 kB\nMemFree:  1 kB\nMemAvailable:   {meminfo_kib} kB\n")
    container.write_text(f"{limit}\n")
    return meminfo, container


@pytest.mark.parametrize(
    ("meminfo_kib", "limit", "least_bytes"),
    [(PLENTY_KIB, "max", PLENTY_KIB << 10), (PLENTY_KIB, "8192", 8192), (LITTLE_KIB, "65536", 8192)],
)
def test_what_is_free_is_the_least_that_is_told(
    meminfo_kib: int, limit: str, least_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meminfo, container = told(tmp_path, meminfo_kib, limit)
    monkeypatch.setattr(memory, "MEMINFO", meminfo)
    monkeypatch.setattr(memory, "CONTAINER_LIMIT", container)
    assert memory.free_bytes() == least_bytes


def test_nothing_told_is_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "none")
    monkeypatch.setattr(memory, "CONTAINER_LIMIT", tmp_path / "none")
    assert memory.free_bytes() is None


@pytest.mark.parametrize(("meminfo_kib", "limit"), [(LITTLE_KIB, "max"), (PLENTY_KIB, str(LITTLE_KIB << 10))])
def test_a_start_without_memory_for_the_replay_is_refused(
    meminfo_kib: int, limit: str, tmp_path: Path
) -> None:
    server = ServerProcess(tmp_path / "data").start()
    server.kill()
    files = [path for path in sorted((tmp_path / "data").rglob("*.journal")) if path.is_file()]
    before = [path.read_bytes() for path in files]

    refused = subprocess.run(
        [sys.executable, "-c", WITH_SO_MUCH_MEMORY, *told(tmp_path, meminfo_kib, limit), tmp_path / "data"],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert refused.returncode == 3
    assert refused.stdout == ""
    assert "oncelog cannot start: replaying up to" in refused.stderr
    assert "and 0 MiB are free; free some, or start on a machine with more" in refused.stderr
    assert before
    assert [path.read_bytes() for path in files] == before
    server.start()
    server.stop()
