"""The spool loses nothing that it said it has, whatever is torn, and never takes more than its bound."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from jupyterlab_cell_monitor.spool import Record, Spool, SpoolLocked, open_spool

_EVENTS = st.binary(min_size=0, max_size=600)
_TRACE = f"00-{'a' * 32}-{'b' * 16}-01"
_OTHER_TRACE = f"00-{'c' * 32}-{'d' * 16}-01"
_RECORDS = st.lists(
    st.builds(
        Record,
        _EVENTS,
        st.sampled_from([None, None, "t-1", "t-2"]),
        st.sampled_from([None, None, None, _TRACE, _OTHER_TRACE]),
    ),
    min_size=1,
    max_size=12,
)


def drained(spool: Spool) -> list[Record]:
    records = []
    while spool.pending_events:
        chunk = spool.read(7, 2000)
        assert chunk.records, "a read of a spool that is not empty gives something"
        assert len({(record.test_id, record.traceparent) for record in chunk.records}) == 1
        records += chunk.records
        spool.acknowledge(chunk.end)
    return records


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.seg"))


class SpoolMachine(RuleBasedStateMachine):
    """Appends, reads, acknowledges and restarts in any order, compared with a list."""

    @initialize(max_bytes=st.sampled_from([4096, 20_000, 200_000]))
    def make(self, max_bytes: int) -> None:
        self.temporary = tempfile.TemporaryDirectory()
        self.directory = Path(self.temporary.name) / "spool"
        self.max_bytes = max_bytes
        self.spool = Spool(self.directory, max_bytes)
        self.model: list[Record] = []
        self.dropped_before = 0

    def follow_drops(self) -> None:
        dropped = self.spool.dropped - self.dropped_before
        self.dropped_before = self.spool.dropped
        del self.model[:dropped]

    @rule(records=_RECORDS)
    def append(self, records: list[Record]) -> None:
        self.spool.append(records)
        self.model += records
        self.follow_drops()

    @rule(count=st.integers(1, 9), size=st.integers(1, 3000))
    def deliver(self, count: int, size: int) -> None:
        chunk = self.spool.read(count, size)
        assert chunk.records == self.model[: len(chunk.records)]
        assert bool(chunk.records) == bool(self.model)
        self.spool.acknowledge(chunk.end)
        del self.model[: len(chunk.records)]

    @rule(count=st.integers(1, 9))
    def read_without_acknowledging(self, count: int) -> None:
        assert self.spool.read(count, 100_000).records == self.spool.read(count, 100_000).records

    @rule()
    def restart(self) -> None:
        self.spool.close()
        self.spool = Spool(self.directory, self.max_bytes)
        self.dropped_before = 0

    @invariant()
    def bounded_and_complete(self) -> None:
        if hasattr(self, "spool"):
            on_disk = sum(path.stat().st_size for path in segments(self.directory))
            assert on_disk <= self.max_bytes
            assert self.spool.pending_bytes == on_disk
            assert self.spool.pending_events == len(self.model)

    def teardown(self) -> None:
        if hasattr(self, "spool"):
            assert drained(self.spool) == self.model
            self.spool.close()
            self.temporary.cleanup()


TestSpoolMachine = SpoolMachine.TestCase
TestSpoolMachine.settings = settings(max_examples=40, stateful_step_count=25)


@settings(max_examples=60)
@given(records=_RECORDS, cut=st.floats(0, 1), more=_RECORDS)
def test_a_torn_tail_costs_only_what_was_torn(records: list[Record], cut: float, more: list[Record]) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        spool = Spool(directory, 1_000_000)
        spool.append(records)
        spool.close()
        (segment,) = segments(directory)
        size = segment.stat().st_size
        kept = int(size * cut)
        os.truncate(segment, kept)

        spool = Spool(directory, 1_000_000)
        whole = spool.pending_events
        assert spool.pending_bytes == sum(path.stat().st_size for path in segments(directory))
        spool.append(more)
        got = drained(spool)
        spool.close()
        assert got == records[:whole] + more
        if kept == size:
            assert whole == len(records)
        # Each whole record in front of the cut is there.
        ends, end = [], 0
        for record in records:
            trace = 1 + len(record.traceparent) if record.traceparent else 0
            end += 12 + len((record.test_id or "").encode()) + trace + 1 + len(record.event)
            ends.append(end)
        assert whole == sum(end <= kept for end in ends)


@settings(max_examples=60)
@given(records=_RECORDS, where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_flipped_bit_never_becomes_an_event(records: list[Record], where: float, flip: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        spool = Spool(directory, 1_000_000)
        spool.append(records)
        spool.close()
        (segment,) = segments(directory)
        content = bytearray(segment.read_bytes())
        content[int(len(content) * where)] ^= flip
        segment.write_bytes(content)
        spool = Spool(directory, 1_000_000)
        got = drained(spool)
        spool.close()
        assert got == records[: len(got)]


@settings(max_examples=40)
@given(records=_RECORDS, where=st.floats(0, 1, exclude_max=True))
def test_a_disk_that_changes_beneath_the_running_spool_costs_one_record(records: list[Record], where: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        spool = Spool(directory, 1_000_000)
        spool.append(records)
        (segment,) = segments(directory)
        content = bytearray(segment.read_bytes())
        content[int(len(content) * where)] ^= 0xFF
        segment.write_bytes(content)
        got = []
        while spool.pending_events:
            chunk = spool.read(100, 100_000)
            got += chunk.records
            spool.acknowledge(chunk.end)
        assert spool.dropped == 1
        assert len(got) == len(records) - 1
        assert all(record in records for record in got)
        spool.close()


_WRITER = """
import sys
from pathlib import Path
from jupyterlab_cell_monitor.spool import Record, Spool
spool = Spool(Path(sys.argv[1]), 50_000_000)
number = 0
while True:
    spool.append([Record(b"%d" % n + b"x" * (n % 3000)) for n in range(number, number + 3)])
    number += 3
    print(number, flush=True)
"""


@pytest.mark.parametrize("after", [1, 5, 40])
def test_a_kill_while_writing_loses_nothing_that_was_written(tmp_path: Path, after: int) -> None:
    with subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        promised = 0
        for _ in range(after):
            promised = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        promised = max([promised, *(int(line) for line in writer.stdout.read().split())])
    spool = Spool(tmp_path, 50_000_000)
    numbers = [int(record.event.rstrip(b"x")) for record in drained(spool)]
    spool.close()
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= promised


class PowerCut:
    """What a disk holds after a power failure: only what ``fsync`` was called for (fsync(2), "Description")."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._sizes: dict[int, int] = {}
        self._names: dict[int, set[str]] = {}
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self._record)

    def _record(self, descriptor: int) -> None:
        self._fsync(descriptor)
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            self._names[status.st_ino] = set(os.listdir(descriptor))
        else:
            self._sizes[status.st_ino] = status.st_size

    def surviving_copy(self, source: Path, target: Path) -> None:
        """Copy a folder below one that existed before, as it is on the disk."""
        if source.name not in self._names.get(source.parent.stat().st_ino, set()):
            return
        target.mkdir()
        for name in self._names.get(source.stat().st_ino, set()):
            path = source / name
            if path.exists():
                (target / name).write_bytes(path.read_bytes()[: self._sizes.get(path.stat().st_ino, 0)])


@pytest.mark.parametrize("size", [10, 900, 3000])
def test_a_power_failure_loses_nothing_that_append_returned_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    disk = PowerCut(monkeypatch)
    spool = Spool(tmp_path / "spool", 1_000_000)
    appended: list[Record] = []
    for number in range(12):
        records = [Record(b"%d-%d" % (number, part) + b"x" * size) for part in range(3)]
        spool.append(records)
        appended += records
        disk.surviving_copy(tmp_path / "spool", tmp_path / f"after-{number}")
        with contextlib.closing(Spool(tmp_path / f"after-{number}", 1_000_000)) as after:
            assert drained(after) == appended
    spool.close()


_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from jupyterlab_cell_monitor.spool import Record, Spool
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
spool = Spool(Path(sys.argv[1]), 1_000_000)
stored = 0
for n in range(12):
    try:
        spool.append([Record(b"%d" % n + b"x" * 1500)])
        stored += 1
    except OSError:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000 + 1000 * n, resource.RLIM_INFINITY))
print(stored, spool.pending_events)
"""


def test_a_full_disk_is_an_error_and_leaves_no_half_record(tmp_path: Path) -> None:
    output = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(tmp_path)], capture_output=True, check=True, text=True
    ).stdout
    stored, pending = map(int, output.split())
    assert 0 < stored < 12
    assert pending == stored
    spool = Spool(tmp_path, 1_000_000)
    assert len(drained(spool)) == stored
    spool.close()


def test_a_record_larger_than_the_spool_is_counted_and_the_others_stay(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 4096)
    spool.append([Record(b"a"), Record(b"x" * 5000), Record(b"b")])
    assert spool.dropped == 1
    assert [record.event for record in drained(spool)] == [b"a", b"b"]
    spool.close()


def test_two_servers_of_one_student_do_not_share_a_file_and_nothing_is_orphaned(tmp_path: Path) -> None:
    first = open_spool(tmp_path, 100_000)
    second = open_spool(tmp_path, 100_000)
    assert first.directory != second.directory
    with pytest.raises(SpoolLocked):
        Spool(first.directory, 100_000)
    first.append([Record(b"1")])
    second.append([Record(b"2", "t")])
    second.close()  # that server is gone, its events are not
    third = open_spool(tmp_path, 100_000)
    third.append([Record(b"3")])
    first.close()
    third.close()
    last = open_spool(tmp_path, 100_000)
    assert sorted(record.event for record in drained(last)) == [b"1", b"2", b"3"]
    last.close()


def test_events_of_a_server_that_is_gone_stay_on_the_disk_if_they_cannot_be_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_spool(tmp_path, 100_000)
    gone = open_spool(tmp_path, 100_000)
    gone.append([Record(b"the only copy")])
    first.close()
    gone.close()

    def disk_full(_self: Spool, _records: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "append", disk_full)
        with pytest.raises(OSError, match="no space"):
            open_spool(tmp_path, 100_000)
    with contextlib.closing(open_spool(tmp_path, 100_000)) as later:
        assert later.directory == first.directory
        assert drained(later) == [Record(b"the only copy")]


def test_only_the_owner_can_read_the_spool(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 100_000)
    spool.append([Record(b"code of a student")])
    (segment,) = segments(tmp_path / "spool")
    assert segment.stat().st_mode & 0o077 == 0
    assert (tmp_path / "spool").stat().st_mode & 0o077 == 0
    spool.close()


def written_by_hand(directory: Path, *payloads: bytes) -> None:
    frames = [struct.pack("<4sII", b"CMS1", len(payload), zlib.crc32(payload)) + payload for payload in payloads]
    directory.mkdir()
    (directory / f"{1:016d}.seg").write_bytes(b"".join(frames))


def test_what_a_version_without_traces_spooled_is_not_lost_by_the_next(tmp_path: Path) -> None:
    written_by_hand(tmp_path / "spool", b'\n{"text":"a b"}', b"t-1\n{}", b'\n{"lines":"1\\n2"}')
    spool = Spool(tmp_path / "spool", 100_000)
    assert drained(spool) == [Record(b'{"text":"a b"}'), Record(b"{}", "t-1"), Record(b'{"lines":"1\\n2"}')]
    spool.close()


@pytest.mark.parametrize(
    "trace",
    [
        b"00-" + b"a" * 32,
        b"00-" + b"A" * 32 + b"-" + b"b" * 16 + b"-01",
        b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-00",
        _TRACE.encode() + b" X-Other: header",
        b"x" * 5000,
        b"\xff\r",
        b"",
    ],
)
def test_a_trace_that_is_none_reaches_no_header_and_costs_no_event(tmp_path: Path, trace: bytes) -> None:
    written_by_hand(tmp_path / "spool", b"t-1 " + trace + b"\n{}", b" " + _TRACE.encode() + b"\n{}")
    spool = Spool(tmp_path / "spool", 100_000)
    assert drained(spool) == [Record(b"{}", "t-1"), Record(b"{}", None, _TRACE)]
    spool.append([Record(b"{}", None, trace.decode("latin-1"))])
    assert spool.pending_bytes == 12 + len(b"\n{}")
    assert drained(spool) == [Record(b"{}")]
    spool.close()
