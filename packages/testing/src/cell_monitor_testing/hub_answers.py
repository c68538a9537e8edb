"""A server in the place of JupyterHub's API that answers as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

__all__ = ["HUB_HEADERS", "HubAnswer", "hub_answering"]

HUB_HEADERS: Final = {"x-jupyterhub-version": "6.1.1"}
"""What the Hub says of itself with each answer; a proxy does not."""

HubAnswer: TypeAlias = tuple[int, Mapping[str, str], bytes]
"""Status, headers and body; the length of the body and the end of the connection are said beside the headers."""


@asynccontextmanager
async def hub_answering(answer: Callable[[bytes, bytes], HubAnswer | None]) -> AsyncIterator[str]:
    """Serve until the end of the block; yields the address of the API.

    Args:
        answer: returns what the head and the body of a request are answered with, None to hang up.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lengths = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        found = answer(head, await reader.readexactly(sum(lengths)))
        if found is not None:
            status, headers, body = found
            lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers.items())]
            lines += [f"content-length: {len(body)}", "connection: close", "", ""]
            writer.write("\r\n".join(lines).encode() + body)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hub/api"
