"""Direct writes give the bytes that plain ones give, read back through the page cache."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest

from oncelog.disk import direct
from oncelog.disk.direct import DIRECT_BLOCK_BYTES, DIRECT_BUFFER_BYTES_MAX, DirectWriter
from oncelog.disk.posix import SystemFile
from oncelog.disk.real import RealDisk

BLOCK = DIRECT_BLOCK_BYTES


def pieces_of(data: bytes, chance: random.Random) -> list[bytes]:
    pieces = []
    while data:
        size = chance.randrange(1, len(data) + 1)
        pieces.append(data[:size])
        data = data[size:]
    return pieces


@pytest.fixture
def file(tmp_path: Path) -> SystemFile:
    made = RealDisk().create(str(tmp_path / "file"))
    assert isinstance(made, SystemFile)
    return made


def test_durable_writes_of_whole_blocks_read_back(file: SystemFile) -> None:
    chance = random.Random(7)
    expected = bytearray(64 * BLOCK)
    file.zero_fill(0, len(expected))
    assert file.read(len(expected), 0) == bytes(expected)
    for _ in range(50):
        blocks = chance.randrange(1, 8)
        at = chance.randrange(0, 64 - blocks) * BLOCK
        data = chance.randbytes(blocks * BLOCK)
        file.write(pieces_of(data, chance), at, durable=True)
        expected[at : at + len(data)] = data
        assert file.read(len(expected), 0) == bytes(expected)


def test_writes_that_are_no_blocks_mix_with_those_that_are(file: SystemFile) -> None:
    file.write([bytes([1]) * (2 * BLOCK)], 0, durable=True)
    file.write([bytes([2]) * 100], 50, durable=True)
    file.write([bytes([3]) * BLOCK], BLOCK, durable=True)
    content = file.read(3 * BLOCK, 0)
    assert content == bytes([1]) * 50 + bytes([2]) * 100 + bytes([1]) * (BLOCK - 150) + bytes([3]) * BLOCK


def test_a_write_larger_than_the_buffer_is_continued(file: SystemFile) -> None:
    data = random.Random(1).randbytes(DIRECT_BUFFER_BYTES_MAX + 3 * BLOCK)
    file.write([data[:100], data[100:]], 0, durable=True)
    assert file.read(len(data) + 1, 0) == data


@pytest.mark.parametrize("refusal", [errno.EINVAL, errno.EOPNOTSUPP])
def test_where_direct_writes_are_refused_plain_ones_go_on(
    file: SystemFile, monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    def refuse(*_arguments: object) -> int:
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(DirectWriter, "write_some", refuse)
    monkeypatch.setattr(DirectWriter, "zero_some", refuse)
    file.zero_fill(0, BLOCK)
    file.write([b"x" * BLOCK], BLOCK, durable=True)
    assert file.read(2 * BLOCK, 0) == bytes(BLOCK) + b"x" * BLOCK


def test_a_failed_direct_write_is_no_refusal(file: SystemFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(DirectWriter, "write_some", fail)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        file.write([b"x" * BLOCK], 0, durable=True)


def test_without_direct_writes_on_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "DIRECT", 0)
    file = RealDisk().create(str(tmp_path / "file"))
    file.zero_fill(0, BLOCK)
    file.write([b"y" * BLOCK], 0, durable=True)
    assert file.read(BLOCK, 0) == b"y" * BLOCK
