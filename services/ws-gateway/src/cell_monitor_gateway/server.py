"""The uvicorn server: drained before it closes its sockets."""

from __future__ import annotations

import socket
from typing import Final

import uvicorn

from cell_monitor_core.web.listeners import Listeners, inside_of, outside_of
from cell_monitor_gateway.app import GatewayApp
from cell_monitor_gateway.config import GatewaySettings
from cell_monitor_gateway.drain import Drain
from cell_monitor_gateway.protocol import MAX_REQUEST_BYTES
from cell_monitor_gateway.writers import websocket_protocol

__all__ = ["GatewayServer", "listening_sockets", "server_config"]

SHUTDOWN_SECONDS: Final = 5
"""How long connections that are left after the drain, and tasks, may take to end."""


def server_config(app: GatewayApp, settings: GatewaySettings) -> uvicorn.Config:
    """Return uvicorn's settings for the gateway."""
    inside = settings.gateway_inside_port
    return uvicorn.Config(
        app if inside is None else Listeners(outside_of(app), {inside: inside_of(app)}),
        host=settings.gateway_host,
        port=settings.gateway_port,
        loop="uvloop",
        http="httptools",
        ws=websocket_protocol(),
        ws_max_size=MAX_REQUEST_BYTES,
        # Compression for each connection would cost 300 KiB, and exclude frames that are made once for all.
        ws_per_message_deflate=False,
        # The protocol's own pings prove more: a frozen page does not answer them.
        ws_ping_interval=None,
        ws_ping_timeout=None,
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        log_level="warning",
        lifespan="on",
        backlog=2048,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


def listening_sockets(config: uvicorn.Config, settings: GatewaySettings) -> list[socket.socket] | None:
    """Return the sockets to serve, of the port for all and of the one for the inside; None where there is only the first.

    uvicorn ends the process with status 3 where a port cannot be had.
    """
    if settings.gateway_inside_port is None:
        return None
    inside = uvicorn.Config(
        config.app, host=settings.gateway_inside_host, port=settings.gateway_inside_port, log_config=None
    )
    return [config.bind_socket(), inside.bind_socket()]


class GatewayServer(uvicorn.Server):
    """uvicorn, which on SIGTERM first closes all connections in batches."""

    def __init__(self, config: uvicorn.Config, drain: Drain) -> None:
        super().__init__(config)
        self._drain = drain

    def stop(self) -> None:
        """Begin to shut down, as SIGTERM does."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, drain, then let uvicorn close what is left."""
        for server in self.servers:
            server.close()
        if not self.force_exit:
            await self._drain.wait()
        await super().shutdown(sockets)
