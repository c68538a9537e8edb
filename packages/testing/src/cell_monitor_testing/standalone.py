"""The ``cell-monitor`` command as a process with a data directory and the signals of a terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from cell_monitor.embedded.process import tail

__all__ = ["StandaloneUp", "run_cell_monitor"]

_COMMAND = (sys.executable, "-c", "from cell_monitor.cli import main; main()")


def _environment() -> dict[str, str]:
    # No settings of Cell Monitor: a test sets options on the command line.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CELL_MONITOR_")}
    # Programs of this Python's virtual environment, as in a user's terminal.
    return kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}", "COLUMNS": "200"}


def run_cell_monitor(*arguments: str, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Run one command to its end and return its output as text."""
    return subprocess.run(  # noqa: S603
        [*_COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=timeout, env=_environment()
    )


class StandaloneUp:
    """One ``cell-monitor up --json`` in the background.

    Attributes:
        addresses: the JSON line that it printed: dashboard, api, gateway, jupyterlab, user, password.
    """

    def __init__(self, data_dir: Path, *arguments: str) -> None:
        """Configure the command; ``--port-base 0`` unless the arguments contain another."""
        self.data_dir = data_dir
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._out = data_dir.with_name(data_dir.name + ".out")
        self._err = data_dir.with_name(data_dir.name + ".err")
        self.addresses: dict[str, Any] = {}

    @property
    def process(self) -> psutil.Process:
        """The process of ``up``."""
        assert self._process is not None
        return psutil.Process(self._process.pid)

    @property
    def output(self) -> str:
        """The output on standard error so far."""
        return self._err.read_text(encoding="utf-8") if self._err.exists() else ""

    def start(self, *, timeout: float = 120.0) -> None:
        """Start ``up`` and wait for its JSON line.

        Raises:
            AssertionError: it exited or printed nothing in time; the message contains its output and the services' logs.
        """
        ports = () if any("port" in argument for argument in self._arguments) else ("--port-base", "0")
        self._out.write_bytes(b"")
        with self._out.open("ab") as out, self._err.open("ab") as err:
            self._process = subprocess.Popen(  # noqa: S603
                [*_COMMAND, "up", "--json", "--data-dir", str(self.data_dir), *ports, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=_environment(),
                # A terminal signals the whole group; a test must not signal pytest.
                start_new_session=True,
            )
        deadline = time.monotonic() + timeout
        while not self._out.read_bytes().endswith(b"\n"):
            if self._process.poll() is not None:
                raise AssertionError(f"up ended with {self._process.returncode}:\n{self.output}")
            if time.monotonic() > deadline:
                logs = "\n".join(
                    f"--- {log.name}\n{tail(log)}" for log in sorted((self.data_dir / "logs").glob("*.log"))
                )
                self.kill()
                raise AssertionError(f"up printed nothing within {timeout:.0f} s:\n{self.output}\n{logs}")
            time.sleep(0.05)
        self.addresses = json.loads(self._out.read_text(encoding="utf-8"))

    def descendants(self) -> list[psutil.Process]:
        """Return all processes that it started, at any depth."""
        return self.process.children(recursive=True)

    def child(self, word: str) -> psutil.Process:
        """Return the child with a word in its command line, such as ``cell_monitor_worker``."""
        for process in self.process.children():
            if any(word in part for part in process.cmdline()):
                return process
        raise AssertionError(f"no child of up has {word!r} in its command line")

    def interrupt(self) -> None:
        """Send the signal of Ctrl-C."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGINT)

    def wait(self, *, timeout: float = 60.0) -> int:
        """Wait until ``up`` exits and return its exit code."""
        assert self._process is not None
        return self._process.wait(timeout)

    def kill(self) -> None:
        """Kill the process of ``up`` only, with ``kill -9``; the kernel then ends its children."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """Send the signal of Ctrl-C if ``up`` still runs, and wait for its end."""
        if self._process is not None and self._process.poll() is None:
            self.interrupt()
            try:
                self.wait()
            except subprocess.TimeoutExpired:
                self.kill()
                raise
