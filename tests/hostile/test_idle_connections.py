"""Idle connections cost little memory; `make idle-connections` measures ten thousand."""

from __future__ import annotations

from tests.hostile.idle import (
    BYTES_PER_CONNECTION_MAX,
    FILES_BESIDE,
    bytes_per_connection,
    raise_open_files_limit,
)
from tests.support.server import ServerProcess

CONNECTIONS = 500
ALLOWANCE_BYTES = 2 << 20
"""Memory comes from the system in larger pieces than a few connections need."""


def test_five_hundred_idle_connections_cost_their_share(server_in: ServerProcess) -> None:
    raise_open_files_limit(CONNECTIONS + FILES_BESIDE)
    with server_in as server:
        before, during, _ = bytes_per_connection(server, CONNECTIONS)
    assert during - before < CONNECTIONS * BYTES_PER_CONNECTION_MAX + ALLOWANCE_BYTES
