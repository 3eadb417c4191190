"""Fenced blocks of Markdown files, for tests that run what a document tells its readers to run."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(file: str, language: str) -> list[str]:
    """The blocks of one language in a file of the checkout, in order."""
    text = (ROOT / file).read_text()
    return [found[2] for found in _BLOCK.finditer(text) if found[1] == language]


def readme_code() -> str:
    """The README's Python program."""
    (code,) = blocks("README.md", "python")
    return code


def readme_serve_command() -> list[str]:
    """The words of the README's `oncelog serve` line."""
    (line,) = [line for line in "".join(blocks("README.md", "sh")).splitlines() if "oncelog serve" in line]
    return line.split()


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
