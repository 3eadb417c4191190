"""Wheel and sdist, each installed into an empty environment, do what the README shows.

pip takes the dependencies from wherever it is configured to, as it does for a reader of the README.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, promised_output, readme_code, readme_commands, told
from tests.support.server import ServerProcess

pytestmark = pytest.mark.timeout(300)
"""Most of the time is the network's."""


class InstalledServer(ServerProcess):
    """The README's `oncelog serve`, as an environment's own script."""

    def __init__(self, data: Path, environment: Path) -> None:
        super().__init__(data)
        self._script = environment / "bin" / "oncelog"

    def _command(self) -> list[str]:
        _, (program, *arguments) = readme_commands()
        assert program == "oncelog"
        assert "./data" in arguments
        where = [str(self.data) if argument == "./data" else argument for argument in arguments]
        return [str(self._script), *where, "--listen", self._listen]


def run(command: Sequence[str | Path], cwd: Path) -> str:
    """Run something away from the checkout; its output, or all that it said when it failed."""
    done = subprocess.run(command, cwd=cwd, env=clean_environment(), capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}"
    return done.stdout


def clean_environment() -> dict[str, str]:
    """Nothing that would let the checkout, or this environment, be imported instead of what is installed."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with the sdist, and with the wheel that was built from the sdist."""
    built = tmp_path_factory.mktemp("built")
    run([sys.executable, "-m", "build", "--outdir", built, ROOT], cwd=built)
    return built


def only(built: Path, pattern: str) -> Path:
    (found,) = built.glob(pattern)
    return found


def test_the_wheel_carries_licence_and_types(built: Path) -> None:
    with zipfile.ZipFile(only(built, "*.whl")) as wheel:
        names = wheel.namelist()
        assert "oncelog/py.typed" in names
        assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
        assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"oncelog"}


def test_the_sdist_carries_what_a_developer_needs(built: Path) -> None:
    with tarfile.open(only(built, "*.tar.gz")) as sdist:
        inside = {name.partition("/")[2] for name in sdist.getnames()}
    tracked = ROOT / "Makefile", ROOT / "LICENSE", *ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")
    assert {str(path.relative_to(ROOT)) for path in tracked} <= inside
    assert {"tests/conftest.py", "bench/run.py", "demo/run.py", ".ci/run"} <= inside


TEST_WITH_THE_PLUGIN = """
import oncelog

def test_fixtures(oncelog_broker, oncelog_topic, oncelog_faults):
    assert isinstance(oncelog_broker, oncelog.Broker)
    assert oncelog_topic.startswith("test-fixtures-")
"""


@pytest.mark.parametrize("pattern", ["*.whl", "*.tar.gz"], ids=["wheel", "sdist"])
def test_installed_into_an_empty_environment_it_runs_the_readme(
    pattern: str, built: Path, tmp_path: Path
) -> None:
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    checkout, *others = readme_commands()[0]
    assert checkout == "."
    run(
        [python, "-m", "pip", "install", "--quiet", only(built, pattern), *others, "pytest"],
        cwd=tmp_path,
    )
    where = run([python, "-c", "import oncelog; print(oncelog.__file__)"], cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(environment)
    with InstalledServer(tmp_path / "data", environment) as server:
        code = readme_code()
        assert run([python, "-c", told(server.bootstrap, code)], cwd=tmp_path) == promised_output(code)
        assert server.stop() == 0
    (tmp_path / "test_plugin.py").write_text(TEST_WITH_THE_PLUGIN)
    assert "1 passed" in run([python, "-m", "pytest", "-q", "test_plugin.py"], cwd=tmp_path)
