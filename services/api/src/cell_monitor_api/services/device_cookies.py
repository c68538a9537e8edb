"""Cookies that say in which browsers a person signed in before, so that guesses of others do not lock these out.

OWASP, "Slow Down Online Guessing Attacks with Device Cookies": https://owasp.org/www-community/Slow_Down_Online_Guessing_Attacks_with_Device_Cookies.
Nothing is stored of them; a cookie is a random id, the time, and a keyed hash of both and of the person. It signs nobody in.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final
from uuid import UUID

from cell_monitor_core.crypto import BlindIndex

__all__ = ["DeviceCookies"]

_COOKIE: Final = re.compile(r"([A-Za-z0-9_-]{22})\.([0-9]{1,12})\.([0-9a-f]{64})")
_NOBODY: Final = UUID(int=0)


class DeviceCookies:
    """Makes and reads these cookies.

    Args:
        index: whose key authenticates them.
        lifetime: after which a browser counts as unknown again.
        clock: seconds since the epoch.
    """

    def __init__(self, index: BlindIndex, *, lifetime: timedelta, clock: Callable[[], float] = time.time) -> None:
        self._index = index
        self.lifetime = lifetime
        self._clock = clock

    def make(self, person_id: UUID) -> str:
        """Return a new cookie for a browser in which a person has just signed in."""
        device, issued = secrets.token_urlsafe(16), str(int(self._clock()))
        return f"{device}.{issued}.{self._proof(person_id, device, issued)}"

    def device_of(self, cookie: str | None, person_id: UUID | None) -> str | None:
        """Return the id of the browser, None if this person did not sign in there, or too long ago.

        Args:
            cookie: what the browser sent.
            person_id: the person of the account, None for no account: then the answer is None after the same work.
        """
        match = _COOKIE.fullmatch(cookie or "")
        if match is None:
            return None
        device, issued, proof = match.groups()
        genuine = hmac.compare_digest(proof, self._proof(person_id or _NOBODY, device, issued))
        fresh = self._clock() - int(issued) < self.lifetime.total_seconds()
        return device if genuine and fresh and person_id is not None else None

    def _proof(self, person_id: UUID, device: str, issued: str) -> str:
        return self._index.exact("sign_in.device", str(person_id), device, issued).hex()
