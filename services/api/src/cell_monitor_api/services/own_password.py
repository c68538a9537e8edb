"""The password of a person's own account: chosen after a sign-in with a link, changed with the present one."""

from __future__ import annotations

from typing import Any, Final

import structlog

from cell_monitor_api.exceptions import (
    NotAuthenticated,
    PasswordCommon,
    PasswordNotChangeable,
    PasswordTooLong,
    PasswordTooShort,
    PresentPasswordWrong,
)
from cell_monitor_api.models.auth import PasswordChange, PasswordState
from cell_monitor_api.services.password_checks import PasswordChecks
from cell_monitor_api.services.sessions import Sessions, SignedIn
from cell_monitor_core.auth.password_policy import (
    MAX_NEW_PASSWORD_CHARS,
    MIN_NEW_PASSWORD_CHARS,
    PasswordFault,
    fault_of,
)
from cell_monitor_core.auth.passwords import PasswordHasher
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.storage.postgres import accounts, people
from cell_monitor_core.storage.postgres.accounts import OwnAccount
from cell_monitor_core.storage.postgres.sign_ins import SignIn

__all__ = ["OwnPassword"]

_log = structlog.get_logger(__name__)

_REFUSALS: Final = {
    "link_needed": "sign in with a new link, then set your password: who runs Cell Monitor makes one with "
    "`cell-monitor sign-in-link USERNAME`",
    "elsewhere": "you sign in through another service, such as JupyterHub: your password is changed there",
    "installation": "the password of this account is kept in the secrets of the installation and set at each start",
}
"""Why a password cannot be changed here, and what to do, by ``PasswordState.change``."""


class OwnPassword:
    """Says what a signed-in person can do about their password, and does it.

    Args:
        pool: PostgreSQL.
        keyring: to read people.
        hasher: hashes the new password.
        checks: of the present password.
        sessions: of signed-in people.
    """

    def __init__(
        self, pool: Any, keyring: KeyRing, hasher: PasswordHasher, checks: PasswordChecks, sessions: Sessions
    ) -> None:
        self._pool = pool
        self._keyring = keyring
        self._hasher = hasher
        self._checks = checks
        self._sessions = sessions

    async def state(self, cookie: str | None) -> PasswordState:
        """Return what the person who is signed in can do about their password.

        Raises:
            NotAuthenticated: nobody is signed in.
        """
        sign_in = await self._sessions.holding(cookie)
        account = await accounts.of_person(self._pool, sign_in.person_id)
        return PasswordState(
            has_password=account.password_hash is not None,
            change=_change_of(account, sign_in),
            min_chars=MIN_NEW_PASSWORD_CHARS,
            max_chars=MAX_NEW_PASSWORD_CHARS,
        )

    async def change(
        self, cookie: str | None, present: str | None, new: str, *, address: str, device_cookie: str | None
    ) -> SignedIn:
        """Set the password of the person who is signed in, and end all their sign-ins but a new one in this browser.

        Args:
            cookie: of the sign-in.
            present: the present password; not needed in a sign-in that began with a link a short time ago.
            new: the password that they choose.
            address: the client's.
            device_cookie: that the browser sent, see ``DeviceCookies``.

        Raises:
            NotAuthenticated: nobody is signed in, or the sign-in ended meanwhile.
            PasswordNotChangeable: this account has no password here, or needs a link first.
            PasswordTooShort, PasswordTooLong, PasswordCommon: the new one cannot be chosen.
            PresentPasswordWrong: the present one is wrong or missing.
            SignInLimited: too many failed attempts.
        """
        sign_in = await self._sessions.holding(cookie)
        person = await people.get(self._pool, self._keyring, sign_in.person_id)
        if person is None:
            raise NotAuthenticated("nobody is signed in: sign in first")
        account = await accounts.of_person(self._pool, person.person_id)
        way = _change_of(account, sign_in)
        if way in _REFUSALS:
            raise PasswordNotChangeable(_REFUSALS[way])
        _require_choosable(new, person)
        with self._checks.place():
            if way == "present_password" and not await self._checks.passes(
                person.username,
                person.person_id,
                account.password_hash,
                _given(present),
                address=address,
                device_cookie=device_cookie,
            ):
                _log.info("password_change_refused", person_id=str(person.person_id))
                raise PresentPasswordWrong("the present password is wrong", loc=["body", "present"])
            password_hash = await self._hasher.hash(new)
        signed_in = await self._sessions.begin_instead(
            cookie or "",
            person.person_id,
            with_it=lambda connection: accounts.set_password(connection, person.person_id, password_hash),
        )
        _log.info("password_changed", person_id=str(person.person_id))
        return signed_in


def _given(present: str | None) -> str:
    if not present:
        # Nothing was guessed, so nothing is counted.
        raise PresentPasswordWrong("enter your present password, too", loc=["body", "present"])
    return present


def _change_of(account: OwnAccount, sign_in: SignIn) -> PasswordChange:
    """Return how a person can change their password, see ``PasswordState.change``."""
    if not account.is_local:
        return "elsewhere"
    if account.by_installation:
        return "installation"
    if sign_in.by_recent_link:
        return "link"
    return "link_needed" if account.password_hash is None else "present_password"


def _require_choosable(new: str, person: people.Person) -> None:
    fault, where = fault_of(new, (person.username, person.display_name or "")), ["body", "new"]
    if fault is PasswordFault.TOO_SHORT:
        raise PasswordTooShort(f"a password has at least {MIN_NEW_PASSWORD_CHARS} characters", loc=where)
    if fault is PasswordFault.TOO_LONG:
        raise PasswordTooLong(f"a password has at most {MAX_NEW_PASSWORD_CHARS} characters", loc=where)
    if fault is PasswordFault.COMMON:
        raise PasswordCommon("this is a common password or your name: it is guessed first; choose another", loc=where)
