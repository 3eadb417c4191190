"""Several listeners: each connection is told the address of the one that it came in by."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from oncelog.broker.options import Address, Listener, Options, UsageError, options_json, read_options
from oncelog.broker.serve import _warn_of_open_addresses, open_addresses
from oncelog.wire.messages.describe_cluster import DescribeClusterRequest
from oncelog.wire.messages.find_coordinator import FindCoordinatorRequest
from oncelog.wire.messages.metadata import MetadataRequest
from tests.support.raw import RawConnection
from tests.support.server import ServerDied, ServerProcess

A, B = Listener(Address("127.0.0.1", 1)), Listener(Address("0.0.0.0", 2), Address("b.example", 3))


def read(arguments: dict[str, Any] | None = None, environment: dict[str, str] | None = None) -> Options:
    return read_options({"data": "/data", **(arguments or {})}, environment or {})


def told(bootstrap: str) -> list[tuple[str, int]]:
    """What Metadata, DescribeCluster and FindCoordinator (an old and a new one) say where the broker is."""
    connection = RawConnection(bootstrap)
    try:
        metadata = connection.call(MetadataRequest(topics=[]), 12)
        again = connection.call(MetadataRequest(topics=[]), 12)
        assert again == metadata
        cluster = connection.call(DescribeClusterRequest(), 0)
        old = connection.call(FindCoordinatorRequest(key="g"), 1)
        new = connection.call(FindCoordinatorRequest(coordinator_keys=["g"]), 4)
        return [
            (where.host, where.port)
            for where in (*metadata.brokers, *cluster.brokers, old, *new.coordinators)
        ]
    finally:
        connection.close()


def test_each_connection_is_told_the_address_of_its_own_listener(server_in: ServerProcess) -> None:
    server_in.options = ("--listen", "127.0.0.1:0=inside.example:0", "--listen", "127.0.0.1:0=outside:1234")
    server_in.start()
    ready = re.search(
        r"oncelog ready: (\S+):(\d+) .* also_on=(\S+):(\d+),(\S+):(\d+)$", server_in.output(), re.M
    )
    assert ready is not None, server_in.output()
    plain, inside, outside = int(ready[2]), int(ready[4]), int(ready[6])
    # The kept answers of one listener must not reach another: ask in turns, twice.
    for _ in range(2):
        assert told(f"127.0.0.1:{plain}") == [("127.0.0.1", plain)] * 4
        assert told(f"127.0.0.1:{inside}") == [("inside.example", inside)] * 4
        assert told(f"127.0.0.1:{outside}") == [("outside", 1234)] * 4
    assert server_in.stop() == 0


def test_when_one_address_is_taken_nothing_is_served(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = ServerProcess(tmp_path / "data", options=("--listen", f"127.0.0.1:{port}"))
        with pytest.raises(
            ServerDied, match=rf"ended with 3:\n(?s:.*)cannot listen on 127\.0\.0\.1:{port}: "
        ):
            server.start()
    assert "oncelog ready" not in server.output()


def test_listeners_come_from_repeated_flags_or_a_list_with_commas(tmp_path: Path) -> None:
    file = tmp_path / "oncelog.toml"
    text = "127.0.0.1:1,0.0.0.0:2=b.example:3"
    for content in (f'listen = "{text}"\n', f"listen = {text.split(',')}\n"):
        file.write_text(content)
        assert read({"config": str(file)}).listen == (A, B)
    assert read({"listen": text.split(",")}).listen == (A, B)
    assert read(environment={"ONCELOG_LISTEN": text}).listen == (A, B)
    file.write_text("listen = [1]\n")
    with pytest.raises(UsageError, match="listen must be a string"):
        read({"config": str(file)})


def test_the_table_for_programs_shows_listeners_as_they_are_written() -> None:
    (row,) = [row for row in json.loads(options_json()) if row["option"] == "--listen"]
    assert row["default"] == "127.0.0.1:9092"
    assert row["value"] == "HOST:PORT[=HOST:PORT]"


@pytest.mark.parametrize(
    ("listen", "open_ones"),
    [
        ("127.0.0.1:1,localhost:2,[::1]:3,127.9.9.9:4", []),
        ("127.0.0.1:1,0.0.0.0:2=a:2,10.0.0.1:3", ["0.0.0.0:2=a:2", "10.0.0.1:3"]),
        ("broker.example:1", ["broker.example:1"]),
        ("[::]:1=a:1", ["[::]:1=a:1"]),
    ],
)
def test_addresses_that_others_can_reach(listen: str, open_ones: list[str]) -> None:
    assert [str(listener) for listener in open_addresses(read({"listen": listen}).listen)] == open_ones


def test_one_warning_for_all_addresses_that_others_can_reach(server_in: ServerProcess) -> None:
    server_in.options = ("--listen", "0.0.0.0:0=localhost:0", "--listen", "0.0.0.0:0=127.0.0.1:0")
    server_in.start()
    (line,) = [line for line in server_in.output().splitlines() if "no authentication" in line]
    assert "WARN" in line.upper()
    assert "0.0.0.0:0=localhost:0, 0.0.0.0:0=127.0.0.1:0" in line


def test_an_open_admin_address_can_be_read_only(caplog: pytest.LogCaptureFixture) -> None:
    _warn_of_open_addresses(read({"listen": "10.0.0.1:9092", "admin": "0.0.0.0:9644"}))
    listener, admin = caplog.messages
    assert listener.endswith("whoever reaches 10.0.0.1:9092 can read and write everything")
    assert admin.endswith("whoever reaches 0.0.0.0:9644 can read what the broker tells of itself")
