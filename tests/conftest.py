"""What all tests share; the fixtures live in tests/support/."""

from __future__ import annotations

import os

import pytest

from tests.support.fixtures import (  # noqa: F401  (pytest finds fixtures by name)
    broker,
    connection,
    make_topic,
    open_connection,
    server_in,
    unique_name,
)


def pytest_report_header() -> str:
    bootstrap = os.environ.get("ONCELOG_TEST_BOOTSTRAP")
    return f"broker under test: {bootstrap or 'oncelog serve, started by the tests'}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where oncelog differs from Kafka on purpose, Kafka must fail the test: else the difference is none."""
    if not os.environ.get("ONCELOG_TEST_BOOTSTRAP") or os.environ.get("ONCELOG_TEST_BROKER") == "oncelog":
        return
    for item in items:
        for mark in item.iter_markers("deliberate_difference"):
            item.add_marker(pytest.mark.xfail(reason=str(mark.args[0]), strict=True))
