"""Joining a class by its code: this computer's secret and the name that the student gives are sent once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from .join_store import Joined, JoinStore, new_secret
from .monitor_answers import answer_object, answer_text, error_type, fault_in
from .tokens import Credential, retry_after_seconds

__all__ = ["CODE_CHARS", "JOIN_ENDED", "NAME_CHARS", "JoinRefused", "Joining", "address_of"]

JOIN_ENDED: Final = "join_ended"
"""The monitor does not know this computer any more: it was removed, or joining was revoked."""
CODE_CHARS: Final = 40
NAME_CHARS: Final = 60
_ADDRESS_CHARS: Final = 200
_SAID_CHARS: Final = 1000
"""Of a name or a title that the monitor says."""
_TIMEOUT_S: Final = 15.0
_MAX_ANSWER_BYTES: Final = 64 * 1024
# What the monitor refuses, by its error code, and the status of our own answer. 401 and 403 are Jupyter's own.
_REFUSALS: Final = {"invalid_join_code": 422, "course_full": 409, "rate_limited": 429}


class JoinRefused(Exception):  # noqa: N818 - named for what is so
    """The computer did not join.

    Args:
        status: of the answer to the page.
        error: code of the reason.
        retry_after: seconds after which it may be tried again; 0 where waiting does not help.
    """

    def __init__(self, status: int, error: str, retry_after: float = 0.0) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.retry_after = retry_after


def address_of(typed: str) -> str | None:
    """Returns the origin of an address that somebody typed or copied with a path; None if it is none."""
    text = typed.strip()
    if not text or len(text) > _ADDRESS_CHARS or not text.isprintable():
        return None
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc or " " in text:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if port is None else f":{port}")


class Joining:
    """Joins a class, and gives the secret as a credential from then on.

    Args:
        client: makes the request.
        store: keeps the secret.
        attempts: keeps a secret until it is known whether the monitor took it.
        address: of the monitor, where this server's configuration names it; else the student does.
        connect: sends to the monitor at an address from now on; called after joining.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        store: JoinStore,
        attempts: JoinStore,
        address: str | None,
        connect: Callable[[Joined], Awaitable[None]],
    ) -> None:
        self._client = client
        self._store = store
        self._attempts = attempts
        self._address = address
        self._connect = connect
        self._joining = asyncio.Lock()

    @property
    def current(self) -> Joined | None:
        """The class that this computer joined; None before it did, or where another monitor is configured now."""
        joined = self._store.read()
        if joined is None or not joined.name or (self._address and joined.address != self._address):
            return None
        return joined

    def state(self) -> dict[str, Any]:
        """What the page may know: never the secret."""
        joined = self.current
        return {
            "joined": joined is not None,
            "name": joined.name if joined else "",
            "title": joined.title if joined else "",
            "address": self._address or (joined.address if joined else ""),
            "address_is_fixed": self._address is not None,
        }

    def credentials(self) -> list[Credential]:
        """The secret, if this computer joined."""
        joined = self.current
        return [] if joined is None else [Credential("Join", joined.secret, "this computer", problem=JOIN_ENDED)]

    def answered(self, credential: Credential, answer: dict[str, Any]) -> None:
        """Keeps the name and the title of the course as the monitor has them now: its staff may have changed either.

        Args:
            credential: that was exchanged for a token.
            answer: of the monitor; one of an earlier release says nothing of it.
        """
        joined, said = self.current, answer.get("joined")
        # Not of a class that this computer has left meanwhile for another one.
        if joined is None or joined.secret != credential.secret or not isinstance(said, dict):
            return
        name, title = said.get("name"), said.get("title")
        if not (isinstance(name, str) and isinstance(title, str)):
            return
        if not (0 < len(name) <= _SAID_CHARS and 0 < len(title) <= _SAID_CHARS):
            return
        now = replace(joined, name=name, title=title)
        if now != joined:
            # Where it cannot be stored the one before is shown on; what is sent does not depend on it.
            with contextlib.suppress(OSError):
                self._store.write(now)

    async def join(self, address: str, code: str, name: str) -> bool:
        """Joins the class that a code opens.

        Returns:
            Whether the monitor kept another name, which this computer had given before.

        Raises:
            JoinRefused: see there.
            OSError: the secret cannot be stored; nothing was sent.
        """
        where = self._address or address_of(address)
        if where is None:
            raise JoinRefused(422, "invalid_address")
        async with self._joining:
            attempt = self._attempts.read()
            if attempt is None or attempt.address != where:
                attempt = Joined(where, new_secret())
                # Before it is sent: it must not be lost once the monitor knows it.
                self._attempts.write(attempt)
            try:
                answer = await self._post(attempt, code, name)
            except JoinRefused as refused:
                if refused.error not in {"monitor_unreachable", "not_a_monitor"}:
                    self._attempts.clear()
                # Otherwise the answer may have been lost: the same secret again is the same student, not a second one.
                raise
            joined = Joined(where, attempt.secret, answer["name"], answer["title"])
            self._store.write(joined)
            self._attempts.clear()
            await self._connect(joined)
            return answer.get("name_kept") is True

    async def _post(self, attempt: Joined, code: str, name: str) -> dict[str, Any]:
        body = {"code": code, "name": name, "secret": attempt.secret}
        url = f"{attempt.address}/api/v1/auth/join"
        try:
            async with asyncio.timeout(_TIMEOUT_S), self._client.stream("POST", url, json=body) as response:
                text = await answer_text(response, _MAX_ANSWER_BYTES)
                status, retry_after = response.status_code, retry_after_seconds(response.headers.get("Retry-After"))
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL):
            raise JoinRefused(502, "monitor_unreachable") from None
        if text is None:
            raise JoinRefused(502, "not_a_monitor")
        value = answer_object(text)
        if status == 201 and all(isinstance(value.get(part), str) and value[part] for part in ("name", "title")):
            return value
        error = error_type(value)
        if status == 422 and error:
            # The name or the code is not what the monitor takes.
            raise JoinRefused(422, "invalid_join_code" if fault_in(value, "code") else "invalid_name")
        if error in _REFUSALS:
            raise JoinRefused(_REFUSALS[error], error, retry_after)
        if status >= 500:
            raise JoinRefused(502, "monitor_unreachable", retry_after)
        raise JoinRefused(502, "not_a_monitor")
