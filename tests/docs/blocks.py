"""Fenced blocks of Markdown files, for tests that run what a document tells its readers to run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])

_FENCE = re.compile(r"^ *```(\w*)$")
_NOTE = re.compile(r"^<!-- (not run|any output): (.*) -->$")
STOP = "<!-- Ctrl-C -->"
"""Stands in a page where its reader stops what runs in the first terminal."""


class Block(NamedTuple):
    """A fenced block, or (language STOP) the place where a reader stops a broker.

    note: what the comment right above it says: "not run" with the reason, or "any output" with the reason.
    """

    file: str
    line: int
    language: str
    text: str
    note: tuple[str, str] | None = None

    @property
    def is_run(self) -> bool:
        return self.note is None or self.note[0] != "not run"


def all_blocks(file: str) -> Iterator[Block]:
    """All blocks of a file of the checkout, in order, with the places where a broker is stopped."""
    lines = (ROOT / file).read_text().splitlines()
    number = 0
    while number < len(lines):
        if lines[number] == STOP:
            yield Block(file, number + 1, STOP, "")
        elif opened := _FENCE.match(lines[number]):
            note = _NOTE.match(lines[number - 1]) if number else None
            first = number + 1
            number = next(at for at in range(first, len(lines)) if lines[at].strip() == "```")
            text = "".join(f"{line}\n" for line in lines[first:number])
            yield Block(file, first, opened[1], text, (note[1], note[2]) if note else None)
        number += 1


def blocks(file: str, language: str) -> list[str]:
    """The blocks of one language that are to be run in a file of the checkout, in order."""
    return [block.text for block in all_blocks(file) if block.language == language and block.is_run]


def readme_code() -> str:
    """The README's Python program."""
    (code,) = blocks("README.md", "python")
    return code


def readme_commands() -> tuple[list[str], list[str]]:
    """What the README tells to install ("." is the checkout), and the words of its `oncelog serve` line."""
    environment, install, serve = "".join(blocks("README.md", "sh")).splitlines()
    assert environment == "python3 -m venv .venv && . .venv/bin/activate"
    pip, verb, *packages = install.split()
    assert (pip, verb) == ("pip", "install")
    return packages, serve.split()


def told(bootstrap: str, code: str) -> str:
    """The program as it is, after kafka-python was told where to look for a broker by default."""
    return f"""\
import kafka
for client in (kafka.KafkaConsumer, kafka.KafkaProducer):
    client.DEFAULT_CONFIG["bootstrap_servers"] = {bootstrap!r}
{code}"""


def promised_output(code: str) -> str:
    """What the comment behind a program's print says that it prints."""
    return code.rpartition("  # ")[2]
