"""Hazard: one notebook has two names at one moment, in two lists or in two rows of one, after it was renamed."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import pytest

import cell_monitor_core.storage.postgres.migrations
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.derivation import Thresholds
from cell_monitor_core.derivation.notebook_names import NotebookAt, called
from cell_monitor_core.events.ids import new_event_id
from cell_monitor_core.publications import NotebookRef
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.postgres import cell_queries, help_actions, help_outbox, help_queries, student_queries
from cell_monitor_core.storage.postgres.facts import PostgresFactStore
from cell_monitor_core.storage.postgres.rebuild import rebuild

MIGRATION = Path(cell_monitor_core.storage.postgres.migrations.__file__).with_name("0026_notebook_names.sql")
ANN, BOB, CAT = (uuid.UUID(int=number) for number in (7, 8, 9))
# The release before knew renamed notebooks alone, and showed each fact with the name that it came with.
OLDER = """
UPDATE student_states SET version = version + 1, fold = fold - 'notebook_names', state = state || jsonb_build_object(
    'version', version + 1, 'last_execution', (state->'last_execution') || jsonb_build_object(
        'notebook', jsonb_build_object('id', 'n', 'path', 'old.ipynb', 'title', null)))
WHERE fold <> '{}'
"""
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"


class Student:
    """Works in one notebook, which has the name ``path``."""

    def __init__(self, person: uuid.UUID = ANN) -> None:
        self.person = person
        self.path = "old.ipynb"
        self.now = datetime.now(UTC) - timedelta(hours=1)
        self.number = 0

    def event(self, kind: str, cell: str | None = None, **data: Any) -> StreamRecord:
        self.now += timedelta(seconds=1)
        self.number += 1
        body: dict[str, Any] = {
            "event_id": new_event_id(),
            "type": kind,
            "schema_version": 1,
            "occurred_at": self.now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "session_id": str(self.person),
            "seq": self.number,
            "notebook": {"id": "n", "path": self.path},
            "data": data,
        }
        if cell is not None:
            body["cell"] = {"id": cell, "source_id": cell, "index": ord(cell) - ord("a"), "type": "code"}
        raw = json.dumps(body).encode()
        return StreamRecord(self.person.bytes, "c1", int(self.now.timestamp() * 1000), raw)

    def run(self, cell: str) -> list[StreamRecord]:
        execution = str(uuid.uuid4())
        error = {"name": "KeyError", "value": "", "traceback": ""}
        end = {"execution_id": execution, "status": "error", "code": "", "outputs": [], "error": error}
        return [
            self.event("cell_execution_started", cell, execution_id=execution),
            self.event("cell_executed", cell, **end),
        ]

    def rename(self, how: str, path: str = "new.ipynb") -> StreamRecord:
        self.path = path
        return self.event(how, **({"cells": []} if how == "notebook_opened" else {}))


async def apply(db: Pool, keyring: KeyRing, records: list[StreamRecord]) -> Any:
    result = await PostgresFactStore(db, keyring).apply(records)
    assert not result.failed
    return result


async def names(db: Pool, keyring: KeyRing) -> dict[str, set[str]]:
    """Return the names of Ann's notebook in each list that staff see."""
    state = await student_queries.student(db, keyring, "c1", ANN)
    assert state is not None
    assert state.last_execution is not None
    runs = await student_queries.student_runs(db, keyring, "c1", ANN)
    requests = await help_queries.list_of_student(db, keyring, "c1", ANN)
    course = await cell_queries.course_cells(db, "c1", thresholds=Thresholds(), now=datetime.now(UTC))
    found = {
        "row": [state.notebook, state.last_execution.notebook],
        "cells": [cell.notebook for cell in await cell_queries.student_cells(db, "c1", ANN)],
        "runs": [run.notebook for run in runs.runs],
        "requests": [place for each in requests for place in (each.notebook, each.error_notebook)],
        "class": [cell.notebook for cell in course],
    }
    return {place: {ref.path for ref in refs if ref is not None} for place, refs in found.items()}


def test_a_sender_that_leaves_the_title_out_does_not_remove_it() -> None:
    titled, other = NotebookRef("n", "old.ipynb", "Exercises"), NotebookRef("n", "new.ipynb", "Exercises")
    known = {"n": NotebookAt((1, 1, "a"), NotebookRef("n", "old.ipynb"))}
    assert called(known, titled) == titled
    assert called(known, other) == NotebookRef("n", "old.ipynb")


@pytest.mark.parametrize("how", ["notebook_renamed", "notebook_opened"])
async def test_every_list_has_the_newest_name(db: Pool, keyring: KeyRing, how: str) -> None:
    ann = Student()
    await apply(db, keyring, [*ann.run("a"), *ann.run("b"), ann.event("help_requested")])
    assert set(map(frozenset, (await names(db, keyring)).values())) == {frozenset({"old.ipynb"})}
    await apply(db, keyring, [ann.rename(how), *ann.run("b"), *ann.run("c")])
    found = await names(db, keyring)
    assert found == {place: {"new.ipynb"} for place in found}
    assert (await rebuild(db, keyring, check=True)).differences == []


async def test_a_dashboard_that_is_open_has_the_new_name_of_a_request(db: Pool, keyring: KeyRing) -> None:
    ann = Student()
    asked = await apply(db, keyring, [*ann.run("a"), ann.event("help_requested")])
    ((before,),) = asked.help.values()
    renamed = ann.rename("notebook_renamed")
    # The worker that stored it first may have been killed before it published.
    for _ in range(2):
        published = await apply(db, keyring, [renamed])
        ((now,),) = published.help.values()
        assert now.version > before.version
        assert now.notebook is not None
        assert now.error_notebook is not None
        assert (now.notebook.path, now.error_notebook.path) == ("new.ipynb", "new.ipynb")
    # What changes no name publishes no request.
    assert not (await apply(db, keyring, ann.run("b"))).help
    request_id = uuid.UUID(now.request_id)
    claimed, _ = await help_actions.apply_help_action(
        db, keyring, course_id="c1", request_id=request_id, action="claim", person_id=BOB
    )
    (untold,) = await help_outbox.read(db, keyring, limit=9)
    for state in (claimed, *untold.help):
        assert state.notebook is not None
        assert state.notebook.path == "new.ipynb"
    assert (await rebuild(db, keyring, check=True)).differences == []


async def test_one_students_new_name_is_not_the_classes(db: Pool, keyring: KeyRing) -> None:
    for person in (ANN, BOB, CAT):
        student = Student(person)
        await apply(db, keyring, [*student.run("a"), *student.run("b")])
        if person is ANN:
            await apply(db, keyring, [student.rename("notebook_renamed"), *student.run("b")])
    assert (await names(db, keyring))["class"] == {"old.ipynb"}


async def test_rows_of_the_release_before_get_the_names_that_their_facts_say(db: Pool, keyring: KeyRing) -> None:
    students = [Student(uuid.UUID(int=number)) for number in range(4)]
    for number, student in enumerate(students):
        records = student.run("a")
        if number:
            records.append(student.rename("notebook_opened" if number == 1 else "notebook_renamed"))
        await apply(db, keyring, [*records, student.event("notebook_saved", manual=True), student.event("heartbeat",
            queued=0, dropped=0, visible=True)])  # fmt: skip
    before = await db.fetch("SELECT fold, state - 'version' AS state FROM student_states ORDER BY person_id")
    assert (await rebuild(db, keyring, check=True)).differences == []
    await db.execute(OLDER)
    assert (await rebuild(db, keyring, check=True)).difference_count > 0
    await db.execute(MIGRATION.read_text(encoding="utf-8"))
    assert (await rebuild(db, keyring, check=True)).differences == []
    assert await db.fetch("SELECT fold, state - 'version' AS state FROM student_states ORDER BY person_id") == before
    # An older worker that still runs leaves the names out.
    await db.execute(OLDER)
    await apply(db, keyring, [student.event("cell_selected", "a") for student in students])
    assert (await rebuild(db, keyring, check=True)).differences == []
