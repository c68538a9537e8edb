"""``cell-monitor rebuild``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import asyncpg
import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from cell_monitor.commands.parameters import COURSE_ID
from cell_monitor.commands.terminal import DATA_DIR_OPTION, echo, fail, fail_settings, progress_console, say
from cell_monitor.data_directory import DataDirectory, DataDirectoryError, default_data_dir
from cell_monitor.deployment import Deployment, open_deployment
from cell_monitor.embedded.process import EmbeddedServerError
from cell_monitor_core.broker.redis_broker import RedisBroker
from cell_monitor_core.channels import course_channel
from cell_monitor_core.crypto import DecryptionError, KeyRing
from cell_monitor_core.publishing import draft_of
from cell_monitor_core.redis_client import REDIS_ERRORS, aclose, connect
from cell_monitor_core.settings import SettingsError
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.storage.postgres import course_counters, courses
from cell_monitor_core.storage.postgres import rebuild as storage_rebuild
from cell_monitor_core.storage.postgres.migrations import SchemaMismatch, check_schema
from cell_monitor_core.storage.postgres.pool import create_pool
from cell_monitor_core.storage.postgres.rebuild import RebuildReport

__all__ = ["rebuild"]


@click.command(short_help="Derive all state again from the stored events.")
@click.option("--check", is_flag=True, help="Change nothing; exit code 1 if anything differs.")
@click.option("--course", type=COURSE_ID, help="Only this course.")
@DATA_DIR_OPTION
def rebuild(*, check: bool, course: str | None, data_dir: str | None) -> None:
    """Derive counters, streaks, statuses and help requests again from the stored events, and store the differences.

    With --check the command only compares. It can run while the services run, and open dashboards fetch the result. The
    comparison is exact even with a busy worker, because each student is compared under the lock that the worker takes.

    Run it after PostgreSQL was restored from a backup.

    \b
    Examples:
      cell-monitor rebuild --check
      cell-monitor rebuild --course physics-1
    """  # noqa: D301 - click's own mark
    data = DataDirectory(Path(data_dir) if data_dir else default_data_dir())
    try:
        with open_deployment(data) as deployment:
            report = asyncio.run(_rebuild(deployment, check=check, course=course))
    except SettingsError as error:
        raise fail_settings(error) from error
    except (
        DataDirectoryError,
        EmbeddedServerError,
        StoreUnavailable,
        SchemaMismatch,
        DecryptionError,
    ) as error:
        raise fail(str(error)) from error
    for difference in report.differences:
        echo(difference)
    if report.difference_count > len(report.differences):
        click.echo(f"… and {report.difference_count - len(report.differences):,} more")
    click.echo(
        f"{report.courses:,} courses, {report.students:,} students, {report.events:,} events: "
        f"{report.difference_count:,} differences" + ("" if check else f", {report.repaired:,} repaired")
    )
    if check and report.difference_count:
        raise SystemExit(1)


async def _rebuild(deployment: Deployment, *, check: bool, course: str | None) -> RebuildReport:
    pool = await create_pool(deployment.database_url, application_name="cell-monitor-rebuild", max_size=2)
    try:
        await check_schema(pool)
        if course is not None and await courses.get(pool, course) is None:
            raise fail(f"There is no course {course!r}.")
        keyring = KeyRing.from_settings(deployment.settings)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=progress_console, transient=True) as bar:
            task = bar.add_task("Students", total=None)
            report = await storage_rebuild.rebuild(
                pool,
                keyring,
                check=check,
                course_id=course,
                on_progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
        if not check:
            rebuilt = [course] if course is not None else await courses.ids(pool)
            await _start_epochs(pool, deployment, rebuilt)
        return report
    finally:
        await pool.close()


async def _start_epochs(pool: asyncpg.Pool[asyncpg.Record], deployment: Deployment, course_ids: Sequence[str]) -> None:
    """Start a new epoch of each course's channel, so that open dashboards fetch a snapshot.

    It is needed after the restore of a backup: the restored versions are lower and Redis would suppress the states.
    Without Redis a dashboard shows the correct state after it is reloaded.
    """
    redis = connect(deployment.redis_url, name="cell-monitor-rebuild")
    broker = RedisBroker(redis, partitions=deployment.settings.partitions)
    try:
        async with pool.acquire() as connection:
            counters = await course_counters.refresh_courses(connection, course_ids)
        for state in counters:
            channel = course_channel(state.course_id)
            await broker.forget(channel)
            # The first publication of the new epoch is what the gateways notice at once.
            await broker.publish(channel, [draft_of(state)])
    except (*REDIS_ERRORS, StoreUnavailable) as error:
        say(f"Open dashboards were not updated, reload them: Redis is unavailable ({error}).")
    finally:
        await aclose(redis)
