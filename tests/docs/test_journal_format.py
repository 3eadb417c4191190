"""The page of the journal's format is enough to read a journal by: a reader made from its tables does."""

from __future__ import annotations

import re
import struct

from oncelog.disk.faulty import FaultyDisk
from oncelog.docs.journal_format import markdown
from oncelog.machine.events import REGISTRY, BatchAppended, TransactionEnded, TransactionMarker
from tests.journal.harness import FIRST_FILE, opened

TYPES = {"uint16": ">H", "uint32": ">I", "uint64": ">Q", "int64": ">q"}


def section(title: str) -> str:
    found = re.search(rf"^### {re.escape(title)}\n(.*?)(?=^##|\Z)", markdown(), re.M | re.S)
    assert found is not None, title
    return found.group(1)


def rows(title: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section(title).splitlines()
        if line.startswith("| ") and not line.startswith(("| byte", "| field"))
    ]


def read_layout(title: str, data: bytes) -> dict[str, int]:
    return {
        name: struct.unpack_from(TYPES[of], data, int(at))[0]
        for at, name, of, *_ in rows(title)
    }  # fmt: skip


def test_a_reader_made_from_the_page_finds_the_entries() -> None:
    disk = FaultyDisk()
    _, _, writer = opened(disk)
    for number in range(30):
        writer.append(b"some events", bytes([number]) * 4000)
    content = disk.content(FIRST_FILE)
    salt = read_layout("File header", content)["salt"]
    trailer_size = int(re.findall(r"(\d+) bytes\.", section("Index trailer"))[0])
    header_size = int(re.findall(r"(\d+) bytes\.", section("Index header"))[0])
    entry_size = int(re.findall(r"(\d+) bytes\.", section("Entry header"))[0])
    row_size = int(re.findall(r"(\d+) bytes\.", section("Index row, one per entry"))[0])
    at = read_layout("Index trailer", content[-trailer_size:])["index_address"]
    index = read_layout("Index header", content[at:])
    assert index["entry_count"] >= 7
    for place in range(index["entry_count"]):
        row = read_layout("Index row, one per entry", content[at + header_size + place * row_size :])
        entry = read_layout("Entry header", content[row["address"] :])
        sent = writer.sent[place]
        assert (entry["salt"], entry["position"], entry["wall_ms"]) == (salt, sent.position, sent.wall_ms)
        events_at = row["address"] + entry_size
        assert content[events_at : events_at + entry["events_length"]] == sent.events
        payload_at = events_at + entry["events_length"]
        assert content[payload_at : payload_at + row["payload_length"]] == sent.payload


def test_an_event_lies_as_the_page_says() -> None:
    names = [name for name, *_ in rows("BatchAppended")]
    sizes = {"uuid": "16s", "int16": "h", "int32": "i", "int64": "q", "bool": "?"}
    form = struct.Struct(">" + "".join(sizes[of] for _, of, *_ in rows("BatchAppended")))
    values = [bytes(range(16)), 3, 1 << 40, 9, 1_750_000_000_000, 200, 77, 5, 1000, True, False]
    event = BatchAppended(**dict(zip(names, values, strict=True)))
    encoded = event.encode()
    assert struct.unpack_from(">HBI", encoded) == (BatchAppended.kind, BatchAppended.version, form.size)
    assert list(form.unpack(encoded[7:])) == values


def test_lengths_lie_as_the_page_says() -> None:
    marker = TransactionMarker(topic_id=bytes(16), partition=1, offset=2)
    event = TransactionEnded(transactional_id="id", markers=[marker] * 200, client_id=None)
    encoded = event.encode()
    assert encoded[7:10] == b"\x03id"
    fixed = 8 + 2 + 1 + 1 + 2 + 8 + 2
    assert encoded[10 + fixed : 12 + fixed] == bytes([201 & 0x7F | 0x80, 201 >> 7]), (
        "200 elements as a varint"
    )


def test_every_event_and_every_part_of_one_is_there() -> None:
    page = markdown()
    for kind, event in REGISTRY.kinds.items():
        assert f"| {kind} | [{event.__name__}](#{event.__name__.lower()}) |" in page
        assert [name for name, *_ in rows(event.__name__)] == [spec.name for spec in event.fields]
    for link in re.findall(r"\]\(#([a-z]+)\)", page):
        assert re.search(rf"^### {link}$", page, re.M | re.I), link
