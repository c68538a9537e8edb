"""Sign-in of people with a link that `cell-monitor up` or `cell-monitor sign-in-link` printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import structlog

from cell_monitor_api.exceptions import (
    NotAuthenticated,
    SignInLimited,
    SignInLinkEnded,
    SignInLinkEndedByChange,
    SignInLinkEndedByReset,
    SignInLinkEndedBySignOut,
    SignInLinkExpired,
    SignInLinkInvalid,
    SignInLinkOfAnother,
    SignInLinkUsed,
)
from cell_monitor_api.services.refused_sign_ins import RefusedSignIns
from cell_monitor_api.services.sessions import Sessions, SignedIn
from cell_monitor_api.services.sign_in_limits import SignInLimits
from cell_monitor_core.storage.postgres import sign_in_links
from cell_monitor_core.storage.postgres.sign_in_links import EndedBy, Refusal, RefusedLink
from cell_monitor_core.telemetry.metrics import SIGN_INS
from cell_monitor_core.web.errors import ClientRequestError

__all__ = ["LinkSignIn"]

_log = structlog.get_logger(__name__)

_ANOTHER: Final = "get a new one with `cell-monitor sign-in-link USERNAME`"
_ENDED: Final[Mapping[EndedBy | None, tuple[type[SignInLinkEnded], str]]] = {
    EndedBy.PASSWORD_CHANGED: (SignInLinkEndedByChange, "by a change of the password"),
    EndedBy.PASSWORD_RESET: (SignInLinkEndedByReset, "by a reset of the password, which printed a newer link"),
    EndedBy.SIGNED_OUT_EVERYWHERE: (SignInLinkEndedBySignOut, "by signing out everywhere"),
    None: (SignInLinkEnded, "by a change or a reset of the password or by signing out everywhere"),
}
_WAYS: Final[Mapping[Refusal, str]] = {
    Refusal.USED: "link_used",
    Refusal.ENDED: "link_ended",
    Refusal.EXPIRED: "link_expired",
    Refusal.INVALID: "link",
}
"""How the audit log tells refused links apart."""


class LinkSignIn:
    """Exchanges links for sessions, each once."""

    def __init__(self, pool: Any, limits: SignInLimits, sessions: Sessions, refused: RefusedSignIns) -> None:
        self._pool = pool
        self._limits = limits
        self._sessions = sessions
        self._refused = refused

    async def sign_in(self, link: str, address: str, present: str | None = None) -> SignedIn:
        """Use a link and begin a session of its person.

        Args:
            link: its text.
            address: the client's.
            present: the browser's sign-in cookie. A link that somebody sent must not make this browser another
                person's: what its person then does would be done in that name.

        Raises:
            SignInLinkOfAnother: the browser is signed in as another person; the link stays as it is.
            SignInLimited: too many attempts from this address.
            SignInLinkUsed: the link signed somebody in before.
            SignInLinkEnded: all unused links of its person were ended, also meanwhile.
            SignInLinkExpired: nobody used the link in time.
            SignInLinkInvalid: the link is unknown, or over for long.
        """
        try:
            attempt = await self._limits.begin_link(address)
        except SignInLimited:
            SIGN_INS.labels("link", "rate_limited").inc()
            raise
        used = await sign_in_links.use(self._pool, link, only=await self._sessions.person_of(present))
        if isinstance(used, RefusedLink):
            if used.why is Refusal.OF_ANOTHER:
                await self._limits.succeeded(attempt)
                raise SignInLinkOfAnother("this browser is signed in as another person: sign out first")
            raise await self._refuse(address, used)
        await self._limits.succeeded(attempt)
        try:
            signed_in = await self._sessions.begin(used.person_id, way="link", generation=used.sign_in_generation)
        except NotAuthenticated:
            await sign_in_links.end_of_use(self._pool, link)
            raise await self._refuse(address, RefusedLink(Refusal.ENDED, None, used.person_id)) from None
        SIGN_INS.labels("link", "ok").inc()
        return signed_in

    async def _refuse(self, address: str, link: RefusedLink) -> ClientRequestError:
        """Count and enter a refused link; return the answer."""
        SIGN_INS.labels("link", "refused").inc()
        _log.info("sign_in_refused")
        await self._refused.add(_WAYS[link.why], address, link.person_id)
        return _refusal(link)


def _refusal(link: RefusedLink) -> ClientRequestError:
    if link.why is Refusal.USED:
        return SignInLinkUsed(f"this link signed somebody in before: {_ANOTHER}")
    if link.why is Refusal.ENDED:
        error, by = _ENDED[link.ended_by]
        return error(f"this link was ended before anybody used it, {by}: {_ANOTHER}")
    if link.why is Refusal.EXPIRED:
        return SignInLinkExpired(f"nobody used this link in time: {_ANOTHER}")
    return SignInLinkInvalid(f"this link is not valid any more: {_ANOTHER}")
