"""kafka-python's command line: every verb of its admin client, its producer and its consumer."""

from __future__ import annotations

import sys

from confluent_kafka import Consumer, Producer

from tests.support.waiting import wait_for
from tests.tools.calls import Call, Tool
from tests.tools.served import lacking

ADMIN = (sys.executable, "-m", "kafka.admin", "--bootstrap-servers", "{bootstrap}")
PRODUCER = (sys.executable, "-m", "kafka.producer", "--bootstrap-servers", "{bootstrap}")

STATIC_GROUP, STATIC_MEMBER = "kp-static", "kp-member"
TRANSACTIONAL_ID = "kp-transactional"

SECURITY = "no users and no ACLs: this broker has no security yet"
ONE_BROKER = "partitions cannot move: there is one broker with one directory"


def a_member_and_a_transaction(bootstrap: str) -> None:
    """What the command line cannot make."""
    _static_member(bootstrap)
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": TRANSACTIONAL_ID})
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce("kp-transactions", b"one")
    producer.commit_transaction(10)


def _static_member(bootstrap: str) -> None:
    """Somebody who has closed its consumer and stays a member, as one with an instance id does."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": STATIC_GROUP,
            "group.instance.id": STATIC_MEMBER,
            "auto.offset.reset": "earliest",
            "topic.metadata.refresh.interval.ms": 100,
        }
    )
    consumer.subscribe(["kp"])

    def is_assigned() -> bool:
        consumer.poll(0.05)
        return bool(consumer.assignment())

    wait_for(is_assigned, "an assignment")
    consumer.close()


def admin(
    group: str,
    verb: str,
    *words: str,
    says: tuple[str, ...] = (),
    fails_because: str = "",
    remembers: str = "",
    silent: tuple[str, ...] = (),
    note: str = "",
    form: str = "json",
    needs: str = "",
) -> Call:
    """One verb. form: "raw" where what is told does not fit into the tool's JSON. needs: an API."""
    if lacking(needs):
        fails_because, says = lacking(needs), ()
    if fails_because and not says:
        says = ("does not support the '.*' Kafka protocol",)
    return Call(
        f"{group} {verb}{note and f' ({note})'}",
        (*ADMIN, "--format", form, group, verb, *words),
        says=says,
        fails_because=fails_because,
        remembers=remembers,
        keeps_silent_about=silent,
    )


CALLS = (
    admin("topics", "create", "-t", "kp", "--num-partitions", "2", says=('"kp"',)),
    Call("produce", (*PRODUCER, "-t", "kp"), stdin="one\ntwo\nthree\n"),
    admin("topics", "list", says=('"kp"',)),
    admin("topics", "describe", "-t", "kp", says=('"partition_index": 1',)),
    admin("partitions", "create", "-p", "kp:3"),
    admin("partitions", "describe", "-t", "kp", says=("'partition_index': 2",), form="raw"),
    admin("partitions", "list-offsets", "-t", "kp", "-s", "latest", says=('"offset": [123]\\b',)),
    admin("partitions", "list-reassignments", says=(r"^\{\}$",)),
    admin("partitions", "elect-leaders", "-p", "kp:0", "--no-raise-errors", says=("84",)),
    admin("partitions", "alter-reassignments", "-r", "kp:0=1", fails_because=ONE_BROKER),
    admin("partitions", "delete-records", "-r", "kp:0:0", form="raw", needs="DeleteRecords"),
    admin("cluster", "describe", says=('"controller_id": 1',)),
    admin("cluster", "describe-quorum", says=('"leader_id": 1',)),
    admin("cluster", "api-versions", says=('"DescribeQuorum": \\[0, 2\\]',)),
    admin("cluster", "broker-version", "--broker", "1", says=("4.",)),
    admin("cluster", "describe-features", says=("transaction.version",)),
    admin("cluster", "update-features", "-f", "transaction.version=2", "--validate-only"),
    admin("cluster", "describe-log-dirs", says=('"log_dir"', '"kp"')),
    admin("cluster", "alter-log-dirs", "-a", "kp:0:1=/tmp/elsewhere", fails_because=ONE_BROKER),
    admin("configs", "list", says=('"kp"',)),
    admin("configs", "alter", "-r", "topic", "-n", "kp", "-c", "retention.ms=1234567"),
    admin("configs", "describe", "-r", "topic", "-n", "kp", says=("1234567",)),
    admin("configs", "reset", "-r", "topic", "-n", "kp", "-c", "retention.ms"),
    admin("configs", "describe", "-r", "topic", "-n", "kp", silent=("1234567",), note="after reset"),
    admin("configs", "describe", "-r", "broker", "-n", "1", says=("log.dirs",), note="broker"),
    admin("groups", "alter-offsets", "-g", "kp-group", "-o", "kp:0:1", says=("NoError",)),
    admin("groups", "list", says=("kp-group",)),
    admin("groups", "describe", "-g", STATIC_GROUP, says=(STATIC_MEMBER,)),
    admin("groups", "list-offsets", "-g", "kp-group", says=('"offset": 1\\b',)),
    admin("groups", "reset-offsets", "-g", "kp-group", "-p", "kp:0", "-s", "earliest", says=("NoError",)),
    admin("groups", "list-offsets", "-g", "kp-group", says=('"offset": 0\\b',), note="after reset"),
    admin(
        "groups",
        "reset-offsets",
        "-g",
        "kp-group",
        "-s",
        "earliest",
        says=("too many values to unpack",),
        fails_because="kafka-python 3.0.12 stumbles over its own data; against Apache Kafka it does, too",
        note="without --partition",
    ),
    admin("groups", "delete-offsets", "-g", "kp-group", "-p", "kp:0", says=("NoError",)),
    admin("groups", "remove-members", "-g", STATIC_GROUP, "-i", STATIC_MEMBER, says=("NoError",)),
    admin("groups", "delete", "-g", STATIC_GROUP, says=(STATIC_GROUP,)),
    admin("groups", "list", silent=(STATIC_GROUP,), note="after delete"),
    admin("transactions", "list", says=(TRANSACTIONAL_ID,), needs="ListTransactions"),
    admin(
        "transactions",
        "describe",
        "--transactional-id",
        TRANSACTIONAL_ID,
        says=("CompleteCommit",),
        needs="DescribeTransactions",
    ),
    admin(
        "transactions",
        "describe-producers",
        "-t",
        "kp",
        "-p",
        "0",
        says=('"active_producers"',),
        needs="DescribeProducers",
    ),
    admin("transactions", "find-hanging", says=(r"^\[\]$",), needs="ListTransactions"),
    admin(
        "transactions",
        "abort",
        "-t",
        "kp",
        "-p",
        "0",
        "--producer-id",
        "1",
        "--producer-epoch",
        "0",
        needs="WriteTxnMarkers",
    ),
    admin("acls", "describe", fails_because=SECURITY, says=("[Ss]ecurity",)),
    admin(
        "acls",
        "create",
        "--principal",
        "User:a",
        "--operation",
        "read",
        "--resource-type",
        "topic",
        "--resource-name",
        "kp",
        fails_because=SECURITY,
    ),
    admin("acls", "delete", "--principal", "User:a", fails_because=SECURITY),
    admin("users", "describe-scram-credentials", fails_because=SECURITY),
    admin("users", "alter-scram-credentials", "--delete", "a:SCRAM-SHA-256", fails_because=SECURITY),
    admin("topics", "delete", "-t", "kp", says=('"kp"',)),
    admin("topics", "list", silent=('"kp"',), note="after delete"),
)

TOOL = Tool("kafka-python's command line", lambda: None, CALLS, a_member_and_a_transaction)
