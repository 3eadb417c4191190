"""Producing: decide and evolve of Produce, and forgetting producers that are idle.

What a batch's header tells is checked against the topic's configs, the transaction and the producer's window,
in Kafka's order (UnifiedLog.append, ProducerAppendInfo, KIP-890). Structure and checksums were checked
before. It must not know the bytes of a batch, how transactions end, or what groups are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oncelog.machine import producer_window
from oncelog.machine.commands import (
    ExpireProducers,
    HousekeepingReply,
    Produce,
    ProduceBatch,
    ProduceResult,
)
from oncelog.machine.events import (
    BatchAppended,
    ProducersForgotten,
    TransactionPartition,
    TransactionPartitionsAdded,
)
from oncelog.machine.moment import At, Time
from oncelog.machine.producer_window import (
    DUPLICATE,
    NEXT,
    OLD_EPOCH,
    OLDER_DUPLICATE,
    OUT_OF_ORDER,
    is_after,
    place,
)
from oncelog.machine.state import Partition, State, Topic, TopicPartition, TransactionalId, TransactionState
from oncelog.wire.definition import Event
from oncelog.wire.errors import ErrorCode

FIRST_VERSION_TOLD_ABORTABLE = 11
FIRST_VERSION_ADDING_PARTITIONS = 12
FIRST_VERSION_WITH_TOPIC_IDS = 13
NO_TIMESTAMP = -1
UNKNOWN_PRODUCER_ID_MAX = 1 << 62
"""Of ids that were not given out here. What is given out lies above, which leaves room for as many again."""
NONE = ErrorCode.NONE
SEQUENCE_ERRORS = {
    OLD_EPOCH: ErrorCode.INVALID_PRODUCER_EPOCH,
    OLDER_DUPLICATE: ErrorCode.DUPLICATE_SEQUENCE_NUMBER,
    OUT_OF_ORDER: ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
}
ERRORS_WITHOUT_LOG_START = frozenset(
    {
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.MESSAGE_TOO_LARGE,
        ErrorCode.RECORD_LIST_TOO_LARGE,
        ErrorCode.UNKNOWN_TOPIC_ID,
    }
)
"""Kafka answers log start -1 with errors that it expects of clients, and the real one with all others."""


def decide_produce(
    state: State, command: Produce, time: Time
) -> tuple[list[Event], tuple[ProduceResult, ...]]:
    """Each batch by itself: one that is refused doesn't keep another from being appended."""
    batches = command.batches
    if len(batches) == 1 and command.transactional_id is None and not batches[0].header.is_transactional:
        event, result = _decide_batch(state, command, batches[0], None, time, 0)
        return ([] if event is None else [event]), (result,)
    error = _request_error(command)
    if error is not NONE:
        return [], tuple(_refused(error, None) for _ in batches)
    return _decide_batches(state, command, time)


def _request_error(command: Produce) -> ErrorCode:
    """What refuses the whole request: a transactional batch in nobody's name, or those of two producers."""
    producer: tuple[int, int] | None = None
    for batch in command.batches:
        header = batch.header
        if header.is_transactional:
            if command.transactional_id is None:
                return ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
            if producer is None:
                producer = (header.producer_id, header.producer_epoch)
            elif producer != (header.producer_id, header.producer_epoch):
                return ErrorCode.INVALID_PRODUCER_ID_MAPPING
    return NONE


def _decide_batches(
    state: State, command: Produce, time: Time
) -> tuple[list[Event], tuple[ProduceResult, ...]]:
    transaction = None
    if command.transactional_id is not None:
        transaction = state.transactions.get(command.transactional_id)
    named: dict[TopicPartition, int] = {}
    for batch in command.batches:
        key = (batch.topic_id, batch.partition)
        named[key] = named.get(key, 0) + 1
    room = _room(state, transaction)
    taken = 0
    added: list[TransactionPartition] = []
    appended: list[Event] = []
    results = []
    for batch in command.batches:
        key = (batch.topic_id, batch.partition)
        if named[key] > 1:
            results.append(_refused(ErrorCode.INVALID_REQUEST, None, "the partition is named twice"))
            continue
        event, result = _decide_batch(state, command, batch, transaction, time, taken)
        if event is not None and event.is_transactional and not _covers(transaction, key):
            if len(added) == room:
                event, result = None, _refused(ErrorCode.POLICY_VIOLATION, None, "too many partitions")
            else:
                added.append(TransactionPartition(topic_id=batch.topic_id, partition=batch.partition))
                taken += 1
        if event is not None:
            appended.append(event)
            taken += _is_new(state, batch)
        results.append(result)
    if not added:
        return appended, tuple(results)
    assert transaction is not None
    addition = TransactionPartitionsAdded(
        transactional_id=transaction.name,
        producer_id=transaction.producer_id,
        producer_epoch=transaction.producer_epoch,
        partitions=added,
    )
    return [addition, *appended], tuple(results)


def _room(state: State, transaction: TransactionalId | None) -> int:
    """How many more partitions the transaction, or the one that would begin, may cover."""
    if transaction is None or transaction.state is not TransactionState.ONGOING:
        return state.limits.transaction_partitions_max
    return state.limits.transaction_partitions_max - len(transaction.partitions)


def _is_new(state: State, batch: ProduceBatch) -> bool:
    """Whether the partition, which exists, doesn't remember the batch's producer yet."""
    producer_id = batch.header.producer_id
    partition = state.topics[batch.topic_id].partitions[batch.partition]
    return producer_id >= 0 and producer_id not in partition.producers


def _covers(transaction: TransactionalId | None, partition: TopicPartition) -> bool:
    return (
        transaction is not None
        and transaction.state is TransactionState.ONGOING
        and partition in transaction.partitions
    )


def _decide_batch(
    state: State,
    command: Produce,
    batch: ProduceBatch,
    transaction: TransactionalId | None,
    time: Time,
    taken: int,
) -> tuple[BatchAppended | None, ProduceResult]:
    """One batch in Kafka's order: the partition, its transaction, the topic's limits, its sequence.

    taken: what earlier batches of the request take of the room for producers.
    """
    topic_id, index, header, size, _ = batch
    topic = state.topics.get(topic_id)
    if topic is None:
        if command.version < FIRST_VERSION_WITH_TOPIC_IDS:
            return None, _refused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, None)
        return None, _refused(ErrorCode.UNKNOWN_TOPIC_ID, None)
    if not 0 <= index < len(topic.partitions):
        return None, _refused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, None)
    partition = topic.partitions[index]
    producer_id = header.producer_id
    is_transactional = header.is_transactional
    if is_transactional:
        error = _transaction_error(state, command, batch, transaction, partition)
        if error is not NONE:
            return None, _refused(error, partition)
    rules = topic.produce_rules
    is_log_append_time = rules.is_log_append_time
    # One comparison for what is almost always so: a batch of moderate size, dated by its producer, and not
    # early.
    if (
        is_log_append_time
        or size > rules.max_message_bytes
        or size > rules.segment_bytes
        or header.is_log_append_time
        or header.max_timestamp - time.wall_ms > rules.timestamp_after_max_ms
        or time.wall_ms - header.base_timestamp > rules.timestamp_before_max_ms
    ):
        refusal = _limits_refusal(topic, batch, partition, time)
        if refusal is not None:
            return None, refusal
    if producer_id >= 0:
        refusal = _sequence_refusal(state, command, batch, partition)
        if refusal is not None:
            return None, refusal
        if (
            producer_id not in partition.producers
            and state.producers_room() <= taken
            and not (is_transactional and _covers(transaction, (topic_id, index)))
        ):
            message = "so many producers are remembered that there is no room for one more; try again later"
            return None, _refused(ErrorCode.NOT_ENOUGH_REPLICAS, partition, message)
    base_offset = partition.log_end_offset
    event = BatchAppended(
        topic_id=topic_id,
        partition=index,
        base_offset=base_offset,
        last_offset_delta=header.last_offset_delta,
        max_timestamp=time.wall_ms if is_log_append_time else header.max_timestamp,
        size=size,
        producer_id=producer_id,
        producer_epoch=header.producer_epoch,
        base_sequence=header.base_sequence,
        is_transactional=is_transactional,
        is_log_append_time=is_log_append_time,
    )
    append_time_ms = time.wall_ms if is_log_append_time else NO_TIMESTAMP
    return event, ProduceResult(NONE, base_offset, append_time_ms, partition.log_start_offset, True)


def _transaction_error(
    state: State,
    command: Produce,
    batch: ProduceBatch,
    transaction: TransactionalId | None,
    partition: Partition,
) -> ErrorCode:
    """Whether a transactional batch is part of its transaction; from version 12 on it may join it (KIP-890).

    Produce tells every fenced producer INVALID_PRODUCER_EPOCH, never PRODUCER_FENCED.
    """
    if command.transactional_id is None:
        return ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    header = batch.header
    producer_id = header.producer_id
    if producer_id < 0:
        return ErrorCode.INVALID_RECORD
    window = partition.producers.get(producer_id)
    if window is not None and producer_window.epoch_of(window) > header.producer_epoch:
        return ErrorCode.INVALID_PRODUCER_EPOCH
    if transaction is None:
        return ErrorCode.INVALID_PRODUCER_ID_MAPPING
    if producer_id != transaction.producer_id:
        if state.producer_owners.get(producer_id) == transaction.name:
            return ErrorCode.INVALID_PRODUCER_EPOCH
        return ErrorCode.INVALID_PRODUCER_ID_MAPPING
    if header.producer_epoch != transaction.producer_epoch:
        return ErrorCode.INVALID_PRODUCER_EPOCH
    if command.version >= FIRST_VERSION_ADDING_PARTITIONS or _covers(
        transaction, (batch.topic_id, batch.partition)
    ):
        return NONE
    if command.version >= FIRST_VERSION_TOLD_ABORTABLE:
        return ErrorCode.TRANSACTION_ABORTABLE
    return ErrorCode.INVALID_TXN_STATE


def _limits_refusal(
    topic: Topic, batch: ProduceBatch, partition: Partition, time: Time
) -> ProduceResult | None:
    """The topic's limits, one by one, with the words for a refusal."""
    rules = topic.produce_rules
    header = batch.header
    if batch.size > rules.max_message_bytes:
        message = f"the batch has {batch.size} bytes; max.message.bytes is {rules.max_message_bytes}"
        return _refused(ErrorCode.MESSAGE_TOO_LARGE, partition, message)
    if header.is_log_append_time:
        message = "a producer's batch must not say that the broker dated it"
        return _refused(ErrorCode.INVALID_TIMESTAMP, partition, message)
    if not rules.is_log_append_time:
        earliest_ms = time.wall_ms - rules.timestamp_before_max_ms
        latest_ms = time.wall_ms + rules.timestamp_after_max_ms
        is_early = header.base_timestamp != NO_TIMESTAMP and header.base_timestamp < earliest_ms
        if is_early or header.max_timestamp > latest_ms:
            message = f"timestamps must lie between {earliest_ms} and {latest_ms}"
            refusal = _refused(ErrorCode.INVALID_TIMESTAMP, partition, message)
            return refusal._replace(timestamp_range_ms=(earliest_ms, latest_ms))
    if batch.size > rules.segment_bytes:
        message = f"the batch has {batch.size} bytes; segment.bytes is {rules.segment_bytes}"
        return _refused(ErrorCode.RECORD_LIST_TOO_LARGE, partition, message)
    return None


def _sequence_refusal(
    state: State, command: Produce, batch: ProduceBatch, partition: Partition
) -> ProduceResult | None:
    """The producer's epoch and sequence; None where the batch is the next one (law 3, law 4)."""
    header = batch.header
    is_transactional = header.is_transactional
    producer_id, epoch, base_sequence = header.producer_id, header.producer_epoch, header.base_sequence
    if base_sequence < 0 or epoch < 0:
        return _refused(
            ErrorCode.INVALID_RECORD, partition, "a producer's batch needs an epoch and a sequence"
        )
    if producer_id >= state.next_producer_id and producer_id > UNKNOWN_PRODUCER_ID_MAX:
        return _refused(ErrorCode.INVALID_RECORD, partition, "nobody gives out producer ids like this one")
    if not is_transactional:
        owner = state.producer_owners.get(producer_id)
        if owner is not None:
            transaction = state.transactions[owner]
            if transaction.producer_id != producer_id or transaction.producer_epoch != epoch:
                return _refused(ErrorCode.INVALID_PRODUCER_EPOCH, partition)
    window = partition.producers.get(producer_id)
    last_sequence = producer_window.sequence_after(base_sequence, header.last_offset_delta)
    placing = place(
        window,
        epoch,
        base_sequence,
        last_sequence,
        starts_at_zero=is_transactional and command.version >= FIRST_VERSION_ADDING_PARTITIONS,
    )
    if placing is NEXT:
        if window is None and _is_kept_out(batch):
            return _refused(
                ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
                partition,
                f"sequence {batch.first_sequence_max} was refused before and has to come first",
            )
        if not is_transactional and producer_id in partition.open_transactions:
            return _refused(
                ErrorCode.INVALID_TXN_STATE, partition, "the producer has a transaction open here"
            )
        return None
    if placing is DUPLICATE:
        assert window is not None
        first = producer_window.duplicate_of(window, base_sequence, last_sequence)
        # Kafka gives a duplicate's timestamp as its append time, also where producers date the records.
        log_start_offset = partition.log_start_offset
        return ProduceResult(NONE, first.base_offset, first.timestamp, log_start_offset, False)
    message = None
    if placing is OUT_OF_ORDER:
        message = f"sequences {base_sequence} to {last_sequence} of producer {producer_id} are not the next"
    return _refused(SEQUENCE_ERRORS[placing], partition, message)


def _is_kept_out(batch: ProduceBatch) -> bool:
    """Whether one that was refused has to come first."""
    first_max = batch.first_sequence_max
    return first_max >= 0 and is_after(batch.header.base_sequence, first_max)


def _refused(error: ErrorCode, partition: Partition | None, message: str | None = None) -> ProduceResult:
    log_start_offset = -1
    if partition is not None and error not in ERRORS_WITHOUT_LOG_START:
        log_start_offset = partition.log_start_offset
    return ProduceResult(error, -1, NO_TIMESTAMP, log_start_offset, False, message)


def decide_expire_producers(
    state: State, command: ExpireProducers, time: Time
) -> tuple[list[Event], HousekeepingReply]:
    """Those of the named producers that are still idle; one with an open transaction never is (KIP-854).

    Be it open in this partition or in others: Kafka forgets it in others.
    """
    partition = state.partition(command.topic_id, command.partition)
    if partition is None:
        return [], HousekeepingReply(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    idle = []
    for producer_id in sorted(set(command.producer_ids)):
        window = partition.producers.get(producer_id)
        if window is None or state.has_open_transaction(producer_id):
            continue
        if time.age_ms - producer_window.age_ms_of(window) >= command.idle_ms:
            idle.append(producer_id)
    if not idle:
        return [], HousekeepingReply(ErrorCode.NONE)
    event = ProducersForgotten(topic_id=command.topic_id, partition=command.partition, producer_ids=idle)
    return [event], HousekeepingReply(ErrorCode.NONE)


def evolve_batch_appended(state: State, event: BatchAppended, at: At) -> None:
    """The log grows by the batch, which lies next in the entry's payload."""
    partition = state.topics[event.topic_id].partitions[event.partition]
    base_offset = event.base_offset
    assert base_offset == partition.log_end_offset, "a batch begins where the log ends"
    last_offset = base_offset + event.last_offset_delta
    payload_offset = at.payload_offset
    size = event.size
    max_timestamp = event.max_timestamp
    partition.extents.append(base_offset, last_offset, max_timestamp, at.position, payload_offset, size, True)
    at.payload_offset = payload_offset + size
    partition.log_end_offset = last_offset + 1
    producer_id = event.producer_id
    if producer_id >= 0:
        if producer_id >= state.next_producer_id:
            # Somebody else gave it out: a broker whose data is gone, or nobody. It is never given to another
            # producer, whose epochs would not follow what this partition remembers.
            state.next_producer_id = producer_id + 1
        producers = partition.producers
        window = producers.get(producer_id)
        if window is None:
            state.producer_count += 1
        producers[producer_id] = producer_window.appended(
            window,
            event.producer_epoch,
            event.base_sequence,
            event.last_offset_delta,
            base_offset,
            max_timestamp,
            at.age_ms,
        )
        if event.is_transactional and producer_id not in partition.open_transactions:
            partition.open_transactions[producer_id] = base_offset
    at.touched[partition] = None


def evolve_producers_forgotten(state: State, event: ProducersForgotten, at: At) -> None:  # noqa: ARG001
    partition = state.topics[event.topic_id].partitions[event.partition]
    for producer_id in event.producer_ids:
        assert producer_id not in partition.open_transactions, (
            "a producer in a transaction is never forgotten"
        )
        del partition.producers[producer_id]
    state.producer_count -= len(event.producer_ids)


DECIDE: dict[type, Callable[[State, Any, Time], tuple[list[Event], Any]]] = {
    Produce: decide_produce,
    ExpireProducers: decide_expire_producers,
}
EVOLVE: dict[type, Callable[[State, Any, At], None]] = {
    BatchAppended: evolve_batch_appended,
    ProducersForgotten: evolve_producers_forgotten,
}
