"""Log lines: one for each record in either format, with what programs look for in fields of their own."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest

from oncelog.broker.logs import FORMATS, set_up
from tests.support.raw import RawConnection
from tests.support.server import ServerProcess

HARD = 'two\nlines, "quotes", a=b, \\ and \x1b[31m'
PAIR = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^ "]+)(?: |$)')


def read_key_values(line: str) -> dict[str, Any]:
    assert PAIR.sub("", line) == "", line
    return {key: json.loads(value) if value[0] == '"' else value for key, value in PAIR.findall(line)}


READERS = {"key=value": read_key_values, "json": json.loads}


@pytest.fixture(params=FORMATS)
def log_format(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("root_as_it_was")
def test_each_record_is_one_line_that_gives_back_what_was_said(log_format: str) -> None:
    stream = io.StringIO()
    set_up("info", log_format, 10, stream)
    log = logging.getLogger("oncelog.test")
    log.debug("too little")
    log.warning(
        "of %s", HARD, extra={"fields": {"peer": "10.0.0.1:5", "reason": HARD, "count": 3, "empty": ""}}
    )
    try:
        raise ValueError(HARD)
    except ValueError:
        log.exception("an error of ours")
    lines = stream.getvalue().splitlines()
    first, second = map(READERS[log_format], lines)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    assert str(first.pop("count")) == "3"
    assert first == {
        "level": "warning",
        "logger": "oncelog.test",
        "message": f"of {HARD}",
        "peer": "10.0.0.1:5",
        "reason": HARD,
        "empty": "",
    }
    assert second["error"].startswith("Traceback (most recent call last)")
    assert HARD in second["error"]


@pytest.mark.usefixtures("root_as_it_was")
def test_lines_of_one_kind_are_bounded(log_format: str) -> None:
    stream = io.StringIO()
    set_up("info", log_format, 2, stream)
    for number in range(9):
        logging.getLogger("oncelog.test").warning("line %d", number)
    # Two, or four where a second began between them.
    assert len(stream.getvalue().splitlines()) <= 5


def test_a_refused_client_gets_one_line(server_in: ServerProcess, log_format: str) -> None:
    server_in.options = ("--log-format", log_format)
    server_in.start()
    connection = RawConnection(server_in.bootstrap)
    connection.send_bytes(b"\xff\xff\xff\xff")
    assert connection.is_closed_by_broker()
    connection.close()
    assert server_in.stop() == 0
    lines = [line for line in server_in.output().splitlines() if not line.startswith("oncelog ready")]
    (refusal,) = [record for record in map(READERS[log_format], lines) if "peer" in record]
    assert refusal["level"] == "warning"
    assert refusal["logger"] == "oncelog.server"
    assert refusal["peer"].startswith("127.0.0.1:")
    assert "a frame of -1 bytes" in refusal["reason"]
