"""The hand-tuned codecs of Produce and Fetch against the plain ones: the same values, bytes and refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oncelog.wire import codec, frames
from oncelog.wire.definition import DecodeError, EncodeError, Message, WireError
from oncelog.wire.messages.fetch import (
    AbortedTransaction,
    FetchableTopicResponse,
    FetchPartition,
    FetchRequest,
    FetchResponse,
    FetchTopic,
    NodeEndpoint,
    PartitionData,
)
from oncelog.wire.messages.produce import (
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
    TopicProduceResponse,
)
from tests.wire.catalogue import MESSAGES, versions_of
from tests.wire.generating import full, generated, sparse, values

DECODERS = (ProduceRequest, FetchRequest)
ENCODERS = (ProduceResponse, FetchResponse)
TUNED = [(message, version) for message in DECODERS + ENCODERS for version in versions_of(message)]
each_tuned = pytest.mark.parametrize(
    ("message", "version"), TUNED, ids=[f"{message.__name__}-v{version}" for message, version in TUNED]
)


def outcome(call: Callable[[], Any]) -> Any:
    """A value, or the kind of error instead of one."""
    try:
        return call()
    except WireError as error:
        return type(error)


def decode_plainly(message: type[Message], data: bytes, version: int) -> Any:
    flexible = message.is_flexible(version)
    try:
        value, end = codec.decoder(message, version, flexible, flexible)(data, memoryview(data), 0, len(data))
    except (IndexError, codec.struct.error, UnicodeDecodeError):
        raise DecodeError from None
    if end != len(data):
        raise DecodeError
    return value


def encode_plainly(message: Message, version: int) -> bytes:
    flexible = message.is_flexible(version)
    out: list[Any] = []
    try:
        codec.encoder(type(message), version, flexible, flexible)(message, out.append)
    except (codec.struct.error, AttributeError, TypeError, UnicodeEncodeError):
        raise EncodeError from None
    return b"".join(out)


def same(message: type[Message], data: bytes, version: int) -> None:
    tuned = outcome(lambda: message.decode(data, version))
    assert tuned == outcome(lambda: decode_plainly(message, data, version))
    if isinstance(tuned, Message):
        assert tuned.encode(version) == encode_plainly(tuned, version)
        assert [type(each) for each in vars_of(tuned)] == [
            type(each) for each in vars_of(decode_plainly(message, data, version))
        ]


def vars_of(value: Any) -> list[Any]:
    return [getattr(value, spec.name) for spec in type(value).fields]


def test_only_produce_and_fetch_are_tuned() -> None:
    assert {each for each in MESSAGES if each.tuned_decoder is not None} == set(DECODERS)
    assert {each for each in MESSAGES if each.tuned_encoder is not None} == set(ENCODERS)


@each_tuned
def test_generated_values(message: type[Message], version: int) -> None:
    @generated(10)
    @given(values(message, version))
    def check(value: Any) -> None:
        data = value.encode(version)
        assert data == encode_plainly(value, version)
        same(message, data, version)

    check()


# The versions in which another form begins.
FORMS = [(ProduceRequest, version) for version in (3, 9, 13)] + [
    (FetchRequest, version) for version in (11, 12, 13, 15, 18)
]


@pytest.mark.parametrize(
    ("message", "version"), FORMS, ids=[f"{message.__name__}-v{version}" for message, version in FORMS]
)
def test_spoilt_and_truncated_bytes(message: type[Message], version: int) -> None:
    for value in (full(message, version), sparse(message, version), *usual(message, version)):
        data = value.encode(version)
        if len(data) > 1000:
            continue
        for size in range(len(data)):
            same(message, data[:size], version)
        same(message, data + b"\0", version)
        for position in range(len(data)):
            for byte in (0x00, 0x02, 0x80, 0xFF):
                same(message, data[:position] + bytes((byte,)) + data[position + 1 :], version)


@each_tuned
def test_values_that_other_versions_have(message: type[Message], version: int) -> None:
    """What this version lacks is refused or dropped by both codecs alike."""
    for other in versions_of(message):
        value = full(message, other)
        assert outcome(lambda value=value: value.encode(version)) == outcome(
            lambda value=value: encode_plainly(value, version)
        )


@generated(40)
@given(st.data())
def test_impossible_values(data: st.DataObject) -> None:
    message, version = data.draw(st.sampled_from([each for each in TUNED if each[0] in ENCODERS]))
    value = data.draw(values(message, version))
    wrong = data.draw(st.sampled_from([None, -1, "x", b"", [None], object(), 1 << 70]))
    target: Any = value
    while True:
        spec = data.draw(st.sampled_from(type(target).fields))
        inner = getattr(target, spec.name)
        if isinstance(inner, list) and inner and hasattr(inner[0], "fields") and data.draw(st.booleans()):
            target = inner[0]
            continue
        setattr(target, spec.name, wrong)
        break
    assert outcome(lambda: value.encode(version)) == outcome(lambda: encode_plainly(value, version))


# --- the usual form takes the tuned way ---


def topic(version: int, by_id_from: int, name: str = "topic") -> dict[str, Any]:
    return {"topic_id": bytes(range(16))} if version >= by_id_from else {name: "flights"}


def usual(message: type[Message], version: int) -> list[Message]:
    """What clients and brokers send all day: one partition, and several."""
    if message is ProduceRequest:
        return [
            ProduceRequest(
                transactional_id=transactional_id,
                acks=-1,
                timeout_ms=30_000,
                topic_data=[
                    TopicProduceData(
                        **topic(version, 13, "name"),
                        partition_data=[
                            PartitionProduceData(index=index, records=bytes(size))
                            for index in range(partitions)
                        ],
                    )
                ],
            )
            for transactional_id, size, partitions in (
                (None, 100, 1),
                ("orders", 100, 1),
                (None, 20_000, 1),
                *([(None, 300, 3)] if version >= 9 else []),
            )
        ]
    if message is FetchRequest:
        partition = FetchPartition(partition=1, fetch_offset=5, partition_max_bytes=1 << 20)
        return [
            FetchRequest(max_wait_ms=500, min_bytes=1, session_epoch=3),
            FetchRequest(topics=[FetchTopic(**topic(version, 13), partitions=[partition] * 3)]),
        ]
    if message is ProduceResponse:
        taken = [PartitionProduceResponse(index=index, base_offset=7) for index in range(2)]
        return [
            ProduceResponse(
                responses=[TopicProduceResponse(**topic(version, 13, "name"), partition_responses=taken)]
            )
        ]
    fetched = [
        PartitionData(partition_index=1, aborted_transactions=None, records=b"records"),
        PartitionData(partition_index=2, aborted_transactions=[], records=None),
    ]
    return [
        FetchResponse(responses=[FetchableTopicResponse(**topic(version, 13), partitions=fetched)] * 2),
        FetchResponse(),
    ]


def refuse(*_: Any) -> Any:
    raise AssertionError("this was left to the plain codec")


@pytest.mark.parametrize("version", range(3, 14))
def test_usual_produce_requests_take_the_tuned_way(version: int) -> None:
    assert ProduceRequest.tuned_decoder is not None
    tuned = ProduceRequest.tuned_decoder(version, refuse)
    for value in usual(ProduceRequest, version):
        data = value.encode(version)
        assert tuned(data, memoryview(data), 0, len(data)) == (value, len(data))


@pytest.mark.parametrize("version", range(12, 19))
def test_usual_fetch_requests_take_the_tuned_way(version: int) -> None:
    assert FetchRequest.tuned_decoder is not None
    tuned = FetchRequest.tuned_decoder(version, refuse)
    for value in usual(FetchRequest, version):
        data = value.encode(version)
        assert tuned(data, memoryview(data), 0, len(data)) == (value, len(data))


@pytest.mark.parametrize(
    ("message", "version"),
    [(ProduceResponse, version) for version in range(9, 14)]
    + [(FetchResponse, version) for version in range(11, 19)],
)
def test_usual_responses_take_the_tuned_way(
    message: type[Message], version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert message.tuned_encoder is not None
    expected = [encode_plainly(value, version) for value in usual(message, version)]
    # The plain encoder of a partition is asked for when the tuned one is made.
    monkeypatch.setattr(codec, "encoder", lambda *_: refuse)
    tuned = message.tuned_encoder(version, refuse)
    for value, data in zip(usual(message, version), expected, strict=True):
        out: list[Any] = []
        tuned(value, out.append)
        assert b"".join(out) == data


def test_unusual_partitions_beside_usual_ones() -> None:
    aborted = PartitionData(aborted_transactions=[AbortedTransaction(producer_id=1)], records=b"r")
    plain = PartitionData(aborted_transactions=None, records=b"s")
    response = FetchResponse(
        responses=[FetchableTopicResponse(topic="t", partitions=[plain, aborted, plain])],
        node_endpoints=[],
    )
    for version in (11, 12):
        assert response.encode(version) == encode_plainly(response, version)
    response.node_endpoints = [NodeEndpoint(node_id=1, host="h", port=9092)]
    assert outcome(lambda: response.encode(12)) is EncodeError


@pytest.mark.parametrize(
    ("partition_class", "struct_name", "field_name"),
    [
        (partition, spec.name, inner.name)
        for partition in (PartitionData, PartitionProduceResponse)
        for spec in partition.fields
        if spec.type.name == "struct"
        for inner in spec.type.element.fields
    ],
)
@pytest.mark.parametrize("version", [9, 10, 11, 12, 13])
def test_each_tagged_field_alone_makes_a_difference(
    partition_class: type[Any], struct_name: str, field_name: str, version: int
) -> None:
    partition = partition_class()
    setattr(getattr(partition, struct_name), field_name, 3)
    value: Message
    if partition_class is PartitionData:
        value = FetchResponse(responses=[FetchableTopicResponse(partitions=[partition])])
    else:
        value = ProduceResponse(responses=[TopicProduceResponse(partition_responses=[partition])])
    assert outcome(lambda: value.encode(version)) == outcome(lambda: encode_plainly(value, version))


@pytest.mark.parametrize("version", [3, 8, 9, 13])
def test_null_record_errors(version: int) -> None:
    partition = PartitionProduceResponse()
    partition.record_errors = None  # type: ignore[assignment]
    value = ProduceResponse(responses=[TopicProduceResponse(partition_responses=[partition])])
    assert outcome(lambda: value.encode(version)) == outcome(lambda: encode_plainly(value, version))


def test_a_negative_length_is_no_large_one() -> None:
    """-2 and 65,534 are the same two bytes, and that many may follow."""
    rest = usual(ProduceRequest, 8)[0].encode(8)[2:]
    data = b"\xff\xfe" + b"t" * 0xFFFE + rest
    same(ProduceRequest, data, 8)
    assert outcome(lambda: ProduceRequest.decode(data, 8)) is DecodeError


# --- records are not copied ---


@pytest.mark.parametrize("version", range(3, 14))
def test_records_of_a_request_are_views_of_its_frame(version: int) -> None:
    for value in (*usual(ProduceRequest, version), full(ProduceRequest, version)):
        frame = frames.encode_request(1, "c", value, version)[4:]
        header = frames.decode_request_header(frame)
        for of in ProduceRequest.decode(frame, version, header.body_offset).topic_data:
            for partition in of.partition_data:
                assert isinstance(partition.records, memoryview)
                assert partition.records.obj is frame
