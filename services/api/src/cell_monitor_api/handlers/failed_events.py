"""Failed events (dead letters), for admins of the site: what waits and why, and queueing it again."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from fastapi import APIRouter, Depends, Query, Response

from cell_monitor_api.answers import StructResponse, answers
from cell_monitor_api.dependencies import Context, SiteAdmin
from cell_monitor_api.exceptions import InvalidParameter
from cell_monitor_api.models.failed_events import (
    REASON_PATTERN,
    ConsumerGroup,
    FailedEventAnswer,
    FailedEventPage,
    FailedId,
    Replay,
    ReplayAnswer,
    WaitingEvents,
    WaitingGroupAnswer,
)
from cell_monitor_core.administration.failed_events import MAX_LISTED, FailedFilter, FailedPage, ReplayPosition
from cell_monitor_core.auth.audit import Actor
from cell_monitor_core.channels import COURSE_ID_PATTERN
from cell_monitor_core.timestamps import to_text

__all__ = ["router"]

router = APIRouter(tags=["failed-events"])


def _filter(place: str, course: str, wanted: FailedFilter) -> FailedFilter:
    if wanted.course_id is not None and wanted.without_course:
        raise InvalidParameter("a course and without_course exclude each other", loc=[place, course])
    return wanted


def _asked(
    group: Annotated[ConsumerGroup | None, Query(description="The worker's consumer group in which it failed.")] = None,
    course: Annotated[str | None, Query(pattern=COURSE_ID_PATTERN, max_length=63)] = None,
    without_course: Annotated[bool, Query(description="Only those whose course could not be read.")] = False,
    reason: Annotated[str | None, Query(pattern=REASON_PATTERN)] = None,
) -> FailedFilter:
    return _filter("query", "course", FailedFilter(group, course, without_course, reason))


_Asked: TypeAlias = Annotated[FailedFilter, Depends(_asked)]


@router.get("/failed-events", responses=answers(FailedEventPage, "Failed events, newest first"))
async def list_failed_events(
    context: Context,
    _admin: SiteAdmin,
    asked: _Asked,
    state: Annotated[Literal["waiting", "all"], Query(description="`all`: also what was replayed.")] = "waiting",
    before: Annotated[FailedId | None, Query(description="`next_before` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 50,
) -> Response:
    """What the worker could not process, without what is in it."""
    page = await context.process.failed_events.page(asked, waiting_only=state == "waiting", before=before, limit=limit)
    return StructResponse(_page(page))


@router.get("/failed-events/waiting", responses=answers(WaitingEvents, "How many wait, by reason and course"))
async def count_failed_events(context: Context, _admin: SiteAdmin) -> Response:
    """How many failed events wait to be replayed."""
    waiting = await context.process.failed_events.waiting()
    groups = [
        WaitingGroupAnswer(group.reason, group.course_id, group.count, to_text(group.oldest), to_text(group.newest))
        for group in waiting.groups
    ]
    return StructResponse(WaitingEvents(waiting.total, groups))


@router.post("/failed-events/replay", responses=answers(ReplayAnswer, "Some are queued again"))
async def replay_failed_events(context: Context, admin: SiteAdmin, body: Replay) -> Response:
    """Queue failed events again: at most 500 a request, or as many as 2 seconds allow. What is stored already changes nothing."""
    if (body.after is None) != (body.newest is None):
        raise InvalidParameter("after and newest are sent together, or neither", loc=["body", "after"])
    wanted = _filter("body", "course_id", FailedFilter(body.group, body.course_id, body.without_course, body.reason))
    begun = None if body.after is None or body.newest is None else ReplayPosition(body.after, body.newest)
    report = await context.process.failed_event_replay.step(wanted, by=Actor.of(admin), position=begun)
    return StructResponse(
        ReplayAnswer(
            queued=report.queued,
            events=report.events,
            unreadable=report.unreadable,
            remaining=report.remaining,
            after=report.position.after,
            newest=report.position.newest,
        )
    )


def _page(page: FailedPage) -> FailedEventPage:
    return FailedEventPage(
        [
            FailedEventAnswer(
                failed_id=event.failed_id,
                group=event.consumer_group,
                course_id=event.course_id,
                event_id=None if event.event_id is None else str(event.event_id),
                person_id=None if event.person_id is None else str(event.person_id),
                username=None if event.person_id is None else page.usernames.get(event.person_id),
                reason=event.reason,
                detail=event.detail,
                failed_at=to_text(event.failed_at),
                replayed_at=to_text(event.replayed_at),
            )
            for event in page.events
        ],
        page.next_before,
    )
