"""The wheel of the JupyterLab extension, for students who install it from this machine."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Path, Response
from starlette.responses import FileResponse

from cell_monitor_api.dependencies import Context
from cell_monitor_api.exceptions import NotFound

__all__ = ["EXTENSION_PATH", "router"]

EXTENSION_PATH: Final = "/extension/"

router = APIRouter(tags=["extension"])


@router.get(EXTENSION_PATH + "{name}", response_model=None, include_in_schema=False)
async def wheel(context: Context, name: Annotated[str, Path(max_length=200)]) -> Response:
    """The wheel, where this installation offers it."""
    offered = context.process.settings.api_extension_wheel
    # Compared with the name of the one file that there is: what is asked for never becomes a path.
    if offered is None or name != offered.name:
        raise NotFound("there is no such file")
    return FileResponse(offered, media_type="application/zip", headers={"cache-control": "no-cache"})
