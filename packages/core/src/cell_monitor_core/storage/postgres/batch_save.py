"""Saving: writes what ``derivation.reduce`` says has changed, in the transaction that stored the facts."""

from __future__ import annotations

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.derivation.reduce import Changes
from cell_monitor_core.storage.postgres import help_requests, student_states
from cell_monitor_core.storage.postgres.pool import Connection

__all__ = ["save"]


async def save(connection: Connection, keyring: KeyRing, changes: Changes) -> None:
    """Write changes; a constant number of statements."""
    if changes.requests:
        await help_requests.save_requests(connection, keyring, changes.requests)
    if changes.students or changes.cells or changes.sessions:
        await student_states.save_states(connection, keyring, changes.students, changes.cells, changes.sessions)
