"""A server in the place of JupyterHub's API that answers as a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

from cell_monitor_testing.http_answers import HttpAnswer, answering

__all__ = ["HUB_HEADERS", "HubAnswer", "hub_answering"]

HUB_HEADERS: Final = {"x-jupyterhub-version": "6.1.1"}
"""What the Hub says of itself with each answer; a proxy does not."""

HubAnswer: TypeAlias = HttpAnswer


@asynccontextmanager
async def hub_answering(answer: Callable[[bytes, bytes], HubAnswer | None]) -> AsyncIterator[str]:
    """Serve until the end of the block; yields the address of the API. See ``answering``."""
    async with answering(answer) as url:
        yield f"{url}/hub/api"
