"""``cell-monitor admin failed-events`` and ``replay-failed-events``: what the worker could not process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Final, TypeVar

import click
from rich.console import Console
from rich.table import Table

from cell_monitor.commands.parameters import COURSE_ID
from cell_monitor.commands.stores import opened, with_connection
from cell_monitor.commands.terminal import DATA_DIR_OPTION, cell, print_json, say
from cell_monitor.deployment import Deployment
from cell_monitor_core import keys
from cell_monitor_core.administration.failed_events import (
    MAX_LISTED,
    FailedEventList,
    FailedEventReplay,
    FailedFilter,
    FailedPage,
    ReplayReport,
    WaitingSummary,
)
from cell_monitor_core.auth.audit import OPERATOR
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.events.reasons import FAILURE_REASONS
from cell_monitor_core.redis_client import aclose, connect
from cell_monitor_core.storage.postgres.migrations import check_schema
from cell_monitor_core.storage.postgres.pool import Connection, close_pool, create_pool
from cell_monitor_core.streams.producer import RedisEventProducer

__all__ = ["list_failed_events", "replay_failed_events"]

Command = TypeVar("Command", bound=Callable[..., Any])

_FILTERS: Final = (
    click.option("--course", type=COURSE_ID, help="Only events of this course."),
    click.option("--no-course", "without_course", is_flag=True, help="Only those whose course could not be read."),
    click.option("--reason", type=click.Choice(tuple(map(str, FAILURE_REASONS))), help="Only with this reason."),
    click.option(
        "--group",
        type=click.Choice(keys.REQUIRED_GROUPS),
        help="Only what failed in this consumer group of the worker.",
    ),
)


def _filters(command: Command) -> Command:
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def _wanted(course: str | None, reason: str | None, group: str | None, *, without_course: bool) -> FailedFilter:
    if course is not None and without_course:
        raise click.UsageError("--course and --no-course exclude each other.")
    return FailedFilter(group, course, without_course, reason)


@click.command(name="failed-events")
@_filters
@click.option("--all", "with_replayed", is_flag=True, help="Also those that were replayed.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line for each.")
@DATA_DIR_OPTION
def list_failed_events(
    *,
    course: str | None,
    without_course: bool,
    reason: str | None,
    group: str | None,
    with_replayed: bool,
    limit: int,
    as_json: bool,
    data_dir: str | None,
) -> None:
    """List what the worker could not process, newest first: how many wait by reason and course, then each.

    The events are kept, encrypted, until you replay them; what is in them is not shown. What each reason means and what to
    do first is in docs/operations/failed-events.md.

    \b
    Examples:
      cell-monitor admin failed-events
      cell-monitor admin failed-events --course physics-1 --reason data_error
    """  # noqa: D301 - click's own mark
    wanted = _wanted(course, reason, group, without_course=without_course)

    async def work(connection: Connection) -> tuple[list[FailedPage], WaitingSummary]:
        listed = FailedEventList(connection, keyring)
        pages: list[FailedPage] = []
        before, left = None, limit
        while left > 0:
            page = await listed.page(wanted, waiting_only=not with_replayed, before=before, limit=min(left, MAX_LISTED))
            pages.append(page)
            before, left = page.next_before, left - len(page.events)
            if before is None:
                break
        return pages, await listed.waiting()

    with opened(data_dir) as deployment:
        keyring = KeyRing.from_settings(deployment.settings)
        pages, waiting = with_connection(deployment, work)
    if as_json:
        for row in (row for page in pages for row in page.events):
            print_json({name: getattr(row, name) for name in row.__slots__})
        return
    _print_tables(pages, waiting)


def _print_tables(pages: list[FailedPage], waiting: WaitingSummary) -> None:
    console = Console(highlight=False)
    summary = Table(title=f"{waiting.total:,} failed events wait to be replayed", title_justify="left")
    for heading in ("reason", "course", "events", "first failed", "last failed"):
        summary.add_column(heading, overflow="fold")
    for group in waiting.groups:
        times = (f"{at:%Y-%m-%d %H:%M:%S}" for at in (group.oldest, group.newest))
        summary.add_row(cell(group.reason), cell(group.course_id), f"{group.count:,}", *times)
    console.print(summary)
    table = Table(title="Each of them, newest first (times in UTC)", title_justify="left")
    for heading in ("id", "when", "group", "course", "sender", "reason", "detail", "replayed"):
        table.add_column(heading, overflow="fold")
    for page in pages:
        for row in page.events:
            sender = None if row.person_id is None else page.usernames.get(row.person_id)
            table.add_row(
                str(row.failed_id),
                f"{row.failed_at:%Y-%m-%d %H:%M:%S}",
                row.consumer_group,
                *map(cell, (row.course_id, sender, row.reason, row.detail)),
                f"{row.replayed_at:%Y-%m-%d %H:%M}" if row.replayed_at else "",
            )
    console.print(table)


@click.command(name="replay-failed-events")
@_filters
@DATA_DIR_OPTION
def replay_failed_events(
    *, course: str | None, without_course: bool, reason: str | None, group: str | None, data_dir: str | None
) -> None:
    """Queue failed events again after the cause has been corrected: all that wait now, or some of them.

    The worker then processes them like new ones. A second run stores no duplicates: an event that is stored already
    changes nothing. What fails again waits again and is not tried twice in one run. What cannot be read stays as it is.

    \b
    Examples:
      cell-monitor admin replay-failed-events
      cell-monitor admin replay-failed-events --reason state_unreadable
      cell-monitor admin replay-failed-events --course physics-1
    """  # noqa: D301 - click's own mark
    wanted = _wanted(course, reason, group, without_course=without_course)
    with opened(data_dir) as deployment:
        unreadable = asyncio.run(_replay(deployment, wanted))
    if unreadable:
        say(
            f"{unreadable:,} failed records cannot be decrypted or decoded and are unchanged. Are all keys in the key "
            "ring that they were encrypted with, and is this the newest release?"
        )


async def _replay(deployment: Deployment, wanted: FailedFilter) -> int:
    """Replay step by step; return the number of records that cannot be read.

    Raises:
        LogUnavailable, StoreUnavailable: see ``FailedEventReplay.step``; what earlier steps queued is marked.
    """
    queued = events = unreadable = 0
    async with AsyncExitStack() as exits:
        pool = await create_pool(deployment.database_url, application_name="cell-monitor-replay", max_size=1)
        exits.push_async_callback(close_pool, pool)
        redis = connect(deployment.redis_url, name="cell-monitor-replay")
        exits.push_async_callback(aclose, redis)
        producer = RedisEventProducer(redis, partitions=deployment.settings.partitions)
        exits.push_async_callback(producer.aclose)
        await check_schema(pool)
        replay = FailedEventReplay(pool, KeyRing.from_settings(deployment.settings), producer)
        report: ReplayReport | None = None
        while report is None or report.remaining:
            report = await replay.step(wanted, by=OPERATOR, position=None if report is None else report.position)
            queued += report.queued
            events += report.events
            unreadable += report.unreadable
            if report.remaining:
                say(f"{events:,} events queued again so far, {report.remaining:,} failed records remain.")
    say(f"{events:,} events queued again ({queued:,} failed records).")
    return unreadable
