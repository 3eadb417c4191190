"""Apache Kafka's Java client: its jars by Maven, once, and a program of it that makes transactions.

Not part of the default run, which shall not need Java; `make first-generation` has it.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.franz_go.program import ROOT, Program, words_of

SOURCE = Path(__file__).parent / "java"
KEPT = ROOT / "build" / "java-client"
FIRST_GENERATION = "3.9.1"
"""The last that knows no other."""
SECOND_GENERATION = "4.3.1"


class JavaMissing(Exception):
    """Why the Java client cannot be run here, in words."""


def jars(version: str) -> Path:
    """The directory of the client's jars, fetched where they are not there yet."""
    if shutil.which("java") is None:
        raise JavaMissing("the Java client was left out: Java is not installed (17 or later)")
    directory = KEPT / version
    if not any(directory.glob(f"kafka-clients-{version}.jar")):
        if shutil.which("mvn") is None:
            raise JavaMissing("the Java client was left out: Maven, which fetches it, is not installed")
        command = ["mvn", "-B", "-q", "-f", str(SOURCE / "pom.xml"), "dependency:copy-dependencies"]
        words = [f"-Dkafka.version={version}", f"-DoutputDirectory={directory}", "-DincludeScope=runtime"]
        fetched = subprocess.run([*command, *words], check=False, capture_output=True, text=True)
        if fetched.returncode != 0:
            raise JavaMissing(
                f"the Java client was left out: Maven could not fetch it: {fetched.stdout[-300:]}"
            )
    return directory


class JavaTransactions(Program):
    """One transaction after another."""

    def __init__(self, version: str, bootstrap: str, **flags: object) -> None:
        words = [f"--bootstrap={bootstrap}", *words_of(flags)]
        super().__init__(
            ["java", "-Xmx256m", "-cp", f"{jars(version)}/*", str(SOURCE / "Transactions.java"), *words]
        )
