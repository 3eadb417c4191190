"""What Produce checks before it stores anything, and with which error it refuses."""

from __future__ import annotations

import gzip
import struct

import cramjam
import lz4.frame
import pytest

from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.delete_topics import DeleteTopicsRequest
from oncelog.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from oncelog.wire.records import batch_crc_is_valid
from tests.support.batches import CONTROL, LOG_APPEND_TIME, batch, now_ms, record
from tests.support.fixtures import Broker, MakeTopic
from tests.support.raw import OpenConnection, RawConnection
from tests.support.speaking import (
    fetch,
    idempotent_producer,
    log_end_offset,
    produce,
    produce_many,
    produce_request,
    stored_batches,
    topic_id,
)
from tests.support.topics import create_topic
from tests.support.waiting import wait_for

EVERY_VERSION = range(3, 14)
HOUR_MS = 3_600_000


@pytest.mark.parametrize("version", EVERY_VERSION)
def test_every_version_stores_and_answers(
    connection: RawConnection, make_topic: MakeTopic, version: int
) -> None:
    topic = make_topic(partitions=2)
    answers = produce_many(
        connection, [(topic, 0, batch([b"a", b"b"])), (topic, 1, batch([b"c"]))], version=version
    )
    again = produce(connection, topic, batch([b"d"]), version=version)
    assert [(each.error_code, each.base_offset) for each in answers.values()] == [(0, 0), (0, 0)]
    assert (again.error_code, again.base_offset, again.log_append_time_ms) == (0, 2, -1)
    assert again.log_start_offset == (0 if version >= 5 else -1)
    assert [header.base_offset for header, _ in stored_batches(connection, topic)] == [0, 2]


@pytest.mark.parametrize("version", [0, 1, 2])
def test_the_versions_before_3_are_refused(open_connection: OpenConnection, version: int) -> None:
    """They are listed all the same: older librdkafka compresses nothing where they aren't (KAFKA-18659)."""
    connection = open_connection()
    header = struct.pack(">hhih", 0, version, 1, -1)
    connection.send_frame(header + struct.pack(">hii", 1, 1000, 0))
    assert connection.is_closed_by_broker()


MALFORMED = {
    "a checksum that is wrong": (batch(crc_xor=1), ErrorCode.CORRUPT_MESSAGE),
    "a length below that of any header": (batch(batch_length=13), ErrorCode.CORRUPT_MESSAGE),
    "a length shorter than a header": (batch(batch_length=40), ErrorCode.CORRUPT_MESSAGE),
    "a magic of 3": (batch(magic=3), ErrorCode.CORRUPT_MESSAGE),
    "a negative magic": (batch(magic=-1), ErrorCode.CORRUPT_MESSAGE),
    "two batches": (batch() + batch(), ErrorCode.INVALID_RECORD),
    "no bytes at all": (b"", ErrorCode.INVALID_RECORD),
    "a batch cut short": (batch([b"x" * 100])[:-1], ErrorCode.INVALID_RECORD),
    "a header cut short": (batch()[:30], ErrorCode.INVALID_RECORD),
    "a length beyond the end": (batch(batch_length=10_000), ErrorCode.INVALID_RECORD),
    "a base offset": (batch(base_offset=7), ErrorCode.INVALID_RECORD),
    "a control batch": (batch(attributes=CONTROL), ErrorCode.INVALID_RECORD),
    "fewer records than told": (batch([b"a", b"b"], record_count=3), ErrorCode.INVALID_RECORD),
    "more records than told": (batch([b"a", b"b"], record_count=1), ErrorCode.INVALID_RECORD),
    "a negative record count": (batch(record_count=-1), ErrorCode.INVALID_RECORD),
    "no records": (batch([], record_count=0, last_offset_delta=-1), ErrorCode.INVALID_RECORD),
    "a negative last offset": (batch(last_offset_delta=-2), ErrorCode.INVALID_RECORD),
    "a last offset that is too large": (batch(last_offset_delta=5), ErrorCode.INVALID_RECORD),
    "a negative sequence": (batch(producer_id=77, epoch=0, sequence=-1), ErrorCode.INVALID_RECORD),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_batch_is_refused_and_nothing_stored(
    connection: RawConnection, make_topic: MakeTopic, what: str
) -> None:
    records, expected = MALFORMED[what]
    topic = make_topic()
    answer = produce(connection, topic, records)
    assert (ErrorCode(answer.error_code), answer.base_offset) == (expected, -1)
    assert log_end_offset(connection, topic) == 0
    assert produce(connection, topic, batch()).base_offset == 0


@pytest.mark.deliberate_difference("Kafka turns such a batch into one of CreateTime; no client sends it")
def test_a_timestamp_type_that_is_the_brokers_is_refused(
    connection: RawConnection, make_topic: MakeTopic
) -> None:
    answer = produce(connection, make_topic(), batch(attributes=LOG_APPEND_TIME))
    assert answer.error_code == ErrorCode.INVALID_TIMESTAMP


@pytest.mark.deliberate_difference(
    "Kafka trips over null records and fails the whole request with UNKNOWN_SERVER_ERROR"
)
def test_null_records_are_refused(connection: RawConnection, make_topic: MakeTopic) -> None:
    assert produce(connection, make_topic(), None).error_code == ErrorCode.INVALID_RECORD


@pytest.mark.parametrize("magic", [0, 1])
def test_the_formats_before_batches_are_refused(
    connection: RawConnection, make_topic: MakeTopic, magic: int
) -> None:
    message = (
        struct.pack(">bb", magic, 0)
        + (struct.pack(">q", now_ms()) if magic else b"")
        + struct.pack(">ii", -1, -1)
    )
    old = struct.pack(">qiI", 0, 4 + len(message), 0) + message
    assert produce(connection, make_topic(), old).error_code == ErrorCode.INVALID_RECORD


@pytest.mark.parametrize("version", EVERY_VERSION)
def test_a_bad_partition_does_not_hold_up_a_good_one(
    connection: RawConnection, make_topic: MakeTopic, version: int
) -> None:
    topic = make_topic(partitions=3)
    answers = produce_many(
        connection,
        [(topic, 0, batch([b"a"])), (topic, 1, batch([b"b"], crc_xor=5)), (topic, 2, batch([b"c"]))],
        version=version,
    )
    assert [answers[topic, partition].error_code for partition in range(3)] == [
        0,
        ErrorCode.CORRUPT_MESSAGE,
        0,
    ]
    assert [log_end_offset(connection, topic, partition) for partition in range(3)] == [1, 0, 1]


def test_zstd_needs_version_7(connection: RawConnection, make_topic: MakeTopic) -> None:
    topic = make_topic()
    records = batch([b"x"], attributes=4, records=b"(\xb5/\xfd \x00\x01\x00\x00")
    assert produce(connection, topic, records, version=6).error_code == ErrorCode.UNSUPPORTED_COMPRESSION_TYPE


CODECS = {
    "gzip": (1, lambda plain: gzip.compress(plain, 1, mtime=0)),
    "snappy": (2, lambda plain: xerial(plain)),
    "lz4": (3, lambda plain: bytes(lz4.frame.compress(plain))),
    "zstd": (4, lambda plain: bytes(cramjam.zstd.compress(plain))),
}


def xerial(plain: bytes) -> bytes:
    """Snappy as Java's clients frame it: a header, and blocks with their lengths."""
    block = bytes(cramjam.snappy.compress_raw(plain))
    return b"\x82SNAPPY\0" + struct.pack(">iii", 1, 1, len(block)) + block


@pytest.mark.parametrize("codec", CODECS)
def test_each_codec_is_stored_as_it_was_sent(
    connection: RawConnection, make_topic: MakeTopic, codec: str
) -> None:
    topic = make_topic()
    attributes, compress = CODECS[codec]
    plain = b"".join(record(b"%d" % number * 40, offset_delta=number) for number in range(3))
    sent = batch([b""] * 3, attributes=attributes, records=compress(plain))
    assert produce(connection, topic, sent).error_code == 0
    ((_, stored),) = stored_batches(connection, topic)
    assert stored[16:] == sent[16:]


def test_an_unknown_topic_or_partition(
    connection: RawConnection, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    answers = produce_many(connection, [(unique_name, 0, batch()), (topic, 5, batch()), (topic, 0, batch())])
    assert answers[unique_name, 0].error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert answers[topic, 5].error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert answers[topic, 0].error_code == 0


def test_no_topic_comes_into_being_by_a_produce(connection: RawConnection, unique_name: str) -> None:
    """Clients that may create topics ask for its metadata."""
    unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    for _ in range(2):
        assert produce(connection, unique_name, batch()).error_code == unknown
    request = MetadataRequest(
        topics=[MetadataRequestTopic(name=unique_name)], allow_auto_topic_creation=False
    )
    assert connection.call(request, 9).topics[0].error_code == unknown


def test_a_topic_that_was_made_anew_is_another_one(
    connection: RawConnection, broker: Broker, make_topic: MakeTopic
) -> None:
    """Who goes by the old id is told; nothing meant for the old topic lands in the new one."""
    topic = make_topic()
    old_id = topic_id(connection, topic)
    assert produce(connection, topic, batch(), version=13).base_offset == 0
    deleted = connection.call(DeleteTopicsRequest(topic_names=[topic], timeout_ms=30_000), 5)
    assert deleted.responses[0].error_code == 0
    create_topic(broker.bootstrap, topic, 1, {})
    wait_for(
        lambda: (
            produce(connection, topic, batch([b"late"]), version=13).error_code == ErrorCode.UNKNOWN_TOPIC_ID
        ),
        "the old id's end",
    )
    del connection.topic_ids[topic]
    assert topic_id(connection, topic) != old_id
    assert produce(connection, topic, batch([b"new"]), version=13).base_offset == 0


@pytest.mark.parametrize("count", [1, 2, 500])
def test_offsets_go_on_without_a_gap_whatever_the_size_of_batches(
    connection: RawConnection, make_topic: MakeTopic, count: int
) -> None:
    topic = make_topic()
    answers = [produce(connection, topic, batch([b"x"] * count)) for _ in range(4)]
    assert [answer.base_offset for answer in answers] == [0, count, 2 * count, 3 * count]
    assert log_end_offset(connection, topic) == 4 * count


def test_an_unknown_topic_id(connection: RawConnection) -> None:
    stranger = bytes(range(16))
    request = produce_request([("?", 0, batch())], topic_ids={"?": stranger})
    (topic,) = connection.call(request, 13).responses
    assert bytes(topic.topic_id) == stranger
    assert topic.partition_responses[0].error_code == ErrorCode.UNKNOWN_TOPIC_ID


@pytest.mark.parametrize("acks", [2, -2])
def test_acks_are_0_1_or_all(connection: RawConnection, make_topic: MakeTopic, acks: int) -> None:
    topic = make_topic()
    assert produce(connection, topic, batch(), acks=acks).error_code == ErrorCode.INVALID_REQUIRED_ACKS
    assert log_end_offset(connection, topic) == 0


def test_acks_0_is_stored_and_not_answered(connection: RawConnection, make_topic: MakeTopic) -> None:
    topic = make_topic()
    connection.send(produce_request([(topic, 0, batch([b"quiet"]))], acks=0), 11, expect_answer=False)
    assert produce(connection, topic, batch([b"answered"])).base_offset == 1


def test_a_failure_with_acks_0_closes_the_connection(
    connection: RawConnection, make_topic: MakeTopic
) -> None:
    connection.send(produce_request([(make_topic(), 0, batch(crc_xor=1))], acks=0), 11, expect_answer=False)
    assert connection.is_closed_by_broker()


def test_a_batch_above_the_limit_with_acks_0_closes_the_connection(
    open_connection: OpenConnection, make_topic: MakeTopic
) -> None:
    topic = make_topic(**{"max.message.bytes": "1000"})
    quiet = open_connection()
    quiet.send(produce_request([(topic, 0, batch([b"x" * 1000]))], acks=0), 11, expect_answer=False)
    assert quiet.is_closed_by_broker()
    assert log_end_offset(open_connection(), topic) == 0


def test_a_batch_above_the_limit_is_too_large(connection: RawConnection, make_topic: MakeTopic) -> None:
    topic = make_topic(**{"max.message.bytes": "1000"})
    exactly = batch([b"x" * (1000 - len(batch([b"x" * 900])) + 900)])
    assert len(exactly) == 1000
    assert produce(connection, topic, exactly).error_code == 0
    assert produce(connection, topic, exactly[:-1] + b"..").error_code != 0
    assert produce(connection, topic, batch([b"x" * 1000])).error_code == ErrorCode.MESSAGE_TOO_LARGE


@pytest.mark.parametrize("version", EVERY_VERSION)
def test_a_transactional_batch_needs_a_transactional_id(
    connection: RawConnection, make_topic: MakeTopic, version: int
) -> None:
    """The whole request fails, partitions without transaction included."""
    topic = make_topic(partitions=2)
    producer_id = idempotent_producer(connection)
    transactional = batch(producer_id=producer_id, epoch=0, sequence=0, transactional=True)
    answers = produce_many(connection, [(topic, 0, transactional), (topic, 1, batch())], version=version)
    expected = ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    assert [each.error_code for each in answers.values()] == [expected, expected]
    assert log_end_offset(connection, topic, 1) == 0


def test_a_request_has_one_transactional_producer(connection: RawConnection, make_topic: MakeTopic) -> None:
    topic = make_topic(partitions=2)
    parts = [
        (topic, partition, batch(producer_id=1000 + partition, epoch=0, sequence=0, transactional=True))
        for partition in range(2)
    ]
    answers = produce_many(connection, parts, transactional_id="whoever")
    assert {each.error_code for each in answers.values()} == {ErrorCode.INVALID_PRODUCER_ID_MAPPING}


@pytest.mark.parametrize("internal", ["__consumer_offsets", "__transaction_state"])
def test_internal_topics_take_no_records(connection: RawConnection, broker: Broker, internal: str) -> None:
    """Kafka creates them when they are first needed, and until then does not know them."""
    answer = produce(connection, internal, batch())
    expected = {ErrorCode.INVALID_TOPIC_EXCEPTION}
    if not broker.is_oncelog:
        expected.add(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    assert answer.error_code in expected


# -- timestamps --


@pytest.mark.parametrize("version", [7, 8, 11])
def test_a_timestamp_too_far_ahead_is_refused_and_named(
    connection: RawConnection, make_topic: MakeTopic, version: int
) -> None:
    topic = make_topic()
    times = [now_ms(), now_ms() + 2 * HOUR_MS, now_ms()]
    answer = produce(connection, topic, batch([b"a", b"b", b"c"], timestamps_ms=times), version=version)
    assert answer.error_code == ErrorCode.INVALID_TIMESTAMP
    if version >= 8:
        assert [each.batch_index for each in answer.record_errors] == [1]
        assert answer.error_message
    assert log_end_offset(connection, topic) == 0


def test_a_timestamp_a_little_ahead_is_taken(connection: RawConnection, make_topic: MakeTopic) -> None:
    times = [now_ms() + HOUR_MS - 60_000]
    assert produce(connection, make_topic(), batch([b"a"], timestamps_ms=times)).error_code == 0


def test_an_old_timestamp_is_refused_where_the_topic_says_so(
    connection: RawConnection, make_topic: MakeTopic
) -> None:
    topic = make_topic(**{"message.timestamp.before.max.ms": "60000"})
    old = batch([b"a", b"b"], timestamps_ms=[now_ms() - HOUR_MS, now_ms()])
    answer = produce(connection, topic, old)
    assert answer.error_code == ErrorCode.INVALID_TIMESTAMP
    assert [each.batch_index for each in answer.record_errors] == [0]
    assert produce(connection, topic, batch()).error_code == 0


@pytest.mark.deliberate_difference("only base and max timestamp are checked, so that records stay unread")
def test_an_old_timestamp_behind_a_recent_first_one_is_stored(
    connection: RawConnection, make_topic: MakeTopic
) -> None:
    topic = make_topic(**{"message.timestamp.before.max.ms": "60000"})
    answer = produce(connection, topic, batch([b"a", b"b"], timestamps_ms=[now_ms(), now_ms() - HOUR_MS]))
    assert answer.error_code == 0


def test_no_timestamp_is_always_right(connection: RawConnection, make_topic: MakeTopic) -> None:
    topic = make_topic(**{"message.timestamp.before.max.ms": "60000"})
    assert produce(connection, topic, batch([b"a"], timestamps_ms=[-1])).error_code == 0


def test_log_append_time_is_the_brokers(connection: RawConnection, make_topic: MakeTopic) -> None:
    topic = make_topic(**{"message.timestamp.type": "LogAppendTime"})
    before = now_ms()
    answer = produce(connection, topic, batch([b"a", b"b"], timestamps_ms=[1000, 2000]))
    assert before - 5000 <= answer.log_append_time_ms <= now_ms() + 5000
    ((header, stored),) = stored_batches(connection, topic)
    assert header.max_timestamp == answer.log_append_time_ms
    assert header.is_log_append_time
    assert batch_crc_is_valid(stored, header)


def test_timestamps_are_checked_before_sequences(connection: RawConnection, make_topic: MakeTopic) -> None:
    topic = make_topic()
    producer_id = idempotent_producer(connection)
    good = batch([b"a"], producer_id=producer_id, epoch=0, sequence=0)
    bad = batch([b"a"], producer_id=producer_id, epoch=0, sequence=0, timestamps_ms=[now_ms() + 2 * HOUR_MS])
    assert produce(connection, topic, good).error_code == 0
    assert produce(connection, topic, bad).error_code == ErrorCode.INVALID_TIMESTAMP
    assert produce(connection, topic, good).base_offset == 0


# -- compacted topics --


@pytest.mark.parametrize("version", [7, 8, 11])
def test_a_compacted_topic_needs_keys(connection: RawConnection, make_topic: MakeTopic, version: int) -> None:
    topic = make_topic(**{"cleanup.policy": "compact"})
    records = record(b"with", key=b"k", offset_delta=0) + record(b"without", offset_delta=1)
    answer = produce(connection, topic, batch([b"", b""], records=records), version=version)
    assert answer.error_code == ErrorCode.INVALID_RECORD
    if version >= 8:
        assert [each.batch_index for each in answer.record_errors] == [1]
    assert log_end_offset(connection, topic) == 0
    assert produce(connection, topic, batch([b"x"], key=b"k"), version=version).error_code == 0


def test_a_partition_can_be_read_while_others_are_refused(
    connection: RawConnection, make_topic: MakeTopic
) -> None:
    topic = make_topic()
    produce(connection, topic, batch([b"kept"]))
    produce(connection, topic, batch([b"refused"], crc_xor=1))
    answer = fetch(connection, topic)
    assert (answer.error_code, answer.high_watermark) == (0, 1)
