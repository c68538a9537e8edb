"""What the dashboard reads is what the worker stored, together with a position from which nothing is missed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from cell_monitor_core.channels import course_channel
from cell_monitor_core.derivation.help import help_request_id
from cell_monitor_core.storage.ports import Draft, TimeSeriesPoint
from cell_monitor_core.storage.postgres import student_queries
from cell_monitor_core.storage.postgres.time_series import PostgresTimeSeries

COURSE = "/api/v1/courses/c1"


def fault(answer):
    return answer.status_code, answer.json()["detail"][0]["type"]


@pytest.fixture
async def busy(site, make_event):
    """A course in which Ann failed twice and asked for help, and Tim has done nothing."""
    await site.course("c1", ivy="instructor", ann="student", tim="student")
    await site.course("c2", ann="student")
    session = str(uuid4())
    events = [
        make_event(
            "cell_executed",
            session_id=session,
            seq=number,
            data={
                "execution_id": str(uuid4()),
                "execution_count": number,
                "status": "error",
                "duration_ms": 10 * number,
                "code": "1/0",
                "outputs": [{"type": "stream", "name": "stdout", "text": "hello", "size": 5}],
                "error": {"name": "ZeroDivisionError", "value": "division by zero", "traceback": "Traceback"},
            },
        )
        for number in (1, 2)
    ]
    help_event = make_event("help_requested", session_id=session, seq=3)
    await site.store("ann", "c1", *events, help_event)
    await site.store("ann", "c2", make_event("cell_executed", session_id=str(uuid4())))
    site.help_id = str(help_request_id(site.ids["ann"], UUID(help_event["event_id"])))
    site.runs = [event["event_id"] for event in events]
    site.headers = site.bearer("ivy")
    return site


async def get(site, path, **params):
    return await site.client.get(f"{COURSE}{path}", headers=site.headers, params=params)


async def test_the_snapshot_holds_all_that_the_page_shows(busy):
    answer = await get(busy, "/state")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    snapshot = answer.json()
    assert snapshot.keys() == {"course", "epoch", "offset", "generated_at", "students", "staff", "help", "counters"}
    assert snapshot["course"] == {
        "course_id": "c1",
        "title": "Course c1",
        "thresholds": {"stuck_errors": 3, "kernel_deaths": 3, "long_run_s": 180, "idle_s": 480, "offline_s": 60},
    }
    students = {student["username"]: student for student in snapshot["students"]}
    assert students.keys() == {"ann", "tim"}
    ann = students["ann"]
    assert ann["display_name"] == "Ann Doe"
    assert (ann["status"], ann["runs"], ann["errors"], ann["error_streak"]) == ("error", 2, 2, 2)
    assert ann["streak_error"] == "ZeroDivisionError"
    assert ann["help"]["request_id"] == busy.help_id
    assert (students["tim"]["status"], students["tim"]["runs"]) == ("waiting", 0)
    assert snapshot["staff"] == [
        {"person_id": str(busy.ids["ivy"]), "display_name": "Ivy Doe", "role": "instructor", "username": "ivy"}
    ]
    [request] = snapshot["help"]
    assert (request["request_id"], request["status"], request["message"]) == (busy.help_id, "open", "I am lost")
    counters = snapshot["counters"]
    assert (counters["students"], counters["started"], counters["runs"], counters["errors"], counters["help_open"]) == (
        2, 1, 2, 2, 1,
    )  # fmt: skip
    assert datetime.fromisoformat(snapshot["generated_at"]).tzinfo is not None


async def test_nothing_published_while_the_snapshot_is_read_is_missed(busy, monkeypatch):
    broker = busy.process.broker
    channel = course_channel("c1")
    await broker.position(channel)
    read = student_queries.course_students

    async def read_then_publish(*arguments):
        states = await read(*arguments)
        # Too late for this snapshot: a subscription from its position must get it.
        await broker.publish(channel, [Draft("student", "late", 1, b'{"student_id":"late"}')])
        return states

    monkeypatch.setattr(student_queries, "course_students", read_then_publish)
    snapshot = (await get(busy, "/state")).json()
    recovery = await broker.recover(channel, snapshot["epoch"], snapshot["offset"], limit=100)
    assert recovery.recovered
    assert [bytes(publication.state) for publication in recovery.publications] == [b'{"student_id":"late"}']


async def test_one_student_in_full(busy):
    student_id = str(busy.ids["ann"])
    detail = (await get(busy, f"/students/{student_id}")).json()
    assert detail["student"]["username"] == "ann"
    [cell] = detail["cells"]
    assert cell["cell"]["source_id"] == "exercise-1"
    assert (cell["runs"], cell["errors"], cell["aborted"], cell["last_status"], cell["error_streak"]) == (
        2, 2, 0, "error", 2,
    )  # fmt: skip
    assert [request["request_id"] for request in detail["help"]] == [busy.help_id]
    assert [student["username"] for student in (await get(busy, "/students")).json()["students"]].count("ann") == 1
    [course_cell] = (await get(busy, "/cells")).json()["cells"]
    assert (course_cell["students"], course_cell["runs"], course_cell["students_ok"]) == (1, 2, 0)
    assert course_cell["median_duration_ms"] == 15


async def test_runs_come_in_pages_newest_first(busy):
    url = f"/students/{busy.ids['ann']}/runs"
    first = (await get(busy, url, limit=1)).json()
    [run] = first["runs"]
    assert run["event_id"] == busy.runs[1]
    assert run["code"] == "1/0"
    assert run["outputs"][0]["text"] == "hello"
    assert run["error"]["name"] == "ZeroDivisionError"
    second = (await get(busy, url, limit=1, before=first["next_before"])).json()
    assert [run["event_id"] for run in second["runs"]] == [busy.runs[0]]
    assert second["next_before"] is None


async def test_an_error_that_the_author_allows_counts_nowhere_and_is_shown_with_its_run(busy, make_event):
    allowed = {
        "execution_id": str(uuid4()),
        "status": "error",
        "error_expected": True,
        "code": "1/0",
        "outputs": [],
        "error": {"name": "ZeroDivisionError", "value": "division by zero", "traceback": "Traceback"},
    }
    await busy.store("ann", "c1", make_event("cell_executed", session_id=str(uuid4()), data=allowed))
    ann = f"/students/{busy.ids['ann']}"
    [run] = (await get(busy, f"{ann}/runs", limit=1)).json()["runs"]
    assert (run["status"], run["error_expected"], run["error"]["name"]) == ("ok", True, "ZeroDivisionError")
    student = (await get(busy, ann)).json()["student"]
    assert (student["status"], student["errors"], student["error_streak"]) == ("ok", 2, 0)


async def test_wrong_questions_get_clear_answers(busy):
    runs = f"/students/{busy.ids['ann']}/runs"
    for path, params in (
        (runs, {"before": "nonsense"}),
        (runs, {"before": "x" * 200}),
        (runs, {"limit": 0}),
        (runs, {"limit": 201}),
        ("/students/nobody", {}),
        ("/help", {"status": "all"}),
    ):
        answer = await get(busy, path, **params)
        assert answer.status_code == 422, path
        assert answer.json()["detail"][0]["msg"]
    for path in (f"/students/{uuid4()}", f"/students/{busy.ids['ivy']}", f"/students/{uuid4()}/runs"):
        assert fault(await get(busy, path)) == (404, "not_found")


async def test_activity_in_buckets(busy):
    start = datetime(2026, 4, 1, 9, tzinfo=UTC)
    await PostgresTimeSeries(busy.process.pool).write(
        [
            TimeSeriesPoint(
                event_id=uuid4(),
                at=start + timedelta(seconds=70),
                type="cell_executed",
                course_id="c1",
                person_id=uuid4(),
                status="error",
            )
        ]
    )
    span = {"start": "2026-04-01T09:00:00Z", "stop": "2026-04-01T18:03:00+09:00", "every": 60}
    answer = (await get(busy, "/activity", **span)).json()
    assert answer["source"] == "postgresql"
    assert [bucket["at"] for bucket in answer["buckets"]] == [
        "2026-04-01T09:00:00.000Z",
        "2026-04-01T09:01:00.000Z",
        "2026-04-01T09:02:00.000Z",
    ]
    assert [bucket["errors"] for bucket in answer["buckets"]] == [0, 1, 0]
    for change in (
        {"every": 9},
        {"every": 86_401},
        {"stop": "2026-04-01T09:00:00Z"},
        {"stop": "2026-04-03T09:00:00Z"},
        {"start": "2026-04-01T09:00:00"},
        {"start": "yesterday"},
        {"stop": "9999-12-31T23:59:59Z"},
    ):
        answer = await get(busy, "/activity", **(span | change))
        assert answer.status_code == 422, change
