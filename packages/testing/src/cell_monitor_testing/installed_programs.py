"""Stores and proxies as the operating system installs them: Redis, PostgreSQL, nginx, HAProxy and stunnel.

They are what another team runs in front of us. Each runs in a folder of the test, as an unprivileged account.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cell_monitor.embedded.process import ChildProcess, free_port
from cell_monitor.embedded.unprivileged import unprivileged_account
from cell_monitor_testing.certificates import Certificate
from cell_monitor_testing.optional_programs import REQUIRE_STORES, skip_or_fail

__all__ = [
    "InstalledServer",
    "running_haproxy",
    "running_nginx",
    "running_postgresql",
    "running_redis",
    "running_stunnel",
]

_POSTGRESQL: Final = "/usr/lib/postgresql/15/bin"
# Debian installs servers for administrators only.
_FOLDERS: Final = f"{_POSTGRESQL}:/usr/sbin:/usr/local/sbin"


@dataclass
class InstalledServer:
    """A server of the test, which it may stop and start again on the same port.

    Attributes:
        process: the server's process.
        port: its port on 127.0.0.1.
        certificate: what it shows, if it speaks TLS.
        probe: a command that succeeds when it answers; without one it is ready when it listens.
    """

    process: ChildProcess
    port: int
    certificate: Certificate
    probe: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Start it and wait until it listens."""
        self.process.start()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until it answers."""
        self.process.wait_until(self._ready, timeout=30)

    def _ready(self) -> bool:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)) != 0:
                return False
        return not self.probe or subprocess.run(self.probe, capture_output=True, check=False).returncode == 0  # noqa: S603

    def stop(self) -> None:
        """Stop it."""
        self.process.stop(10)


@contextmanager
def running_redis(folder: Path, *users: str, tls: bool = True) -> Iterator[InstalledServer]:
    """Run Redis with an append-only file and exactly these users, written as for ``ACL SETUSER``, with TLS only or without."""
    program, folder, certificate = _prepare("redis-server", folder)
    port = free_port()
    lines = [
        "bind 127.0.0.1",
        *(["port 0", f"tls-port {port}"] if tls else [f"port {port}"]),
        f"tls-cert-file {certificate.certificate}",
        f"tls-key-file {certificate.key}",
        f"tls-ca-cert-file {certificate.certificate}",
        "tls-auth-clients no",
        f"dir {folder}",
        "appendonly yes",
        *(f"user {user}" for user in users),
    ]
    with _running("redis-server", [program, _written(folder / "redis.conf", "\n".join(lines))], port, folder) as server:
        yield server


@contextmanager
def running_postgresql(folder: Path, *, user: str, password: str) -> Iterator[InstalledServer]:
    """Run PostgreSQL with TLS and SCRAM passwords; ``user`` is its administrator and owns the database ``postgres``."""
    program, folder, certificate = _prepare("postgres", folder)
    port = free_port()
    passwords = _written(folder / "password", password)
    account = unprivileged_account()
    subprocess.run(  # noqa: S603
        [
            str(Path(program).with_name("initdb")),
            f"--pgdata={folder / 'data'}",
            f"--username={user}",
            f"--pwfile={passwords}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ],
        check=True,
        capture_output=True,
        cwd="/",
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "ssl": "on",
        "ssl_cert_file": certificate.certificate,
        "ssl_key_file": certificate.key,
    }
    arguments = [f"--{name}={value}" for name, value in settings.items()]
    probe = [str(Path(program).with_name("pg_isready")), "--quiet", "--host=127.0.0.1", f"--port={port}"]
    with _running("postgres", [program, "-D", str(folder / "data"), *arguments], port, folder, *probe) as server:
        yield server


@contextmanager
def running_nginx(folder: Path, servers: str, *, port: int, replaced: Mapping[str, str]) -> Iterator[InstalledServer]:
    """Run nginx.

    Args:
        folder: of its files.
        servers: the contents of its block ``http``, for example a recipe of the documentation.
        port: where it must listen.
        replaced: what to write instead of parts of ``servers``, so that it works here. ``{certificate}`` and ``{key}`` are paths.
    """
    program, folder, certificate = _prepare("nginx", folder)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "\n".join(f"{kind}_temp_path {folder / kind};" for kind in kinds)
    text = (
        f"daemon off; pid {folder / 'nginx.pid'}; error_log stderr; worker_processes 1;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{places}\n{_replaced(servers, replaced, certificate)}\n}}\n"
    )
    arguments = [program, "-p", str(folder), "-e", "stderr", "-c", _written(folder / "nginx.conf", text)]
    with _running("nginx", arguments, port, folder) as server:
        yield server


@contextmanager
def running_haproxy(folder: Path, proxies: str, *, port: int, replaced: Mapping[str, str]) -> Iterator[InstalledServer]:
    """Run HAProxy with these sections; see ``running_nginx``. ``{both}`` is the file with certificate and key."""
    program, folder, certificate = _prepare("haproxy", folder)
    text = _replaced(proxies, replaced, certificate)
    with _running("haproxy", [program, "-f", _written(folder / "haproxy.cfg", text + "\n")], port, folder) as server:
        yield server


@contextmanager
def running_stunnel(folder: Path, target: int, *, protocol: str = "") -> Iterator[InstalledServer]:
    """Run stunnel, which ends TLS and passes on to the port ``target``; ``protocol`` is ``pgsql`` or nothing."""
    program, folder, certificate = _prepare("stunnel", folder)
    port = free_port()
    lines = [
        "foreground = yes",
        "pid =",
        "[store]",
        f"accept = 127.0.0.1:{port}",
        f"connect = 127.0.0.1:{target}",
        f"cert = {certificate.both}",
        *([f"protocol = {protocol}"] if protocol else []),
    ]
    with _running("stunnel", [program, _written(folder / "stunnel.conf", "\n".join(lines))], port, folder) as server:
        yield server


def _prepare(name: str, folder: Path) -> tuple[str, Path, Certificate]:
    """Return a program's path, a folder of its own below ``folder``, and a certificate in it; skip the test without the program."""
    program = shutil.which(name, path=f"{_FOLDERS}:{os.environ.get('PATH', os.defpath)}")
    if program is None:
        skip_or_fail(f"no {name} on the PATH", switch=REQUIRE_STORES)
    own = folder / f"{name}-{free_port()}"
    own.mkdir(mode=0o700)
    certificate = Certificate.make(own)
    for path in (own, *own.iterdir()):
        _give_to_account(path)
    return program, own, certificate


def _written(path: Path, text: str) -> str:
    path.write_text(text + "\n", encoding="utf-8")
    path.chmod(0o600)
    _give_to_account(path)
    return str(path)


def _give_to_account(path: Path) -> None:
    account = unprivileged_account()
    if account is not None:
        os.chown(path, account.uid, account.gid)


def _replaced(text: str, replaced: Mapping[str, str], certificate: Certificate) -> str:
    paths = {"certificate": certificate.certificate, "key": certificate.key, "both": certificate.both}
    for old, new in replaced.items():
        if old not in text:
            raise ValueError(f"the configuration has no {old!r}")
        text = text.replace(old, new.format_map(paths))
    return text


@contextmanager
def _running(name: str, arguments: list[str], port: int, folder: Path, *probe: str) -> Iterator[InstalledServer]:
    account = unprivileged_account()
    process = ChildProcess(
        name,
        arguments,
        log_path=folder.with_name(f"{folder.name}.log"),
        # PostgreSQL waits for its clients at SIGTERM.
        stop_signal=signal.SIGINT if name == "postgres" else signal.SIGTERM,
        cwd=folder,
        user=account.uid if account else None,
        group=account.gid if account else None,
    )
    certificate = Certificate(folder / "certificate.pem", folder / "key.pem", folder / "both.pem")
    server = InstalledServer(process, port, certificate, list(probe))
    server.start()
    try:
        yield server
    finally:
        server.stop()
