"""`serve --dev`: what it changes of the defaults, and a broker in memory as a process."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

import oncelog
from oncelog.broker.options import OF_SERVE_ALONE, Options, UsageError, add_arguments, read_options
from tests.support.server import READY_LINE


def given(*arguments: str) -> Options:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return read_options(vars(parser.parse_args(arguments)), {})


def test_dev_waits_for_nobody_and_needs_no_directory() -> None:
    options = given("--dev")
    assert options.is_in_memory
    assert options.group_initial_rebalance_delay_ms == 0
    assert (options.disk_reserve_bytes, options.socket_request_max_bytes) == (128 << 20, 64 << 20)


def test_with_a_directory_it_is_as_durable_as_ever() -> None:
    options = given("--dev", "--data", "/d")
    assert (options.data, options.is_in_memory) == ("/d", False)
    assert options.group_initial_rebalance_delay_ms == 0
    assert options.disk_reserve_bytes == Options(data="/d").disk_reserve_bytes


def test_what_is_set_besides_counts_more() -> None:
    options = given("--dev", "--group-initial-rebalance-delay-ms", "5", "--disk-reserve-bytes", "1MiB")
    assert (options.group_initial_rebalance_delay_ms, options.disk_reserve_bytes) == (5, 1 << 20)


@pytest.mark.parametrize("arguments", [(), ("--dev", "false")])
def test_without_it_a_directory_is_needed(arguments: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="--data DIR is missing"):
        given(*arguments)


def test_a_broker_in_memory_leaves_nothing_behind(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("oncelog")
    serving = subprocess.Popen(
        [script, "serve", "--dev", "--listen", "127.0.0.1:0"], cwd=tmp_path, stdout=subprocess.PIPE
    )
    with serving:
        assert serving.stdout is not None
        line = serving.stdout.readline()
        serving.terminate()
        assert serving.wait(20) == 0
    assert READY_LINE.match(line)
    assert b" durability=memory " in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", OF_SERVE_ALONE)
def test_an_embedded_broker_refuses_what_only_serve_does(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} is an option of `oncelog serve` alone"):
        oncelog.Broker(**{name: None})
