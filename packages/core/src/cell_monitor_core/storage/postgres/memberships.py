"""Who belongs to which course, as what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from cell_monitor_core.storage.postgres.pool import Executor

__all__ = ["STAFF_ROLES", "Member", "remove", "role_of", "roles_of", "roster", "upsert_many"]

STAFF_ROLES: Final = ("instructor", "assistant", "observer")


@dataclass(frozen=True, slots=True)
class Member:
    """A person in a course; ``role`` is instructor, assistant, observer or student."""

    person_id: UUID
    role: str


async def roles_of(executor: Executor, person_id: UUID) -> dict[str, str]:
    """Return course id to role for all of a person's courses, in the order of the ids."""
    rows = await executor.fetch(
        "SELECT course_id, role FROM memberships WHERE person_id = $1 ORDER BY course_id", person_id
    )
    return {row["course_id"]: row["role"] for row in rows}


async def role_of(executor: Executor, course_id: str, person_id: UUID) -> str | None:
    """Return a person's role in a course, None if it is no member."""
    role: str | None = await executor.fetchval(
        "SELECT role FROM memberships WHERE course_id = $1 AND person_id = $2", course_id, person_id
    )
    return role


async def roster(executor: Executor, course_id: str) -> list[Member]:
    """Return all members of a course, in the order of their ids."""
    rows = await executor.fetch(
        "SELECT person_id, role FROM memberships WHERE course_id = $1 ORDER BY person_id", course_id
    )
    return [Member(row["person_id"], row["role"]) for row in rows]


async def upsert_many(executor: Executor, course_id: str, roles: Mapping[UUID, str]) -> int:
    """Make people members, or change their role; return how many rows were added or changed.

    Raises:
        asyncpg.ForeignKeyViolationError: no such course or person.
        asyncpg.CheckViolationError: no such role.
    """
    # In the order of the key, so that two such statements never wait for each other.
    ordered = sorted(roles.items())
    rows = await executor.fetch(
        """
        INSERT INTO memberships (course_id, person_id, role)
        SELECT $1, person_id, role FROM unnest($2::uuid[], $3::text[]) AS new (person_id, role)
        ON CONFLICT (course_id, person_id) DO UPDATE SET role = excluded.role
        WHERE memberships.role <> excluded.role
        RETURNING person_id
        """,
        course_id,
        [person_id for person_id, _ in ordered],
        [role for _, role in ordered],
    )
    return len(rows)


async def remove(executor: Executor, course_id: str, person_id: UUID) -> bool:
    """End a membership; return False if there was none. What the person did stays stored."""
    sql = "DELETE FROM memberships WHERE course_id = $1 AND person_id = $2 RETURNING true"
    return bool(await executor.fetchval(sql, course_id, person_id))
