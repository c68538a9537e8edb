"""``cell-monitor admin``: codes by which students join a course."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import click

from cell_monitor.commands.parameters import COURSE_ID
from cell_monitor.commands.stores import admin_command, opened, with_join_codes
from cell_monitor.commands.terminal import DATA_DIR_OPTION, echo, fail, print_json, say
from cell_monitor.deployment import Deployment
from cell_monitor_core.administration.join_codes import JoinCode
from cell_monitor_core.auth.audit import OPERATOR
from cell_monitor_core.storage.postgres.join_codes import MAX_LIFETIME
from cell_monitor_core.timestamps import to_text

__all__ = ["close_joining", "join_code", "open_joining"]

_MAX_MINUTES: Final = int(MAX_LIFETIME.total_seconds() // 60)


@click.command()
@click.argument("course_id", type=COURSE_ID)
@click.option(
    "--minutes",
    type=click.IntRange(1, _MAX_MINUTES),
    default=180,
    show_default=True,
    help="How long the code lets students in.",
)
@DATA_DIR_OPTION
def open_joining(*, course_id: str, minutes: int, data_dir: str | None) -> None:
    """Print a new code with which students join a course; the one before lets nobody in any more.

    Students type it into JupyterLab: they need no account and no key. Who joined by an earlier code stays.
    """
    with opened(data_dir) as deployment:
        code = with_join_codes(deployment, lambda codes: codes.open(course_id, timedelta(minutes=minutes), by=OPERATOR))
        page = _page(deployment, course_id)
        close = admin_command(deployment, "close-joining", course_id)
    echo(code.code)
    say(f"Students join {course_id} by this code until {code.expires_at:%Y-%m-%d %H:%M} UTC. To end it before: {close}")
    if page is not None:
        say(f"The page to show to the class: {page}")


@click.command()
@click.argument("course_id", type=COURSE_ID)
@DATA_DIR_OPTION
def close_joining(*, course_id: str, data_dir: str | None) -> None:
    """Let nobody else join a course by its code.

    Who has joined stays and goes on sending: remove-member removes one of them, the course's members page all.
    """
    with opened(data_dir) as deployment:
        was_open = with_join_codes(deployment, lambda codes: codes.close(course_id, by=OPERATOR))
    say(f"Joining {course_id} is closed." if was_open else f"Joining {course_id} was closed before.")


@click.command()
@click.argument("course_id", type=COURSE_ID)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line, also where joining is closed.")
@DATA_DIR_OPTION
def join_code(*, course_id: str, as_json: bool, data_dir: str | None) -> None:
    """Print the code with which students join a course now; exit code 1 where joining is closed."""
    with opened(data_dir) as deployment:
        code = with_join_codes(deployment, lambda codes: codes.state(course_id))
        page = _page(deployment, course_id)
        begin = admin_command(deployment, "open-joining", course_id)
    if as_json:
        print_json(_fields(code, page))
        return
    if code is None:
        raise fail(f"Joining {course_id} is closed. Open it: {begin}")
    echo(code.code)
    say(f"Works until {code.expires_at:%Y-%m-%d %H:%M} UTC; {code.people:,} joined by it.")
    if page is not None:
        say(f"The page to show to the class: {page}")


def _fields(code: JoinCode | None, page: str | None) -> dict[str, object]:
    return {
        "code": None if code is None else code.code,
        "expires_at": None if code is None else to_text(code.expires_at),
        "people": 0 if code is None else code.people,
        "page": page,
    }


def _page(deployment: Deployment, course_id: str) -> str | None:
    """Return the address of a course's page for joining, None where it is not known here."""
    instance = deployment.data.running_instance() if deployment.data is not None else None
    if instance is None:
        return None
    return f"{instance.public_dashboard or instance.dashboard}/courses/{course_id}/join"
