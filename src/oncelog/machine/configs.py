"""Configs as the state holds them: which value counts, where it comes from, and the rules of changing it.

A topic's value is its own override, else the broker's, else that of all brokers, else Kafka's default. It
must not know sockets, or where options of the process come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from oncelog.machine.commands import (
    AdminReply,
    AlterBrokerConfigs,
    AlterTopicConfigs,
    ConfigChange,
    ConfigOperation,
)
from oncelog.machine.config_table import (
    DYNAMIC_BROKER_CONFIGS,
    TOPIC_CONFIGS,
    Config,
    ConfigType,
    ConfigValue,
    Effect,
    InvalidConfig,
    broker_config,
    broker_synonyms,
    text_of,
)
from oncelog.machine.events import BrokerConfigsChanged, TopicConfig, TopicConfigsChanged
from oncelog.machine.moment import At, Time
from oncelog.wire.definition import Event
from oncelog.wire.errors import ErrorCode

if TYPE_CHECKING:
    from oncelog.machine.state import State

BROKER, ALL_BROKERS = "1", ""
VALUE_BYTES_MAX = 32767
"""What fits into every version of the answers that show it; appending must not outgrow it."""
"""The resources that broker configs are set on; the first is stronger."""

BrokerConfigs = Mapping[str, Mapping[str, str]]
"""Overrides of broker configs by resource."""


class ConfigSource(IntEnum):
    """Where a value comes from, by Kafka's numbers."""

    DYNAMIC_TOPIC = 1
    DYNAMIC_BROKER = 2
    DYNAMIC_DEFAULT_BROKER = 3
    STATIC_BROKER = 4
    DEFAULT = 5


class Synonym(NamedTuple):
    """One of the places that a value may come from; DescribeConfigs lists them, the strongest first."""

    name: str
    value: str
    source: ConfigSource


class DescribedConfig(NamedTuple):
    """A config as DescribeConfigs shows it. value: None where it has none."""

    config: Config
    value: str | None
    source: ConfigSource
    synonyms: tuple[Synonym, ...]


# --- which value counts ---


def effective_topic_config(
    name: str, overrides: Mapping[str, str], broker_configs: BrokerConfigs
) -> ConfigValue:
    """The typed value that counts for a topic with these overrides."""
    config = TOPIC_CONFIGS[name]
    assert config.default is not None
    text = overrides.get(name)
    if text is None and config.synonym is not None:
        for resource in (BROKER, ALL_BROKERS):
            text = broker_configs.get(resource, {}).get(config.synonym)
            if text is not None:
                break
    return config.parse(config.default if text is None else text)


def altered_broker_config(name: str, broker_configs: BrokerConfigs) -> ConfigValue | None:
    """The typed value that the broker was given while it ran; None where what it was started with counts."""
    for resource in (BROKER, ALL_BROKERS):
        text = broker_configs.get(resource, {}).get(name)
        if text is not None:
            return DYNAMIC_BROKER_CONFIGS[name].parse(text)
    return None


def describe_topic_config(
    name: str, overrides: Mapping[str, str], broker_configs: BrokerConfigs
) -> DescribedConfig:
    """A topic's config with where its value comes from."""
    config = TOPIC_CONFIGS[name]
    synonyms = () if config.synonym is None else _broker_synonyms(config.synonym, broker_configs, {})
    if name in overrides:
        own = Synonym(name, text_of(config.parse(overrides[name])), ConfigSource.DYNAMIC_TOPIC)
        synonyms = (own, *synonyms)
    source = synonyms[0].source if synonyms else ConfigSource.DEFAULT
    value = text_of(effective_topic_config(name, overrides, broker_configs))
    return DescribedConfig(config, value, source, synonyms)


def describe_broker_config(
    name: str, broker_configs: BrokerConfigs, static: Mapping[str, str]
) -> DescribedConfig:
    """A broker's config. static: what this process was started with."""
    config = broker_config(name)
    assert config is not None
    synonyms = _broker_synonyms(name, broker_configs, static)
    if not synonyms:
        return DescribedConfig(config, config.default, ConfigSource.DEFAULT, ())
    return DescribedConfig(config, synonyms[0].value, synonyms[0].source, synonyms)


def _broker_synonyms(
    name: str, broker_configs: BrokerConfigs, static: Mapping[str, str]
) -> tuple[Synonym, ...]:
    """Kafka lists the coarser names of a config too, but only behind a value of the config itself."""
    names = broker_synonyms(name)
    found: list[Synonym] = []
    for resource, source in (
        (BROKER, ConfigSource.DYNAMIC_BROKER),
        (ALL_BROKERS, ConfigSource.DYNAMIC_DEFAULT_BROKER),
    ):
        overrides = broker_configs.get(resource, {})
        found += [Synonym(each, overrides[each], source) for each in names if each in overrides]
    found += [Synonym(each, static[each], ConfigSource.STATIC_BROKER) for each in names if each in static]
    for each in names:
        config = broker_config(each)
        if config is not None and config.default is not None:
            found.append(Synonym(each, config.default, ConfigSource.DEFAULT))
    while found and found[0].name != name:
        found.pop(0)
    return tuple(found)


# --- rules ---


def validate_topic_configs(overrides: Mapping[str, str], broker_configs: BrokerConfigs) -> str | None:
    """What is wrong with a topic's overrides, in Kafka's words, or None."""
    for name in overrides:
        if name not in TOPIC_CONFIGS:
            return f"Unknown topic config name: {name}"
    try:
        for name, text in overrides.items():
            TOPIC_CONFIGS[name].parse(text)
    except InvalidConfig as invalid:
        return str(invalid)
    shortest = effective_topic_config("min.compaction.lag.ms", overrides, broker_configs)
    longest = effective_topic_config("max.compaction.lag.ms", overrides, broker_configs)
    assert isinstance(shortest, int)
    assert isinstance(longest, int)
    if shortest > longest:
        return (
            f"conflict topic config setting min.compaction.lag.ms ({shortest}) > "
            f"max.compaction.lag.ms ({longest})"
        )
    if effective_topic_config("remote.storage.enable", overrides, broker_configs):
        return (
            "Tiered Storage functionality is disabled in the broker. "
            "Topic cannot be configured with remote log storage."
        )
    return None


def not_acted_on(names: Iterable[str]) -> list[Config]:
    """Those of these topic or broker configs whose setting changes nothing; for a warning."""
    known = (TOPIC_CONFIGS.get(name) or DYNAMIC_BROKER_CONFIGS.get(name) for name in names)
    return [config for config in known if config is not None and config.effect is not Effect.ACTED_ON]


def _check_changes(changes: Sequence[ConfigChange]) -> AdminReply | None:
    """What Kafka refuses before it looks at the configs themselves."""
    if len({change.name for change in changes}) < len(changes):
        return AdminReply(ErrorCode.INVALID_REQUEST, "Error due to duplicate config keys")
    nulls = [
        change.name
        for change in changes
        if change.value is None and change.operation is not ConfigOperation.DELETE
    ]
    if nulls:
        return AdminReply(ErrorCode.INVALID_REQUEST, f"Null value not supported for : {','.join(nulls)}")
    return None


def _changed(
    overrides: Mapping[str, str],
    changes: Sequence[ConfigChange],
    replaces_all: bool,
    known: Mapping[str, Config],
    effective: Callable[[str], str],
) -> dict[str, str]:
    """The overrides as they would be. effective: the list that appending or subtracting starts from.

    Raises InvalidConfig.
    """
    result = {} if replaces_all else dict(overrides)
    for name, operation, value in changes:
        if operation is ConfigOperation.DELETE:
            result.pop(name, None)
            continue
        assert value is not None
        if operation is ConfigOperation.SET:
            result[name] = value
            continue
        config = known.get(name)
        if config is None or config.type is not ConfigType.LIST:
            raise InvalidConfig(f"Can't {operation.name} to key {name} because its type is not LIST.")
        current = [part for part in effective(name).split(",") if part]
        parts = [part.strip() for part in value.split(",")]
        if operation is ConfigOperation.APPEND:
            current += [part for part in parts if part not in current]
        else:
            current = [part for part in current if part not in parts]
        result[name] = ",".join(current)
        if len(result[name].encode()) > VALUE_BYTES_MAX:
            raise InvalidConfig(f"The value of {name} would be longer than {VALUE_BYTES_MAX} bytes.")
    return result


def _differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[TopicConfig]:
    names = sorted(before.keys() | after.keys())
    return [
        TopicConfig(name=name, value=after.get(name)) for name in names if before.get(name) != after.get(name)
    ]


# --- decide ---


def _alter_topic(state: State, command: AlterTopicConfigs, _time: Time) -> tuple[list[Event], AdminReply]:
    topic = state.topics.get(command.topic_id)
    if topic is None:
        return [], AdminReply(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    refused = _check_changes(command.changes)
    if refused is not None:
        return [], refused
    try:
        after = _changed(
            topic.configs,
            command.changes,
            command.replaces_all,
            TOPIC_CONFIGS,
            lambda name: text_of(topic.config(name)),
        )
    except InvalidConfig as invalid:
        return [], AdminReply(ErrorCode.INVALID_CONFIG, str(invalid))
    wrong = validate_topic_configs(after, state.broker_configs)
    if wrong is not None:
        return [], AdminReply(ErrorCode.INVALID_CONFIG, wrong)
    differences = _differences(topic.configs, after)
    if command.validate_only or not differences:
        return [], AdminReply(ErrorCode.NONE)
    return [TopicConfigsChanged(topic_id=topic.id, changes=differences)], AdminReply(ErrorCode.NONE)


def _alter_broker(state: State, command: AlterBrokerConfigs, _time: Time) -> tuple[list[Event], AdminReply]:
    assert command.resource in (BROKER, ALL_BROKERS)
    refused = _check_changes(command.changes)
    if refused is not None:
        return [], refused
    fixed = sorted(change.name for change in command.changes if change.name not in DYNAMIC_BROKER_CONFIGS)
    if fixed:
        message = f"Cannot update these configs dynamically: [{', '.join(fixed)}]"
        return [], AdminReply(ErrorCode.INVALID_REQUEST, message)
    before = state.broker_configs.get(command.resource, {})
    try:
        after = _changed(
            before,
            command.changes,
            command.replaces_all,
            DYNAMIC_BROKER_CONFIGS,
            lambda name: describe_broker_config(name, state.broker_configs, {}).value or "",
        )
        for name, text in after.items():
            DYNAMIC_BROKER_CONFIGS[name].parse(text)
    except InvalidConfig as invalid:
        return [], AdminReply(ErrorCode.INVALID_REQUEST, str(invalid))
    differences = _differences(before, after)
    if command.validate_only or not differences:
        return [], AdminReply(ErrorCode.NONE)
    return [BrokerConfigsChanged(resource=command.resource, changes=differences)], AdminReply(ErrorCode.NONE)


DECIDE: dict[type, Callable[[State, Any, Time], tuple[list[Event], Any]]] = {
    AlterTopicConfigs: _alter_topic,
    AlterBrokerConfigs: _alter_broker,
}


# --- evolve ---


def _apply(overrides: dict[str, str], changes: Iterable[TopicConfig]) -> None:
    for change in changes:
        if change.value is None:
            overrides.pop(change.name, None)
        else:
            overrides[change.name] = change.value


def _topic_changed(state: State, event: TopicConfigsChanged, _at: At) -> None:
    topic = state.topics[event.topic_id]
    _apply(topic.configs, event.changes)
    topic.config_version += 1
    topic.forget_config_values()


def _broker_changed(state: State, event: BrokerConfigsChanged, _at: At) -> None:
    overrides = state.broker_configs.setdefault(event.resource, {})
    _apply(overrides, event.changes)
    for topic in state.topics.values():
        topic.config_version += 1
        topic.forget_config_values()


EVOLVE: dict[type, Callable[[State, Any, At], None]] = {
    TopicConfigsChanged: _topic_changed,
    BrokerConfigsChanged: _broker_changed,
}
