"""Kafka's topic and broker configs by name: types, defaults, what values they take, what we do with them.

One declaration per config; parsing, checking, DescribeConfigs and the documentation's table come from it.
It must not know who set a value or where it is kept (configs.py does).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntEnum

ConfigValue = bool | int | float | str | tuple[str, ...]
Check = Callable[[ConfigValue], str | None]
"""Says what is wrong with a value, as Kafka says it, or None."""

INT_MAX = 2**31 - 1
LONG_MAX = 2**63 - 1


class ConfigType(IntEnum):
    """Kafka's types of configs by the numbers of DescribeConfigs."""

    BOOLEAN = 1
    STRING = 2
    INT = 3
    SHORT = 4
    LONG = 5
    DOUBLE = 6
    LIST = 7
    CLASS = 8
    PASSWORD = 9


class Effect(Enum):
    """What setting a config does here."""

    ACTED_ON = "yes"
    LATER = "not yet"
    NONE = "no effect on one machine"


class InvalidConfig(ValueError):
    """A value that its config doesn't take; the message is Kafka's."""


def _anything(_value: ConfigValue) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Config:
    """One config.

    default: as text; None where Kafka has none.
    synonym: the broker config that a topic config falls back to.
    note: for the documentation: what we do with it, or why nothing.
    """

    name: str
    type: ConfigType
    default: str | None
    check: Check = _anything
    synonym: str | None = None
    effect: Effect = Effect.ACTED_ON
    note: str = ""

    def parse(self, text: str) -> ConfigValue:
        """The typed value of a text. Raises InvalidConfig."""
        try:
            value = _PARSERS[self.type](text.strip())
        except ValueError as error:
            raise InvalidConfig(f"Invalid value {text} for configuration {self.name}: {error}") from None
        wrong = self.check(value)
        if wrong is not None:
            raise InvalidConfig(f"Invalid value {_shown(value)} for configuration {self.name}: {wrong}")
        return value


def text_of(value: ConfigValue) -> str:
    """A value as DescribeConfigs writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value)


# --- types ---

_WHOLE = re.compile(r"[+-]?[0-9]+\Z")
_DOUBLE = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[dDfF]?\Z")
_COMMA = re.compile(r"\s*,\s*")


def _whole(kind: str, limit: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if _WHOLE.match(text) and len(text) < 24 and -limit - 1 <= int(text) <= limit:
            return int(text)
        raise ValueError(f"Not a number of type {kind}")

    return parse


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    raise ValueError("Expected value to be either true or false")


def _double(text: str) -> float:
    if _DOUBLE.match(text):
        return float(text.rstrip("dDfF"))
    raise ValueError("Not a number of type DOUBLE")


def _list(text: str) -> tuple[str, ...]:
    return tuple(_COMMA.split(text)) if text else ()


_PARSERS: dict[ConfigType, Callable[[str], ConfigValue]] = {
    ConfigType.BOOLEAN: _boolean,
    ConfigType.STRING: str,
    ConfigType.INT: _whole("INT", INT_MAX),
    ConfigType.SHORT: _whole("SHORT", 2**15 - 1),
    ConfigType.LONG: _whole("LONG", LONG_MAX),
    ConfigType.DOUBLE: _double,
    ConfigType.LIST: _list,
    ConfigType.CLASS: str,
    ConfigType.PASSWORD: str,
}


# --- checks ---


def _shown(value: ConfigValue) -> str:
    return f"[{', '.join(value)}]" if isinstance(value, tuple) else text_of(value)


def _at_least(minimum: float) -> Check:
    return _between(minimum, None)


def _between(minimum: float, maximum: float | None) -> Check:
    def check(value: ConfigValue) -> str | None:
        assert isinstance(value, (int, float))
        if value < minimum:
            return f"Value must be at least {minimum}"
        if maximum is not None and value > maximum:
            return f"Value must be no more than {maximum}"
        return None

    return check


def _one_of(*allowed: str) -> Check:
    def check(value: ConfigValue) -> str | None:
        return None if value in allowed else f"String must be one of: {', '.join(allowed)}"

    return check


def _gzip_level(value: ConfigValue) -> str | None:
    fits = isinstance(value, int) and (value == -1 or 1 <= value <= 9)
    return None if fits else "Value must be between 1 and 9 or equal to -1"


def _policies(value: ConfigValue) -> str | None:
    assert isinstance(value, tuple)
    wrong = next((policy for policy in value if policy not in ("compact", "delete")), None)
    if wrong is None:
        return None
    # Kafka names the one policy that is wrong, not the list that it is in.
    raise InvalidConfig(
        f"Invalid value {wrong} for configuration cleanup.policy: String must be one of: compact, delete"
    )


def _throttled(name: str) -> Check:
    pair = re.compile(r"[0-9]+:[0-9]+\Z")

    def check(value: ConfigValue) -> str | None:
        assert isinstance(value, tuple)
        if value in ((), ("*",)) or all(pair.match(part) for part in value):
            return None
        return (
            f"{name} must be the literal '*' or a list of replicas in the following format: "
            "[partitionId]:[brokerId],[partitionId]:[brokerId],..."
        )

    return check


# --- topic configs ---

_B, _S, _I, _L, _D, _LIST = (
    ConfigType.BOOLEAN,
    ConfigType.STRING,
    ConfigType.INT,
    ConfigType.LONG,
    ConfigType.DOUBLE,
    ConfigType.LIST,
)
_LATER, _NONE = Effect.LATER, Effect.NONE
_FOREVER = str(LONG_MAX)
_CODECS = ("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer")
_COMPACTION = "nothing is compacted yet"
_RETENTION = "nothing is removed by age or size yet"
_SEGMENTS = "there are no segments yet; bytes stay in the journal's files"
_TIERS = "there are no storage tiers"
_SYNCED = "every acknowledged write is synced already"
_ONE_REPLICA = "a partition has one replica"
_PASSED_ON = "batches are stored as they were sent"
_LEADERS, _FOLLOWERS = "leader.replication.throttled.replicas", "follower.replication.throttled.replicas"

TOPIC_CONFIGS: dict[str, Config] = {
    config.name: config
    for config in (
        Config("cleanup.policy", _LIST, "delete", _policies, "log.cleanup.policy", _LATER, _COMPACTION),
        Config("compression.gzip.level", _I, "-1", _gzip_level, "compression.gzip.level", _LATER, _PASSED_ON),
        Config(
            "compression.lz4.level", _I, "9", _between(1, 17), "compression.lz4.level", _LATER, _PASSED_ON
        ),
        Config("compression.type", _S, "producer", _one_of(*_CODECS), "compression.type", _LATER, _PASSED_ON),
        Config(
            "compression.zstd.level",
            _I,
            "3",
            _between(-131072, 22),
            "compression.zstd.level",
            _LATER,
            _PASSED_ON,
        ),
        Config(
            "delete.retention.ms",
            _L,
            "86400000",
            _at_least(0),
            "log.cleaner.delete.retention.ms",
            _LATER,
            _COMPACTION,
        ),
        Config(
            "file.delete.delay.ms",
            _L,
            "60000",
            _at_least(0),
            "log.segment.delete.delay.ms",
            _LATER,
            _SEGMENTS,
        ),
        Config("flush.messages", _L, _FOREVER, _at_least(1), "log.flush.interval.messages", _NONE, _SYNCED),
        Config("flush.ms", _L, _FOREVER, _at_least(0), "log.flush.interval.ms", _NONE, _SYNCED),
        Config(_FOLLOWERS, _LIST, "", _throttled(_FOLLOWERS), None, _NONE, _ONE_REPLICA),
        Config(
            "index.interval.bytes", _I, "4096", _at_least(0), "log.index.interval.bytes", _LATER, _SEGMENTS
        ),
        Config(_LEADERS, _LIST, "", _throttled(_LEADERS), None, _NONE, _ONE_REPLICA),
        Config("local.retention.bytes", _L, "-2", _at_least(-2), "log.local.retention.bytes", _NONE, _TIERS),
        Config("local.retention.ms", _L, "-2", _at_least(-2), "log.local.retention.ms", _NONE, _TIERS),
        Config(
            "max.compaction.lag.ms",
            _L,
            _FOREVER,
            _at_least(1),
            "log.cleaner.max.compaction.lag.ms",
            _LATER,
            _COMPACTION,
        ),
        Config(
            "max.message.bytes",
            _I,
            "1048588",
            _at_least(0),
            "message.max.bytes",
            note="a larger batch is refused with MESSAGE_TOO_LARGE",
        ),
        Config(
            "message.timestamp.after.max.ms",
            _L,
            "3600000",
            _at_least(0),
            "log.message.timestamp.after.max.ms",
            note="records dated further ahead are refused with INVALID_TIMESTAMP",
        ),
        Config(
            "message.timestamp.before.max.ms",
            _L,
            _FOREVER,
            _at_least(0),
            "log.message.timestamp.before.max.ms",
            note="records dated further back are refused with INVALID_TIMESTAMP",
        ),
        Config(
            "message.timestamp.type",
            _S,
            "CreateTime",
            _one_of("CreateTime", "LogAppendTime"),
            "log.message.timestamp.type",
            note="who dates records: the producer, or the broker",
        ),
        Config(
            "min.cleanable.dirty.ratio",
            _D,
            "0.5",
            _between(0, 1),
            "log.cleaner.min.cleanable.ratio",
            _LATER,
            _COMPACTION,
        ),
        Config(
            "min.compaction.lag.ms",
            _L,
            "0",
            _at_least(0),
            "log.cleaner.min.compaction.lag.ms",
            _LATER,
            _COMPACTION,
        ),
        Config("min.insync.replicas", _I, "1", _at_least(1), "min.insync.replicas", _NONE, _ONE_REPLICA),
        Config(
            "preallocate",
            _B,
            "false",
            synonym="log.preallocate",
            effect=_NONE,
            note="the journal's files always are",
        ),
        Config("remote.log.copy.disable", _B, "false", effect=_NONE, note=_TIERS),
        Config("remote.log.delete.on.disable", _B, "false", effect=_NONE, note=_TIERS),
        Config("remote.storage.enable", _B, "false", effect=_NONE, note=f"{_TIERS}; true is refused"),
        Config("retention.bytes", _L, "-1", synonym="log.retention.bytes", effect=_LATER, note=_RETENTION),
        Config("retention.ms", _L, "604800000", _at_least(-1), "log.retention.ms", _LATER, _RETENTION),
        Config(
            "segment.bytes",
            _I,
            "1073741824",
            _at_least(1 << 20),
            "log.segment.bytes",
            _LATER,
            f"{_SEGMENTS}; a larger batch is refused with RECORD_LIST_TOO_LARGE",
        ),
        Config(
            "segment.index.bytes", _I, "10485760", _at_least(4), "log.index.size.max.bytes", _LATER, _SEGMENTS
        ),
        Config("segment.jitter.ms", _L, "0", _at_least(0), "log.roll.jitter.ms", _LATER, _SEGMENTS),
        Config("segment.ms", _L, "604800000", _at_least(1), "log.roll.ms", _LATER, _SEGMENTS),
        Config(
            "unclean.leader.election.enable",
            _B,
            "false",
            synonym="unclean.leader.election.enable",
            effect=_NONE,
            note=_ONE_REPLICA,
        ),
    )
}

# --- broker configs ---

_COARSER: dict[str, tuple[str, ...]] = {
    "log.retention.ms": ("log.retention.minutes", "log.retention.hours"),
    "log.roll.ms": ("log.roll.hours",),
    "log.roll.jitter.ms": ("log.roll.jitter.hours",),
    "log.flush.interval.ms": ("log.flush.scheduler.interval.ms",),
}
"""Broker configs that have no default of their own, with those that Kafka looks at next."""

PRODUCER_ID_EXPIRATION = "producer.id.expiration.ms"

DYNAMIC_BROKER_CONFIGS: dict[str, Config] = {
    PRODUCER_ID_EXPIRATION: Config(PRODUCER_ID_EXPIRATION, _I, "86400000", _at_least(1))
} | {
    config.synonym: Config(
        config.synonym,
        config.type,
        None if config.synonym in _COARSER else config.default,
        config.check,
        effect=config.effect,
        note=config.note,
    )
    for config in TOPIC_CONFIGS.values()
    if config.synonym is not None
}
"""What IncrementalAlterConfigs may change on the broker: what topics fall back to, and a few of its own."""

READ_ONLY_BROKER_CONFIGS: dict[str, Config] = {
    config.name: config
    for config in (
        Config("advertised.listeners", _LIST, None),
        Config("auto.create.topics.enable", _B, "true"),
        Config("broker.id", _I, "-1"),
        Config("broker.rack", _S, None),
        Config("connections.max.idle.ms", _L, "600000"),
        Config("default.replication.factor", _I, "1"),
        Config("delete.topic.enable", _B, "true"),
        Config("fetch.max.bytes", _I, "57671680"),
        Config("group.initial.rebalance.delay.ms", _I, "3000"),
        Config("group.max.session.timeout.ms", _I, "1800000"),
        Config("group.max.size", _I, str(INT_MAX)),
        Config("group.min.session.timeout.ms", _I, "6000"),
        Config("inter.broker.listener.name", _S, None),
        Config("listeners", _LIST, "PLAINTEXT://:9092"),
        Config("log.dir", _LIST, "/tmp/kafka-logs"),
        Config("log.dirs", _LIST, None),
        Config("log.flush.scheduler.interval.ms", _L, _FOREVER),
        Config("log.retention.hours", _I, "168"),
        Config("log.retention.minutes", _I, None),
        Config("log.roll.hours", _I, "168"),
        Config("log.roll.jitter.hours", _I, "0"),
        Config("max.connections", _I, str(INT_MAX)),
        Config("max.incremental.fetch.session.cache.slots", _I, "1000"),
        Config("max.request.partition.size.limit", _I, "2000"),
        Config("node.id", _I, None),
        Config("num.partitions", _I, "1"),
        Config("offset.metadata.max.bytes", _I, "4096"),
        Config("offsets.retention.check.interval.ms", _L, "600000"),
        Config("offsets.retention.minutes", _I, "10080"),
        Config("offsets.topic.num.partitions", _I, "50"),
        Config("process.roles", _LIST, None),
        Config("socket.request.max.bytes", _I, "104857600"),
        Config("transaction.max.timeout.ms", _I, "900000"),
        Config("transaction.state.log.num.partitions", _I, "50"),
        Config("transactional.id.expiration.ms", _I, "604800000"),
    )
}
"""Broker configs that clients and tools look at; their values are options or facts of the broker."""


def broker_synonyms(name: str) -> tuple[str, ...]:
    """The broker configs that Kafka looks at for `name`, the strongest first."""
    return (name, *_COARSER.get(name, ()))


def broker_config(name: str) -> Config | None:
    return DYNAMIC_BROKER_CONFIGS.get(name) or READ_ONLY_BROKER_CONFIGS.get(name)


# --- documentation ---


def topic_configs_markdown() -> str:
    """The documentation's table of topic configs."""
    rows = ["| config | type | default | acted on | what is done with it |", "|---|---|---|---|---|"]
    for config in TOPIC_CONFIGS.values():
        rows.append(
            f"| `{config.name}` | {config.type.name.lower()} | {config.default or '(empty)'} "
            f"| {config.effect.value} | {config.note} |"
        )
    return "\n".join(rows) + "\n"
