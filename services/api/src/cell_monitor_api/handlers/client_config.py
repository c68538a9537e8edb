"""What the dashboard must know before anybody has signed in."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Response

from cell_monitor_api.answers import StructResponse, answers
from cell_monitor_api.dashboard import websocket_url
from cell_monitor_api.dependencies import Context
from cell_monitor_api.handlers.extension import EXTENSION_PATH
from cell_monitor_api.models.auth import SignInWay
from cell_monitor_api.version import VERSION

__all__ = ["router"]

router = APIRouter(tags=["config"])


class ClientConfig(msgspec.Struct, frozen=True):
    """Where browsers reach the gateway (an address or a path on this origin), this software's version, and how to sign in.

    A page shows the ways to sign in that it knows, in this order. ``extension`` is the path of the JupyterLab extension's
    wheel on this origin, null where it is not offered.
    """

    gateway_url: str
    version: str
    sign_in: list[SignInWay]
    extension: str | None


@router.get("/config", responses=answers(ClientConfig, "Configuration of the dashboard"))
async def client_config(context: Context) -> Response:
    """What the dashboard needs to start."""
    process = context.process
    gateway_url = websocket_url(process.settings.gateway_url)
    services = (process.hub_sign_in, process.oidc_sign_in, process.password_sign_in)
    ways = [service.way for service in services if service is not None]
    wheel = process.settings.api_extension_wheel
    extension = None if wheel is None else EXTENSION_PATH + wheel.name
    return StructResponse(ClientConfig(gateway_url, VERSION, ways, extension))
