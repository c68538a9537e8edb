"""``cell-monitor admin``: courses, who belongs to them, and their passwords."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cell_monitor.accounts import INSTRUCTOR, INSTRUCTOR_PASSWORD_FILE
from cell_monitor.commands.stores import admin_command, keys_of, opened, require_course, with_connection
from cell_monitor.commands.terminal import DATA_DIR_OPTION, fail, say
from cell_monitor_core.auth.passwords import MAX_PASSWORD_LENGTH, MIN_PASSWORD_LENGTH, hash_password
from cell_monitor_core.channels import COURSE_ID_PATTERN
from cell_monitor_core.storage.postgres import accounts, courses, memberships, people, sign_ins
from cell_monitor_core.storage.postgres.pool import Connection

__all__ = ["add_member", "create_course", "list_members", "remove_member", "set_password"]

_ROLES = ("instructor", "assistant", "observer", "student")


@click.command()
@click.argument("course_id")
@click.argument("title")
@DATA_DIR_OPTION
def create_course(*, course_id: str, title: str, data_dir: str | None) -> None:
    """Make a course. Its id stays for ever: small letters, digits, - and _."""
    if not re.match(COURSE_ID_PATTERN, course_id):
        raise fail(f"{course_id!r} is not a course id: small letters, digits, - and _, at most 63 characters.")
    if not 1 <= len(title) <= 200:
        raise fail("A title has 1 to 200 characters.")
    with opened(data_dir) as deployment:
        if not with_connection(deployment, lambda connection: courses.create(connection, course_id, title)):
            raise fail(f"There is a course {course_id!r} already.")
        next_step = admin_command(deployment, "add-member", course_id, "USERNAME", "--role", "instructor")
    say(f"Course {course_id} made. Next: {next_step}")


@click.command()
@click.argument("course_id")
@click.argument("username")
@click.option("--role", type=click.Choice(_ROLES), default="student", show_default=True)
@click.option("--display-name", help="Shown on the dashboard.")
@click.option(
    "--site-admin/--no-site-admin",
    default=None,
    help="Also make this person an admin of the whole site, or no longer; without either it stays as it is.",
)
@DATA_DIR_OPTION
def add_member(
    *, course_id: str, username: str, role: str, display_name: str | None, site_admin: bool | None, data_dir: str | None
) -> None:
    """Put a person on a course's roster, or give them another role there."""

    async def work(connection: Connection) -> None:
        await require_course(connection, deployment, course_id)
        async with connection.transaction():
            person = await people.upsert(connection, keyring, index, username=username, display_name=display_name)
            await memberships.upsert_many(connection, course_id, {person: role})
            if site_admin is not None:
                await people.set_admin(connection, person, is_admin=site_admin)

    with opened(data_dir) as deployment:
        keyring, index = keys_of(deployment)
        with_connection(deployment, work)
        set_password = admin_command(deployment, "set-password", username)
    if site_admin is not None:
        say(f"{username} is {'now' if site_admin else 'no longer'} an admin of the whole site.")
    say(f"{username} is {role} of {course_id}. To sign in they need a password: {set_password}")


@click.command()
@click.argument("course_id")
@click.argument("username")
@click.option("--no-site-admin", is_flag=True, help="Also let them be an admin of the whole site no longer.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@DATA_DIR_OPTION
def remove_member(*, course_id: str, username: str, no_site_admin: bool, yes: bool, data_dir: str | None) -> None:
    """Take a person off a course's roster. What they did there stays stored; other courses stay as they are."""

    async def work(connection: Connection) -> people.Person:
        await require_course(connection, deployment, course_id)
        person = await people.find(connection, keyring, index, username)
        role = None if person is None else await memberships.role_of(connection, course_id, person.person_id)
        if person is None or role is None:
            listing = admin_command(deployment, "list-members", course_id)
            raise fail(f"{username!r} is not a member of {course_id}. Who is: {listing}")
        if not yes:
            click.confirm(f"Remove {person.username} ({role}) from {course_id}?", abort=True, err=True)
        async with connection.transaction():
            await memberships.remove(connection, course_id, person.person_id)
            if no_site_admin:
                await people.set_admin(connection, person.person_id, is_admin=False)
        return person

    with opened(data_dir) as deployment:
        keyring, index = keys_of(deployment)
        person = with_connection(deployment, work)
    say(f"{person.username} is no longer a member of {course_id}.")
    say("What they opened before ends when its token does, within ten minutes.")
    if no_site_admin:
        say(f"{person.username} is no longer an admin of the whole site.")
    elif person.is_admin:
        say("As an admin of the whole site they still see every course; --no-site-admin takes that away as well.")


@click.command()
@click.argument("course_id")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line for each.")
@DATA_DIR_OPTION
def list_members(*, course_id: str, as_json: bool, data_dir: str | None) -> None:
    """List who belongs to a course, staff first."""

    async def work(connection: Connection) -> list[tuple[people.Person, str]]:
        await require_course(connection, deployment, course_id)
        roles = {member.person_id: member.role for member in await memberships.roster(connection, course_id)}
        found = await people.get_many(connection, keyring, roles)
        return [(person, roles[person.person_id]) for person in found]

    with opened(data_dir) as deployment:
        keyring, _ = keys_of(deployment)
        members = with_connection(deployment, work)
    members.sort(key=lambda member: (_ROLES.index(member[1]), member[0].username.casefold()))
    if as_json:
        for person, role in members:
            fields = {"username": person.username, "display_name": person.display_name, "role": role}
            click.echo(
                json.dumps(
                    {"person_id": str(person.person_id), **fields, "site_admin": person.is_admin}, ensure_ascii=False
                )
            )
        return
    table = Table(title=f"{len(members):,} members of {course_id}", title_justify="left")
    for heading in ("user name", "name", "role", "site admin"):
        table.add_column(heading, overflow="fold")
    for person, role in members:
        table.add_row(Text(person.username), Text(person.display_name or ""), role, "yes" if person.is_admin else "")
    Console(highlight=False).print(table)


@click.command()
@click.argument("username")
@click.option(
    "--password-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Read the password from a file instead of asking.",
)
@DATA_DIR_OPTION
def set_password(*, username: str, password_file: Path | None, data_dir: str | None) -> None:
    """Set the password of a local account, and sign them out wherever they are signed in.

    Asks for the password, so that it stands in no list of processes.
    """
    if password_file is not None:
        password = password_file.read_text(encoding="utf-8").strip()
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    if not MIN_PASSWORD_LENGTH <= len(password) <= MAX_PASSWORD_LENGTH:
        raise fail(f"A password has {MIN_PASSWORD_LENGTH} to {MAX_PASSWORD_LENGTH} characters.")

    async def work(connection: Connection) -> None:
        person = await people.find(connection, keyring, index, username)
        if person is None:
            raise fail(f"There is nobody called {username!r}: add them to a course first, with add-member.")
        async with connection.transaction():
            await accounts.set_password(connection, person.person_id, hash_password(password))
            # Whoever knew the old password is signed out.
            await sign_ins.revoke_person(connection, person.person_id)

    with opened(data_dir) as deployment:
        keyring, index = keys_of(deployment)
        with_connection(deployment, work)
        if deployment.data is not None and username == INSTRUCTOR:
            # `up` prints this one, and sees to it that it works.
            deployment.data.secrets.put(INSTRUCTOR_PASSWORD_FILE, password)
    say(f"Password of {username} set. Who was signed in with the old one is signed out, within ten minutes.")
