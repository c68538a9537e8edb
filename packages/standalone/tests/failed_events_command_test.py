"""Hazards: the commands replay other events than those that were chosen, show what is in them, or do not say what they did."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from click.testing import CliRunner, Result

from cell_monitor.cli import main
from cell_monitor_core.administration import failed_events as service
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.records import StreamRecord, encode_record
from cell_monitor_core.storage.postgres import failed_events
from cell_monitor_core.storage.postgres.failed_events import FailedRecord
from cell_monitor_core.storage.postgres.pool import connect
from cell_monitor_testing.keys import SampleSecrets

SECRET = "print(my_answer)"


def run(*arguments: str, fails: int = 0) -> Result:
    result = CliRunner(env={"COLUMNS": "220"}).invoke(main, ["admin", *arguments])
    assert result.exit_code == fails, result.output
    assert SECRET not in result.output
    return result


@pytest.fixture
def failing(api_rights: str, secrets: SampleSecrets, valkey: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Two events of physics-1, one of physics-2 and an entry of no course that cannot be read."""
    monkeypatch.setenv("CELL_MONITOR_REDIS_URL", valkey)
    keyring = KeyRing.from_json(secrets.encryption_keys)

    def failed(number: int, course: str | None) -> FailedRecord:
        event = json.dumps({"event_id": str(uuid4()), "data": {"code": SECRET}}).encode()
        payload = encode_record(StreamRecord(UUID(int=7).bytes, course or "", 1, event))
        reason = "data_error" if course else "invalid_entry"
        return FailedRecord(
            "postgres", 0, f"{number}-0", 0 if course else -1, reason, "[bold]why", payload, course_id=course
        )

    async def insert() -> None:
        connection = await connect(api_rights, application_name="test")
        courses = ("physics-1", "physics-1", "physics-2", None)
        await failed_events.insert(connection, keyring, [failed(number, each) for number, each in enumerate(courses)])
        await connection.close()

    asyncio.run(insert())
    return api_rights


def listed(*options: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run("failed-events", "--json", *options).stdout.splitlines()]


@pytest.mark.usefixtures("failing")
def test_the_list_says_what_waits_by_reason_and_course() -> None:
    shown = run("failed-events").stdout
    assert "4 failed events wait" in shown
    lines = [line for line in shown.splitlines() if "data_error" in line and "physics-1" in line]
    assert " 2 " in lines[0]
    # Two in the summary's line, one line each below.
    assert len(lines) == 3
    assert "[bold]why" in shown
    assert [row["course_id"] for row in listed("--course", "physics-2")] == ["physics-2"]
    assert [row["reason"] for row in listed("--no-course")] == ["invalid_entry"]
    assert len(listed("--reason", "data_error", "--limit", "2")) == 2
    run("failed-events", "--course", "physics-1", "--no-course", fails=2)


@pytest.mark.usefixtures("failing")
def test_what_was_chosen_is_replayed_in_steps_with_what_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_RECORDS", 1)
    monkeypatch.setattr(service, "_PAGE", 1)
    done = run("replay-failed-events", "--course", "physics-1")
    assert "1 events queued again so far, 1 failed records remain" in done.stderr
    assert "2 events queued again (2 failed records)" in done.stderr
    assert [row["course_id"] for row in listed()] == [None, "physics-2"]
    rest = run("replay-failed-events")
    assert "1 events queued again (1 failed records)" in rest.stderr
    assert "1 failed records cannot be decrypted or decoded and are unchanged" in rest.stderr
    entries = [
        json.loads(line) for line in run("audit", "--action", "failed_events_replayed", "--json").stdout.splitlines()
    ]
    assert [(entry["actor_kind"], entry["course_id"], entry["details"]["queued"]) for entry in entries] == [
        ("operator", None, 1), ("operator", "physics-1", 1), ("operator", "physics-1", 1),
    ]  # fmt: skip


@pytest.mark.usefixtures("failing")
def test_an_unavailable_queue_is_named_and_everything_goes_on_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELL_MONITOR_REDIS_URL", "redis://127.0.0.1:9")
    assert "Redis" in run("replay-failed-events", fails=1).output
    assert len(listed()) == 4


def test_the_help_says_what_a_replay_does_and_how_to_choose() -> None:
    text = " ".join(run("replay-failed-events", "--help").output.split())
    assert "stores no duplicates" in text
    assert "--reason state_unreadable" in text
