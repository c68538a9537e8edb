"""``cell-monitor admin set-thresholds``: when a course's dashboard marks a student as needing attention."""

from __future__ import annotations

import click

from cell_monitor.commands.course_settings import with_settings
from cell_monitor.commands.parameters import COURSE_ID
from cell_monitor.commands.stores import opened
from cell_monitor.commands.terminal import DATA_DIR_OPTION, say
from cell_monitor_core.administration.authority import Authority
from cell_monitor_core.administration.course_settings import SettingsChange
from cell_monitor_core.auth.audit import OPERATOR
from cell_monitor_core.derivation import threshold_bounds

__all__ = ["set_thresholds"]


def _range(threshold: str) -> click.IntRange:
    return click.IntRange(*threshold_bounds(threshold))


@click.command()
@click.argument("course_id", type=COURSE_ID)
@click.option("--stuck-errors", type=_range("stuck_errors"), help="Failed runs of one cell in a row: stuck.")
@click.option(
    "--kernel-deaths",
    type=_range("kernel_deaths"),
    help="Deaths of the kernel in a row that one cell caused: needs attention.",
)
@click.option(
    "--long-run", "long_run_s", type=_range("long_run_s"), metavar="SECONDS", help="Seconds that one run takes: long."
)
@click.option("--idle", "idle_s", type=_range("idle_s"), metavar="SECONDS", help="Seconds without any activity: quiet.")
@click.option(
    "--offline",
    "offline_s",
    type=_range("offline_s"),
    metavar="SECONDS",
    help="Seconds without any event or heartbeat, after which a student has left.",
)
@click.option("--defaults", is_flag=True, help="First reset all of them to the defaults.")
@DATA_DIR_OPTION
def set_thresholds(
    *,
    course_id: str,
    stuck_errors: int | None,
    kernel_deaths: int | None,
    long_run_s: int | None,
    idle_s: int | None,
    offline_s: int | None,
    defaults: bool,
    data_dir: str | None,
) -> None:
    """Set when a course's dashboard reports a student as stuck, a run as long, a student as quiet or as left.

    Thresholds without an option are unchanged; without any option the command only prints them. Dashboards use them
    from the next time that they load the course.
    """
    named = {
        "stuck_errors": stuck_errors,
        "kernel_deaths": kernel_deaths,
        "long_run_s": long_run_s,
        "idle_s": idle_s,
        "offline_s": offline_s,
    }
    given = {name: value for name, value in named.items() if value is not None}

    change = SettingsChange(thresholds=given, reset_thresholds=defaults)
    with opened(data_dir) as deployment:
        now = with_settings(
            deployment,
            lambda settings: settings.change(course_id, change, authority=Authority.SITE, by=OPERATOR),
        ).thresholds
    say(
        f"{course_id}: stuck after {now.stuck_errors} failed runs of one cell in a row, listed after "
        f"{now.kernel_deaths} deaths of the kernel in a row by one cell, a run is long after {now.long_run_s} s, quiet "
        f"after {now.idle_s} s without activity, left after {now.offline_s} s without any event "
        "or heartbeat."
    )
