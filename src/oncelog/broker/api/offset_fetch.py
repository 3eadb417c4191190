"""OffsetFetch (key 9, v1-10): the committed offsets of groups; -1 where there is none.

Versions: v7 on with require_stable (KIP-447), v8 on for several groups, v10 on with topic ids.
Errors per partition: UNSTABLE_OFFSET_COMMIT while a transaction may change the offset and require_stable
is set, UNKNOWN_TOPIC_ID.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.machine import pending_offsets
from oncelog.machine.state import State, Topic
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestTopic,
    OffsetFetchRequestTopics,
    OffsetFetchResponse,
    OffsetFetchResponseGroup,
    OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
)

API = Api(request=OffsetFetchRequest, response=OffsetFetchResponse)

FIRST_VERSION_WITH_GROUPS = 8
FIRST_VERSION_WITH_TOPIC_IDS = 10
NO_TOPIC_ID = bytes(16)


class _Offset(NamedTuple):
    partition: int
    offset: int = -1
    leader_epoch: int = -1
    metadata: str = ""
    error: ErrorCode = ErrorCode.NONE


class _Topic(NamedTuple):
    name: str
    topic_id: bytes
    offsets: list[_Offset]


def handle(context: Context, request: OffsetFetchRequest) -> OffsetFetchResponse:
    """Look the offsets up, for one group or several."""
    state = context.broker.state
    is_stable = request.require_stable
    if context.version < FIRST_VERSION_WITH_GROUPS:
        found = _fetch(state, request.group_id, request.topics, require_stable=is_stable, is_by_id=False)
        return OffsetFetchResponse(topics=[_single_group_topic(topic) for topic in found])
    is_by_id = context.version >= FIRST_VERSION_WITH_TOPIC_IDS
    return OffsetFetchResponse(
        groups=[
            OffsetFetchResponseGroup(
                group_id=group.group_id,
                topics=[
                    _topic(topic)
                    for topic in _fetch(
                        state, group.group_id, group.topics, require_stable=is_stable, is_by_id=is_by_id
                    )
                ],
            )
            for group in {group.group_id: group for group in request.groups}.values()
        ]
    )


def _fetch(
    state: State,
    group_id: str,
    topics: Iterable[OffsetFetchRequestTopic] | Iterable[OffsetFetchRequestTopics] | None,
    *,
    require_stable: bool,
    is_by_id: bool,
) -> Iterator[_Topic]:
    """topics: None for all that the group has committed offsets of.

    Each partition is answered once: a few bytes that ask for it again must not cost its metadata again.
    """
    if topics is None:
        for topic, partitions in _committed(state, group_id):
            offsets = [_look_up(state, group_id, topic, index, require_stable) for index in partitions]
            yield _Topic(topic.name, topic.id, offsets)
        return
    answered: set[tuple[bytes, int]] = set()
    for asked in topics:
        indexes = asked.partition_indexes
        if isinstance(asked, OffsetFetchRequestTopics) and is_by_id:
            topic_id = asked.topic_id
            known = state.shown_topic(topic_id)
            error = ErrorCode.UNKNOWN_TOPIC_ID
        else:
            known = state.shown_topic_named(asked.name)
            topic_id = NO_TOPIC_ID
            error = ErrorCode.NONE
        if known is None:
            yield _Topic(asked.name, topic_id, [_Offset(index, error=error) for index in indexes])
        else:
            once = [index for index in dict.fromkeys(indexes) if (known.id, index) not in answered]
            answered.update((known.id, index) for index in once)
            offsets = [_look_up(state, group_id, known, index, require_stable) for index in once]
            yield _Topic(known.name, known.id, offsets)


def _committed(state: State, group_id: str) -> Iterator[tuple[Topic, list[int]]]:
    """The topics of the group's committed offsets that still exist, with their partitions."""
    group = state.groups.get(group_id)
    partitions: dict[bytes, list[int]] = {}
    for topic_id, index in group.offsets if group is not None else ():
        partitions.setdefault(topic_id, []).append(index)
    for topic_id, indexes in partitions.items():
        topic = state.shown_topic(topic_id)
        if topic is not None:
            yield topic, sorted(indexes)


def _look_up(state: State, group_id: str, topic: Topic, index: int, require_stable: bool) -> _Offset:
    if require_stable and pending_offsets.is_pending(state, group_id, topic.id, index):
        return _Offset(index, error=ErrorCode.UNSTABLE_OFFSET_COMMIT)
    group = state.groups.get(group_id)
    committed = None if group is None else group.offsets.get((topic.id, index))
    if committed is None:
        return _Offset(index)
    return _Offset(index, committed.offset, committed.leader_epoch, committed.metadata)


def _single_group_topic(topic: _Topic) -> OffsetFetchResponseTopic:
    return OffsetFetchResponseTopic(
        name=topic.name,
        partitions=[
            OffsetFetchResponsePartition(
                partition_index=found.partition,
                committed_offset=found.offset,
                committed_leader_epoch=found.leader_epoch,
                metadata=found.metadata,
                error_code=found.error,
            )
            for found in topic.offsets
        ],
    )


def _topic(topic: _Topic) -> OffsetFetchResponseTopics:
    return OffsetFetchResponseTopics(
        name=topic.name,
        topic_id=topic.topic_id,
        partitions=[
            OffsetFetchResponsePartitions(
                partition_index=found.partition,
                committed_offset=found.offset,
                committed_leader_epoch=found.leader_epoch,
                metadata=found.metadata,
                error_code=found.error,
            )
            for found in topic.offsets
        ],
    )
