"""The broker's modules, imported for a fixture as any program imports them.

pytest rewrites the assertions of every package that brings a plugin, so that they explain themselves when
they fail. A broker's are not for a test to read, and its import takes nearly twice as long with them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oncelog.embedded import Broker


def broker_class() -> type[Broker]:
    """`oncelog.Broker`, with all that starting one needs imported."""
    with _without_rewriting():
        from oncelog.broker.registry import Registry
        from oncelog.embedded import Broker
        from oncelog.testing import cluster, faults  # noqa: F401

        Registry.load()
    return Broker


@contextmanager
def _without_rewriting() -> Iterator[None]:
    finders = sys.meta_path[:]
    sys.meta_path[:] = [finder for finder in finders if not type(finder).__module__.startswith("_pytest.")]
    try:
        yield
    finally:
        sys.meta_path[:] = finders
