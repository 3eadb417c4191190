"""What oncelog.wire.messages defines: every request and response, in every version.

Knows no single message.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import oncelog.wire.messages
from oncelog.wire.definition import Message, Struct


def _declared() -> Iterator[type[Message]]:
    package = oncelog.wire.messages
    for module_info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{module_info.name}")
        for declared in vars(module).values():
            if (
                isinstance(declared, type)
                and issubclass(declared, Message)
                and declared.__module__ == module.__name__
            ):
                yield declared


MESSAGES: tuple[type[Message], ...] = tuple(_declared())


def is_request(message: type[Message]) -> bool:
    return message.__name__.endswith("Request")


def versions_of(message: type[Message]) -> range:
    first, last = message.versions
    return range(first, last + 1)


EVERY_VERSION = [(message, version) for message in MESSAGES for version in versions_of(message)]

each_version = pytest.mark.parametrize(
    ("message", "version"),
    [
        pytest.param(message, version, id=f"{message.__name__}-v{version}")
        for message, version in EVERY_VERSION
    ],
)


def fields_in(cls: type[Struct], version: int) -> list:
    """The fields that this version has, tagged ones included, in the order of their declaration."""
    return [spec for spec in cls.fields if version in spec.versions]
