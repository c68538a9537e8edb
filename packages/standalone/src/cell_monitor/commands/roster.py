"""``cell-monitor admin``: courses and who belongs to them."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from cell_monitor.commands.parameters import COURSE_ID, ISSUER, ISSUER_OPTION, NAME, NEW_USERNAME, USERNAME
from cell_monitor.commands.stores import (
    admin_command,
    keys_of,
    opened,
    require_person,
    with_connection,
    with_roster,
)
from cell_monitor.commands.terminal import DATA_DIR_OPTION, cell, confirm, fail, print_json, say
from cell_monitor.deployment import Deployment
from cell_monitor_core.administration.authority import Authority
from cell_monitor_core.administration.course_list import CourseList, require_course
from cell_monitor_core.administration.refusals import Unknown
from cell_monitor_core.administration.roster import MemberChange, Roster, StoredMember
from cell_monitor_core.auth.audit import OPERATOR
from cell_monitor_core.auth.roles import Role
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.storage.postgres import identities, people
from cell_monitor_core.storage.postgres.member_list import ListedMember, members_of
from cell_monitor_core.storage.postgres.pool import Connection

__all__ = ["add_member", "create_course", "list_members", "remove_member"]

_ROLES = tuple(role.value for role in Role)


@click.command()
@click.argument("course_id", type=COURSE_ID)
@click.argument("title", type=NAME)
@DATA_DIR_OPTION
def create_course(*, course_id: str, title: str, data_dir: str | None) -> None:
    """Create a course. Its id is permanent: lower-case letters, digits, - and _."""
    with opened(data_dir) as deployment:
        with_connection(deployment, lambda connection: CourseList(connection).create(course_id, title, by=OPERATOR))
        next_step = admin_command(deployment, "add-member", course_id, "USERNAME", "--role", "instructor")
    say(f"Course {course_id} made. Next: {next_step}")


@click.command()
@click.argument("course_id", type=COURSE_ID)
@click.argument("username", type=NEW_USERNAME)
@click.option("--role", type=click.Choice(_ROLES), default="student", show_default=True)
@click.option("--display-name", type=NAME, help="Shown on the dashboard.")
@click.option(
    "--site-admin/--no-site-admin",
    default=None,
    help="Also make this person an admin of the whole site, or no longer; without either it stays as it is.",
)
@click.option(
    "--issuer",
    type=ISSUER,
    default=identities.LOCAL,
    help="Of somebody who signs in elsewhere: CELL_MONITOR_API_OIDC_ISSUER or CELL_MONITOR_API_HUB_ISSUER. USERNAME is then the "
    "name that their page Your account shows.",
)
@DATA_DIR_OPTION
def add_member(
    *,
    course_id: str,
    username: str,
    role: str,
    display_name: str | None,
    site_admin: bool | None,
    issuer: str,
    data_dir: str | None,
) -> None:
    """Put a person on a course's roster, or give them another role there.

    Pages that are open show it at once. Who is new gets no password here: the message at the end says how they sign in.
    """
    change = MemberChange(username, role, display_name, site_admin)

    async def work(members: Roster) -> tuple[list[str], StoredMember, bool]:
        similar = await members.similar_names(username)
        [stored] = await members.put_members(course_id, [change], authority=Authority.SITE, by=OPERATOR, issuer=issuer)
        return similar, stored, await members.has_instructor(course_id)

    with opened(data_dir) as deployment:
        similar, stored, taught = with_roster(deployment, work)
        link = deployment.command_line("sign-in-link", username)
        without = _without_instructor(deployment, course_id)
    effective = stored.effective_role
    if site_admin is not None:
        say(f"{username} is {'now' if site_admin else 'no longer'} an admin of the whole site.")
    if similar and username not in similar:
        names = ", ".join(repr(name) for name in similar)
        say(f"{username!r} was added as a new person; others are called {names}. User names are spelled exactly.")
    if effective != role:
        say(f"In the roster they are {role}, but what counts is what another source says: {effective or 'no member'}.")
    how = (
        f"This makes a link with which they sign in: {link}"
        if issuer == identities.LOCAL
        else f"They sign in at {issuer}."
    )
    say(f"{username} is {effective or 'no member'} of {course_id}. {how}")
    if not taught:
        say(without)


@click.command()
@click.argument("course_id", type=COURSE_ID)
@click.argument("username", type=USERNAME)
@ISSUER_OPTION
@click.option("--no-site-admin", is_flag=True, help="Also let them be an admin of the whole site no longer.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@DATA_DIR_OPTION
def remove_member(
    *, course_id: str, username: str, issuer: str | None, no_site_admin: bool, yes: bool, data_dir: str | None
) -> None:
    """Take a person off a course's roster, or out of the course if they joined by code.

    What they did there stays stored; other courses stay as they are.
    """
    with opened(data_dir) as deployment:
        keyring, index = keys_of(deployment)

        async def find(connection: Connection) -> people.Person:
            await require_course(connection, course_id)
            return await require_person(connection, keyring, index, username, issuer=issuer, course_id=course_id)

        async def work(members: Roster) -> tuple[str | None, bool]:
            try:
                role = await members.removable_role(course_id, person.person_id)
                if not yes:
                    confirm(f"Remove {person.username} ({role}) from {course_id}?")
                still = await members.remove_member(
                    course_id,
                    person.person_id,
                    authority=Authority.SITE,
                    by=OPERATOR,
                    end_site_admin=no_site_admin,
                )
                return still, await members.has_instructor(course_id)
            except Unknown as error:
                raise fail(f"{person.username} is no member of {course_id} any more.") from error

        person = with_connection(deployment, find)
        still, taught = with_roster(deployment, work)
        without = _without_instructor(deployment, course_id)
    if still is None:
        say(f"{person.username} is no longer a member of {course_id}.")
    else:
        say(f"{person.username} is no longer in the roster of {course_id}, but still {still} there by another source.")
    say("What they opened before ends within seconds.")
    if not taught:
        say(without)
    if no_site_admin:
        say(f"{person.username} is no longer an admin of the whole site.")
    elif person.is_admin:
        say("As an admin of the whole site they still see every course; --no-site-admin removes that right.")


def _without_instructor(deployment: Deployment, course_id: str) -> str:
    add = admin_command(deployment, "add-member", course_id, "USERNAME", "--role", "instructor")
    return f"{course_id} has no instructor now; admins of the whole site see it. To add one: {add}"


def _according_to(member: ListedMember) -> str:
    """Return a member's sources, with what each says where they differ."""
    if set(member.sources.values()) == {member.role}:
        return ", ".join(member.sources)
    return ", ".join(f"{source}: {role or 'removed'}" for source, role in member.sources.items())


@click.command()
@click.argument("course_id", type=COURSE_ID)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line for each.")
@DATA_DIR_OPTION
def list_members(*, course_id: str, as_json: bool, data_dir: str | None) -> None:
    """List who belongs to a course, staff first."""
    with opened(data_dir) as deployment:
        keyring = KeyRing.from_settings(deployment.settings)

        async def work(connection: Connection) -> list[ListedMember]:
            await require_course(connection, course_id)
            return await members_of(connection, keyring, course_id)

        members = with_connection(deployment, work)
    if as_json:
        for member in members:
            person = member.person
            fields = {
                "person_id": str(person.person_id),
                "username": person.username,
                "display_name": person.display_name,
                "role": member.role,
                "sources": member.sources,
                "issuers": member.issuers,
                "site_admin": person.is_admin,
            }
            print_json(fields)
        return
    table = Table(title=f"{len(members):,} members of {course_id}", title_justify="left")
    for heading in ("user name", "name", "signs in at", "role", "according to", "site admin"):
        table.add_column(heading, overflow="fold")
    for member in members:
        person = member.person
        admin = "yes" if person.is_admin else ""
        table.add_row(
            cell(person.username),
            cell(person.display_name),
            cell(", ".join(member.issuers)),
            member.role,
            _according_to(member),
            admin,
        )
    Console(highlight=False).print(table)
