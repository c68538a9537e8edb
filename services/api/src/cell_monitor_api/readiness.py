"""What ``/readyz`` depends on: Redis answers and is fit, and PostgreSQL has this program's schema.

PostgreSQL is asked for its schema until it has answered once. Later it may be unavailable without taking the API out of service,
because ingest goes on without it: ``/readyz`` reports it, and the routes that need it answer 503 by themselves.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import Any, Final

import structlog

from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.storage.postgres.migrations import SchemaMismatch, check_schema
from cell_monitor_core.storage.postgres.probe import PostgresProbe
from cell_monitor_core.streams.fitness import RedisFitness
from cell_monitor_core.web.health import Health

__all__ = ["SchemaUnknown", "SchemaWatch", "add_checks"]

_log = structlog.get_logger(__name__)

_PATIENCE_S: Final = 10.0
_RETRY_S: Final = 1.0


class SchemaUnknown(Exception):  # noqa: N818 - says what is the matter
    """PostgreSQL has not answered yet."""


class SchemaWatch:
    """Finds out PostgreSQL's schema, at start if it can be, else as soon as it can be."""

    def __init__(self, pool: Any, *, patience_s: float = _PATIENCE_S, retry_s: float = _RETRY_S) -> None:
        self._pool = pool
        self._patience_s = patience_s
        self._retry_s = retry_s
        self._known = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Check the schema; if PostgreSQL does not answer for a while, go on asking in the background.

        Raises:
            SchemaMismatch: PostgreSQL has another schema than this program, which must not run.
        """
        try:
            async with asyncio.timeout(self._patience_s):
                await self._ask()
        except TimeoutError:
            _log.warning("schema_unknown", waiting=True)
            self._task = asyncio.create_task(self._ask_on(), name="schema-watch")
        except SchemaMismatch as error:
            _log.critical("schema_mismatch", found=error.found, expected=error.expected, reason=str(error))
            raise

    async def aclose(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def check(self) -> None:
        """Pass once the schema is known.

        Raises:
            SchemaUnknown: it is not.
        """
        if not self._known:
            raise SchemaUnknown("PostgreSQL has not answered yet")

    async def _ask(self) -> None:
        while True:
            try:
                await check_schema(self._pool)
            except StoreUnavailable as error:
                _log.warning("postgresql_unavailable", reason=str(error))
                await asyncio.sleep(self._retry_s)
            else:
                self._known = True
                return

    async def _ask_on(self) -> None:
        try:
            await self._ask()
        except SchemaMismatch as error:
            _log.critical("schema_mismatch", found=error.found, expected=error.expected, reason=str(error))
            os.kill(os.getpid(), signal.SIGTERM)


def add_checks(health: Health, *, redis: RedisFitness, postgresql: PostgresProbe, schema: SchemaWatch) -> None:
    """Let readiness depend on Redis and the schema, and report whether PostgreSQL takes writes and Redis takes events.

    An API whose events are refused for lack of space still serves pages: the workers make space, and senders try again.
    """
    health.checks.update({"redis": redis.check, "schema": schema.check})
    health.advisory.update({"postgresql": postgresql.check, "events": redis.check_space})
