"""The pytest plugin: `oncelog_broker`, `oncelog_topic` and `oncelog_faults`, without any setting up.

pytest finds it by its entry point in every run of an environment that has oncelog, so it imports nothing but
its own few lines until a fixture is asked for. A test passes only if the faults that it asked for happened.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from oncelog.testing import factories
from oncelog.testing.settings import add_settings, setting

oncelog_broker = factories.broker()
oncelog_topic = factories.topic()
oncelog_faults = factories.faults()


def pytest_addoption(parser: pytest.Parser) -> None:
    add_settings(parser)


def pytest_report_header(config: pytest.Config) -> str | None:
    bootstrap = setting(config, "bootstrap")
    return f"oncelog: tests run on the cluster at {bootstrap}" if bootstrap else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """A fault that was asked for and did not happen means that the test has not tested what it says."""
    result = yield
    given = item.stash.get(factories.FAULTS_OF_TEST, [])
    sentences = [sentence for faults in given for sentence in faults.unused()]
    if sentences:
        pytest.fail("the test ended, and " + "\nand ".join(sentences), pytrace=False)
    return result
