"""What the plugin can be told, each on the command line and in pytest's configuration file.

The command line wins over the file; what a factory was given wins over both, except that --oncelog-bootstrap
moves all tests to a cluster. Must not know what the settings do.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest


class Setting(NamedTuple):
    """One of them: `oncelog_NAME` in the file, `--oncelog-NAME` on the command line."""

    name: str
    metavar: str
    default: str
    help: str

    @property
    def ini(self) -> str:
        return f"oncelog_{self.name}"

    @property
    def option(self) -> str:
        return f"--oncelog-{self.name.replace('_', '-')}"


SETTINGS = (
    Setting("bootstrap", "HOST:PORT", "", "run the tests on this cluster, not on a broker in this process"),
    Setting("host", "HOST", "127.0.0.1", "address that the broker listens on"),
    Setting("port", "PORT", "0", "port that the broker listens on (0: the system picks one)"),
    Setting("kafka_version", "X.Y", "", "release of Apache Kafka whose APIs and versions are served"),
    Setting("partitions", "N", "1", "partitions of a test's topic"),
)


def add_settings(parser: pytest.Parser) -> None:
    group = parser.getgroup("oncelog", "oncelog: a Kafka broker for tests")
    for setting in SETTINGS:
        group.addoption(setting.option, metavar=setting.metavar, dest=setting.ini, help=setting.help)
        parser.addini(setting.ini, default=setting.default, help=setting.help)


def setting(config: pytest.Config, name: str) -> str:
    """The value of a setting, as text."""
    given: str | None = config.getoption(f"oncelog_{name}")
    return given if given is not None else str(config.getini(f"oncelog_{name}"))
