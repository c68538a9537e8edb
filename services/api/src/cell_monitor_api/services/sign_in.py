"""Sign-in of people with the password of a local account."""

from __future__ import annotations

from typing import Any, Final

import structlog

from cell_monitor_api.exceptions import InvalidCredentials, NotAuthenticated, SignInLimited
from cell_monitor_api.models.auth import SignInWay
from cell_monitor_api.services.password_checks import PasswordChecks
from cell_monitor_api.services.sessions import Sessions, SignedIn
from cell_monitor_core.auth.passwords import PasswordHasher
from cell_monitor_core.crypto import BlindIndex
from cell_monitor_core.storage.postgres import accounts
from cell_monitor_core.telemetry.metrics import SIGN_INS

__all__ = ["PasswordSignIn"]

_log = structlog.get_logger(__name__)


class PasswordSignIn:
    """Signs people in who prove with a password who they are.

    Attributes:
        way: how the page of the sign-in shows it.
    """

    way: Final = SignInWay("password")

    def __init__(
        self,
        pool: Any,
        index: BlindIndex,
        hasher: PasswordHasher,
        checks: PasswordChecks,
        sessions: Sessions,
    ) -> None:
        self._pool = pool
        self._index = index
        self._hasher = hasher
        self._checks = checks
        self._sessions = sessions

    async def sign_in(self, username: str, password: str, address: str, device_cookie: str | None = None) -> SignedIn:
        """Check a password and begin a session.

        Unknown users cost the same work as known ones, so that the response time does not reveal them.

        Args:
            username: as typed.
            password: as typed.
            address: the client's.
            device_cookie: that the browser sent, see ``DeviceCookies``.

        Raises:
            SignInLimited: too many attempts.
            InvalidCredentials: unknown user, a name that fits several accounts and none exactly, or wrong password; also
                one that was changed meanwhile, and where all sign-ins of the person were ended meanwhile.
        """
        try:
            with self._checks.place():
                account = await accounts.find(self._pool, self._index, username)
                valid = await self._checks.passes(
                    username,
                    None if account is None else account.person_id,
                    None if account is None else account.password_hash,
                    password,
                    address=address,
                    device_cookie=device_cookie,
                )
        except SignInLimited:
            SIGN_INS.labels("password", "rate_limited").inc()
            raise
        if account is None or not valid:
            SIGN_INS.labels("password", "refused").inc()
            _log.info("sign_in_refused")
            raise InvalidCredentials("unknown user name or wrong password")
        if self._hasher.needs_rehash(account.password_hash):
            fresh = await self._hasher.hash(password)
            await accounts.replace_hash(self._pool, account.person_id, old=account.password_hash, new=fresh)
        try:
            signed_in = await self._sessions.begin(
                account.person_id, way="password", generation=account.sign_in_generation
            )
        except NotAuthenticated:
            SIGN_INS.labels("password", "refused").inc()
            _log.info("sign_in_refused")
            raise InvalidCredentials("the password or all sign-ins were ended meanwhile: sign in again") from None
        SIGN_INS.labels("password", "ok").inc()
        return signed_in
