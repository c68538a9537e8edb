"""Test mode: the same pipeline for events that never enter a course's figures, and how far each one got."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Request, Response

from cell_monitor_api.access_tokens import last_header
from cell_monitor_api.answers import StructResponse, answers
from cell_monitor_api.dependencies import Context, TestSender
from cell_monitor_api.exceptions import LogUnavailableError
from cell_monitor_api.handlers.events import INGEST_BODY, ingest_response
from cell_monitor_api.handlers.ingest import read_events
from cell_monitor_api.services.ingest import IngestAnswer
from cell_monitor_core.channels import TEST_ID_PATTERN
from cell_monitor_core.storage.ports import StoreUnavailable

__all__ = ["router"]

router = APIRouter(tags=["test mode"])

TestId = Annotated[str, Path(pattern=TEST_ID_PATTERN, max_length=63)]


class TestEvent(msgspec.Struct, frozen=True):
    """When one event reached each stage (RFC 3339); null: not yet."""

    event_id: str
    received_at: str | None
    postgres_at: str | None
    timeseries_at: str | None
    published_at: str | None


class TestRun(msgspec.Struct, frozen=True):
    """One run in test mode; its record is kept for an hour."""

    test_id: str
    events: list[TestEvent]


@router.post(
    "/test/events/{test_id}",
    responses=answers(IngestAnswer, "One result for each event, in order"),
    openapi_extra=INGEST_BODY,
)
async def send_test_events(request: Request, context: Context, sender: TestSender, test_id: TestId) -> Response:
    """Take events of a test."""
    answer, retry_after = await context.process.ingest.take(
        sender,
        await read_events(request),
        test_id=test_id,
        traceparent=last_header(request.headers, "traceparent"),
    )
    return ingest_response(answer, retry_after)


@router.get("/test/events/{test_id}", responses=answers(TestRun, "How far each event got"))
async def read_test_events(context: Context, sender: TestSender, test_id: TestId) -> Response:
    """How far each event got that the caller sent for a test."""
    try:
        stages = await context.process.test_progress.read(test_id, sender.person)
    except StoreUnavailable:
        raise LogUnavailableError("Redis does not answer; try again", retry_after=5) from None
    return StructResponse(
        TestRun(
            test_id,
            [
                TestEvent(
                    event_id,
                    times.get("received"),
                    times.get("postgres"),
                    times.get("timeseries"),
                    times.get("published"),
                )
                for event_id, times in stages.items()
            ],
        )
    )
