"""``cell-monitor sign-in-link``."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

import click

from cell_monitor.accounts import INSTRUCTOR, INSTRUCTOR_PASSWORD_FILE
from cell_monitor.commands.parameters import ISSUER_OPTION, USERNAME
from cell_monitor.commands.stores import keys_of, opened, require_person, with_connection
from cell_monitor.commands.terminal import DATA_DIR_OPTION, fail, say
from cell_monitor.installation import SIGN_IN_LINK_LIFETIME, sign_in_address
from cell_monitor_core.auth.audit import OPERATOR, AuditAction
from cell_monitor_core.storage.postgres import accounts, audit, sign_in_links, sign_ins
from cell_monitor_core.storage.postgres.people import Person
from cell_monitor_core.storage.postgres.pool import Connection
from cell_monitor_core.storage.postgres.sign_in_links import EndedBy

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
        # Reading the port checks it.
        usable = usable and parts.port != 0 and not any(character.isspace() for character in url)
    except ValueError:
        usable = False
    if not usable:
        raise click.BadParameter("give it as https://monitor.example.org, with a path where the dashboard has one.")
    return url.rstrip("/")


async def _reset(connection: Connection, person: Person) -> None:
    """Delete a person's password, and end all their sign-ins and links."""
    account = await accounts.of_person(connection, person.person_id)
    if account.by_installation:
        raise fail(
            f"The password of {person.username} is kept in the file {INSTRUCTOR_PASSWORD_FILE} of the secrets. "
            "Delete the file and start again: then there is a new one."
        )
    if not account.is_local:
        raise fail(f"{person.username!r} signs in elsewhere and has no password here: reset it there.")
    async with connection.transaction():
        await accounts.remove(connection, person.person_id)
        await sign_ins.revoke_person(connection, person.person_id)
        await sign_in_links.revoke_person(connection, person.person_id, EndedBy.PASSWORD_RESET, by=OPERATOR)
        await audit.record(connection, AuditAction.PASSWORD_RESET, OPERATOR, subject=person.person_id)


@click.command(name="sign-in-link", short_help="Print a link that signs a person in once.")
@click.argument("username", type=USERNAME, default=INSTRUCTOR)
@ISSUER_OPTION
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
@click.option(
    "--reset-password",
    is_flag=True,
    help="Also delete the person's password and end all their sign-ins, where they forgot it or others know it.",
)
@DATA_DIR_OPTION
def sign_in_link(
    *, username: str, issuer: str | None, minutes: int, url: str | None, reset_password: bool, data_dir: str | None
) -> None:
    """Print a link that signs a person in to the dashboard once, without a password.

    It signs in the first person who opens it, in the name of USERNAME: give it to nobody else. Only its hash is stored.
    Who signed in with it can choose a password for an hour, on the page of their account.

    \b
    Examples:
      cell-monitor sign-in-link                 the instructor of the sample course
      cell-monitor sign-in-link sato            another person of the roster
      cell-monitor sign-in-link sato --reset-password
      cell-monitor sign-in-link sato --minutes 60 --url https://monitor.example.org
    """  # noqa: D301 - click's own mark

    async def work(connection: Connection) -> str:
        person = await require_person(connection, keyring, index, username, issuer=issuer)
        if reset_password:
            await _reset(connection, person)
        async with connection.transaction():
            await audit.record(connection, AuditAction.SIGN_IN_LINK_CREATED, OPERATOR, subject=person.person_id)
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
    if reset_password:
        say(
            "The password is deleted. Who was signed in is signed out within seconds; the link lets its person choose another."
        )
    # On standard output, without wrapping and colours, to be copied or piped.
    click.echo(sign_in_address(f"{url}/courses", link))
