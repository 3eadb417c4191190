"""docs/journal-format.md: the bytes of the data directory, from the declarations that write them.

Layouts come from `journal/format.py`, events from `machine/events.py`; only what connects them is said here.
Must not read or write a journal.
"""

from __future__ import annotations

import inspect
import struct
from collections.abc import Iterable, Iterator

from oncelog.journal.format import (
    BLOCK_BYTES,
    ENTRY_HEADER,
    FILE_HEADER,
    FORMAT_VERSION,
    INDEX_HEADER,
    INDEX_ROW_FIELDS,
    INDEX_TRAILER,
    LayoutField,
)
from oncelog.machine.events import REGISTRY, EndReason
from oncelog.wire.definition import EVENT_HEADER_BYTES, Event, FieldSpec, FieldType, Struct

_CODE_NAMES = {"H": "uint16", "I": "uint32", "Q": "uint64", "q": "int64"}


def markdown() -> str:
    """The whole page."""
    return "\n\n".join(part.strip() for part in _parts() if part) + "\n"


def _parts() -> Iterator[str]:
    yield _OPENING
    yield "## A file"
    yield _FILE
    yield _layout("File header", FILE_HEADER.fields)
    yield "## An entry"
    yield _ENTRY
    yield _layout("Entry header", ENTRY_HEADER.fields)
    yield "## The index of a closed file"
    yield _INDEX
    yield _layout("Index header", INDEX_HEADER.fields)
    yield _layout("Index row, one per entry", INDEX_ROW_FIELDS)
    yield _layout("Index trailer", INDEX_TRAILER.fields)
    yield "## Where the journal ends"
    yield _END
    yield "## Payload"
    yield _PAYLOAD
    yield "## Events"
    yield _EVENTS
    yield _event_table(REGISTRY.kinds.values())
    yield f"Numbers of `reason` in {_link('TransactionEnded')}: {_enum_values()}."
    structs: dict[str, type[Struct]] = {}
    for kind in sorted(REGISTRY.kinds):
        yield _event(REGISTRY.kinds[kind], structs)
    yield "## Parts of events"
    for name in sorted(structs):
        yield f"### {name}"
        yield _about(structs[name])
        yield _fields(structs[name], structs)


# --- layouts ---


def _layout(title: str, fields: Iterable[LayoutField]) -> str:
    lines = [f"### {title}", "", "| byte | field | type | meaning |", "|---:|---|---|---|"]
    at = 0
    for field in fields:
        lines.append(f"| {at} | {field.name} | {_CODE_NAMES[field.code]} | {field.meaning} |")
        at += struct.calcsize(f">{field.code}")
    return "\n".join([*lines, "", f"{at} bytes."])


# --- events ---


def _event_table(events: Iterable[type[Event]]) -> str:
    lines = ["| kind | event | versions |", "|---:|---|---|"]
    for event in sorted(events, key=lambda each: each.kind):
        lines.append(f"| {event.kind} | {_link(event.__name__)} | {_versions(event)} |")
    return "\n".join(lines)


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def _versions(event: type[Event]) -> str:
    first, last = event.first_version, event.version
    return str(last) if first == last else f"{first}-{last}"


def _enum_values() -> str:
    return ", ".join(f"{reason.value} {reason.name}" for reason in EndReason)


def _event(event: type[Event], structs: dict[str, type[Struct]]) -> str:
    head = f"### {event.__name__}\n\nKind {event.kind}, version {_versions(event)}."
    return f"{head} {_about(event)}\n\n{_fields(event, structs)}"


def _about(of: type[Struct]) -> str:
    """The declaration's own words; its notes on fields become a list."""
    lines = []
    for line in inspect.cleandoc(of.__doc__ or "").splitlines():
        names, colon, _ = line.partition(":")
        is_note = colon and all(
            name.strip() in {spec.name for spec in of.fields} for name in names.split(",")
        )
        lines.append(f"- {line}" if is_note else line)
    return "\n".join(lines)


def _fields(of: type[Struct], structs: dict[str, type[Struct]]) -> str:
    lines = ["| field | type | |", "|---|---|---|"]
    for spec in of.fields:
        lines.append(f"| {spec.name} | {_type(spec.type, structs)} | {_nullable(spec)} |")
    return "\n".join(lines)


def _type(of: FieldType, structs: dict[str, type[Struct]]) -> str:
    if of.name == "array":
        return f"array of {_type(of.element, structs)}"
    if of.name == "struct":
        part: type[Struct] = of.element
        if part.__name__ not in structs:
            structs[part.__name__] = part
            _fields(part, structs)
        return _link(part.__name__)
    return of.name


def _nullable(spec: FieldSpec) -> str:
    return "may be null" if spec.nullable.last >= spec.nullable.first else ""


# --- what connects the tables ---

_OPENING = f"""
# The journal's format

Made by `python -m oncelog.docs` from `src/oncelog/journal/format.py` and `src/oncelog/machine/events.py`;
change those, not this page. This is format version {FORMAT_VERSION}.

A data directory holds:

| path | what it is |
|---|---|
| `LOCK` | locked by the process that serves; tells which one that is |
| `meta.json` | `format_version`, `cluster_id`, and `crc`: CRC-32C of both as sorted JSON (`, ` and `: `) |
| `journal/0000000001.journal` and so on | the journal: everything else, in order |

Names that end in `.part` are files in the making: they are removed at the next start. `meta.json` is
written last when a directory is made, so a directory without it holds no entry.

All numbers are big-endian. A checksum is a CRC-32C; "started from" names the value that it is continued
from.
"""

_FILE = f"""
A file is its header, padded with zeros to one block of {BLOCK_BYTES} bytes; then entries, each of which
begins on a block; then zeros, written ahead so that later writes there change nothing but data. Files
roll by size: an entry that does not fit begins the next file, which is made, and durable with its name,
before it is needed: once the first entry of a file is durable, the next file is made. A file that has
been left gets an index and ends behind it.
"""

_ENTRY = f"""
An entry is its header, `events_length` bytes of events, `payload_length` bytes of payload, and zeros up
to the next block. It is written with one durable write; nothing is acknowledged before that has ended.
One entry holds what many requests decided; at low load that is {BLOCK_BYTES} bytes of journal for each
fsync. After 100 ms without entries, at a clean
stop, and at the start after any other end, a seal says that the entry before it was durable.
"""

_INDEX = """
Behind the last entry of a closed file, on a block: the index header, a row for each entry, and the index
trailer, with which the file ends. A file without a whole index is read by its entry headers, and gets its
index at the next start.
"""

_END = """
An entry counts when its header has this file's salt, its own checksum, the next position and the checksum
of the header before it, and when its events and payload have their checksums. Where something else
stands, the journal ends, and one of two things is true:

- **It was cut short.** At most the entry that was being written at a crash is not whole. What is left of
  it is reported, overwritten with zeros and synced, before anything is appended.
- **It is damaged.** Then the broker refuses to start, names file, position and evidence, and changes
  nothing. The evidence: a whole entry header of a later position anywhere behind it; an index that tells
  of more entries; a later file, which is only made once the file before it is in use; a file number that
  is missing.

Before anything of the journal is shown, its last entry, which no later entry has called durable, is
written again and synced, and so are the files behind it and all directories: a process that was killed
may have left them in the page cache only.
"""

_PAYLOAD = """
The payload holds record batches in Kafka's format (magic 2), as they were sent, with the base offset and
the partition leader epoch filled in, one after the other in the order of the entry's
[BatchAppended](#batchappended) events. A [TransactionEnded](#transactionended) event with markers stands
for one control batch in its place of that order; all its markers share that batch, so its base offset is
0 and is filled in for each partition when it is read. Nothing else is in the payload: lengths of batches
add up to its length.
"""

_EVENTS = f"""
Events are facts, in the order in which they came true; replaying them gives the state that served. Each
is framed by {EVENT_HEADER_BYTES} bytes: kind (uint16), version (uint8), length of its fields (uint32);
then come its fields. A kind is never used for anything else, and every version that was ever written
stays readable. An unknown kind or version stops the start with a sentence: a newer release wrote it.

| type | bytes |
|---|---|
| int8, int16, int32, int64 | two's complement |
| bool | one byte, 0 or 1 |
| uuid | 16 bytes |
| string, bytes | length + 1 as an unsigned varint, then UTF-8 or the bytes; null is the length + 1 of 0 |
| array | number of elements + 1 as an unsigned varint, then the elements |

A varint has seven bits a byte, the lowest first; the top bit says that another byte follows.
"""
