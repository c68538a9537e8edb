"""Whether PostgreSQL answers, for readiness: a probe must not wait for a server that hangs."""

from __future__ import annotations

import asyncio
from typing import Any, Final

__all__ = ["PostgresProbe"]

_PROBE_S: Final = 1.5


class PostgresProbe:
    """Asks whether PostgreSQL answers; connections are made only to a server that takes writes."""

    def __init__(self, pool: Any, *, patience_s: float = _PROBE_S) -> None:
        self._pool = pool
        self._patience_s = patience_s
        self._asking: asyncio.Task[Any] | None = None

    async def check(self) -> None:
        """Pass if it answers.

        Raises:
            TimeoutError: it does not, in time.
            Exception: what asyncpg raises.
        """
        if self._asking is None:
            # A task of its own: a query that is cancelled waits for a server that may not answer, a probe must not.
            self._asking = asyncio.create_task(self._pool.fetchval("SELECT 1"), name="postgresql-probe")
        asking = self._asking
        await asyncio.wait((asking,), timeout=self._patience_s)
        if not asking.done():
            raise TimeoutError
        self._asking = None
        asking.result()

    async def aclose(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait((self._asking,), timeout=self._patience_s)
