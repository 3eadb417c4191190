"""The metrics: what they count, when they are told, how they are written and that each is documented."""

from __future__ import annotations

import re
from typing import Any

import pytest

from oncelog.broker.metrics import (
    METRICS,
    EngineCounts,
    Histogram,
    Kind,
    Metric,
    Sample,
    exposition,
    look_for_errors,
    single,
)
from oncelog.broker.registry import Registry
from oncelog.wire.definition import FieldSpec, Struct
from oncelog.wire.messages.api_versions import ApiVersionsRequest
from oncelog.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from oncelog.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from tests.docs.blocks import ROOT
from tests.operations.scraping import parsed, watched
from tests.support.batches import batch
from tests.support.speaking import TransactionalProducer, produce, produce_request

OF_STATE = {metric.name for metric in METRICS if metric.of_state}


def creation(*names: str, partitions: int = 1) -> CreateTopicsRequest:
    topics = [
        CreatableTopic(name=name, num_partitions=partitions, replication_factor=1, assignments=[], configs=[])
        for name in names
    ]
    return CreateTopicsRequest(topics=topics, timeout_ms=1000)


def create(client: Any, *names: str, partitions: int = 1) -> None:
    answer = client.call(creation(*names, partitions=partitions), 5)
    assert [topic.error_code for topic in answer.topics] == [0] * len(names)


def commit(client: Any, group: str, topic: str, offset: int) -> None:
    partition = OffsetCommitRequestPartition(
        partition_index=0, committed_offset=offset, committed_leader_epoch=-1, committed_metadata=""
    )
    request = OffsetCommitRequest(
        group_id=group,
        generation_id_or_member_epoch=-1,
        member_id="",
        topics=[OffsetCommitRequestTopic(name=topic, partitions=[partition])],
    )
    assert client.call(request, 8).topics[0].partitions[0].error_code == 0


# --- the table ---


def test_every_metric_is_scraped_and_every_scraped_one_is_declared() -> None:
    with watched() as broker:
        found = broker.metrics()
    assert {name: family.kind for name, family in found.items()} == {
        metric.name: metric.kind.value for metric in METRICS
    }


def test_every_metric_is_in_the_document_with_its_alert_and_no_other_is() -> None:
    text = (ROOT / "docs" / "operating.md").read_text()
    named = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for name in re.findall(r"\b(?:oncelog|process)_[a-z_]+", text)
    }
    assert named == {metric.name for metric in METRICS}
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    for metric in METRICS:
        (row,) = [row for row in rows if row.startswith(f"| `{metric.name}`")]
        assert metric.name in metric.alert or metric.kind in (Kind.HISTOGRAM, Kind.SUMMARY), (
            "an alert is about its metric"
        )
        assert metric.name in row.rpartition(" | ")[2], "the alert stands in the last column"


def test_what_is_told_of_the_log_is_told_apart() -> None:
    """A metric that is a fact of the log, and only such a one, waits for the disk."""
    with watched() as broker:
        broker.process.journal.hold()
        client = broker.process.connect()
        client.send(produce_request([("not there", 0, batch([b"x"]))]), 11)
        client.send(creation("t"), 5)
        broker.ask("/metrics")
        broker.process.settle()
        assert broker.answers == [], "a topic is told of that a crash could take back"
        broker.process.confirm()
        told = parsed(broker.answers.pop().text)
        assert told["oncelog_topics"].rows[()] == 1
        assert told["oncelog_errors_total"].rows["Produce", "UNKNOWN_TOPIC_OR_PARTITION"] == 1
        assert told["oncelog_state_shown"].rows[()] == 1


def test_a_disk_that_hangs_is_told_of_without_what_is_not_durable() -> None:
    with watched() as broker:
        broker.process.journal.hold()
        broker.process.connect().send(creation("t"), 5)
        broker.ask("/metrics")
        broker.process.advance(0.9)
        assert broker.answers == []
        broker.process.advance(0.2)
        told = parsed(broker.answers.pop().text)
        assert not told.keys() & OF_STATE
        assert told["oncelog_state_shown"].rows[()] == 0
        assert told["oncelog_sync_waiting_seconds"].rows[()] > 0
        assert told["oncelog_replies_held"].rows[()] == broker.process.broker.engine.held_count > 0
        broker.process.let_go()
        assert broker.answers == [], "it is answered once"
        after = broker.metrics()
        assert after["oncelog_sync_waiting_seconds"].rows[()] == 0
        assert after["oncelog_replies_held"].rows[()] == 0


def test_a_broker_that_has_failed_still_tells_of_its_process() -> None:
    with watched() as broker:
        broker.process.journal.hold()
        broker.process.connect().send(creation("t"), 5)
        broker.process.fail()
        told = broker.metrics()
        assert not told.keys() & OF_STATE
        assert told["oncelog_ready"].rows[()] == 0


# --- what is counted ---


def test_requests_and_errors_are_counted_by_api() -> None:
    with watched() as broker:
        client = broker.process.connect()
        create(client, "t", partitions=2)
        for _ in range(3):
            assert produce(client, "t", batch([b"x"])).error_code == 0
        client.send(produce_request([("t", 9, batch([b"x"])), ("t", 8, batch([b"x"]))]), 11)
        client.send(produce_request([("t", 0, batch([b"x"]))], acks=0), 11, expect_answer=False)
        client.send(ApiVersionsRequest(client_software_name="a", client_software_version="1"), 3)
        client.answers()
        # A version that nobody knows is answered before it comes to a handler.
        broker.process.connect().send_bytes(b"\0\0\0\x0b\0\x12\x7f\xff\0\0\0\1\xff\xff\0")
        told = broker.metrics()
        requests = {key[0]: count for key, count in told["oncelog_requests_total"].rows.items() if count}
        assert requests == {"CreateTopics": 1, "Produce": 5, "ApiVersions": 2}
        assert told["oncelog_errors_total"].rows == {
            ("Produce", "UNKNOWN_TOPIC_OR_PARTITION"): 2,
            ("ApiVersions", "UNSUPPORTED_VERSION"): 1,
        }


def test_each_journal_entry_is_counted_with_its_commands_and_bytes() -> None:
    with watched() as broker:
        client = broker.process.connect()
        create(client, "t")
        before = broker.metrics()
        broker.process.journal.hold()
        client.send(produce_request([("t", 0, batch([b"first"]))]), 11)
        broker.process.settle()
        # The first is with the writer; these two share the next entry.
        client.send(produce_request([("t", 0, batch([b"a" * 100]))]), 11)
        client.send(produce_request([("t", 0, batch([b"b" * 100]))]), 11)
        broker.process.settle()
        broker.process.confirm()
        broker.process.let_go()
        after = broker.metrics()
        written = broker.process.journal.appended[-2:]
        rows = after["oncelog_entry_commands"].rows
        assert rows["_sum",] - before["oncelog_entry_commands"].rows["_sum",] == 3
        assert rows["_count",] - before["oncelog_entry_commands"].rows["_count",] == 2
        grown = after["oncelog_entry_bytes"].rows["_sum",] - before["oncelog_entry_bytes"].rows["_sum",]
        assert grown == sum(len(entry.events) + len(entry.payload) for entry in written)
        syncs = after["oncelog_sync_seconds"].rows["_count",] - before["oncelog_sync_seconds"].rows["_count",]
        assert syncs == 2


def test_sync_latency_is_from_the_writer_to_durable() -> None:
    now_s = 10.0
    counts = EngineCounts(lambda: now_s)
    counts.submitted(1, 100)
    now_s = 10.2
    assert counts.sync_waiting_s == pytest.approx(0.2)
    counts.confirmed()
    assert (counts.sync_s.count, counts.sync_s.sum) == (1, pytest.approx(0.2))
    assert counts.sync_waiting_s == 0
    counts.submitted_seal()
    now_s = 10.3
    counts.confirmed()
    assert (counts.sync_s.count, counts.entries) == (2, 1)


def test_connections_are_counted_and_those_that_were_closed_for_cause() -> None:
    with watched() as broker:
        broker.process.connect()
        bad = broker.process.connect()
        bad.send_bytes(b"\xff\xff\xff\xff")
        assert bad.is_closed
        told = broker.metrics()
        assert told["oncelog_connections"].rows[()] == 1
        assert told["oncelog_connections_accepted_total"].rows[()] == 2
        assert told["oncelog_connections_closed_for_cause_total"].rows[()] == 1


def test_open_transactions_their_age_and_what_they_hold_back() -> None:
    with watched() as broker:
        client = broker.process.connect()
        create(client, "t", "u")
        producer = TransactionalProducer(client, "tx")  # type: ignore[arg-type]
        assert producer.add("t") == 0
        producer.produce("t", [b"a", b"b"])
        assert produce(client, "t", batch([b"c"])).error_code == 0
        commit(client, "g", "t", 0)
        broker.process.advance(5, step_s=0.5)
        other = TransactionalProducer(client, "later", timeout_ms=90_000)  # type: ignore[arg-type]
        assert other.add("u") == 0
        told = broker.metrics()
        assert told["oncelog_transactions_open"].rows[()] == 2
        assert told["oncelog_transaction_oldest_seconds"].rows[()] == pytest.approx(5, abs=0.6)
        assert told["oncelog_unstable_records"].rows[()] == 3
        assert told["oncelog_topic_unstable_records"].rows == {("t",): 3, ("u",): 0}
        assert told["oncelog_group_lag_records"].rows == {
            ("g", "high_watermark"): 3,
            ("g", "last_stable_offset"): 0,
        }
        assert producer.end(commit=True, version=3).error_code == 0
        told = broker.metrics()
        assert told["oncelog_transactions_open"].rows[()] == 1
        assert told["oncelog_unstable_records"].rows[()] == 0
        # The marker has an offset of its own.
        assert told["oncelog_group_lag_records"].rows["g", "last_stable_offset"] == 4


def test_names_are_bounded_and_totals_are_not() -> None:
    with watched(rows_max=2) as broker:
        client = broker.process.connect()
        create(client, "a", "b", "c", partitions=3)
        groups = ['quo"te', "long" * 100, "back\\slash\nline", "third"]
        for group in groups:
            commit(client, group, "a", 0)
        told = broker.metrics()
        assert told["oncelog_topics"].rows[()] == 3
        assert told["oncelog_partitions"].rows[()] == 9
        assert told["oncelog_groups"].rows[()] == 4
        assert set(told["oncelog_topic_unstable_records"].rows) == {("a",), ("b",)}
        assert told["oncelog_topics_left_out"].rows[()] == 1
        assert {group for group, _ in told["oncelog_group_lag_records"].rows} == {groups[0], groups[2]}
        assert told["oncelog_groups_left_out"].rows[()] == 2


def test_the_lag_of_the_loop_is_measured() -> None:
    with watched() as broker:
        assert broker.metrics()["oncelog_loop_lag_seconds"].rows["_count",] == 0
        broker.process.within(broker.admin.measure_lag)
        broker.process.advance(0.5, step_s=0.1)
        assert broker.metrics()["oncelog_loop_lag_seconds"].rows["_count",] == 5


# --- finding errors in answers ---


def full_of_errors(struct: type[Struct]) -> tuple[Struct, int]:
    """A value whose every list has two elements and every error code is 3, and how many those are."""
    values: dict[str, Any] = {}
    errors = 0
    for spec in struct.fields:
        nested = element_of(spec)
        if spec.name.endswith("error_code"):
            values[spec.name] = 3
            errors += 1
        elif nested is not None:
            made = [full_of_errors(nested) for _ in range(2)]
            values[spec.name] = [value for value, _ in made]
            errors += sum(count for _, count in made)
    return struct(**values), errors


def element_of(spec: FieldSpec) -> type[Struct] | None:
    element = spec.type.element
    return element.element if spec.type.name == "array" and element.name == "struct" else None


@pytest.mark.parametrize("route", Registry.load().routes.values(), ids=lambda route: route.name)
def test_every_error_of_an_answer_is_found(route: Any) -> None:
    counts: dict[int, int] = {}
    look = look_for_errors(route.api.response, counts)
    value, errors = full_of_errors(route.api.response)
    assert look is not None
    assert errors > 0
    look(value)
    assert counts == {3: errors}
    look(route.api.response())
    assert counts == {3: errors}, "an answer without errors, its lists null or empty, adds none"


# --- the text ---


def test_the_text_is_prometheus_text() -> None:
    histogram = Histogram((0.5, 1.0))
    for value in (0.5, 0.7, 3.0):
        histogram.observe(value)
    text = exposition(
        [
            single(Metric("a", Kind.HISTOGRAM, "Back\\slash\nand line.", "-"), histogram),
            Sample(Metric("b", Kind.GAUGE, "B.", "-", ("x", "y")), {("1\n", '"\\'): 2.5, ("", "é"): 1e20}),
        ]
    )
    assert text == (
        "# HELP a Back\\\\slash\\nand line.\n# TYPE a histogram\n"
        'a_bucket{le="0.5"} 1\na_bucket{le="1"} 2\na_bucket{le="+Inf"} 3\na_sum 4.2\na_count 3\n'
        '# HELP b B.\n# TYPE b gauge\nb{x="1\\n",y="\\"\\\\"} 2.5\nb{x="",y="é"} 100000000000000000000\n'
    )
