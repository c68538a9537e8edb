"""A real PgBouncer in transaction mode before a PostgreSQL of the tests."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cell_monitor.embedded.postgres import EmbeddedPostgres
from cell_monitor.embedded.process import ChildProcess, free_port
from cell_monitor.embedded.unprivileged import unprivileged_account

__all__ = ["pgbouncer_program", "running_pgbouncer"]

_SETTINGS: Final = """\
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {users}
pool_mode = transaction
default_pool_size = {sessions}
ignore_startup_parameters = statement_timeout, lock_timeout, idle_in_transaction_session_timeout, jit
"""


def pgbouncer_program() -> str | None:
    """Return the path of ``pgbouncer``, None if it is not installed."""
    # Debian installs it for administrators only.
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")


@contextmanager
def running_pgbouncer(program: str, server: EmbeddedPostgres, folder: Path, *, sessions: int = 2) -> Iterator[int]:
    """Run PgBouncer until the end of the block; yield its port.

    Args:
        program: its path.
        server: the running PostgreSQL that it passes transactions on to.
        folder: of its files; an unprivileged account must reach it.
        sessions: of the server, which all clients share.
    """
    port = free_port()
    users, settings = folder / "users.txt", folder / "pgbouncer.ini"
    users.write_text(f'"{server.user}" "{server.password}"\n')
    settings.write_text(_SETTINGS.format(server=server.port, port=port, users=users, sessions=sessions))
    account = unprivileged_account()
    process = ChildProcess(
        "PgBouncer",
        [program, settings],
        log_path=folder / "pgbouncer.log",
        user=account.uid if account else None,
        group=account.gid if account else None,
    )
    process.start()
    try:
        process.wait_until(lambda: _listens(port), timeout=30)
        yield port
    finally:
        process.stop(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
