"""How often somebody may try to sign in: per account and per client address.

The counts are in Redis, shared by all processes. While Redis is unavailable each process counts for itself instead of
refusing everybody: see docs/adr/0007-sign-in-limits-without-redis.md.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import structlog

from cell_monitor_api.exceptions import SignInLimited
from cell_monitor_api.storage.sign_in_attempts import SignInAttempts
from cell_monitor_core.crypto import BlindIndex
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.telemetry.metrics import RATE_LIMITED

__all__ = ["SignInLimits"]

_log = structlog.get_logger(__name__)

_MAX_LOCAL = 10_000


class _LocalAttempts:
    """The same fixed windows in this process; bounded, the oldest window goes first."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._windows: dict[tuple[str, str], tuple[int, float]] = {}

    def add(self, kind: str, digest: str, window_s: int) -> tuple[int, int]:
        now = self._clock()
        count, ends = self._windows.pop((kind, digest), (0, 0.0))
        if ends <= now:
            count, ends = 0, now + window_s
        self._windows[kind, digest] = (count + 1, ends)
        if len(self._windows) > _MAX_LOCAL:
            del self._windows[next(iter(self._windows))]
        return count + 1, max(1, int(ends - now))

    def forget(self, kind: str, digest: str) -> None:
        self._windows.pop((kind, digest), None)


class SignInLimits:
    """Counts attempts and refuses those beyond the limits.

    Args:
        attempts: the counts in Redis.
        index: makes user names and addresses unreadable in Redis.
        window_s: seconds of a window.
        per_account: attempts on one account a window.
        per_address: attempts from one address a window.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        attempts: SignInAttempts,
        index: BlindIndex,
        *,
        window_s: int,
        per_account: int,
        per_address: int,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._attempts = attempts
        self._local = _LocalAttempts(clock)
        self._index = index
        self._window_s = window_s
        self._limits = {"account": per_account, "address": per_address}

    async def count(self, username: str, address: str) -> None:
        """Count one attempt.

        An attempt that the address's limit refuses does not count for the account, so that one flooding address cannot
        by itself keep somebody's account shut for longer than the address is refused.

        Raises:
            SignInLimited: with ``Retry-After``.
        """
        await self.count_address(address)
        await self._count("account", username)

    async def count_address(self, address: str) -> None:
        """Count one attempt that names no account.

        Raises:
            SignInLimited: with ``Retry-After``.
        """
        await self._count("address", address)

    async def forget_account(self, username: str) -> None:
        """Reset the count of an account after a successful sign-in."""
        digest = self._digest("account", username)
        self._local.forget("account", digest)
        await self._attempts.forget("account", digest)

    def _digest(self, kind: str, value: str) -> str:
        return self._index.digest(f"sign_in.{kind}", value).hex()

    async def _count(self, kind: str, value: str) -> None:
        digest = self._digest(kind, value)
        try:
            count, left_s = await self._attempts.add(kind, digest, window_s=self._window_s)
        except StoreUnavailable as error:
            _log.warning("sign_in_limits_local", reason=str(error))
            count, left_s = self._local.add(kind, digest, self._window_s)
        if count > self._limits[kind]:
            RATE_LIMITED.labels(f"sign_in_{kind}").inc()
            raise SignInLimited(
                f"too many attempts to sign in {'on this account' if kind == 'account' else 'from this address'}; "
                f"try again in {left_s} seconds",
                retry_after=left_s,
            )
