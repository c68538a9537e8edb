"""``cell-monitor admin``: API keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
from rich.console import Console
from rich.table import Table

from cell_monitor.commands.parameters import ISSUER_OPTION, KEY_NAME, USERNAME
from cell_monitor.commands.stores import admin_command, keys_of, opened, require_person, with_connection
from cell_monitor.commands.terminal import DATA_DIR_OPTION, cell, confirm, fail, print_json, say
from cell_monitor.deployment import Deployment
from cell_monitor_core.administration.api_keys import ApiKeys, ListedKey
from cell_monitor_core.administration.refusals import Unknown
from cell_monitor_core.auth.audit import OPERATOR
from cell_monitor_core.auth.scopes import Scope
from cell_monitor_core.storage.postgres import api_keys
from cell_monitor_core.storage.postgres.pool import Connection

__all__ = ["create_api_key", "list_api_keys", "revoke_api_key"]


@click.command()
@click.argument("name", type=KEY_NAME)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(sorted(scope.value for scope in Scope)),
    help="Repeatable.",
)
@click.option("--person", type=USERNAME, help="User name whose identity the key carries; none for a service.")
@ISSUER_OPTION
@click.option(
    "--days", type=click.IntRange(1, api_keys.MAX_DAYS), default=365, show_default=True, help="When it stops working."
)
@DATA_DIR_OPTION
def create_api_key(
    *, name: str, scopes: tuple[str, ...], person: str | None, issuer: str | None, days: int, data_dir: str | None
) -> None:
    """Make an API key; it is printed once, on standard output."""

    async def work(connection: Connection) -> tuple[ListedKey, str]:
        owner = None
        if person is not None:
            keyring, index = keys_of(deployment)
            owner = (await require_person(connection, keyring, index, person, issuer=issuer)).person_id
        return await _service(connection, deployment).create(
            name=name, scopes=scopes, lifetime=timedelta(days=days), owner=owner, by=OPERATOR
        )

    with opened(data_dir) as deployment:
        made, text = with_connection(deployment, work)
    key = made.key
    click.echo(text)
    say(
        f"Key {key.key_id} works until {key.expires_at:%Y-%m-%d}. It is not shown again: keep it in a file of mode 0600."
    )


@click.command()
@click.option("--all", "with_ended", is_flag=True, help="Also those that are revoked or over.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line for each.")
@DATA_DIR_OPTION
def list_api_keys(*, with_ended: bool, as_json: bool, data_dir: str | None) -> None:
    """List API keys, newest first. Their secrets are stored nowhere and cannot be shown."""
    with opened(data_dir) as deployment:
        found = with_connection(deployment, lambda connection: _service(connection, deployment).list_all())
    usable = [listed for listed in found if _state(listed.key) == "works"]
    shown = found if with_ended else usable
    if as_json:
        for listed in shown:
            fields = {name: getattr(listed.key, name) for name in listed.key.__slots__}
            print_json({**fields, "username": listed.username})
        return
    table = Table(title=f"{len(usable):,} API keys work", title_justify="left")
    # Never broken, so that it can be copied to revoke-api-key, however narrow the terminal is.
    table.add_column("id", no_wrap=True, min_width=api_keys.ID_LENGTH)
    for heading in ("name", "person", "scopes", "made", "ends", "last used", "state"):
        table.add_column(heading, overflow="fold")
    for listed in shown:
        key = listed.key
        person = cell(listed.username if listed.username is not None else "none: a service")
        used = f"{key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never"
        made, ends = f"{key.created_at:%Y-%m-%d}", f"{key.expires_at:%Y-%m-%d}"
        table.add_row(key.key_id, cell(key.name), person, " ".join(key.scopes), made, ends, used, _state(key))
    Console(highlight=False).print(table)


def _service(connection: Connection, deployment: Deployment) -> ApiKeys:
    keyring, index = keys_of(deployment)
    return ApiKeys(connection, keyring, index)


def _state(key: api_keys.ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "works" if key.expires_at > datetime.now(UTC) else "over"


@click.command()
@click.argument("key_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@DATA_DIR_OPTION
def revoke_api_key(*, key_id: str, yes: bool, data_dir: str | None) -> None:
    """Revoke an API key permanently. KEY_ID is the id that list-api-keys shows, not the key itself."""

    async def work(connection: Connection) -> None:
        service = _service(connection, deployment)
        try:
            name = (await service.usable(key_id)).name
            if not yes:
                confirm(f"Revoke {key_id} ({name})? Programs that use it lose access.")
            await service.revoke(key_id, by=OPERATOR)
        except Unknown as error:
            # Not repeated: it may be the key itself.
            listing = admin_command(deployment, "list-api-keys", "--all")
            raise fail(f"There is no API key of that id, or it was revoked before. All there are: {listing}") from error

    with opened(data_dir) as deployment:
        with_connection(deployment, work)
    say(f"Key {key_id} gets no more tokens. Those that it got end within seconds.")
