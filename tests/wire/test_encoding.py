"""What encoders refuse, and what values are: defaults, equality, ranges of versions."""

from __future__ import annotations

from typing import Any

import pytest

from oncelog.wire import codec
from oncelog.wire.definition import EncodeError, Message, Struct, array, field, int32, parse_versions, string
from oncelog.wire.messages.delete_topics import DeleteTopicsRequest
from oncelog.wire.messages.end_txn import EndTxnRequest, EndTxnResponse
from oncelog.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from oncelog.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from oncelog.wire.messages.produce import ProduceRequest


class Inner(Struct):
    number: int = field(int32, versions="1+")


class Sample(Message, api_key=4711, versions="0-3", flexible="2+"):
    name: str = field(string)
    later: int = field(int32, versions="1+", default=5)
    droppable: int = field(int32, versions="1+", default=5, ignorable=True)
    inner: Inner = field(Inner, versions="1+")
    several: list[Inner] = field(array(Inner), versions="1+")
    maybe: list[Inner] | None = field(array(Inner), versions="1+", nullable="1+", default=None)


def test_what_a_version_lacks_is_refused_or_dropped() -> None:
    assert Sample(name="n").encode(0) == b"\0\1n"
    assert Sample(name="n", droppable=6).encode(0) == b"\0\1n"
    for lacking in (
        {"later": 6},
        {"inner": Inner(number=1)},
        {"several": [Inner()]},
        {"maybe": []},
        {"maybe": [Inner()]},
    ):
        with pytest.raises(EncodeError, match="does not exist in version 0"):
            Sample(name="n", **lacking).encode(0)


def test_what_a_version_lacks_decodes_as_its_default() -> None:
    read = Sample.decode(b"\0\1n", 0)
    assert read == Sample(name="n")
    assert (read.later, read.droppable, read.inner, read.several, read.maybe) == (5, 5, Inner(), [], None)
    assert Sample.decode(b"\0\1n", 0).several is not read.several


def test_real_fields_that_old_versions_lack() -> None:
    partition = FetchPartition(last_fetched_epoch=3)
    request = FetchRequest(topics=[FetchTopic(topic="t", partitions=[partition])])
    with pytest.raises(EncodeError, match="last_fetched_epoch does not exist in version 11"):
        request.encode(11)
    response = EndTxnResponse(producer_id=4)
    assert EndTxnResponse.decode(response.encode(4), 4).producer_id == -1


@pytest.mark.parametrize(
    ("message", "version"),
    [
        pytest.param(EndTxnRequest(transactional_id=None), 3, id="null where none is allowed"),
        pytest.param(EndTxnRequest(transactional_id=None), 0, id="null where none is allowed, not flexible"),
        pytest.param(EndTxnRequest(producer_id=1 << 63), 3, id="number too large"),
        pytest.param(EndTxnRequest(producer_epoch=-32769), 3, id="number too small"),
        pytest.param(EndTxnRequest(producer_epoch="7"), 3, id="no number"),
        pytest.param(EndTxnRequest(transactional_id=b"t"), 3, id="bytes for text"),
        pytest.param(EndTxnRequest(transactional_id="\ud800"), 3, id="a surrogate alone is no text"),
        pytest.param(EndTxnRequest(transactional_id="x" * 32768), 0, id="text too long for its length"),
        pytest.param(MetadataRequest(topics=None), 0, id="null before null was allowed"),
        pytest.param(MetadataRequest(topics=[MetadataRequestTopic(name=None)]), 9, id="null in an element"),
        pytest.param(DeleteTopicsRequest(topic_names=[None]), 5, id="null as an element"),
        pytest.param(ProduceRequest(topic_data=[object()]), 9, id="another class's value"),
    ],
)
def test_values_that_cannot_be_encoded(message: Message, version: int) -> None:
    with pytest.raises(EncodeError):
        message.encode(version)


def test_values_are_equal_by_their_fields() -> None:
    assert Sample(name="n") == Sample(name="n", several=[])
    assert Sample(name="n") != Sample(name="m")
    assert Inner() != Sample()
    assert repr(Inner(number=3)) == "Inner(number=3)"
    with pytest.raises(TypeError):
        hash(Inner())


def test_unknown_fields_are_refused_at_once() -> None:
    with pytest.raises(TypeError):
        Inner(nummer=1)
    with pytest.raises(AttributeError):
        Inner().nummer = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "expected"), [("3+", (3, 32767)), ("0-12", (0, 12)), ("5", (5, 5)), (None, (0, -1))]
)
def test_ranges_of_versions(text: str | None, expected: tuple[int, int]) -> None:
    assert parse_versions(text) == expected


def test_versions_are_members_of_ranges() -> None:
    members: Any = parse_versions("2-3")
    assert [version in members for version in (1, 2, 3, 4)] == [False, True, True, False]
    assert "2" not in members


def test_made_source_can_be_read() -> None:
    source = codec.source_of(Sample, 3)
    assert "def decode(" in source
    assert "def encode(" in source
