"""Configs: which value counts and where it comes from, what is refused in Kafka's words, and operations."""

from __future__ import annotations

import pytest

from oncelog.machine.commands import AdminReply, AlterBrokerConfigs, AlterTopicConfigs, ConfigChange
from oncelog.machine.commands import ConfigOperation as Operation
from oncelog.machine.config_table import (
    DYNAMIC_BROKER_CONFIGS,
    PRODUCER_ID_EXPIRATION,
    TOPIC_CONFIGS,
    Effect,
)
from oncelog.machine.configs import (
    describe_broker_config,
    describe_topic_config,
    effective_topic_config,
    not_acted_on,
    validate_topic_configs,
)
from oncelog.wire.errors import ErrorCode
from tests.machine.driver import TOPIC_ID, Machine, batch

LONGEST = 2**63 - 1


@pytest.fixture
def machine() -> Machine:
    return Machine()


def alter(machine: Machine, *changes: tuple[str, Operation, str | None], **options: bool) -> AdminReply:
    command = AlterTopicConfigs(TOPIC_ID, tuple(ConfigChange(*change) for change in changes), **options)
    reply: AdminReply = machine.do(command)
    machine.check()
    return reply


def alter_broker(machine: Machine, resource: str, *changes: tuple[str, Operation, str | None]) -> AdminReply:
    reply: AdminReply = machine.do(
        AlterBrokerConfigs(resource, tuple(ConfigChange(*change) for change in changes))
    )
    machine.check()
    return reply


def overrides(machine: Machine) -> dict[str, str]:
    return machine.state.topics[TOPIC_ID].configs


# --- the table ---


def test_every_topic_config_of_kafka_4_3_has_a_default_that_it_takes() -> None:
    assert len(TOPIC_CONFIGS) == 33
    for config in TOPIC_CONFIGS.values():
        assert config.default is not None
        config.parse(config.default)
        assert config.note, f"{config.name}: what is done with it?"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("retention.ms", " 5 ", 5),
        ("retention.ms", "+5", 5),
        ("retention.bytes", "-2", -2),
        ("preallocate", "TRUE", True),
        ("min.cleanable.dirty.ratio", "1", 1.0),
        ("cleanup.policy", "", ()),
        ("cleanup.policy", "compact , delete", ("compact", "delete")),
        ("leader.replication.throttled.replicas", "*", ("*",)),
        ("leader.replication.throttled.replicas", "0:1,1:1", ("0:1", "1:1")),
        ("compression.gzip.level", "-1", -1),
        ("compression.zstd.level", "-131072", -131072),
        ("max.message.bytes", "0", 0),
        ("flush.ms", "0", 0),
    ],
)
def test_values_that_are_taken(name: str, text: str, value: object) -> None:
    assert validate_topic_configs({name: text}, {}) is None
    assert effective_topic_config(name, {name: text}, {}) == value


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("retention.ms", "soon", "Not a number of type LONG"),
        ("retention.ms", "", "Not a number of type LONG"),
        ("retention.ms", "1e3", "Not a number of type LONG"),
        ("retention.ms", "1_000", "Not a number of type LONG"),
        ("retention.ms", "٣", "Not a number of type LONG"),
        ("retention.ms", "99999999999999999999", "Not a number of type LONG"),
        ("retention.ms", str(LONGEST + 1), "Not a number of type LONG"),
        ("retention.ms", "-2", "Value must be at least -1"),
        ("max.message.bytes", "2147483648", "Not a number of type INT"),
        ("max.message.bytes", "-1", "Value must be at least 0"),
        ("segment.bytes", "1048575", "Value must be at least 1048576"),
        ("segment.ms", "0", "Value must be at least 1"),
        ("flush.messages", "0", "Value must be at least 1"),
        ("segment.index.bytes", "3", "Value must be at least 4"),
        ("max.compaction.lag.ms", "0", "Value must be at least 1"),
        ("min.insync.replicas", "0", "Value must be at least 1"),
        ("local.retention.ms", "-3", "Value must be at least -2"),
        ("min.cleanable.dirty.ratio", "1.1", "Value must be no more than 1"),
        ("min.cleanable.dirty.ratio", "-0.1", "Value must be at least 0"),
        ("min.cleanable.dirty.ratio", "nan", "Not a number of type DOUBLE"),
        ("cleanup.policy", "foo", "String must be one of: compact, delete"),
        ("cleanup.policy", "Compact", "String must be one of: compact, delete"),
        (
            "compression.type",
            "none",
            "String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer",
        ),
        ("compression.gzip.level", "0", "Value must be between 1 and 9 or equal to -1"),
        ("compression.lz4.level", "18", "Value must be no more than 17"),
        ("compression.zstd.level", "-131073", "Value must be at least -131072"),
        ("preallocate", "yes", "Expected value to be either true or false"),
        ("message.timestamp.type", "createtime", "String must be one of: CreateTime, LogAppendTime"),
    ],
)
def test_values_that_are_refused_in_kafkas_words(name: str, text: str, reason: str) -> None:
    assert (
        validate_topic_configs({name: text}, {}) == f"Invalid value {text} for configuration {name}: {reason}"
    )


def test_a_list_that_is_wrong_is_shown_as_kafka_shows_it() -> None:
    name = "leader.replication.throttled.replicas"
    message = validate_topic_configs({name: "1:a,2:1"}, {})
    assert message is not None
    assert message.startswith(
        f"Invalid value [1:a, 2:1] for configuration {name}: {name} must be the literal '*'"
    )
    policy = validate_topic_configs({"cleanup.policy": "delete,x"}, {})
    assert (
        policy == "Invalid value x for configuration cleanup.policy: String must be one of: compact, delete"
    )


def test_configs_that_are_unknown_or_contradict_each_other() -> None:
    assert validate_topic_configs({"a.b": "1", "flush.ms": "x"}, {}) == "Unknown topic config name: a.b"
    assert validate_topic_configs({"message.format.version": "3.0"}, {}) is not None
    lags = {"min.compaction.lag.ms": "5", "max.compaction.lag.ms": "4"}
    assert validate_topic_configs(lags, {}) == (
        "conflict topic config setting min.compaction.lag.ms (5) > max.compaction.lag.ms (4)"
    )
    tiers = validate_topic_configs({"remote.storage.enable": "true"}, {})
    assert tiers is not None
    assert tiers.startswith("Tiered Storage")


def test_what_is_not_acted_on_is_known() -> None:
    names = ["max.message.bytes", "retention.ms", "flush.ms", "log.retention.ms", "message.max.bytes", "?"]
    assert [config.name for config in not_acted_on(names)] == ["retention.ms", "flush.ms", "log.retention.ms"]
    acted_on = {config.name for config in TOPIC_CONFIGS.values() if config.effect is Effect.ACTED_ON}
    assert "message.timestamp.type" in acted_on
    assert "cleanup.policy" not in acted_on


# --- which value counts ---


def test_a_topics_own_value_counts_most_then_the_brokers_then_that_of_all_brokers(machine: Machine) -> None:
    topic = machine.state.topics[TOPIC_ID]
    seen = [topic.config("max.message.bytes")]
    for change in (
        lambda: alter_broker(machine, "", ("message.max.bytes", Operation.SET, "3000")),
        lambda: alter_broker(machine, "1", ("message.max.bytes", Operation.SET, "2000")),
        lambda: alter(machine, ("max.message.bytes", Operation.SET, "1000")),
    ):
        assert change().error == ErrorCode.NONE
        seen.append(topic.config("max.message.bytes"))
    assert seen == [1048588, 3000, 2000, 1000]
    alter(machine, ("max.message.bytes", Operation.DELETE, None))
    assert topic.config("max.message.bytes") == 2000
    assert topic.produce_rules.max_message_bytes == 2000
    assert topic.config_version == 4


def test_a_changed_config_counts_for_the_next_batch(machine: Machine) -> None:
    """The rules that every Produce is checked against are cached; a change must not leave the old ones."""
    late = batch(producer=(5, 0), sequence=0, timestamp=machine.wall_ms - 10_000)
    alter(machine, ("message.timestamp.before.max.ms", Operation.SET, "9000"))
    assert machine.produce_all([late])[0].error == ErrorCode.INVALID_TIMESTAMP
    alter_broker(machine, "", ("log.message.timestamp.before.max.ms", Operation.SET, "11000"))
    assert machine.produce_all([late])[0].error == ErrorCode.INVALID_TIMESTAMP
    alter(machine, ("message.timestamp.before.max.ms", Operation.DELETE, None))
    assert machine.produce_all([late])[0].error == ErrorCode.NONE


def test_synonyms_tell_all_places_that_a_value_may_come_from() -> None:
    brokers = {"1": {"message.max.bytes": "2"}, "": {"message.max.bytes": "3"}}
    described = describe_topic_config("max.message.bytes", {"max.message.bytes": "+1"}, brokers)
    assert (described.value, described.source) == ("1", 1)
    assert described.synonyms == (
        ("max.message.bytes", "1", 1),
        ("message.max.bytes", "2", 2),
        ("message.max.bytes", "3", 3),
        ("message.max.bytes", "1048588", 5),
    )


def test_coarser_synonyms_are_listed_only_behind_the_config_itself() -> None:
    """As Kafka does with log.retention.hours."""
    assert describe_topic_config("retention.ms", {}, {}).synonyms == ()
    set_on_broker = describe_topic_config("retention.ms", {}, {"1": {"log.retention.ms": "7"}})
    assert (set_on_broker.value, set_on_broker.source) == ("7", 2)
    assert set_on_broker.synonyms == (("log.retention.ms", "7", 2), ("log.retention.hours", "168", 5))
    own = describe_topic_config("retention.ms", {"retention.ms": "7"}, {})
    assert own.synonyms == (("retention.ms", "7", 1),)


def test_what_a_broker_was_started_with_is_static() -> None:
    described = describe_broker_config("num.partitions", {}, {"num.partitions": "3"})
    assert (described.value, described.source) == ("3", 4)
    assert described.synonyms == (("num.partitions", "3", 4), ("num.partitions", "1", 5))
    assert describe_broker_config("log.retention.ms", {}, {}).value is None


# --- changing them ---


def test_set_and_delete(machine: Machine) -> None:
    assert alter(machine, ("flush.ms", Operation.SET, "5"), ("retention.ms", Operation.SET, "6")) == (0, None)
    assert overrides(machine) == {"flush.ms": "5", "retention.ms": "6"}
    assert alter(machine, ("flush.ms", Operation.DELETE, "ignored")).error == ErrorCode.NONE
    assert overrides(machine) == {"retention.ms": "6"}


def test_append_and_subtract_start_from_the_value_that_counts(machine: Machine) -> None:
    alter(machine, ("cleanup.policy", Operation.APPEND, "compact"))
    assert overrides(machine) == {"cleanup.policy": "delete,compact"}
    events = len(machine.events)
    alter(machine, ("cleanup.policy", Operation.APPEND, "compact"))
    assert len(machine.events) == events, "appended twice, it is there once"
    alter(machine, ("cleanup.policy", Operation.SUBTRACT, "delete"))
    assert overrides(machine) == {"cleanup.policy": "compact"}
    alter(machine, ("cleanup.policy", Operation.SUBTRACT, "compact"))
    assert overrides(machine) == {"cleanup.policy": ""}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            [("retention.ms", Operation.SET, None)],
            ErrorCode.INVALID_REQUEST,
            "Null value not supported for : retention.ms",
        ),
        (
            [("flush.ms", Operation.SET, "1"), ("flush.ms", Operation.DELETE, None)],
            ErrorCode.INVALID_REQUEST,
            "Error due to duplicate config keys",
        ),
        (
            [("retention.ms", Operation.APPEND, "1")],
            ErrorCode.INVALID_CONFIG,
            "Can't APPEND to key retention.ms because its type is not LIST.",
        ),
        ([("no.such", Operation.SET, "1")], ErrorCode.INVALID_CONFIG, "Unknown topic config name: no.such"),
    ],
)
def test_changes_that_are_refused(
    machine: Machine, changes: list[tuple[str, Operation, str | None]], error: ErrorCode, message: str
) -> None:
    assert alter(machine, *changes) == (error, message)


def test_a_topic_is_changed_wholly_or_not_at_all(machine: Machine) -> None:
    reply = alter(machine, ("retention.ms", Operation.SET, "7"), ("flush.ms", Operation.SET, "x"))
    assert reply.error == ErrorCode.INVALID_CONFIG
    assert overrides(machine) == {}
    assert alter(machine, ("no.such", Operation.DELETE, None)).error == ErrorCode.NONE
    assert alter(machine, ("retention.ms", Operation.SET, "7"), validate_only=True).error == ErrorCode.NONE
    assert machine.events == []


def test_replacing_all_removes_what_is_not_named(machine: Machine) -> None:
    alter(machine, ("flush.ms", Operation.SET, "5"), ("retention.ms", Operation.SET, "6"))
    alter(machine, ("retention.ms", Operation.SET, "7"), replaces_all=True)
    assert overrides(machine) == {"retention.ms": "7"}
    alter(machine, replaces_all=True)
    assert overrides(machine) == {}


def test_an_unknown_topic_is_not_altered(machine: Machine) -> None:
    assert machine.do(AlterTopicConfigs(b"?" * 16, ())).error == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def test_broker_configs_that_are_refused(machine: Machine) -> None:
    assert alter_broker(machine, "1", ("broker.id", Operation.SET, "3"), ("no.such", Operation.SET, "3")) == (
        ErrorCode.INVALID_REQUEST,
        "Cannot update these configs dynamically: [broker.id, no.such]",
    )
    assert alter_broker(machine, "", ("message.max.bytes", Operation.SET, "-1")) == (
        ErrorCode.INVALID_REQUEST,
        "Invalid value -1 for configuration message.max.bytes: Value must be at least 0",
    )
    assert machine.events == []


def test_a_broker_config_is_set_and_deleted(machine: Machine) -> None:
    alter_broker(machine, "1", ("log.cleanup.policy", Operation.APPEND, "compact"))
    assert machine.state.broker_configs == {"1": {"log.cleanup.policy": "delete,compact"}}
    alter_broker(machine, "1", ("log.cleanup.policy", Operation.DELETE, None))
    assert machine.state.broker_configs == {"1": {}}


def test_every_config_that_topics_fall_back_to_may_be_set_on_the_broker() -> None:
    synonyms = {config.synonym for config in TOPIC_CONFIGS.values() if config.synonym is not None}
    assert synonyms == set(DYNAMIC_BROKER_CONFIGS) - {PRODUCER_ID_EXPIRATION}
    assert DYNAMIC_BROKER_CONFIGS["log.roll.ms"].default is None
