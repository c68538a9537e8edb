"""How often somebody may fail to sign in: on an account, from an address, from a browser that signed in before.

An attempt counts as failed from its beginning, so that attempts made at the same time cannot exceed a limit, and no longer
once it has succeeded. The counts are in Redis, shared by all processes. While Redis is unavailable each process counts for
itself instead of refusing everybody: see docs/adr/0007-sign-in-limits-without-redis.md.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Final

import structlog

from cell_monitor_api.exceptions import SignInLimited
from cell_monitor_api.storage.sign_in_attempts import Counted, SignInAttempts
from cell_monitor_core.crypto import BlindIndex
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.telemetry.metrics import RATE_LIMITED

__all__ = ["Attempt", "SignInLimits", "site_of"]

_log = structlog.get_logger(__name__)

_MAX_LOCAL: Final = 10_000
_HOUR_S: Final = 3600
_IPV6_SITE_BITS: Final = 64
"""What one site, often one machine, has at least (RFC 6177): it could use another address for each attempt."""
_LIMITED: Final = {
    "address": ("sign_in_address", "from this address"),
    "link": ("sign_in_address", "from this address"),
    "pair": ("sign_in_account", "on this account"),
    "account": ("sign_in_account", "on this account"),
    "device": ("sign_in_device", "with this browser"),
}
"""The metric's label and the words of the refusal, by kind of count."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What an attempt is counted in, which of these counts a success ends, and whether only this process counted it."""

    counts: tuple[Counted, ...]
    ended: Counted | None = None
    here_only: bool = False


class _LocalAttempts:
    """The same fixed windows in this process; bounded, the oldest window goes first."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._windows: dict[tuple[str, str], tuple[int, float]] = {}

    def reserve(self, counts: Sequence[Counted]) -> tuple[int, int] | None:
        now = self._clock()
        current = []
        for position, one in enumerate(counts):
            count, ends = self._windows.get((one.kind, one.digest), (0, 0.0))
            if ends <= now:
                count, ends = 0, now + one.window_s
            if count >= one.limit:
                return position, max(1, int(ends - now))
            current.append((count + 1, ends))
        for one, window in zip(counts, current, strict=True):
            self._windows.pop((one.kind, one.digest), None)
            self._windows[one.kind, one.digest] = window
        while len(self._windows) > _MAX_LOCAL:
            del self._windows[next(iter(self._windows))]
        return None

    def give_back(self, counts: Sequence[Counted]) -> None:
        for one in counts:
            count, ends = self._windows.get((one.kind, one.digest), (0, 0.0))
            if count > 0:
                self._windows[one.kind, one.digest] = (count - 1, ends)

    def forget(self, one: Counted) -> None:
        self._windows.pop((one.kind, one.digest), None)


class SignInLimits:
    """Counts failures and refuses attempts beyond the limits.

    Args:
        attempts: the counts in Redis.
        index: makes user names and addresses unreadable in Redis.
        window_s: seconds of a window.
        per_account: failures on one account from one address, or with one browser that signed in before, a window.
        per_account_hour: failures on one account an hour, from all addresses.
        per_address: failures from one address a window, on all accounts.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        attempts: SignInAttempts,
        index: BlindIndex,
        *,
        window_s: int,
        per_account: int,
        per_account_hour: int,
        per_address: int,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._attempts = attempts
        self._local = _LocalAttempts(clock)
        self._index = index
        self._window_s = window_s
        self._per_account = per_account
        self._per_account_hour = per_account_hour
        self._per_address = per_address

    async def begin(self, username: str, address: str, device: str | None) -> Attempt:
        """Begin an attempt with a password.

        A browser in which the account's person signed in before has a count of its own: neither failures of others behind
        the same address nor those of others on this account keep it out (OWASP, "Slow Down Online Guessing Attacks with
        Device Cookies"). Of others the failures count on the account from this address, on the account from everywhere,
        and from the address. An attempt that one of these refuses counts in none.

        Args:
            username: as typed, also of no account: the answers are the same.
            address: the client's.
            device: id of the browser, where the person of this account signed in there before.

        Raises:
            SignInLimited: with ``Retry-After``.
        """
        if device is not None:
            own = self._counted("device", device, self._per_account)
            return await self._begin(Attempt((own,), ended=own))
        site = site_of(address)
        pair = Counted("pair", self._pair(username, site), self._per_account, self._window_s)
        account = Counted("account", self._digest("account", username), self._per_account_hour, _HOUR_S)
        return await self._begin(
            Attempt((self._counted("address", site, self._per_address), pair, account), ended=pair)
        )

    async def begin_link(self, address: str) -> Attempt:
        """Begin an attempt with a link, which names no account and is not guessed: the limit bounds the work.

        Raises:
            SignInLimited: with ``Retry-After``.
        """
        return await self._begin(Attempt((self._counted("link", site_of(address), self._per_address),)))

    async def succeeded(self, attempt: Attempt) -> None:
        """Count an attempt no longer, and end the failures before it of the same person in the same place."""
        if attempt.here_only:
            self._local.give_back(attempt.counts)
        else:
            await self._attempts.give_back(attempt.counts)
        if attempt.ended is not None:
            self._local.forget(attempt.ended)
            await self._attempts.forget(attempt.ended)

    async def _begin(self, attempt: Attempt) -> Attempt:
        try:
            refused = await self._attempts.reserve(attempt.counts)
        except StoreUnavailable as error:
            _log.warning("sign_in_limits_local", reason=str(error))
            refused = self._local.reserve(attempt.counts)
            attempt = replace(attempt, here_only=True)
        if refused is not None:
            position, left_s = refused
            label, where = _LIMITED[attempt.counts[position].kind]
            RATE_LIMITED.labels(label).inc()
            raise SignInLimited(
                f"too many failed attempts to sign in {where}; try again in {left_s} seconds", retry_after=left_s
            )
        return attempt

    def _counted(self, kind: str, value: str, limit: int) -> Counted:
        return Counted(kind, self._digest(kind, value), limit, self._window_s)

    def _pair(self, username: str, site: str) -> str:
        # Names are folded as a sign-in finds them, so that each spelling of a name has the same count.
        return self._index.exact("sign_in.pair", self._digest("account", username), site).hex()

    def _digest(self, kind: str, value: str) -> str:
        return self._index.digest(f"sign_in.{kind}", value).hex()


def site_of(address: str) -> str:
    """Return what addresses of one client have in common: an IPv4 address, or the network of an IPv6 one."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, _IPV6_SITE_BITS), strict=False))
    return str(parsed)
