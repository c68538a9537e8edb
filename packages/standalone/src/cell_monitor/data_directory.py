"""The data directory: everything that one installation on one machine keeps, and the lock that guards it.

::

    lock                       held while `up` (or an offline admin command) works; its text is the holder's pid
    secrets/                   generated once, mode 0600: keys, passwords, API keys
    postgres/  valkey/         the stores
    work/                      what JupyterLab shows
    jupyter/                   JupyterLab's own configuration, apart from the user's
    logs/                      output of each child process
    run/                       addresses of the running installation, connection URLs for the services
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from cell_monitor.invocation import DEFAULT_DATA_DIR, command_line
from cell_monitor.secret_folder import SecretFolder, write_whole

__all__ = ["DataDirectory", "DataDirectoryError", "Instance", "default_data_dir"]


class DataDirectoryError(RuntimeError):
    """The data directory cannot be used; the message names the fault and the way out."""


def default_data_dir() -> Path:
    """Return ``$CELL_MONITOR_DATA_DIR``, else the user's own place for data."""
    return Path(os.environ.get("CELL_MONITOR_DATA_DIR") or DEFAULT_DATA_DIR).expanduser()


@dataclass(frozen=True, slots=True)
class Instance:
    """Where a running installation answers. Holds no secret.

    Attributes:
        pid: process id of ``cell-monitor up``.
        jupyterlab: without its token; None if started without JupyterLab.
        worker: base URL of the worker's health and metrics.
        postgres_port: TCP port of 127.0.0.1.
        valkey_port: TCP port of 127.0.0.1.
    """

    pid: int
    dashboard: str
    api: str
    gateway: str
    worker: str
    jupyterlab: str | None
    postgres_port: int
    valkey_port: int


class DataDirectory:
    """One data directory. Folders are made as needed, readable by nobody else but the stores' own."""

    def __init__(self, path: Path) -> None:
        """Name the directory; nothing is made yet."""
        self.path = path.expanduser().absolute()

    def prepare(self) -> None:
        """Make the directory and its folders.

        Raises:
            DataDirectoryError: it cannot be written to.
        """
        try:
            if not self.path.exists():
                self.path.mkdir(parents=True)
            # 0711: PostgreSQL may run as another user and must pass through; it reads its own folder only.
            self.path.chmod(0o711)
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
        """Folder of what is true only while it runs."""
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
        """Folder that JupyterLab shows."""
        return self.path / "work"

    @property
    def jupyter(self) -> Path:
        """Folder of JupyterLab's configuration and state."""
        return self.path / "jupyter"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for this process; the kernel lets go of it whatever happens to us.

        Raises:
            DataDirectoryError: another process holds it.
        """
        self.prepare()
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
                raise DataDirectoryError(
                    f"Cell Monitor already runs on the data directory {self.path} (process {holder}). "
                    f"See `{command_line('status', data_dir=self.path)}`; stop it with Ctrl-C where it runs, "
                    "or start a second one on its own data with --data-dir and --port-base."
                ) from error
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
            yield
        finally:
            os.close(descriptor)

    def write_run_file(self, name: str, value: str) -> Path:
        """Store something true for this run only, mode 0600; return its file."""
        return write_whole(self.run / name, value)

    def announce(self, instance: Instance) -> None:
        """Tell the other commands where the installation answers."""
        self.write_run_file("instance.json", json.dumps(asdict(instance)))

    def withdraw(self) -> None:
        """Undo ``announce``."""
        (self.run / "instance.json").unlink(missing_ok=True)

    def running_instance(self) -> Instance | None:
        """Return the running installation, None if none runs."""
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
