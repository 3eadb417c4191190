"""Log lines for people and programs: key=value (logfmt) or JSON, each record on one line.

A record may carry fields of its own: `log.warning(..., extra={"fields": {"peer": ...}})`. `oncelog serve`
sets it up; an embedding program keeps its own logging. Must not know who logs what.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from oncelog.broker.log_limit import RateLimit

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def set_up(level: str, log_format: str, lines_per_s: int, stream: TextIO | None = None) -> None:
    """For the whole process: one handler on `stream` (standard error), with a bound on lines of one kind."""
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(FORMATS[log_format]())
    handler.addFilter(RateLimit(lines_per_s))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level])


class _OneLine(logging.Formatter):
    """The parts of a record by name, in order; tracebacks are one of them."""

    def parts(self, record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
        when = datetime.fromtimestamp(record.created, UTC)
        yield "time", when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        yield "level", record.levelname.lower()
        yield "logger", record.name
        yield "message", record.getMessage()
        fields: Mapping[str, Any] = getattr(record, "fields", {})
        yield from fields.items()
        if record.exc_info:
            yield "error", self.formatException(record.exc_info)


class KeyValueFormatter(_OneLine):
    """time=... level=warning logger=oncelog.server message="..." peer=10.0.0.1:4711"""

    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{key}={_quoted(value)}" for key, value in self.parts(record))


class JsonFormatter(_OneLine):
    """One JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(dict(self.parts(record)), ensure_ascii=False, default=str)


FORMATS: dict[str, type[_OneLine]] = {"key=value": KeyValueFormatter, "json": JsonFormatter}


def _quoted(value: Any) -> str:
    """As it is where nothing could be misread, else in quotes as JSON has them, all in one line."""
    text = str(value)
    plain = text and text.isprintable() and not any(character in ' "=\\' for character in text)
    return text if plain else json.dumps(text, ensure_ascii=False)
