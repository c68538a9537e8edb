"""A JupyterHub with an API that asks it whose tokens are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from uuid import UUID

import httpx

from cell_monitor_core.crypto import BlindIndex
from cell_monitor_core.storage.postgres import identities
from cell_monitor_core.storage.postgres.pool import close_pool, create_pool
from cell_monitor_testing.jupyter_hub import HubProcess
from cell_monitor_testing.keys import SampleSecrets
from cell_monitor_testing.servers import run_apart

__all__ = ["HubSite"]

T = TypeVar("T")

_ISSUER: Final = "jupyterhub"


@dataclass
class HubSite:
    """A Hub, an API that asks it, and the API's database."""

    hub: HubProcess
    api: str
    dsn: str
    secrets: SampleSecrets

    def exchange(
        self, token: str, audience: str = "ingest", *, scheme: str = "JupyterHub", **wish: str
    ) -> httpx.Response:
        """Ask the API for a token in exchange for a credential."""
        return httpx.post(
            f"{self.api}/api/v1/auth/token",
            json={"audience": audience, **wish},
            headers={"Authorization": f"{scheme} {token}"},
            timeout=30,
            trust_env=False,
        )

    def sql(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Return what a function makes of a pool of connections to the database."""

        async def run() -> T:
            pool = await create_pool(self.dsn, application_name="test", min_size=0, max_size=2)
            try:
                return await work(pool)
            finally:
                await close_pool(pool)

        return run_apart(run)

    def person(self, subject: str, issuer: str = _ISSUER) -> UUID | None:
        """Return the person of an identity."""
        index = BlindIndex.from_text(self.secrets.index_key)
        return self.sql(lambda pool: identities.person_of(pool, index, issuer, subject))
