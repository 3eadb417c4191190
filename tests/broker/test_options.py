"""Options: where a value comes from, how mistakes are told, and that the documentation has the same table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from oncelog.broker.options import (
    OPTIONS,
    Address,
    Listener,
    Options,
    UsageError,
    options_json,
    options_markdown,
    parse_address,
    read_options,
    unknown_variables,
)
from oncelog.cli.main import main
from oncelog.machine.config_table import (
    DYNAMIC_BROKER_CONFIGS,
    READ_ONLY_BROKER_CONFIGS,
    topic_configs_markdown,
)

DOCS = Path(__file__).parents[2] / "docs"


def read(arguments: dict[str, str] | None = None, environment: dict[str, str] | None = None) -> Options:
    return read_options({"data": "/data", **(arguments or {})}, environment or {})


# --- where values come from ---


def test_defaults_are_those_of_the_table() -> None:
    options = read()
    for option in OPTIONS:
        if not option.is_required:
            assert getattr(options, option.name) == option.default
    assert options == Options(data="/data")
    assert options.listen == (Listener(Address("127.0.0.1", 9092)),)


def test_the_command_line_counts_most_then_the_environment_then_the_file(tmp_path: Path) -> None:
    file = tmp_path / "oncelog.toml"
    file.write_text("num_partitions = 2\nmax_groups = 2\nmax_partitions = 2\n")
    options = read(
        {"config": str(file), "num_partitions": "4"},
        {"ONCELOG_NUM_PARTITIONS": "3", "ONCELOG_MAX_GROUPS": "3"},
    )
    assert (options.num_partitions, options.max_groups, options.max_partitions) == (4, 3, 2)


def test_the_environment_may_name_the_file(tmp_path: Path) -> None:
    file = tmp_path / "oncelog.toml"
    file.write_text(
        'data = "/elsewhere"\nauto_create_topics_enable = false\nsocket_request_max_bytes = "2MiB"\n'
    )
    options = read_options({}, {"ONCELOG_CONFIG": str(file)})
    assert options.data == "/elsewhere"
    assert options.auto_create_topics_enable is False
    assert options.socket_request_max_bytes == 2 << 20


def test_a_file_may_use_kafkas_names_and_tables(tmp_path: Path) -> None:
    file = tmp_path / "oncelog.toml"
    file.write_text("num.partitions = 3\n[group]\ninitial.rebalance.delay.ms = 0\nmax-size = 5\n")
    options = read({"config": str(file)})
    assert (options.num_partitions, options.group_initial_rebalance_delay_ms) == (3, 0)
    assert options.group_max_size == 5


def test_every_option_can_be_given_in_every_way(tmp_path: Path) -> None:
    for option in OPTIONS:
        if option.is_required or option.default is None:
            continue
        text = option.default_text
        file = tmp_path / f"{option.name}.toml"
        file.write_text(f'{option.name} = "{text}"\n')
        for options in (
            read({option.name: text}),
            read(environment={option.environment: text}),
            read({"config": str(file)}),
        ):
            assert getattr(options, option.name) == option.default, option.name


# --- mistakes ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_partitions": "many"}, "--num-partitions: 'many' is not a whole number"),
        ({"num_partitions": "0"}, "--num-partitions: '0' is not between 1 and 2147483647"),
        ({"listen": "9092"}, "--listen: '9092' is not HOST:PORT, for example 127.0.0.1:9092"),
        ({"listen": "localhost:99999"}, "--listen: 'localhost:99999' is not HOST:PORT"),
        ({"listen": "::1:9092"}, "--listen: '::1:9092' is not HOST:PORT"),
        ({"entry_bytes": "1MB"}, "--entry-bytes: '1MB' is not a number of bytes, such as 1048576 or 1MiB"),
        ({"entry_bytes": "1"}, "--entry-bytes: '1' is not between 4KiB and 1GiB"),
        ({"delete_topic_enable": "yes"}, "--delete-topic-enable: 'yes' is neither true nor false"),
        ({"durability": "os"}, "--durability: 'os' is none of fsync"),
        ({"data": " "}, "--data: ' ' must not be empty"),
        ({"listen": "0.0.0.0:9092"}, "clients cannot connect to 0.0.0.0"),
        ({"listen": "0.0.0.0:1=a:1,0.0.0.0:2"}, "with --listen 0.0.0.0:2=HOST:PORT"),
        ({"listen": "0.0.0.0:1=[::]:1"}, "clients cannot connect to ::"),
        ({"listen": "a:1=a"}, "--listen: 'a:1=a' is not HOST:PORT"),
        ({"listen": "a:1,b:2,"}, "--listen: 'a:1,b:2,' is not HOST:PORT"),
        ({"listen": "a:1,a:1=b:2"}, "--listen names an address twice: a:1,a:1=b:2"),
        (
            {"group_min_session_timeout_ms": "2000000"},
            "is larger than group_max_session_timeout_ms (1800000)",
        ),
    ],
)
def test_a_wrong_value_is_told_with_its_place(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as told:
        read(arguments)
    assert message in str(told.value)


def test_a_wrong_value_of_the_environment_or_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^ONCELOG_MAX_GROUPS: 'x' is not"):
        read(environment={"ONCELOG_MAX_GROUPS": "x"})
    file = tmp_path / "a.toml"
    file.write_text("max_groups = -1\n")
    with pytest.raises(UsageError, match=f"^max_groups in {file}: '-1' is not between"):
        read({"config": str(file)})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("num_partition = 3", "there is no option 'num_partition'; did you mean num_partitions?"),
        ("[group]\ninitial_rebalance_delay = 0", "did you mean group_initial_rebalance_delay_ms?"),
        ("zzz = 3", "there is no option 'zzz'"),
        ("max_groups = 1.5", "max_groups must be a string, a whole number or a boolean, not 1.5"),
        ("max_groups = 1\nmax.groups = 2", "max_groups is set twice"),
        ("max_groups = ", "is not valid TOML"),
    ],
)
def test_mistakes_in_a_file(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "a.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as told:
        read({"config": str(file)})
    assert str(file) in str(told.value)
    assert message in str(told.value)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"cannot read /nowhere/a\.toml: No such file or directory"):
        read({"config": "/nowhere/a.toml"})


def test_variables_that_are_no_options_are_told() -> None:
    told = unknown_variables({"ONCELOG_LISTEM": "x", "ONCELOG_DATA": "x", "ONCELOG_CONFIG": "x", "HOME": "x"})
    assert told == ["the environment variable ONCELOG_LISTEM is no option; did you mean ONCELOG_LISTEN?"]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost:0", ("localhost", 0)),
        ("[::1]:9092", ("::1", 9092)),
        ("10.0.0.1:65535", ("10.0.0.1", 65535)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address
    assert str(Address(*address)) == text


# --- what is made of them ---


def test_limits_reach_the_parts_that_keep_them() -> None:
    options = Options(
        data="/data",
        max_connections=3,
        frame_deadline_ms=1500,
        connections_max_idle_ms=2000,
        max_partitions=4,
        max_groups=5,
        transaction_max_timeout_ms=6,
        offsets_retention_minutes=7,
        group_initial_rebalance_delay_ms=8,
    )
    limits = options.connection_limits()
    assert (limits.connections_max, limits.frame_deadline_s, limits.idle_s) == (3, 1.5, 2.0)
    machine = options.machine_limits()
    assert (machine.partitions_max, machine.groups_max, machine.transaction_max_timeout_ms) == (4, 5, 6)
    groups = options.group_options()
    assert (groups.offsets_retention_ms, groups.group_initial_rebalance_delay_ms) == (420_000, 8)


def test_what_stands_for_a_kafka_config_is_described_as_one() -> None:
    configs = Options(data="/data").kafka_configs()
    assert configs["auto.create.topics.enable"] == "true"
    known = DYNAMIC_BROKER_CONFIGS | READ_ONLY_BROKER_CONFIGS
    assert configs.keys() <= known.keys()
    for name, value in configs.items():
        known[name].parse(value)
        if name not in ("max.connections", "group.max.size"):
            assert value == known[name].default, f"{name} has Kafka's default"


# --- the command ---


def run(*arguments: str) -> int:
    return main(arguments)


def test_serve_hands_the_options_on(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Options] = []

    def fake_run(options: Options) -> int:
        given.append(options)
        return 7

    broker = ModuleType("oncelog.broker.serve")
    broker.run = fake_run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, broker.__name__, broker)
    monkeypatch.setenv("ONCELOG_NUM_PARTITIONS", "3")
    assert run("serve", "--data", "/d", "--listen", "127.0.0.1:0", "--max-groups=9") == 7
    assert given == [
        Options(data="/d", listen=(Listener(Address("127.0.0.1", 0)),), num_partitions=3, max_groups=9)
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["serve"], "oncelog: --data DIR is missing"),
        (["serve", "--data", "/d", "--lisen", "x"], "there is no option --lisen; did you mean --listen?"),
        (["serve", "--data", "/d", "--num-part", "3"], "there is no option --num-part"),
        (["serve", "--data"], "argument --data: expected one argument"),
        (["server"], "invalid choice: 'server'"),
        (["serve", "--data", "/d", "--max-groups", "x"], "--max-groups: 'x' is not a whole number"),
    ],
)
def test_bad_input_is_answered_with_a_sentence_and_2(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    told = capsys.readouterr()
    assert sentence in told.err
    assert "Traceback" not in told.err
    assert told.out == ""


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        run("serve", "--help")
    assert done.value.code == 0
    told = capsys.readouterr().out
    assert all(option.flag in told for option in OPTIONS)


def test_the_command_is_installed() -> None:
    script = Path(sys.executable).with_name("oncelog")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ONCELOG_")}
    told = subprocess.run([script, "version"], capture_output=True, text=True, env=environment, check=True)
    assert told.stdout.startswith("oncelog ")


def test_the_tables_of_the_documentation_are_those_of_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    """`oncelog options` and `oncelog topic-configs` write what stands between the marks."""
    assert run("options") == 0
    printed = capsys.readouterr().out
    assert printed == options_markdown()
    assert printed in (DOCS / "options.md").read_text()
    assert run("topic-configs") == 0
    assert capsys.readouterr().out == topic_configs_markdown()
    assert topic_configs_markdown() in (DOCS / "options.md").read_text()


def test_the_table_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("options", "--format", "json") == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert json.dumps(rows, indent=2) + "\n" == options_json()
    assert [row["toml"] for row in rows] == [option.name for option in OPTIONS]
    assert rows[0]["required"] is True
