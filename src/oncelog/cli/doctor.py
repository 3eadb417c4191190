"""`oncelog doctor DIR`: whether a machine is fit to keep a log in a directory.

Each check looks at one thing and says what it found, what that means and what to do. It measures with the
disk code that the journal uses, on a file of its own; it must not open, lock or read what is there.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from oncelog.broker import process
from oncelog.broker.memory import available_bytes, container_bytes
from oncelog.broker.options import Options, UsageError
from oncelog.broker.process import NO_LIMIT, OpenFiles
from oncelog.disk.real import RealDisk

EXIT_FIT = 0
EXIT_UNFIT = 1

SYNCS = 50
BLOCK_BYTES = 4096
SYNC_MS_DOUBTFUL = 20.0
SYNC_MS_TOO_SHORT = 0.02
OPEN_FILES_UNFIT = 256
OPEN_FILES_BESIDE_CONNECTIONS = 200
CLOCK_SKEW_S_MAX = 2.0
EARLIEST_WALL_S = 1_735_689_600
"""The beginning of 2025: a clock that says less was never set."""
MEMORY_BYTES_UNFIT = 128 << 20
MEMORY_BYTES_DOUBTFUL = 512 << 20
TIME_ERROR = 5
"""What adjtimex returns while the clock is not synchronized."""

LOCAL = frozenset({"ext4", "ext3", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "apfs"})
GONE_WITH_THE_MACHINE = frozenset({"tmpfs", "ramfs"})
OF_OTHERS = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "virtiofs", "vboxsf"})


class Verdict(Enum):
    FIT = "fit"
    DOUBTFUL = "doubtful"
    UNFIT = "unfit"


class Finding(NamedTuple):
    """What one check says. values: the same for programs."""

    check: str
    verdict: Verdict
    text: str
    values: dict[str, object]


def run(directory: str, output_format: str, write: Callable[[str], object]) -> int:
    """Examine, write what was found, and return the exit code. Raises UsageError."""
    if not directory:
        raise UsageError("name the directory that the log is to be kept in")
    if os.path.lexists(directory) and not os.path.isdir(directory):
        raise UsageError(f"{directory} is no directory")
    findings = list(examine(Path(directory)))
    is_unfit = any(finding.verdict is Verdict.UNFIT for finding in findings)
    write(as_json(directory, findings) if output_format == "json" else as_text(findings))
    return EXIT_UNFIT if is_unfit else EXIT_FIT


def examine(directory: Path) -> Iterator[Finding]:
    """Every check, on the directory or, where it is not there yet, on the nearest one above it that is."""
    place = directory.absolute()
    while not place.is_dir() and place != place.parent:
        place = place.parent
    options = Options(data=str(directory))
    above = directory.absolute().parent
    if not above.is_dir():
        text = (
            f"{above} is not there; serve makes the last directory of a path and none above it: make it first"
        )
        yield Finding("directory", Verdict.UNFIT, text, {})
    yield filesystem(place, _mountinfo())
    yield syncs(place)
    yield open_files(process.open_files(), options.max_connections)
    yield clock(time.time(), _file_wall_s(place), _is_synchronized())
    yield space(RealDisk().free_bytes(str(place)), options.disk_reserve_bytes + options.journal_file_bytes)
    yield memory(available_bytes(), container_bytes())


def as_text(findings: Sequence[Finding]) -> str:
    """A line for each, and the sum."""
    lines = [f"{finding.verdict.value:<9} {finding.check:<11} {finding.text}" for finding in findings]
    worst = max(findings, key=lambda finding: list(Verdict).index(finding.verdict)).verdict
    return "\n".join([*lines, f"all in all: {worst.value}"]) + "\n"


def as_json(directory: str, findings: Sequence[Finding]) -> str:
    """The same for programs."""
    rows = [
        {"check": finding.check, "verdict": finding.verdict.value, "text": finding.text, **finding.values}
        for finding in findings
    ]
    is_fit = all(finding.verdict is not Verdict.UNFIT for finding in findings)
    return json.dumps({"directory": directory, "fit": is_fit, "checks": rows}, indent=2) + "\n"


# --- the filesystem ---


def filesystem(place: Path, mountinfo: str | None) -> Finding:
    """mountinfo: /proc/self/mountinfo, where there is one."""
    kind, mount = _mounted_on(place, mountinfo)
    values: dict[str, object] = {"kind": kind, "mounted_on": mount}
    where = f"{kind}, mounted on {mount}"
    if kind is None:
        text = "its kind is not known here; it should be a local one that keeps what was synced"
        return Finding("filesystem", Verdict.DOUBTFUL, text, values)
    if kind in GONE_WITH_THE_MACHINE:
        text = f"{where}: it is in memory, and gone when the machine stops; choose a directory on a disk"
        return Finding("filesystem", Verdict.UNFIT, text, values)
    if kind in OF_OTHERS or kind.startswith("fuse"):
        text = f"{where}: locks and syncs are up to somebody else's program; choose a local disk"
        return Finding("filesystem", Verdict.UNFIT, text, values)
    if kind == "overlay":
        text = f"{where}: it goes with the container; mount a volume for the data"
        return Finding("filesystem", Verdict.DOUBTFUL, text, values)
    if kind not in LOCAL:
        text = f"{where}: nobody has tried it; it should keep what was synced"
        return Finding("filesystem", Verdict.DOUBTFUL, text, values)
    return Finding("filesystem", Verdict.FIT, where, values)


def _mountinfo() -> str | None:
    try:
        return Path("/proc/self/mountinfo").read_text()
    except OSError:
        return None


def _mounted_on(place: Path, mountinfo: str | None) -> tuple[str | None, str | None]:
    """Kind and mount point of the innermost mount that holds `place`; of two on one point, the later."""
    found: tuple[str | None, str | None] = (None, None)
    real = os.path.realpath(place)
    for line in (mountinfo or "").splitlines():
        before, _, after = line.partition(" - ")
        point = before.split(" ")[4]
        point = re.sub(r"\\(\d{3})", lambda escaped: chr(int(escaped[1], 8)), point)
        is_above = real == point or real.startswith(point.rstrip("/") + "/")
        if is_above and len(point) >= len(found[1] or ""):
            found = (after.split(" ")[0], point)
    return found


# --- syncs ---


def syncs(place: Path) -> Finding:
    """Write blocks durably, one after the other, as the journal does, and see how long each takes."""
    try:
        return sync_times(_measured_ms(place))
    except OSError as failed:
        text = f"{place} cannot be written: {failed.strerror or failed}; serve would not start"
        return Finding("sync", Verdict.UNFIT, text, {"error": str(failed)})


def sync_times(times_ms: Sequence[float]) -> Finding:
    """What so long syncs mean."""
    ordered = sorted(times_ms)
    median_ms, slowest_ms = ordered[len(ordered) // 2], ordered[-1]
    values: dict[str, object] = {"median_ms": round(median_ms, 3), "slowest_ms": round(slowest_ms, 3)}
    text = (
        f"a durable write of 4 KiB takes {median_ms:.2f} ms, the slowest of {len(ordered)} {slowest_ms:.2f}"
    )
    if median_ms < SYNC_MS_TOO_SHORT:
        text += "; no disk is that fast: something answers before anything is kept"
        return Finding("sync", Verdict.DOUBTFUL, text, values)
    if median_ms > SYNC_MS_DOUBTFUL:
        text += "; every acknowledgement waits that long, and every commit"
        return Finding("sync", Verdict.DOUBTFUL, text, values)
    return Finding("sync", Verdict.FIT, text, values)


def _measured_ms(place: Path) -> list[float]:
    path = place / f".oncelog-doctor-{os.getpid()}"
    file = RealDisk().create(str(path))
    try:
        _take_name(path)
        file.zero_fill(0, SYNCS * BLOCK_BYTES)
        file.sync()
        times_ms = []
        for number in range(SYNCS):
            began_s = time.perf_counter()
            file.write([bytes([number]) * BLOCK_BYTES], number * BLOCK_BYTES, durable=True)
            times_ms.append((time.perf_counter() - began_s) * 1000)
        return times_ms
    finally:
        file.close()
        path.unlink(missing_ok=True)


def _take_name(path: Path) -> None:
    """So that nothing is left behind even by a kill, where the system lets an open file lose its name."""
    with contextlib.suppress(PermissionError):
        path.unlink()


# --- limits of the process ---


def open_files(limits: OpenFiles | None, connections: int) -> Finding:
    """serve raises the soft limit to the hard one by itself."""
    needed = connections + OPEN_FILES_BESIDE_CONNECTIONS
    hard_limit = NO_LIMIT if limits is None else limits.hard
    is_unlimited = hard_limit == NO_LIMIT
    values: dict[str, object] = {"hard_limit": None if is_unlimited else hard_limit, "needed": needed}
    if is_unlimited or hard_limit >= needed:
        said = "no limit" if is_unlimited else f"{hard_limit} may be open"
        return Finding("open files", Verdict.FIT, f"{said}, {needed} are needed at most", values)
    verdict = Verdict.UNFIT if hard_limit < OPEN_FILES_UNFIT else Verdict.DOUBTFUL
    text = (
        f"{hard_limit} may be open, and {connections} connections may need {needed}; raise the hard limit "
        f"(ulimit -Hn, LimitNOFILE= of systemd) or lower --max-connections"
    )
    return Finding("open files", verdict, text, values)


# --- time ---


def clock(wall_s: float, file_wall_s: float | None, is_synchronized: bool | None) -> Finding:
    """file_wall_s: when a file that was just written says that it was."""
    skew_s = None if file_wall_s is None else round(file_wall_s - wall_s, 3)
    values: dict[str, object] = {"synchronized": is_synchronized, "file_skew_s": skew_s}
    said = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(wall_s))
    if wall_s < EARLIEST_WALL_S:
        text = (
            f"it says {said}: it was never set; records would be dated wrongly, and kept or removed wrongly"
        )
        return Finding("clock", Verdict.UNFIT, text, values)
    if skew_s is not None and abs(skew_s) > CLOCK_SKEW_S_MAX:
        text = f"it says {said}, and the filesystem dates files {skew_s:+.1f} s from that"
        return Finding("clock", Verdict.DOUBTFUL, text, values)
    if is_synchronized is False:
        text = f"it says {said}, and nothing keeps it right (no NTP); records carry its time"
        return Finding("clock", Verdict.DOUBTFUL, text, values)
    known = "synchronized" if is_synchronized else "whether it is synchronized is not known here"
    return Finding("clock", Verdict.FIT, f"it says {said}, {known}", values)


def _file_wall_s(place: Path) -> float | None:
    path = place / f".oncelog-doctor-{os.getpid()}"
    try:
        with path.open("wb") as file:
            _take_name(path)
            file.write(b"x")
            file.flush()
            dated_s = os.fstat(file.fileno()).st_mtime
        path.unlink(missing_ok=True)
    except OSError:
        return None
    return dated_s


def _is_synchronized() -> bool | None:
    """As the kernel has it; None where it cannot be asked."""
    try:
        adjtimex = ctypes.CDLL(None).adjtimex
    except (AttributeError, OSError, TypeError):
        return None
    # A struct timex of zeros asks and changes nothing; it is smaller than this everywhere.
    answer: int = adjtimex(ctypes.create_string_buffer(512))
    return None if answer < 0 else answer != TIME_ERROR


# --- room ---


def space(free_bytes: int, needed_bytes: int) -> Finding:
    """needed_bytes: the reserve below which Produce is refused, and the next file."""
    values: dict[str, object] = {"free_bytes": free_bytes, "needed_bytes": needed_bytes}
    text = f"{free_bytes >> 20} MiB are free"
    if free_bytes < needed_bytes:
        text += f"; below {needed_bytes >> 20} MiB (the reserve and one file) Produce is soon refused"
        return Finding("free space", Verdict.UNFIT, text, values)
    return Finding("free space", Verdict.FIT, text, values)


def memory(available_bytes: int | None, container_bytes: int | None) -> Finding:
    """What is available, or what a container may have where that is less."""
    known = [size for size in (available_bytes, container_bytes) if size is not None]
    values: dict[str, object] = {"available_bytes": available_bytes, "container_bytes": container_bytes}
    if not known:
        return Finding("memory", Verdict.DOUBTFUL, "how much there is cannot be told here", values)
    least = min(known)
    text = f"{least >> 20} MiB are available"
    if least < MEMORY_BYTES_UNFIT:
        return Finding("memory", Verdict.UNFIT, f"{text}; a broker alone needs about 64", values)
    if least < MEMORY_BYTES_DOUBTFUL:
        text += "; the cache of payloads alone may take 64, and each remembered producer and group its share"
        return Finding("memory", Verdict.DOUBTFUL, text, values)
    return Finding("memory", Verdict.FIT, text, values)
