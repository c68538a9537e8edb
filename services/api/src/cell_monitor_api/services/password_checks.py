"""Checks of passwords: bounded in number at once, and counted as failed attempts to sign in."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Final
from uuid import UUID

from cell_monitor_api.exceptions import SignInLimited
from cell_monitor_api.services.device_cookies import DeviceCookies
from cell_monitor_api.services.places import Places
from cell_monitor_api.services.refused_sign_ins import RefusedSignIns
from cell_monitor_api.services.sign_in_limits import SignInLimits
from cell_monitor_core.auth.passwords import PasswordHasher
from cell_monitor_core.telemetry.metrics import RATE_LIMITED

__all__ = ["PasswordChecks"]

_MAX_CHECKING: Final = 40
"""Passwords that wait for a thread: about a second's work."""


def _full() -> SignInLimited:
    RATE_LIMITED.labels("sign_in_load").inc()
    return SignInLimited("many people sign in at this moment; try again", retry_after=2)


class PasswordChecks:
    """Checks passwords, wherever somebody types one.

    Args:
        hasher: verifies in a few threads.
        limits: of failed attempts.
        devices: knows the browsers in which a person signed in before.
        refused: enters wrong passwords in the audit log.
    """

    def __init__(
        self, hasher: PasswordHasher, limits: SignInLimits, devices: DeviceCookies, refused: RefusedSignIns
    ) -> None:
        self._hasher = hasher
        self._limits = limits
        self._devices = devices
        self._refused = refused
        self._places = Places(_MAX_CHECKING, _full)

    def place(self) -> AbstractContextManager[None]:
        """Take one of the places of passwords that are worked on, for one block.

        Raises:
            SignInLimited: all are taken.
        """
        return self._places.one()

    async def passes(
        self,
        username: str,
        person_id: UUID | None,
        password_hash: str | None,
        password: str,
        *,
        address: str,
        device_cookie: str | None,
    ) -> bool:
        """Return whether a password is right; a wrong one counts as a failed attempt to sign in.

        Without an account the answer is False after the same work, so that the response time does not reveal it.

        Args:
            username: as typed.
            person_id: of the account, None for no account.
            password_hash: of the account, None for no account.
            password: as typed.
            address: the client's.
            device_cookie: that the browser sent, see ``DeviceCookies``.

        Raises:
            SignInLimited: too many failed attempts.
        """
        device = self._devices.device_of(device_cookie, person_id)
        attempt = await self._limits.begin(username, address, device)
        if not await self._hasher.verify(password_hash, password):
            await self._refused.add("password", address, person_id)
            return False
        await self._limits.succeeded(attempt)
        return True
