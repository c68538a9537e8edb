"""A server that answers as a test says, in the place of one that the API asks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias

__all__ = ["HttpAnswer", "answering"]

HttpAnswer: TypeAlias = tuple[int, Mapping[str, str], bytes]
"""Status, headers and body; the length of the body and the end of the connection are said beside the headers."""


@asynccontextmanager
async def answering(answer: Callable[[bytes, bytes], HttpAnswer | None]) -> AsyncIterator[str]:
    """Serve until the end of the block; yields the address.

    Args:
        answer: returns what the head and the body of a request are answered with, None to hang up.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A client that has read enough closes the connection.
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            head = await reader.readuntil(b"\r\n\r\n")
            lengths = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            found = answer(head, await reader.readexactly(sum(lengths)))
            if found is not None:
                status, headers, body = found
                lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers.items())]
                lines += [f"content-length: {len(body)}", "connection: close", "", ""]
                writer.write("\r\n".join(lines).encode() + body)
                await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
