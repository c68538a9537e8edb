"""Services as real processes that a test can start, kill and restart."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from cell_monitor.embedded.process import ChildProcess, tail

__all__ = ["ServiceProcess"]

_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "VIRTUAL_ENV")


class ServiceProcess:
    """One service, ``python -m <module>``, with exactly the given settings.

    Start it from a test (the main thread). ``async with`` starts it, waits for ``/readyz`` and stops it at the end.
    """

    def __init__(
        self,
        module: str,
        *,
        env: Mapping[str, str],
        port: int,
        log_path: Path,
        arguments: Sequence[str] = (),
        ready_path: str = "/readyz",
    ) -> None:
        """Configure the service; it is not started.

        Args:
            module: the module for ``python -m``.
            env: its settings; from this process's environment it gets only PATH and similar variables.
            port: the port on 127.0.0.1 that answers ``ready_path``.
            log_path: file of its output; a restart appends to it.
            arguments: command-line arguments.
            ready_path: path that answers 200 when the service is ready.
        """
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        self.url = f"http://127.0.0.1:{port}"
        self.log_path = log_path
        self._ready_url = self.url + ready_path
        self._child = ChildProcess(
            module, [sys.executable, "-m", module, *arguments], log_path=log_path, env=inherited | dict(env)
        )

    @property
    def pid(self) -> int | None:
        """Process id of the running service."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the service is running."""
        return self._child.running

    @property
    def exit_code(self) -> int | None:
        """Exit code of the last run; None before its end."""
        return self._child.exit_code

    @property
    def log(self) -> str:
        """The last lines of its output, for messages."""
        return tail(self.log_path, lines=60)

    async def start(self, *, timeout: float = 60.0) -> None:
        """Start the service and wait until it is ready.

        Raises:
            AssertionError: it exited or is not ready in time; the message contains the end of its log.
        """
        self._child.start()
        await self.wait_ready(timeout=timeout)

    def launch(self) -> None:
        """Start the service without waiting."""
        self._child.start()

    async def wait_ready(self, *, timeout: float = 60.0) -> None:
        """Wait until the service answers 200; see ``start``."""
        deadline = time.monotonic() + timeout
        async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
            answer = "no answer"
            while True:
                if not self._child.running:
                    raise AssertionError(self._child.describe_end())
                try:
                    response = await client.get(self._ready_url)
                    if response.status_code == 200:
                        return
                    answer = f"{response.status_code} {response.text[:300]}"
                except httpx.TransportError as error:
                    answer = repr(error)
                if time.monotonic() > deadline:
                    raise AssertionError(f"{self._child.name} is not ready after {timeout:.0f} s: {answer}\n{self.log}")
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        """Kill the service and its children, as ``kill -9`` of the process group does."""
        self._child.kill()

    def signal(self, signum: int) -> None:
        """Send a signal to the service's first process only."""
        self._child.signal(signum)

    async def stop(self, *, timeout: float = 60.0) -> int | None:
        """Send SIGTERM, wait, then kill the service if it still runs; return its exit code."""
        self._child.request_stop()
        await asyncio.to_thread(self._child.wait, timeout)
        code = self._child.exit_code
        self._child.kill()
        return code

    async def restart(self, *, timeout: float = 60.0) -> None:
        """Stop the service gracefully and start it again."""
        await self.stop()
        await self.start(timeout=timeout)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
