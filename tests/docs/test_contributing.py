"""CONTRIBUTING's worked example is a file of the package, and that file alone makes an API.

A copy of the package without it doesn't serve, advertise or document the API; with it, it does all three.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.api_versions import ApiVersionsRequest
from oncelog.wire.messages.describe_producers import DescribeProducersRequest, TopicRequest
from tests.docs.blocks import ROOT, blocks
from tests.support.batches import batch
from tests.support.raw import RawConnection
from tests.support.server import ServerProcess
from tests.support.speaking import idempotent_producer, produce
from tests.support.topics import create_topic

FILE = "oncelog/broker/api/describe_producers.py"
KEY = 61


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a copy of the package lies that lacks the example's file."""
    return copied(tmp_path_factory, "without")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where one lies that has CONTRIBUTING's text in that place, and no other change."""
    where = copied(tmp_path_factory, "contributed")
    (where / FILE).write_text(example())
    return where


def copied(tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    where = tmp_path_factory.mktemp(name) / "src"
    shutil.copytree(ROOT / "src" / "oncelog", where / "oncelog", ignore=shutil.ignore_patterns("__pycache__"))
    (where / FILE).unlink()
    return where


def example() -> str:
    (code,) = blocks("CONTRIBUTING.md", "python")
    assert f"`src/{FILE}`" in (ROOT / "CONTRIBUTING.md").read_text()
    return code


@pytest.fixture
def contributed(package: Path, tmp_path: Path) -> Iterator[RawConnection]:
    """A connection to a broker that serves the example."""
    with ServerProcess(tmp_path / "data", environment={"PYTHONPATH": str(package)}) as server:
        create_topic(server.bootstrap, "topic", 1, {})
        connection = RawConnection(server.bootstrap)
        yield connection
        connection.close()


def test_the_example_is_advertised_and_answers_from_the_state(contributed: RawConnection) -> None:
    advertised = contributed.call(ApiVersionsRequest(), 0)
    assert (KEY, 0, 0) in [(row.api_key, row.min_version, row.max_version) for row in advertised.api_keys]
    producer_id = idempotent_producer(contributed)
    records = batch([b"one", b"two"], producer_id=producer_id, epoch=0, sequence=0)
    assert produce(contributed, "topic", records).error_code == ErrorCode.NONE
    asked = DescribeProducersRequest(topics=[TopicRequest(name="topic", partition_indexes=[0, 1])])
    (topic,) = contributed.call(asked, 0).topics
    here, missing = topic.partitions
    (producer,) = here.active_producers
    assert (producer.producer_id, producer.producer_epoch, producer.last_sequence) == (producer_id, 0, 1)
    assert producer.current_txn_start_offset == -1
    assert missing.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def test_without_the_file_the_api_is_not_advertised(without: Path, tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", environment={"PYTHONPATH": str(without)}) as server:
        connection = RawConnection(server.bootstrap)
        advertised = connection.call(ApiVersionsRequest(), 0)
        connection.close()
    assert KEY not in [row.api_key for row in advertised.api_keys]


def test_the_text_is_the_file() -> None:
    assert example() == (ROOT / "src" / FILE).read_text()


def test_the_example_is_documented(without: Path, package: Path, tmp_path: Path) -> None:
    row = "| 61 | DescribeProducers | 0 | the producers that a partition remembers (KIP-664). |"
    assert row not in documented(without, tmp_path / "without")
    assert row in documented(package, tmp_path / "with")


def documented(package: Path, where: Path) -> str:
    """What the package writes of the APIs that it serves."""
    docs = shutil.copytree(ROOT / "docs", where)
    subprocess.run(
        [sys.executable, "-m", "oncelog.docs", "--docs", docs],
        env={**os.environ, "PYTHONPATH": str(package)},
        check=True,
    )
    return (docs / "protocol.md").read_text().partition("## Not served")[0]
