"""A real Jupyter Server with the extension, as a process of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from cell_monitor.embedded.process import free_port

__all__ = ["JupyterProcess", "start_jupyter"]

_START_S: Final = 90.0
_STOP_S: Final = 20.0


@dataclass
class JupyterProcess:
    """A running Jupyter Server.

    Attributes:
        process: the server's process, leader of a process group that its kernels do not belong to.
        url: its address, without a slash at the end.
        token: the token that signs a page in.
        log: what it prints; the folder that it serves is the folder of this file.
    """

    process: subprocess.Popen[bytes]
    url: str
    token: str
    log: Path

    @property
    def folder(self) -> Path:
        """The folder whose notebooks the server shows."""
        return self.log.parent

    @contextlib.contextmanager
    def client(self, *, signed_in: bool = True) -> Iterator[httpx.Client]:
        """Open an HTTP client that is signed in as a page is: with the cookie and the XSRF token."""
        with httpx.Client(base_url=self.url, timeout=60, trust_env=False) as client:
            if signed_in:
                client.get("/lab", params={"token": self.token}, follow_redirects=True)
                client.headers["X-XSRFToken"] = client.cookies["_xsrf"]
            yield client

    def stop(self) -> None:
        """Stop the server; kill it when it does not stop in time."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill the server as a power failure or the kernel's out-of-memory killer does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(_STOP_S)


def start_jupyter(
    home: Path,
    *,
    application: str = "lab",
    python: str = sys.executable,
    token: str = "",
    port: int = 0,
    environment: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> JupyterProcess:
    """Start a Jupyter Server and wait until it answers.

    Args:
        home: an existing folder for everything that the server reads and writes.
        application: `lab` or `notebook`.
        python: the interpreter of the installation to start.
        token: the token that signs a page in; empty for a new one.
        port: the port; 0 for a free one.
        environment: environment variables beside those inherited; none that begins with CELL_MONITOR_ is inherited.
        options: command-line options of the server.

    Raises:
        AssertionError: the server ended or did not answer in time; the message is its log.
    """
    token = token or secrets.token_hex(16)
    # Older servers do not print the port that the system chose for port 0.
    port = port or free_port()
    log = home / "server.log"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CELL_MONITOR_")}
    command = [
        python,
        "-m",
        application if application == "notebook" else "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}",
        "--ServerApp.allow_unauthenticated_access=False",
        f"--ServerApp.root_dir={home}",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        *options,
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603
            command,
            cwd=home,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={
                **inherited,
                "HOME": str(home),
                "JUPYTER_DATA_DIR": str(home / "data"),
                "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
                "JUPYTER_CONFIG_DIR": str(home / "config"),
                "NO_PROXY": "127.0.0.1,localhost",
                **(environment or {}),
            },
        )
    server = JupyterProcess(process, f"http://127.0.0.1:{port}", token, log)
    try:
        _wait(server)
    except BaseException:
        server.stop()
        raise
    return server


def _wait(server: JupyterProcess) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        with contextlib.suppress(httpx.HTTPError):
            status = httpx.get(f"{server.url}/api/status", params={"token": server.token}, timeout=5, trust_env=False)
            status.raise_for_status()
            return
        printed = server.log.read_text("utf-8", "replace")
        assert server.process.poll() is None, printed
        assert time.monotonic() < deadline, printed
        time.sleep(0.1)
