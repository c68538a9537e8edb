"""``cell-monitor admin audit``: the audit log."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from cell_monitor.commands.parameters import COURSE_ID, USERNAME
from cell_monitor.commands.stores import keys_of, opened, with_connection
from cell_monitor.commands.terminal import DATA_DIR_OPTION, cell, print_json
from cell_monitor_core.auth.audit import AuditAction
from cell_monitor_core.storage.postgres import audit_queries, people
from cell_monitor_core.storage.postgres.audit_queries import AuditEntry, AuditFilter, PersonInEntry
from cell_monitor_core.storage.postgres.pool import Connection
from cell_monitor_core.timestamps import to_text

__all__ = ["show_audit"]

_ACTIONS = tuple(action.value for action in AuditAction)
_ERASED = "(erased)"


@click.command(name="audit")
@click.option("--course", type=COURSE_ID, help="Only entries of this course.")
@click.option("--person", type=USERNAME, help="Only what this person did or what concerns them.")
@click.option("--action", "actions", multiple=True, type=click.Choice(_ACTIONS), help="Repeatable.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M"]), help="At this time (UTC) or later.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M"]), help="Before this time (UTC).")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line for each.")
@DATA_DIR_OPTION
def show_audit(
    *,
    course: str | None,
    person: str | None,
    actions: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    limit: int,
    as_json: bool,
    data_dir: str | None,
) -> None:
    """Print the audit log, newest first: who signed in, changed a role, made a key, opened a student's work."""

    async def work(connection: Connection) -> list[AuditEntry]:
        person_ids = None
        if person is not None:
            person_ids = [each.person_id for each in await people.search(connection, keyring, index, person)]
        wanted = AuditFilter(course, actions, person_ids, _utc(since), _utc(until))
        entries: list[AuditEntry] = []
        before = None
        while len(entries) < limit:
            most = min(limit - len(entries), audit_queries.MAX_ENTRIES)
            page = await audit_queries.page(connection, keyring, wanted, before=before, limit=most)
            entries += page.entries
            before = page.next_before
            if before is None:
                break
        return entries

    with opened(data_dir) as deployment:
        keyring, index = keys_of(deployment)
        entries = with_connection(deployment, work)
    if as_json:
        for entry in entries:
            print_json(_fields(entry))
        return
    table = Table(title=f"{len(entries):,} entries, newest first", title_justify="left")
    for heading in ("when (UTC)", "who", "what", "whom", "course", "more"):
        table.add_column(heading, overflow="fold")
    for entry in entries:
        who = entry.actor_kind if entry.actor is None else _name(entry.actor)
        whom = _name(entry.subject) if entry.subject is not None else entry.key_id
        table.add_row(
            f"{entry.acted_at:%Y-%m-%d %H:%M:%S}", *map(cell, (who, entry.action, whom, entry.course_id, _more(entry)))
        )
    Console(highlight=False).print(table)


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)


def _name(person: PersonInEntry) -> str:
    return person.username if person.username is not None else _ERASED


def _more(entry: AuditEntry) -> str:
    said = [f"{name} {value}" for name, value in sorted(entry.details.items())]
    if entry.subject is not None and entry.key_id is not None:
        said.append(f"key {entry.key_id}")
    if entry.actor_key_id is not None:
        said.append(f"with key {entry.actor_key_id}")
    if entry.address is not None:
        said.append(f"from {entry.address}")
    if entry.count > 1:
        said.append(f"{entry.count:,} times")
    return ", ".join(said)


def _fields(entry: AuditEntry) -> dict[str, Any]:
    def person(each: PersonInEntry | None) -> dict[str, str | None] | None:
        if each is None:
            return None
        person_id = None if each.person_id is None else str(each.person_id)
        return {"person_id": person_id, "username": each.username, "display_name": each.display_name}

    fields = {name: getattr(entry, name) for name in entry.__slots__}
    return fields | {
        "acted_at": to_text(entry.acted_at),
        "actor": person(entry.actor),
        "subject": person(entry.subject),
    }
