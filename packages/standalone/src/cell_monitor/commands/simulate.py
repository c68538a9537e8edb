"""``cell-monitor simulate``."""

from __future__ import annotations

import asyncio
import statistics
from pathlib import Path
from random import Random

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cell_monitor.accounts import SAMPLE_COURSE, SIMULATOR_KEY_FILE
from cell_monitor.commands.terminal import DATA_DIR_OPTION, fail, progress_console
from cell_monitor.data_directory import DataDirectory, default_data_dir
from cell_monitor.invocation import command_line
from cell_monitor.simulation.classroom import Classroom, ClassroomOptions
from cell_monitor.simulation.client import ApiClient, ApiError, NoCourseError, Tally

__all__ = ["simulate"]


@click.command(short_help="Simulate a realistic class through the API.")
@click.option("--students", type=click.IntRange(1, 5000), default=30, show_default=True, help="Number of students.")
@click.option(
    "--minutes", type=click.FloatRange(0.05, 1440), default=5.0, show_default=True, help="Length of the class."
)
@click.option(
    "--speed",
    type=click.FloatRange(0.1, 1000),
    default=1.0,
    show_default=True,
    help="Speed of the class as a multiple of real time.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0.1, 100_000),
    help="Send this many events per second in total, for --minutes of real time: a load generator.",
)
@click.option("--course", default=SAMPLE_COURSE, show_default=True, help="Id of an existing course.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed simulates the same class.")
@click.option("--prefix", default="sim", show_default=True, help="User names are PREFIX-001 and so on.")
@click.option("--api", "api_url", help="Base URL of the API; the default is the one that `up` started.")
@click.option(
    "--api-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="CELL_MONITOR_API_KEY_FILE",
    help="File with an API key of the scopes events:write, people:act_as and roster:write; the default is the data "
    "directory's own.",
)
@DATA_DIR_OPTION
def simulate(
    *,
    students: int,
    minutes: float,
    speed: float,
    rate: float | None,
    course: str,
    seed: int,
    prefix: str,
    api_url: str | None,
    api_key_file: Path | None,
    data_dir: str | None,
) -> None:
    """Simulate students who read, edit, run cells, fail, get stuck, ask for help, pause and finish, through the real API.

    The students are added to the course's roster first. Open the dashboard to see them. At the end the command prints
    a table of the API's answers; the exit code is 0 if every event was accepted.

    \b
    Examples:
      cell-monitor simulate                               30 students for 5 minutes
      cell-monitor simulate --speed 10                    the same class in half a minute
      cell-monitor simulate --students 200 --rate 1000 --minutes 2    load
      cell-monitor simulate --api https://monitor.example.edu --api-key-file key --course demo
    """  # noqa: D301 - click's own mark
    data = DataDirectory(Path(data_dir) if data_dir else default_data_dir())
    if api_url is None:
        instance = data.running_instance()
        if instance is None:
            raise fail(
                f"Cell Monitor does not run on the data directory {data.path}. Start it with "
                f"`{command_line('up', data_dir=data.path)}`, or name an API with --api and --api-key-file."
            )
        api_url = instance.api
    api_key = (api_key_file or data.secrets.path / SIMULATOR_KEY_FILE).read_text(encoding="utf-8").strip()
    options = ClassroomOptions(
        course_id=course, students=students, minutes=minutes, speed=speed, rate=rate, seed=seed, prefix=prefix
    )
    tally = Tally()
    interrupted = False
    try:
        asyncio.run(_play(options, api_url, api_key, tally))
    except NoCourseError as error:
        create = command_line("admin", "create-course", course, "Its title", data_dir=data.path)
        raise fail(f"{error} Create it: {create}") from error
    except ApiError as error:
        _show(tally)
        raise fail(str(error)) from error
    except KeyboardInterrupt:
        interrupted = True
    _show(tally)
    if interrupted:
        raise SystemExit(130)
    if tally.statuses["rejected"]:
        raise SystemExit(1)


async def _play(options: ClassroomOptions, api_url: str, api_key: str, tally: Tally) -> None:
    client = ApiClient(api_url, api_key, tally=tally, random=Random(options.seed))  # noqa: S311
    classroom = Classroom(options, client, tally)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[events]} events, {task.fields[errors]}/{task.fields[runs]} failed"),
        TextColumn("{task.fields[asked]} asked"),
        TimeRemainingColumn(),
    )
    try:
        await classroom.enrol()
        with Progress(*columns, console=progress_console) as bar:
            task = bar.add_task(
                f"{options.students} students", total=options.real_seconds, events=0, errors=0, runs=0, asked=0
            )

            async def show() -> None:
                while True:
                    progress = classroom.progress
                    bar.update(
                        task,
                        completed=progress.elapsed,
                        events=tally.sent,
                        errors=progress.errors,
                        runs=progress.runs,
                        asked=progress.help_requests,
                    )
                    await asyncio.sleep(0.25)

            updater = asyncio.create_task(show())
            try:
                await classroom.run()
            finally:
                await asyncio.sleep(0.3)
                updater.cancel()
    finally:
        await client.aclose()


def _show(tally: Tally) -> None:
    console = Console(highlight=False)
    answered = sum(tally.statuses.values())
    table = Table(title="Answers of the API", title_justify="left")
    table.add_column("")
    table.add_column("events", justify="right")
    table.add_row("sent", f"{tally.sent:,}")
    table.add_row("accepted", f"{tally.statuses['accepted']:,}")
    table.add_row("duplicates", f"{tally.statuses['duplicate']:,}")
    table.add_row("rejected", f"{tally.statuses['rejected']:,}")
    for reason, count in tally.reasons.most_common():
        table.add_row(f"  {reason}", f"{count:,}")
    if answered < tally.sent:
        table.add_row("without answer", f"{tally.sent - answered:,}")
    console.print(table)
    if tally.seconds:
        api, queued = _quantiles(tally.seconds), _quantiles(tally.queued_seconds)
        console.print(
            f"{tally.batches:,} batches; the API took {api} a request; {tally.waits:,} were sent again after a wait.\n"
            f"Before that a request waited {queued} in this simulator."
        )


def _quantiles(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"{statistics.median(ordered) * 1000:.0f} ms (median), {p99 * 1000:.0f} ms (p99)"
