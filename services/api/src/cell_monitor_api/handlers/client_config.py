"""What the dashboard must know before anybody has signed in."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Response

from cell_monitor_api.answers import StructResponse, answers
from cell_monitor_api.dashboard import websocket_url
from cell_monitor_api.dependencies import Context
from cell_monitor_api.version import VERSION

__all__ = ["router"]

router = APIRouter(tags=["config"])


class ClientConfig(msgspec.Struct, frozen=True):
    """Where browsers reach the gateway (an address or a path on this origin), and this software's version."""

    gateway_url: str
    version: str


@router.get("/config", responses=answers(ClientConfig, "Configuration of the dashboard"))
async def client_config(context: Context) -> Response:
    """What the dashboard needs to start."""
    return StructResponse(ClientConfig(websocket_url(context.process.settings.gateway_url), VERSION))
