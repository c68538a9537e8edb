"""Sign-in of people with a link that `cell-monitor up` or `cell-monitor sign-in-link` printed."""

from __future__ import annotations

from typing import Any

import structlog

from cell_monitor_api.exceptions import NotAuthenticated, SignInLimited, SignInLinkInvalid, SignInLinkUsed
from cell_monitor_api.services.refused_sign_ins import RefusedSignIns
from cell_monitor_api.services.sessions import Sessions, SignedIn
from cell_monitor_api.services.sign_in_limits import SignInLimits
from cell_monitor_core.storage.postgres import sign_in_links
from cell_monitor_core.telemetry.metrics import SIGN_INS

__all__ = ["LinkSignIn"]

_log = structlog.get_logger(__name__)


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
            SignInLinkUsed: the link signed somebody in before, or all sign-ins of its person were ended, also meanwhile.
            SignInLinkInvalid: the link is unknown or out of date.
        """
        try:
            attempt = await self._limits.begin_link(address)
        except SignInLimited:
            SIGN_INS.labels("link", "rate_limited").inc()
            raise
        used = await sign_in_links.use(self._pool, link)
        if isinstance(used, sign_in_links.Refusal):
            await self._refuse(address)
            if used is sign_in_links.Refusal.USED:
                raise SignInLinkUsed("this link was used before: get a new one with `cell-monitor sign-in-link`")
            raise SignInLinkInvalid("this link is not valid any more: get a new one with `cell-monitor sign-in-link`")
        await self._limits.succeeded(attempt)
        try:
            signed_in = await self._sessions.begin(used.person_id, way="link", generation=used.sign_in_generation)
        except NotAuthenticated:
            await self._refuse(address)
            raise SignInLinkUsed(
                "this link was ended meanwhile: get a new one with `cell-monitor sign-in-link`"
            ) from None
        SIGN_INS.labels("link", "ok").inc()
        return signed_in

    async def _refuse(self, address: str) -> None:
        SIGN_INS.labels("link", "refused").inc()
        _log.info("sign_in_refused")
        await self._refused.add("link", address)
