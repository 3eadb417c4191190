"""docs/protocol.md: which of Kafka's APIs are served, and which are not and why.

What is served is read from the registry; what is not served is declared here, and an API leaves that list by
itself once the registry has it. Must not know what a handler does beyond its docstring's first line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from oncelog.broker.registry import Registry, Route

KAFKA_VERSION = "4.3"


class Declined(NamedTuple):
    """APIs that Kafka answers by default and this broker doesn't (yet), and why."""

    why: str
    apis: dict[int, str]


DECLINED = (
    Declined(
        "Security: the broker knows no users yet, and listens on 127.0.0.1 unless told otherwise.",
        {
            17: "SaslHandshake",
            36: "SaslAuthenticate",
            30: "CreateAcls",
            31: "DeleteAcls",
            38: "CreateDelegationToken",
            39: "RenewDelegationToken",
            40: "ExpireDelegationToken",
            41: "DescribeDelegationToken",
            50: "DescribeUserScramCredentials",
            51: "AlterUserScramCredentials",
        },
    ),
    Declined("Removing records: comes with segments and retention.", {21: "DeleteRecords"}),
    Declined(
        "Groups whose assignment the broker makes (KIP-848): clients that leave group.protocol at its default"
        " use the classic protocol, which is served.",
        {68: "ConsumerGroupHeartbeat", 69: "ConsumerGroupDescribe"},
    ),
    Declined(
        "Share groups (KIP-932), and their state.",
        {
            76: "ShareGroupHeartbeat",
            77: "ShareGroupDescribe",
            78: "ShareFetch",
            79: "ShareAcknowledge",
            83: "InitializeShareGroupState",
            84: "ReadShareGroupState",
            85: "WriteShareGroupState",
            86: "DeleteShareGroupState",
            87: "ReadShareGroupStateSummary",
            90: "DescribeShareGroupOffsets",
            91: "AlterShareGroupOffsets",
            92: "DeleteShareGroupOffsets",
        },
    ),
    Declined("Streams groups (KIP-1071).", {88: "StreamsGroupHeartbeat", 89: "StreamsGroupDescribe"}),
    Declined(
        "Several brokers: there is one, with one replica of each partition.",
        {
            34: "AlterReplicaLogDirs",
            45: "AlterPartitionReassignments",
            64: "UnregisterBroker",
            80: "AddRaftVoter",
            81: "RemoveRaftVoter",
        },
    ),
    Declined("Quotas.", {49: "AlterClientQuotas"}),
)


class Difference(NamedTuple):
    """Where this broker does other than Kafka on purpose.

    test: the one that is marked `deliberate_difference` and fails against Apache Kafka.
    """

    kafka: str
    oncelog: str
    test: str


DIFFERENCES = (
    Difference(
        "A batch that is resent after five later ones is answered OUT_OF_ORDER_SEQUENCE_NUMBER: the client"
        " takes a new epoch and stores it again.",
        "DUPLICATE_SEQUENCE_NUMBER, which clients take for success, where the batch is known to be stored.",
        "test_an_older_batch_resent_is_known_as_a_duplicate",
    ),
    Difference(
        "InitProducerId on an open transaction is answered CONCURRENT_TRANSACTIONS until the transaction is"
        " aborted; the client asks again.",
        "The transaction is aborted in the same decision, and the answer is the new epoch.",
        "test_the_successor_of_an_open_transaction_is_answered_at_once",
    ),
    Difference(
        "InitProducerId aborts the open transaction before it looks at the epoch that its sender expects.",
        "It looks first; a stale sender is refused and aborts nothing.",
        "test_a_stale_sender_aborts_nothing",
    ),
    Difference(
        "An older epoch of a transactional id is fenced in each partition once its successor reaches it.",
        "It is fenced everywhere at once, also for batches outside of transactions.",
        "test_a_zombie_without_transaction_is_fenced_in_every_partition",
    ),
    Difference(
        "A Produce whose records are null fails as a whole with UNKNOWN_SERVER_ERROR.",
        "The partition is answered INVALID_RECORD; the others are stored.",
        "test_null_records_are_refused",
    ),
    Difference(
        "A batch whose header says that the broker dated it (LogAppendTime) is stored as one of CreateTime.",
        "INVALID_TIMESTAMP; no client sends it.",
        "test_a_timestamp_type_that_is_the_brokers_is_refused",
    ),
    Difference(
        "Every record's timestamp is held against message.timestamp.before.max.ms and after.max.ms.",
        "A batch's base and largest timestamp are; records are read only to name those that are refused.",
        "test_an_old_timestamp_behind_a_recent_first_one_is_stored",
    ),
    Difference(
        "WriteTxnMarkers ends a transaction in the named partition alone; its producer may still commit the"
        " rest.",
        "The whole transaction is aborted and its producer fenced.",
        "test_an_administrators_abort_ends_the_whole_transaction_and_fences_its_producer",
    ),
    Difference(
        "WriteTxnMarkers takes any epoch that is not behind the partition's.",
        "Where a transaction is open, any epoch but its own is answered INVALID_PRODUCER_EPOCH.",
        "test_an_abort_of_another_epoch_changes_nothing",
    ),
    Difference(
        "WriteTxnMarkers commits, for brokers and for administrators.",
        "A marker that commits is answered CLUSTER_AUTHORIZATION_FAILED: a transaction is committed by its"
        " producer, as a whole.",
        "test_a_marker_that_commits_is_refused",
    ),
    Difference(
        "EndTxn v5 that commits a transaction which the coordinator has just aborted for its timeout may be"
        " answered INVALID_TXN_STATE, which ends the producer (KAFKA-20785).",
        "PRODUCER_FENCED.",
        "test_a_commit_after_a_timeout_is_told_that_it_was_fenced",
    ),
    Difference(
        "At level 0 of transaction.version, requests of the second generation are answered"
        " UNSUPPORTED_VERSION, and their transaction is stuck until its coordinator loads anew.",
        "They are served at every level, so that a client goes on which has not noticed a downgrade.",
        "test_at_level_0_the_second_generation_is_served_all_the_same",
    ),
    Difference(
        "`__consumer_offsets` and `__transaction_state` hold older records of a key until their segments are"
        " compacted.",
        "They hold the newest record of each key, from the moment on at which it is there.",
        "test_an_offset_that_was_compacted_away_gives_the_next_one",
    ),
    Difference(
        "`__consumer_offsets` and `__transaction_state` can be deleted, grown and configured.",
        "INVALID_TOPIC_EXCEPTION: they are views of the broker's state.",
        "test_nobody_deletes_or_changes_them",
    ),
)

HEAD = f"""\
# Protocol

Made by `python -m oncelog.docs` from the files of `src/oncelog/broker/api/`; change those, not this page.

For each API that is served here, the versions are what a broker of Apache Kafka {KAFKA_VERSION} with default
settings answers to ApiVersions; `tests/docs/test_version_table.py` holds its whole answer and compares.

## Served

| key | API | versions | what it does |
|---:|---|---|---|
"""

REFUSED_HEAD = """
## Listed and refused

"""

REFUSED = """\
Kafka lists these versions, because older librdkafka sends batches uncompressed to a broker that doesn't
(KAFKA-18659), and closes the connection of a client that uses one. So does oncelog.
"""

DECLINED_HEAD = f"""
## Not served

Kafka {KAFKA_VERSION} answers these by default; ApiVersions leaves them out here, they belong to later work. A
request for one of them closes the connection, with a line in the log, as with any API or version that
ApiVersions doesn't name; Kafka does the same. Only ApiVersions is answered in whatever version it is asked.

| why | APIs (key) |
|---|---|
"""

UNLISTED = f"""
Also absent, as they are from Kafka {KAFKA_VERSION}'s answer: GetTelemetrySubscriptions (71) and PushTelemetry
(72), which Kafka lists once a metrics plugin is configured and which clients call as soon as they are listed;
InitProducerId v6 (two-phase commit), which is unstable there; and what controllers say to each other.

Of Kafka's features, `transaction.version` (levels 0 to 2) is published, and UpdateFeatures changes its level.
The others (`metadata.version`, `group.version`, `kraft.version`, `share.version`, `streams.version`,
`eligible.leader.replicas.version`) belong to what is not served. Compressed batches (gzip, snappy, lz4, zstd)
pass through as they were sent; message formats before record batches (magic 0 and 1) are refused, as Kafka 4
does.
"""

DIFFERENCES_HEAD = f"""
## Different on purpose

Each has a test that is marked `deliberate_difference`: it must pass here and must fail against Apache Kafka
([testing.md](testing.md) tells how to ask it).

| Apache Kafka {KAFKA_VERSION} | oncelog | test |
|---|---|---|
"""

_PREFIX = re.compile(r"(?P<name>\w+) \(key (?P<key>\d+), v(?P<versions>\d+(?:-\d+)?)\): (?P<rest>\S.*)\Z")


def markdown() -> str:
    """The whole page."""
    routes = Registry.load().routes
    return "".join(
        (
            HEAD,
            *map(_served_row, routes.values()),
            REFUSED_HEAD,
            *map(_refused_line, routes.values()),
            REFUSED,
            DECLINED_HEAD,
            *_declined_rows(routes),
            UNLISTED,
            DIFFERENCES_HEAD,
            *(f"| {each.kafka} | {each.oncelog} | `{each.test}` |\n" for each in DIFFERENCES),
        )
    )


def described(route: Route) -> str:
    """What an API's docstring says of it, once name, key and versions there are found to be true."""
    match = _PREFIX.match(route.summary)
    if match is None:
        raise ValueError(f'{route.name}: the docstring must begin "{route.name} (key …, v…): …"')
    said = (match["name"], int(match["key"]), match["versions"])
    true = (route.name, route.key, _range(route.min_version, route.max_version))
    if said != true:
        raise ValueError(f"{route.name}: the docstring says {said}, the declaration {true}")
    return match["rest"]


def _served_row(route: Route) -> str:
    versions = _range(route.min_version, route.max_version)
    return f"| {route.key} | {route.name} | {versions} | {described(route)} |\n"


def _refused_line(route: Route) -> str:
    first = route.api.advertised_min
    return "" if first is None else f"{route.name} {_range(first, route.min_version - 1)}. "


def _declined_rows(served: Iterable[int]) -> Iterable[str]:
    for group in DECLINED:
        left = [f"{name} ({key})" for key, name in sorted(group.apis.items()) if key not in served]
        if left:
            yield f"| {group.why} | {', '.join(left)} |\n"


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
