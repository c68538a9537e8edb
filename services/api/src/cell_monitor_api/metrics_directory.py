"""The folder in which the worker processes' metrics meet: one that nobody else can make, foresee or read.

Each run has a new one, held by a lock that the kernel lets go of when the last of its processes has ended. So the folder
of a run that was killed is known from that of one that works, also where processes of several containers share a
temporary directory, and the next start removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import Final

__all__ = ["VARIABLE", "MetricsDirectoryError", "prepare_metrics_directory", "remove_metrics_directory"]

VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX: Final = "cell-monitor-metrics-"
_LOCK: Final = "held"
# Just made and not locked yet, a folder looks like one that was left behind.
_YOUNG_S: Final = 60.0


class MetricsDirectoryError(RuntimeError):
    """The folder of the metrics cannot be used; the message names it and what to do."""


def prepare_metrics_directory() -> Path:
    """Return the directory of the metrics that the worker processes share, empty.

    Files of an earlier run would be added to this run's counters. A directory that the operator names by
    ``PROMETHEUS_MULTIPROC_DIR`` is emptied of ``*.db`` files only.

    Raises:
        MetricsDirectoryError: it cannot be made or written to.
    """
    named = os.environ.get(VARIABLE)
    try:
        return _empty(Path(named)) if named else _make()
    except OSError as error:
        where = f"the directory {named} that {VARIABLE} names" if named else f"a directory in {tempfile.gettempdir()}"
        raise MetricsDirectoryError(
            f"{where} cannot be used for metrics: {error.strerror}. Name one in {VARIABLE} that this user may write to."
        ) from error


def remove_metrics_directory() -> None:
    """Remove this run's directory, if ``prepare_metrics_directory`` made it."""
    directory = Path(os.environ.get(VARIABLE, ""))
    if directory.name.startswith(_PREFIX) and (directory / _LOCK).exists():
        shutil.rmtree(directory, ignore_errors=True)


def _empty(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for file in directory.glob("*.db"):
        file.unlink(missing_ok=True)
    # Found out now and not by a worker that is asked for its metrics.
    with tempfile.TemporaryFile(dir=directory):
        return directory


def _make() -> Path:
    _remove_left_behind(Path(tempfile.gettempdir()))
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
    unlocked = directory / "new"
    descriptor = os.open(unlocked, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    unlocked.rename(directory / _LOCK)
    # gunicorn and its workers inherit it, and with it the lock; none of them ever closes it.
    os.set_inheritable(descriptor, True)
    return directory


def _remove_left_behind(temporary: Path) -> None:
    for directory in temporary.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            status = directory.lstat()
            # Another user's, or a link that another user made, is not ours to follow.
            if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not _is_held(directory):
                shutil.rmtree(directory, ignore_errors=True)


def _is_held(directory: Path) -> bool:
    try:
        descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return time.time() - directory.lstat().st_mtime < _YOUNG_S
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
