"""What one process of the API does with an OpenID Connect provider, composed from the settings."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

from cell_monitor_api.config import ApiSettings
from cell_monitor_api.services.hub_rules import GroupRules
from cell_monitor_api.services.id_tokens import IdTokenRules
from cell_monitor_api.services.issuer_people import IssuerPeople
from cell_monitor_api.services.oidc_sign_in import OidcClient, OidcSignIn
from cell_monitor_api.services.sessions import Sessions
from cell_monitor_api.storage.oidc_provider import OidcProvider
from cell_monitor_core.counters import Counters
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.storage.postgres.memberships import Source

__all__ = ["CALLBACK_PATH", "oidc_sign_in"]

CALLBACK_PATH = "api/v1/auth/oidc/callback"
"""Where the provider sends browsers back to, below the dashboard's address."""


def oidc_sign_in(
    settings: ApiSettings,
    pool: Any,
    keyring: KeyRing,
    index: BlindIndex,
    counters: Counters,
    sessions: Sessions,
    stack: AsyncExitStack,
) -> OidcSignIn | None:
    """Return what signs people in, None where no provider is configured. What it holds is closed by ``stack``."""
    issuer, client_id = settings.api_oidc_issuer, settings.api_oidc_client_id
    if issuer is None or client_id is None:
        return None
    secret = settings.api_oidc_client_secret
    assert secret is not None  # see ApiSettings
    provider = OidcProvider(issuer, client_id, secret.get_secret_value(), auth_method=settings.api_oidc_client_auth)
    stack.push_async_callback(provider.aclose)
    client = OidcClient(
        redirect_uri=f"{settings.dashboard_url}{CALLBACK_PATH}",
        scope=settings.api_oidc_scope,
        lifetime=timedelta(hours=settings.api_oidc_session_hours),
        rules=IdTokenRules(issuer, client_id, settings.api_oidc_name_claim, settings.api_oidc_groups_claim),
        label=settings.api_oidc_label,
    )
    people = IssuerPeople(
        pool,
        keyring,
        index,
        counters,
        issuer=issuer,
        rules=GroupRules(settings.api_oidc_group_pattern, settings.api_oidc_roles),
        source=Source.OIDC,
        staff_only=True,
    )
    return OidcSignIn(provider, client, people, sessions, keyring)
