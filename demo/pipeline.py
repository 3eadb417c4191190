"""What loader, workers and check agree on: topics, partitions, the group, the clients' common settings.

departures (key: carrier) ──> two workers, one group ──> delays (key: row number)
                                                     └─> totals (key: carrier, same partition number)
"""

from __future__ import annotations

from typing import Any

DEPARTURES = "departures"
DELAYS = "delays"
TOTALS = "totals"
GROUP = "delay-workers"
PARTITIONS = 6
"""Of each topic. A carrier's departures and its totals share a partition number: who is assigned the one
restores the other, and nobody else writes it."""


def client_settings(bootstrap: str) -> dict[str, Any]:
    """Settings of every client here. Reconnect quickly: the broker is about to be killed many times."""
    return {
        "bootstrap.servers": bootstrap,
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 250,
        "retry.backoff.ms": 20,
        "retry.backoff.max.ms": 250,
        "allow.auto.create.topics": False,
        # When its only broker is away, librdkafka forgets it and bootstraps anew, and (seen in 2.16) a call
        # that waits for the transaction coordinator meanwhile never returns. Ours comes back where it was.
        "metadata.recovery.strategy": "none",
        "log_level": 2,
    }
