"""A TCP proxy with fault injection: it can reset connections, stall them, or drop bytes."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Literal, Self

__all__ = ["FaultProxy"]

_CHUNK = 65_536
Direction = Literal["up", "down"]


class FaultProxy:
    """Forwards connections to a server on this machine.

    ``up`` is what the client sends, ``down`` what the server answers. Use as ``async with FaultProxy(port) as proxy``
    and connect to ``127.0.0.1:proxy.port``. Faults hold for open and new connections until ``heal``.
    """

    def __init__(self, target_port: int, *, target_host: str = "127.0.0.1") -> None:
        """Configure the proxy; ``start`` makes it listen."""
        self._target = (target_host, target_port)
        self._server: asyncio.Server | None = None
        self._port = 0
        self._serving: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._dropping: set[Direction] = set()
        self.connections = 0
        """Number of connections accepted so far."""

    @property
    def port(self) -> int:
        """TCP port on 127.0.0.1; it does not change with ``cut`` and ``heal``."""
        return self._port

    async def start(self) -> None:
        """Start to listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        """Close every connection and stop listening."""
        await self.cut()

    async def cut(self) -> None:
        """Reset all connections and refuse new ones, as if the server did not run."""
        self._refusing = True
        if self._server is not None:
            self._server.close()
            self._server = None
        self.reset_connections()
        self._flowing.set()
        # Those that are still connecting to the server have no writers that could be reset.
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    def reset_connections(self) -> None:
        """Reset all open connections; new ones work."""
        for writer in list(self._writers):
            writer.transport.abort()

    def stall(self) -> None:
        """Keep connections open and forward nothing; only time-outs can detect it."""
        self._flowing.clear()

    def drop(self, direction: Direction) -> None:
        """Drop all bytes in one direction: with ``down`` the server acts and the client gets no answer."""
        self._dropping.add(direction)

    async def heal(self) -> None:
        """Remove all faults."""
        self._flowing.set()
        self._dropping.clear()
        self._refusing = False
        if self._server is None:
            await self.start()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        ends = {writer}
        try:
            if self._refusing:
                return
            server_reader, server_writer = await asyncio.open_connection(*self._target)
            ends.add(server_writer)
            self._writers |= ends
            await asyncio.gather(
                self._pump(reader, server_writer, "up"),
                self._pump(server_reader, writer, "down"),
                return_exceptions=True,
            )
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._serving.discard(task)
            self._writers -= ends
            for end in ends:
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                await self._flowing.wait()
                if direction in self._dropping:
                    continue
                writer.write(chunk)
                await writer.drain()
            # Forward the end of the stream; the other direction may still send data.
            if writer.can_write_eof():
                writer.write_eof()
