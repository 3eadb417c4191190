"""What idle connections cost: `make idle-connections CONNECTIONS=10000`.

Opens them, lets each ask for ApiVersions once, as every client does, and reads the broker's resident memory
before and after.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.hostile.sweep import resident_bytes
from tests.support.raw import RawConnection
from tests.support.server import ServerProcess

BYTES_PER_CONNECTION_MAX = 20_000
FILES_BESIDE = 100
API_VERSIONS_REQUEST = struct.pack(">ihhih", 10, 18, 0, 1, -1)


class TooFewFiles(Exception):
    """The system lets a process open fewer files than are needed."""


@contextlib.contextmanager
def idle_connections(bootstrap: str, count: int) -> Iterator[None]:
    """So many open connections, each of which has been served once."""
    host, _, port = bootstrap.rpartition(":")
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            opened.append(socket.create_connection((host, int(port)), 15.0))
            opened[-1].sendall(API_VERSIONS_REQUEST)
        for each in opened:
            (size,) = struct.unpack(">i", each.recv(4, socket.MSG_WAITALL))
            assert len(each.recv(size, socket.MSG_WAITALL)) == size
        yield
    finally:
        for each in opened:
            each.close()


def raise_open_files_limit(wanted: int) -> None:
    """For this process and those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted:
        raise TooFewFiles(f"{wanted} open files are needed and at most {hard} are allowed (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def bytes_per_connection(server: ServerProcess, count: int) -> tuple[int, int, int]:
    """Resident bytes before, with the connections open, and after they were closed."""
    with idle_connections(server.bootstrap, 50):
        pass
    RawConnection(server.bootstrap).close()
    before = resident_bytes(server.process_id)
    with idle_connections(server.bootstrap, count):
        during = resident_bytes(server.process_id)
    return before, during, resident_bytes(server.process_id)


def main() -> int:
    parser = argparse.ArgumentParser(description="What idle connections cost in memory.")
    parser.add_argument("--connections", type=int, default=10_000)
    count = parser.parse_args().connections
    try:
        raise_open_files_limit(count + FILES_BESIDE)
    except TooFewFiles as too_few:
        print(too_few, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as directory:
        options = ("--max-connections", str(count + FILES_BESIDE))
        with ServerProcess(Path(directory) / "data", options=options) as server:
            began_s = time.monotonic()
            before, during, after = bytes_per_connection(server, count)
            took_s = time.monotonic() - began_s
    cost = during - before
    holds = cost < count * BYTES_PER_CONNECTION_MAX
    print(
        f"{count:,} idle connections: {cost / 1e6:.1f} MB resident, {cost / count:,.0f} bytes each "
        f"(before {before / 1e6:.1f} MB, open {during / 1e6:.1f}, closed {after / 1e6:.1f}; {took_s:.1f} s)"
    )
    print(f"{'ok    ' if holds else 'BROKEN'} under {count * BYTES_PER_CONNECTION_MAX / 1e6:.0f} MB")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
