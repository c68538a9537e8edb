"""How the server half proves to the monitor whose events these are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import httpx

__all__ = ["ApiKeyTokenProvider", "TokenProvider", "TokenRefused", "TokenUnavailable", "retry_after_seconds"]

_SPARE_SECONDS = 60.0
_REFUSED_SECONDS = 30.0
# A refused sender asks for a new token this often at most.
_RENEW_SECONDS = 10.0
_MAX_RETRY_AFTER = 600.0


class TokenUnavailable(Exception):  # noqa: N818 - named for what is so
    """The monitor could not be asked for a token.

    Args:
        reason: what happened, without any secret.
        retry_after: seconds that the monitor asked to wait; 0 when it did not say.
    """

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class TokenRefused(Exception):  # noqa: N818 - named for what is so
    """The monitor does not know this key, or no longer."""


class TokenProvider(Protocol):
    """Gives tokens for the ingest. A Hub's `JUPYTERHUB_API_TOKEN` becomes another implementation of this."""

    async def token(self) -> str:
        """A token that is good for some while yet.

        Raises:
            TokenUnavailable: try again later.
            TokenRefused: trying again changes nothing until somebody changes the configuration.
        """
        ...

    def reject(self, token: str) -> None:
        """The monitor did not take this token: get another one next time."""
        ...

    async def renewed(self, token: str) -> str | None:
        """A token that was issued after this one, whose claims may be outdated; None where this one is still young.

        Raises:
            TokenUnavailable, TokenRefused: as `token` does; the token given stays in use.
        """
        ...


def retry_after_seconds(header: str | None) -> float:
    """Seconds of a `Retry-After` header in its form with seconds; 0 otherwise."""
    try:
        seconds = float(header or 0)
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER) if seconds == seconds else 0.0  # noqa: PLR0124 - NaN


class ApiKeyTokenProvider:
    """Trades an API key for short tokens, one exchange at a time however many ask.

    Args:
        client: makes the requests.
        url: the whole address of the exchange.
        read_key: reads the key for every exchange, so that a replaced key file is used.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: str,
        read_key: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._url = url
        self._read_key = read_key
        self._clock = clock
        self._token: str | None = None
        self._good_until = 0.0
        self._refused_until = 0.0
        self._asked_at = 0.0
        self._exchange = asyncio.Lock()

    async def token(self) -> str:
        """See `TokenProvider.token`."""
        if self._token is not None and self._clock() < self._good_until:
            return self._token
        async with self._exchange:
            if self._token is not None and self._clock() < self._good_until:
                return self._token
            if self._clock() < self._refused_until:
                raise TokenRefused("the monitor refused the API key")
            return await self._ask()

    def reject(self, token: str) -> None:
        """See `TokenProvider.reject`."""
        if token == self._token:
            self._token = None

    async def renewed(self, token: str) -> str | None:
        """See `TokenProvider.renewed`."""
        async with self._exchange:
            if self._token is not None and self._token != token:
                return self._token
            if self._clock() < max(self._asked_at + _RENEW_SECONDS, self._refused_until):
                return None
            return await self._ask()

    async def _ask(self) -> str:
        self._asked_at = self._clock()
        try:
            key = self._read_key()
        except OSError as error:
            raise TokenRefused(f"the API key file cannot be read: {error.strerror}") from None
        try:
            response = await self._client.post(
                self._url, json={"audience": "ingest"}, headers={"Authorization": f"ApiKey {key}"}
            )
        except httpx.HTTPError as error:
            raise TokenUnavailable(type(error).__name__) from None
        if response.status_code in {401, 403}:
            self._refused_until = self._clock() + _REFUSED_SECONDS
            raise TokenRefused(f"the monitor refused the API key (HTTP {response.status_code})")
        retry_after = retry_after_seconds(response.headers.get("Retry-After"))
        if response.status_code != 200:
            raise TokenUnavailable(f"HTTP {response.status_code} from the token exchange", retry_after)
        try:
            answer = response.json()
            token, expires_in = answer["access_token"], float(answer["expires_in"])
        except (ValueError, KeyError, TypeError):
            raise TokenUnavailable("the token exchange gave an unreadable answer") from None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise TokenUnavailable("the token exchange gave an unreadable answer")
        self._token = token
        # Even a token that lives shorter than the spare time serves the requests of its first half.
        self._good_until = self._clock() + max(expires_in - _SPARE_SECONDS, expires_in / 2)
        return token
