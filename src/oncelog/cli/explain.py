"""`oncelog txn explain ID`: the life of a transactional id, from a stopped broker's journal or a running one.

It changes nothing in a directory. What a life is made of is `life.py`'s, or what the broker's admin address
tells; this one reads, asks and prints.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote

from oncelog.broker.options import UsageError
from oncelog.cli.cluster import ClusterError, parse_address
from oncelog.cli.life import Happening, Life, Moment, Producer
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
ANSWER_TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 8 << 20
SENTENCE_CHARACTERS_MAX = 200
NAME_CHARACTERS_MAX = 100

Told = dict[str, Any]
"""As it is printed: for JSON, and for tables made from it."""

TIMES = {"wall_ms": "time", "began_wall_ms": "began", "last_wall_ms": "last_time"}


class ExplainError(Exception):
    """The journal can't be read, or not to its end; the message is a sentence for people."""


def run(arguments: argparse.Namespace, write: Callable[[str], object] = print) -> int:
    """Tell the life and return the exit code: 1 where there is none, or not all of it could be read."""
    if (arguments.producer_id is None) != (arguments.epoch is None):
        raise UsageError("--producer-id and --epoch go together")
    asked_for: Producer | None = None
    if arguments.epoch is not None:
        asked_for = (arguments.producer_id, arguments.epoch)
    told: Told | None
    failure: ExplainError | None = None
    if arguments.admin is not None:
        told, failure = from_broker(arguments.id, arguments.admin, asked_for)
    else:
        told, failure = from_journal(Life(arguments.id, arguments.last, asked_for), arguments.data)
    if told is not None:
        write(json.dumps(told, indent=2) if arguments.format == "json" else as_text(told))
    if failure is not None:
        print(f"oncelog txn: {failure}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK


# --- a running broker ---


def from_broker(
    name: str, address: str, asked_for: Producer | None
) -> tuple[Told | None, ExplainError | None]:
    """What the broker tells, or why there is nothing. Raises UsageError."""
    try:
        host, port = parse_address(address)
    except ClusterError as wrong:
        raise UsageError(f"--admin: {wrong}") from None
    try:
        answered = _asked(host, port, _path(name, asked_for))
        told = json.loads(answered)
        told["life"] = [_timed(each) for each in told["life"]]
        for each in told["refused"]:
            each["since"] = None if each["since"] is None else _timed(each["since"])
        # Whatever is missing in it is found out here, and not when half of it is printed.
        as_text(told)
    except ExplainError as failed:
        return None, failed
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, ExplainError(f"{address} answers what is no life: is it an oncelog admin address?")
    if asked_for is not None:
        told["refused_since"] = told["refused"][0]["since"]
    return told, None


def _path(name: str, asked_for: Producer | None) -> str:
    """Raises ExplainError."""
    try:
        path = f"/transactions/{quote(name, safe='')}"
    except UnicodeEncodeError:
        raise ExplainError("the transactional id is not UTF-8, which every one is") from None
    return path if asked_for is None else f"{path}?producer_id={asked_for[0]}&epoch={asked_for[1]}"


def _asked(host: str, port: int, path: str) -> bytes:
    """The body of the answer. Raises ExplainError."""
    where = f"{host}:{port}"
    connection = HTTPConnection(host, port, timeout=ANSWER_TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read(ANSWER_BYTES_MAX)
    except (OSError, HTTPException) as failed:
        raise ExplainError(
            f"the admin address {where} can't be asked: {failed or type(failed).__name__}"
        ) from None
    finally:
        connection.close()
    if answer.status != HTTPStatus.OK:
        sentence = printable(body.decode(errors="replace").strip()[:SENTENCE_CHARACTERS_MAX])
        raise ExplainError(f"{where} answers {answer.status}: {sentence}")
    return body


# --- the journal of a stopped broker ---


def from_journal(life: Life, data: str) -> tuple[Told | None, ExplainError | None]:
    """What the journal tells, if anything, and what is wrong with it, if something is."""
    failure: ExplainError | None = None
    try:
        read_into(life, data)
    except ExplainError as failed:
        failure = failed
    if not life.happenings:
        return None, failure or ExplainError(f"the journal in {data} tells nothing of {life.name!r}")
    told: Told = {
        "transactional_id": life.name,
        "omitted": life.omitted,
        "life": [_facts(each) for each in life.happenings],
    }
    since, producer = life.refused_since, life.asked_for
    if life.asked_for is not None:
        told["refused_since"] = None if since is None else _facts(since)
    elif life.newest_fencing is not None:
        since, producer = life.newest_fencing, life.newest_fencing.fenced
    told["refused"] = []
    if producer is not None:
        told["refused"].append({**_producer(producer), "since": None if since is None else _facts(since)})
    return told, failure


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
            f"{data} is in use by {locked.owner or 'another process'}; --data reads the journal of a"
            " stopped broker; a running one is asked with --admin HOST:PORT, where it serves that"
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


# --- telling ---


def _producer(producer: Producer) -> Told:
    return {"producer_id": producer[0], "producer_epoch": producer[1]}


def _facts(happening: Happening) -> Told:
    """A happening of a journal in the form that a broker's have."""
    facts = {
        "wall_ms": happening.at.wall_ms,
        "journal_entry": happening.at.position,
        "what": happening.what,
        **_producer(happening.holds),
    }
    if happening.fenced is not None:
        facts["fenced"] = _producer(happening.fenced)
    return _timed({**facts, **happening.facts})


def _timed(facts: Told) -> Told:
    """With moments as people read them in the place of milliseconds."""
    told: Told = {}
    for name, value in facts.items():
        if name.endswith("wall_ms"):
            told[TIMES[name]] = None if value is None else as_time(value)
        else:
            told[name] = value
    return told


def as_text(told: Told) -> str:
    """A line for each happening, and since when whoever is refused is."""
    lines = []
    if told.get("omitted"):
        lines.append(f"{told['omitted']} earlier happenings are left out; --last shows more")
    if told.get("is_complete") is False:
        lines.append("what happened before is not kept")
    lines.append(as_table([_row(each) for each in told["life"]]))
    lines += [printable(_answer(told, each)) for each in told["refused"]]
    return "\n".join(lines)


def _row(facts: Told) -> Told:
    return {
        "time": facts["time"],
        "entry": facts["journal_entry"],
        "what": facts["what"],
        "producer": _name(facts),
        "fenced": _name(facts["fenced"]) if "fenced" in facts else None,
        "told": "; ".join(_sentences(facts)),
    }


def _name(producer: Told) -> str:
    """As people write a producer id and epoch."""
    return f"{producer['producer_id']}:{producer['producer_epoch']}" if producer["producer_id"] >= 0 else "-"


def _sentences(facts: Told) -> Iterator[str]:
    by = facts.get("by")
    if facts["what"] == "refused":
        yield from _refusal(facts, by)
        return
    if facts.get("ended_by"):
        yield f"by {facts['ended_by']}" + (f" ({by})" if by else "")
    elif by:
        yield f"by {by}"
    if facts.get("timeout_ms") is not None:
        yield f"timeout {facts['timeout_ms']} ms"
    if facts.get("took_ms") is not None:
        yield f"after {facts['took_ms']} ms"
    for each in facts.get("wrote", ()):
        yield f"{each['partition']}: {_written(each)}"
    yield from _uncounted(facts, "wrote", "partition")
    for each in facts.get("groups", ()):
        yield f"group {each['group']}: {each['offsets']} offsets"
    yield from _uncounted(facts, "groups", "group")
    if facts.get("gap_follows"):
        yield "what happened next is not kept"


def _written(place: Told) -> str:
    if place["first_offset"] is None:
        return "nothing"
    first, count = place["first_offset"], place.get("records")
    if count is not None:
        return f"{count} record{'s' if count > 1 else ''} from {first} to {place['last_offset']}"
    if "marker_offset" in place:
        return f"from {first} to its marker at {place['marker_offset']}"
    return f"from {first}"


def _uncounted(facts: Told, names: str, what: str) -> Iterator[str]:
    """How many there were besides those that are named."""
    more = facts.get(f"{what}_count", 0) - len(facts.get(names, ()))
    if more > 0:
        yield f"and {more} more {what}{'s' if more > 1 else ''}"


def _refusal(facts: Told, by: str | None) -> Iterator[str]:
    yield f"{facts['api']}: {facts['error']}"
    if by:
        yield f"sent by {by}"
    yield f"the id had {_name(facts['known'])}"
    if facts["times"] > 1:
        yield f"{facts['times']} times until {facts['last_time']}"


def _answer(told: Told, asked: Told) -> str:
    """Since when a producer is refused, or must be, in one sentence."""
    name = told["transactional_id"]
    if len(name) > NAME_CHARACTERS_MAX:
        name = f"{name[:NAME_CHARACTERS_MAX]}..."
    whose = f"producer {asked['producer_id']} epoch {asked['producer_epoch']}"
    is_running = "is_complete" in told
    since = asked["since"]
    if since is None:
        if asked.get("is_over"):
            return f"{whose} is refused since an event that is no longer kept"
        if is_running:
            return f"no event that is kept makes a request of {whose} be refused"
        return f"nothing in the journal makes a request of {whose} be refused"
    has = "has none"
    if since["producer_id"] >= 0:
        has = f"has producer {since['producer_id']} epoch {since['producer_epoch']}"
    return (
        f"{whose} {'is' if is_running else 'must be'} refused since {since['time']}"
        f" (journal entry {since['journal_entry']}):"
        f" {since['what']}, {'; '.join(_sentences(since))}; since then {name!r} {has}"
    )
