"""Two builds to compare: this checkout, and a commit in a worktree with a virtual environment of its own.

Builds are driven by what they have in common: the command line of ``cell-monitor up``, HTTP and WebSocket. Nothing of
a build is imported.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import machine
import psutil

__all__ = ["Build", "BuildError", "RunningBuild", "build_of_commit", "running"]

ROOT: Final = Path(__file__).resolve().parents[2]


class BuildError(RuntimeError):
    """A build cannot be made or started; the message contains the end of its output."""


@dataclass(frozen=True, slots=True)
class Build:
    """An installed build.

    Attributes:
        name: ``this checkout`` or the abbreviated commit.
        folder: its sources, with the virtual environment in ``.venv``.
    """

    name: str
    folder: Path


def build_of_commit(commit: str) -> Build:
    """Return the build of a commit, installed below ``build/against``; one that was installed before is used again.

    Raises:
        BuildError: there is no such commit, or its installation fails.
    """
    found = _git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}")
    if found.returncode != 0:
        raise BuildError(f"There is no commit {commit!r} in this clone. A shallow clone needs `git fetch --unshallow`.")
    full = found.stdout.strip()
    folder = ROOT / "build" / "against" / full[:12]
    if not (folder / "Makefile").exists():
        _git("worktree", "prune")
        added = _git("worktree", "add", "--detach", "--force", str(folder), full)
        if added.returncode != 0:
            raise BuildError(f"git worktree add {folder}: {added.stderr.strip()}")
    made = subprocess.run(
        ["make", "build/stamps/python"], cwd=folder, env=_environment(), capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        raise BuildError(f"Commit {full[:12]} cannot be installed:\n{(made.stdout + made.stderr)[-3000:]}")
    return Build(full[:7], folder)


class RunningBuild:
    """A build that runs: where it answers, and what its processes cost.

    Attributes:
        build: what runs.
        addresses: the line that ``up --json`` printed.
        data: its data directory.
    """

    def __init__(self, build: Build, addresses: dict[str, Any], data: Path, up: psutil.Process) -> None:
        self.build = build
        self.addresses = addresses
        self.data = data
        instance = json.loads((data / "run" / "instance.json").read_text())
        ports = {
            "API": urlsplit(instance["api"]).port,
            "worker": urlsplit(instance["worker"]).port,
            "gateway": urlsplit(instance["gateway"]).port,
            "PostgreSQL": instance["postgres_port"],
            "Valkey": instance["valkey_port"],
        }
        listening = {
            connection.laddr.port: child
            for child in up.children()
            for process in machine.tree(child.pid)
            for connection in process.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        missing = [name for name, port in ports.items() if port not in listening]
        if missing:
            raise BuildError(f"{build.name} runs without {', '.join(missing)}")
        self._processes = {name: listening[port] for name, port in ports.items() if port is not None}

    def command(self, *arguments: str) -> None:
        """Run one ``cell-monitor`` command of the build on its data directory.

        Raises:
            BuildError: it fails.
        """
        done = subprocess.run(
            [*_command(self.build), *arguments, "--data-dir", self.data],
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise BuildError(f"{self.build.name}: {' '.join(arguments)}: {done.stderr.strip()}")

    def cpu_seconds(self) -> dict[str, float]:
        """Return the CPU seconds since the start of each process with its descendants, ended ones included."""
        return {name: machine.cpu_seconds_with_ended(process.pid) for name, process in self._processes.items()}

    def memory_mib(self) -> dict[str, float]:
        """Return the proportional set size in MiB of each process with its descendants: shared pages are split."""
        return {name: machine.pss_mib(process.pid) for name, process in self._processes.items()}


@contextmanager
def running(build: Build, folder: Path, *, timeout: float = 120.0) -> Iterator[RunningBuild]:
    """Run ``cell-monitor up`` of a build on an empty data directory in ``folder``, and end it with the block.

    Raises:
        BuildError: it does not start.
    """
    data = folder / "data"
    data.mkdir(parents=True)
    log = folder / "up.log"
    out = folder / "up.json"
    command = [*_command(build), "up", "--json", "--port-base", "0"]
    with out.open("wb") as output, log.open("wb") as errors:
        process = subprocess.Popen(
            [*command, "--without-dashboard", "--without-jupyterlab", "--data-dir", data],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            cwd=folder,
            env=_environment(),
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + timeout
        while not out.read_bytes().endswith(b"\n"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise BuildError(f"{build.name} does not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)
        yield RunningBuild(build, json.loads(out.read_text()), data, psutil.Process(process.pid))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _command(build: Build) -> list[str | Path]:
    return [build.folder / ".venv" / "bin" / "python", "-c", "from cell_monitor.cli import main; main()"]


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def _environment() -> dict[str, str]:
    """Return the caller's environment without settings of a build, of make or of Python."""
    foreign = re.compile(r"CELL_MONITOR_|OTEL_|MAKE|MFLAGS$|PYTHON|VIRTUAL_ENV$|GIT_")
    return {name: value for name, value in os.environ.items() if not foreign.match(name)}
