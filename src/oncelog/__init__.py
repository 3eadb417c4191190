"""oncelog: an exactly-once event log that speaks the Kafka protocol.

Importing it is cheap and has no side effects; the broker is loaded when `oncelog.Broker` is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oncelog.embedded import Broker, BrokerFailed, CannotStart, JournalError, Snapshot, UsageError

__version__ = "0.1.0"
__all__ = [
    "Broker",
    "BrokerFailed",
    "CannotStart",
    "JournalError",
    "Snapshot",
    "UsageError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'oncelog' has no attribute {name!r}")
    from oncelog import embedded

    return getattr(embedded, name)
