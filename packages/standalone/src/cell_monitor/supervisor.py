"""Keeps the processes of ``cell-monitor up`` running, in order, and ends them in the reverse order."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Final, Protocol

import httpx

from cell_monitor.embedded.process import ChildProcess, EmbeddedServerError

__all__ = ["HttpService", "Program", "StopRequested", "Supervisor", "stop_on_signals"]

_FIRST_DELAY_S: Final = 0.5
_LONGEST_DELAY_S: Final = 30.0
_STABLE_AFTER_S: Final = 60.0
_LOG_LIMIT: Final = 10 * 1024 * 1024


class StopRequested(BaseException):
    """Somebody asked us to stop: Ctrl-C, SIGTERM, or the terminal was closed."""


@contextlib.contextmanager
def stop_on_signals() -> Iterator[None]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into ``StopRequested``; ignore further ones while we clean up."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def request(_signum: int, _frame: FrameType | None) -> None:
        for signum in signals:
            signal.signal(signum, signal.SIG_IGN)
        raise StopRequested

    before = {signum: signal.signal(signum, request) for signum in signals}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


class Program(Protocol):
    """Something that can be started, watched and stopped."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def process(self) -> ChildProcess:
        """Its process, after ``launch``."""
        ...

    def launch(self) -> None:
        """Start it; returns at once."""
        ...

    def ready(self) -> bool:
        """Tell whether it does its work."""
        ...

    def wait_ready(self, *, timeout: float) -> None:
        """Wait until it is ready; raises ``EmbeddedServerError``."""
        ...


class HttpService:
    """A child process that says over HTTP when it is ready."""

    def __init__(self, process: ChildProcess, ready_url: str) -> None:
        """Wrap a process that answers 200 on ``ready_url`` once it works."""
        self._process = process
        self._ready_url = ready_url
        self._client = httpx.Client(timeout=2, trust_env=False)

    @property
    def name(self) -> str:
        """What messages call it."""
        return self._process.name

    @property
    def process(self) -> ChildProcess:
        """Its process."""
        return self._process

    def launch(self) -> None:
        """Start it, with its log shortened if it has grown large."""
        rotate(self._process.log_path)
        self._process.start()

    def ready(self) -> bool:
        """Tell whether it answers 200."""
        try:
            return self._client.get(self._ready_url).status_code == 200
        except httpx.TransportError:
            return False

    def wait_ready(self, *, timeout: float) -> None:
        """Wait until it answers 200; raises ``EmbeddedServerError``."""
        self._process.wait_until(self.ready, timeout=timeout, interval=0.05)


def rotate(log: Path) -> None:
    """Set a log aside once it is larger than 10 MiB; one older file is kept."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > _LOG_LIMIT:
            log.replace(log.with_name(log.name + ".1"))


class _Watch:
    """What the supervisor knows of one program."""

    def __init__(self, program: Program, now: float) -> None:
        self.program = program
        self.started_at = now
        self.delay = _FIRST_DELAY_S
        self.restart_at: float | None = None
        self.recovering = False


class Supervisor:
    """Runs programs until somebody asks to stop."""

    def __init__(self, say: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with no programs.

        Args:
            say: shows one line to the person at the terminal.
            clock: seconds, for the restart delays.
        """
        self._say = say
        self._clock = clock
        self._watches: list[_Watch] = []

    def launch(self, programs: Sequence[Program]) -> None:
        """Start programs; from here on they are stopped when we stop, in the reverse order."""
        for program in programs:
            # Known before it starts: a signal in between must not leave it behind.
            self._watches.append(_Watch(program, self._clock()))
            program.launch()

    def watch(self, *, interval: float = 0.2) -> None:
        """Restart what ends, for ever; ``StopRequested`` ends it."""
        while True:
            self.check()
            time.sleep(interval)

    def check(self) -> None:
        """Look at each program once and restart those whose time has come."""
        now = self._clock()
        for watch in self._watches:
            self._check(watch, now)

    def stop(self, *, timeout: float = 25.0) -> None:
        """Stop every program: those started last first, the stores (started first) once nobody writes to them."""
        deadline = time.monotonic() + timeout
        started = [watch.program for watch in self._watches if _was_launched(watch.program)]
        services = [program for program in started if isinstance(program, HttpService)]
        stores = [program for program in started if not isinstance(program, HttpService)]
        for group in (services, stores):
            for program in reversed(group):
                program.process.request_stop()
            for program in reversed(group):
                if not program.process.wait(max(0.5, deadline - time.monotonic())):
                    self._say(f"{program.name} did not stop in time and was ended by force.")
                program.process.kill()

    def _check(self, watch: _Watch, now: float) -> None:
        program = watch.program
        if watch.restart_at is not None:
            if now < watch.restart_at:
                return
            watch.restart_at = None
            watch.started_at = now
            try:
                program.launch()
            except EmbeddedServerError as error:
                self._plan_restart(watch, now, f"{program.name} cannot be started again: {error}")
            return
        if not program.process.running:
            if now - watch.started_at > _STABLE_AFTER_S:
                watch.delay = _FIRST_DELAY_S
            # Its helpers, if any are left, would hold its port.
            how = program.process.describe_exit()
            program.process.kill()
            self._plan_restart(watch, now, f"{program.name} ended unexpectedly with {how}")
            return
        if watch.recovering and program.ready():
            watch.recovering = False
            self._say(f"{program.name} works again.")

    def _plan_restart(self, watch: _Watch, now: float, what: str) -> None:
        self._say(f"{what}; restarting it in {watch.delay:g} s (log: {watch.program.process.log_path}).")
        watch.restart_at = now + watch.delay
        watch.delay = min(watch.delay * 2, _LONGEST_DELAY_S)
        watch.recovering = True


def _was_launched(program: Program) -> bool:
    try:
        return program.process.pid is not None or program.process.exit_code is not None
    except EmbeddedServerError:
        return False
