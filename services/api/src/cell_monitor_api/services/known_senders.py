"""Senders whose credential PostgreSQL confirmed lately: while it does not answer, their tokens are renewed by that answer.

Nobody sends for longer than they may. What ends a sender's rights here is committed in PostgreSQL and delivered over Redis
within seconds (docs/adr/0024). As long as the delivery works, also while tables of people are locked, an ended sender is
forgotten with the delivery. While it does not work, no token outlives the ten minutes that it would have lived anyway since the last
confirmation. See docs/adr/0029.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from time import monotonic
from typing import Final

from cell_monitor_api.services.credentials import Proof, TokenWish, Word
from cell_monitor_core.auth.revocations import RevocationList
from cell_monitor_core.auth.tokens import MAX_LIFETIME_S

__all__ = ["KnownSenders", "Standing"]

_MAX_KEPT: Final = 20_000
_KEPT_S: Final = 4 * 3600.0
"""A lesson, and the one after it."""
_CURRENT_S: Final = 10.0
"""So long ago the last delivery and the last look at what was delivered may be."""
_GAP_S: Final = 300.0
"""Less than revocations are kept: after a longer time without a look some may have been missed."""
_LIFETIME_S: Final = 60
"""Of a token that is renewed in this way: then PostgreSQL is asked again."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a token states, as PostgreSQL confirmed it.

    Attributes:
        proof: what the credential proves.
        roles: by course.
        generation: of the person's rights, read not later than they.
        word: what others said of the credential at that time.
    """

    proof: Proof
    roles: Mapping[str, str]
    generation: int
    word: Word


class KnownSenders:
    """Keeps what was confirmed, by a hash of the credential with a key of this process.

    Args:
        revoked: what ended before its time, as this process knows it.
        delivered_at: when everything that was committed was last delivered, by ``clock``.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        revoked: RevocationList,
        delivered_at: Callable[[], float],
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._revoked = revoked
        self._seen = revoked.version
        self._delivered_at = delivered_at
        self._clock = clock
        self._looked_at = float("-inf")
        self._key = secrets.token_bytes(32)
        self._kept: OrderedDict[bytes, tuple[Standing, float]] = OrderedDict()

    def name(self, scheme: str, credential: str, wish: TokenWish) -> bytes:
        """Return under what the holder of a credential, with a wish, is kept."""
        parts = (scheme.lower(), credential, wish.audience, wish.act_as or "", repr(wish.server))
        return hmac.digest(self._key, "\0".join(parts).encode(), sha256().name)

    def remember(self, name: bytes, standing: Standing, asked_at: float) -> None:
        """Keep what was confirmed when PostgreSQL was asked at ``asked_at``."""
        self._kept[name] = (standing, asked_at)
        self._kept.move_to_end(name)
        if len(self._kept) > _MAX_KEPT:
            self._kept.popitem(last=False)

    def forget(self, name: bytes) -> None:
        """Forget what was confirmed: it was refused since."""
        self._kept.pop(name, None)

    def looked(self) -> None:
        """Forget each sender who was revoked; to be called after each successful look at the revocations."""
        now = self._clock()
        if now - self._looked_at > _GAP_S:
            self._kept.clear()
        self._looked_at = now
        if self._seen != self._revoked.version:
            self._seen = self._revoked.version
            for name, (standing, _) in list(self._kept.items()):
                if self._covers(standing):
                    del self._kept[name]

    def find(self, name: bytes) -> tuple[Standing, int] | None:
        """Return what was confirmed and the seconds for which a token may state it; None where nothing may be stated."""
        kept = self._kept.get(name)
        now = self._clock()
        if kept is None or now - self._looked_at > _CURRENT_S:
            return None
        standing, asked_at = kept
        expires_at = standing.proof.expires_at
        if self._covers(standing) or (expires_at is not None and expires_at <= datetime.now(UTC)):
            return None
        age = now - asked_at
        if now - self._delivered_at() > _CURRENT_S:
            left = int(MAX_LIFETIME_S - age)
        else:
            left = _LIFETIME_S if age <= _KEPT_S else 0
        return (standing, min(left, _LIFETIME_S)) if left > 0 else None

    def _covers(self, standing: Standing) -> bool:
        proof = standing.proof
        return self._revoked.covers(str(proof.subject), standing.generation, proof.credential)
