"""How often a wrong code may be tried: from one address, and for one code that is meant.

Attempts are counted before the code is compared, so that guesses made at the same time count as well, and one that was right is
taken back: a whole class behind one address gets in. What is tried at an address is counted for each code apart, and together
only where no code begins so: one student's guesses end neither another course's joining nor, once the code is renewed, their
own course's. Without Redis nobody joins; nothing that they do could be sent either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cell_monitor_api.exceptions import JoiningLimited
from cell_monitor_api.services.sign_in_limits import site_of
from cell_monitor_api.storage.sign_in_attempts import Counted, SignInAttempts
from cell_monitor_core.crypto import BlindIndex
from cell_monitor_core.telemetry.metrics import RATE_LIMITED

__all__ = ["JoinLimits"]

_ADDRESS: Final = "join_address"
_CODE: Final = "join_code"
_WHERE: Final = {_ADDRESS: "from this address", _CODE: "for this course"}
"""The words of the refusal, by kind of count, which is also the metric's label."""


class JoinLimits:
    """Counts attempts and refuses those beyond the limits.

    Args:
        attempts: the counts in Redis.
        index: makes addresses and codes unreadable in Redis.
        window_s: seconds of a window.
        per_address: wrong codes from one address a window, for each code that is open, and for all that are none.
        per_code: wrong codes a window that begin as one code does; a code that is renewed begins with another.
    """

    def __init__(
        self, attempts: SignInAttempts, index: BlindIndex, *, window_s: int, per_address: int, per_code: int
    ) -> None:
        self._attempts = attempts
        self._index = index
        self._window_s = window_s
        self._limits = {_ADDRESS: per_address, _CODE: per_code}

    async def begin(self, address: str, locator: str | None) -> Sequence[Counted]:
        """Count an attempt as a wrong code until ``succeeded``.

        Args:
            address: the client's.
            locator: first part of the code; None where no code that is open begins so.

        Returns:
            What it is counted in.

        Raises:
            JoiningLimited: with ``Retry-After``.
            RedisUnavailable: Redis is unavailable.
        """
        site = site_of(address)
        counts = (
            [self._counted(_ADDRESS, site)]
            if locator is None
            else [self._counted(_ADDRESS, f"{site} {locator}"), self._counted(_CODE, locator)]
        )
        refused = await self._attempts.reserve(counts)
        if refused is not None:
            position, left_s = refused
            kind = counts[position].kind
            RATE_LIMITED.labels(kind).inc()
            raise JoiningLimited(
                f"too many wrong codes {_WHERE[kind]}: ask the instructor for a new code, or try again in {left_s} seconds",
                retry_after=left_s,
            )
        return counts

    async def succeeded(self, counts: Sequence[Counted]) -> None:
        """Count an attempt no longer: its code was right."""
        await self._attempts.give_back(counts)

    def _counted(self, kind: str, value: str) -> Counted:
        return Counted(kind, self._index.exact(f"limit.{kind}", value).hex(), self._limits[kind], self._window_s)
