"""The files of deploy/ say what the options say: read as what reads them would, without Docker or systemd."""

from __future__ import annotations

import argparse
import re
import shlex

import pytest

from oncelog.broker.options import (
    CONFIG_OPTION,
    ENVIRONMENT_PREFIX,
    OPTIONS,
    Options,
    add_arguments,
    read_options,
    unknown_variables,
)
from tests.docs.blocks import ROOT

DEPLOY = ROOT / "deploy"
FILES = sorted(path.name for path in DEPLOY.iterdir())
FLAG = re.compile(r"(?<![\w-])--([a-z][a-z-]+)")
VARIABLE = re.compile(rf"{ENVIRONMENT_PREFIX}[A-Z_]+")
OF_OTHERS = {
    "Dockerfile": {
        "mount",
        "no-cache-dir",
        "wheel-dir",
        "no-index",
        "find-links",
        "system",
        "uid",
        "directory",
        "owner",
        "start-period",
    }
}
"""Flags of pip, Docker and others."""


def text_of(name: str) -> str:
    return (DEPLOY / name).read_text()


def docker_environment() -> dict[str, str]:
    """What the ENV instruction sets."""
    (instruction,) = re.findall(r"^ENV ((?:.*\\\n)*.*)$", text_of("Dockerfile"), re.MULTILINE)
    return dict(word.split("=", 1) for word in shlex.split(instruction.replace("\\\n", " ")))


def compose_environment() -> dict[str, str]:
    """What stands under `environment:`."""
    (block,) = re.findall(r"^    environment:\n((?:      .*\n)+)", text_of("compose.yaml"), re.MULTILINE)
    return dict(line.strip().split(": ", 1) for line in block.splitlines())


def unit_command() -> list[str]:
    (command,) = re.findall(r"^ExecStart=(.*)$", text_of("oncelog.service"), re.MULTILINE)
    return shlex.split(command)


def read(arguments: list[str], environment: dict[str, str]) -> Options:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert unknown_variables(environment) == []
    return read_options(vars(parser.parse_args(arguments)), environment)


@pytest.mark.parametrize("name", FILES)
def test_every_flag_and_variable_is_an_option(name: str) -> None:
    flags = {option.flag.removeprefix("--") for option in OPTIONS} | {CONFIG_OPTION}
    variables = {option.environment for option in OPTIONS} | {f"{ENVIRONMENT_PREFIX}{CONFIG_OPTION.upper()}"}
    assert set(FLAG.findall(text_of(name))) - OF_OTHERS.get(name, set()) <= flags
    assert set(VARIABLE.findall(text_of(name))) <= variables


def test_the_image_serves_from_its_volume_with_its_health_check() -> None:
    text = text_of("Dockerfile")
    options = read([], docker_environment())
    assert f"VOLUME {options.data}\n" in text
    assert options.admin is not None
    assert f"EXPOSE {options.listen[0].address.port} {options.admin.port}\n" in text
    assert f"http://127.0.0.1:{options.admin.port}/livez" in text
    assert 'ENTRYPOINT ["oncelog"]\nCMD ["serve"]\n' in text


def test_compose_has_a_listener_for_each_side() -> None:
    text = text_of("compose.yaml")
    options = read([], {**docker_environment(), **compose_environment()})
    inside, outside = options.listen
    assert inside.advertised is not None
    assert outside.advertised is not None
    assert f"\n  {inside.advertised.host}:\n" in text, "containers find it by the name of its service"
    assert outside.advertised.host == "localhost"
    published = re.findall(r"^      - 127\.0\.0\.1:(\d+):(\d+)$", text, re.MULTILINE)
    assert options.admin is not None
    assert published == [(str(port), str(port)) for port in (outside.advertised.port, options.admin.port)]
    assert outside.address.port == outside.advertised.port
    assert f"- data:{options.data}\n" in text
    assert "dockerfile: deploy/Dockerfile\n" in text


def test_the_unit_serves_from_its_state_directory() -> None:
    program, command, *arguments = unit_command()
    assert (program.rpartition("/")[2], command) == ("oncelog", "serve")
    options = read(arguments, {})
    (state,) = re.findall(r"^StateDirectory=(.*)$", text_of("oncelog.service"), re.MULTILINE)
    assert options.data == f"/var/lib/{state}"
    assert options.admin is not None


@pytest.mark.parametrize("name", ["Dockerfile", "oncelog.service", "compose.yaml"])
def test_the_document_tells_of_each_file(name: str) -> None:
    assert f"deploy/{name}" in (ROOT / "docs" / "operating.md").read_text()
