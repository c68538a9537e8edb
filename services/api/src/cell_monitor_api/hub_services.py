"""What one process of the API does with JupyterHub, composed from the settings."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

from cell_monitor_api.config import ApiSettings
from cell_monitor_api.services.hub_credentials import HubTokenVerifier
from cell_monitor_api.services.hub_people import HubPeople
from cell_monitor_api.services.hub_roster import HubRoster
from cell_monitor_api.services.hub_rules import GroupRules
from cell_monitor_api.services.hub_sessions import HubSessions
from cell_monitor_api.services.hub_sign_in import HubClient, HubSignIn
from cell_monitor_api.services.sessions import Sessions
from cell_monitor_api.storage.hub_api import HubApi
from cell_monitor_core.counters import Counters
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.telemetry.background_tasks import background_task

__all__ = ["CALLBACK_PATH", "HubServices"]

CALLBACK_PATH = "api/v1/auth/hub/callback"
"""Where the Hub sends browsers back to, below the dashboard's address."""


@dataclass(frozen=True, slots=True)
class HubServices:
    """The services that ask a Hub.

    Attributes:
        tokens: verifies the tokens of students' servers.
        sessions: asks again about sign-ins; None where people do not sign in with the Hub.
    """

    tokens: HubTokenVerifier
    sessions: HubSessions | None
    _hub: HubApi
    _people: HubPeople
    _keyring: KeyRing
    _client: HubClient | None

    @classmethod
    async def open(
        cls,
        settings: ApiSettings,
        pool: Any,
        keyring: KeyRing,
        index: BlindIndex,
        counters: Counters,
        stack: AsyncExitStack,
    ) -> Self | None:
        """Return the services, None where no Hub is configured. What they hold is closed by ``stack``."""
        if settings.api_hub_url is None:
            return None
        hub = HubApi(settings.api_hub_url)
        stack.push_async_callback(hub.aclose)
        rules = GroupRules(settings.api_hub_group_pattern, settings.api_hub_roles)
        people = HubPeople(
            pool, keyring, index, counters, issuer=settings.api_hub_issuer, rules=rules, admins=settings.api_hub_admins
        )
        tokens = HubTokenVerifier(hub, people, scope=settings.api_hub_send_scope, recheck_s=settings.api_hub_recheck_s)
        client = _client_of(settings)
        sessions = None
        if client is not None:
            sessions = HubSessions(
                pool,
                keyring,
                hub,
                people,
                scope=client.scope,
                interval=timedelta(seconds=settings.api_hub_session_check_s),
                grace=timedelta(seconds=settings.api_hub_session_grace_s),
            )
            await stack.enter_async_context(background_task("hub-sessions", sessions.step, interval_s=1.0))
        if settings.api_hub_token is not None and settings.api_hub_roster_s:
            roster = HubRoster(
                pool,
                hub,
                people,
                token=settings.api_hub_token.get_secret_value(),
                issuer=settings.api_hub_issuer,
                interval=timedelta(seconds=settings.api_hub_roster_s),
            )
            await stack.enter_async_context(background_task("hub-roster", roster.step, interval_s=2.0))
        return cls(tokens, sessions, hub, people, keyring, client)

    def sign_in(self, sessions: Sessions) -> HubSignIn | None:
        """Return what signs people in, None where they do not sign in with the Hub."""
        if self._client is None or self.sessions is None:
            return None
        return HubSignIn(self._hub, self._client, self._people, sessions, self.sessions, self._keyring)


def _client_of(settings: ApiSettings) -> HubClient | None:
    if settings.api_hub_public_url is None or settings.api_hub_token is None:
        return None
    return HubClient(
        authorize_url=f"{settings.api_hub_public_url.rstrip('/')}/oauth2/authorize",
        client_id=f"service-{settings.api_hub_service}",
        secret=settings.api_hub_token.get_secret_value(),
        redirect_uri=f"{settings.dashboard_url}{CALLBACK_PATH}",
        scope=f"access:services!service={settings.api_hub_service}",
    )
