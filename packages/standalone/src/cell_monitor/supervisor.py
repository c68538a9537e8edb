"""Starts the processes of ``cell-monitor up``, restarts those that end, and stops them in reverse order."""

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
    """The user stopped the program: Ctrl-C, SIGTERM, or the terminal was closed."""


@contextlib.contextmanager
def stop_on_signals() -> Iterator[None]:
    """Raise ``StopRequested`` at the first SIGINT, SIGTERM or SIGHUP; ignore further ones during the clean-up."""
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
    """A program that the supervisor can start, monitor and stop."""

    @property
    def name(self) -> str:
        """Name of the program in messages."""
        ...

    @property
    def process(self) -> ChildProcess:
        """The process; valid after ``launch``."""
        ...

    def launch(self) -> None:
        """Start the program without waiting until it is ready."""
        ...

    def ready(self) -> bool:
        """Return whether the program is ready."""
        ...

    def wait_ready(self, *, timeout: float) -> None:
        """Wait until the program is ready, at most ``timeout`` seconds.

        Raises:
            EmbeddedServerError: it ended or is not ready in time.
        """
        ...


class HttpService:
    """A child process with an HTTP endpoint that reports whether it is ready."""

    def __init__(self, process: ChildProcess, ready_url: str) -> None:
        """Wrap a process that answers 200 at ``ready_url`` when it is ready."""
        self._process = process
        self._ready_url = ready_url
        self._client = httpx.Client(timeout=2, trust_env=False)

    @property
    def name(self) -> str:
        """Name of the program in messages."""
        return self._process.name

    @property
    def process(self) -> ChildProcess:
        """The process."""
        return self._process

    def launch(self) -> None:
        """Rotate a large log, then start the process without waiting until it is ready."""
        rotate(self._process.log_path)
        self._process.start()

    def ready(self) -> bool:
        """Return whether it answers 200."""
        try:
            return self._client.get(self._ready_url).status_code == 200
        except httpx.TransportError:
            return False

    def wait_ready(self, *, timeout: float) -> None:
        """Wait until it answers 200, at most ``timeout`` seconds.

        Raises:
            EmbeddedServerError: it ended or is not ready in time.
        """
        self._process.wait_until(self.ready, timeout=timeout, interval=0.05)


def rotate(log: Path) -> None:
    """Rename a log that is larger than 10 MiB to ``.1``; an older ``.1`` is replaced."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > _LOG_LIMIT:
            log.replace(log.with_name(log.name + ".1"))


class _State:
    """The supervisor's state of one program."""

    def __init__(self, program: Program, now: float) -> None:
        self.program = program
        self.started_at = now
        self.delay = _FIRST_DELAY_S
        self.restart_at: float | None = None
        self.recovering = False


class Supervisor:
    """Runs programs until it is stopped."""

    def __init__(self, say: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        """Create a supervisor without programs.

        Args:
            say: prints one line on the terminal.
            clock: returns seconds, for the restart delays.
        """
        self._say = say
        self._clock = clock
        self._states: list[_State] = []

    def launch(self, programs: Sequence[Program]) -> None:
        """Start programs. From now on they are monitored, and stopped by ``stop``."""
        for program in programs:
            # Registered before the start, so that a signal in between does not leave it running.
            self._states.append(_State(program, self._clock()))
            program.launch()

    def watch(self, *, interval: float = 0.2) -> None:
        """Restart programs that end, until ``StopRequested`` is raised. ``interval`` is in seconds."""
        while True:
            self.check()
            time.sleep(interval)

    def check(self) -> None:
        """Check each program once and restart those whose delay has passed."""
        now = self._clock()
        for state in self._states:
            self._check(state, now)

    def stop(self, *, timeout: float = 25.0) -> None:
        """Stop all programs within ``timeout`` seconds, in reverse order: the services first, then the stores."""
        deadline = time.monotonic() + timeout
        started = [state.program for state in self._states if _was_launched(state.program)]
        services = [program for program in started if isinstance(program, HttpService)]
        stores = [program for program in started if not isinstance(program, HttpService)]
        for group in (services, stores):
            for program in reversed(group):
                program.process.request_stop()
            for program in reversed(group):
                if not program.process.wait(max(0.5, deadline - time.monotonic())):
                    self._say(f"{program.name} did not stop in time and was killed.")
                program.process.kill()

    def _check(self, state: _State, now: float) -> None:
        program = state.program
        if state.restart_at is not None:
            if now < state.restart_at:
                return
            state.restart_at = None
            state.started_at = now
            try:
                program.launch()
            except EmbeddedServerError as error:
                self._plan_restart(state, now, f"{program.name} cannot be started again: {error}")
            return
        if not program.process.running:
            if now - state.started_at > _STABLE_AFTER_S:
                state.delay = _FIRST_DELAY_S
            # A child process that it left running would keep its port in use.
            how = program.process.describe_exit()
            program.process.kill()
            self._plan_restart(state, now, f"{program.name} ended unexpectedly with {how}")
            return
        if state.recovering and program.ready():
            state.recovering = False
            self._say(f"{program.name} works again.")

    def _plan_restart(self, state: _State, now: float, what: str) -> None:
        self._say(f"{what}; restarting it in {state.delay:g} s (log: {state.program.process.log_path}).")
        state.restart_at = now + state.delay
        state.delay = min(state.delay * 2, _LONGEST_DELAY_S)
        state.recovering = True


def _was_launched(program: Program) -> bool:
    try:
        return program.process.pid is not None or program.process.exit_code is not None
    except EmbeddedServerError:
        return False
