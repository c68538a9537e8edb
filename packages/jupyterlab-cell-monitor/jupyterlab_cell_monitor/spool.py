"""Events on disk while the API is unavailable: append-only segments that survive a kill, a power failure and a full disk.

A segment is a file of frames (``spool_record``). A partial frame at the end of a segment is truncated at the next start. The cursor file holds the position up to which the oldest segment was sent;
without it records are sent again, and the API recognises them as duplicates. All functions block: call them in a thread.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from .spool_record import HEADER_BYTES, MAX_PAYLOAD, Record, frame_of, payload_of, record_of, scan

__all__ = ["Chunk", "Position", "Record", "Spool", "SpoolLocked", "hold", "open_spool"]

_SLOTS = 32


class SpoolLocked(OSError):  # noqa: N818 - named for what is so
    """Another process uses this directory."""


class Position(NamedTuple):
    """A place between two records: a segment's number and a byte offset in it."""

    segment: int
    offset: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records in the order they were appended, and the place behind the last of them."""

    records: list[Record]
    end: Position


@dataclass(slots=True)
class _Segment:
    number: int
    path: Path
    size: int
    # Where each record that was not acknowledged yet ends: what counts, and what a read needs.
    ends: deque[int]


class Spool:
    """A bounded queue of records in one directory.

    Args:
        directory: made if missing, readable by its owner alone.
        max_bytes: the most that the segments may take together; the oldest segment goes first, and is counted.

    Raises:
        SpoolLocked: another process has it open.
        OSError: the directory cannot be used.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        _make_directory(directory)
        self._directory = directory
        self._max_bytes = max_bytes
        self._segment_bytes = max(4096, max_bytes // 16)
        self._lock = hold(directory / "lock")
        self._segments: deque[_Segment] = deque()
        self._active: BinaryIO | None = None
        self._cursor = Position(0, 0)
        self.dropped = 0
        """Records that the bound, or a record too large for it, cost since this process began."""
        self._recover()

    @property
    def directory(self) -> Path:
        """Where the segments are."""
        return self._directory

    @property
    def pending_events(self) -> int:
        """Records that were not acknowledged."""
        return sum(len(segment.ends) for segment in self._segments)

    @property
    def pending_bytes(self) -> int:
        """What the segments take on disk."""
        return sum(segment.size for segment in self._segments)

    def append(self, records: Iterable[Record]) -> None:
        """Adds records and returns when they are on the disk.

        Raises:
            OSError: the disk refused; none of what it refused is half there.
        """
        for record in records:
            frame = frame_of(record)
            if len(frame) > min(self._max_bytes, MAX_PAYLOAD + HEADER_BYTES):
                self.dropped += 1
                continue
            while self._segments and self.pending_bytes + len(frame) > self._max_bytes:
                self._drop_oldest()
            segment = self._writable(len(frame))
            assert self._active is not None
            try:
                self._active.write(frame)
                self._active.flush()
            except OSError:
                self._abandon(segment)
                raise
            segment.size += len(frame)
            segment.ends.append(segment.size)
        self._sync()

    def read(self, max_events: int, max_bytes: int) -> Chunk:
        """The oldest records that one request may carry, within the bounds; at least one if there is any.

        Raises:
            OSError: a segment cannot be read.
        """
        records: list[Record] = []
        end = self._cursor
        total = 0
        for segment in list(self._segments):
            if not segment.ends:
                continue
            start = self._cursor.offset if segment.number == self._cursor.segment else 0
            with segment.path.open("rb") as file:
                file.seek(start)
                for stop in list(segment.ends)[: max_events - len(records)]:
                    payload = payload_of(file.read(stop - start))
                    start = stop
                    if payload is None:
                        # The disk changed beneath us. This record is lost, those around it are not.
                        if records:
                            return Chunk(records, end)
                        self.dropped += 1
                        self.acknowledge(Position(segment.number, stop))
                        continue
                    record = record_of(payload)
                    full = len(records) >= max_events or total + len(record.event) > max_bytes
                    if records and (full or not _together(records[0], record)):
                        return Chunk(records, end)
                    records.append(record)
                    total += len(record.event) + 1
                    end = Position(segment.number, stop)
            if len(records) >= max_events:
                break
        return Chunk(records, end)

    def acknowledge(self, position: Position) -> None:
        """Forgets everything before `position`."""
        while self._segments and self._segments[0].number < position.segment:
            self._remove(self._segments[0])
        if not self._segments or self._segments[0].number != position.segment:
            return  # It was dropped in the meantime because the spool was full.
        segment = self._segments[0]
        while segment.ends and segment.ends[0] <= position.offset:
            segment.ends.popleft()
        if not segment.ends:
            self._remove(segment)
        else:
            self._cursor = position
            self._save_cursor()

    def close(self) -> None:
        """Closes the files and lets another process use the directory."""
        if self._active is not None:
            self._active.close()
            self._active = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _recover(self) -> None:
        saved = self._load_cursor()
        for path in sorted(self._directory.glob("*.seg")):
            if not path.stem.isdigit():
                continue
            ends = scan(path)
            size = ends[-1] if ends else 0
            if size != path.stat().st_size:
                os.truncate(path, size)
            segment = _Segment(int(path.stem), path, size, ends)
            if segment.number < saved.segment:
                ends.clear()
            elif segment.number == saved.segment:
                while ends and ends[0] <= saved.offset:
                    ends.popleft()
                self._cursor = saved
            if ends:
                self._segments.append(segment)
            else:
                path.unlink()
        self._next_number = max([saved.segment, *(segment.number for segment in self._segments)]) + 1
        while self._segments and self.pending_bytes > self._max_bytes:
            self._drop_oldest()

    def _writable(self, size: int) -> _Segment:
        if self._active is not None and self._segments:
            segment = self._segments[-1]
            if segment.size + size <= self._segment_bytes:
                return segment
            self._sync()
            self._active.close()
            self._active = None
        elif self._active is not None:
            self._active.close()
            self._active = None
        path = self._directory / f"{self._next_number:016d}.seg"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._active = os.fdopen(descriptor, "wb")
        segment = _Segment(self._next_number, path, 0, deque())
        self._next_number += 1
        self._segments.append(segment)
        _sync_directory(self._directory)
        return segment

    def _sync(self) -> None:
        if self._active is not None:
            self._active.flush()
            os.fsync(self._active.fileno())

    def _abandon(self, segment: _Segment) -> None:
        """After a failed write: cuts off the half frame, and never appends behind it."""
        assert self._active is not None
        active, self._active = self._active, None
        # What cannot be cut off now, the next start cuts off; closing flushes once more what was refused already.
        with contextlib.suppress(OSError):
            os.ftruncate(active.fileno(), segment.size)
        with contextlib.suppress(OSError):
            active.close()
        if not segment.ends:
            self._segments.remove(segment)
            segment.path.unlink(missing_ok=True)

    def _drop_oldest(self) -> None:
        oldest = self._segments[0]
        self.dropped += len(oldest.ends)
        self._remove(oldest)

    def _remove(self, segment: _Segment) -> None:
        if segment is self._segments[-1] and self._active is not None:
            self._active.close()
            self._active = None
        self._segments.remove(segment)
        segment.path.unlink(missing_ok=True)
        if self._cursor.segment == segment.number:
            self._cursor = Position(0, 0)
            (self._directory / "cursor").unlink(missing_ok=True)

    def _load_cursor(self) -> Position:
        try:
            number, offset = (self._directory / "cursor").read_text("ascii").split()
            return Position(int(number), int(offset))
        except (OSError, ValueError):
            return Position(0, 0)

    def _save_cursor(self) -> None:
        temporary = self._directory / "cursor.new"
        temporary.write_text(f"{self._cursor.segment} {self._cursor.offset}\n", "ascii")
        temporary.replace(self._directory / "cursor")


def open_spool(base: Path, max_bytes: int) -> Spool:
    """Opens the first free directory below `base`, and takes over what processes that are gone left in the others.

    Two servers of one student (named servers, one home directory) so never write to the same file.

    Raises:
        OSError: no directory can be used.
    """
    spool: Spool | None = None
    for slot in range(_SLOTS):
        try:
            spool = Spool(base / str(slot), max_bytes)
            break
        except SpoolLocked:
            continue
    if spool is None:
        raise SpoolLocked(f"all {_SLOTS} spool directories below {base} are in use")
    try:
        for directory in sorted(base.iterdir()):
            if directory == spool.directory or not directory.name.isdigit():
                continue
            try:
                orphan = Spool(directory, max_bytes)
            except SpoolLocked:
                continue
            with contextlib.closing(orphan):
                while orphan.pending_events:
                    chunk = orphan.read(1000, 4 * 1024 * 1024)
                    spool.append(chunk.records)
                    orphan.acknowledge(chunk.end)
    except OSError:
        # The next attempt must find both directories free.
        spool.close()
        raise
    return spool


def _together(one: Record, other: Record) -> bool:
    """Whether one request may carry both: its address names the test, its header the trace."""
    return one.test_id == other.test_id and one.traceparent == other.traceparent


def hold(path: Path) -> BinaryIO | None:
    """Holds a file for this process until it is closed; without file locks (Windows) nothing is held.

    Raises:
        SpoolLocked: another process holds it.
    """
    try:
        import fcntl  # noqa: PLC0415 - absent on Windows
    except ImportError:
        return None
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise SpoolLocked(f"{path} is held by another process") from error
    except OSError:
        # Some network file systems have no locks; one student rarely runs two servers on them.
        return file
    return file


def _make_directory(directory: Path) -> None:
    """Create a directory and those above it; each name is on the disk when this returns."""
    missing = [path for path in [directory, *directory.parents] if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in missing:
        _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # Not every file system knows this; the file itself is synced all the same.
    finally:
        os.close(descriptor)
