"""Pending offsets: what open transactions would commit for groups, found from either side.

A pending offset stands in its transaction and is known to its group, so that OffsetFetch can tell that an
offset is not stable (KIP-447). Only evolve calls what changes something here. It must not know groups'
generations.
"""

from __future__ import annotations

from collections.abc import Iterable

from oncelog.machine.events import TransactionOffset
from oncelog.machine.state import NOTHING, PendingOffset, State, TopicPartition, TransactionalId


def is_pending(state: State, group_id: str, topic_id: bytes, partition: int) -> bool:
    """Whether an open transaction would commit an offset of this group and partition."""
    pending = state.pending_offsets.get(group_id)
    return pending is not None and (topic_id, partition) in pending


def has_pending(state: State, group_id: str) -> bool:
    """Whether any open transaction would commit offsets of this group."""
    return group_id in state.pending_offsets


def add(
    state: State, transaction: TransactionalId, group_id: str, offsets: Iterable[TransactionOffset]
) -> None:
    """The transaction would commit these; a later offset of a partition takes the earlier one's place."""
    state.pending_offsets_added += 1
    order = state.pending_offsets_added
    of_transaction = transaction.offsets.setdefault(group_id, {})
    of_group = state.pending_offsets.setdefault(group_id, {})
    for offset in offsets:
        partition = (offset.topic_id, offset.partition)
        replaced = of_transaction.get(partition)
        if replaced is not None:
            transaction.metadata_characters -= len(replaced.metadata)
        transaction.metadata_characters += len(offset.metadata)
        of_transaction[partition] = PendingOffset(offset.offset, offset.leader_epoch, offset.metadata, order)
        of_group.setdefault(partition, set()).add(transaction.name)
    if not of_group:
        del state.pending_offsets[group_id]


def drop_all(state: State, transaction: TransactionalId) -> None:
    """The transaction was aborted: nothing of it is pending any more."""
    for group_id, offsets in transaction.offsets.items():
        for partition in offsets:
            _forget(state, group_id, partition, transaction.name)
    _empty(transaction)


def commit_all(state: State, transaction: TransactionalId) -> None:
    """The transaction was committed: nothing of it is pending any more, nor what was pending before it.

    Of two transactions that would commit an offset of one partition, the later one wins, in whichever order
    they end (Kafka compares the log positions of the offsets).
    """
    for group_id, offsets in transaction.offsets.items():
        for partition, committed in offsets.items():
            _forget(state, group_id, partition, transaction.name)
            for name in sorted(state.pending_offsets.get(group_id, {}).get(partition, ())):
                other = state.transactions[name]
                if other.offsets[group_id][partition].order < committed.order:
                    _take_from(other, group_id, partition)
                    _forget(state, group_id, partition, name)
    _empty(transaction)


def supersede(state: State, group_id: str, partitions: Iterable[TopicPartition]) -> None:
    """Drop what is pending for these partitions: they were committed or deleted outside of a transaction.

    What is committed later wins, and a deleted offset must not come back by a transaction that began before.
    """
    of_group = state.pending_offsets.get(group_id)
    if of_group is None:
        return
    for partition in partitions:
        for name in of_group.pop(partition, ()):
            _take_from(state.transactions[name], group_id, partition)
    if not of_group:
        del state.pending_offsets[group_id]


def supersede_group(state: State, group_id: str) -> None:
    """Drop everything that is pending for a group: it was deleted."""
    supersede(state, group_id, list(state.pending_offsets.get(group_id, ())))


def _empty(transaction: TransactionalId) -> None:
    transaction.offsets = NOTHING
    transaction.metadata_characters = 0


def _take_from(transaction: TransactionalId, group_id: str, partition: TopicPartition) -> None:
    taken = transaction.offsets[group_id].pop(partition)
    transaction.metadata_characters -= len(taken.metadata)


def _forget(state: State, group_id: str, partition: TopicPartition, name: str) -> None:
    of_group = state.pending_offsets[group_id]
    names = of_group[partition]
    names.remove(name)
    if not names:
        del of_group[partition]
        if not of_group:
            del state.pending_offsets[group_id]
