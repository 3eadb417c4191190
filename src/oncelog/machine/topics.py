"""Topics and feature levels: the rules of creating, growing and deleting topics, and what that does.

A topic is known by an id that is never used again; its name may come back. It must not know where ids come
from, sockets, or how Metadata shows a topic.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from oncelog.machine import internal_topics
from oncelog.machine.commands import (
    AdminReply,
    CreatePartitions,
    CreateTopic,
    CreateTopicReply,
    DeleteTopic,
    FeatureUpdate,
    UpdateFeatures,
)
from oncelog.machine.configs import validate_topic_configs
from oncelog.machine.events import (
    FeatureLevelChanged,
    PartitionsCreated,
    TopicConfig,
    TopicCreated,
    TopicDeleted,
)
from oncelog.machine.moment import At, Time
from oncelog.machine.state import Partition, State, Topic
from oncelog.wire.definition import Event
from oncelog.wire.errors import ErrorCode

BROKER_ID = 1
TOPIC_NAME_CHARACTERS_MAX = 249
SHARE_GROUP_TOPIC = "__share_group_state"
INTERNAL_TOPICS = frozenset({"__consumer_offsets", "__transaction_state", SHARE_GROUP_TOPIC})
"""Kafka's own topics, to which nobody else may write. There are no share groups here, so there is no topic of
theirs; the others are a view of the state (internal_topics.py)."""
CLUSTER_METADATA_TOPIC = "__cluster_metadata"
FEATURES: dict[str, tuple[int, int]] = {"transaction.version": (0, 2)}
"""The features that this broker has levels of, with their first and last level."""

_LEGAL = re.compile(r"[a-zA-Z0-9._-]+\Z")

Refusal = tuple[ErrorCode, str]


# --- names ---


def topic_name_error(name: str) -> str | None:
    """Why nobody may call a topic that, in Kafka's words, or None."""
    if not name:
        reason = "the empty string is not allowed"
    elif name in (".", ".."):
        reason = f"'{name}' is not allowed"
    elif len(name) > TOPIC_NAME_CHARACTERS_MAX:
        reason = f"the length of '{name}' is longer than the max allowed length {TOPIC_NAME_CHARACTERS_MAX}"
    elif not _LEGAL.match(name):
        reason = f"'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
    else:
        return None
    return f"Topic name is invalid: {reason}"


def _form(name: str) -> str:
    """Names of one form would share a metric's name in Kafka, which therefore refuses the second."""
    return name.replace(".", "_")


def _check_name(state: State, name: str) -> Refusal | None:
    invalid = topic_name_error(name)
    if invalid is not None:
        return ErrorCode.INVALID_TOPIC_EXCEPTION, invalid
    if name == CLUSTER_METADATA_TOPIC:
        return ErrorCode.INVALID_REQUEST, f"Creation of internal topic {name} is prohibited."
    if name == SHARE_GROUP_TOPIC:
        return ErrorCode.INVALID_TOPIC_EXCEPTION, f"Topic name is invalid: '{name}' is internal to the broker"
    if name in state.topic_ids or name in INTERNAL_TOPICS:
        return ErrorCode.TOPIC_ALREADY_EXISTS, f"Topic '{name}' already exists."
    holder = state.topic_name_forms.get(_form(name))
    for internal in state.internal:
        if _form(name) == internal.name:
            holder = internal.name
    if holder is not None:
        return ErrorCode.INVALID_TOPIC_EXCEPTION, f"Topic '{name}' collides with existing topic: {holder}"
    return None


# --- partitions and where they should be ---


def _check_brokers(brokers: Iterable[int]) -> Refusal | None:
    """The replicas of one partition; this broker is the only one."""
    error = ErrorCode.INVALID_REPLICA_ASSIGNMENT
    seen: set[int] = set()
    for broker in brokers:
        if broker != BROKER_ID:
            unknown = f"includes broker {broker}, but no such broker is registered."
            return error, f"The manual partition assignment {unknown}"
        if broker in seen:
            return error, f"The manual partition assignment includes the broker {broker} more than once."
        seen.add(broker)
    if not seen:
        return error, "The manual partition assignment includes an empty replica list."
    return None


def _check_assignments(command: CreateTopic) -> Refusal | None:
    manual = "A manual partition assignment was specified, but"
    if command.replication_factor != -1:
        return ErrorCode.INVALID_REQUEST, f"{manual} replication factor was not set to -1."
    if command.partition_count != -1:
        return ErrorCode.INVALID_REQUEST, f"{manual} numPartitions was not set to -1."
    seen: set[int] = set()
    for index, brokers in command.assignments:
        if index in seen:
            return (
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                f"Found multiple manual partition assignments for partition {index}",
            )
        seen.add(index)
        refused = _check_brokers(brokers)
        if refused is not None:
            return refused
    if seen != set(range(len(seen))):
        return (
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            "partitions should be a consecutive 0-based integer sequence",
        )
    return None


def _check_counts(command: CreateTopic) -> Refusal | None:
    if command.replication_factor < -1 or command.replication_factor == 0:
        return (
            ErrorCode.INVALID_REPLICATION_FACTOR,
            "Replication factor must be larger than 0, or -1 to use the default value.",
        )
    if command.partition_count < 1:
        return (
            ErrorCode.INVALID_PARTITIONS,
            "Number of partitions was set to an invalid non-positive value.",
        )
    if command.replication_factor > 1:
        factor = command.replication_factor
        return (
            ErrorCode.INVALID_REPLICATION_FACTOR,
            f"Unable to replicate the partition {factor} time(s): The target replication factor of {factor} "
            "cannot be reached because only 1 broker(s) are registered or some brokers have all their log "
            "directories cordoned.",
        )
    return None


def _check_room(state: State, added: int) -> Refusal | None:
    limits = state.limits
    if added > limits.partitions_per_request_max:
        return ErrorCode.POLICY_VIOLATION, "Excessively large number of partitions per request."
    if state.partition_count + added > limits.partitions_max:
        return (
            ErrorCode.POLICY_VIOLATION,
            f"There are {state.partition_count} partitions, and at most {limits.partitions_max} are allowed "
            "(option max-partitions).",
        )
    return None


# --- decide ---


def _create_topic(state: State, command: CreateTopic, _time: Time) -> tuple[list[Event], CreateTopicReply]:
    assert len(command.topic_id) == 16
    assert command.topic_id not in state.topics
    count = len(command.assignments) or command.partition_count
    refused = (
        _check_name(state, command.name)
        or (_check_assignments(command) if command.assignments else _check_counts(command))
        or _check_room(state, count)
    )
    if refused is not None:
        return [], CreateTopicReply(*refused)
    configs = dict(command.configs)
    wrong = validate_topic_configs(configs, state.broker_configs)
    if wrong is not None:
        return [], CreateTopicReply(ErrorCode.INVALID_CONFIG, wrong)
    reply = CreateTopicReply(ErrorCode.NONE, None, count)
    if command.validate_only:
        return [], reply
    created = TopicCreated(
        topic_id=command.topic_id,
        name=command.name,
        partition_count=count,
        configs=[TopicConfig(name=name, value=value) for name, value in sorted(configs.items())],
    )
    return [created], reply


def _delete_topic(state: State, command: DeleteTopic, _time: Time) -> tuple[list[Event], AdminReply]:
    topic = state.topics.get(command.topic_id)
    if topic is None:
        return [], AdminReply(ErrorCode.UNKNOWN_TOPIC_ID, "This server does not host this topic ID.")
    return [TopicDeleted(topic_id=topic.id, name=topic.name)], AdminReply(ErrorCode.NONE)


def _create_partitions(
    state: State, command: CreatePartitions, _time: Time
) -> tuple[list[Event], AdminReply]:
    topic = state.topics.get(command.topic_id)
    if topic is None:
        return [], AdminReply(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    current = len(topic.partitions)
    added = command.partition_count - current
    if added == 0:
        return [], AdminReply(ErrorCode.INVALID_PARTITIONS, f"Topic already has {current} partition(s).")
    if added < 0:
        return [], AdminReply(
            ErrorCode.INVALID_PARTITIONS,
            f"The topic {topic.name} currently has {current} partition(s); {command.partition_count} would "
            "not be an increase.",
        )
    refused = _check_new_assignments(command.assignments, added) or _check_room(state, added)
    if refused is not None:
        return [], AdminReply(*refused)
    if command.validate_only:
        return [], AdminReply(ErrorCode.NONE)
    created = PartitionsCreated(topic_id=topic.id, partition_count=command.partition_count)
    return [created], AdminReply(ErrorCode.NONE)


def _check_new_assignments(assignments: tuple[tuple[int, ...], ...] | None, added: int) -> Refusal | None:
    if assignments is None:
        return None
    if len(assignments) != added:
        return (
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            f"Attempted to add {added} additional partition(s), but only {len(assignments)} assignment(s) "
            "were specified.",
        )
    for brokers in assignments:
        refused = _check_brokers(brokers)
        if refused is not None:
            return refused
    return None


def _update_features(state: State, command: UpdateFeatures, _time: Time) -> tuple[list[Event], AdminReply]:
    levels = dict(state.feature_levels)
    for update in command.updates:
        wrong = _feature_error(update, levels.get(update.feature, 0))
        if wrong is not None:
            return [], AdminReply(
                ErrorCode.INVALID_UPDATE_VERSION,
                "The update failed for all features since the following feature had an error: Invalid update "
                f"version {update.level} for feature {update.feature}. {wrong}",
            )
        levels[update.feature] = update.level
    if command.validate_only:
        return [], AdminReply(ErrorCode.NONE)
    events: list[Event] = [
        FeatureLevelChanged(feature=feature, level=level)
        for feature, level in sorted(levels.items())
        if level != state.feature_levels.get(feature, 0)
    ]
    return events, AdminReply(ErrorCode.NONE)


def _feature_error(update: FeatureUpdate, current_level: int) -> str | None:
    first, last = FEATURES.get(update.feature, (0, -1))
    if update.feature not in FEATURES:
        return "Local controller 1 does not support this feature."
    if update.may_downgrade is None:
        return "The controller does not support the given upgrade type."
    if update.level < 0:
        return "A feature version cannot be less than 0."
    if not first <= update.level <= last:
        return f"Local controller 1 only supports versions {first}-{last}"
    if update.level < current_level and not update.may_downgrade:
        return (
            "Can't downgrade the version of this feature without setting the upgrade type to either safe or "
            "unsafe downgrade."
        )
    return None


DECIDE: dict[type, Callable[[State, Any, Time], tuple[list[Event], Any]]] = {
    CreateTopic: _create_topic,
    DeleteTopic: _delete_topic,
    CreatePartitions: _create_partitions,
    UpdateFeatures: _update_features,
}


# --- evolve ---


def _topic_created(state: State, event: TopicCreated, at: At) -> None:
    assert event.topic_id not in state.topics
    assert event.name not in state.topic_ids
    topic = Topic(event.topic_id, event.name, state.broker_configs)
    topic.configs.update({config.name: config.value for config in event.configs if config.value is not None})
    state.topics[topic.id] = topic
    state.topic_ids[topic.name] = topic.id
    state.topic_name_forms[_form(topic.name)] = topic.name
    _grow(state, topic, event.partition_count, at)


def _partitions_created(state: State, event: PartitionsCreated, at: At) -> None:
    _grow(state, state.topics[event.topic_id], event.partition_count, at)


def _grow(state: State, topic: Topic, partition_count: int, at: At) -> None:
    before = len(topic.partitions)
    assert partition_count > before, "partitions are added and never removed"
    for index in range(before, partition_count):
        partition = Partition(topic, index)
        topic.partitions.append(partition)
        at.touched[partition] = None
    state.partition_count += partition_count - before
    state.topics_version += 1


def _topic_deleted(state: State, event: TopicDeleted, at: At) -> None:
    """Offsets and transactions refer to partitions by topic id, and take an id that is gone for absent."""
    topic = state.topics.pop(event.topic_id)
    del state.topic_ids[topic.name]
    state.topic_name_forms.pop(_form(topic.name), None)
    state.partition_count -= len(topic.partitions)
    state.producer_count -= sum(len(partition.producers) for partition in topic.partitions)
    state.topics_version += 1
    internal_topics.topic_deleted(state, topic.id, topic.name)
    at.removed += topic.partitions


def _feature_level_changed(state: State, event: FeatureLevelChanged, _at: At) -> None:
    state.feature_levels[event.feature] = event.level
    state.features_epoch += 1


EVOLVE: dict[type, Callable[[State, Any, At], None]] = {
    TopicCreated: _topic_created,
    TopicDeleted: _topic_deleted,
    PartitionsCreated: _partitions_created,
    FeatureLevelChanged: _feature_level_changed,
}
