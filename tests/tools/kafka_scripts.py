"""Apache Kafka's own command-line tools, as its bin/*.sh run them: the same classes, from its jars."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from confluent_kafka import Producer

from tests.tools.calls import Call, Tool
from tests.tools.served import lacking

HERE = Path(__file__).resolve().parent
JARS = HERE.parents[1] / "build" / "kafka-tools"
LOGGING = HERE / "log4j2.properties"

SECURITY = "no users and no ACLs: this broker has no security yet"

JAVA = (
    "java",
    "-XX:TieredStopAtLevel=1",
    "-cp",
    f"{JARS}/*",
    f"-Dlog4j2.configurationFile={LOGGING}",
)
UNSUPPORTED = "UnsupportedVersionException|does not support [A-Z_]+"
TRANSACTIONAL_ID = "java-transactional"


def absence() -> str | None:
    """Fetches the jars where they are missing and can be had."""
    if shutil.which("java") is None:
        return "Java is not installed (17 or later)"
    if any(JARS.glob("kafka-tools-*.jar")):
        return None
    if shutil.which("mvn") is None:
        return f"Kafka's jars are not in {JARS.name}/ and Maven, which fetches them, is not installed"
    command = ["mvn", "-B", "-q", "-f", str(HERE / "kafka-tools.xml"), "dependency:copy-dependencies"]
    fetched = subprocess.run(
        [*command, f"-DoutputDirectory={JARS}", "-DincludeScope=runtime"], check=False, capture_output=True
    )
    return None if fetched.returncode == 0 else "Maven could not fetch Kafka's jars"


def a_transaction(bootstrap: str) -> None:
    """One that has been committed; none of the scripts makes any."""
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": TRANSACTIONAL_ID})
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce("java-transactions", b"one")
    producer.commit_transaction(10)


def script(
    name: str,
    what: str,
    java_class: str,
    *words: str,
    says: tuple[str, ...] = (),
    silent: tuple[str, ...] = (),
    fails_because: str = "",
    stdin: str = "",
    verb: str = "",
    hides_failure: bool = False,
    needs: str = "",
) -> Call:
    """One script, by its class. verb: what stands before the bootstrap servers. needs: an API."""
    if lacking(needs):
        fails_because, says = lacking(needs), (UNSUPPORTED,)
    if "." not in java_class or java_class.startswith(("consumer.", "reassign.", "streams.")):
        java_class = f"org.apache.kafka.tools.{java_class}"
    return Call(
        f"{name}: {what}",
        (*JAVA, java_class, *filter(None, [verb]), "--bootstrap-server", "{bootstrap}", *words),
        says=says,
        keeps_silent_about=silent,
        fails_because=fails_because,
        hides_failure=hides_failure and bool(fails_because),
        stdin=stdin,
    )


def topics(what: str, *words: str, says: tuple[str, ...] = (), silent: tuple[str, ...] = ()) -> Call:
    return script("kafka-topics", what, "TopicCommand", *words, says=says, silent=silent)


def configs(
    what: str, *words: str, says: tuple[str, ...] = (), silent: tuple[str, ...] = (), fails_because: str = ""
) -> Call:
    return script(
        "kafka-configs",
        what,
        "kafka.admin.ConfigCommand",
        *words,
        says=says,
        silent=silent,
        fails_because=fails_because,
    )


def groups(what: str, *words: str, says: tuple[str, ...] = (), silent: tuple[str, ...] = ()) -> Call:
    return script(
        "kafka-consumer-groups",
        what,
        "consumer.group.ConsumerGroupCommand",
        *words,
        says=says,
        silent=silent,
    )


def offsets(what: str, *words: str, says: tuple[str, ...]) -> Call:
    return script("kafka-get-offsets", what, "GetOffsetShell", *words, says=says)


def features(what: str, *words: str, says: tuple[str, ...]) -> Call:
    return script("kafka-features", what, "FeatureCommand", *words, says=says)


def produce(what: str, *words: str, stdin: str) -> Call:
    return script("kafka-console-producer", what, "ConsoleProducer", *words, stdin=stdin)


def consume(what: str, *words: str, says: tuple[str, ...]) -> Call:
    return script(
        "kafka-console-consumer", what, "consumer.ConsoleConsumer", "--topic", "java", *words, says=says
    )


def tell(formatter: str, topic: str, *, says: tuple[str, ...]) -> Call:
    """An internal topic, decoded by Kafka's own class for it; it ends once nothing more comes."""
    return script(
        "kafka-console-consumer",
        f"{topic} by {formatter}",
        "consumer.ConsoleConsumer",
        "--topic",
        topic,
        "--formatter",
        f"org.apache.kafka.tools.consumer.{formatter}",
        "--from-beginning",
        "--timeout-ms",
        "3000",
        says=says,
    )


CALLS = (
    script(
        "kafka-broker-api-versions",
        "all",
        "BrokerApiVersionsCommand",
        says=(r"DescribeQuorum\(55\): 0 to 2",),
    ),
    topics("create", "--create", "--topic", "java", "--partitions", "2", says=("Created topic java",)),
    topics("list", "--list", says=("^java$",)),
    topics("describe", "--describe", "--topic", "java", says=("PartitionCount: 2", "Leader: 1")),
    topics("alter", "--alter", "--topic", "java", "--partitions", "3"),
    produce(
        "plain",
        "--topic",
        "java",
        "--reader-property",
        "parse.key=true",
        "--reader-property",
        "key.separator=:",
        stdin="a:one\na:two\na:three\n",
    ),
    produce("zstd", "--topic", "java-zstd", "--compression-codec", "zstd", stdin="x\n" * 100),
    consume(
        "from the beginning",
        "--from-beginning",
        "--max-messages",
        "3",
        "--timeout-ms",
        "20000",
        says=(r"one\ntwo\nthree\n",),
    ),
    consume(
        "with a group, read committed",
        "--group",
        "java-group",
        "--isolation-level",
        "read_committed",
        "--from-beginning",
        "--max-messages",
        "3",
        "--timeout-ms",
        "20000",
        says=(r"one\ntwo\nthree\n",),
    ),
    tell(
        "OffsetsMessageFormatter",
        "__consumer_offsets",
        says=(r'"group":"java-group","topic":"java","partition":\d', r'"data":{"offset":3,'),
    ),
    tell(
        "GroupMetadataMessageFormatter",
        "__consumer_offsets",
        says=(r'"group":"java-group"', r'"protocolType":"consumer","generation":\d'),
    ),
    offsets("latest", "--topic", "java", "--time", "latest", says=(r"^java:\d:3$",)),
    offsets("earliest", "--topic", "java", "--time", "earliest", says=("^java:0:0$",)),
    offsets("max timestamp", "--topic", "java", "--time", "max-timestamp", says=(r"^java:\d:[0-2]$",)),
    groups("list", "--list", says=("^java-group$",)),
    groups("list with states", "--list", "--state", says=("java-group +.*Empty",)),
    groups("describe", "--describe", "--group", "java-group", says=(r"java-group +java +\d +3 +3 +0 ",)),
    groups("describe the state", "--describe", "--group", "java-group", "--state", says=("Empty",)),
    groups(
        "describe the members",
        "--describe",
        "--group",
        "java-group",
        "--members",
        says=("has no active members",),
    ),
    groups(
        "reset offsets",
        "--reset-offsets",
        "--group",
        "java-group",
        "--topic",
        "java",
        "--to-earliest",
        "--execute",
        says=(r"java-group +java +\d +0",),
    ),
    groups(
        "delete offsets",
        "--delete-offsets",
        "--group",
        "java-group",
        "--topic",
        "java",
        says=("[Ss]uccessful",),
    ),
    groups("delete", "--delete", "--group", "java-group", says=("was successful",)),
    script("kafka-groups", "list", "GroupsCommand", "--list"),
    configs(
        "alter a topic",
        "--alter",
        "--entity-type",
        "topics",
        "--entity-name",
        "java",
        "--add-config",
        "retention.ms=1234567",
        says=("Completed updating config",),
    ),
    configs(
        "describe a topic",
        "--describe",
        "--entity-type",
        "topics",
        "--entity-name",
        "java",
        says=("retention.ms=1234567",),
    ),
    configs("describe all topics", "--describe", "--entity-type", "topics", says=("retention.ms=1234567",)),
    configs(
        "reset a topic",
        "--alter",
        "--entity-type",
        "topics",
        "--entity-name",
        "java",
        "--delete-config",
        "retention.ms",
        says=("Completed updating config",),
    ),
    configs(
        "alter the broker",
        "--alter",
        "--entity-type",
        "brokers",
        "--entity-name",
        "1",
        "--add-config",
        "log.retention.ms=7654321",
        says=("Completed updating config",),
    ),
    configs(
        "describe the broker",
        "--describe",
        "--entity-type",
        "brokers",
        "--entity-name",
        "1",
        says=("log.retention.ms=7654321",),
    ),
    configs(
        "describe all of the broker",
        "--describe",
        "--all",
        "--entity-type",
        "brokers",
        "--entity-name",
        "1",
        says=("log.dirs=",),
    ),
    configs("describe quotas", "--describe", "--entity-type", "clients"),
    configs("describe groups", "--describe", "--entity-type", "groups"),
    configs("describe client metrics", "--describe", "--entity-type", "client-metrics"),
    configs(
        "describe users", "--describe", "--entity-type", "users", fails_because=SECURITY, says=(UNSUPPORTED,)
    ),
    configs(
        "alter quotas",
        "--alter",
        "--entity-type",
        "clients",
        "--entity-name",
        "c",
        "--add-config",
        "producer_byte_rate=1024",
        fails_because="no quotas can be set",
        says=(UNSUPPORTED,),
    ),
    features("describe", "describe", says=("transaction.version.*FinalizedVersionLevel: 2",)),
    features("downgrade", "downgrade", "--feature", "transaction.version=1", says=("was downgraded to 1",)),
    features("upgrade", "upgrade", "--feature", "transaction.version=2", says=("was upgraded to 2",)),
    script(
        "kafka-metadata-quorum",
        "describe the status",
        "MetadataQuorumCommand",
        "describe",
        "--status",
        says=(r"LeaderId: +1$", "MaxFollowerLag: +0"),
    ),
    script(
        "kafka-metadata-quorum",
        "describe the replication",
        "MetadataQuorumCommand",
        "describe",
        "--replication",
        says=(r"^1\s+\S+\s+\d+\s+0\s.*Leader",),
    ),
    script(
        "kafka-leader-election",
        "preferred, all partitions",
        "LeaderElectionCommand",
        "--election-type",
        "preferred",
        "--all-topic-partitions",
    ),
    script(
        "kafka-leader-election",
        "preferred, one partition",
        "LeaderElectionCommand",
        "--election-type",
        "preferred",
        "--topic",
        "java",
        "--partition",
        "0",
        says=("Valid replica already elected",),
    ),
    script(
        "kafka-log-dirs",
        "describe",
        "LogDirsCommand",
        "--describe",
        "--topic-list",
        "java",
        says=('"partition":"java-0"',),
    ),
    script(
        "kafka-reassign-partitions",
        "list",
        "reassign.ReassignPartitionsCommand",
        "--list",
        says=("No partition reassignments found",),
    ),
    script(
        "kafka-delete-records",
        "none",
        "DeleteRecordsCommand",
        "--offset-json-file",
        str(HERE / "delete-records.json"),
        hides_failure=True,
        says=("low_watermark: 0",),
        needs="DeleteRecords",
    ),
    script(
        "kafka-reassign-partitions",
        "execute",
        "reassign.ReassignPartitionsCommand",
        "--reassignment-json-file",
        str(HERE / "reassignment.json"),
        "--execute",
        fails_because="partitions cannot move: there is one broker with one directory",
        says=("does not support ALTER_PARTITION_REASSIGNMENTS",),
    ),
    script("kafka-share-groups", "list", "consumer.group.ShareGroupCommand", "--list"),
    script("kafka-streams-groups", "list", "streams.StreamsGroupCommand", "--list"),
    script("kafka-client-metrics", "list", "ClientMetricsCommand", "--list"),
    script(
        "kafka-verifiable-producer",
        "10 records",
        "VerifiableProducer",
        "--topic",
        "java-verified",
        "--max-messages",
        "10",
        says=('"sent":10,"acked":10',),
    ),
    script(
        "kafka-verifiable-consumer",
        "10 records",
        "VerifiableConsumer",
        "--topic",
        "java-verified",
        "--group-id",
        "java-verified",
        "--max-messages",
        "10",
        says=('"name":"offsets_committed".*"success":true',),
    ),
    script("kafka-cluster", "cluster-id", "ClusterTool", verb="cluster-id", says=("Cluster ID: ",)),
    script("kafka-cluster", "list-endpoints", "ClusterTool", verb="list-endpoints", says=("127.0.0.1",)),
    script(
        "kafka-acls",
        "list",
        "AclCommand",
        "--list",
        fails_because=SECURITY,
        says=("SecurityDisabledException",),
    ),
    tell(
        "TransactionLogMessageFormatter",
        "__transaction_state",
        says=(
            rf'"transactionalId":"{TRANSACTIONAL_ID}"',
            r'"transactionStatus":4,"transactionPartitions":\[\]',
        ),
    ),
    script(
        "kafka-transactions",
        "list",
        "TransactionsCommand",
        "list",
        says=(TRANSACTIONAL_ID,),
        needs="ListTransactions",
    ),
    script(
        "kafka-transactions",
        "describe",
        "TransactionsCommand",
        "describe",
        "--transactional-id",
        TRANSACTIONAL_ID,
        says=("CompleteCommit",),
        needs="DescribeTransactions",
    ),
    script(
        "kafka-producer-perf-test",
        "1000 records",
        "ProducerPerformance",
        "--topic",
        "java-perf",
        "--num-records",
        "1000",
        "--record-size",
        "100",
        "--throughput",
        "-1",
        says=("1000 records sent",),
    ),
    script(
        "kafka-consumer-perf-test",
        "1000 records",
        "ConsumerPerformance",
        "--topic",
        "java-perf",
        "--num-records",
        "1000",
        "--timeout",
        "20000",
        says=(r"\b1000\b",),
    ),
    topics("delete", "--delete", "--topic", "java"),
    topics("list after delete", "--list", silent=("^java$",)),
)

TOOL = Tool("Apache Kafka's tools", absence, CALLS, a_transaction)
