"""Partitions of facts (months) and of payloads (weeks), both by the time at which PostgreSQL stored the event.

``ensure_event_partitions`` makes those that PostgreSQL's clock can reach in the coming weeks. It takes no argument and locks
out nobody but other makers of partitions: nothing that a client sends decides about tables or locks (docs/adr/0004).
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Final

import asyncpg

from cell_monitor_core.storage.postgres.pool import Connection, Executor

__all__ = ["delete_payloads", "ensure_event_partitions"]

_ATTEMPTS: Final = 4


async def ensure_event_partitions(executor: Executor) -> list[str]:
    """Make the partitions of the present and the next three months, and of the present and the next eight weeks.

    Safe to repeat and to run twice at once.

    Args:
        executor: a pool or connection of the owner, or of a role that may call ``ensure_event_partitions``.

    Returns:
        Names of the partitions made.

    Raises:
        asyncpg.LockNotAvailableError: something holds a table's lock for long; try again later.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return [name for (name,) in await executor.fetch("SELECT ensure_event_partitions()")]
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            if attempt == _ATTEMPTS:
                raise
            await asyncio.sleep(attempt / 2)
    raise AssertionError  # pragma: no cover - the loop returns or raises


_OVER: Final = """
SELECT c.oid::regclass::text AS name
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'event_payloads'::regclass
  AND (regexp_match(pg_get_expr(c.relpartbound, c.oid), $r$TO \\('([^']+)'\\)$r$))[1]::timestamptz <= $1
ORDER BY 1
"""


# An opaque fact's type holds the mark that no event type has (derivation.facts.opaque_type).
_CARRY_OVER: Final = """
WITH waiting AS (
    SELECT e.person_id, e.event_id FROM events e WHERE e.stored_at < $1 AND position('@' IN e.type) > 0
), facts AS (
    UPDATE events e SET stored_at = now() FROM waiting w WHERE e.person_id = w.person_id AND e.event_id = w.event_id
), payloads AS (
    UPDATE event_payloads p SET stored_at = now() FROM waiting w
    WHERE p.person_id = w.person_id AND p.event_id = w.event_id
)
UPDATE event_keys k SET stored_at = now() FROM waiting w WHERE k.person_id = w.person_id AND k.event_id = w.event_id
"""


async def delete_payloads(connection: Connection, before: datetime) -> list[str]:
    """Delete what only people read (code, outputs, tracebacks, messages) of the weeks that ended before a moment.

    Facts, counters and everything that derives from them stay as they are: ``rebuild`` finds no difference. Whole tables
    are dropped, each detached first without keeping readers or writers out. With them go the texts that pages show: those of
    runs and requests whose time is before the end of the last of these weeks. Opaque events (docs/adr/0014), which a later
    release will derive, are carried over into the present week with their payloads.

    Args:
        connection: of the schema's owner, outside of a transaction.
        before: weeks that end after it are kept whole.

    Returns:
        Names of the tables dropped.
    """
    cutoff = await connection.fetchval("SELECT date_trunc('week', $1::timestamptz, 'UTC')", before)
    names = [row["name"] for row in await connection.fetch(_OVER, cutoff)]
    async with connection.transaction():
        await connection.execute(_CARRY_OVER, cutoff)
    for name in names:
        await connection.execute(f"ALTER TABLE event_payloads DETACH PARTITION {name} CONCURRENTLY")
        await connection.execute(f"DROP TABLE {name}")
    await connection.execute(
        "UPDATE help_requests SET message_enc = NULL, error_text_enc = NULL "
        "WHERE requested_at < $1 AND (message_enc IS NOT NULL OR error_text_enc IS NOT NULL)",
        cutoff,
    )
    await connection.execute(
        # RFC 3339 in UTC with milliseconds orders as text.
        "UPDATE student_states SET error_text_enc = NULL WHERE error_text_enc IS NOT NULL "
        """AND state->'last_execution'->>'at' < to_char($1 AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')""",
        cutoff,
    )
    return names
