"""A child process that never outlives this one.

Every child leads its own process group, so that a Ctrl-C in the terminal reaches only us and we decide the order in
which things stop. On Linux the kernel signals a child when its parent dies, even by ``kill -9``
(``PR_SET_PDEATHSIG``, prctl(2)); the signal is tied to the *thread* that started the child, so ``start`` belongs in
the main thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

__all__ = ["ChildProcess", "EmbeddedServerError", "PortInUseError", "free_port", "require_free_port", "tail"]

_PR_SET_PDEATHSIG: Final = 1
_SERVER_PORTS: Final = range(20_000, 32_768)
# More than an installation needs, and few of the files that a process may have open (usually 1024).
_RESERVED_PORTS: Final = 64
_reserved: Final[deque[int]] = deque()
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class EmbeddedServerError(RuntimeError):
    """A server could not be started or stopped; the message names the problem and what to do."""


class PortInUseError(EmbeddedServerError):
    """Another program listens on the wanted port."""

    def __init__(self, port: int, *, host: str = "127.0.0.1", wanted_by: str, advice: str) -> None:
        super().__init__(f"Port {port} on {host}, wanted by {wanted_by}, is already in use. {advice}")
        self.port = port


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nothing uses at this moment, and reserve it for a server that starts later.

    It is below the ports that Linux (``ip_local_port_range``, ip(7)), macOS and Windows give to outgoing connections and
    to port 0, as far as a machine keeps their usual ranges. The last 64 ports of this process stay bound and refuse
    connections: neither another call, in any process, nor an outgoing connection gets one. A server that sets
    ``SO_REUSEADDR`` can listen there all the same (socket(7)), as nearly all servers on Unix do.
    """
    for port in [*random.SystemRandom().sample(_SERVER_PORTS, 100), 0]:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            chosen = int(probe.getsockname()[1])
            _reserve(probe)
            return chosen
    raise EmbeddedServerError("This machine has no free port.")


def _reserve(probe: socket.socket) -> None:
    # On other systems such a socket keeps servers out, too.
    if sys.platform == "linux":
        # After the bind: with this option two probes could have bound one port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _reserved.append(probe.detach())
        if len(_reserved) > _RESERVED_PORTS:
            os.close(_reserved.popleft())


def require_free_port(
    port: int,
    *,
    host: str = "127.0.0.1",
    wanted_by: str,
    advice: str = "Stop that program or choose another port.",
) -> None:
    """Raise ``PortInUseError`` if something listens on the port of the host, an address of this machine."""
    with socket.socket() as probe:
        # As servers do: connections of an earlier run in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortInUseError(port, host=host, wanted_by=wanted_by, advice=advice) from error


def tail(path: Path, *, lines: int = 15, max_bytes: int = 65_536, since: int = 0) -> str:
    """Return the last lines of a log file behind its first ``since`` bytes, or an empty string if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(since, path.stat().st_size - max_bytes))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def _end_with_parent(parent: int, signum: int) -> Callable[[], None] | None:
    libc = _libc
    if libc is None:
        return None

    def between_fork_and_exec() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signum, 0, 0, 0)
        if os.getppid() != parent:  # it died before the call above
            os._exit(1)

    return between_fork_and_exec


class ChildProcess:
    """One program, its log file and its orderly end.

    Attributes:
        name: what messages call it.
        log_path: receives the program's standard output and error, appended.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        log_path: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        user: int | None = None,
        group: int | None = None,
    ) -> None:
        """Describe the program; nothing starts yet.

        Args:
            name: what messages call it.
            argv: program and arguments.
            log_path: file for its output; its folder must exist.
            env: the whole environment of the child; None hands on ours.
            cwd: its working directory.
            stop_signal: asks it to end; also sent by the kernel should we die (Linux).
            user: numeric user id to run as, only as root.
            group: numeric group id to run as, only as root.
        """
        self.name = name
        self.argv = [str(part) for part in argv]
        self.log_path = log_path
        self._env = dict(env) if env is not None else None
        self._cwd = cwd
        self._stop_signal = stop_signal
        self._user = user
        self._group = group
        self._process: subprocess.Popen[bytes] | None = None
        self._log_from = 0

    @property
    def log_end(self) -> str:
        """The last lines that it wrote since its last start."""
        return tail(self.log_path, since=self._log_from)

    @property
    def pid(self) -> int | None:
        """Process id while it runs, else None."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def running(self) -> bool:
        """Whether the program runs now."""
        return self.pid is not None

    @property
    def exit_code(self) -> int | None:
        """Exit code of the last run (negative: the signal that ended it), None while it runs or before."""
        return self._process.poll() if self._process is not None else None

    def start(self) -> None:
        """Start the program; returns at once.

        Raises:
            EmbeddedServerError: it cannot be executed, or already runs.
        """
        if self.running:
            raise EmbeddedServerError(f"{self.name} already runs (pid {self.pid}).")
        with self.log_path.open("ab") as log:
            # What earlier starts wrote says nothing of this one.
            self._log_from = log.tell()
            try:
                self._process = subprocess.Popen(  # noqa: S603
                    self.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self._env,
                    cwd=self._cwd,
                    user=self._user,
                    group=self._group,
                    extra_groups=[] if self._user is not None else None,
                    start_new_session=True,
                    preexec_fn=_end_with_parent(os.getpid(), self._stop_signal),  # noqa: PLW1509
                )
            except OSError as error:
                raise EmbeddedServerError(f"{self.name} cannot be started: {error}") from error

    def signal(self, signum: int) -> None:
        """Send a signal to the program itself, not its group; no error if it has ended."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signum)

    def wait(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for its end; return whether it has ended."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def request_stop(self) -> None:
        """Ask the program to end; returns at once."""
        self.signal(self._stop_signal)

    def stop(self, timeout: float = 10.0) -> None:
        """Ask it to end, wait, then end the whole process group by force."""
        self.request_stop()
        self.wait(timeout)
        self.kill()

    def kill(self) -> None:
        """End the whole process group at once, as ``kill -9`` does."""
        if self._process is None:
            return
        # The group outlives its leader while any member runs, so this also catches grandchildren left behind.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def wait_until(self, ready: Callable[[], bool], *, timeout: float, interval: float = 0.02) -> None:
        """Poll ``ready`` until it returns True.

        Raises:
            EmbeddedServerError: the program ended, or ``timeout`` seconds passed; with the end of its log.
        """
        deadline = time.monotonic() + timeout
        while not ready():
            if not self.running:
                raise EmbeddedServerError(self.describe_end())
            if time.monotonic() > deadline:
                raise EmbeddedServerError(
                    f"{self.name} did not become ready within {timeout:.0f} s. Its log {self.log_path} ends with:\n"
                    f"{self.log_end}"
                )
            time.sleep(interval)

    def describe_end(self) -> str:
        """Say in words how the program ended, with the end of its log."""
        return f"{self.name} ended with {self.describe_exit()}. Its log {self.log_path} ends with:\n{self.log_end}"

    def describe_exit(self) -> str:
        """Say in words how the program ended: ``exit code 1`` or ``signal SIGKILL``."""
        code = self.exit_code
        if code is not None and code < 0:
            return f"signal {signal.Signals(-code).name}"
        return f"exit code {code}"
