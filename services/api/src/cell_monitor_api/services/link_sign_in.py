"""Sign-in of people with a link that `cell-monitor up` or `cell-monitor sign-in-link` printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import structlog

from cell_monitor_api.exceptions import (
    NotAuthenticated,
    SignInLimited,
    SignInLinkEnded,
    SignInLinkEndedByChange,
    SignInLinkEndedByReset,
    SignInLinkEndedBySignOut,
    SignInLinkInvalid,
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

_ANOTHER: Final = "get a new one with `cell-monitor sign-in-link`"
_ENDED: Final[Mapping[EndedBy | None, tuple[type[SignInLinkEnded], str]]] = {
    EndedBy.PASSWORD_CHANGED: (SignInLinkEndedByChange, "by a change of the password"),
    EndedBy.PASSWORD_RESET: (SignInLinkEndedByReset, "by a reset of the password, which printed a newer link"),
    EndedBy.SIGNED_OUT_EVERYWHERE: (SignInLinkEndedBySignOut, "by signing out everywhere"),
    None: (SignInLinkEnded, "by a change or a reset of the password or by signing out everywhere"),
}


class LinkSignIn:
    """Exchanges links for sessions, each once."""

    def __init__(self, pool: Any, limits: SignInLimits, sessions: Sessions, refused: RefusedSignIns) -> None:
        self._pool = pool
        self._limits = limits
        self._sessions = sessions
        self._refused = refused

    async def sign_in(self, link: str, address: str) -> SignedIn:
        """Use a link and begin a session of its person.

        Raises:
            SignInLimited: too many attempts from this address.
            SignInLinkUsed: the link signed somebody in before.
            SignInLinkEnded: all unused links of its person were ended, also meanwhile.
            SignInLinkInvalid: the link is unknown or out of date.
        """
        try:
            attempt = await self._limits.begin_link(address)
        except SignInLimited:
            SIGN_INS.labels("link", "rate_limited").inc()
            raise
        used = await sign_in_links.use(self._pool, link)
        if isinstance(used, RefusedLink):
            await self._refuse(address, used.person_id)
            raise _refusal(used)
        await self._limits.succeeded(attempt)
        try:
            signed_in = await self._sessions.begin(used.person_id, way="link", generation=used.sign_in_generation)
        except NotAuthenticated:
            await sign_in_links.end_of_use(self._pool, link)
            await self._refuse(address, used.person_id)
            raise _refusal(RefusedLink(Refusal.ENDED)) from None
        SIGN_INS.labels("link", "ok").inc()
        return signed_in

    async def _refuse(self, address: str, person_id: UUID | None) -> None:
        SIGN_INS.labels("link", "refused").inc()
        _log.info("sign_in_refused")
        await self._refused.add("link", address, person_id)


def _refusal(link: RefusedLink) -> ClientRequestError:
    if link.why is Refusal.USED:
        return SignInLinkUsed(f"this link signed somebody in before: {_ANOTHER}")
    if link.why is Refusal.ENDED:
        error, by = _ENDED[link.ended_by]
        return error(f"this link was ended before anybody used it, {by}: {_ANOTHER}")
    return SignInLinkInvalid(f"this link is not valid any more: {_ANOTHER}")
