"""The leader epoch that a client believes in: checked wherever one is sent (KIP-320)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.offset_for_leader_epoch import (
    OffsetForLeaderEpochRequest,
    OffsetForLeaderPartition,
    OffsetForLeaderTopic,
)
from tests.support.batches import batch
from tests.support.fixtures import MakeTopic
from tests.support.raw import RawConnection
from tests.support.speaking import LATEST, fetch, list_offset, produce

CONSUMER = -1


def end_offset(
    connection: RawConnection, topic: str, leader_epoch: int = 0, current: int = -1
) -> tuple[int, ...]:
    """Error, epoch and end offset of OffsetForLeaderEpoch."""
    partition = OffsetForLeaderPartition(partition=0, leader_epoch=leader_epoch, current_leader_epoch=current)
    request = OffsetForLeaderEpochRequest(
        replica_id=CONSUMER, topics=[OffsetForLeaderTopic(topic=topic, partitions=[partition])]
    )
    (answer,) = connection.call(request, 4).topics[0].partitions
    return int(answer.error_code), int(answer.leader_epoch), int(answer.end_offset)


ASKING: dict[str, Callable[[RawConnection, str, int], int]] = {
    "Fetch": lambda connection, topic, epoch: int(fetch(connection, topic, leader_epoch=epoch).error_code),
    "ListOffsets": lambda connection, topic, epoch: int(
        list_offset(connection, topic, LATEST, leader_epoch=epoch).error_code
    ),
    "OffsetForLeaderEpoch": lambda connection, topic, epoch: end_offset(connection, topic, current=epoch)[0],
}


@pytest.mark.parametrize("api", ASKING)
@pytest.mark.parametrize(
    ("epoch", "error"),
    [
        (-1, ErrorCode.NONE),
        (0, ErrorCode.NONE),
        (1, ErrorCode.UNKNOWN_LEADER_EPOCH),
        (2**31 - 1, ErrorCode.UNKNOWN_LEADER_EPOCH),
    ],
)
def test_an_epoch_that_is_not_the_leaders(
    connection: RawConnection, make_topic: MakeTopic, api: str, epoch: int, error: ErrorCode
) -> None:
    """-1 is for those who know none."""
    topic = make_topic()
    produce(connection, topic, batch())
    assert ASKING[api](connection, topic, epoch) == error


@pytest.mark.parametrize(
    ("api", "error"),
    [
        ("Fetch", ErrorCode.NONE),
        ("ListOffsets", ErrorCode.FENCED_LEADER_EPOCH),
        ("OffsetForLeaderEpoch", ErrorCode.FENCED_LEADER_EPOCH),
    ],
)
def test_an_epoch_below_all(
    connection: RawConnection, make_topic: MakeTopic, api: str, error: ErrorCode
) -> None:
    """A new topic's leader has epoch 0, so that only a negative one is older; Fetch takes that for none."""
    topic = make_topic()
    assert ASKING[api](connection, topic, -2) == error


def test_where_an_epoch_ends(connection: RawConnection, make_topic: MakeTopic) -> None:
    topic = make_topic()
    produce(connection, topic, batch([b"a", b"b"]))
    assert end_offset(connection, topic, 0) == (0, 0, 2)
    assert end_offset(connection, topic, 7) == (0, -1, -1), "there was none of that number"
