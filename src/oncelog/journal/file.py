"""The journal of one machine: entries appended to files by one writer thread, one durable write per entry.

A second thread zero-fills ahead, makes the next file and closes the last one, so that the writer's system
call changes no metadata and never waits for a file to be made. What the writer shares with it is handed over
by waiting for it: whoever needs what the other is making waits until it is made.

Must not know what entries mean, nor the time; randomness is handed in.
"""

from __future__ import annotations

import logging
import os
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator

from oncelog.disk import Disk, File
from oncelog.disk.workers import AdaptiveWorker, ThreadWorker, Worker
from oncelog.journal import (
    EntryToWrite,
    JournalError,
    JournalErrorKind,
    Post,
    ReplayedEntry,
    Written,
)
from oncelog.journal.directory import JOURNAL_NAME, LOCK_NAME, META_NAME, DataDirectory
from oncelog.journal.failures import cannot_open, write_failure
from oncelog.journal.files import (
    Contents,
    JournalFile,
    OpenFiles,
    contents_of,
    create_file,
    inspect_file,
    write_index,
)
from oncelog.journal.format import (
    BLOCK_BYTES,
    FIRST_ADDRESS,
    INDEX_ROW,
    SEAL_FLAG,
    pack_entry,
    unpack_entry_header,
)
from oncelog.journal.opening import Replay

log = logging.getLogger("oncelog.journal")

FILL_STEP_BYTES_FIRST = 4 << 20
FILL_STEP_BYTES_MAX = 32 << 20
FILE_BYTES_MIN = 16 * BLOCK_BYTES
OPEN_FILES_MAX = 64
_FOREIGN_BUT_HARMLESS = frozenset({LOCK_NAME, META_NAME, JOURNAL_NAME, "lost+found"})


class FileJournal:
    """A Journal in the files of one data directory; see the promises of `oncelog.journal`.

    cluster_id: drawn when the directory was made.
    Use: `open`, read `replay()` to its end, then `append`; `close` gives the directory back.
    """

    def __init__(
        self,
        directory: DataDirectory,
        cluster_id: str,
        replay: Replay,
        post: Post,
        file_bytes_max: int,
        random_bytes: Callable[[int], bytes],
        writer: Worker,
        preparer: Worker,
    ) -> None:
        self.cluster_id = cluster_id
        self._directory = directory
        self._replay = replay
        self._post = post
        self._file_bytes_max = file_bytes_max
        self._random_bytes = random_bytes
        self._incarnation = int.from_bytes(random_bytes(8), "big")
        self._writer = writer
        self._preparer = preparer
        self._open_files = OpenFiles(directory.disk, OPEN_FILES_MAX)
        self._table = replay.table
        self._is_closed = False
        self._is_replayed = False
        self._failure: JournalError | None = None
        self._closed_files_bytes = 0
        # The writer's own.
        self._file: JournalFile | None = None
        self._handle: File | None = None
        self._last_crc = 0
        self._fill_step_bytes = FILL_STEP_BYTES_FIRST
        # The preparer's, read by the writer after waiting for it.
        self._next: JournalFile | None = None
        self._next_failure: JournalError | None = None
        self._is_filling = False
        self._fill_failed = False

    @classmethod
    def open(
        cls,
        disk: Disk,
        path: str,
        *,
        post: Post,
        file_bytes_max: int,
        random_bytes: Callable[[int], bytes],
        writer: Worker | None = None,
        preparer: Worker | None = None,
    ) -> FileJournal:
        """Claim the data directory, made when it is not there. Raises JournalError."""
        assert file_bytes_max >= FILE_BYTES_MIN
        directory = DataDirectory(disk, path)
        try:
            directory.claim(f"process {os.getpid()}")
            cluster_id = directory.read_meta()
            if cluster_id is None:
                cluster_id = _found(directory, random_bytes, min(FILL_STEP_BYTES_FIRST, file_bytes_max))
            numbers = directory.file_numbers()
            if not numbers:
                raise JournalError(
                    JournalErrorKind.DAMAGED,
                    f"{directory.journal_path} holds no journal file, but {directory.meta_path} says that "
                    "there was one; put the files back",
                )
            replay = Replay(directory, numbers)
            return cls(
                directory,
                cluster_id,
                replay,
                post,
                file_bytes_max,
                random_bytes,
                writer or AdaptiveWorker("oncelog-journal-writer"),
                preparer or ThreadWorker("oncelog-journal-preparer"),
            )
        except BaseException as failed:
            directory.release()
            if isinstance(failed, OSError):
                raise cannot_open(path, failed) from failed
            raise

    # --- what there is ---

    @property
    def next_position(self) -> int:
        return self._replay.next_position

    @property
    def size_bytes(self) -> int:
        """What the files hold; zeros that wait to be written over are not counted once replay is done."""
        if not self._is_replayed:
            return self._bytes_on_disk()
        file = self._file
        return self._closed_files_bytes + (file.end_address if file is not None else 0)

    @property
    def replayed_bytes(self) -> int:
        return self._replay.replayed_bytes

    def contents(self) -> Contents:
        """What replay will read, if all of it is whole: from indexes and headers, which takes a moment."""
        entries = events_bytes = 0
        for number in self._directory.file_numbers():
            handle = self._directory.disk.open(self._directory.file_path(number))
            try:
                salt = inspect_file(self._directory, number, handle).salt
                found = contents_of(handle, salt)
            except OSError as failed:
                raise JournalError(
                    JournalErrorKind.READ_FAILED,
                    f"{self._directory.file_path(number)} could not be read: {failed}",
                ) from failed
            finally:
                handle.close()
            entries += found.entries
            events_bytes += found.events_bytes
        return Contents(entries, events_bytes)

    def free_bytes(self) -> int:
        return self._directory.disk.free_bytes(self._directory.path)

    def _bytes_on_disk(self) -> int:
        total = 0
        for number in self._directory.file_numbers():
            handle = self._directory.disk.open(self._directory.file_path(number))
            total += handle.size()
            handle.close()
        return total

    # --- replay ---

    def replay(self) -> Iterator[ReplayedEntry]:
        assert not self._is_replayed, "a journal is replayed once"
        yield from self._replay.entries()
        self._is_replayed = True
        try:
            self._start_writing()
        except OSError as failed:
            raise write_failure("going on where the journal ends", failed) from failed
        self._seal_what_was_found()

    def _start_writing(self) -> None:
        """Go on where the log ends. Files that a crash left without their index get it now."""
        replay = self._replay
        files = replay.files
        self._last_crc = replay.last_crc
        self._file = file = files[replay.active]
        self._closed_files_bytes = sum(closed.end_address for closed in files[: replay.active])
        self._handle = self._directory.disk.open(file.path, for_writing=True)
        for closed in files[: replay.active]:
            if not closed.has_index:
                self._preparer.submit(lambda closed=closed: self._close_file(closed))  # type: ignore[misc]
        if replay.active + 1 < len(files):
            self._next = files[replay.active + 1]
        elif file.entry_count:
            self._preparer.submit(lambda: self._make_next(file.number + 1))
        self._fill_ahead(file)

    def _seal_what_was_found(self) -> None:
        """The last entry is durable now, but nothing behind it says so: damage to it could be taken for a
        write that was cut short. The writer has nothing to do yet, so this thread may write.
        """
        last = self._replay.last_header
        if last is None or last.flags & SEAL_FLAG:
            return
        seal = EntryToWrite(last.position + 1, last.wall_ms, last.age_ms, b"", (), True)
        try:
            self._write_durably(seal, b"")
        except Exception as failed:
            # What is there can be read all the same; the first append will fail with this.
            self._failure = write_failure(f"sealing journal entry {last.position}", failed)
            log.warning("%s", self._failure)

    # --- append: the writer's thread ---

    def append(self, entry: EntryToWrite, confirm: Callable[[Written], None]) -> None:
        assert self._is_replayed, "append before replay has ended"
        assert not self._is_closed, "append to a closed journal"
        self._writer.submit(lambda: self._write(entry, confirm))

    def _write(self, entry: EntryToWrite, confirm: Callable[[Written], None]) -> None:
        """Write one entry durably and post the outcome, whatever it is; after a failure every entry fails."""
        payload = b""
        failure = self._failure
        if failure is None:
            try:
                payload = b"".join(entry.payload)
                self._write_durably(entry, payload)
            except JournalError as failed_before:
                failure = failed_before
            except Exception as failed:
                failure = write_failure(f"writing journal entry {entry.position}", failed)
            if failure is not None:
                self._failure = failure
        self._post(confirm, Written(entry.position, payload, failure))

    def _write_durably(self, entry: EntryToWrite, payload: bytes) -> None:
        assert entry.position == self._replay.next_position, "entries are appended in order, one at a time"
        file = self._file
        assert file is not None
        room = self._file_bytes_max - file.end_address
        size_estimate = len(entry.events) + len(payload) + 2 * BLOCK_BYTES
        if size_estimate > room and file.entry_count:
            file = self._roll(file)
        buffers, crc = pack_entry(
            file.salt,
            self._last_crc,
            self._incarnation,
            entry.position,
            entry.wall_ms,
            entry.age_ms,
            entry.position - 1,
            entry.events,
            payload,
            entry.seal,
        )
        address = file.end_address
        end = address + sum(map(len, buffers))
        if end > file.filled_bytes:
            # A fill under way would write its zeros over this entry; until its end it owns `filled_bytes`.
            self._preparer.wait()
        assert self._handle is not None
        self._handle.write(buffers, address, durable=True)
        _, events, its_payload, _ = buffers
        file.rows += INDEX_ROW.pack(
            address,
            len(events),
            len(its_payload),
            *_checksums_in(buffers[0]),
        )
        file.end_address = end
        if end > file.filled_bytes:
            file.filled_bytes = end
        file.last_entry_crc = self._last_crc = crc
        if not file.first_position:
            file.first_position = entry.position
            self._table.add(file)
            # Only now, for a file beyond the next one tells that this one was in use.
            self._preparer.submit(lambda: self._make_next(file.number + 1))
        self._replay.next_position = entry.position + 1
        self._fill_ahead(file)

    def _roll(self, file: JournalFile) -> JournalFile:
        """Go on in the next file, which the preparer has made or is about to; it closes the old one later."""
        if self._next is None:
            self._preparer.wait()
        following = self._next
        if following is None:
            assert self._next_failure is not None, "the next file was neither made nor did that fail"
            raise self._next_failure
        self._next = None
        assert self._handle is not None
        self._handle.close()
        self._handle = self._directory.disk.open(following.path, for_writing=True)
        self._closed_files_bytes += file.end_address
        self._file = following
        self._fill_step_bytes = FILL_STEP_BYTES_MAX
        self._preparer.submit(lambda: self._close_file(file))
        return following

    def _fill_ahead(self, file: JournalFile) -> None:
        """Have the next stretch of zeros written before the writer gets there."""
        step_bytes = self._fill_step_bytes
        ahead_bytes = file.filled_bytes - file.end_address
        if self._is_filling or self._fill_failed or ahead_bytes >= step_bytes // 2:
            return
        if file.filled_bytes >= self._file_bytes_max:
            return
        self._is_filling = True
        self._fill_step_bytes = min(2 * step_bytes, FILL_STEP_BYTES_MAX)
        size_bytes = min(step_bytes, self._file_bytes_max - file.filled_bytes)
        self._preparer.submit(lambda: self._fill(file, size_bytes))

    # --- the preparer's thread ---

    def _fill(self, file: JournalFile, size_bytes: int) -> None:
        """Zeros behind what is filled. A full disk only ends the filling; any other failure is the journal's.

        `filled_bytes` stands still meanwhile: the writer waits before it writes beyond.
        """
        start = file.filled_bytes
        try:
            handle = self._directory.disk.open(file.path, for_writing=True)
            try:
                handle.zero_fill(start, size_bytes)
                handle.sync()
            finally:
                handle.close()
            file.filled_bytes = start + size_bytes
        except Exception as failed:
            failure = write_failure(f"zero-filling {file.path}", failed)
            if failure.kind is not JournalErrorKind.FULL:
                self._failure = self._failure or failure
            self._fill_failed = True
            log.warning("zero-filling %s ahead failed: %s", file.path, failed)
        finally:
            self._is_filling = False

    def _make_next(self, number: int) -> None:
        try:
            salt = int.from_bytes(self._random_bytes(4), "big")
            filled_bytes = min(FILL_STEP_BYTES_FIRST, self._file_bytes_max)
            self._next = create_file(self._directory, number, salt, filled_bytes)
        except Exception as failed:
            # Not needed yet; where it is, the writer fails with this.
            self._next_failure = write_failure(f"making journal file {number}", failed)
            log.warning("%s", self._next_failure)

    def _close_file(self, file: JournalFile) -> None:
        """Write a file's index. Without it replay reads the headers, so a failure costs time only."""
        try:
            handle = self._directory.disk.open(file.path, for_writing=True)
            try:
                write_index(handle, file)
            finally:
                handle.close()
        except Exception as failed:
            log.warning("writing the index of %s failed: %s", file.path, failed)

    # --- reading: any thread ---

    def read_payload(self, position: int, offset: int, size_bytes: int) -> bytes:
        found = self._read(position, offset, size_bytes, nowait=False)
        assert found is not None
        if len(found) != size_bytes:
            raise JournalError(
                JournalErrorKind.DAMAGED,
                f"journal entry {position} is cut short: its file is shorter than it was written",
            )
        return found

    def read_payload_nowait(self, position: int, offset: int, size_bytes: int) -> bytes | None:
        return self._read(position, offset, size_bytes, nowait=True)

    def _read(self, position: int, offset: int, size_bytes: int, *, nowait: bool) -> bytes | None:
        if self._is_closed:
            raise JournalError(JournalErrorKind.CLOSED, "the journal has been closed")
        file, address = self._table.locate(position, offset, size_bytes)
        try:
            with self._open_files.use(file) as handle:
                read = handle.read_nowait if nowait else handle.read
                return read(size_bytes, address)
        except OSError as failed:
            raise JournalError(
                JournalErrorKind.READ_FAILED, f"reading journal entry {position} failed: {failed}"
            ) from failed

    # --- the end ---

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._writer.close()
        self._preparer.close()
        try:
            if self._handle is not None:
                self._handle.close()
                self._handle = None
            self._open_files.close()
        finally:
            self._directory.release()


def _found(directory: DataDirectory, random_bytes: Callable[[int], bytes], filled_bytes: int) -> str:
    """Make a data directory of an empty one; its metadata comes last, so a crash before it starts anew."""
    disk = directory.disk
    others = [name for name in disk.list(directory.path) if name not in _FOREIGN_BUT_HARMLESS]
    if others:
        raise JournalError(
            JournalErrorKind.UNKNOWN_FORMAT,
            f"{directory.path} is no data directory of oncelog, and it is not empty ({others[0]} is there); "
            "choose a directory that is empty or does not exist",
        )
    for number in directory.file_numbers():
        _refuse_entries(directory, number)
    create_file(directory, 1, int.from_bytes(random_bytes(4), "big"), filled_bytes)
    cluster_id = urlsafe_b64encode(random_bytes(16)).decode().rstrip("=")
    directory.write_meta(cluster_id)
    return cluster_id


def _refuse_entries(directory: DataDirectory, number: int) -> None:
    """Without metadata there was never an entry; where there is one, the metadata has been lost."""
    handle = directory.disk.open(directory.file_path(number))
    try:
        file = inspect_file(directory, number, handle)
        header = unpack_entry_header(handle.read(BLOCK_BYTES, FIRST_ADDRESS), 0, file.salt)
    finally:
        handle.close()
    if number > 1 or header is not None:
        raise JournalError(
            JournalErrorKind.DAMAGED,
            f"{directory.meta_path} is missing, but {file.path} holds entries; put the file back",
        )


def _checksums_in(header: bytes) -> tuple[int, int]:
    """The events' and the payload's CRC, which the header ends with before its own."""
    return int.from_bytes(header[-12:-8], "big"), int.from_bytes(header[-8:-4], "big")
