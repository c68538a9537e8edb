"""Description of the machine, and resources used by a process: CPU time and memory."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path

import psutil

__all__ = ["cpu_seconds", "cpu_seconds_with_ended", "describe", "pin", "pss_mib", "rss_mib", "tree", "unpin"]


def describe() -> str:
    """Return a description of the machine in one line."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor() or platform.machine(),
    )
    memory = psutil.virtual_memory().total / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}, Python {platform.python_version()}"


def tree(pid: int) -> list[psutil.Process]:
    """Return a process and all of its descendants."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def pin(pid: int, core: int) -> None:
    """Bind a process, its threads and its descendants to one core."""
    _bind(pid, {core})


def unpin(pid: int) -> None:
    """Allow a process, its threads and its descendants to run on every core."""
    _bind(pid, set(range(os.cpu_count() or 1)))


def _bind(pid: int, cores: set[int]) -> None:
    for process in tree(pid):
        # A backend of PostgreSQL may exit between the two calls.
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            for thread in process.threads():
                os.sched_setaffinity(thread.id, cores)


def cpu_seconds(pid: int) -> float:
    """Return user and system CPU seconds of a process and its running descendants, without ended children."""
    total = 0.0
    for process in tree(pid):
        times = process.cpu_times()
        total += times.user + times.system
    return total


def rss_mib(pid: int) -> float:
    """Return the resident set of one process in MiB."""
    return float(psutil.Process(pid).memory_info().rss / 2**20)


def cpu_seconds_with_ended(pid: int) -> float:
    """Return user and system CPU seconds of a process and its descendants, including those that ended meanwhile.

    The time of an ended process is in its parent's once that has waited for it (``proc(5)``, cutime and cstime).
    """
    total = 0.0
    for process in tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def pss_mib(pid: int) -> float:
    """Return the proportional set size of a process and its descendants in MiB: each shared page counts once."""
    total = 0
    for process in tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().pss
    return float(total / 2**20)
