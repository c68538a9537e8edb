"""The data directory: all data of one installation on one machine, and the lock that allows one process to use it.

::

    lock                       held while `up` (or an offline admin command) runs; contains the holder's pid
    secrets/                   keys, passwords, API keys; generated once, mode 0600
    postgres/  valkey/         the stores
    work/                      notebooks, the root folder of JupyterLab
    jupyter/                   JupyterLab's configuration, separate from the user's
    logs/                      output of each child process
    run/                       addresses of the running installation, connection URLs for the services
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from cell_monitor.invocation import DEFAULT_DATA_DIR, command_line
from cell_monitor.secret_folder import SecretFolder, write_whole

__all__ = ["DataDirectory", "DataDirectoryError", "Instance", "default_data_dir"]


class DataDirectoryError(RuntimeError):
    """The data directory cannot be used; the message names the problem and what to do."""


def default_data_dir() -> Path:
    """Return ``$CELL_MONITOR_DATA_DIR``, or the default folder of the user."""
    return Path(os.environ.get("CELL_MONITOR_DATA_DIR") or DEFAULT_DATA_DIR).expanduser()


@dataclass(frozen=True, slots=True)
class Instance:
    """The addresses of a running installation. It contains no secret.

    Attributes:
        pid: process id of ``cell-monitor up``.
        jupyterlab: URL without the token; None if started without JupyterLab.
        public_dashboard: URL of the dashboard for people on other machines; None where ``up`` is of a version before.
        worker: base URL of the worker's probes and metrics.
        api_inside: base URL of the API's probes and metrics; None where ``up`` is of a version before.
        gateway_inside: base URL of the gateway's; None likewise.
        postgres_port: TCP port of PostgreSQL on 127.0.0.1.
        valkey_port: TCP port of Valkey on 127.0.0.1.
    """

    pid: int
    dashboard: str
    api: str
    gateway: str
    worker: str
    jupyterlab: str | None
    postgres_port: int
    valkey_port: int
    public_dashboard: str | None = None
    api_inside: str | None = None
    gateway_inside: str | None = None


class DataDirectory:
    """One data directory. Its folders are created when needed and are readable by their owner only."""

    def __init__(self, path: Path) -> None:
        """Set the path; nothing is created yet."""
        self.path = path.expanduser().absolute()

    def prepare(self) -> None:
        """Create the directory and its folders.

        Raises:
            DataDirectoryError: it cannot be written to.
        """
        try:
            if self.path.exists() and not self.path.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "it is not a folder")
            # PostgreSQL may run as another user and needs to reach its own folder in this one. What exists may be
            # somebody else's as well: nothing is taken from its mode.
            if not self.path.exists():
                self.path.mkdir(parents=True)
                self.path.chmod(0o711)
            elif self.path.stat().st_mode & 0o111 != 0o111:
                self.path.chmod(stat.S_IMODE(self.path.stat().st_mode) | 0o111)
            for folder in (self.secrets.path, self.logs, self.run, self.jupyter):
                folder.mkdir(exist_ok=True)
                folder.chmod(0o700)
        except OSError as error:
            raise DataDirectoryError(
                f"The data directory {self.path} cannot be used: {error.strerror}. "
                "Choose another with --data-dir or CELL_MONITOR_DATA_DIR."
            ) from error

    @property
    def secrets(self) -> SecretFolder:
        """Generated secrets."""
        return SecretFolder(self.path / "secrets")

    @property
    def logs(self) -> Path:
        """Folder of the child processes' output."""
        return self.path / "logs"

    @property
    def run(self) -> Path:
        """Folder of files that are valid only while the installation runs."""
        return self.path / "run"

    @property
    def postgres(self) -> Path:
        """Folder of PostgreSQL."""
        return self.path / "postgres"

    @property
    def valkey(self) -> Path:
        """Folder of Valkey."""
        return self.path / "valkey"

    @property
    def work(self) -> Path:
        """Root folder of JupyterLab."""
        return self.path / "work"

    @property
    def jupyter(self) -> Path:
        """Folder of JupyterLab's configuration and state."""
        return self.path / "jupyter"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the directory for this process. The kernel releases the lock when the process ends, even after a crash.

        Raises:
            DataDirectoryError: another process has locked it.
        """
        self.prepare()
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
                raise DataDirectoryError(
                    f"Cell Monitor is already running on the data directory {self.path} (process {holder}). "
                    f"See `{command_line('status', data_dir=self.path)}`; stop it with Ctrl-C where it runs, "
                    "or start a second one with its own data: --data-dir and --port-base."
                ) from error
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
            yield
        finally:
            os.close(descriptor)

    def write_run_file(self, name: str, value: str) -> Path:
        """Write a file that is valid for this run only, with mode 0600; return its path."""
        return write_whole(self.run / name, value)

    def announce(self, instance: Instance) -> None:
        """Write the addresses of the installation for the other commands."""
        self.write_run_file("instance.json", json.dumps(asdict(instance)))

    def withdraw(self) -> None:
        """Undo ``announce``."""
        (self.run / "instance.json").unlink(missing_ok=True)

    def running_instance(self) -> Instance | None:
        """Return the running installation, or None if none runs."""
        try:
            instance = Instance(**json.loads((self.run / "instance.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return instance if psutil.pid_exists(instance.pid) and self._is_held() else None

    def _is_held(self) -> bool:
        try:
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False
