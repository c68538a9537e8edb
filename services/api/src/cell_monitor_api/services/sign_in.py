"""Sign-in of people with a local account, and the cookie that keeps them signed in."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import structlog

from cell_monitor_api.exceptions import InvalidCredentials, NotAuthenticated, SignInLimited
from cell_monitor_api.models.auth import Me, MyCourse, TokenAnswer
from cell_monitor_api.services.sign_in_limits import SignInLimits
from cell_monitor_api.services.signing import courses_that_fit
from cell_monitor_core.auth.grants import Grant
from cell_monitor_core.auth.passwords import PasswordHasher
from cell_monitor_core.auth.tokens import Claims, TokenIssuer
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.storage.postgres import accounts, courses, memberships, people, sign_ins
from cell_monitor_core.telemetry.metrics import RATE_LIMITED, SIGN_INS

__all__ = ["SIGN_IN_AUDIENCES", "SignIn", "SignedIn"]

_log = structlog.get_logger(__name__)

SIGN_IN_AUDIENCES: Final = ("api", "gateway")

_COOKIE_BYTES: Final = 32
_MAX_CHECKING: Final = 40
"""Passwords that wait for a thread: about a second's work."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A sign-in: the token, and the cookie with the time for which a browser keeps it."""

    token: TokenAnswer
    cookie: str
    lifetime: timedelta


class SignIn:
    """Signs people in and out."""

    def __init__(
        self,
        pool: Any,
        keyring: KeyRing,
        index: BlindIndex,
        hasher: PasswordHasher,
        limits: SignInLimits,
        issuer: TokenIssuer,
        *,
        lifetime: timedelta,
    ) -> None:
        self._pool = pool
        self._keyring = keyring
        self._index = index
        self._hasher = hasher
        self._limits = limits
        self._issuer = issuer
        self._lifetime = lifetime
        self._checking = 0

    async def sign_in(self, username: str, password: str, address: str) -> SignedIn:
        """Check a password and begin a sign-in.

        Unknown users cost the same work as known ones, so that the time taken tells nothing.

        Raises:
            SignInLimited: too many attempts.
            InvalidCredentials: unknown user or wrong password.
        """
        try:
            await self._limits.count(username, address)
            if self._checking >= _MAX_CHECKING:
                RATE_LIMITED.labels("sign_in_load").inc()
                raise SignInLimited("many people sign in at this moment; try again", retry_after=2)
        except SignInLimited:
            SIGN_INS.labels("password", "rate_limited").inc()
            raise
        self._checking += 1
        try:
            account = await accounts.find(self._pool, self._index, username)
            valid = await self._hasher.verify(None if account is None else account.password_hash, password)
        finally:
            self._checking -= 1
        if account is None or not valid:
            SIGN_INS.labels("password", "refused").inc()
            _log.info("sign_in_refused")
            raise InvalidCredentials("unknown user name or wrong password")
        await self._limits.forget_account(username)
        if self._hasher.needs_rehash(account.password_hash):
            await accounts.set_password(self._pool, account.person_id, await self._hasher.hash(password))
        cookie = secrets.token_urlsafe(_COOKIE_BYTES)
        await sign_ins.prune(self._pool)
        await sign_ins.create(self._pool, _digest(cookie), account.person_id, datetime.now(UTC) + self._lifetime)
        SIGN_INS.labels("password", "ok").inc()
        _log.info("signed_in", person_id=str(account.person_id))
        return SignedIn(await self._token(account.person_id), cookie, self._lifetime)

    async def refresh(self, cookie: str | None) -> TokenAnswer:
        """Return a new token for a sign-in that still holds.

        Raises:
            NotAuthenticated: there is none.
        """
        sign_in = None if not cookie else await sign_ins.get(self._pool, _digest(cookie))
        SIGN_INS.labels("cookie", "refused" if sign_in is None else "ok").inc()
        if sign_in is None:
            raise NotAuthenticated("nobody is signed in: sign in first")
        return await self._token(sign_in.person_id)

    async def sign_out(self, cookie: str | None) -> None:
        """End a sign-in; without one there is nothing to do."""
        if cookie:
            await sign_ins.revoke(self._pool, _digest(cookie))

    async def me(self, claims: Claims) -> Me:
        """Return who the caller is.

        Raises:
            NotAuthenticated: the token's person is gone, or the token is a service's.
        """
        person = await people.get(self._pool, self._keyring, UUID(claims.sub))
        if person is None:
            raise NotAuthenticated("this token belongs to nobody")
        own = await courses.list_of_person(self._pool, person.person_id)
        return Me(
            person_id=str(person.person_id),
            username=person.username,
            display_name=person.display_name,
            is_admin=claims.admin and person.is_admin,
            courses=[MyCourse(course.course_id, course.title, course.role or "") for course in own],
        )

    async def _token(self, person_id: UUID) -> TokenAnswer:
        async with self._pool.acquire() as connection:
            person = await people.get(connection, self._keyring, person_id)
            if person is None:
                raise NotAuthenticated("nobody is signed in: sign in first")
            roles = await memberships.roles_of(connection, person_id)
        token, expires_in = self._issuer.issue(
            grant=Grant.SESSION,
            person_id=person_id,
            audience=SIGN_IN_AUDIENCES,
            courses=courses_that_fit(roles),
            admin=person.is_admin,
        )
        return TokenAnswer(token, expires_in)


def _digest(cookie: str) -> bytes:
    # 256 random bits: a plain hash cannot be guessed back.
    return hashlib.sha256(cookie.encode(errors="replace")).digest()
