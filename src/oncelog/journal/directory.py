"""The data directory around the journal: its lock, metadata, names of files, leftovers of crashes.

    DIR/LOCK                        held by the process that serves
    DIR/meta.json                   format version and cluster id; written last when a directory is made
    DIR/journal/0000000001.journal  and so on: the journal's files

Files in the making end in ".part"; these alone are removed at start. Must not know what a journal file holds.
"""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from typing import Any

from oncelog.disk import Disk, Lock, LockedError
from oncelog.journal import JournalError, JournalErrorKind
from oncelog.journal.checksum import crc32c
from oncelog.journal.format import FORMAT_VERSION

log = logging.getLogger("oncelog.journal")

LOCK_NAME = "LOCK"
META_NAME = "meta.json"
JOURNAL_NAME = "journal"
PART_SUFFIX = ".part"
FILE_SUFFIX = ".journal"
_FILE_DIGITS = 10


class DataDirectory:
    """Names within one data directory, which this process owns from `claim` until `release`."""

    def __init__(self, disk: Disk, path: str) -> None:
        self.disk = disk
        self.path = path.rstrip("/") or "/"
        self.journal_path = f"{self.path}/{JOURNAL_NAME}"
        self.meta_path = f"{self.path}/{META_NAME}"
        self._lock: Lock | None = None

    def claim(self, owner: str) -> None:
        """Make the directory if need be, lock it, and remove what was in the making when a process ended."""
        disk = self.disk
        if not disk.exists(self.path):
            disk.make_directory(self.path)
        try:
            self._lock = disk.lock(f"{self.path}/{LOCK_NAME}", owner)
        except LockedError as locked:
            raise JournalError(
                JournalErrorKind.IN_USE,
                f"the data directory {self.path} is in use by {locked.owner or 'another process'}; "
                "stop that one, or choose another directory",
            ) from None
        try:
            if not disk.exists(self.journal_path):
                disk.make_directory(self.journal_path)
            for directory in (self.path, self.journal_path):
                self._remove_parts(directory)
            self._sync_names()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let another process have it; idempotent."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _remove_parts(self, directory: str) -> None:
        for name in self.disk.list(directory):
            if name.endswith(PART_SUFFIX):
                self.disk.remove(f"{directory}/{name}")

    def _sync_names(self) -> None:
        """What is found may never have been synced: a process may have been killed right after making it."""
        # Where the parent may not be read, somebody else made this directory in it.
        with suppress(PermissionError):
            self.disk.sync_directory(_parent(self.path))
        for directory in (self.path, self.journal_path):
            self.disk.sync_directory(directory)

    # --- the journal's files ---

    def file_path(self, number: int) -> str:
        return f"{self.journal_path}/{number:0{_FILE_DIGITS}d}{FILE_SUFFIX}"

    def file_numbers(self) -> list[int]:
        """The numbers of the journal's files in order. Raises JournalError where one is missing."""
        numbers = []
        for name in self.disk.list(self.journal_path):
            stem = name.removesuffix(FILE_SUFFIX)
            if name.endswith(FILE_SUFFIX) and stem.isascii() and stem.isdigit() and len(stem) == _FILE_DIGITS:
                numbers.append(int(stem))
            else:
                log.warning("%s/%s is no journal file; it is left alone", self.journal_path, name)
        for expected, number in enumerate(numbers, start=1):
            if number != expected:
                raise JournalError(
                    JournalErrorKind.DAMAGED,
                    f"the journal file {self.file_path(expected)} is missing, but "
                    f"{self.file_path(number)} is there; put the missing file back",
                )
        return numbers

    # --- metadata ---

    def write_meta(self, cluster_id: str) -> None:
        """Name the directory's format and cluster, durably, wholly or not at all."""
        facts: dict[str, Any] = {"cluster_id": cluster_id, "format_version": FORMAT_VERSION}
        facts["crc"] = _crc_of(facts)
        part = self.meta_path + PART_SUFFIX
        file = self.disk.create(part)
        try:
            file.write([json.dumps(facts, indent=1).encode() + b"\n"], 0)
            file.sync()
        finally:
            file.close()
        self.disk.rename(part, self.meta_path)
        self.disk.sync_directory(self.path)

    def read_meta(self) -> str | None:
        """The cluster id; None when the directory has no metadata yet. Raises JournalError."""
        if not self.disk.exists(self.meta_path):
            return None
        file = self.disk.open(self.meta_path)
        try:
            content = file.read(file.size(), 0)
        finally:
            file.close()
        try:
            facts = json.loads(content)
            crc = facts.pop("crc")
            version, cluster_id = facts["format_version"], facts["cluster_id"]
            is_whole = crc == _crc_of(facts) and isinstance(version, int) and isinstance(cluster_id, str)
        except (ValueError, KeyError, TypeError, AttributeError):
            is_whole = False
        if not is_whole:
            raise JournalError(
                JournalErrorKind.DAMAGED,
                f"{self.meta_path} is damaged: it does not have the checksum that it was written with",
            )
        if version != FORMAT_VERSION:
            raise JournalError(
                JournalErrorKind.UNKNOWN_FORMAT,
                f"the data directory {self.path} has format version {version}; this program knows "
                f"{FORMAT_VERSION}",
            )
        return str(cluster_id)


def _crc_of(facts: dict[str, Any]) -> int:
    return crc32c(0, json.dumps(facts, sort_keys=True).encode())


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or ("/" if path.startswith("/") else ".")
