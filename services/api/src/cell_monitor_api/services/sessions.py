"""Sessions of people in browsers: the cookie that keeps them signed in, and the access tokens that it gives.

However somebody proves who they are, signing in ends in ``Sessions.begin``.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol
from uuid import UUID

import structlog

from cell_monitor_api.exceptions import NotAuthenticated, SignInIdle
from cell_monitor_api.models.auth import Me, MyCourse, TokenAnswer
from cell_monitor_api.services.signing import courses_that_fit
from cell_monitor_core.auth.audit import Actor, AuditAction
from cell_monitor_core.auth.grants import Grant
from cell_monitor_core.auth.scopes import Audience
from cell_monitor_core.auth.tokens import Claims, TokenIssuer
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.storage.postgres import audit, courses, memberships, people, sign_in_links, sign_ins
from cell_monitor_core.storage.postgres.pool import Connection, Executor
from cell_monitor_core.storage.postgres.sign_in_links import EndedBy
from cell_monitor_core.storage.postgres.sign_ins import SignIn
from cell_monitor_core.telemetry.metrics import SIGN_INS

__all__ = ["SESSION_AUDIENCES", "Sessions", "SignInCheck", "SignedIn"]

_log = structlog.get_logger(__name__)

SESSION_AUDIENCES: Final = (Audience.API, Audience.GATEWAY)

_COOKIE_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A new session: its person, its first token, and the cookie with the time for which a browser keeps it."""

    person_id: UUID
    token: TokenAnswer
    cookie: str
    lifetime: timedelta


class SignInCheck(Protocol):
    """Asks who vouched for a sign-in whether it still holds."""

    async def confirms(self, cookie_hash: bytes) -> bool:
        """Return whether a sign-in still holds."""
        ...


class Sessions:
    """Begins, renews and ends sessions.

    Args:
        pool: PostgreSQL.
        keyring: to read people.
        issuer: signs the tokens.
        lifetime: after which somebody must sign in again.
        idle: time without use after which they must.
        hub: asks JupyterHub about the sign-ins that it vouches for; without it these end.
    """

    def __init__(
        self,
        pool: Any,
        keyring: KeyRing,
        issuer: TokenIssuer,
        *,
        lifetime: timedelta,
        idle: timedelta,
        hub: SignInCheck | None = None,
    ) -> None:
        self._pool = pool
        self._keyring = keyring
        self._issuer = issuer
        self._lifetime = lifetime
        self._idle = idle
        self._hub = hub

    async def generation_of(self, person_id: UUID) -> int | None:
        """Return the generation of a person's sign-ins for ``begin``, None if there is no such person."""
        return await sign_ins.generation_of(self._pool, person_id)

    async def begin(
        self,
        person_id: UUID,
        *,
        way: str,
        generation: int | None,
        lifetime: timedelta | None = None,
        with_it: Callable[[Connection, bytes], Awaitable[None]] | None = None,
    ) -> SignedIn:
        """Begin a session of a person who has proven who they are.

        Args:
            person_id: the person.
            way: how they proved it, for the audit log; after `link` they may set a password for a short time.
            generation: of their sign-ins, read not later than what they proved it with: a session that would outlive an
                end of all their sign-ins is not begun. None where there was no such person.
            lifetime: for which the proof is good, where that is shorter than other sessions.
            with_it: is committed together with the session; gets the hash of its cookie.

        Raises:
            NotAuthenticated: all their sign-ins were ended meanwhile, as by a change of the password, or they were deleted.
        """
        cookie = secrets.token_urlsafe(_COOKIE_BYTES)
        token = await self._token(self._pool, person_id, cookie)
        lasts = self._lifetime if lifetime is None else min(lifetime, self._lifetime)
        await sign_ins.prune(self._pool)
        async with self._pool.acquire() as connection, connection.transaction():
            by_link = way == "link"
            if generation is None or not await sign_ins.begin(
                connection,
                _digest(cookie),
                person_id,
                datetime.now(UTC) + lasts,
                generation=generation,
                by_link=by_link,
            ):
                raise NotAuthenticated("all sign-ins of this person were ended meanwhile: sign in again")
            await audit.record(connection, AuditAction.SIGNED_IN, Actor.person(person_id), details={"way": way})
            if with_it is not None:
                await with_it(connection, _digest(cookie))
        _log.info("signed_in", person_id=str(person_id))
        return SignedIn(person_id, token, cookie, lasts)

    async def begin_instead(
        self, cookie: str, person_id: UUID, *, with_it: Callable[[Connection], Awaitable[None]]
    ) -> SignedIn:
        """End all sessions of a person, their tokens and unused links, and begin one in this browser in their place.

        Args:
            cookie: of the session in this browser.
            person_id: whose it is.
            with_it: is committed together with that.

        Raises:
            NotAuthenticated: the session has ended meanwhile.
        """
        fresh = secrets.token_urlsafe(_COOKIE_BYTES)
        async with self._pool.acquire() as connection, connection.transaction():
            # Of two changes at the same time the second one finds its session ended.
            await sign_ins.lock(connection, person_id)
            if await sign_ins.get(connection, _digest(cookie)) is None:
                raise NotAuthenticated("nobody is signed in: sign in first")
            await sign_ins.revoke_person(connection, person_id)
            person = Actor.person(person_id)
            await sign_in_links.revoke_person(connection, person_id, EndedBy.PASSWORD_CHANGED, by=person)
            await sign_ins.create(connection, _digest(fresh), person_id, datetime.now(UTC) + self._lifetime)
            await with_it(connection)
            await audit.record(connection, AuditAction.PASSWORD_CHANGED, person)
            # While the person's row is locked: nothing that ends the session can come before the token's generation.
            token = await self._token(connection, person_id, fresh)
        return SignedIn(person_id, token, fresh, self._lifetime)

    async def holding(self, cookie: str | None) -> SignIn:
        """Return the session of a browser.

        Raises:
            NotAuthenticated: there is none that holds.
            SignInIdle: there is one that nobody used for too long.
        """
        sign_in = None if not cookie else await sign_ins.get(self._pool, _digest(cookie))
        if sign_in is None:
            raise NotAuthenticated("nobody is signed in: sign in first")
        if sign_in.unused >= self._idle:
            raise SignInIdle("this sign-in was not used for too long: sign in again")
        return sign_in

    async def refresh(self, cookie: str | None) -> TokenAnswer:
        """Return a new token for a session that still holds, which counts as its use.

        Raises:
            NotAuthenticated: there is none.
            SignInIdle: there is one that nobody used for too long.
        """
        try:
            sign_in = await self.holding(cookie)
            if sign_in.by_hub:
                if not await self._confirmed(_digest(cookie or "")):
                    raise NotAuthenticated("nobody is signed in: sign in first")
                # Again: the answer may have changed their roles, and the sign-in may have ended while the Hub was asked.
                sign_in = await self.holding(cookie)
        except NotAuthenticated:
            SIGN_INS.labels("cookie", "refused").inc()
            raise
        if sign_in.unused >= sign_ins.USE_NOTED_EVERY:
            await sign_ins.note_use(self._pool, _digest(cookie or ""))
        SIGN_INS.labels("cookie", "ok").inc()
        return await self._token(self._pool, sign_in.person_id, cookie or "", generation=sign_in.token_generation)

    async def person_of(self, cookie: str | None) -> UUID | None:
        """Return who is signed in with a cookie, None for nobody. It does not count as a use."""
        try:
            return (await self.holding(cookie)).person_id
        except NotAuthenticated:
            return None

    async def end(self, cookie: str | None) -> None:
        """End a session; without one there is nothing to do."""
        if cookie:
            await sign_ins.revoke(self._pool, _digest(cookie))

    async def end_everywhere(self, cookie: str | None) -> None:
        """End all sessions of the person who is signed in, their tokens, and the links made for them that nobody used.

        Raises:
            NotAuthenticated: nobody is signed in.
        """
        sign_in = await self.holding(cookie)
        person = Actor.person(sign_in.person_id)
        async with self._pool.acquire() as connection, connection.transaction():
            await sign_ins.revoke_person(connection, sign_in.person_id)
            await sign_in_links.revoke_person(connection, sign_in.person_id, EndedBy.SIGNED_OUT_EVERYWHERE, by=person)
            await audit.record(connection, AuditAction.SIGNED_OUT_EVERYWHERE, person)
        _log.info("signed_out_everywhere", person_id=str(sign_in.person_id))

    async def me(self, claims: Claims) -> Me:
        """Return who the caller is.

        Raises:
            NotAuthenticated: the token's person does not exist, or the token is a service's.
        """
        person = await people.get(self._pool, self._keyring, UUID(claims.sub))
        if person is None:
            raise NotAuthenticated("this token belongs to nobody")
        own = await courses.list_of_person(self._pool, person.person_id, now=datetime.now(UTC))
        return Me(
            person_id=str(person.person_id),
            username=person.username,
            display_name=person.display_name,
            is_admin=claims.administers and person.is_admin,
            courses=[MyCourse(course.course_id, course.title, course.role or "") for course in own],
        )

    async def _confirmed(self, cookie_hash: bytes) -> bool:
        return self._hub is not None and await self._hub.confirms(cookie_hash)

    async def _token(
        self, executor: Executor, person_id: UUID, cookie: str, *, generation: int | None = None
    ) -> TokenAnswer:
        """Return a token; ``generation`` is that of the moment in which the session was there, None for now."""
        person = await people.get(executor, self._keyring, person_id)
        if person is None:
            raise NotAuthenticated("nobody is signed in: sign in first")
        # After the generation: a role that is lost in between is stated by a token that is revoked already.
        roles = await memberships.roles_of(executor, person_id)
        token, expires_in = self._issuer.issue(
            grant=Grant.SESSION,
            person_id=person_id,
            audience=SESSION_AUDIENCES,
            courses=courses_that_fit(roles),
            admin=person.is_admin,
            generation=person.token_generation if generation is None else generation,
            credential=sign_ins.credential_of(_digest(cookie)),
        )
        return TokenAnswer(token, expires_in)


def _digest(cookie: str) -> bytes:
    # 256 random bits: a plain hash cannot be inverted.
    return hashlib.sha256(cookie.encode(errors="replace")).digest()
