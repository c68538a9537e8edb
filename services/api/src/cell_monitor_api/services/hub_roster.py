"""The roster that JupyterHub's groups give, read before anybody signs in, and again in an interval."""

from __future__ import annotations

from datetime import timedelta
from random import uniform
from typing import Any, Final

import structlog

from cell_monitor_api.services.hub_people import HubPeople
from cell_monitor_api.storage.hub_api import HubApi, HubRefusal, HubSilence
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.storage.postgres import group_readings
from cell_monitor_core.storage.postgres.pool import store_errors
from cell_monitor_core.telemetry.metrics import HUB_ROSTER_READINGS

__all__ = ["HubRoster"]

_log = structlog.get_logger(__name__)

_LOOK_S: Final = (1.5, 2.5)
"""Seconds between two looks whether a reading is due, each after another time."""
_NEEDED: Final = frozenset({"list:groups", "read:groups"})
"""Scopes of the service, each without a filter: of a part of the groups nobody can say who was removed."""
_MAX_GROUPS: Final = 20_000
_MAX_MEMBERS: Final = 500_000


class HubRoster:
    """Reads all groups of the Hub, by ``step``; of several processes one does, once in an interval.

    Args:
        pool: PostgreSQL.
        hub: the Hub's API.
        people: takes over what the groups say.
        token: of this service at the Hub.
        issuer: name of the Hub among the issuers of identities.
        interval: between two readings, at the most.
    """

    def __init__(
        self, pool: Any, hub: HubApi, people: HubPeople, *, token: str, issuer: str, interval: timedelta
    ) -> None:
        self._pool = pool
        self._hub = hub
        self._people = people
        self._token = token
        self._issuer = issuer
        self._interval = interval
        self._last = ""

    async def step(self) -> float:
        """Read the groups if that is due; return the seconds until the next look."""
        try:
            await self.read()
        except StoreUnavailable as error:
            self._note("database_unavailable", str(error))
        return uniform(*_LOOK_S)  # noqa: S311 - spreads load

    async def read(self) -> None:
        """Read the groups if that is due. Where the Hub does not answer, or not with all groups, nothing changes.

        Raises:
            StoreUnavailable: PostgreSQL is.
        """
        with store_errors():
            reading = await group_readings.begin(self._pool, self._issuer, interval=self._interval)
            if reading is None:
                return
            try:
                # Also for the scopes: the Hub leaves out what a token may not see, and answers with the rest.
                missing = _NEEDED.difference((await self._hub.owner_of(self._token)).scopes)
                if missing:
                    self._note("forbidden", f"the service lacks the scopes {' and '.join(sorted(missing))} at the Hub")
                    return
                groups = await self._hub.groups(self._token, most=_MAX_GROUPS)
            except HubRefusal:
                self._note("forbidden", "the Hub does not know the service's token")
                return
            except HubSilence as error:
                self._note("unavailable", str(error))
                return
            members = sum(len(group.users) for group in groups)
            if members > _MAX_MEMBERS:
                self._note("unavailable", f"more than {_MAX_MEMBERS} members of groups")
                return
            people = await self._people.update_all(groups, reading)
        if people is None:
            self._note("unavailable", "the Hub answered after the next reading had begun")
            return
        self._note("ok", f"{len(groups)} groups, {people} people in courses")

    def _note(self, outcome: str, reason: str) -> None:
        """Count an outcome; log it where it differs from the last one."""
        HUB_ROSTER_READINGS.labels(outcome).inc()
        if outcome != self._last:
            self._last = outcome
            (_log.info if outcome == "ok" else _log.warning)("hub_roster_read", outcome=outcome, reason=reason)
