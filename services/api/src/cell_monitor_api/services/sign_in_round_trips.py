"""Sign-ins that send the browser to another site and back: what binds the answer to the browser that asked.

It is in a cookie, encrypted with the time; nothing is stored on the server, so that beginning a sign-in costs nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Final

import msgspec

from cell_monitor_core.crypto import DecryptionError, KeyRing

__all__ = ["ROUND_TRIP_LIFETIME_S", "RoundTrip", "RoundTrips"]

ROUND_TRIP_LIFETIME_S: Final = 600
"""So long a person has for the other site's sign-in page."""


class RoundTrip(msgspec.Struct, frozen=True, array_like=True):
    """A sign-in that has begun.

    Attributes:
        begun_at: seconds since the epoch.
        state: comes back with the browser (RFC 6749, section 10.12).
        verifier: the code verifier of PKCE (RFC 7636).
        nonce: comes back within an id_token (OpenID Connect Core, section 3.1.2.1).
    """

    begun_at: int
    state: str
    verifier: str
    nonce: str = ""

    @property
    def challenge(self) -> str:
        """The code challenge for the method ``S256`` (RFC 7636, section 4.2)."""
        return base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()


class RoundTrips:
    """Begins sign-ins at one other site, and recognises those who come back.

    Args:
        keyring: encrypts what the browser keeps.
        site: name of the other site: what one site's sign-in keeps is of no use in another's.
        clock: seconds since the epoch.
    """

    def __init__(self, keyring: KeyRing, site: str, *, clock: Callable[[], float] = time.time) -> None:
        self._keyring = keyring
        self._context = f"{site}.attempt"
        self._clock = clock

    def begin(self) -> tuple[RoundTrip, str]:
        """Return a new sign-in, and what the browser keeps of it until it returns."""
        trip = RoundTrip(int(self._clock()), *(secrets.token_urlsafe(32) for _ in range(3)))
        sealed = self._keyring.encrypt(msgspec.json.encode(trip), context=self._context, row=b"")
        return trip, base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def returned(self, kept: str | None, state: str | None) -> RoundTrip | None:
        """Return the sign-in that this browser began and comes back from; None if it did not, or too long ago.

        Args:
            kept: what ``begin`` gave to this browser.
            state: of the other site's answer.
        """
        try:
            sealed = base64.urlsafe_b64decode((kept or "").encode() + b"==")
            trip = msgspec.json.decode(self._keyring.decrypt(sealed, context=self._context, row=b""), type=RoundTrip)
        except (binascii.Error, UnicodeEncodeError, DecryptionError, msgspec.DecodeError):
            return None
        is_this = hmac.compare_digest(trip.state.encode(), (state or "").encode())
        return trip if is_this and self._clock() - trip.begun_at <= ROUND_TRIP_LIFETIME_S else None
