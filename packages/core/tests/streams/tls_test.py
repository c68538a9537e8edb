"""The event streams work over TLS, too, whichever way requests are sent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cell_monitor_core.records import StreamRecord, encode_record
from cell_monitor_core.storage.ports import LogUnavailable
from cell_monitor_testing.certificates import Certificate


def _server_context(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    return context


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def _item(size: int) -> tuple[bytes, bytes]:
    return os.urandom(16), encode_record(StreamRecord(b"p" * 16, "c1", 1, b"x" * size))


async def _append(producer: Any, items: list[tuple[bytes, bytes]]) -> list[str]:
    """Send like a sender does: again after a refusal."""
    while True:
        try:
            return list(await producer.append("course:c1", items))
        except LogUnavailable:
            await asyncio.sleep(0.05)


async def test_events_pass_tls_and_a_lost_encrypted_connection_is_opened_again(
    valkey: str, tmp_path: Path, open_redis_streams: Any, sending: str
) -> None:
    address = urlsplit(valkey)
    connections: list[asyncio.StreamWriter] = []

    async def terminate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        inner_reader, inner_writer = await asyncio.open_connection(address.hostname, address.port)
        await asyncio.gather(_pipe(reader, inner_writer), _pipe(inner_reader, writer))

    certificate = Certificate.make(tmp_path)
    async with await asyncio.start_server(terminate, "127.0.0.1", 0, ssl=_server_context(certificate)) as server:
        port = server.sockets[0].getsockname()[1]
        credentials = f"{address.netloc.rpartition('@')[0]}@" if "@" in address.netloc else ""
        url = f"rediss://{credentials}127.0.0.1:{port}?ssl_ca_certs={certificate.certificate}"
        async with open_redis_streams(url) as pair:
            outcomes = await asyncio.gather(*(pair.producer.append("course:c1", [_item(20_000)]) for _ in range(60)))
            assert outcomes == [["accepted"]] * 60
            for writer in connections:
                writer.transport.abort()
            opened = len(connections)
            # "duplicate": it was queued, and the connection was lost before the reply.
            outcomes = await asyncio.wait_for(
                asyncio.gather(*(_append(pair.producer, [_item(20_000)]) for _ in range(60))), 60
            )
            assert {status for [status] in outcomes} <= {"accepted", "duplicate"}
            assert len(connections) > opened
