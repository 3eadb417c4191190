"""Says once per config, on the log, that setting it changes nothing here. Must not know requests."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from oncelog.machine.configs import not_acted_on

log = logging.getLogger("oncelog.configs")


class ConfigNotices:
    """Remembers what was said; bounded by the table of configs."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def about(self, names: Iterable[str]) -> None:
        """Warn of those of these configs that are not acted on and were not warned of before."""
        for config in not_acted_on(names):
            if config.name not in self._told:
                self._told.add(config.name)
                log.warning("the config %s is kept and shown, but not acted on: %s", config.name, config.note)


class Notice(NamedTuple):
    """A notice that waits until the configs it is about are durable."""

    notices: ConfigNotices
    names: Sequence[str]

    def release(self) -> None:
        """They are."""
        self.notices.about(self.names)
