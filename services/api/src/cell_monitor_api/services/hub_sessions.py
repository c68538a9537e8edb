"""Sign-ins that JupyterHub vouches for: the Hub is asked again about each that is in use, and ends it here as there."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from random import uniform
from time import monotonic
from typing import Any, Final
from uuid import UUID

import structlog

from cell_monitor_api.services.hub_people import HubPeople
from cell_monitor_api.services.hub_requests import counted_request
from cell_monitor_api.services.hub_rules import NotAVisitor, visitor_of
from cell_monitor_api.storage.hub_api import HubApi, HubRefusal, HubSilence
from cell_monitor_core.auth.tokens import MAX_LIFETIME_S
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.storage.postgres import hub_sessions, sign_ins
from cell_monitor_core.storage.postgres.hub_sessions import HubSession
from cell_monitor_core.storage.postgres.pool import Connection, store_errors
from cell_monitor_core.telemetry.metrics import HUB_SESSIONS_ENDED

__all__ = ["HubSessions"]

_log = structlog.get_logger(__name__)

_INTERVAL_S: Final = (0.75, 1.25)
"""Seconds between two looks for what is due, each after another time, so that several processes do not look together."""
_BATCH: Final = 64
_MAX_ASKING: Final = 16
"""Requests to the Hub at once, of one process."""
_USED_WITHIN: Final = timedelta(seconds=MAX_LIFETIME_S + 60)
"""A sign-in is in use while an access token that came of it may be valid."""


class HubSessions:
    """Asks the Hub about sign-ins: about those in use by ``step``, about others when they are used again.

    Args:
        pool: PostgreSQL.
        keyring: reads the Hub's tokens.
        hub: the Hub that is asked.
        people: takes over what it says of its users.
        scope: of the Hub that allows a user to use this service.
        interval: after which the Hub is asked again about a sign-in, at the latest.
        grace: for which a sign-in lasts without an answer of the Hub.
    """

    def __init__(
        self,
        pool: Any,
        keyring: KeyRing,
        hub: HubApi,
        people: HubPeople,
        *,
        scope: str,
        interval: timedelta,
        grace: timedelta,
    ) -> None:
        self._pool = pool
        self._keyring = keyring
        self._hub = hub
        self._people = people
        self._scope = scope
        self._interval = interval
        self._grace = grace
        self._slots = asyncio.Semaphore(_MAX_ASKING)
        self._unavailable = False

    async def add(self, connection: Connection, cookie_hash: bytes, person_id: UUID, token: str) -> None:
        """Store the Hub's token of a sign-in that has just begun."""
        await hub_sessions.create(connection, self._keyring, cookie_hash, person_id, token, interval=self._interval)

    async def confirms(self, cookie_hash: bytes) -> bool:
        """Return whether a sign-in that is used still holds, after a question to the Hub if the last one was long ago.

        It does not where the Hub has ended it, or has not answered for too long.
        """
        due = await hub_sessions.use(self._pool, self._keyring, cookie_hash, interval=self._interval)
        return due is None or await self._holds(due)

    async def step(self) -> float:
        """Ask about sign-ins in use that are due; return the seconds until the next look."""
        more = False
        try:
            more = await self.check_due()
            self._unavailable = False
        except StoreUnavailable as error:
            if not self._unavailable:
                self._unavailable = True
                _log.warning("hub_sessions_not_checked", reason=str(error))
        return 0.0 if more else uniform(*_INTERVAL_S)  # noqa: S311 - spreads load

    async def check_due(self) -> bool:
        """Ask about sign-ins in use that are due; return whether there may be more.

        Raises:
            StoreUnavailable: PostgreSQL is.
        """
        with store_errors():
            due = await hub_sessions.claim_due(
                self._pool, self._keyring, interval=self._interval, used_within=_USED_WITHIN, most=_BATCH
            )
            answers = await asyncio.gather(*(self._holds(session) for session in due), return_exceptions=True)
            for answer in answers:
                if isinstance(answer, BaseException):
                    raise answer
        return len(due) == _BATCH

    async def _holds(self, session: HubSession) -> bool:
        """Ask the Hub about a sign-in, and end it if the Hub has ended it; return whether it still holds."""
        if session.token is None:
            return await self._end(session, "unreadable")
        try:
            async with self._slots:
                asked_at = monotonic()
                with counted_request():
                    visitor = visitor_of(await self._hub.owner_of(session.token), self._scope)
        except HubRefusal:
            return await self._end(session, "refused")
        except NotAVisitor:
            return await self._end(session, "unfit")
        except HubSilence:
            return session.silent <= self._grace or await self._end(session, "unavailable")
        if await self._people.visit(visitor, asked_at=asked_at) != session.person_id:
            # The user was given another name, which is another person here.
            return await self._end(session, "renamed")
        await hub_sessions.answered(self._pool, session.cookie_hash)
        return True

    async def _end(self, session: HubSession, reason: str) -> bool:
        if await sign_ins.revoke(self._pool, session.cookie_hash):
            HUB_SESSIONS_ENDED.labels(reason).inc()
            _log.info("hub_session_ended", person_id=str(session.person_id), reason=reason)
        return False
