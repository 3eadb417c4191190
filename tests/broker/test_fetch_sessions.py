"""Fetch sessions (KIP-227): epochs, places, what a client keeps asking for."""

from __future__ import annotations

import random

from oncelog.broker.fetch_sessions import EPOCH_MAX, FetchSession, FetchSessions, PartitionFetch


def wanted(name: str, index: int, offset: int = 0) -> PartitionFetch:
    partition = PartitionFetch((name, index))
    partition.fetch_offset = offset
    return partition


def test_the_first_incremental_request_carries_epoch_one_and_each_one_more() -> None:
    session = FetchSession(7, uses_topic_ids=False, now_s=0.0)
    assert session.epoch == 1
    session.advance(1.0)
    assert session.epoch == 2


def test_after_the_largest_epoch_comes_one() -> None:
    session = FetchSession(7, uses_topic_ids=False, now_s=0.0)
    session.epoch = EPOCH_MAX
    session.advance(1.0)
    assert session.epoch == 1


def test_an_update_changes_the_offset_and_keeps_what_was_shown() -> None:
    session = FetchSession(7, uses_topic_ids=False, now_s=0.0)
    session.update([wanted("t", 0)])
    session.partitions["t", 0].shown_high_watermark = 5
    session.update([wanted("t", 0, offset=5), wanted("t", 1)])
    assert session.partitions["t", 0].fetch_offset == 5
    assert session.partitions["t", 0].shown_high_watermark == 5
    assert list(session.partitions) == [("t", 0), ("t", 1)]


def test_a_session_that_outgrows_the_room_of_all_is_closed() -> None:
    sessions = FetchSessions(random.Random(1).randbytes, partitions_max=3)
    first, second = sessions.open(False, 0.0), sessions.open(False, 0.0)
    assert first is not None
    assert second is not None
    assert sessions.update(first, [wanted("t", 0), wanted("t", 1)])
    assert sessions.update(second, [wanted("t", 0)])
    assert sessions.update(second, [wanted("t", 0, offset=5)]), "it asks for no more than before"
    assert not sessions.update(second, [wanted("t", 1)])
    assert sessions.get(second.id) is None
    assert sessions.get(first.id) is first


def test_partitions_with_data_move_to_the_end() -> None:
    session = FetchSession(7, uses_topic_ids=False, now_s=0.0)
    session.update([wanted("t", 0), wanted("t", 1)])
    session.move_to_end(("t", 0))
    assert list(session.partitions) == [("t", 1), ("t", 0)]


def test_forgotten_partitions_are_gone() -> None:
    session = FetchSession(7, uses_topic_ids=False, now_s=0.0)
    session.update([wanted("t", 0), wanted("t", 1)])
    session.forget([("t", 0), ("other", 3)])
    assert list(session.partitions) == [("t", 1)]


def test_a_full_cache_gives_no_place_while_all_are_in_use() -> None:
    sessions = FetchSessions(random.Random(1).randbytes, sessions_max=2)
    first = sessions.open(False, 0.0)
    assert first is not None
    assert sessions.open(False, 100.0) is not None
    assert sessions.open(False, 110.0) is None
    replacing = sessions.open(False, 121.0)
    assert replacing is not None
    assert sessions.get(first.id) is None
    assert sessions.get(replacing.id) is replacing


def test_session_ids_differ_and_closed_ones_are_unknown() -> None:
    sessions = FetchSessions(random.Random(1).randbytes)
    ids = set()
    for _ in range(100):
        session = sessions.open(True, 0.0)
        assert session is not None
        ids.add(session.id)
    assert len(ids) == 100
    assert all(0 < session_id < 2**31 for session_id in ids)
    sessions.close(next(iter(ids)))
    assert sessions.get(next(iter(ids))) is None


def test_an_id_from_before_a_restart_is_nobodys() -> None:
    before, after = (FetchSessions(random.Random(seed).randbytes) for seed in (1, 2))
    held = [before.open(False, 0.0) for _ in range(10)]
    opened = [after.open(False, 0.0) for _ in range(10)]
    assert all(session is not None for session in opened)
    assert [after.get(session.id) for session in held if session is not None] == [None] * 10


def test_ids_that_are_taken_or_mean_none_are_drawn_again() -> None:
    drawn = iter([b"\x00\x00\x00\x00", b"\x80\x00\x00\x00", b"\x00\x00\x00\x07"] * 2 + [b"\xff\xff\xff\xff"])
    sessions = FetchSessions(lambda _count: next(drawn))
    ids = [session.id for session in (sessions.open(False, 0.0), sessions.open(False, 0.0)) if session]
    assert ids == [7, 2**31 - 1]
