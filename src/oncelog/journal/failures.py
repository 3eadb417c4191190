"""What the system refused, as a JournalError whose sentence says what to do about it.

Must not know files, entries or the command line.
"""

from __future__ import annotations

import errno

from oncelog.journal import JournalError, JournalErrorKind

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_DIRECTORY = (errno.ENOTDIR, errno.EEXIST)


def write_failure(doing: str, failed: Exception) -> JournalError:
    """What happened instead of what was being done."""
    reason = failed if isinstance(failed, OSError) else repr(failed)
    return JournalError(_kind(failed), f"{doing} failed: {reason}")


def cannot_open(path: str, failed: OSError) -> JournalError:
    """Why there is no data directory to be had at that path."""
    reason = failed.strerror or str(failed)
    at = failed.filename
    where = f" ({at})" if isinstance(at, str) and at != path else ""
    return JournalError(
        _kind(failed), f"the data directory {path} cannot be opened: {reason}{where}; {_advice(failed.errno)}"
    )


def _kind(failed: Exception) -> JournalErrorKind:
    is_full = isinstance(failed, OSError) and failed.errno in _NO_SPACE
    return JournalErrorKind.FULL if is_full else JournalErrorKind.WRITE_FAILED


def _advice(number: int | None) -> str:
    if number == errno.ENOENT:
        return (
            "only the last directory of a path is made, and not in every file system: make those above it, "
            "or choose another directory"
        )
    if number in _NO_DIRECTORY:
        return "a file is where a directory must be: move it away, or choose another directory"
    if number in _NOT_ALLOWED:
        return "let the user that runs this write there, or choose another directory"
    if number in _NO_SPACE:
        return "free some space, or choose another directory"
    return "choose another directory"
