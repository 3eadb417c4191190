"""`oncelog txn explain ID`: reads the journal of a stopped broker and tells the life of a transactional id.

It changes nothing in the directory. What a life is made of is `life.py`'s; this one reads and prints.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from oncelog.broker.options import UsageError
from oncelog.cli.life import Happening, Life, Moment
from oncelog.cli.printing import as_table, as_time, printable
from oncelog.disk import LockedError
from oncelog.disk.real import RealDisk
from oncelog.disk.unchanged import UnchangedDisk
from oncelog.journal import JournalError
from oncelog.journal.directory import LOCK_NAME, META_NAME, DataDirectory
from oncelog.journal.opening import Replay
from oncelog.machine.events import REGISTRY, UnknownEvent, decode_events
from oncelog.wire.definition import DecodeError

EXIT_OK = 0
EXIT_FAILED = 1


class ExplainError(Exception):
    """The journal can't be read, or not to its end; the message is a sentence for people."""


def run(arguments: argparse.Namespace, write: Callable[[str], object] = print) -> int:
    """Tell the life and return the exit code: 1 where there is none, or not all of it could be read."""
    if (arguments.producer_id is None) != (arguments.epoch is None):
        raise UsageError("--producer-id and --epoch go together")
    asked_for = None if arguments.epoch is None else (arguments.producer_id, arguments.epoch)
    life = Life(arguments.id, arguments.last, asked_for)
    failure: ExplainError | None = None
    try:
        read_into(life, arguments.data)
    except ExplainError as failed:
        failure = failed
    if not life.happenings and failure is None:
        failure = ExplainError(f"the journal in {arguments.data} tells nothing of {arguments.id!r}")
    if life.happenings:
        write(as_json(life) if arguments.format == "json" else as_text(life))
    if failure is not None:
        print(f"oncelog txn: {failure}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK


# --- the journal of a stopped broker ---


def read_into(life: Life, data: str) -> None:
    """All that the journal tells. Raises ExplainError; what lies before the damage is in `life` by then."""
    at = Moment(0, 0, 0)
    with _held(data) as directory, _silent():
        try:
            for entry in Replay(directory, directory.file_numbers()).entries():
                now = Moment(entry.position, entry.wall_ms, entry.age_ms)
                for event in decode_events(REGISTRY, entry.events):
                    life.take(event, now)
                at = now
        except (JournalError, UnknownEvent, DecodeError, OSError) as failed:
            raise ExplainError(f"the journal was read up to entry {at.position}: {failed}") from None
    life.finish(at)


@contextmanager
def _held(data: str) -> Iterator[DataDirectory]:
    """The directory, with its lock held, so that no broker starts to write meanwhile. Raises ExplainError."""
    disk = UnchangedDisk(RealDisk())
    directory = DataDirectory(disk, data)
    if not disk.exists(directory.meta_path):
        raise ExplainError(f"{data} is no data directory: there is no {META_NAME} in it")
    try:
        lock = disk.lock(f"{directory.path}/{LOCK_NAME}", f"oncelog txn explain, process {os.getpid()}")
    except LockedError as locked:
        raise ExplainError(
            f"{data} is in use by {locked.owner or 'another process'}; explain reads the journal of a stopped"
            " broker, and `oncelog txn describe` asks a running one what it knows now"
        ) from None
    except OSError as failed:
        raise ExplainError(f"{data} can't be locked: {failed}") from None
    try:
        directory.read_meta()
        yield directory
    except JournalError as failed:
        raise ExplainError(str(failed)) from None
    finally:
        lock.release()


@contextmanager
def _silent() -> Iterator[None]:
    """Without the journal's own words: it says that it cuts what is only looked at here."""
    log = logging.getLogger("oncelog.journal")
    was_disabled, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = was_disabled


# --- printing ---


def as_json(life: Life) -> str:
    """All of it, for programs."""
    told: dict[str, Any] = {
        "transactional_id": life.name,
        "omitted": life.omitted,
        "life": [_facts(each) for each in life.happenings],
    }
    if life.asked_for is not None:
        told["refused_since"] = None if life.refused_since is None else _facts(life.refused_since)
    return json.dumps(told, indent=2)


def _facts(happening: Happening) -> dict[str, Any]:
    facts = dict(happening.facts)
    told: dict[str, Any] = {
        "time": as_time(happening.at.wall_ms),
        "journal_entry": happening.at.position,
        "what": happening.what,
        "producer_id": happening.holds[0],
        "producer_epoch": happening.holds[1],
    }
    if happening.fenced is not None:
        told["fenced"] = {"producer_id": happening.fenced[0], "producer_epoch": happening.fenced[1]}
    if "began_wall_ms" in facts:
        began_wall_ms = facts.pop("began_wall_ms")
        told["began"] = None if began_wall_ms is None else as_time(began_wall_ms)
    return {**told, **facts}


def as_text(life: Life) -> str:
    """A line for each happening, and the answer to what was asked."""
    lines = []
    if life.omitted:
        lines.append(f"{life.omitted} earlier happenings are left out; --last shows more")
    lines.append(as_table([_row(each) for each in life.happenings]))
    if life.asked_for is not None:
        lines.append(printable(_answer(life)))
    return "\n".join(lines)


def _row(happening: Happening) -> dict[str, Any]:
    return {
        "time": as_time(happening.at.wall_ms),
        "entry": happening.at.position,
        "what": happening.what,
        "producer": _name(happening.holds),
        "fenced": None if happening.fenced is None else _name(happening.fenced),
        "told": "; ".join(_sentences(happening.facts)),
    }


def _name(producer: tuple[int, int]) -> str:
    """As people write a producer id and epoch."""
    return f"{producer[0]}:{producer[1]}" if producer[0] >= 0 else "-"


def _sentences(facts: dict[str, Any]) -> Iterator[str]:
    by = facts.get("by")
    if facts.get("ended_by"):
        yield f"by {facts['ended_by']}" + (f" ({by})" if by else "")
    elif by:
        yield f"by {by}"
    if facts.get("timeout_ms") is not None:
        yield f"timeout {facts['timeout_ms']} ms"
    if facts.get("took_ms") is not None:
        yield f"after {facts['took_ms']} ms"
    for each in facts.get("wrote", ()):
        yield f"{each['partition']}: " + (
            f"{each['records']} records from {each['first_offset']} to {each['last_offset']}"
            if each["records"]
            else "nothing"
        )
    for each in facts.get("groups", ()):
        yield f"group {each['group']}: {each['offsets']} offsets"


def _answer(life: Life) -> str:
    """Since when a producer must be refused, in one sentence."""
    assert life.asked_for is not None
    whose = f"producer {life.asked_for[0]} epoch {life.asked_for[1]}"
    since = life.refused_since
    if since is None:
        return f"nothing in the journal makes a request of {whose} be refused"
    has = f"has producer {since.holds[0]} epoch {since.holds[1]}" if since.holds[0] >= 0 else "has none"
    return (
        f"{whose} must be refused since {as_time(since.at.wall_ms)} (journal entry {since.at.position}):"
        f" {since.what}, {'; '.join(_sentences(since.facts))}; since then {life.name!r} {has}"
    )
