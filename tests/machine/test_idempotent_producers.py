"""Idempotent producers: what Kafka does about sequences, epochs and duplicates on a partition."""

from __future__ import annotations

import pytest

from oncelog.machine import producer_window
from oncelog.machine.commands import ExpireProducers
from oncelog.machine.limits import Limits
from oncelog.wire.errors import ErrorCode
from tests.machine.driver import (
    FIRST_GENERATION,
    LOG_APPEND_TIME,
    OTHER_TOPIC_ID,
    SECOND_GENERATION,
    TOPIC_ID,
    TRANSACTIONAL,
    UNKNOWN_TOPIC_ID,
    Machine,
    batch,
)

MAX = 2**31 - 1
P = (1000, 0)
DAY_MS = 86_400_000


@pytest.fixture
def machine():
    machine = Machine()
    yield machine
    machine.check()


def stored(machine: Machine, *batches: tuple[int, int], producer=P) -> list[int]:
    """Append batches of (sequence, count); their base offsets."""
    offsets = []
    for sequence, count in batches:
        result = machine.produce(producer=producer, sequence=sequence, count=count)
        assert result.error == ErrorCode.NONE
        assert result.appended
        offsets.append(result.base_offset)
    return offsets


# --- A: what produce checks against the state ---


def test_offsets_go_on_from_the_log_end(machine):
    assert machine.produce(count=3).base_offset == 0
    assert machine.produce(count=2).base_offset == 3
    assert machine.partition().log_end_offset == 5
    assert machine.produce(1).base_offset == 0


def test_a_bad_partition_does_not_affect_the_good_ones(machine):
    results = machine.produce_all(
        [
            batch(0, timestamp=machine.wall_ms),
            batch(1, producer=P, sequence=0, size=2_000_000, timestamp=machine.wall_ms),
            batch(9, timestamp=machine.wall_ms),
            batch(0, topic_id=OTHER_TOPIC_ID, timestamp=machine.wall_ms),
        ]
    )
    assert [result.error for result in results] == [
        ErrorCode.NONE,
        ErrorCode.MESSAGE_TOO_LARGE,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.NONE,
    ]
    assert [result.appended for result in results] == [True, False, False, True]
    assert machine.partition(1).log_end_offset == 0
    assert len(machine.events) == 2


def test_a_partition_named_twice_is_refused_wherever_it_stands(machine):
    results = machine.produce_all([batch(0), batch(1), batch(0)])
    assert [result.error for result in results] == [
        ErrorCode.INVALID_REQUEST,
        ErrorCode.NONE,
        ErrorCode.INVALID_REQUEST,
    ]
    assert machine.partition(0).log_end_offset == 0


@pytest.mark.parametrize(
    ("version", "error"),
    [(12, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION), (13, ErrorCode.UNKNOWN_TOPIC_ID)],
)
def test_an_unknown_topic_is_told_by_the_name_or_the_id_that_the_version_has(machine, version, error):
    assert machine.produce(topic_id=UNKNOWN_TOPIC_ID, version=version).error == error
    assert machine.produce(7, version=version).error == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert machine.produce(-1, version=version).error == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def test_the_largest_batch_is_the_topics_max_message_bytes(machine):
    machine.add_topic(b"S" * 16, "small", 1, max_message_bytes="1000")
    assert machine.produce(topic_id=b"S" * 16, size=1000).error == ErrorCode.NONE
    refused = machine.produce(topic_id=b"S" * 16, size=1001)
    assert refused.error == ErrorCode.MESSAGE_TOO_LARGE
    assert "1000" in refused.message


def test_a_batch_larger_than_a_segment_is_refused(machine):
    machine.add_topic(b"S" * 16, "small", 1, max_message_bytes="20000000", segment_bytes="1048576")
    assert machine.produce(topic_id=b"S" * 16, size=1_048_576).error == ErrorCode.NONE
    assert machine.produce(topic_id=b"S" * 16, size=1_048_577).error == ErrorCode.RECORD_LIST_TOO_LARGE


def test_timestamps_at_the_threshold_are_accepted_and_those_past_it_are_not(machine):
    topic_id = b"S" * 16
    machine.add_topic(
        topic_id,
        "dated",
        1,
        message_timestamp_before_max_ms="1000",
        message_timestamp_after_max_ms="500",
    )
    now = machine.wall_ms
    assert machine.produce(topic_id=topic_id, timestamp=now + 500).error == ErrorCode.NONE
    assert machine.produce(topic_id=topic_id, timestamp=now - 1000).error == ErrorCode.NONE
    late = machine.produce(topic_id=topic_id, timestamp=now + 501)
    early = machine.produce(topic_id=topic_id, timestamp=now, base_timestamp=now - 1001)
    assert late.error == early.error == ErrorCode.INVALID_TIMESTAMP
    assert late.timestamp_range_ms == early.timestamp_range_ms == (now - 1000, now + 500)


def test_records_without_a_timestamp_are_accepted_whatever_the_range(machine):
    topic_id = b"S" * 16
    machine.add_topic(topic_id, "dated", 1, message_timestamp_before_max_ms="1000")
    assert machine.produce(topic_id=topic_id, timestamp=-1).error == ErrorCode.NONE


def test_a_producer_must_not_say_that_the_broker_dated_its_batch(machine):
    assert machine.produce(attributes=LOG_APPEND_TIME).error == ErrorCode.INVALID_TIMESTAMP


def test_a_topic_with_log_append_time_dates_batches_itself(machine):
    topic_id = b"S" * 16
    machine.add_topic(topic_id, "dated", 1, message_timestamp_type="LogAppendTime")
    result = machine.produce(topic_id=topic_id, timestamp=5, producer=P, sequence=0)
    assert (result.error, result.log_append_time_ms) == (ErrorCode.NONE, machine.wall_ms)
    assert machine.events[-1].is_log_append_time
    assert machine.partition(0, topic_id).extents.extent(0).max_timestamp == machine.wall_ms
    first = machine.wall_ms
    machine.pass_time(10)
    again = machine.produce(topic_id=topic_id, timestamp=5, producer=P, sequence=0)
    assert again.log_append_time_ms == first
    assert machine.produce().log_append_time_ms == -1, "where producers date the records"


def test_timestamp_errors_win_over_duplicates(machine):
    topic_id = b"S" * 16
    machine.add_topic(topic_id, "dated", 1, message_timestamp_before_max_ms="1000")
    machine.produce(topic_id=topic_id, producer=P, sequence=0)
    machine.pass_time(2000)
    late_retry = machine.produce(topic_id=topic_id, producer=P, sequence=0, timestamp=machine.wall_ms - 2000)
    assert late_retry.error == ErrorCode.INVALID_TIMESTAMP


def test_refusals_give_the_log_start_save_those_that_kafka_expects(machine):
    stored(machine, (0, 1))
    assert machine.produce(producer=P, sequence=5).log_start_offset == 0
    assert machine.produce(size=9_999_999).log_start_offset == -1
    assert machine.produce(9).log_start_offset == -1


def test_a_producers_batch_needs_an_epoch_and_a_sequence(machine):
    assert machine.produce(producer=(5, 0), sequence=-1).error == ErrorCode.INVALID_RECORD
    assert machine.produce(producer=(5, -1), sequence=0).error == ErrorCode.INVALID_RECORD


# --- B: idempotent producers ---


def test_24_resending_the_last_batch_gives_its_offset_and_appends_nothing(machine):
    stored(machine, (0, 2), (2, 3))
    again = machine.produce(producer=P, sequence=2, count=3)
    assert (again.error, again.base_offset, again.appended) == (ErrorCode.NONE, 2, False)
    assert machine.partition().log_end_offset == 5


def test_25_each_of_the_last_five_is_a_duplicate_and_older_ones_are_told_so(machine):
    offsets = stored(machine, *[(n * 2, 2) for n in range(7)])
    for number in range(2, 7):
        again = machine.produce(producer=P, sequence=number * 2, count=2)
        assert (again.error, again.base_offset) == (ErrorCode.NONE, offsets[number])
    for number in range(2):
        older = machine.produce(producer=P, sequence=number * 2, count=2)
        assert (older.error, older.base_offset) == (ErrorCode.DUPLICATE_SEQUENCE_NUMBER, -1)
    assert machine.partition().log_end_offset == 14


def test_25_what_was_sent_before_the_producer_was_first_seen_is_out_of_order(machine):
    stored(machine, *[(100 + n, 1) for n in range(7)])
    assert machine.produce(producer=P, sequence=99).error == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_26_a_batch_that_overlaps_a_remembered_one_without_being_it_is_out_of_order(machine):
    stored(machine, (0, 3), (3, 3))
    for sequence, count in ((3, 2), (4, 2), (4, 5), (1, 4), (3, 4)):
        result = machine.produce(producer=P, sequence=sequence, count=count)
        assert result.error == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_27_a_gap_is_out_of_order_and_appends_nothing(machine):
    stored(machine, (0, 1))
    result = machine.produce(producer=P, sequence=2)
    assert (result.error, result.base_offset) == (ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, -1)
    assert machine.partition().log_end_offset == 1


def test_28_an_unknown_producer_may_start_at_any_sequence(machine):
    stored(machine, (77, 1), (78, 1))


def test_30_a_higher_epoch_must_start_at_zero_and_drops_the_remembered_batches(machine):
    stored(machine, (0, 1), (1, 1))
    newer = (P[0], 3)
    assert machine.produce(producer=newer, sequence=2).error == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert machine.produce(producer=newer, sequence=0, count=9).appended
    assert machine.produce(producer=P, sequence=1).error == ErrorCode.INVALID_PRODUCER_EPOCH
    assert machine.produce(producer=newer, sequence=1).error == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_31_a_lower_epoch_is_an_invalid_producer_epoch(machine):
    stored(machine, (0, 1), producer=(5, 2))
    assert machine.produce(producer=(5, 1), sequence=0).error == ErrorCode.INVALID_PRODUCER_EPOCH


def test_32_the_last_sequence_is_followed_by_zero(machine):
    stored(machine, (MAX, 1))
    assert machine.produce(producer=P, sequence=1).error == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert machine.produce(producer=P, sequence=0).appended


def test_33_a_batch_may_span_the_wrap_and_its_duplicate_is_known(machine):
    stored(machine, (MAX - 10, 21))
    again = machine.produce(producer=P, sequence=MAX - 10, count=21)
    assert (again.error, again.appended) == (ErrorCode.NONE, False)
    assert machine.produce(producer=P, sequence=10).appended


def test_37_a_refused_batch_leaves_the_producers_state_as_it_was(machine):
    stored(machine, (0, 1))
    before = machine.partition().producers[P[0]]
    machine.produce(producer=P, sequence=7)
    machine.produce(producer=(P[0], 1), sequence=7)
    machine.produce(producer=P, sequence=1, attributes=TRANSACTIONAL, in_transaction="t")
    assert machine.partition().producers[P[0]] is before


def test_38_two_producers_on_one_partition_are_told_apart(machine):
    for sequence in range(4):
        stored(machine, (sequence, 1), producer=(1, 0))
        stored(machine, (sequence, 1), producer=(2, 0))
    assert machine.produce(producer=(1, 0), sequence=5).error == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_38_partitions_have_sequences_of_their_own(machine):
    machine.produce(0, producer=P, sequence=0)
    assert machine.produce(1, producer=P, sequence=0).appended


def test_39_a_producer_is_forgotten_when_it_was_idle_for_long_enough(machine):
    stored(machine, (0, 1))
    machine.pass_time(DAY_MS - 1)
    expire = ExpireProducers(TOPIC_ID, 0, (P[0], 4711), DAY_MS)
    machine.do(expire)
    assert P[0] in machine.partition().producers
    machine.pass_time(1)
    machine.do(expire)
    assert P[0] not in machine.partition().producers


def test_39_a_producer_with_an_open_transaction_is_never_forgotten(machine):
    producer = machine.producer()
    machine.add(producer, 0)
    machine.produce(producer=producer, sequence=0, in_transaction="t")
    machine.pass_time(10 * DAY_MS)
    machine.do(ExpireProducers(TOPIC_ID, 0, (producer[0],), DAY_MS))
    assert producer[0] in machine.partition().producers


def test_41_after_it_was_forgotten_a_producer_may_go_on_at_any_sequence(machine):
    stored(machine, (0, 1))
    machine.pass_time(DAY_MS)
    machine.do(ExpireProducers(TOPIC_ID, 0, (P[0],), DAY_MS))
    assert machine.produce(producer=P, sequence=5).appended
    window = producer_window.unpack(machine.partition().producers[P[0]])
    assert (window.last_sequence, window.run) == (5, 1)


def test_42_state_of_a_producer_survives_a_log_start_past_all_its_data(machine):
    stored(machine, (0, 3))
    for state in (machine.state, machine.replayed):
        state.topics[TOPIC_ID].partitions[0].log_start_offset = 3
    assert machine.produce(producer=P, sequence=0, count=3).base_offset == 0
    assert machine.produce(producer=P, sequence=4).error == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert machine.produce(producer=P, sequence=3).log_start_offset == 3


def test_46_replay_gives_the_state_that_served(machine):
    stored(machine, *[(n, 1) for n in range(20)])
    machine.check()
    assert machine.replayed.topics[TOPIC_ID].partitions[0].log_end_offset == 20


def test_52_producer_ids_are_given_once(machine):
    given = [
        machine.producer(None)[0],
        machine.producer("a")[0],
        machine.producer(None)[0],
        machine.producer("b")[0],
    ]
    assert given == sorted(set(given))


# --- owned producer ids, batches outside of transactions ---


def test_an_owned_producer_is_fenced_in_every_partition_at_once(machine):
    producer = machine.producer()
    assert machine.produce(0, producer=producer, sequence=0).appended
    machine.init()
    assert machine.produce(0, producer=producer, sequence=1).error == ErrorCode.INVALID_PRODUCER_EPOCH
    assert machine.produce(1, producer=producer, sequence=0).error == ErrorCode.INVALID_PRODUCER_EPOCH


def test_an_owned_producer_id_that_was_rotated_away_stays_fenced():
    machine = Machine(Limits(producer_epoch_max=1))
    old = machine.producer()
    machine.init()
    machine.init()
    assert machine.transaction().producer_id != old[0]
    for epoch in range(3):
        result = machine.produce(producer=(old[0], epoch), sequence=0)
        assert result.error == ErrorCode.INVALID_PRODUCER_EPOCH
    in_transaction = machine.produce(
        producer=(old[0], 1), sequence=0, in_transaction="t", version=SECOND_GENERATION
    )
    assert in_transaction.error == ErrorCode.INVALID_PRODUCER_EPOCH
    machine.check()


def test_50_a_plain_batch_of_a_producer_with_a_transaction_open_there_is_refused(machine):
    producer = machine.producer()
    machine.add(producer, 0)
    machine.produce(producer=producer, sequence=0, in_transaction="t", version=FIRST_GENERATION)
    refused = machine.produce(producer=producer, sequence=1)
    assert refused.error == ErrorCode.INVALID_TXN_STATE
    assert machine.produce(1, producer=producer, sequence=0).appended, "elsewhere it may"


def test_51_transactional_batches_of_two_producers_refuse_the_whole_request(machine):
    results = machine.produce_all(
        [
            batch(0, producer=(1, 0), sequence=0, attributes=TRANSACTIONAL),
            batch(1, producer=(1, 1), sequence=0, attributes=TRANSACTIONAL),
            batch(2),
        ],
        in_transaction="t",
    )
    assert [result.error for result in results] == [ErrorCode.INVALID_PRODUCER_ID_MAPPING] * 3


@pytest.mark.parametrize("count", [1, 2])
def test_85_a_transactional_batch_in_a_request_without_transactional_id_refuses_it_all(machine, count):
    producer = machine.producer()
    one = batch(0, producer=producer, sequence=0, attributes=TRANSACTIONAL)
    results = machine.produce_all([one, batch(1)][:count])
    assert {result.error for result in results} == {ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED}


def test_a_transactional_batch_without_a_producer_id_is_refused(machine):
    machine.producer()
    assert machine.produce(in_transaction="t").error == ErrorCode.INVALID_RECORD
