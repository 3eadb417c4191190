"""Transactions: decide and evolve of transactional ids, their producers and their transactions.

Which state follows which stands in transaction_table.py. Source: TransactionCoordinator.scala, KIP-98,
KIP-360, KIP-447, KIP-588, KIP-890. A transaction ends in one event, which evolve applies to all its
partitions and groups at once (law 5). It must not know sequences, or how a group checks its members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from oncelog.machine import groups, internal_topics, pending_offsets, producer_window
from oncelog.machine.commands import (
    AbortOnPartitions,
    AbortOnPartitionsReply,
    AbortTimedOutTransaction,
    AddOffsetsToTxn,
    AddOffsetsToTxnReply,
    AddPartitionsToTxn,
    AddPartitionsToTxnReply,
    EndTxn,
    EndTxnReply,
    ExpireTransactionalId,
    HousekeepingReply,
    InitProducerId,
    InitProducerIdReply,
    OffsetToCommit,
    TxnOffsetCommit,
    TxnOffsetCommitReply,
)
from oncelog.machine.events import (
    EndReason,
    GroupOffsets,
    ProducerIdAssigned,
    TransactionalIdExpired,
    TransactionalIdInitialized,
    TransactionEnded,
    TransactionGroupAdded,
    TransactionMarker,
    TransactionOffset,
    TransactionOffsetsAdded,
    TransactionPartition,
    TransactionPartitionsAdded,
)
from oncelog.machine.moment import At, Time
from oncelog.machine.state import NOTHING, State, TopicPartition, TransactionalId, TransactionState
from oncelog.machine.transaction_table import Ending, Outcome, Trigger, outcome
from oncelog.wire.definition import Event
from oncelog.wire.errors import ErrorCode

MARKER_SIZE_BYTES = 78
FIRST_COMMIT_TOLD_ABORTABLE = 4
FIRST_COMMIT_ADDING_GROUP = 5
FIRST_COMMIT_WITH_TOPIC_IDS = 6

# A member of an enumeration costs four times as much where it is looked up at each use.
_ONGOING = TransactionState.ONGOING
_COMPLETE_COMMIT = TransactionState.COMPLETE_COMMIT
_COMPLETE_ABORT = TransactionState.COMPLETE_ABORT
_BY_COORDINATOR = frozenset((EndReason.TIMEOUT, EndReason.ADMIN))


# --- InitProducerId ---


def decide_init_producer_id(
    state: State,
    command: InitProducerId,
    time: Time,  # noqa: ARG001
) -> tuple[list[Event], InitProducerIdReply]:
    """A producer id and epoch; where a transaction is open, it is aborted in the same decision.

    What the sender expects is checked first: a stale sender is refused and aborts nothing.
    """
    if (command.producer_id == -1) != (command.producer_epoch == -1):
        return [], InitProducerIdReply(ErrorCode.INVALID_REQUEST)
    name = command.transactional_id
    if name is None:
        if state.producers_room() <= 0:
            return [], InitProducerIdReply(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
        return _assign_producer_id(state, command)
    if name == "":
        return [], InitProducerIdReply(ErrorCode.INVALID_REQUEST)
    if not 0 < command.timeout_ms <= state.limits.transaction_max_timeout_ms:
        return [], InitProducerIdReply(ErrorCode.INVALID_TRANSACTION_TIMEOUT)
    transaction = state.transactions.get(name)
    if transaction is None:
        if len(state.transactions) >= state.limits.transactional_ids_max or state.producers_room() <= 0:
            return [], InitProducerIdReply(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
        return _initialized([], command, name, state.next_producer_id, 0, -1, -1)
    trigger = _initialize_trigger(transaction, command)
    if trigger is None:
        return [], InitProducerIdReply(ErrorCode.PRODUCER_FENCED)
    follows = outcome(transaction.state, trigger)
    if follows.error is not ErrorCode.NONE:
        return [], InitProducerIdReply(follows.error)
    if trigger is Trigger.INITIALIZE_AGAIN:
        return _initialize_again(command, transaction)
    events: list[Event] = []
    if follows.ending is not None:
        events.append(_end_for_newer_producer(state, transaction, command))
    producer_id, epoch = _moved_on(state, transaction, follows.epochs)
    previous = transaction.previous_producer_id
    if producer_id != transaction.producer_id:
        previous = transaction.producer_id
    return _initialized(events, command, name, producer_id, epoch, previous, command.producer_epoch)


def _assign_producer_id(state: State, command: InitProducerId) -> tuple[list[Event], InitProducerIdReply]:
    producer_id = state.next_producer_id
    event = ProducerIdAssigned(producer_id=producer_id, client_id=command.client_id, host=command.host)
    return [event], InitProducerIdReply(ErrorCode.NONE, producer_id, 0)


def _initialize_trigger(transaction: TransactionalId, command: InitProducerId) -> Trigger | None:
    """Whether this is a new call or a retry of the one whose answer was lost; None: a stale one."""
    if command.producer_id == -1:
        return Trigger.INITIALIZE
    if command.producer_id == transaction.producer_id:
        if command.producer_epoch == transaction.producer_epoch:
            return Trigger.INITIALIZE
        is_retry = transaction.last_epoch == command.producer_epoch < transaction.producer_epoch
    else:
        # The lost answer gave a new producer id, at epoch 0.
        is_retry = (
            command.producer_id == transaction.previous_producer_id
            and command.producer_epoch == transaction.last_epoch
            and transaction.producer_epoch == 0
        )
    return Trigger.INITIALIZE_AGAIN if is_retry else None


def _initialize_again(
    command: InitProducerId, transaction: TransactionalId
) -> tuple[list[Event], InitProducerIdReply]:
    reply = InitProducerIdReply(ErrorCode.NONE, transaction.producer_id, transaction.producer_epoch)
    if transaction.state is TransactionState.EMPTY and transaction.timeout_ms == command.timeout_ms:
        return [], reply
    return _initialized(
        [],
        command,
        transaction.name,
        transaction.producer_id,
        transaction.producer_epoch,
        transaction.previous_producer_id,
        transaction.last_epoch,
    )


def _initialized(
    events: list[Event],
    command: InitProducerId,
    name: str,
    producer_id: int,
    producer_epoch: int,
    previous_producer_id: int,
    last_epoch: int,
) -> tuple[list[Event], InitProducerIdReply]:
    event = TransactionalIdInitialized(
        transactional_id=name,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        previous_producer_id=previous_producer_id,
        last_epoch=last_epoch,
        timeout_ms=command.timeout_ms,
        client_id=command.client_id,
        host=command.host,
    )
    return [*events, event], InitProducerIdReply(ErrorCode.NONE, producer_id, producer_epoch)


def _end_for_newer_producer(
    state: State, transaction: TransactionalId, command: InitProducerId
) -> TransactionEnded:
    """Abort under an epoch that fences the old producer, and that nobody is given, be it the last one."""
    marker_epoch = transaction.producer_epoch + 1
    return _ended(
        state,
        transaction,
        Ending.ABORT,
        EndReason.NEWER_PRODUCER,
        marker_epoch,
        (transaction.producer_id, marker_epoch),
        command.client_id,
        command.host,
    )


def _moved_on(state: State, transaction: TransactionalId, epochs: int) -> tuple[int, int]:
    """The producer so many epochs on: past the largest epoch, a new producer id and epoch 0."""
    epoch = transaction.producer_epoch + epochs
    if epoch > state.limits.producer_epoch_max:
        return state.next_producer_id, 0
    return transaction.producer_id, epoch


# --- what joins a transaction ---


def check_producer(
    state: State, transactional_id: str, producer_id: int, producer_epoch: int
) -> tuple[TransactionalId | None, ErrorCode]:
    """The transactional id that this producer speaks for, or the error that it is told."""
    if not transactional_id:
        return None, ErrorCode.INVALID_REQUEST
    transaction = state.transactions.get(transactional_id)
    if transaction is None or transaction.producer_id != producer_id:
        return None, ErrorCode.INVALID_PRODUCER_ID_MAPPING
    if transaction.producer_epoch != producer_epoch:
        return None, ErrorCode.PRODUCER_FENCED
    return transaction, ErrorCode.NONE


def decide_add_partitions(
    state: State,
    command: AddPartitionsToTxn,
    time: Time,  # noqa: ARG001
) -> tuple[list[Event], AddPartitionsToTxnReply]:
    """All of them or none; one that doesn't exist keeps the others out (KIP-98)."""
    partitions = command.partitions
    exists = [state.partition(topic_id, index) is not None for topic_id, index in partitions]
    if not all(exists):
        errors = tuple(
            ErrorCode.OPERATION_NOT_ATTEMPTED if found else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
            for found in exists
        )
        return [], AddPartitionsToTxnReply(ErrorCode.NONE, errors)
    transaction, error = check_producer(
        state, command.transactional_id, command.producer_id, command.producer_epoch
    )
    if transaction is None:
        return [], _for_all(partitions, error)
    if command.verify_only:
        return [], _verified(transaction, partitions)
    added = [partition for partition in dict.fromkeys(partitions) if partition not in transaction.partitions]
    if len(transaction.partitions) + len(added) > state.limits.transaction_partitions_max:
        return [], _for_all(partitions, ErrorCode.POLICY_VIOLATION)
    new = [partition for partition in added if not _is_remembered(state, command.producer_id, partition)]
    if new and len(new) > state.producers_room():
        return [], _for_all(partitions, ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
    assert outcome(transaction.state, Trigger.ADD).changes
    if not added and transaction.state is TransactionState.ONGOING:
        return [], _for_all(partitions, ErrorCode.NONE)
    event = TransactionPartitionsAdded(
        transactional_id=transaction.name,
        producer_id=transaction.producer_id,
        producer_epoch=transaction.producer_epoch,
        partitions=[TransactionPartition(topic_id=topic_id, partition=index) for topic_id, index in added],
    )
    return [event], _for_all(partitions, ErrorCode.NONE)


def _is_remembered(state: State, producer_id: int, partition: TopicPartition) -> bool:
    topic_id, index = partition
    return producer_id in state.topics[topic_id].partitions[index].producers


def _for_all(partitions: tuple[tuple[bytes, int], ...], error: ErrorCode) -> AddPartitionsToTxnReply:
    return AddPartitionsToTxnReply(error, (error,) * len(partitions))


def _verified(
    transaction: TransactionalId, partitions: tuple[tuple[bytes, int], ...]
) -> AddPartitionsToTxnReply:
    """Which of them the open transaction covers; without one it covers nothing."""
    errors = tuple(
        ErrorCode.NONE if partition in transaction.partitions else ErrorCode.TRANSACTION_ABORTABLE
        for partition in partitions
    )
    return AddPartitionsToTxnReply(ErrorCode.NONE, errors)


def decide_add_offsets(
    state: State,
    command: AddOffsetsToTxn,
    time: Time,  # noqa: ARG001
) -> tuple[list[Event], AddOffsetsToTxnReply]:
    transaction, error = check_producer(
        state, command.transactional_id, command.producer_id, command.producer_epoch
    )
    if transaction is None:
        return [], AddOffsetsToTxnReply(error)
    if command.group_id in transaction.groups:
        return [], AddOffsetsToTxnReply(ErrorCode.NONE)
    if not _is_room_for_group(state, transaction, command.group_id):
        return [], AddOffsetsToTxnReply(ErrorCode.POLICY_VIOLATION)
    assert outcome(transaction.state, Trigger.ADD).changes
    event = TransactionGroupAdded(
        transactional_id=transaction.name,
        producer_id=transaction.producer_id,
        producer_epoch=transaction.producer_epoch,
        group_id=command.group_id,
    )
    return [event], AddOffsetsToTxnReply(ErrorCode.NONE)


def decide_txn_offset_commit(
    state: State,
    command: TxnOffsetCommit,
    time: Time,  # noqa: ARG001
) -> tuple[list[Event], TxnOffsetCommitReply]:
    """Each offset by itself, in Kafka's order: its partition, the transaction, the group, its metadata."""
    transaction, error = _offsets_transaction(state, command)
    if transaction is not None:
        error = groups.check_commit(state, command)
    errors = tuple(_offset_error(state, command, offset, error) for offset in command.offsets)
    if transaction is None:
        return [], TxnOffsetCommitReply(errors)
    accepted = [
        TransactionOffset(
            topic_id=offset.topic_id,
            partition=offset.partition,
            offset=offset.offset,
            leader_epoch=offset.leader_epoch,
            metadata=offset.metadata or "",
        )
        for offset, error in zip(command.offsets, errors, strict=True)
        if error is ErrorCode.NONE
    ]
    if not accepted:
        return [], TxnOffsetCommitReply(errors)
    if not _is_room_for(state, transaction, command.group_id, accepted):
        return [], TxnOffsetCommitReply(tuple(error or ErrorCode.POLICY_VIOLATION for error in errors))
    event = TransactionOffsetsAdded(
        transactional_id=transaction.name,
        producer_id=transaction.producer_id,
        producer_epoch=transaction.producer_epoch,
        group_id=command.group_id,
        offsets=accepted,
    )
    return [event], TxnOffsetCommitReply(errors)


def _offsets_transaction(state: State, command: TxnOffsetCommit) -> tuple[TransactionalId | None, ErrorCode]:
    """The transaction of the offsets; from version 5 on they let their group join it (KIP-890)."""
    transaction, error = check_producer(
        state, command.transactional_id, command.producer_id, command.producer_epoch
    )
    if error is ErrorCode.PRODUCER_FENCED:
        # The group coordinator has no other word for it (GroupCoordinatorService).
        return None, ErrorCode.INVALID_PRODUCER_EPOCH
    if transaction is None:
        return None, error
    if command.group_id in transaction.groups or command.version >= FIRST_COMMIT_ADDING_GROUP:
        return transaction, ErrorCode.NONE
    if command.version >= FIRST_COMMIT_TOLD_ABORTABLE:
        return None, ErrorCode.TRANSACTION_ABORTABLE
    return None, ErrorCode.INVALID_TXN_STATE


def _is_room_for_group(state: State, transaction: TransactionalId, group_id: str) -> bool:
    return group_id in transaction.groups or len(transaction.groups) < state.limits.transaction_partitions_max


def _is_room_for(
    state: State, transaction: TransactionalId, group_id: str, accepted: list[TransactionOffset]
) -> bool:
    """Whether the transaction's end stays an event of bounded size: its groups, and their offsets together.

    An offset that is sent again takes its forerunner's place.
    """
    if not _is_room_for_group(state, transaction, group_id):
        return False
    of_group = transaction.offsets.get(group_id, {})
    added = {(offset.topic_id, offset.partition): len(offset.metadata) for offset in accepted}
    replaced = [of_group[place] for place in added if place in of_group]
    held = sum(len(offsets) for offsets in transaction.offsets.values())
    characters = transaction.metadata_characters + sum(added.values())
    return (
        held + len(added) - len(replaced) <= state.limits.transaction_offsets_max
        and characters - sum(len(offset.metadata) for offset in replaced)
        <= state.limits.transaction_metadata_characters_max
    )


def _offset_error(
    state: State, command: TxnOffsetCommit, offset: OffsetToCommit, shared: ErrorCode
) -> ErrorCode:
    """shared: what is wrong with all of them that name a partition which exists, or NONE."""
    if state.shown_partition(offset.topic_id, offset.partition) is None:
        if command.version >= FIRST_COMMIT_WITH_TOPIC_IDS and state.shown_topic(offset.topic_id) is None:
            return ErrorCode.UNKNOWN_TOPIC_ID
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    return shared or groups.check_offset(state, offset)


# --- how a transaction ends ---


def decide_end_txn(
    state: State,
    command: EndTxn,
    time: Time,  # noqa: ARG001
) -> tuple[list[Event], EndTxnReply]:
    """Commit or abort, by the rules of the request's generation: its version alone selects them."""
    if not command.transactional_id:
        return [], EndTxnReply(ErrorCode.INVALID_REQUEST)
    transaction = state.transactions.get(command.transactional_id)
    if transaction is None:
        return [], EndTxnReply(ErrorCode.INVALID_PRODUCER_ID_MAPPING)
    if command.transactions_v2:
        trigger, error = _end_trigger_v2(state, transaction, command)
    else:
        trigger, error = _end_trigger(transaction, command)
    if trigger is None:
        return [], EndTxnReply(error)
    follows = outcome(transaction.state, trigger)
    if follows.error is not ErrorCode.NONE:
        return [], EndTxnReply(follows.error)
    if follows.ending is None:
        return [], EndTxnReply(ErrorCode.NONE, transaction.producer_id, transaction.producer_epoch)
    event = _ended_as_follows(state, transaction, follows, EndReason.CLIENT, command.client_id, command.host)
    return [event], EndTxnReply(ErrorCode.NONE, event.next_producer_id, event.next_producer_epoch)


def _end_trigger(transaction: TransactionalId, command: EndTxn) -> tuple[Trigger | None, ErrorCode]:
    """First generation: successive transactions share an epoch."""
    if transaction.producer_id != command.producer_id:
        return None, ErrorCode.INVALID_PRODUCER_ID_MAPPING
    if transaction.producer_epoch != command.producer_epoch:
        return None, ErrorCode.PRODUCER_FENCED
    return (Trigger.COMMIT if command.commit else Trigger.ABORT), ErrorCode.NONE


def _end_trigger_v2(
    state: State, transaction: TransactionalId, command: EndTxn
) -> tuple[Trigger | None, ErrorCode]:
    """Second generation: each end moves the epoch on, so a retry is known by holding the epoch before.

    Who held the epoch before and was not given the current one was fenced, whatever its successor has ended
    since under the current one, as one of the first generation does.
    """
    is_rotated = (
        command.producer_id == transaction.previous_producer_id
        and command.producer_epoch == state.limits.producer_epoch_max
        and transaction.producer_epoch == 0
    )
    if command.producer_id != transaction.producer_id and not is_rotated:
        return None, ErrorCode.INVALID_PRODUCER_ID_MAPPING
    if is_rotated or command.producer_epoch + 1 == transaction.producer_epoch:
        if transaction.last_epoch != command.producer_epoch:
            return None, ErrorCode.PRODUCER_FENCED
        if not command.commit:
            return Trigger.ABORT_V2_AGAIN, ErrorCode.NONE
        is_late = transaction.ended_by_coordinator
        return (Trigger.COMMIT_V2_LATE if is_late else Trigger.COMMIT_V2_AGAIN), ErrorCode.NONE
    if command.producer_epoch != transaction.producer_epoch:
        return None, ErrorCode.PRODUCER_FENCED
    return (Trigger.COMMIT_V2 if command.commit else Trigger.ABORT_V2), ErrorCode.NONE


def _ended_as_follows(
    state: State,
    transaction: TransactionalId,
    follows: Outcome,
    reason: EndReason,
    client_id: str | None,
    host: str,
) -> TransactionEnded:
    """The end that a row of the table asks for; its markers carry the epoch that the producer moves on to."""
    assert follows.ending is not None, "the table ends the transaction here"
    return _ended(
        state,
        transaction,
        follows.ending,
        reason,
        transaction.producer_epoch + follows.epochs,
        _moved_on(state, transaction, follows.epochs),
        client_id,
        host,
    )


def _ended(
    state: State,
    transaction: TransactionalId,
    ending: Ending,
    reason: EndReason,
    marker_epoch: int,
    following: tuple[int, int],
    client_id: str | None,
    host: str,
) -> TransactionEnded:
    """The one event: a marker in each partition, also where nothing was written, as Kafka has it."""
    markers = []
    for topic_id, index in sorted(transaction.partitions):
        partition = state.partition(topic_id, index)
        if partition is not None:
            markers.append(
                TransactionMarker(topic_id=topic_id, partition=index, offset=partition.log_end_offset)
            )
    return TransactionEnded(
        transactional_id=transaction.name,
        producer_id=transaction.producer_id,
        producer_epoch=transaction.producer_epoch,
        committed=ending is Ending.COMMIT,
        reason=reason,
        marker_epoch=marker_epoch,
        next_producer_id=following[0],
        next_producer_epoch=following[1],
        markers=markers,
        offsets=_offsets_to_commit(state, transaction) if ending is Ending.COMMIT else [],
        client_id=client_id,
        host=host,
    )


def _offsets_to_commit(state: State, transaction: TransactionalId) -> list[GroupOffsets]:
    """Its pending offsets, less those of partitions that were deleted meanwhile."""
    committed = []
    for group_id, pending in sorted(transaction.offsets.items()):
        offsets = [
            TransactionOffset(
                topic_id=topic_id,
                partition=index,
                offset=offset.offset,
                leader_epoch=offset.leader_epoch,
                metadata=offset.metadata,
            )
            for (topic_id, index), offset in sorted(pending.items())
            if state.shown_partition(topic_id, index) is not None
        ]
        if offsets:
            committed.append(GroupOffsets(group_id=group_id, offsets=offsets))
    return committed


def decide_abort_on_partitions(
    state: State,
    command: AbortOnPartitions,
    time: Time,  # noqa: ARG001
) -> tuple[list[Event], AbortOnPartitionsReply]:
    """Abort the transaction if it covers one of the partitions: as a whole, and with its producer fenced.

    Kafka ends it in the named partition alone, and its producer may still commit the rest (KIP-664).
    """
    owner = state.producer_owners.get(command.producer_id)
    transaction = None if owner is None else state.transactions[owner]
    errors = tuple(
        _marker_error(state, transaction, command, topic_id, index) for topic_id, index in command.partitions
    )
    is_covered = any(
        error is ErrorCode.NONE and _covers(transaction, command.producer_id, partition)
        for error, partition in zip(errors, command.partitions, strict=True)
    )
    if transaction is None or not is_covered:
        return [], AbortOnPartitionsReply(errors)
    follows = outcome(transaction.state, Trigger.ADMIN_ABORT)
    event = _ended_as_follows(state, transaction, follows, EndReason.ADMIN, command.client_id, command.host)
    return [event], AbortOnPartitionsReply(errors)


def _covers(transaction: TransactionalId | None, producer_id: int, partition: tuple[bytes, int]) -> bool:
    return (
        transaction is not None
        and transaction.producer_id == producer_id
        and partition in transaction.partitions
    )


def _marker_error(
    state: State, transaction: TransactionalId | None, command: AbortOnPartitions, topic_id: bytes, index: int
) -> ErrorCode:
    """What Kafka's partition says of such a marker, but that an epoch from the future is refused, too."""
    partition = state.partition(topic_id, index)
    if partition is None:
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    if transaction is not None and _covers(transaction, command.producer_id, (topic_id, index)):
        is_its = command.producer_epoch == transaction.producer_epoch + command.transactions_v2
        return ErrorCode.NONE if is_its else ErrorCode.INVALID_PRODUCER_EPOCH
    if transaction is not None and _is_aborted_already(transaction, command):
        return ErrorCode.NONE
    window = partition.producers.get(command.producer_id)
    if window is not None and producer_window.epoch_of(window) > command.producer_epoch:
        return ErrorCode.INVALID_PRODUCER_EPOCH
    return ErrorCode.NONE


def _is_aborted_already(transaction: TransactionalId, command: AbortOnPartitions) -> bool:
    """Whether this asks again, for the same partition or another one, for what has been done."""
    holder = transaction.producer_id if transaction.producer_epoch else transaction.previous_producer_id
    return (
        transaction.state is TransactionState.COMPLETE_ABORT
        and transaction.ended_by_coordinator
        and (command.producer_id, command.producer_epoch) == (holder, transaction.last_epoch)
    )


# --- timeouts and expiry ---


def deadline_age_ms(transaction: TransactionalId) -> int:
    """The age at which the open transaction times out; the clock starts with the first partition or group."""
    return transaction.started_age_ms + transaction.timeout_ms


def timed_out(state: State, age_ms: int, limit: int = 1000) -> list[AbortTimedOutTransaction]:
    """The commands that abort what is past its deadline, earliest first, at most `limit` of them."""
    late = list(_late(state, age_ms))
    late.sort(key=lambda transaction: (deadline_age_ms(transaction), transaction.name))
    return [
        AbortTimedOutTransaction(transaction.name, transaction.producer_id, transaction.producer_epoch)
        for transaction in late[:limit]
    ]


def _late(state: State, age_ms: int) -> Iterator[TransactionalId]:
    for timeout_ms, transactions in state.ongoing.items():
        for transaction in transactions.values():
            if transaction.started_age_ms + timeout_ms > age_ms:
                break
            yield transaction


def next_deadline_age_ms(state: State) -> int | None:
    """The age at which the next open transaction times out; None where none is open."""
    firsts = (next(iter(transactions.values())) for transactions in state.ongoing.values())
    return min((deadline_age_ms(transaction) for transaction in firsts), default=None)


def decide_abort_timed_out(
    state: State, command: AbortTimedOutTransaction, time: Time
) -> tuple[list[Event], HousekeepingReply]:
    """Abort under the next epoch, so that whatever its producer still sends is fenced."""
    transaction, error = check_producer(
        state, command.transactional_id, command.producer_id, command.producer_epoch
    )
    if transaction is None:
        return [], HousekeepingReply(error)
    follows = outcome(transaction.state, Trigger.TIME_OUT)
    if follows.error is not ErrorCode.NONE:
        return [], HousekeepingReply(follows.error)
    if deadline_age_ms(transaction) > time.age_ms:
        # Another transaction of the same epoch (first generation), begun since the command was made.
        return [], HousekeepingReply(ErrorCode.INVALID_TXN_STATE)
    event = _ended_as_follows(state, transaction, follows, EndReason.TIMEOUT, None, "")
    return [event], HousekeepingReply(ErrorCode.NONE)


def expiry_of(transaction: TransactionalId, age_ms: int, idle_ms: int) -> ExpireTransactionalId | None:
    """The command that forgets it, where nobody has used it for so long."""
    if transaction.state is TransactionState.ONGOING or age_ms - transaction.updated_age_ms < idle_ms:
        return None
    return ExpireTransactionalId(
        transaction.name, transaction.producer_id, transaction.producer_epoch, idle_ms
    )


def decide_expire_transactional_id(
    state: State, command: ExpireTransactionalId, time: Time
) -> tuple[list[Event], HousekeepingReply]:
    transaction, error = check_producer(
        state, command.transactional_id, command.producer_id, command.producer_epoch
    )
    if transaction is None:
        return [], HousekeepingReply(error)
    follows = outcome(transaction.state, Trigger.EXPIRE)
    if follows.error is not ErrorCode.NONE:
        return [], HousekeepingReply(follows.error)
    if time.age_ms - transaction.updated_age_ms < command.idle_ms:
        return [], HousekeepingReply(ErrorCode.INVALID_TXN_STATE)
    return [TransactionalIdExpired(transactional_id=transaction.name)], HousekeepingReply(ErrorCode.NONE)


# --- evolve ---


def evolve_producer_id_assigned(state: State, event: ProducerIdAssigned, at: At) -> None:  # noqa: ARG001
    _take_producer_id(state, event.producer_id)


def _take_producer_id(state: State, producer_id: int) -> None:
    """Nobody else is given this id; it is the next one, but in journals from before ids of others counted."""
    assert producer_id not in state.producer_owners, "producer ids are given once"
    state.next_producer_id = max(state.next_producer_id, producer_id + 1)


def evolve_initialized(state: State, event: TransactionalIdInitialized, at: At) -> None:
    transaction = state.transactions.get(event.transactional_id)
    if transaction is None:
        transaction = state.transactions[event.transactional_id] = TransactionalId(event.transactional_id)
    assert transaction.state is not TransactionState.ONGOING, "an open transaction ends before"
    state.lives.initialized(event, (transaction.producer_id, transaction.producer_epoch), at)
    _give_producer(state, transaction, event.producer_id, event.producer_epoch)
    transaction.previous_producer_id = event.previous_producer_id
    transaction.last_epoch = event.last_epoch
    transaction.timeout_ms = event.timeout_ms
    transaction.state = TransactionState.EMPTY
    transaction.started_wall_ms = -1
    transaction.ended_by_coordinator = False
    _touch(state, transaction, at)


def _give_producer(state: State, transaction: TransactionalId, producer_id: int, producer_epoch: int) -> None:
    """The transactional id's producer from now on; ids that it held before stay its own, and fenced."""
    if producer_id == transaction.producer_id:
        assert producer_epoch >= transaction.producer_epoch, "a producer's epoch never goes back"
    else:
        _take_producer_id(state, producer_id)
        state.producer_owners[producer_id] = transaction.name
        if transaction.producer_id >= 0:
            transaction.earlier_producer_ids = transaction.producer_ids
        transaction.previous_producer_id = transaction.producer_id
        transaction.producer_id = producer_id
    transaction.producer_epoch = producer_epoch


def _touch(state: State, transaction: TransactionalId, at: At) -> None:
    """Something about it is another than before, which this event is the first to tell."""
    transaction.updated_age_ms = at.age_ms
    transaction.updated_wall_ms = at.wall_ms
    internal_topics.transaction_changed(state, transaction, at)


def _begin_or_touch(
    state: State, transactional_id: str, producer_id: int, producer_epoch: int, at: At
) -> TransactionalId:
    """The open transaction of this producer, which begins now where none was open."""
    transaction = state.transactions[transactional_id]
    assert (transaction.producer_id, transaction.producer_epoch) == (producer_id, producer_epoch)
    if transaction.state is not _ONGOING:
        assert not transaction.partitions
        assert not transaction.groups
        assert not transaction.offsets
        transaction.state = _ONGOING
        transaction.partitions, transaction.groups, transaction.offsets = {}, {}, {}
        transaction.ended_by_coordinator = False
        transaction.started_age_ms = at.age_ms
        transaction.started_wall_ms = at.wall_ms
        state.ongoing.setdefault(transaction.timeout_ms, {})[transaction.name] = transaction
    _touch(state, transaction, at)
    return transaction


def evolve_partitions_added(state: State, event: TransactionPartitionsAdded, at: At) -> None:
    transaction = _begin_or_touch(state, event.transactional_id, event.producer_id, event.producer_epoch, at)
    before = len(transaction.partitions)
    for added in event.partitions:
        transaction.partitions[added.topic_id, added.partition] = None
    state.covered_count += len(transaction.partitions) - before


def evolve_group_added(state: State, event: TransactionGroupAdded, at: At) -> None:
    transaction = _begin_or_touch(state, event.transactional_id, event.producer_id, event.producer_epoch, at)
    _cover_group(state, transaction, event.group_id)


def evolve_offsets_added(state: State, event: TransactionOffsetsAdded, at: At) -> None:
    transaction = _begin_or_touch(state, event.transactional_id, event.producer_id, event.producer_epoch, at)
    groups.ensure_group(state, event.group_id, at)
    _cover_group(state, transaction, event.group_id)
    pending_offsets.add(state, transaction, event.group_id, event.offsets)


def _cover_group(state: State, transaction: TransactionalId, group_id: str) -> None:
    group = state.groups.get(group_id)
    number = internal_topics.partition_of(group_id) if group is None else group.internal_partition
    transaction.groups[group_id] = number


def evolve_ended(state: State, event: TransactionEnded, at: At) -> None:
    """Markers, committed offsets and the transaction's own state change together (law 5)."""
    transaction = state.transactions[event.transactional_id]
    assert (transaction.producer_id, transaction.producer_epoch) == (event.producer_id, event.producer_epoch)
    first_offsets = [_mark(state, event, marker, at) for marker in event.markers]
    if event.markers:
        at.payload_offset += MARKER_SIZE_BYTES
    state.lives.ended(event, transaction, first_offsets, at)
    if event.committed:
        pending_offsets.commit_all(state, transaction)
        for group in event.offsets:
            groups.apply_committed_offsets(state, group.group_id, group.offsets, at)
    else:
        pending_offsets.drop_all(state, transaction)
    if transaction.state is _ONGOING:
        transactions = state.ongoing[transaction.timeout_ms]
        del transactions[transaction.name]
        if not transactions:
            del state.ongoing[transaction.timeout_ms]
    else:
        transaction.started_wall_ms = at.wall_ms
    following = (event.next_producer_id, event.next_producer_epoch)
    if following != (event.producer_id, event.producer_epoch):
        transaction.last_epoch = event.producer_epoch
        _give_producer(state, transaction, *following)
    else:
        # Its producer knows its epoch: who still holds the one before it is nobody who lost an answer.
        transaction.last_epoch = -1
    transaction.state = _COMPLETE_COMMIT if event.committed else _COMPLETE_ABORT
    transaction.ended_by_coordinator = event.reason in _BY_COORDINATOR
    state.covered_count -= len(transaction.partitions)
    transaction.partitions = transaction.groups = NOTHING
    transaction.started_age_ms = -1
    _touch(state, transaction, at)


def _mark(state: State, event: TransactionEnded, marker: TransactionMarker, at: At) -> int:
    """The marker takes one offset; with it the partition's part of the transaction is decided.

    Returns the first offset of what was written there, or -1.
    """
    partition = state.topics[marker.topic_id].partitions[marker.partition]
    offset = marker.offset
    assert offset == partition.log_end_offset, "a marker lies where the log ends"
    # All partitions share one control batch, which can't carry the base offset of each.
    partition.extents.append(
        offset, offset, at.wall_ms, at.position, at.payload_offset, MARKER_SIZE_BYTES, False
    )
    partition.log_end_offset = offset + 1
    producer_id = event.producer_id
    window = partition.producers.get(producer_id)
    if window is None:
        state.producer_count += 1
    partition.producers[producer_id] = producer_window.marked(
        window, event.marker_epoch, at.wall_ms, at.age_ms
    )
    first_offset = partition.open_transactions.pop(producer_id, None)
    if first_offset is not None and not event.committed:
        partition.aborted.append(producer_id, first_offset, offset, partition.last_stable_offset)
    at.touched[partition] = None
    return -1 if first_offset is None else first_offset


def evolve_expired(state: State, event: TransactionalIdExpired, at: At) -> None:
    transaction = state.transactions.pop(event.transactional_id)
    assert transaction.state is not _ONGOING, "an open transaction is never forgotten"
    state.lives.expired(transaction.name, (transaction.producer_id, transaction.producer_epoch), at)
    internal_topics.transaction_expired(state, transaction, at)
    for producer_id in transaction.producer_ids:
        del state.producer_owners[producer_id]


DECIDE: dict[type, Callable[[State, Any, Time], tuple[list[Event], Any]]] = {
    InitProducerId: decide_init_producer_id,
    AddPartitionsToTxn: decide_add_partitions,
    AddOffsetsToTxn: decide_add_offsets,
    TxnOffsetCommit: decide_txn_offset_commit,
    EndTxn: decide_end_txn,
    AbortOnPartitions: decide_abort_on_partitions,
    AbortTimedOutTransaction: decide_abort_timed_out,
    ExpireTransactionalId: decide_expire_transactional_id,
}
EVOLVE: dict[type, Callable[[State, Any, At], None]] = {
    ProducerIdAssigned: evolve_producer_id_assigned,
    TransactionalIdInitialized: evolve_initialized,
    TransactionPartitionsAdded: evolve_partitions_added,
    TransactionGroupAdded: evolve_group_added,
    TransactionOffsetsAdded: evolve_offsets_added,
    TransactionEnded: evolve_ended,
    TransactionalIdExpired: evolve_expired,
}
