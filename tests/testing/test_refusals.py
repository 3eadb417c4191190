"""A refusal is a well-formed answer of its API with the error in every place that a client may look at."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from oncelog.broker.refusals import METADATA_KEY, refusal
from oncelog.broker.registry import Registry, Route
from oncelog.wire.definition import Message, Struct
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.fetch import FetchRequest
from tests.wire.generating import full

ROUTES = Registry.load().routes
WITHOUT_METADATA = [route for route in ROUTES.values() if route.key != METADATA_KEY]
"""Its refusal is made from the true answer of a broker: test_faults.py refuses one."""
ERROR = ErrorCode.COORDINATOR_NOT_AVAILABLE


def refused(route: Route, request: Message, version: int) -> Any:
    """What arrives at the client."""
    context: Any = SimpleNamespace(version=version)
    response = refusal(route, context, request, ERROR)
    return route.api.response.decode(response.encode(version), version)


def errors_in(value: Struct, version: int) -> Iterator[int]:
    for spec in value.fields:
        inner = getattr(value, spec.name)
        if spec.name in ("error_code", "partition_error_code") and version in spec.versions:
            yield inner
        elif isinstance(inner, list):
            for each in inner:
                if isinstance(each, Struct):
                    yield from errors_in(each, version)


def route_named(name: str) -> Route:
    (found,) = (route for route in ROUTES.values() if route.name == name)
    return found


@pytest.mark.parametrize("route", WITHOUT_METADATA, ids=lambda route: route.name)
def test_in_every_version_the_error_is_told_and_no_other(route: Route) -> None:
    for version in range(route.min_version, route.max_version + 1):
        told = list(errors_in(refused(route, full(route.api.request, version), version), version))
        assert told, f"version {version} has nowhere said it"
        assert set(told) <= {ERROR, 0}
        assert ERROR in told


@pytest.mark.parametrize(
    ("api", "version", "path"),
    [
        ("Produce", 11, "responses[name].partition_responses[index]"),
        ("Produce", 13, "responses[topic_id].partition_responses[index]"),
        ("Fetch", 12, "responses[topic].partitions[partition_index]"),
        ("ListOffsets", 7, "topics[name].partitions[partition_index]"),
        ("OffsetCommit", 8, "topics[name].partitions[partition_index]"),
        ("OffsetFetch", 8, "groups[group_id].topics[name].partitions[partition_index]"),
        ("OffsetFetch", 7, "topics[name].partitions[partition_index]"),
        (
            "AddPartitionsToTxn",
            3,
            "results_by_topic_v3_and_below[name].results_by_partition[partition_index]",
        ),
        (
            "AddPartitionsToTxn",
            5,
            "results_by_transaction[transactional_id].topic_results[name].results_by_partition[partition_index]",
        ),
        ("TxnOffsetCommit", 3, "topics[name].partitions[partition_index]"),
        ("FindCoordinator", 4, "coordinators[key]"),
        ("LeaveGroup", 5, "members[member_id]"),
        ("DescribeGroups", 5, "groups[group_id]"),
        ("DeleteGroups", 2, "results[group_id]"),
        ("CreateTopics", 7, "topics[name]"),
        ("DeleteTopics", 5, "responses[name]"),
        ("DeleteTopics", 6, "responses[topic_id]"),
        ("CreatePartitions", 3, "results[name]"),
        ("DescribeConfigs", 4, "results[resource_name]"),
        ("OffsetForLeaderEpoch", 4, "topics[topic].partitions[partition]"),
    ],
)
def test_each_thing_that_was_named_has_its_error(api: str, version: int, path: str) -> None:
    route = route_named(api)
    request = full(route.api.request, version)
    told: list[Any] = [refused(route, request, version)]
    asked: list[Any] = [request]
    for step in path.split("."):
        array, _, identity = step.rstrip("]").partition("[")
        told = [each for one in told for each in getattr(one, array)]
        asked = [each for one in asked for each in first_array(one, version)]
        assert [getattr(each, identity) for each in told] == [identity_of(each, identity) for each in asked]
    assert len(told) >= 2
    assert {
        getattr(each, "error_code", None) or getattr(each, "partition_error_code", None) for each in told
    } == {ERROR}


def first_array(asked: Struct, version: int) -> list[Any]:
    found = [
        getattr(asked, spec.name)
        for spec in asked.fields
        if version in spec.versions and isinstance(getattr(asked, spec.name), list)
    ]
    return list(found[0])


def identity_of(asked: Any, identity: str) -> Any:
    if not isinstance(asked, Struct):
        return asked
    for name in (identity, {"partition_index": "partition", "index": "partition"}.get(identity, "")):
        if hasattr(asked, name):
            return getattr(asked, name)
    raise AssertionError(f"{asked} has no {identity}")


def test_a_fetch_with_errors_of_partitions_keeps_its_session() -> None:
    route = route_named("Fetch")
    assert refused(route, full(FetchRequest, 12), 12).error_code == 0
    assert refused(route, FetchRequest(session_id=1, session_epoch=2), 12).error_code == ERROR


def test_an_unknown_field_of_a_number_is_minus_one() -> None:
    route = route_named("Produce")
    (first, *_) = refused(route, full(route.api.request, 11), 11).responses
    assert first.partition_responses[0].base_offset == -1
