"""Hazard: after an upgrade a run that goes on is hidden, or one that ended is shown, because a row is of an older release."""

from __future__ import annotations

import json
import random
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import cell_monitor_core.storage.postgres.migrations
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.events.ids import new_event_id
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.postgres import student_queries
from cell_monitor_core.storage.postgres.facts import PostgresFactStore
from cell_monitor_core.storage.postgres.rebuild import rebuild

MIGRATION = Path(cell_monitor_core.storage.postgres.migrations.__file__).with_name("0017_open_runs.sql")
ANN = uuid.UUID(int=7)
# What the release before kept of runs that go on; without it no row of it says that one does.
OLDER = """
UPDATE student_states SET version = version + 1, fold = fold - 'open_runs', state = state || jsonb_build_object(
    'version', version + 1, 'running_since', null, 'running_notebook', null, 'running_cell', null,
    'status', CASE WHEN fold#>>'{completed,3}' = 'error' THEN 'error' WHEN fold ? 'completed' THEN 'ok' ELSE 'working' END)
WHERE fold <> '{}'
"""


class Student:
    """Sends events of several notebooks and sessions."""

    def __init__(self, person: uuid.UUID = ANN, *, days_ago: float = 0.1) -> None:
        self.person = person
        self.now = datetime.now(UTC) - timedelta(days=days_ago)
        self.numbers: dict[str, int] = {}

    def event(self, kind: str, notebook: str = "n1", *, session: str = "s1", **data: Any) -> StreamRecord:
        self.now += timedelta(seconds=1)
        number = self.numbers[session] = self.numbers.get(session, 0) + 1
        body = {
            "event_id": new_event_id(),
            "type": kind,
            "schema_version": 1,
            "occurred_at": self.now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "session_id": str(uuid.uuid5(uuid.NAMESPACE_OID, session)),
            "seq": number,
            "notebook": {"id": notebook, "path": f"{notebook}.ipynb"},
            "data": data,
        }
        if "execut" in kind:
            body["cell"] = {"id": "a", "source_id": f"cell of {notebook}", "index": 0, "type": "code"}
        raw = json.dumps(body).encode()
        return StreamRecord(self.person.bytes, "c1", int(self.now.timestamp() * 1000), raw)

    def start(self, notebook: str = "n1", *, session: str = "s1") -> tuple[str, StreamRecord]:
        run = str(uuid.uuid4())
        return run, self.event("cell_execution_started", notebook, session=session, execution_id=run)

    def end(self, run: str, notebook: str = "n1", *, session: str = "s1") -> StreamRecord:
        return self.event(
            "cell_executed", notebook, session=session, execution_id=run, status="ok", code="", outputs=[]
        )


def a_while(student: Student, chance: random.Random, *, notebooks: int, sessions: int) -> list[StreamRecord]:
    """Return runs that end, or do not, in notebooks and sessions that end now and then."""
    records: list[StreamRecord] = []
    for _ in range(120):
        notebook, session = f"n{chance.randrange(notebooks)}", f"s{chance.randrange(sessions)}"
        what = chance.random()
        if what < 0.7:
            run, started = student.start(notebook, session=session)
            records.append(started)
            if chance.random() < 0.6:
                records.append(student.end(run, notebook, session=session))
        elif what < 0.8:
            records.append(student.event("kernel_connected", notebook, session=session))
        elif what < 0.9:
            ends = {} if chance.random() < 0.5 else {"ends_runs": False}
            records.append(student.event("session_ended", notebook, session=session, reason="closed", **ends))
        else:
            student.now += timedelta(hours=chance.choice((0, 1, 30)))
    return records


async def shown(db: asyncpg.Pool, keyring: KeyRing) -> tuple[str, str | None]:
    state = await student_queries.student(db, keyring, "c1", ANN)
    assert state is not None
    return state.status, None if state.running_notebook is None else state.running_notebook.id


async def states(db: asyncpg.Pool) -> list[dict[str, Any]]:
    return [
        row["state"]
        for row in await db.fetch(
            "SELECT jsonb_strip_nulls(state - 'version') AS state FROM student_states ORDER BY person_id"
        )
    ]


@pytest.mark.parametrize("seed", range(3))
async def test_the_migration_gives_every_row_what_its_facts_say(db: Any, keyring: KeyRing, seed: int) -> None:
    chance = random.Random(seed)
    store = PostgresFactStore(db, keyring)
    for number in range(12):
        student = Student(uuid.UUID(int=number), days_ago=20)
        notebooks, sessions = (60, 40) if number % 3 == 0 else (3, 3)
        assert not (await store.apply(a_while(student, chance, notebooks=notebooks, sessions=sessions))).failed
    assert (await rebuild(db, keyring, check=True)).differences == []
    before = await states(db)
    assert {state["status"] for state in before} >= {"running", "ok"}
    await db.execute(OLDER)
    assert (await rebuild(db, keyring, check=True)).difference_count > 0
    await db.execute(MIGRATION.read_text(encoding="utf-8"))
    assert (await rebuild(db, keyring, check=True)).differences == []
    assert await states(db) == before


async def test_a_row_that_an_older_worker_writes_after_the_migration_is_folded_again(db: Any, keyring: KeyRing) -> None:
    ann = Student()
    store = PostgresFactStore(db, keyring)
    long_run, started = ann.start("n1")
    quick, also = ann.start("n2", session="s2")
    await store.apply([started, also, ann.end(quick, "n2", session="s2")])
    assert await shown(db, keyring) == ("running", "n1")
    await db.execute(OLDER)
    assert await shown(db, keyring) == ("ok", None)
    assert not (await store.apply([ann.event("notebook_saved", "n2", session="s2", manual=True)])).failed
    assert await shown(db, keyring) == ("running", "n1")
    assert (await rebuild(db, keyring, check=True)).differences == []
    await store.apply([ann.end(long_run, "n1")])
    assert await shown(db, keyring) == ("ok", None)
