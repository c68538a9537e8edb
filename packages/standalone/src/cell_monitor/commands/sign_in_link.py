"""``cell-monitor sign-in-link``."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

import click

from cell_monitor.accounts import INSTRUCTOR
from cell_monitor.commands.parameters import USERNAME
from cell_monitor.commands.stores import keys_of, opened, require_person, with_connection
from cell_monitor.commands.terminal import DATA_DIR_OPTION, fail
from cell_monitor.installation import SIGN_IN_LINK_LIFETIME, sign_in_address
from cell_monitor_core.storage.postgres import sign_in_links
from cell_monitor_core.storage.postgres.pool import Connection

__all__ = ["sign_in_link"]

_MINUTES: Final = int(SIGN_IN_LINK_LIFETIME.total_seconds() // 60)
_MAX_MINUTES: Final = int(sign_in_links.MAX_LIFETIME.total_seconds() // 60)


def _dashboard_url(_context: click.Context, _option: click.Parameter, url: str | None) -> str | None:
    """Return the URL without a slash at its end."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and not parts.query and not parts.fragment
    except ValueError:
        usable = False
    if not usable:
        raise click.BadParameter("give it as https://monitor.example.org, with a path where the dashboard has one.")
    return url.rstrip("/")


@click.command(name="sign-in-link", short_help="Print a link that signs a person in once.")
@click.argument("username", type=USERNAME, default=INSTRUCTOR)
@click.option(
    "--minutes",
    type=click.IntRange(1, _MAX_MINUTES),
    default=_MINUTES,
    show_default=True,
    help="How long the link can be used.",
)
@click.option(
    "--url",
    metavar="URL",
    callback=_dashboard_url,
    help="The dashboard's URL, where it is not the one that `up` printed.",
)
@DATA_DIR_OPTION
def sign_in_link(*, username: str, minutes: int, url: str | None, data_dir: str | None) -> None:
    """Print a link that signs a person in to the dashboard once, without a password.

    It signs in the first person who opens it, in the name of USERNAME: give it to nobody else. Only its hash is stored.

    \b
    Examples:
      cell-monitor sign-in-link                 the instructor of the sample course
      cell-monitor sign-in-link sato            another person of the roster
      cell-monitor sign-in-link sato --minutes 60 --url https://monitor.example.org
    """  # noqa: D301 - click's own mark

    async def work(connection: Connection) -> str:
        person = await require_person(connection, keyring, index, username)
        return await sign_in_links.create(connection, person.person_id, timedelta(minutes=minutes))

    with opened(data_dir) as deployment:
        instance = deployment.data.running_instance() if deployment.data is not None else None
        if url is None and deployment.data is None:
            raise fail("The dashboard's URL is not known here: give it with --url.")
        if url is None and instance is None:
            start = deployment.command_line("up")
            raise fail(f"Cell Monitor does not run here. Start it, it prints such a link: {start}")
        if url is None and instance is not None:
            url = instance.public_dashboard or instance.dashboard
        keyring, index = keys_of(deployment)
        link = with_connection(deployment, work)
    # On standard output, without wrapping and colours, to be copied or piped.
    click.echo(sign_in_address(f"{url}/courses", link))
