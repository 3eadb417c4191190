"""Run kafka-python's integration tests against oncelog, or any broker: `make kafka-python-suite`.

Fetches the newest source distribution (or VERSION) from the package index, unpacks it under build/, runs its
test/integration as it is, and prints what passed. Ends with status 1 where less than 90 % of the tests that
apply run and pass, or where oncelog passes one that NOT_APPLICABLE names. Nothing of kafka-python is in
this project; what its distribution lacks of the tests is in broker_service.py.

    python -m tests.kafka_python_suite.run [--bootstrap HOST:PORT] [--version 3.0.12] [--only EXPRESSION]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from bench.run import answers
from tests.support.server import ServerProcess

HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build" / "kafka-python-suite"
SHARE_TO_PASS = 0.9
TIME_LIMIT_S = 900
KAFKA_VERSION = "4.3.0"
"""What the suite takes the broker for: the newest that kafka-python tells from its answers."""

SECURITY = "security"
SEVERAL_BROKERS = "several brokers"
LATER_API = "an API of later work"
NOT_APPLICABLE = {
    "test_create_describe_delete_acls": f"{SECURITY}: ACLs",
    "test_ssl_integration": f"{SECURITY}: TLS",
    "test_sasl_integration": f"{SECURITY}: SASL",
    "test_alter_replica_log_dirs": f"{LATER_API}: AlterReplicaLogDirs",
    "test_delete_records": f"{LATER_API}: DeleteRecords",
    "test_delete_records_with_errors": f"{LATER_API}: DeleteRecords",
    "test_alter_partition_reassignments": f"{SEVERAL_BROKERS}: AlterPartitionReassignments",
}
"""By name of a test or of its module, why it says nothing about this broker."""


class Outcome(NamedTuple):
    """One test and how it ended; `word` is passed, failed, skipped or not applicable."""

    module: str
    test: str
    word: str
    reason: str


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bootstrap", help="HOST:PORT of a broker that runs (default: start oncelog serve)")
    parser.add_argument("--version", help="which kafka-python (default: the newest)")
    parser.add_argument("--only", metavar="EXPRESSION", help="handed to pytest as -k")
    options = parser.parse_args()
    if options.bootstrap and not answers(options.bootstrap):
        print(f"no Kafka broker answers on {options.bootstrap}; is it running?", file=sys.stderr)
        return 2
    suite = unpack(fetch(options.version))
    with broker(options.bootstrap) as bootstrap:
        outcomes = run(suite, bootstrap, options.only)
    return report(outcomes, suite.name, is_oncelog=options.bootstrap is None)


def fetch(version: str | None) -> Path:
    """The source distribution, through pip."""
    BUILD.mkdir(parents=True, exist_ok=True)
    wanted = f"kafka-python=={version}" if version else "kafka-python"
    with tempfile.TemporaryDirectory(dir=BUILD) as directory:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*command, "--dest", directory, wanted], check=True)
        (downloaded,) = Path(directory).glob("*.tar.gz")
        return Path(shutil.move(downloaded, BUILD / downloaded.name))


def unpack(archive: Path) -> Path:
    """The suite's root, new each time, with the modules that the distribution leaves out."""
    root = BUILD / archive.name.removesuffix(".tar.gz")
    shutil.rmtree(root, ignore_errors=True)
    with tarfile.open(archive) as opened:
        opened.extractall(BUILD, filter="data")
    (root / "test" / "__init__.py").touch()
    shutil.copyfile(HERE / "broker_service.py", root / "test" / "service.py")
    return root


@contextlib.contextmanager
def broker(bootstrap: str | None) -> Iterator[str]:
    """HOST:PORT of the broker under test. The suite asks for sessions of 3 s."""
    if bootstrap is not None:
        yield bootstrap
        return
    environment = {
        "ONCELOG_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "ONCELOG_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
        "ONCELOG_NUM_PARTITIONS": "4",
    }
    with (
        tempfile.TemporaryDirectory() as directory,
        ServerProcess(Path(directory) / "data", environment=environment) as server,
    ):
        yield server.bootstrap


def run(suite: Path, bootstrap: str, only: str | None) -> list[Outcome]:
    """Run pytest in the suite's root, with its output shown, and read its results."""
    results = suite / "results.xml"
    command = [sys.executable, "-m", "pytest", "test/integration", "-q", "--tb=short", "--show-capture=no"]
    command += [f"--junitxml={results}", "-p", "no:cacheprovider", "-p", "no:warnings"]
    # The suite's own way of limiting time ends the whole run.
    command += ["-o", "addopts=", "--timeout=90", "--timeout-method=signal"]
    environment = os.environ | {
        "KAFKA_URI": f"kafka://{bootstrap}",
        "KAFKA_VERSION": KAFKA_VERSION,
        "KAFKA_ROOT": str(suite),
    }
    subprocess.run(
        [*command, *(["-k", only] if only else [])], cwd=suite, env=environment, timeout=TIME_LIMIT_S
    )
    if not results.exists():
        raise SystemExit("pytest ended before it had run the suite")
    return [outcome(case) for case in ElementTree.parse(results).iter("testcase")]


def outcome(case: ElementTree.Element) -> Outcome:
    module = case.get("classname", "").removeprefix("test.integration.").split(".")[0]
    test = case.get("name", "")
    word, reason = "passed", ""
    for kind, said in (("skipped", "skipped"), ("failure", "failed"), ("error", "failed")):
        if (found := case.find(kind)) is not None:
            word, reason = said, found.get("message", "").splitlines()[0][:120]
    excuse = NOT_APPLICABLE.get(test.partition("[")[0]) or NOT_APPLICABLE.get(module)
    if excuse is not None and word != "passed":
        word, reason = "not applicable", excuse
    return Outcome(module, test, word, reason)


def report(outcomes: list[Outcome], suite: str, *, is_oncelog: bool) -> int:
    """Print the table; the exit status."""
    counts = Counter(each.word for each in outcomes)
    for each in outcomes:
        print(f"{each.word:15} {each.module.removesuffix('_integration'):14} {each.test:58} {each.reason}")
    applicable = len(outcomes) - counts["not applicable"]
    share = counts["passed"] / applicable if applicable else 0.0
    print(
        f"\n{suite}: {counts['passed']} of {applicable} tests that apply passed ({share:.1%}), "
        f"{counts['failed']} failed, {counts['skipped']} were skipped by the suite itself; "
        f"{counts['not applicable']} of all {len(outcomes)} don't apply"
    )
    wrongly_excused = [
        each.test
        for each in outcomes
        if is_oncelog and each.word == "passed" and each.test.partition("[")[0] in NOT_APPLICABLE
    ]
    if wrongly_excused:
        print(f"passed, and must leave NOT_APPLICABLE: {', '.join(wrongly_excused)}")
    return 0 if share >= SHARE_TO_PASS and not wrongly_excused else 1


if __name__ == "__main__":
    sys.exit(main())
