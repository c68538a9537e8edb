"""Refused sign-ins in the audit log: one entry for each account and address in 15 minutes, with a count."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, Final
from uuid import UUID

from cell_monitor_api.services.sign_in_limits import site_of
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.storage.postgres import audit
from cell_monitor_core.storage.postgres.pool import store_errors

__all__ = ["RefusedSignIns"]

_MAX_A_MINUTE: Final = 600
"""Entries and counts of one process a minute: refusals that cost the sender nothing must not keep the database busy."""


class RefusedSignIns:
    """Enters refused sign-ins; those that a limit refuses unchecked, and those beyond 600 a minute, are in metrics only.

    Args:
        pool: PostgreSQL.
        keyring: encrypts addresses.
        index: makes accounts and addresses unreadable.
        clock: seconds, monotonic.
    """

    def __init__(
        self, pool: Any, keyring: KeyRing, index: BlindIndex, *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._pool = pool
        self._keyring = keyring
        self._index = index
        self._clock = clock
        self._minute = 0
        self._added = 0

    async def add(self, way: str, address: str, person_id: UUID | None = None) -> None:
        """Enter or count one.

        Args:
            way: ``password``, ``link`` and so on.
            address: the client's.
            person_id: whose account it was, where there is one.

        Raises:
            StoreUnavailable: PostgreSQL is.
        """
        minute = int(self._clock() // 60)
        if minute != self._minute:
            self._minute, self._added = minute, 0
        if self._added >= _MAX_A_MINUTE:
            return
        self._added += 1
        with store_errors():
            await audit.record_refused_sign_in(
                self._pool, self._keyring, self._index, way=way, address=site_of(address), person_id=person_id
            )
