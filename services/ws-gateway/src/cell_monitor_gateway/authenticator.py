"""Who a connection is: verifies tokens with the keys that the API publishes."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Self

from cell_monitor_core.auth.jwks import RemoteKeys
from cell_monitor_core.auth.revocations import RevocationList
from cell_monitor_core.auth.scopes import Audience
from cell_monitor_core.auth.tokens import Claims, TokenVerifier, UnknownKey
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.telemetry.metrics import BACKGROUND_TASK_ERRORS

__all__ = ["Authenticator", "KeysNotFetched"]

REFRESH_INTERVAL_SECONDS: Final = 2.0
"""Keys are fetched for an unknown key id at most this often; a caller that brings one waits up to that long."""


class KeysNotFetched(Exception):  # noqa: N818 - its name is what /readyz shows
    """No token can be verified yet."""


class Authenticator:
    """Verifies tokens for this service and keeps the API's public keys; use it as an async context manager.

    Args:
        jwks_url: where the API publishes its keys.
        revocations: what ended tokens before their time.
        issuer: the installation whose tokens are accepted.
    """

    def __init__(self, jwks_url: str, revocations: RevocationList, *, issuer: str) -> None:
        self._keys = RemoteKeys(
            jwks_url, min_interval=REFRESH_INTERVAL_SECONDS, on_error=BACKGROUND_TASK_ERRORS.labels("jwks-refresh").inc
        )
        self._revocations = revocations
        self._verifier = TokenVerifier(self._keys, Audience.GATEWAY, revocations=revocations, issuer=issuer)

    async def __aenter__(self) -> Self:
        await self._keys.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._keys.__aexit__(kind, error, trace)

    async def verify(self, token: str) -> Claims:
        """Return the claims of a token for this service.

        A token of a key that is not known here may be newer than the keys: they are fetched again first.

        Raises:
            TokenInvalid, TokenExpired: see ``TokenVerifier.verify``.
            StoreUnavailable: no keys could be fetched so far.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + REFRESH_INTERVAL_SECONDS + 0.5
        while True:
            try:
                return self._verifier.verify(token)
            except UnknownKey:
                fetched = await self._keys.refresh()
                if fetched or loop.time() >= deadline:
                    if not self._keys.ready:
                        raise StoreUnavailable("the keys of tokens could not be fetched") from None
                    return self._verifier.verify(token)
                await asyncio.sleep(0.2)

    def is_revoked(self, claims: Claims) -> bool:
        """Return whether a token that was verified has ended before its time."""
        return self._revocations.covers(claims.sub, claims.gen, claims.cred)

    async def check_keys(self) -> None:
        """Return if keys have been fetched.

        Raises:
            KeysNotFetched: not yet.
        """
        if not self._keys.ready:
            raise KeysNotFetched("the API's JWKS has not been fetched yet")
