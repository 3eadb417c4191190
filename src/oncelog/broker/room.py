"""Which commands need how much of the journal to stay free, and what those that find less are told.

Three tiers, so that requests alone never fill a journal: what makes the log grow stops first, requests that
end things next, the broker's own ends last. Knows commands and their replies, not how much is left.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any

from oncelog.machine.commands import (
    AbortOnPartitions,
    AbortOnPartitionsReply,
    AbortTimedOutTransaction,
    AddOffsetsToTxn,
    AddOffsetsToTxnReply,
    AddPartitionsToTxn,
    AddPartitionsToTxnReply,
    AdminReply,
    AlterBrokerConfigs,
    AlterTopicConfigs,
    CommitOffsets,
    CommitOffsetsReply,
    CreatePartitions,
    CreateTopic,
    CreateTopicReply,
    DeleteGroup,
    DeleteOffsets,
    DeleteOffsetsReply,
    DeleteTopic,
    EndTxn,
    EndTxnReply,
    ExpireOffsets,
    ExpireProducers,
    ExpireTransactionalId,
    GroupReply,
    HousekeepingReply,
    InitProducerId,
    InitProducerIdReply,
    Produce,
    ProduceResult,
    ReplaceStaticMember,
    StartGeneration,
    StoreAssignment,
    TxnOffsetCommit,
    TxnOffsetCommitReply,
    UpdateFeatures,
)
from oncelog.wire.errors import ErrorCode

RETRIED = ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
"""Upon it clients ask a coordinator again by themselves, and nothing has happened."""
MESSAGE = "the broker's disk, or its memory, is nearly full"


class Tier(IntEnum):
    """What a command may use up, from the least."""

    GROWS = 0
    ENDS = 1
    OWN = 2


ENDS = {EndTxn, AbortOnPartitions, DeleteTopic, DeleteOffsets, DeleteGroup}
OWN = {AbortTimedOutTransaction, ExpireTransactionalId, ExpireProducers, ExpireOffsets}


def tier_of(command: Any) -> Tier:
    """A group that nobody is left in ends, too."""
    kind = type(command)
    if kind in OWN or (kind is StartGeneration and not command.members):
        return Tier.OWN
    return Tier.ENDS if kind in ENDS else Tier.GROWS


def _admin(_: Any) -> AdminReply:
    return AdminReply(ErrorCode.POLICY_VIOLATION, f"{MESSAGE}; nothing was changed")


def _group(_: Any) -> GroupReply:
    return GroupReply(RETRIED)


def _own(_: Any) -> HousekeepingReply:
    return HousekeepingReply(RETRIED)


REFUSALS: dict[type, Callable[[Any], Any]] = {
    Produce: lambda command: (
        (ProduceResult(ErrorCode.NOT_ENOUGH_REPLICAS, -1, -1, -1, False, MESSAGE),) * len(command.batches)
    ),
    InitProducerId: lambda _: InitProducerIdReply(RETRIED),
    AddPartitionsToTxn: lambda command: AddPartitionsToTxnReply(
        RETRIED, (RETRIED,) * len(command.partitions)
    ),
    AddOffsetsToTxn: lambda _: AddOffsetsToTxnReply(RETRIED),
    TxnOffsetCommit: lambda command: TxnOffsetCommitReply((RETRIED,) * len(command.offsets)),
    CommitOffsets: lambda command: CommitOffsetsReply((RETRIED,) * len(command.offsets)),
    EndTxn: lambda _: EndTxnReply(RETRIED),
    AbortOnPartitions: lambda command: AbortOnPartitionsReply((RETRIED,) * len(command.partitions)),
    CreateTopic: lambda _: CreateTopicReply(ErrorCode.POLICY_VIOLATION, f"{MESSAGE}; nothing was created"),
    CreatePartitions: _admin,
    AlterTopicConfigs: _admin,
    AlterBrokerConfigs: _admin,
    UpdateFeatures: _admin,
    DeleteTopic: _admin,
    DeleteOffsets: lambda command: DeleteOffsetsReply(RETRIED, (RETRIED,) * len(command.partitions)),
    DeleteGroup: _group,
    StartGeneration: _group,
    StoreAssignment: _group,
    ReplaceStaticMember: _group,
    AbortTimedOutTransaction: _own,
    ExpireTransactionalId: _own,
    ExpireProducers: _own,
    ExpireOffsets: _own,
}


def refusal_of(command: Any) -> Any:
    """The reply of a command that there is no room for; nothing has changed."""
    return REFUSALS[type(command)](command)
