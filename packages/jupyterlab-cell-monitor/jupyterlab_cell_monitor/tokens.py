"""How the server half proves to the monitor whose events these are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import uniform
from typing import Any

import httpx

from .monitor_answers import answer_object, answer_text, error_type, problem_of, reason_of

__all__ = [
    "Credential",
    "CredentialUnreadable",
    "ExchangedTokens",
    "TokenRefused",
    "TokenUnavailable",
    "retry_after_seconds",
]

_SPARE_SECONDS = 60.0
# After a refusal the wait grows from one second to this: JupyterHub knows a server's token a moment after its start.
_REFUSED_SECONDS = 30.0
# Of a token that lives no longer than the spare time this part is used, each server's a little different.
_USED_PART = (0.6, 0.8)
# A refused sender asks for a new token this often at most.
_RENEW_SECONDS = 10.0
_MAX_RETRY_AFTER = 600.0
_MAX_ANSWER_BYTES = 64 * 1024


class TokenUnavailable(Exception):  # noqa: N818 - named for what is so
    """The monitor could not be asked for a token.

    Args:
        reason: what happened, without any secret.
        retry_after: seconds that the monitor asked to wait; 0 when it did not say.
        problem: code of what must be changed before asking again can succeed; None where waiting is enough.
    """

    def __init__(self, reason: str, retry_after: float = 0.0, problem: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after
        self.problem = problem


class TokenRefused(Exception):  # noqa: N818 - named for what is so
    """The monitor does not know the credential, or no longer.

    Args:
        reason: what happened, without any secret.
        problem: see `Credential.problem`.
    """

    def __init__(self, reason: str, problem: str = "") -> None:
        super().__init__(reason)
        self.problem = problem


class CredentialUnreadable(Exception):  # noqa: N818 - named for what is so
    """The configured credential cannot be read; the message says why, without any secret."""


@dataclass(frozen=True, slots=True, repr=False)
class Credential:
    """Something that proves whose events these are.

    Attributes:
        scheme: of the `Authorization` header: `ApiKey` or `JupyterHub`.
        secret: the key or token.
        name: what a message calls it.
        server: name of this server in JupyterHub, empty for its user's default one; None where there is no Hub.
        problem: code of what must be changed where the monitor refuses it; empty for a wrong configuration.
    """

    scheme: str
    secret: str
    name: str
    server: str | None = None
    problem: str = ""


def retry_after_seconds(header: str | None) -> float:
    """Seconds of a `Retry-After` header in its form with seconds; 0 otherwise."""
    try:
        seconds = float(header or 0)
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER) if seconds == seconds else 0.0  # noqa: PLR0124 - NaN


class ExchangedTokens:
    """Trades a credential for short tokens, one exchange at a time however many ask.

    Args:
        client: makes the requests.
        url: the whole address of the exchange.
        credentials: reads them for every exchange, so that a replaced key file is used. The first that is not refused
            counts. Raises `CredentialUnreadable`.
        clock: monotonic seconds.
        on_answer: called with the credential and the answer of each exchange that gave a token.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: str,
        credentials: Callable[[], Sequence[Credential]],
        clock: Callable[[], float] = time.monotonic,
        on_answer: Callable[[Credential, dict[str, Any]], None] | None = None,
    ) -> None:
        self._client = client
        self._url = url
        self._credentials = credentials
        self._on_answer = on_answer
        self._clock = clock
        self._token: str | None = None
        self._good_until = 0.0
        self._refusals = 0
        self._refusal = TokenRefused("there is no credential")
        self._refused_until = 0.0
        self._asked_at = 0.0
        self._exchange = asyncio.Lock()

    async def token(self) -> str:
        """A token that is good for some while yet.

        Raises:
            TokenUnavailable: try again later.
            TokenRefused: trying again changes nothing until somebody changes the configuration.
        """
        if self._token is not None and self._clock() < self._good_until:
            return self._token
        async with self._exchange:
            if self._token is not None and self._clock() < self._good_until:
                return self._token
            if self._clock() < self._refused_until:
                raise TokenRefused(str(self._refusal), self._refusal.problem)
            return await self._ask()

    def reject(self, token: str) -> None:
        """The monitor did not take this token: get another one next time."""
        if token == self._token:
            self._token = None

    async def renewed(self, token: str) -> str | None:
        """A token that was issued after this one, whose claims may be outdated; None where this one is still young.

        Raises:
            TokenUnavailable, TokenRefused: as `token` does; the token given stays in use.
        """
        async with self._exchange:
            if self._token is not None and self._token != token:
                return self._token
            if self._clock() < max(self._asked_at + _RENEW_SECONDS, self._refused_until):
                return None
            return await self._ask()

    async def _ask(self) -> str:
        self._asked_at = self._clock()
        try:
            credentials = self._credentials()
        except CredentialUnreadable as error:
            raise TokenRefused(str(error)) from None
        refusal = TokenRefused("there is no credential")
        for credential in credentials:
            status, answer, retry_after = await self._post(credential)
            if status == 200:
                token = self._taken(answer)
                self._refusals = 0
                if self._on_answer is not None:
                    self._on_answer(credential, answer)
                return token
            fault = error_type(answer)
            if not fault or status not in {401, 403}:
                reason = f"{reason_of(status, fault)}, from the token exchange"
                raise TokenUnavailable(reason, retry_after, problem_of(status, fault))
            refusal = TokenRefused(f"the monitor refused {credential.name} (HTTP {status})", credential.problem)
        self._refusal = refusal
        self._refused_until = self._clock() + min(_REFUSED_SECONDS, 2.0**self._refusals)
        # Beyond this the wait does not grow.
        self._refusals = min(self._refusals + 1, 10)
        raise refusal

    async def _post(self, credential: Credential) -> tuple[int, dict[str, Any], float]:
        """Returns the status, the JSON object that the answer is, and the seconds that it asks to wait."""
        wish = {"audience": "ingest"} | ({} if credential.server is None else {"server": credential.server})
        headers = {"Authorization": f"{credential.scheme} {credential.secret}"}
        try:
            async with self._client.stream("POST", self._url, json=wish, headers=headers) as response:
                text = await answer_text(response, _MAX_ANSWER_BYTES)
        except httpx.HTTPError as error:
            raise TokenUnavailable(type(error).__name__) from None
        retry_after = retry_after_seconds(response.headers.get("Retry-After"))
        return response.status_code, {} if text is None else answer_object(text), retry_after

    def _taken(self, answer: dict[str, Any]) -> str:
        try:
            token, expires_in = answer["access_token"], float(answer["expires_in"])
        except (ValueError, KeyError, TypeError):
            token, expires_in = None, 0.0
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            reason = "the token exchange gave an unreadable answer"
            raise TokenUnavailable(reason, problem=problem_of(200, ""))
        self._token = token
        part = uniform(*_USED_PART)  # noqa: S311 - spreads the load
        self._good_until = self._clock() + max(expires_in - _SPARE_SECONDS, expires_in * part)
        return token
