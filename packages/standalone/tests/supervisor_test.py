"""Hazards: a crashed program stays down or restarts in a tight loop; a child process outlives its parent."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cell_monitor.embedded.process import ChildProcess, EmbeddedServerError
from cell_monitor.supervisor import Supervisor, rotate


class FakeProgram:
    """A real process that the test can make fail."""

    def __init__(self, folder: Path, code: str = "import time; time.sleep(600)") -> None:
        self.name = "Thing"
        self.process = ChildProcess("Thing", [sys.executable, "-c", code], log_path=folder / "thing.log")
        self.launches = 0

    def launch(self) -> None:
        self.launches += 1
        self.process.start()

    def ready(self) -> bool:
        return self.process.running

    def wait_ready(self, *, timeout: float) -> None:
        self.process.wait_until(self.ready, timeout=timeout)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_crash_is_reported_and_restarted_with_increasing_delay(tmp_path: Path) -> None:
    said: list[str] = []
    clock = Clock()
    program = FakeProgram(tmp_path)
    supervisor = Supervisor(said.append, clock=clock)
    supervisor.launch([program])
    delays = []
    try:
        for _ in range(3):
            program.process.kill()
            supervisor.check()
            planned_at = clock.now
            while not program.process.running:
                clock.now += 0.25
                supervisor.check()
            delays.append(clock.now - planned_at)
    finally:
        supervisor.stop(timeout=2)
    assert delays == [0.5, 1.0, 2.0]
    assert program.launches == 4
    assert said[0].startswith("Thing ended unexpectedly with signal SIGKILL; restarting it in 0.5 s (log: ")
    assert not program.process.running


def test_recovery_is_reported_once(tmp_path: Path) -> None:
    said: list[str] = []
    clock = Clock()
    program = FakeProgram(tmp_path)
    supervisor = Supervisor(said.append, clock=clock)
    supervisor.launch([program])
    try:
        program.process.kill()
        supervisor.check()
        clock.now = 1.0
        for _ in range(4):
            supervisor.check()
    finally:
        supervisor.stop(timeout=2)
    assert said[1:] == ["Thing works again."]


def test_delay_is_reset_after_a_stable_minute(tmp_path: Path) -> None:
    said: list[str] = []
    clock = Clock()
    program = FakeProgram(tmp_path)
    supervisor = Supervisor(said.append, clock=clock)
    supervisor.launch([program])
    try:
        for pause in (1.0, 120.0):
            program.process.kill()
            supervisor.check()
            clock.now += 1.0
            supervisor.check()
            clock.now += pause
        program.process.kill()
        supervisor.check()
    finally:
        supervisor.stop(timeout=2)
    assert [line.split("; restarting it in ")[1].split(" s")[0] for line in said if "restarting" in line] == [
        "0.5",
        "1",
        "0.5",
    ]


def test_a_program_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    said: list[str] = []
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ignoring', flush=True); time.sleep(60)"
    program = FakeProgram(tmp_path, code)
    supervisor = Supervisor(said.append)
    supervisor.launch([program])
    program.process.wait_until(lambda: "ignoring" in program.process.log_path.read_text(), timeout=60)
    supervisor.stop(timeout=0.1)
    assert not program.process.running
    assert said == ["Thing did not stop in time and was killed."]


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG exists on Linux only")
def test_children_end_when_the_parent_is_killed(tmp_path: Path) -> None:
    code = f"""
import pathlib, sys, time
from cell_monitor.embedded.process import ChildProcess
child = ChildProcess("child", [sys.executable, "-c", "import time; time.sleep(600)"], log_path=pathlib.Path({str(tmp_path)!r}) / "log")
child.start()
print(child.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        os.kill(parent.pid, signal.SIGKILL)
    child.wait(60)
    assert not child.is_running()


def test_a_program_that_cannot_be_executed_is_named(tmp_path: Path) -> None:
    missing = ChildProcess("Thing", [tmp_path / "missing"], log_path=tmp_path / "log")
    with pytest.raises(EmbeddedServerError, match=r"Thing cannot be started: .*missing"):
        missing.start()


def test_a_start_that_fails_shows_the_end_of_the_log(tmp_path: Path) -> None:
    child = ChildProcess("Thing", [sys.executable, "-c", "raise SystemExit('no luck')"], log_path=tmp_path / "log")
    child.start()
    with pytest.raises(EmbeddedServerError, match=r"(?s)Thing ended with exit code 1.*no luck"):
        child.wait_until(lambda: False, timeout=60)


def test_stop_reaches_grandchildren(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print(p.pid, flush=True); time.sleep(60)"
    )
    child = ChildProcess("Thing", [sys.executable, "-c", code], log_path=tmp_path / "log")
    child.start()
    child.wait_until(lambda: child.log_path.read_text().strip() != "", timeout=60)
    grandchild = psutil.Process(int(child.log_path.read_text()))
    child.stop(timeout=5)
    deadline = time.monotonic() + 60
    with contextlib.suppress(psutil.NoSuchProcess):  # it may end between the two calls
        while grandchild.is_running() and grandchild.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_large_log_is_rotated(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    log.write_bytes(b"x" * (10 * 1024 * 1024 + 1))
    rotate(log)
    assert not log.exists()
    assert (tmp_path / "api.log.1").stat().st_size > 10 * 1024 * 1024


def test_a_program_that_does_not_start_shows_nothing_of_earlier_starts(tmp_path: Path) -> None:
    log = tmp_path / "thing.log"
    log.write_text("an error of yesterday\n")
    program = FakeProgram(tmp_path, "print('an error of today'); raise SystemExit(3)")
    program.launch()
    with pytest.raises(EmbeddedServerError, match="an error of today") as caught:
        program.process.wait_until(lambda: False, timeout=60)
    assert "yesterday" not in str(caught.value)
    assert "yesterday" in log.read_text()
