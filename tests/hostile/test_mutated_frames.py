"""Mutated frames, ten thousand of them (`make hostile` sends more), and what they are made from."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from oncelog.broker.registry import Registry, Route
from oncelog.wire import frames
from oncelog.wire.definition import DecodeError
from tests.hostile.mutations import MUTATIONS, mutated
from tests.hostile.requests import Generator
from tests.hostile.segments import joined, request_segments
from tests.hostile.sweep import Sweep, faults_in, resident_bytes, served
from tests.support.batches import batch
from tests.support.raw import RawConnection
from tests.support.speaking import produce
from tests.support.topics import create_topic

FRAMES = 10_000
WARM_UP_FRAMES = 2_000
GROWTH_BYTES_MAX = 50 << 20
ROUTES = Registry.load().routes
TOPIC_IDS = (b"\1" * 16, b"\2" * 16)


@pytest.mark.parametrize("route", ROUTES.values(), ids=lambda route: route.name)
def test_frames_in_pieces_are_what_the_codec_makes(route: Route) -> None:
    generator = Generator(1, TOPIC_IDS)
    for version in range(route.min_version, route.max_version + 1):
        for _ in range(5):
            request = generator.request(route.api.request, version)
            whole = joined(request_segments(request, version, 7, "hostile"))
            assert whole == frames.encode_request(7, "hostile", request, version)[4:], (request, version)


@pytest.mark.parametrize("mutation", dict.fromkeys(MUTATIONS), ids=lambda mutation: mutation.__name__)
def test_each_mutation_spoils_most_frames(mutation: object) -> None:
    """A mutation that changes nothing would test nothing."""
    draw = random.Random(1)
    generator = Generator(1, TOPIC_IDS)
    changed = 0
    for _ in range(200):
        route = draw.choice(list(ROUTES.values()))
        version = draw.randint(route.min_version, route.max_version)
        segments = request_segments(generator.request(route.api.request, version), version, 7, "hostile")
        spoiled = list(segments)
        assert callable(mutation)
        mutation(draw, spoiled)
        changed += joined(spoiled) != joined(segments)
    assert changed > 150


def test_mutated_frames_reach_decoders_and_handlers() -> None:
    """Neither all of them good nor all refused at the first byte."""
    draw = random.Random(1)
    generator = Generator(1, TOPIC_IDS)
    good = refused = 0
    for _ in range(2000):
        route = draw.choice(list(ROUTES.values()))
        version = draw.randint(route.min_version, route.max_version)
        segments = request_segments(generator.request(route.api.request, version), version, 7, "hostile")
        frame = mutated(draw, segments)[1]
        try:
            header = frames.decode_request_header(frame)
            route.decode(frame, header.api_version, header.body_offset, False)
            good += 1
        except DecodeError:
            refused += 1
    assert good > 400
    assert refused > 400


def test_ten_thousand_mutated_frames(tmp_path: Path) -> None:
    """Each is answered or its connection closed, memory stays, and others are served as before.

    The bound of a second is the command's: here it is ten, so that a busy machine fails nothing.
    """
    with served(tmp_path) as server:
        create_topic(server.bootstrap, "well-behaved", 1, {})
        other = RawConnection(server.bootstrap)
        Sweep(server, seed=2, answer_within_s=10).run(WARM_UP_FRAMES)
        before_bytes = resident_bytes(server.process_id)
        report = Sweep(server, seed=1, answer_within_s=10).run(FRAMES)
        assert report.late == []
        assert report.wrong == []
        assert report.answered + report.closed + report.without_answer_by_design == FRAMES
        assert report.answered > FRAMES // 5
        assert report.closed > FRAMES // 5
        assert resident_bytes(server.process_id) - before_bytes < GROWTH_BYTES_MAX
        assert produce(other, "well-behaved", batch()).base_offset == 0
        assert server.is_running
        assert faults_in(server.output()) == []
