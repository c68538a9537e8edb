"""Which service may do what: least privilege, in one table.

Each service signs in with a role of its own that is a member of one of these groups::

    CREATE ROLE cell_monitor_api_login LOGIN PASSWORD '…' IN ROLE cell_monitor_api;
"""

from __future__ import annotations

from typing import Final

import asyncpg

from cell_monitor_core.storage.postgres.pool import Connection

__all__ = ["API_ROLE", "GRANTS", "WORKER_ROLE", "grant_roles"]

API_ROLE: Final = "cell_monitor_api"
WORKER_ROLE: Final = "cell_monitor_worker"

_READ: Final = "SELECT"
_ADD: Final = "SELECT, INSERT"
_CHANGE: Final = "SELECT, INSERT, UPDATE"
_ALL: Final = "SELECT, INSERT, UPDATE, DELETE"

GRANTS: Final[dict[str, dict[str, str]]] = {
    API_ROLE: {
        "schema_version": _READ,
        "courses": _ALL,
        "people": _ALL,
        "local_accounts": _ALL,
        "identities": _ADD,
        "join_codes": _ALL,
        # One that may send no more stays stored, see joined_computers.
        "joined_computers": _CHANGE,
        # A removal stays stored, see memberships.
        "memberships": _CHANGE,
        "course_members": _READ,
        "course_links": "SELECT, INSERT, DELETE",
        "group_properties": _ALL,
        "group_readings": _CHANGE,
        "sign_ins": _ALL,
        "hub_sessions": _ALL,
        "revocations": _ALL,
        # Also made with these rights, by the command sign-in-link in a container of the API.
        "sign_in_links": _ALL,
        "api_keys": _ALL,
        # Facts: the API reads them, and adds what staff did about a request for help. It changes and deletes none.
        "events": _READ,
        "event_keys": _READ,
        "event_payloads": _READ,
        "executions": _READ,
        "help_actions": _ADD,
        # What the worker is to publish should the API die first.
        "help_outbox": "INSERT",
        # States: "I'm on it" changes a help request and its student's row at once.
        "student_states": _CHANGE,
        "help_requests": _CHANGE,
        "course_versions": _CHANGE,
        "cell_states": _READ,
        "session_states": _READ,
        "time_series": _READ,
        # An admin of the site replays them, which marks them.
        "failed_events": "SELECT, UPDATE (replayed_at)",
        # What was done stays as it is.
        "audit_entries": _ADD,
    },
    WORKER_ROLE: {
        "schema_version": _READ,
        "courses": _READ,
        "memberships": _READ,
        "course_members": _READ,
        # Whether a person exists, and nothing else of them.
        "people": "SELECT (person_id)",
        "event_keys": _ADD,
        "events": _ADD,
        "event_payloads": _ADD,
        "executions": _READ,
        "derivation_keys": _ADD,
        # Requests whose students have left close themselves.
        "help_actions": _ADD,
        "help_outbox": "SELECT, INSERT, DELETE",
        # All rights on states: rebuild deletes them and derives them again from the facts.
        "student_states": _ALL,
        "cell_states": _ALL,
        "session_states": _ALL,
        "help_requests": _ALL,
        "course_versions": _ALL,
        "failed_events": _ALL,
        "time_series": _ALL,
        "opaque_outbox": _ALL,
        # No names, no accounts, no keys: events carry a person's id and nothing else of them.
    },
}

_EXECUTE: Final[dict[str, tuple[str, ...]]] = {
    # Counts a refused sign-in, which changes an entry of the audit log.
    API_ROLE: ("record_refused_sign_in(uuid, bytea, text, uuid, bytea)",),
    # The one change of a fact: an opaque one becomes what its payload says. Entries of the audit log end by their age only.
    WORKER_ROLE: (
        "ensure_event_partitions()",
        "derive_opaque_facts(uuid, text, json)",
        "delete_audit_entries(integer)",
    ),
}

_CREATE = """
DO $$ BEGIN
    CREATE ROLE {role} NOLOGIN;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
END $$
"""

# The schema may hold tables of others, whose rights are not ours to revoke.
_OWN_RELATIONS = """
SELECT quote_ident(relname) AS name FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
  AND pg_has_role(relowner, 'USAGE')
"""


async def grant_roles(connection: Connection) -> list[str]:
    """Make the group roles where that is allowed, and give each exactly the rights of ``GRANTS``.

    Roles belong to the whole server: on a managed one an administrator makes them beforehand. Without them nothing is
    granted, and the services sign in as the owner.

    Returns:
        One line for each thing that an administrator should know.
    """
    said = []
    for role, tables in GRANTS.items():
        if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role):
            try:
                async with connection.transaction():
                    await connection.execute(_CREATE.format(role=role))
            except asyncpg.InsufficientPrivilegeError:
                said.append(
                    f"role {role} is missing and this login may not create it, so no rights were granted: let the services "
                    "sign in as this owner, or let an administrator create the role and migrate again"
                )
                continue
            said.append(f"created role {role}")
        schema = await connection.fetchval("SELECT quote_ident(current_schema())")
        statements = [
            f"GRANT USAGE ON SCHEMA {schema} TO {role}",
            *(f"REVOKE ALL ON {schema}.{row['name']} FROM {role}" for row in await connection.fetch(_OWN_RELATIONS)),
            *(f"GRANT {rights} ON {schema}.{table} TO {role}" for table, rights in tables.items()),
        ]
        statements += [f"GRANT EXECUTE ON FUNCTION {schema}.{name} TO {role}" for name in _EXECUTE.get(role, ())]
        async with connection.transaction():
            await connection.execute(";\n".join(statements))
    return said
