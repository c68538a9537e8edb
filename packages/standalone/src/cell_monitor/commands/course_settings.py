"""``cell-monitor admin``: a course's title, the ruling source of its memberships, and what groups mean in it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import click
from rich.console import Console
from rich.table import Table

from cell_monitor.commands.parameters import COURSE_ID, GROUP, ISSUER, NAME
from cell_monitor.commands.stores import admin_command, opened, with_counters
from cell_monitor.commands.terminal import DATA_DIR_OPTION, cell, print_json, say
from cell_monitor.deployment import Deployment
from cell_monitor_core.administration.authority import Authority
from cell_monitor_core.administration.course_settings import (
    RULING_SOURCES,
    CourseSettings,
    GroupIssuer,
    SettingsChange,
)
from cell_monitor_core.auth.audit import OPERATOR
from cell_monitor_core.auth.roles import Role
from cell_monitor_core.counters import Counters
from cell_monitor_core.settings import ENV_PREFIX
from cell_monitor_core.storage.postgres import identities
from cell_monitor_core.storage.postgres.course_links import CourseLink

__all__ = ["link_group", "list_group_links", "rename_course", "set_ruling_source", "unlink_group", "with_settings"]

T = TypeVar("T")

_ROLE: Final = click.Choice(tuple(role.value for role in Role))
_NONE: Final = "none"


def _group_issuers() -> list[GroupIssuer] | None:
    """Return the issuers that the API's settings configure; None where the environment has none of these settings."""
    hub, provider = (os.environ.get(f"{ENV_PREFIX}API_{name}") for name in ("HUB_URL", "OIDC_ISSUER"))
    if not hub and not provider:
        return None
    issuers = [GroupIssuer(os.environ.get(f"{ENV_PREFIX}API_HUB_ISSUER") or identities.HUB)] if hub else []
    if provider and os.environ.get(f"{ENV_PREFIX}API_OIDC_GROUPS_CLAIM"):
        issuers.append(GroupIssuer(provider, staff_only=True))
    return issuers


def with_settings(
    deployment: Deployment, work: Callable[[CourseSettings], Awaitable[T]], *, publishes: bool = False
) -> T:
    """Call ``work`` with the service of courses' settings and return its result, see ``stores.with_counters``."""

    async def with_service(pool: Any, counters: Counters) -> T:
        return await work(CourseSettings(pool, counters, issuers=_group_issuers()))

    return with_counters(deployment, with_service, publishes=publishes)


@click.command()
@click.argument("course_id", type=COURSE_ID)
@click.argument("title", type=NAME)
@DATA_DIR_OPTION
def rename_course(*, course_id: str, title: str, data_dir: str | None) -> None:
    """Give a course another title. Its id, and all that is stored under it, stays."""
    change = SettingsChange(title=title)
    with opened(data_dir) as deployment:
        with_settings(
            deployment,
            lambda settings: settings.change(course_id, change, authority=Authority.SITE, by=OPERATOR),
        )
    say(f"{course_id} is called {title!r}.")


@click.command()
@click.argument("course_id", type=COURSE_ID)
@click.argument("source", type=click.Choice((*(source.value for source in RULING_SOURCES), _NONE)))
@DATA_DIR_OPTION
def set_ruling_source(*, course_id: str, source: str, data_dir: str | None) -> None:
    """Name the source of memberships that alone decides about everybody of whom it has spoken; or none.

    With none the highest role that any source gives counts. roster is what was set on the page Members, by the API or
    by add-member; hub is a JupyterHub's groups; lti a learning platform; oidc the
    groups that an OpenID Connect provider names at each sign-in. list-members shows what each source says.
    Somebody whose role ends by it loses access within seconds.
    """
    change = SettingsChange(ruling_source=None if source == _NONE else source)
    with opened(data_dir) as deployment:
        with_settings(
            deployment,
            lambda settings: settings.change(course_id, change, authority=Authority.SITE, by=OPERATOR),
            publishes=True,
        )
        listing = admin_command(deployment, "list-members", course_id)
    rule = (
        "the highest role that any source gives counts"
        if source == _NONE
        else f"what {source} says counts about everybody of whom it has spoken"
    )
    say(f"{course_id}: {rule}. Who is a member now: {listing}")


# Named: click drops the ending of a function's name here.
@click.command(name="link-group")
@click.argument("course_id", type=COURSE_ID)
@click.argument("group", type=GROUP)
@click.argument("role", type=_ROLE)
@click.option(
    "--issuer", type=ISSUER, required=True, help="CELL_MONITOR_API_HUB_ISSUER or CELL_MONITOR_API_OIDC_ISSUER."
)
@DATA_DIR_OPTION
def link_group(*, course_id: str, group: str, role: str, issuer: str, data_dir: str | None) -> None:
    """Give the members of an issuer's group a role in a course. The group's name is spelled exactly.

    It counts from the issuer's next word on: a JupyterHub's groups are read every minute, those of an OpenID Connect
    provider when somebody signs in. A provider's groups give the roles of staff only. Where the environment has the API's
    settings of a JupyterHub or a provider, a link that would give nothing by them is refused.
    """
    link = CourseLink(issuer, group, role, course_id)
    with opened(data_dir) as deployment:
        added = with_settings(
            deployment, lambda settings: settings.link_group(link, authority=Authority.SITE, by=OPERATOR)
        )
    verb = "are now" if added else "were already"
    say(f"Members of {group!r} at {issuer} {verb} {role} of {course_id}, from the issuer's next word on.")
    if _group_issuers() is None:
        say(
            f"Not checked: this command has none of the API's settings {ENV_PREFIX}API_HUB_… and _OIDC_…, so it does not know "
            f"whether {issuer} is configured. The link gives nothing as long as it is not"
            + (
                ", nor if it is an OpenID Connect provider, whose groups give the roles of staff only: add students with "
                "add-member."
                if role == Role.STUDENT
                else "."
            )
        )


@click.command(name="unlink-group")
@click.argument("course_id", type=COURSE_ID)
@click.argument("group", type=GROUP)
@click.argument("role", type=_ROLE)
@click.option("--issuer", type=ISSUER, required=True, help="As list-group-links shows it.")
@DATA_DIR_OPTION
def unlink_group(*, course_id: str, group: str, role: str, issuer: str, data_dir: str | None) -> None:
    """End the role that the members of an issuer's group have in a course, from the issuer's next word on."""
    link = CourseLink(issuer, group, role, course_id)
    with opened(data_dir) as deployment:
        say(f"The links of {course_id}: {admin_command(deployment, 'list-group-links', course_id)}")
        with_settings(deployment, lambda settings: settings.unlink_group(link, authority=Authority.SITE, by=OPERATOR))
    say(f"Members of {group!r} at {issuer} are no longer {role} of {course_id}, from the issuer's next word on.")


@click.command()
@click.argument("course_id", type=COURSE_ID)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line for each.")
@DATA_DIR_OPTION
def list_group_links(*, course_id: str, as_json: bool, data_dir: str | None) -> None:
    """List which groups give which role in a course. Groups may give more, by their names or properties at the issuer."""
    with opened(data_dir) as deployment:
        _, links = with_settings(deployment, lambda settings: settings.read(course_id))
    if as_json:
        for link in links:
            print_json({name: getattr(link, name) for name in link.__slots__})
        return
    table = Table(title=f"{len(links):,} links of groups to roles in {course_id}", title_justify="left")
    for heading in ("issuer", "group", "role"):
        table.add_column(heading, overflow="fold")
    for link in links:
        table.add_row(cell(link.issuer), cell(link.group), link.role)
    Console(highlight=False).print(table)
