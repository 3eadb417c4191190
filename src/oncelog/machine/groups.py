"""Consumer groups: what may become a fact about a group, and what each fact changes.

Decides generations, assignments and committed offsets. It knows completed generations only: who is just
joining, syncing or late is the coordinator's soft state (broker/groups.py), and so is every timer.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

from oncelog.machine import internal_topics, pending_offsets
from oncelog.machine.commands import (
    CommitOffsets,
    CommitOffsetsReply,
    DeleteGroup,
    DeleteOffsets,
    DeleteOffsetsReply,
    ExpireOffsets,
    GroupReply,
    OffsetToCommit,
    ReplaceStaticMember,
    StartGeneration,
    StoreAssignment,
    TxnOffsetCommit,
)
from oncelog.machine.events import (
    AssignmentStored,
    GenerationStarted,
    GroupAssignment,
    GroupDeleted,
    GroupMember,
    GroupMemberProtocol,
    GroupOffset,
    GroupPartition,
    OffsetsCommitted,
    OffsetsDeleted,
    StaticMemberReplaced,
    TransactionOffset,
)
from oncelog.machine.group_state import CommittedOffset, Group, Member, MemberProtocol
from oncelog.machine.moment import At, Time
from oncelog.machine.state import State, TopicPartition
from oncelog.wire.definition import Event
from oncelog.wire.errors import ErrorCode

CONSUMER_PROTOCOL_TYPE = "consumer"

# From these versions on a commit that names a generation of no group is told so by name.
_COMMIT_VERSION_TOLD_NO_GROUP = 9
_TXN_COMMIT_VERSION_TOLD_NO_GROUP = 6

_OK = GroupReply(ErrorCode.NONE)


# --- rules that the coordinator shares ---


def check_member(
    members: Container[str], static_members: Mapping[str, str], member_id: str, group_instance_id: str | None
) -> ErrorCode:
    """Whether this is a member, and not one whose static place another took (KIP-345)."""
    if group_instance_id is not None:
        current = static_members.get(group_instance_id)
        if current is None:
            return ErrorCode.UNKNOWN_MEMBER_ID
        if current != member_id:
            return ErrorCode.FENCED_INSTANCE_ID
    if member_id not in members:
        return ErrorCode.UNKNOWN_MEMBER_ID
    return ErrorCode.NONE


def check_sender(
    members: Container[str],
    static_members: Mapping[str, str],
    *,
    is_empty: bool,
    is_completing: bool,
    is_transactional: bool,
    generation: int,
    generation_id: int,
    member_id: str,
    group_instance_id: str | None,
) -> ErrorCode:
    """Whether a group takes a commit from this sender.

    A transactional commit may come from somebody who doesn't name himself, and before there is an assignment.
    Source: ClassicGroup.validateOffsetCommit.
    """
    if generation_id < 0 and is_empty:
        return ErrorCode.NONE
    if generation_id >= 0 or member_id or group_instance_id is not None:
        error = check_member(members, static_members, member_id, group_instance_id)
        if error:
            return error
        if generation_id != generation:
            return ErrorCode.ILLEGAL_GENERATION
    elif not is_transactional:
        return ErrorCode.UNKNOWN_MEMBER_ID
    if is_completing and not is_transactional:
        return ErrorCode.REBALANCE_IN_PROGRESS
    return ErrorCode.NONE


# --- subscriptions ---


def subscribed_topics(group: Group) -> frozenset[str] | None:
    """The topics that the members of a consumer group subscribe to, or None where that can't be known."""
    if group.protocol_type != CONSUMER_PROTOCOL_TYPE:
        return None
    topics: set[str] = set()
    for member in group.members.values():
        for protocol in member.protocols:
            if protocol.name == group.protocol:
                names = _topics_of_subscription(protocol.metadata)
                if names is None:
                    return None
                topics.update(names)
    return frozenset(topics)


def is_subscribed(group: Group, topics: frozenset[str] | None, topic_name: str) -> bool:
    """With topics from `subscribed_topics`: an unreadable subscription of a consumer may name any topic."""
    if topics is None:
        return group.protocol_type == CONSUMER_PROTOCOL_TYPE
    return topic_name in topics


def _topics_of_subscription(metadata: bytes) -> list[str] | None:
    """The topic names in a ConsumerProtocolSubscription: after its version, in every version."""
    position = 6
    count = int.from_bytes(metadata[2:position], "big", signed=True)
    if len(metadata) < position or not 0 <= count <= len(metadata) // 2:
        return None
    names = []
    for _ in range(count):
        start = position + 2
        size = int.from_bytes(metadata[position:start], "big", signed=True)
        position = start + size
        if size < 0 or position > len(metadata):
            return None
        try:
            names.append(metadata[start:position].decode())
        except UnicodeDecodeError:
            return None
    return names


# --- deciding: generations ---


def _start_generation(state: State, command: StartGeneration, _: Time) -> tuple[list[Event], GroupReply]:
    group = state.groups.get(command.group_id)
    if group is None and len(state.groups) >= state.limits.groups_max:
        return [], GroupReply(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
    if command.generation != (0 if group is None else group.generation):
        return [], GroupReply(ErrorCode.ILLEGAL_GENERATION)
    members = {member.member_id: member for member in command.members}
    if len(members) > state.limits.group_members_max:
        return [], GroupReply(ErrorCode.GROUP_MAX_SIZE_REACHED)
    assert len(members) == len(command.members), "a member id names one member"
    assert (command.leader in members) if members else command.leader is None
    event = GenerationStarted(
        group_id=command.group_id,
        generation=command.generation + 1,
        protocol_type=command.protocol_type,
        protocol=command.protocol,
        leader=command.leader,
        members=[_member_to_event(member) for member in command.members],
    )
    return [event], _OK


def _store_assignment(state: State, command: StoreAssignment, _: Time) -> tuple[list[Event], GroupReply]:
    group = state.groups.get(command.group_id)
    if group is None or group.generation != command.generation:
        return [], GroupReply(ErrorCode.ILLEGAL_GENERATION)
    if not group.is_completing:
        return [], GroupReply(ErrorCode.REBALANCE_IN_PROGRESS)
    assigned = dict(command.assignments)
    event = AssignmentStored(
        group_id=group.id,
        generation=group.generation,
        assignments=[
            GroupAssignment(member_id=member_id, assignment=assigned.get(member_id, b""))
            for member_id in group.members
        ],
    )
    return [event], _OK


def _replace_static_member(
    state: State, command: ReplaceStaticMember, _: Time
) -> tuple[list[Event], GroupReply]:
    group = state.groups.get(command.group_id)
    if group is None or group.generation != command.generation:
        return [], GroupReply(ErrorCode.ILLEGAL_GENERATION)
    instance_id = command.member.group_instance_id
    if instance_id is None or group.static_members.get(instance_id) != command.old_member_id:
        return [], GroupReply(ErrorCode.UNKNOWN_MEMBER_ID)
    if command.member.member_id in group.members:
        return [], GroupReply(ErrorCode.FENCED_INSTANCE_ID)
    event = StaticMemberReplaced(
        group_id=group.id, old_member_id=command.old_member_id, member=_member_to_event(command.member)
    )
    return [event], _OK


def _member_to_event(member: Member) -> GroupMember:
    return GroupMember(
        member_id=member.member_id,
        group_instance_id=member.group_instance_id,
        client_id=member.client_id,
        client_host=member.client_host,
        session_timeout_ms=member.session_timeout_ms,
        rebalance_timeout_ms=member.rebalance_timeout_ms,
        protocols=[
            GroupMemberProtocol(name=protocol.name, metadata=protocol.metadata)
            for protocol in member.protocols
        ],
    )


# --- deciding: offsets ---


def _commit_offsets(
    state: State, command: CommitOffsets, time: Time
) -> tuple[list[Event], CommitOffsetsReply]:
    """First the group, then each offset by itself."""
    error = _check_group(state, command, _COMMIT_VERSION_TOLD_NO_GROUP, is_transactional=False)
    if not error and _has_too_many_offsets(state, command):
        error = ErrorCode.INVALID_COMMIT_OFFSET_SIZE
    if error:
        return [], CommitOffsetsReply((error,) * len(command.offsets))
    errors = tuple(check_offset(state, offset) for offset in command.offsets)
    accepted = [
        GroupOffset(
            topic_id=offset.topic_id,
            partition=offset.partition,
            offset=offset.offset,
            leader_epoch=offset.leader_epoch,
            metadata=offset.metadata or "",
        )
        for offset, error in zip(command.offsets, errors, strict=True)
        if not error
    ]
    if not accepted:
        return [], CommitOffsetsReply(errors)
    expires_age_ms = time.age_ms + command.retention_ms if command.retention_ms >= 0 else -1
    event = OffsetsCommitted(group_id=command.group_id, expires_age_ms=expires_age_ms, offsets=accepted)
    return [event], CommitOffsetsReply(errors)


def check_commit(state: State, command: TxnOffsetCommit) -> ErrorCode:
    """What the group says to the sender of a transaction's offsets; the transaction is checked elsewhere."""
    error = _check_group(state, command, _TXN_COMMIT_VERSION_TOLD_NO_GROUP, is_transactional=True)
    if not error and _has_too_many_offsets(state, command):
        # Every client takes this one for the end of the transaction, not of the producer.
        return ErrorCode.POLICY_VIOLATION
    return error


def check_offset(state: State, offset: OffsetToCommit) -> ErrorCode:
    """Whether a group would keep this offset (Kafka's offset.metadata.max.bytes, which counts characters)."""
    if len(offset.metadata or "") > state.limits.offset_metadata_characters_max:
        return ErrorCode.OFFSET_METADATA_TOO_LARGE
    return ErrorCode.NONE


def _check_group(
    state: State, command: CommitOffsets | TxnOffsetCommit, told_no_group: int, *, is_transactional: bool
) -> ErrorCode:
    group = state.groups.get(command.group_id)
    if group is None:
        if command.generation_id >= 0:
            is_told = command.version >= told_no_group
            return ErrorCode.GROUP_ID_NOT_FOUND if is_told else ErrorCode.ILLEGAL_GENERATION
        if len(state.groups) >= state.limits.groups_max:
            return ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
        return ErrorCode.NONE
    return check_sender(
        group.members,
        group.static_members,
        is_empty=group.is_empty,
        is_completing=group.is_completing,
        is_transactional=is_transactional,
        generation=group.generation,
        generation_id=command.generation_id,
        member_id=command.member_id,
        group_instance_id=command.group_instance_id,
    )


def _has_too_many_offsets(state: State, command: CommitOffsets | TxnOffsetCommit) -> bool:
    group = state.groups.get(command.group_id)
    count = 0 if group is None else len(group.offsets)
    if count + len(command.offsets) <= state.limits.group_offsets_max:
        return False
    known: Container[TopicPartition] = () if group is None else group.offsets
    added = {(offset.topic_id, offset.partition) for offset in command.offsets}
    return count + sum(partition not in known for partition in added) > state.limits.group_offsets_max


def _delete_offsets(state: State, command: DeleteOffsets, _: Time) -> tuple[list[Event], DeleteOffsetsReply]:
    group = state.groups.get(command.group_id)
    error = ErrorCode.NONE
    if group is None:
        error = ErrorCode.GROUP_ID_NOT_FOUND
    elif not group.is_empty and group.protocol_type != CONSUMER_PROTOCOL_TYPE:
        error = ErrorCode.NON_EMPTY_GROUP
    if group is None or error:
        return [], DeleteOffsetsReply(error, (error,) * len(command.partitions))
    topics = subscribed_topics(group)
    errors = []
    deleted: dict[TopicPartition, None] = {}
    for topic_id, partition in command.partitions:
        topic = state.shown_topic(topic_id)
        if topic is not None and is_subscribed(group, topics, topic.name):
            errors.append(ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC)
            continue
        errors.append(ErrorCode.NONE)
        if (topic_id, partition) in group.offsets or pending_offsets.is_pending(
            state, group.id, topic_id, partition
        ):
            deleted[topic_id, partition] = None
    events: list[Event] = [_offsets_deleted(group.id, deleted)] if deleted else []
    return events, DeleteOffsetsReply(error, tuple(errors))


def _offsets_deleted(group_id: str, partitions: Iterable[TopicPartition]) -> OffsetsDeleted:
    return OffsetsDeleted(
        group_id=group_id,
        partitions=[
            GroupPartition(topic_id=topic_id, partition=partition) for topic_id, partition in partitions
        ],
    )


def _delete_group(state: State, command: DeleteGroup, _: Time) -> tuple[list[Event], GroupReply]:
    group = state.groups.get(command.group_id)
    if group is None:
        return [], GroupReply(ErrorCode.GROUP_ID_NOT_FOUND)
    if not group.is_empty:
        return [], GroupReply(ErrorCode.NON_EMPTY_GROUP)
    return [GroupDeleted(group_id=group.id)], _OK


# --- deciding: expiry ---


def _expire_offsets(state: State, command: ExpireOffsets, time: Time) -> tuple[list[Event], GroupReply]:
    group = state.groups.get(command.group_id)
    if group is None:
        return [], GroupReply(ErrorCode.GROUP_ID_NOT_FOUND)
    is_expired = _expiry_rule(state, group, time.age_ms, command.retention_ms)
    expired = {
        partition: None
        for partition in command.partitions
        if partition in group.offsets and is_expired(partition, group.offsets[partition])
    }
    if (
        group.is_empty
        and len(expired) == len(group.offsets)
        and not pending_offsets.has_pending(state, group.id)
    ):
        return [GroupDeleted(group_id=group.id)], _OK
    return ([_offsets_deleted(group.id, expired)] if expired else []), _OK


def _expiry_rule(
    state: State, group: Group, age_ms: int, retention_ms: int
) -> Callable[[TopicPartition, CommittedOffset], bool]:
    """Which offsets of the group nobody needs any more (KIP-211; ClassicGroup.offsetExpirationCondition)."""
    is_simple = not group.protocol_type
    topics = subscribed_topics(group)
    is_rebalancing_or_unknown = not group.is_empty and (group.assignments is None or topics is None)

    def is_expired(partition: TopicPartition, committed: CommittedOffset) -> bool:
        if pending_offsets.is_pending(state, group.id, *partition):
            return False
        known = state.shown_partition(*partition)
        if known is None:
            return True
        if topics and known.topic.name in topics:
            return False
        if is_rebalancing_or_unknown:
            return False
        if committed.expires_age_ms >= 0:
            return age_ms >= committed.expires_age_ms
        since_age_ms = committed.committed_age_ms
        if group.is_empty and not is_simple:
            since_age_ms = max(since_age_ms, group.empty_since_age_ms)
        return age_ms - since_age_ms >= retention_ms

    return is_expired


# --- evolving ---


def ensure_group(state: State, group_id: str, at: At) -> Group:
    """The group, begun as a simple one where there was none: whatever names a group in an event begins it."""
    group = state.groups.get(group_id)
    if group is None:
        number = internal_topics.partition_of(group_id)
        group = state.groups[group_id] = Group(group_id, at.age_ms, number)
    return group


def _generation_started(state: State, event: GenerationStarted, at: At) -> None:
    group = ensure_group(state, event.group_id, at)
    assert event.generation == group.generation + 1, "generations follow each other"
    group.generation = event.generation
    group.protocol_type = event.protocol_type
    group.protocol = event.protocol
    group.leader = event.leader
    group.members = {member.member_id: _member_from_event(member) for member in event.members}
    group.static_members = {
        member.group_instance_id: member.member_id
        for member in event.members
        if member.group_instance_id is not None
    }
    group.assignments = None
    if not group.members:
        group.empty_since_age_ms = at.age_ms
    internal_topics.group_changed(state, group, at)


def _assignment_stored(state: State, event: AssignmentStored, at: At) -> None:
    group = state.groups[event.group_id]
    assert group.generation == event.generation
    assert group.is_completing
    group.assignments = {assigned.member_id: assigned.assignment for assigned in event.assignments}
    assert group.assignments.keys() == group.members.keys(), "every member of the generation is assigned"
    internal_topics.group_changed(state, group, at)


def _static_member_replaced(state: State, event: StaticMemberReplaced, at: At) -> None:
    group = state.groups[event.group_id]
    member = _member_from_event(event.member)
    instance_id = member.group_instance_id
    assert instance_id is not None
    assert group.static_members[instance_id] == event.old_member_id
    group.static_members[instance_id] = member.member_id
    group.members = {
        kept.member_id: kept
        for kept in (
            member if old.member_id == event.old_member_id else old for old in group.members.values()
        )
    }
    if group.assignments is not None:
        group.assignments[member.member_id] = group.assignments.pop(event.old_member_id)
    if group.leader == event.old_member_id:
        group.leader = member.member_id
    internal_topics.group_changed(state, group, at)


def _member_from_event(member: GroupMember) -> Member:
    return Member(
        member_id=member.member_id,
        group_instance_id=member.group_instance_id,
        client_id=member.client_id,
        client_host=member.client_host,
        session_timeout_ms=member.session_timeout_ms,
        rebalance_timeout_ms=member.rebalance_timeout_ms,
        protocols=tuple(
            MemberProtocol(protocol.name, bytes(protocol.metadata)) for protocol in member.protocols
        ),
    )


def _offsets_committed(state: State, event: OffsetsCommitted, at: At) -> None:
    apply_committed_offsets(state, event.group_id, event.offsets, at, event.expires_age_ms)
    pending_offsets.supersede(
        state, event.group_id, [(offset.topic_id, offset.partition) for offset in event.offsets]
    )


def apply_committed_offsets(
    state: State,
    group_id: str,
    offsets: Iterable[GroupOffset] | Iterable[TransactionOffset],
    at: At,
    expires_age_ms: int = -1,
) -> None:
    """The offsets are the group's committed ones from now on; also for the end of a transaction to call.

    Which of several commits wins is settled before (pending_offsets.py).
    """
    group = ensure_group(state, group_id, at)
    committed = group.offsets
    for offset in offsets:
        place = (offset.topic_id, offset.partition)
        record = internal_topics.offset_changed(state, group, place, committed.get(place), at)
        committed[place] = CommittedOffset(
            offset.offset, offset.leader_epoch, offset.metadata, at.wall_ms, at.age_ms, expires_age_ms, record
        )


def _offsets_were_deleted(state: State, event: OffsetsDeleted, at: At) -> None:
    partitions = [(partition.topic_id, partition.partition) for partition in event.partitions]
    group = state.groups[event.group_id]
    for partition in partitions:
        committed = group.offsets.pop(partition, None)
        if committed is not None:
            internal_topics.offset_deleted(state, group, partition, committed, at)
    pending_offsets.supersede(state, event.group_id, partitions)


def _group_deleted(state: State, event: GroupDeleted, at: At) -> None:
    group = state.groups.pop(event.group_id)
    assert group.is_empty, "only a group without members is deleted"
    internal_topics.group_deleted(state, group, at)
    pending_offsets.supersede_group(state, event.group_id)


DECIDE: dict[type, Callable[[State, Any, Time], tuple[list[Event], Any]]] = {
    StartGeneration: _start_generation,
    StoreAssignment: _store_assignment,
    ReplaceStaticMember: _replace_static_member,
    CommitOffsets: _commit_offsets,
    DeleteOffsets: _delete_offsets,
    DeleteGroup: _delete_group,
    ExpireOffsets: _expire_offsets,
}

EVOLVE: dict[type, Callable[[State, Any, At], None]] = {
    GenerationStarted: _generation_started,
    AssignmentStored: _assignment_stored,
    StaticMemberReplaced: _static_member_replaced,
    OffsetsCommitted: _offsets_committed,
    OffsetsDeleted: _offsets_were_deleted,
    GroupDeleted: _group_deleted,
}
