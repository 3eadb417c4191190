"""TxnOffsetCommit (key 28, v0-5): a group's next offsets, to be committed with the producer's transaction.

From v3 on the sender may name its membership, which is checked (KIP-447); from v5 on the group joins the
transaction by this request (KIP-890).
Errors per partition: UNKNOWN_TOPIC_OR_PARTITION, OFFSET_METADATA_TOO_LARGE; for all alike:
INVALID_GROUP_ID, UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, ILLEGAL_GENERATION, INVALID_PRODUCER_EPOCH,
INVALID_PRODUCER_ID_MAPPING, INVALID_TXN_STATE, TRANSACTION_ABORTABLE, POLICY_VIOLATION for too many
offsets.
"""

from __future__ import annotations

from oncelog.broker.api._offsets import commit
from oncelog.broker.context import Context
from oncelog.broker.overtaken import Kind
from oncelog.broker.refusal_history import refused
from oncelog.broker.registry import Api
from oncelog.machine.commands import OffsetToCommit, TxnOffsetCommit
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.txn_offset_commit import (
    TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
    TxnOffsetCommitResponsePartition,
    TxnOffsetCommitResponseTopic,
)

API = Api(request=TxnOffsetCommitRequest, response=TxnOffsetCommitResponse)

FIRST_VERSION_OF_TRANSACTIONS_V2 = 5


def handle(context: Context, request: TxnOffsetCommitRequest) -> TxnOffsetCommitResponse | None:
    """Add the offsets of the partitions that exist to the transaction."""
    is_first_generation = context.version < FIRST_VERSION_OF_TRANSACTIONS_V2
    producer = (request.producer_id, request.producer_epoch)
    if is_first_generation and context.broker.overtaken.closes(context, Kind.COMMIT_OFFSETS, producer):
        return None

    def execute(offsets: tuple[OffsetToCommit, ...]) -> tuple[ErrorCode, ...]:
        if not request.group_id:
            return (ErrorCode.INVALID_GROUP_ID,) * len(offsets)
        command = TxnOffsetCommit(
            request.transactional_id,
            request.group_id,
            request.producer_id,
            request.producer_epoch,
            request.generation_id_or_member_epoch,
            request.member_id,
            request.group_instance_id,
            context.version,
            offsets,
            context.client_id,
            context.host,
        )
        errors = context.broker.groups.commit_transactional_offsets(command).errors
        if any(errors):
            for error in dict.fromkeys(errors):
                refused(context, API.name, request.transactional_id, producer, error)
        return errors

    rows = commit(context.broker.state, request.topics, execute, is_by_id=False)
    errors = [error for row in rows for error in row]
    if is_first_generation and errors and not any(errors):
        context.broker.overtaken.spoke(context, Kind.COMMIT_OFFSETS, producer)
    return TxnOffsetCommitResponse(
        topics=[
            TxnOffsetCommitResponseTopic(
                name=topic.name,
                partitions=[
                    TxnOffsetCommitResponsePartition(
                        partition_index=partition.partition_index, error_code=error
                    )
                    for partition, error in zip(topic.partitions, errors, strict=True)
                ],
            )
            for topic, errors in zip(request.topics, rows, strict=True)
        ]
    )
