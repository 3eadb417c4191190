"""Outcomes: what a reply says in a word, and which words each command must be seen to be answered with.

A command or an outcome that is never drawn is a hole in the search. Configs and feature levels are not in the
model: they change no answer that it knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from oncelog.machine import commands as c
from oncelog.wire.errors import ErrorCode
from tests.search.drawing import Crash

Outcome = tuple[type, str]

_NAMES = {int(error): error.name for error in ErrorCode}
_PER_PART = {
    c.AddPartitionsToTxn: "partition_errors",
    c.AbortOnPartitions: "partition_errors",
    c.DeleteOffsets: "partition_errors",
    c.TxnOffsetCommit: "errors",
    c.CommitOffsets: "errors",
}


def outcomes(command: Any, reply: Any) -> Iterator[Outcome]:
    """Each part of a request that is answered by itself counts by itself."""
    kind = type(command)
    if kind is c.Produce:
        for one in reply:
            repeats = one.error == 0 and not one.appended
            yield kind, "DUPLICATE" if repeats else _NAMES[one.error]
    elif kind in _PER_PART:
        for error in getattr(reply, _PER_PART[kind]):
            yield kind, _NAMES[error]
    elif kind is Crash:
        yield kind, "NONE"
    else:
        yield kind, _NAMES[reply.error]


def _expected() -> Iterator[Outcome]:
    told: dict[type, str] = {
        Crash: "NONE",
        c.Produce: "NONE DUPLICATE UNKNOWN_TOPIC_ID UNKNOWN_TOPIC_OR_PARTITION INVALID_REQUEST INVALID_RECORD"
        " TRANSACTION_ABORTABLE INVALID_TXN_STATE POLICY_VIOLATION OUT_OF_ORDER_SEQUENCE_NUMBER"
        " DUPLICATE_SEQUENCE_NUMBER INVALID_PRODUCER_EPOCH INVALID_PRODUCER_ID_MAPPING"
        " TRANSACTIONAL_ID_AUTHORIZATION_FAILED NOT_ENOUGH_REPLICAS",
        c.InitProducerId: "NONE INVALID_REQUEST INVALID_TRANSACTION_TIMEOUT PRODUCER_FENCED"
        " COORDINATOR_LOAD_IN_PROGRESS",
        c.AddPartitionsToTxn: "NONE TRANSACTION_ABORTABLE UNKNOWN_TOPIC_OR_PARTITION OPERATION_NOT_ATTEMPTED"
        " INVALID_REQUEST POLICY_VIOLATION INVALID_PRODUCER_ID_MAPPING PRODUCER_FENCED"
        " COORDINATOR_LOAD_IN_PROGRESS",
        c.AddOffsetsToTxn: "NONE INVALID_REQUEST POLICY_VIOLATION INVALID_PRODUCER_ID_MAPPING"
        " PRODUCER_FENCED",
        c.TxnOffsetCommit: "NONE UNKNOWN_TOPIC_ID UNKNOWN_TOPIC_OR_PARTITION OFFSET_METADATA_TOO_LARGE"
        " TRANSACTION_ABORTABLE INVALID_TXN_STATE COORDINATOR_LOAD_IN_PROGRESS ILLEGAL_GENERATION"
        " UNKNOWN_MEMBER_ID GROUP_ID_NOT_FOUND FENCED_INSTANCE_ID INVALID_REQUEST POLICY_VIOLATION"
        " INVALID_PRODUCER_EPOCH INVALID_PRODUCER_ID_MAPPING",
        c.EndTxn: "NONE INVALID_REQUEST INVALID_TXN_STATE INVALID_PRODUCER_ID_MAPPING PRODUCER_FENCED",
        c.AbortTimedOutTransaction: "NONE INVALID_TXN_STATE INVALID_PRODUCER_ID_MAPPING PRODUCER_FENCED",
        c.AbortOnPartitions: "NONE UNKNOWN_TOPIC_OR_PARTITION INVALID_PRODUCER_EPOCH",
        c.ExpireTransactionalId: "NONE INVALID_TXN_STATE INVALID_PRODUCER_ID_MAPPING PRODUCER_FENCED",
        c.ExpireProducers: "NONE UNKNOWN_TOPIC_OR_PARTITION",
        c.CreateTopic: "NONE TOPIC_ALREADY_EXISTS INVALID_PARTITIONS POLICY_VIOLATION",
        c.DeleteTopic: "NONE UNKNOWN_TOPIC_ID",
        c.CreatePartitions: "NONE UNKNOWN_TOPIC_OR_PARTITION INVALID_PARTITIONS POLICY_VIOLATION",
        c.StartGeneration: "NONE COORDINATOR_LOAD_IN_PROGRESS ILLEGAL_GENERATION GROUP_MAX_SIZE_REACHED",
        c.StoreAssignment: "NONE ILLEGAL_GENERATION REBALANCE_IN_PROGRESS",
        c.ReplaceStaticMember: "NONE ILLEGAL_GENERATION UNKNOWN_MEMBER_ID FENCED_INSTANCE_ID",
        c.CommitOffsets: "NONE OFFSET_METADATA_TOO_LARGE COORDINATOR_LOAD_IN_PROGRESS ILLEGAL_GENERATION"
        " UNKNOWN_MEMBER_ID REBALANCE_IN_PROGRESS GROUP_ID_NOT_FOUND FENCED_INSTANCE_ID",
        c.DeleteOffsets: "NONE NON_EMPTY_GROUP GROUP_ID_NOT_FOUND GROUP_SUBSCRIBED_TO_TOPIC",
        c.DeleteGroup: "NONE NON_EMPTY_GROUP GROUP_ID_NOT_FOUND",
        c.ExpireOffsets: "NONE GROUP_ID_NOT_FOUND",
    }
    for kind, words in told.items():
        for word in words.split():
            yield kind, word


EXPECTED = tuple(_expected())
NOT_DRAWN = frozenset({c.AlterTopicConfigs, c.AlterBrokerConfigs, c.UpdateFeatures})
"""What decide knows and the search leaves out."""
