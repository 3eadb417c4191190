"""Transactions: what Kafka does about InitProducerId, AddPartitions, EndTxn and timeouts."""

from __future__ import annotations

import pytest

from oncelog.machine import producer_window, transactions
from oncelog.machine.commands import AbortTimedOutTransaction, ExpireTransactionalId, InitProducerId
from oncelog.machine.events import EndReason, TransactionEnded, TransactionPartitionsAdded
from oncelog.machine.limits import Limits
from oncelog.machine.state import TransactionState
from oncelog.wire.errors import ErrorCode
from tests.machine.driver import (
    OTHER_TOPIC_ID,
    SECOND_GENERATION,
    TOPIC_ID,
    TRANSACTIONAL,
    UNKNOWN_TOPIC_ID,
    Machine,
    batch,
)

SMALL = Limits(producer_epoch_max=5)
NONE = ErrorCode.NONE
FENCED = ErrorCode.PRODUCER_FENCED
INVALID_STATE = ErrorCode.INVALID_TXN_STATE
NO_MAPPING = ErrorCode.INVALID_PRODUCER_ID_MAPPING
DAY_MS = 86_400_000


@pytest.fixture
def machine():
    machine = Machine()
    yield machine
    machine.check()


@pytest.fixture
def small():
    """Epochs end at 5."""
    machine = Machine(SMALL)
    yield machine
    machine.check()


def open_transaction(machine: Machine, *, partitions: tuple[int, ...] = (0,), name: str = "t"):
    """A producer with a first-generation transaction and one record in each partition."""
    producer = machine.producer(name)
    assert machine.add(producer, *partitions, name=name).error == NONE
    for partition in partitions:
        assert machine.produce(partition, producer=producer, sequence=0, in_transaction=name).appended
    return producer


def open_v2(machine: Machine, *, name: str = "t", partition: int = 0):
    """The same in the second generation."""
    producer = machine.producer(name)
    result = machine.produce(
        partition, producer=producer, sequence=0, in_transaction=name, version=SECOND_GENERATION
    )
    assert result.appended
    return producer


def with_epoch(machine: Machine, epoch: int):
    """The producer of "t" after InitProducerId came to this epoch."""
    producer = machine.producer()
    while producer[1] < epoch:
        producer = machine.producer()
    return producer


def stale(producer, by=1):
    return producer[0], producer[1] - by


# --- C: InitProducerId ---


def test_53_without_a_transactional_id_each_call_gives_a_fresh_id_with_epoch_0(machine):
    first, second = machine.init(None), machine.init(None)
    assert first.producer_id != second.producer_id
    assert first.producer_epoch == second.producer_epoch == 0


def test_54_an_empty_transactional_id_is_an_invalid_request(machine):
    assert machine.init("").error == ErrorCode.INVALID_REQUEST


@pytest.mark.parametrize("timeout_ms", [0, -1, 900_001])
def test_55_a_timeout_out_of_bounds_is_refused(machine, timeout_ms):
    assert machine.init(timeout_ms=timeout_ms).error == ErrorCode.INVALID_TRANSACTION_TIMEOUT
    assert machine.init(timeout_ms=900_000).error == NONE


def test_56_a_new_id_starts_at_epoch_0_and_each_call_moves_it_on(machine):
    assert machine.producer()[1] == 0
    assert machine.producer()[1] == 1


@pytest.mark.parametrize("expects", [(-1, 3), (3, -1)])
def test_57_half_an_expectation_is_an_invalid_request(machine, expects):
    reply = machine.init(expects=expects)
    assert (reply.error, reply.producer_id, reply.producer_epoch) == (ErrorCode.INVALID_REQUEST, -1, -1)


def test_58_with_the_current_epoch_it_moves_on_and_a_retry_gets_the_same_again(machine):
    producer = machine.producer()
    next_one = machine.producer(expects=producer)
    assert next_one == (producer[0], 1)
    assert machine.producer(expects=producer) == next_one
    assert machine.producer(expects=producer) == next_one
    assert machine.producer(expects=next_one) == (producer[0], 2)


def test_58_a_retry_is_not_journaled_again(machine):
    producer = machine.producer()
    machine.producer(expects=producer)
    count = len(machine.events)
    machine.producer(expects=producer)
    assert len(machine.events) == count


def test_59_a_stale_epoch_is_fenced(machine):
    producer = machine.producer()
    machine.producer(expects=machine.producer(expects=producer))
    assert machine.init(expects=producer).error == FENCED


def test_59_without_expectation_no_earlier_epoch_is_taken_for_a_retry(machine):
    producer = machine.producer()
    machine.producer()
    assert machine.init(expects=producer).error == FENCED


def test_60_another_producer_id_is_fenced(machine):
    producer = machine.producer()
    assert machine.init(expects=(producer[0] + 1, 0)).error == FENCED


def test_61_an_expectation_of_what_nobody_remembers_gets_a_new_producer_id(machine):
    assert machine.producer(expects=(4711, 9)) == (machine.transaction().producer_id, 0)


def test_62_past_the_last_epoch_the_producer_id_rotates(small):
    producer = with_epoch(small, 5)
    rotated = small.producer()
    assert rotated == (producer[0] + 1, 0)
    assert small.transaction().previous_producer_id == producer[0]


def test_63_a_retry_of_a_rotation_gets_the_rotated_id_again(small):
    producer = with_epoch(small, 5)
    rotated = small.producer(expects=producer)
    assert rotated[0] != producer[0]
    assert small.producer(expects=producer) == rotated
    assert small.state.next_producer_id == rotated[0] + 1


def test_64_after_a_rotation_other_epochs_of_the_old_id_are_fenced(small):
    producer = with_epoch(small, 5)
    small.producer(expects=producer)
    assert small.init(expects=stale(producer)).error == FENCED


def test_64_once_the_rotated_id_has_moved_on_the_old_one_is_fenced_for_good(small):
    producer = with_epoch(small, 5)
    rotated = small.producer(expects=producer)
    small.producer(expects=rotated)
    assert small.init(expects=producer).error == FENCED
    assert small.init(expects=(producer[0], 0)).error == FENCED, (
        "though 0 is the epoch before the current one"
    )


def test_67_an_open_transaction_is_aborted_in_the_same_decision(machine):
    """Kafka answers CONCURRENT_TRANSACTIONS first; here the next producer is there at once, two epochs on."""
    producer = open_transaction(machine)
    assert machine.producer() == (producer[0], producer[1] + 2)
    ended = machine.events[-2]
    assert isinstance(ended, TransactionEnded)
    assert (ended.committed, ended.marker_epoch) == (False, producer[1] + 1)
    assert ended.reason == EndReason.NEWER_PRODUCER
    assert machine.transaction().state is TransactionState.EMPTY
    assert machine.partition().last_stable_offset == machine.partition().log_end_offset == 2


def test_67_a_retry_of_that_gets_the_same_answer(machine):
    producer = open_transaction(machine)
    given = machine.producer(expects=producer)
    assert machine.producer(expects=producer) == given == (producer[0], producer[1] + 2)


def test_67_a_stale_sender_is_refused_and_aborts_nothing(machine):
    producer = open_transaction(machine)
    newer = machine.producer(expects=producer)
    machine.add(newer, 0)
    assert machine.init(expects=(producer[0], producer[1] + 1)).error == FENCED
    assert machine.init(expects=producer).error == FENCED, "its retry, but somebody had the answer since"
    assert machine.init(expects=(99, 0)).error == FENCED
    assert machine.transaction().state is TransactionState.ONGOING


def test_68_the_old_producer_is_fenced_everywhere_after_that(machine):
    old = open_transaction(machine)
    machine.producer()
    assert machine.add(old, 0).error == FENCED
    assert machine.add_group(old) == FENCED
    assert machine.commit(old).error == FENCED
    assert machine.commit(old, v2=True).error == FENCED
    assert machine.abort(old, v2=True).error == FENCED
    assert machine.send_offsets(old, {0: 1}) == (ErrorCode.INVALID_PRODUCER_EPOCH,)
    for version in (10, 11, 12):
        for partition in (0, 1):
            result = machine.produce(partition, producer=old, sequence=1, in_transaction="t", version=version)
            assert result.error == ErrorCode.INVALID_PRODUCER_EPOCH


@pytest.mark.parametrize("epoch", [4, 5])
def test_70_fencing_near_the_last_epoch_rotates_the_producer_id(small, epoch):
    producer = with_epoch(small, epoch)
    small.add(producer, 0)
    small.produce(producer=producer, sequence=0, in_transaction="t")
    given = small.producer(expects=producer)
    assert given == (producer[0] + 1, 0)
    assert small.events[-2].marker_epoch == epoch + 1
    assert producer_window.epoch_of(small.partition().producers[producer[0]]) == epoch + 1
    assert small.producer(expects=producer) == given, "its retry"
    assert small.produce(producer=given, sequence=0, in_transaction="t", version=SECOND_GENERATION).appended


def test_73_successful_calls_give_distinct_rising_epochs(machine):
    epochs = [machine.producer()[1] for _ in range(5)]
    assert epochs == [0, 1, 2, 3, 4]


def test_the_timeout_of_the_last_call_counts(machine):
    producer = machine.producer(timeout_ms=1000)
    machine.producer(expects=producer, timeout_ms=2000)
    assert machine.transaction().timeout_ms == 2000
    machine.producer(expects=producer, timeout_ms=3000)
    assert machine.transaction().timeout_ms == 3000, "a retry's, too"


# --- D: AddPartitions, AddOffsets, verification ---


def test_74_an_unknown_transactional_id_has_no_mapping_and_an_empty_one_is_invalid(machine):
    assert machine.add((1, 0), 0, name="nobody").error == NO_MAPPING
    assert machine.add((1, 0), 0, name="").error == ErrorCode.INVALID_REQUEST
    assert machine.add_group((1, 0), name="nobody") == NO_MAPPING
    assert machine.add_group((1, 0), name="") == ErrorCode.INVALID_REQUEST


def test_75_another_producer_id_has_no_mapping_and_another_epoch_is_fenced(machine):
    producer = with_epoch(machine, 1)
    assert machine.add((producer[0] + 1, 1), 0).error == NO_MAPPING
    assert machine.add(stale(producer), 0).error == FENCED
    assert machine.add((producer[0], 2), 0).error == FENCED


def test_77_adding_begins_the_transaction_and_adding_more_keeps_its_start(machine):
    producer = machine.producer()
    machine.pass_time(100)
    machine.add(producer, 0)
    assert machine.transaction().state is TransactionState.ONGOING
    assert machine.transaction().started_age_ms == 100
    machine.pass_time(100)
    machine.add(producer, 1)
    assert machine.transaction().started_age_ms == 100
    assert list(machine.transaction().partitions) == [(TOPIC_ID, 0), (TOPIC_ID, 1)]


@pytest.mark.parametrize("commit", [True, False])
def test_77_adding_begins_the_next_transaction_after_one_has_ended(machine, commit):
    producer = open_transaction(machine)
    machine.end(producer, commit)
    machine.pass_time(50)
    assert machine.add(producer, 1).error == NONE
    assert list(machine.transaction().partitions) == [(TOPIC_ID, 1)]
    assert machine.transaction().started_age_ms == 50


def test_78_adding_what_is_there_is_not_journaled(machine):
    producer = open_transaction(machine, partitions=(0, 1))
    count = len(machine.events)
    assert machine.add(producer, 1, 0).error == NONE
    machine.add_group(producer)
    assert len(machine.events) == count + 1
    assert machine.add_group(producer) == NONE
    assert len(machine.events) == count + 1


def test_79_one_unknown_partition_keeps_the_others_out(machine):
    producer = machine.producer()
    reply = machine.add(producer, 0, 7, 1)
    assert reply.partition_errors == (
        ErrorCode.OPERATION_NOT_ATTEMPTED,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.OPERATION_NOT_ATTEMPTED,
    )
    assert machine.transaction().state is TransactionState.EMPTY
    unknown = machine.add(producer, 0, topic_id=UNKNOWN_TOPIC_ID)
    assert unknown.partition_errors == (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,)


def test_82_verifying_says_which_partitions_the_transaction_covers_and_adds_none(machine):
    producer = open_transaction(machine, partitions=(0,))
    reply = machine.add(producer, 0, 1, verify_only=True)
    assert (reply.error, reply.partition_errors) == (NONE, (NONE, ErrorCode.TRANSACTION_ABORTABLE))
    assert machine.add(stale(producer, -1), 0, verify_only=True).error == FENCED
    assert machine.add((99, 0), 0, verify_only=True).error == NO_MAPPING
    machine.commit(producer)
    assert machine.add(producer, 0, verify_only=True).partition_errors == (ErrorCode.TRANSACTION_ABORTABLE,)


@pytest.mark.parametrize(("version", "error"), [(10, INVALID_STATE), (11, ErrorCode.TRANSACTION_ABORTABLE)])
def test_83_first_generation_produce_to_a_partition_that_was_not_added_is_refused(machine, version, error):
    producer = open_transaction(machine, partitions=(0,))
    result = machine.produce(1, producer=producer, sequence=0, in_transaction="t", version=version)
    assert result.error == error
    assert machine.partition(1).log_end_offset == 0
    machine.commit(producer)
    late = machine.produce(0, producer=producer, sequence=1, in_transaction="t", version=version)
    assert late.error == error


def test_84_second_generation_produce_adds_all_its_partitions_in_one_event(machine):
    producer = machine.producer()
    machine.produce_all(
        [batch(p, producer=producer, sequence=0, attributes=TRANSACTIONAL) for p in (2, 0)],
        in_transaction="t",
        version=SECOND_GENERATION,
    )
    additions = [event for event in machine.events if isinstance(event, TransactionPartitionsAdded)]
    assert len(additions) == 1
    assert machine.events[-3] is additions[0], "before the batches"
    assert list(machine.transaction().partitions) == [(TOPIC_ID, 2), (TOPIC_ID, 0)]
    assert machine.transaction().state is TransactionState.ONGOING
    machine.produce(2, producer=producer, sequence=1, in_transaction="t", version=SECOND_GENERATION)
    assert sum(isinstance(event, TransactionPartitionsAdded) for event in machine.events) == 1


def test_84_a_refused_batch_adds_nothing(machine):
    producer = machine.producer()
    result = machine.produce(0, producer=producer, sequence=5, in_transaction="t", version=SECOND_GENERATION)
    assert result.error == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert machine.transaction().state is TransactionState.EMPTY


def test_29_an_unknown_producer_of_the_second_generation_must_start_at_zero(machine):
    producer = machine.producer()
    later = {"producer": producer, "sequence": 3, "in_transaction": "t"}
    assert (
        machine.produce(0, **later, version=SECOND_GENERATION).error == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    )
    machine.add(producer, 0)
    assert machine.produce(0, **later, version=11).appended, "as before KIP-890"


def test_86_nothing_comes_between_verification_and_append(machine):
    """One decision does both: after the abort the same batch is refused."""
    producer = open_transaction(machine)
    machine.time_out()
    for version in (10, 11, 12):
        result = machine.produce(producer=producer, sequence=1, in_transaction="t", version=version)
        assert result.error == ErrorCode.INVALID_PRODUCER_EPOCH


def test_90_a_group_joins_the_transaction_by_its_name(machine):
    producer = machine.producer()
    assert machine.add_group(producer, "g1") == NONE
    assert machine.add_group(producer, "g2") == NONE
    assert list(machine.transaction().groups) == ["g1", "g2"]
    assert machine.transaction().state is TransactionState.ONGOING


@pytest.mark.parametrize("version", [11, 12])
def test_a_transactional_batch_of_another_transactional_id_has_no_mapping(machine, version):
    producer, other = machine.producer("t"), machine.producer("u")
    machine.add(producer, 0)
    assert (
        machine.produce(producer=other, sequence=0, in_transaction="t", version=version).error == NO_MAPPING
    )
    assert machine.produce(producer=producer, sequence=0, in_transaction="nobody").error == NO_MAPPING


def test_a_batch_inside_an_open_transaction_is_a_duplicate_like_any_other(machine):
    producer = open_transaction(machine)
    again = machine.produce(producer=producer, sequence=0, in_transaction="t")
    assert (again.error, again.base_offset, again.appended) == (NONE, 0, False)


def test_a_duplicate_after_the_end_of_its_transaction_is_refused_before_it_is_recognised(machine):
    producer = open_transaction(machine)
    machine.commit(producer)
    again = machine.produce(producer=producer, sequence=0, in_transaction="t", version=10)
    assert again.error == INVALID_STATE


def test_one_partition_too_many_is_a_policy_violation():
    machine = Machine(Limits(transaction_partitions_max=2))
    producer = machine.producer()
    assert machine.add(producer, 0, 1, 2).error == ErrorCode.POLICY_VIOLATION
    assert machine.transaction().state is TransactionState.EMPTY
    results = machine.produce_all(
        [batch(p, producer=producer, sequence=0, attributes=TRANSACTIONAL) for p in range(3)],
        in_transaction="t",
        version=SECOND_GENERATION,
    )
    assert [result.error for result in results] == [NONE, NONE, ErrorCode.POLICY_VIOLATION]
    assert machine.add(producer, 0, 1).error == NONE
    assert machine.add(producer, 2).error == ErrorCode.POLICY_VIOLATION
    third = machine.produce(2, producer=producer, sequence=0, in_transaction="t", version=SECOND_GENERATION)
    assert third.error == ErrorCode.POLICY_VIOLATION
    assert machine.abort(producer, v2=True).error == NONE
    machine.check()


# --- E: EndTxn of the first generation ---


@pytest.mark.parametrize("commit", [True, False])
def test_91_an_end_is_complete_at_once_and_keeps_the_epoch(machine, commit):
    producer = open_transaction(machine, partitions=(0, 2))
    reply = machine.end(producer, commit)
    assert reply.error == NONE
    expected = TransactionState.COMPLETE_COMMIT if commit else TransactionState.COMPLETE_ABORT
    assert machine.transaction().state is expected
    assert (machine.transaction().producer_id, machine.transaction().producer_epoch) == producer
    assert not machine.transaction().partitions


def test_92_who_may_not_end_a_transaction(machine):
    producer = with_epoch(machine, 1)
    machine.add(producer, 0)
    assert machine.commit(producer, name="nobody").error == NO_MAPPING
    assert machine.commit(producer, name="").error == ErrorCode.INVALID_REQUEST
    assert machine.commit((99, 1)).error == NO_MAPPING
    assert machine.commit(stale(producer)).error == FENCED
    assert machine.commit(stale(producer, -1)).error == FENCED


@pytest.mark.parametrize("commit", [True, False])
def test_93_without_any_transaction_an_end_is_an_invalid_state(machine, commit):
    assert machine.end(machine.producer(), commit).error == INVALID_STATE


@pytest.mark.parametrize("commit", [True, False])
def test_94_the_same_end_again_is_fine_and_the_opposite_is_not(machine, commit):
    producer = open_transaction(machine)
    machine.end(producer, commit)
    count = len(machine.events)
    assert machine.end(producer, commit).error == NONE
    assert machine.end(producer, not commit).error == INVALID_STATE
    assert len(machine.events) == count


def test_96_the_next_transaction_never_waits_for_markers(machine):
    producer = open_transaction(machine)
    machine.commit(producer)
    assert machine.add(producer, 0).error == NONE


def test_97_one_marker_in_every_partition_of_the_transaction(machine):
    producer = open_transaction(machine, partitions=(0, 2))
    machine.add(producer, 1)
    machine.add(producer, 0, topic_id=OTHER_TOPIC_ID)
    machine.commit(producer)
    ended = machine.events[-1]
    assert [(marker.topic_id, marker.partition, marker.offset) for marker in ended.markers] == [
        (TOPIC_ID, 0, 1),
        (TOPIC_ID, 1, 0),
        (TOPIC_ID, 2, 1),
        (OTHER_TOPIC_ID, 0, 0),
    ]
    assert [machine.partition(index).log_end_offset for index in range(3)] == [2, 1, 2]


def test_all_markers_share_one_control_batch(machine):
    producer = open_transaction(machine, partitions=(0, 1))
    machine.commit(producer)
    first, second = (machine.partition(index).extents.extent(1) for index in (0, 1))
    assert (first.position, first.payload_offset, first.size) == (second.position, second.payload_offset, 78)
    assert not first.stamped
    assert (first.base_offset, first.max_timestamp) == (1, machine.wall_ms)


def test_a_transaction_without_partitions_commits(machine):
    producer = machine.producer()
    machine.add_group(producer)
    assert machine.commit(producer).error == NONE
    assert machine.transaction().state is TransactionState.COMPLETE_COMMIT
    assert machine.events[-1].markers == []


def test_34_after_a_marker_of_the_same_epoch_the_sequence_goes_on(machine):
    producer = open_transaction(machine)
    machine.commit(producer)
    machine.add(producer, 0)
    skipped = machine.produce(producer=producer, sequence=2, in_transaction="t")
    assert skipped.error == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert machine.produce(producer=producer, sequence=1, in_transaction="t").appended


# --- F: EndTxn of the second generation ---


@pytest.mark.parametrize("commit", [True, False])
def test_98_an_end_gives_the_epoch_of_the_next_transaction_which_starts_at_zero(machine, commit):
    producer = open_v2(machine)
    reply = machine.end(producer, commit, v2=True)
    following = (reply.producer_id, reply.producer_epoch)
    assert following == (producer[0], producer[1] + 1)
    assert machine.produce(
        producer=following, sequence=0, in_transaction="t", version=SECOND_GENERATION
    ).appended


@pytest.mark.parametrize("commit", [True, False])
def test_99_a_retry_of_an_end_gets_the_same_answer(machine, commit):
    producer = open_v2(machine)
    reply = machine.end(producer, commit, v2=True)
    count = len(machine.events)
    assert machine.end(producer, commit, v2=True) == reply
    assert len(machine.events) == count


@pytest.mark.parametrize("commit", [True, False])
def test_100_a_retry_with_the_opposite_result_is_an_invalid_state(machine, commit):
    producer = open_v2(machine)
    machine.end(producer, commit, v2=True)
    assert machine.end(producer, not commit, v2=True).error == INVALID_STATE


@pytest.mark.parametrize("ended", [None, True, False])
def test_101_a_commit_without_an_open_transaction_is_an_invalid_state(machine, ended):
    if ended is None:
        producer = machine.producer()
    else:
        reply = machine.end(open_v2(machine), ended, v2=True)
        producer = (reply.producer_id, reply.producer_epoch)
    assert machine.commit(producer, v2=True).error == INVALID_STATE


@pytest.mark.parametrize("ended", [None, True, False])
def test_102_an_abort_without_an_open_transaction_succeeds_and_moves_the_epoch_on(machine, ended):
    if ended is None:
        producer = machine.producer()
    else:
        reply = machine.end(open_v2(machine), ended, v2=True)
        producer = (reply.producer_id, reply.producer_epoch)
    reply = machine.abort(producer, v2=True)
    assert (reply.error, reply.producer_epoch) == (NONE, producer[1] + 1)
    assert machine.transaction().state is TransactionState.COMPLETE_ABORT
    assert machine.abort(producer, v2=True) == reply, "its retry"


@pytest.mark.parametrize("commit", [True, False])
def test_103_older_epochs_are_fenced_where_they_are_no_retry(machine, commit):
    producer = with_epoch(machine, 2)
    assert machine.end(stale(producer), commit, v2=True).error == FENCED
    machine.add(producer, 0)
    assert machine.end(stale(producer), commit, v2=True).error == FENCED
    assert machine.end(stale(producer, 2), commit, v2=True).error == FENCED
    assert machine.end(stale(producer, -1), commit, v2=True).error == FENCED
    machine.end(producer, commit, v2=True)
    assert machine.end(stale(producer), commit, v2=True).error == FENCED


@pytest.mark.parametrize("commit", [True, False])
def test_104_at_the_last_epoch_an_end_gives_a_new_producer_id(small, commit):
    producer = with_epoch(small, 5)
    small.produce(producer=producer, sequence=0, in_transaction="t", version=SECOND_GENERATION)
    reply = small.end(producer, commit, v2=True)
    assert (reply.producer_id, reply.producer_epoch) == (producer[0] + 1, 0)
    assert (small.events[-1].producer_id, small.events[-1].marker_epoch) == (producer[0], 6)
    assert small.end(producer, commit, v2=True) == reply, "its retry"
    assert small.end(producer, not commit, v2=True).error == INVALID_STATE
    assert small.end(stale(producer), commit, v2=True).error == NO_MAPPING
    late = small.produce(producer=producer, sequence=1, in_transaction="t", version=SECOND_GENERATION)
    assert late.error == ErrorCode.INVALID_PRODUCER_EPOCH


def test_105_the_new_producer_id_may_begin_at_once(small):
    producer = with_epoch(small, 5)
    small.produce(producer=producer, sequence=0, in_transaction="t", version=SECOND_GENERATION)
    reply = small.commit(producer, v2=True)
    assert small.add((reply.producer_id, reply.producer_epoch), 0).error == NONE


def test_106_markers_carry_the_next_epoch_and_older_epochs_are_refused_in_the_partition(machine):
    producer = open_v2(machine)
    machine.commit(producer, v2=True)
    assert machine.events[-1].marker_epoch == producer[1] + 1
    window = producer_window.unpack(machine.partition().producers[producer[0]])
    assert (window.epoch, window.batches) == (producer[1] + 1, ())


def test_107_a_commit_of_partitions_without_records_succeeds(machine):
    producer = machine.producer()
    machine.add(producer, 0)
    assert machine.commit(producer).error == NONE
    machine.add(producer, 0)
    assert machine.commit(producer, v2=True).error == NONE


def test_108_a_delayed_batch_of_the_previous_transaction_is_never_appended(machine):
    producer = open_v2(machine)
    reply = machine.commit(producer, v2=True)
    machine.produce(
        producer=(reply.producer_id, reply.producer_epoch),
        sequence=0,
        in_transaction="t",
        version=SECOND_GENERATION,
    )
    late = machine.produce(producer=producer, sequence=1, in_transaction="t", version=SECOND_GENERATION)
    assert late.error == ErrorCode.INVALID_PRODUCER_EPOCH


def test_35_after_a_marker_of_the_next_epoch_its_batches_start_at_zero(machine):
    producer = open_v2(machine)
    reply = machine.commit(producer, v2=True)
    following = (reply.producer_id, reply.producer_epoch)
    machine.add(following, 0)
    for version in (11, 12):
        result = machine.produce(producer=following, sequence=1, in_transaction="t", version=version)
        assert result.error == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_109_a_producer_may_change_from_the_first_to_the_second_generation_between_transactions(machine):
    producer = open_transaction(machine)
    machine.commit(producer)
    upgraded = machine.producer(expects=producer)
    assert upgraded == (producer[0], producer[1] + 1)
    assert machine.produce(
        producer=upgraded, sequence=0, in_transaction="t", version=SECOND_GENERATION
    ).appended
    assert machine.commit(upgraded, v2=True).error == NONE


# --- G: timeouts and expiry ---


def test_118_a_timeout_aborts_under_the_next_epoch(machine):
    producer = open_transaction(machine, partitions=(0, 1))
    assert machine.time_out() == NONE
    ended = machine.events[-1]
    assert (ended.reason, ended.committed, ended.marker_epoch) == (EndReason.TIMEOUT, False, producer[1] + 1)
    assert machine.transaction().producer_epoch == producer[1] + 1
    assert machine.partition().last_stable_offset == 2


def test_118_a_late_end_of_the_first_generation_is_fenced(machine):
    producer = open_transaction(machine)
    machine.time_out()
    assert machine.commit(producer).error == machine.abort(producer).error == FENCED


def test_118_a_late_commit_of_the_second_generation_is_fenced_and_a_late_abort_recovers(machine):
    """KAFKA-20785: not INVALID_TXN_STATE, which would make the producer look broken."""
    producer = open_v2(machine)
    machine.time_out()
    assert machine.commit(producer, v2=True).error == FENCED
    reply = machine.abort(producer, v2=True)
    assert reply == (NONE, producer[0], producer[1] + 1)
    assert machine.produce(
        producer=(producer[0], producer[1] + 1), sequence=0, in_transaction="t", version=SECOND_GENERATION
    ).appended


def test_118_the_producer_that_was_timed_out_may_ask_for_its_next_epoch(machine):
    producer = open_v2(machine)
    machine.time_out()
    assert machine.producer(expects=producer) == (producer[0], producer[1] + 1)


def test_119_the_clock_starts_with_the_first_partition_and_not_before_its_time(machine):
    producer = machine.producer(timeout_ms=1000)
    machine.pass_time(5000)
    machine.add(producer, 0)
    assert transactions.next_deadline_age_ms(machine.state) == 6000
    machine.pass_time(999)
    assert transactions.timed_out(machine.state, machine.age_ms) == []
    command = AbortTimedOutTransaction("t", *producer)
    assert machine.do(command).error == INVALID_STATE
    machine.pass_time(1)
    assert transactions.timed_out(machine.state, machine.age_ms) == [command]
    assert machine.do(command).error == NONE
    assert transactions.next_deadline_age_ms(machine.state) is None


def test_119_a_timeout_that_comes_after_the_end_changes_nothing(machine):
    producer = open_transaction(machine)
    machine.commit(producer)
    machine.pass_time(60_000)
    assert machine.do(AbortTimedOutTransaction("t", *producer)).error == INVALID_STATE
    assert machine.do(AbortTimedOutTransaction("nobody", *producer)).error == NO_MAPPING


def test_119_a_timeout_does_not_hit_the_next_transaction_of_the_same_epoch(machine):
    producer = open_transaction(machine)
    machine.pass_time(59_999)
    (late,) = transactions.timed_out(machine.state, machine.age_ms + 1)
    machine.commit(producer)
    machine.add(producer, 0)
    machine.pass_time(1)
    assert machine.do(late).error == INVALID_STATE
    assert machine.transaction().state is TransactionState.ONGOING


def test_the_latest_are_told_first_and_no_more_than_asked_for(machine):
    for name, timeout_ms in (("a", 3000), ("b", 1000), ("c", 2000), ("d", 1000), ("e", 9000)):
        producer = machine.producer(name, timeout_ms=timeout_ms)
        machine.add(producer, 0, name=name)
        machine.pass_time(10)
    names = [command.transactional_id for command in transactions.timed_out(machine.state, 5000)]
    assert names == ["b", "d", "c", "a"]
    assert len(transactions.timed_out(machine.state, 5000, limit=2)) == 2


def test_120_a_timeout_at_the_last_epoch_rotates_the_producer_id(small):
    producer = with_epoch(small, 5)
    small.produce(producer=producer, sequence=0, in_transaction="t", version=SECOND_GENERATION)
    assert small.time_out() == NONE
    assert (small.transaction().producer_id, small.transaction().producer_epoch) == (producer[0] + 1, 0)
    assert small.commit(producer, v2=True).error == FENCED
    assert small.abort(producer, v2=True) == (NONE, producer[0] + 1, 0)


def test_121_an_idle_transactional_id_is_forgotten_and_an_open_transaction_is_not(machine):
    producer = machine.producer()
    open_transaction(machine, name="busy")
    machine.pass_time(7 * DAY_MS)
    idle, busy = machine.transaction("t"), machine.transaction("busy")
    expire = ExpireTransactionalId("t", *producer, 7 * DAY_MS)
    assert transactions.expiry_of(idle, machine.age_ms, 7 * DAY_MS) == expire
    assert transactions.expiry_of(idle, machine.age_ms, 7 * DAY_MS + 1) is None
    assert transactions.expiry_of(busy, machine.age_ms, 0) is None
    assert machine.do(ExpireTransactionalId("t", *producer, 7 * DAY_MS)).error == NONE
    assert machine.do(ExpireTransactionalId("busy", *machine.producer("x"), 0)).error == NO_MAPPING
    busy = machine.transaction("busy")
    expire = ExpireTransactionalId("busy", busy.producer_id, busy.producer_epoch, 0)
    assert machine.do(expire).error == INVALID_STATE
    assert "t" not in machine.state.transactions
    assert producer[0] not in machine.state.producer_owners


def test_121_with_it_go_all_producer_ids_that_it_ever_had(small):
    ids = {small.producer()[0] for _ in range(4 * (small.state.limits.producer_epoch_max + 1))}
    assert len(ids) == 4
    forgotten = small.transaction("t")
    assert set(forgotten.producer_ids) == ids == set(small.state.producer_owners)
    small.do(ExpireTransactionalId("t", forgotten.producer_id, forgotten.producer_epoch, 0))
    assert small.state.producer_owners == {}


def test_what_no_transaction_covers_cannot_be_written_to(machine):
    machine.producer()
    with pytest.raises(TypeError):
        machine.transaction("t").partitions[TOPIC_ID, 0] = None


def test_121_one_that_was_used_meanwhile_is_kept(machine):
    producer = machine.producer()
    machine.pass_time(7 * DAY_MS)
    machine.add(producer, 0)
    machine.commit(producer)
    assert machine.do(ExpireTransactionalId("t", *producer, 7 * DAY_MS)).error == INVALID_STATE


def test_122_after_that_the_old_producer_has_no_mapping_and_a_new_one_is_given(machine):
    producer = machine.producer()
    machine.pass_time(7 * DAY_MS)
    machine.do(ExpireTransactionalId("t", *producer, 7 * DAY_MS))
    assert machine.add(producer, 0).error == NO_MAPPING
    for version in (11, 12):
        result = machine.produce(producer=producer, sequence=0, in_transaction="t", version=version)
        assert result.error == NO_MAPPING
    assert machine.producer(expects=producer) == (producer[0] + 1, 0)


def test_113_a_deleted_topic_does_not_keep_a_transaction_from_ending(machine):
    producer = open_transaction(machine, partitions=(0, 1))
    machine.add(producer, 0, topic_id=OTHER_TOPIC_ID)
    machine.add_group(producer)
    machine.send_offsets(producer, {1: 5})
    machine.remove_topic(TOPIC_ID)
    assert machine.commit(producer).error == NONE
    assert [(marker.topic_id, marker.offset) for marker in machine.events[-1].markers] == [
        (OTHER_TOPIC_ID, 0)
    ]
    assert machine.events[-1].offsets == []
    assert machine.state.pending_offsets == {}


def test_timeouts_come_with_init_from_the_client_and_its_name_is_journaled(machine):
    machine.do(InitProducerId("t", 1000, -1, -1, "my-client", "/10.0.0.1"))
    assert (machine.events[-1].client_id, machine.events[-1].host) == ("my-client", "/10.0.0.1")


# --- H: last stable offset and aborted index ---


def test_127_the_last_stable_offset_is_the_first_of_the_earliest_open_transaction(machine):
    machine.produce(count=5)
    assert machine.partition().last_stable_offset == 5
    open_transaction(machine, name="a")
    machine.produce(count=5)
    b = open_transaction(machine, name="b")
    assert machine.partition().last_stable_offset == 5
    machine.commit(b, name="b")
    assert machine.partition().last_stable_offset == 5


def test_128_it_moves_only_when_the_earliest_transaction_ends(machine):
    a = open_transaction(machine, name="a")
    b = open_transaction(machine, name="b")
    machine.commit(b, name="b")
    assert machine.partition().last_stable_offset == 0
    machine.commit(a, name="a")
    assert machine.partition().last_stable_offset == machine.partition().log_end_offset == 4


def test_129_it_never_falls_below_the_log_start(machine):
    open_transaction(machine)
    for state in (machine.state, machine.replayed):
        state.topics[TOPIC_ID].partitions[0].log_start_offset = 1
    assert machine.partition().last_stable_offset == 1


def test_133_aborted_transactions_are_indexed_with_the_last_stable_offset_of_their_completion(machine):
    a = open_transaction(machine, name="a")
    b = open_transaction(machine, name="b")
    machine.abort(b, name="b")
    machine.abort(a, name="a")
    aborted = machine.partition().aborted
    assert [tuple(aborted.entry(index)) for index in range(len(aborted))] == [
        (b[0], 1, 2, 0),
        (a[0], 0, 3, 4),
    ]


def test_136_a_transaction_that_is_only_a_marker_is_not_in_the_aborted_index(machine):
    producer = machine.producer()
    machine.add(producer, 0)
    machine.abort(producer)
    assert len(machine.partition().aborted) == 0
    assert machine.partition().last_stable_offset == machine.partition().log_end_offset == 1


def test_36_a_marker_for_a_producer_unknown_here_fences_older_epochs(machine):
    producer = machine.producer()
    machine.add(producer, 0)
    machine.abort(producer, v2=True)
    assert producer_window.epoch_of(machine.partition().producers[producer[0]]) == producer[1] + 1
