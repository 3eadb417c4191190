"""The table of error codes against kio's."""

from __future__ import annotations

from kio.schema.errors import ErrorCode as KioErrorCode

from oncelog.wire.errors import RETRIABLE, ErrorCode

NEWER_THAN_KIO = {
    ErrorCode.GROUP_DELETION_FAILED,
    ErrorCode.STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED,
    ErrorCode.CONTROLLER_ID_NOT_REGISTERED,
}


def test_codes_and_names_are_kafkas() -> None:
    ours = {code.name: int(code) for code in ErrorCode if code not in NEWER_THAN_KIO}
    theirs = {code.name.upper(): code.value for code in KioErrorCode}
    assert ours == theirs


def test_newer_codes_follow_those_that_kio_knows() -> None:
    last = max(code.value for code in KioErrorCode)
    assert sorted(NEWER_THAN_KIO) == list(range(last + 1, last + 1 + len(NEWER_THAN_KIO)))


def test_the_retriable_ones_are_kafkas() -> None:
    ours = {int(code) for code in RETRIABLE if code not in NEWER_THAN_KIO}
    assert ours == {code.value for code in KioErrorCode if code.retriable}
