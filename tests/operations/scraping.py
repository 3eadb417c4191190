"""Reading `/metrics`: of a broker in this process, and as text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from oncelog.broker.admin import Admin, Answer
from oncelog.broker.options import Address
from tests.support.one_process import OneProcess, one_process

ROW = re.compile(r"([a-z_]+)(?:\{(.*)\})? (-?[0-9.e+-]+|NaN)")
LABEL = re.compile(r'([a-z]+)="((?:[^"\\]|\\.)*)"(?:,|$)')
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}
UNESCAPED = {"\\\\": "\\", "\\n": "\n", '\\"': '"'}

Rows = dict[tuple[str, ...], float]


class Family(NamedTuple):
    kind: str
    rows: Rows
    """By the values of labels, a histogram's series with their suffix before them."""


def parsed(text: str) -> dict[str, Family]:
    """Every family of an exposition; what is not as the format says is an AssertionError."""
    families: dict[str, Family] = {}
    name = ""
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split(" ")[2]
            assert name not in families, f"{name} is told of twice"
            assert line.split(" ", 3)[3]
        elif line.startswith("# TYPE "):
            _, _, told, kind = line.split(" ")
            assert told == name
            families[name] = Family(kind, {})
        else:
            _read_row(line, name, families[name])
    return families


def _read_row(line: str, name: str, family: Family) -> None:
    row = ROW.fullmatch(line)
    assert row is not None, line
    labels = LABEL.findall(row[2] or "")
    assert LABEL.sub("", row[2] or "") == "", line
    suffix = row[1].removeprefix(name)
    assert suffix in SUFFIXES.get(family.kind, ("",)), line
    values = tuple(re.sub(r"\\.", lambda found: UNESCAPED[found[0]], value) for _, value in labels)
    key = (suffix, *values) if suffix else values
    assert key not in family.rows, f"{line} is there twice"
    family.rows[key] = float(row[3])


class Watched:
    """A broker in this process, watched from an admin address without a socket."""

    def __init__(self, process: OneProcess, rows_max: int) -> None:
        self.process = process
        self.admin = Admin(process.loop, Address("127.0.0.1", 0), rows_max=rows_max)
        self.answers: list[Answer] = []

    def attach(self) -> None:
        self.process.within(lambda: self.admin.attach(self.process.broker, self.process.server))

    def ask(self, path: str) -> None:
        """The answer may come later."""
        self.process.settle()
        self.process.within(lambda: self.admin.answer(path, self.answers.append))

    def get(self, path: str) -> Answer:
        """An answer that comes now."""
        self.ask(path)
        self.process.settle()
        return self.answers.pop()

    def metrics(self) -> dict[str, Family]:
        answer = self.get("/metrics")
        assert answer.status == 200
        return parsed(answer.text)

    def value(self, name: str, *labels: str) -> float:
        return self.metrics()[name].rows[labels]


@contextmanager
def watched(*, rows_max: int = 100, **options: object) -> Iterator[Watched]:
    """A broker that is attached, its first sync done."""
    with one_process(**options) as process:
        made = Watched(process, rows_max)
        made.attach()
        process.settle()
        yield made
