"""Fetch (key 1, v4-18): read record batches, waiting until there are enough of them.

Reads the published view only; read_committed stops at the last stable offset and lists the aborted
transactions of the range. Sessions (KIP-227, v7 and later) keep what a client asks for; v13 and later name
topics by id. There are no followers here: a replica id is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

from oncelog.broker.context import Context
from oncelog.broker.fetch_sessions import FetchSession, PartitionFetch, PartitionKey
from oncelog.broker.fetching import READ_COMMITTED, Fetch, FetchedPartition
from oncelog.broker.registry import Api
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.fetch import (
    AbortedTransaction,
    FetchableTopicResponse,
    FetchRequest,
    FetchResponse,
    PartitionData,
)

API = Api(request=FetchRequest, response=FetchResponse, waits=True)

SESSIONLESS_EPOCH = -1
NEW_SESSION_EPOCH = 0

Respond = Callable[..., None]


def handle(context: Context, request: FetchRequest, respond: Respond) -> None:
    """Find the session that the request speaks of, then fetch its partitions."""
    if request.replica_id >= 0 or request.replica_state.replica_id >= 0:
        respond(FetchResponse(error_code=ErrorCode.CLUSTER_AUTHORIZATION_FAILED, responses=[]))
        return
    by_id = context.version >= 13
    sessions = context.broker.fetch_sessions
    now_s = context.broker.engine.age_ms() / 1000
    named = _wanted(request, by_id)
    session: FetchSession | None = None
    is_incremental = False
    if context.version >= 7 and request.session_epoch not in (SESSIONLESS_EPOCH, NEW_SESSION_EPOCH):
        session = sessions.get(request.session_id)
        error = _session_error(session, request.session_epoch, by_id)
        if error or session is None:
            respond(FetchResponse(error_code=error, responses=[]))
            return
        session.forget(_forgotten(request, by_id))
        if not sessions.update(session, named.values()):
            respond(FetchResponse(error_code=ErrorCode.FETCH_SESSION_ID_NOT_FOUND, responses=[]))
            return
        session.advance(now_s)
        if not session.partitions:
            sessions.close(session.id)
            respond(FetchResponse(responses=[]))
            return
        is_incremental = True
    elif context.version >= 7:
        if request.session_id:
            sessions.close(request.session_id)
        if request.session_epoch == NEW_SESSION_EPOCH and named:
            session = sessions.open(by_id, now_s)
            if session is not None and not sessions.update(session, named.values()):
                session = None
    wanted = list(session.partitions.values()) if session is not None else list(named.values())
    lists_aborted = request.isolation_level == READ_COMMITTED

    def done(results: list[FetchedPartition], position: int) -> None:
        shown = _shown_in_session(session, results, is_incremental) if session is not None else results
        response = FetchResponse(
            session_id=session.id if session is not None else 0,
            responses=_topics(shown, by_id, lists_aborted),
        )
        respond(response, position)

    fetch = Fetch(
        context.broker,
        wanted,
        isolation_level=request.isolation_level,
        min_bytes=request.min_bytes,
        max_bytes=request.max_bytes,
        max_wait_ms=request.max_wait_ms,
        done=done,
        failed=context.connection.fault,
    )
    context.connection.on_close = fetch.cancel
    fetch.start()


def _session_error(session: FetchSession | None, epoch: int, by_id: bool) -> int:
    if session is None:
        return ErrorCode.FETCH_SESSION_ID_NOT_FOUND
    if session.uses_topic_ids != by_id:
        return ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR
    if session.epoch != epoch:
        return ErrorCode.INVALID_FETCH_SESSION_EPOCH
    return ErrorCode.NONE


def _wanted(request: FetchRequest, by_id: bool) -> dict[PartitionKey, PartitionFetch]:
    wanted: dict[PartitionKey, PartitionFetch] = {}
    for topic in request.topics:
        name_or_id: bytes | str = topic.topic_id if by_id else topic.topic
        for partition in topic.partitions:
            entry = PartitionFetch((name_or_id, partition.partition))
            entry.fetch_offset = partition.fetch_offset
            entry.partition_max_bytes = partition.partition_max_bytes
            entry.current_leader_epoch = partition.current_leader_epoch
            entry.last_fetched_epoch = partition.last_fetched_epoch
            wanted[entry.key] = entry
    return wanted


def _forgotten(request: FetchRequest, by_id: bool) -> list[PartitionKey]:
    return [
        (topic.topic_id if by_id else topic.topic, index)
        for topic in request.forgotten_topics_data
        for index in topic.partitions
    ]


def _shown_in_session(
    session: FetchSession, results: list[FetchedPartition], is_incremental: bool
) -> list[FetchedPartition]:
    """What an incremental answer holds: records, errors and moved watermarks; a full one holds everything."""
    shown = []
    for result in results:
        wanted = result.wanted
        is_news = (
            bool(result.records)
            or result.error
            or result.high_watermark != wanted.shown_high_watermark
            or result.log_start_offset != wanted.shown_log_start_offset
        )
        wanted.shown_high_watermark = result.high_watermark
        wanted.shown_log_start_offset = result.log_start_offset
        if is_news or not is_incremental:
            shown.append(result)
        if result.records:
            session.move_to_end(wanted.key)
    return shown


def _topics(
    results: list[FetchedPartition], by_id: bool, lists_aborted: bool
) -> list[FetchableTopicResponse]:
    topics = []
    for name_or_id, partitions in groupby(results, key=_name_or_id):
        data = [_partition_data(result, lists_aborted) for result in partitions]
        names: dict[str, Any] = {"topic_id": name_or_id} if by_id else {"topic": name_or_id}
        topics.append(FetchableTopicResponse(**names, partitions=data))
    return topics


def _name_or_id(result: FetchedPartition) -> bytes | str:
    return result.wanted.key[0]


def _partition_data(result: FetchedPartition, lists_aborted: bool) -> PartitionData:
    aborted = None
    if lists_aborted and not result.error:
        aborted = [
            AbortedTransaction(producer_id=producer_id, first_offset=first_offset)
            for producer_id, first_offset in result.aborted or ()
        ]
    return PartitionData(
        partition_index=result.wanted.key[1],
        error_code=result.error,
        high_watermark=result.high_watermark,
        last_stable_offset=result.last_stable_offset,
        log_start_offset=result.log_start_offset,
        aborted_transactions=aborted,
        preferred_read_replica=-1,
        records=result.records,
    )
