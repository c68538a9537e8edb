"""``cell-monitor admin``: courses, people, keys and failed events, straight in the stores."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import click

from cell_monitor import container_secrets
from cell_monitor.accounts import (
    ENCRYPTION_KEYS_FILE,
    INSTRUCTOR,
    SIGNING_KEYS_FILE,
    make_login_roles,
    read_keys,
    seed_sample_course,
)
from cell_monitor.commands import api_keys, audit, course_settings, failed_events, joining, roster, thresholds
from cell_monitor.commands.stores import opened, with_connection
from cell_monitor.commands.terminal import DATA_DIR_OPTION, fail, say
from cell_monitor.deployment import Deployment
from cell_monitor.secret_folder import SecretFolder
from cell_monitor_core.auth.audit import OPERATOR, AuditAction
from cell_monitor_core.auth.signing_keys import SigningKeys
from cell_monitor_core.crypto import KeyRing, generate_key
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.storage.postgres.audit import record
from cell_monitor_core.storage.postgres.migrations import MigrationError, migrate
from cell_monitor_core.storage.postgres.pool import Connection
from cell_monitor_core.storage.postgres.rotation import RotationProgress, RotationResult, rotate

__all__ = ["admin"]


@click.group(short_help="Courses, people, API keys, failed events, key rotation.")
def admin() -> None:
    """Work straight on the database, whether the services run or not.

    It is the database of the data directory, or, with CELL_MONITOR_DATABASE_URL in the environment, the one that it
    names; of the services' other settings a command needs those that it uses, and says which one is missing.

    \b
    Examples:
      cell-monitor admin create-course physics-1 "Physics 1"
      cell-monitor admin add-member physics-1 sato --role instructor --display-name "佐藤 葵"
      cell-monitor admin list-members physics-1
      cell-monitor admin remove-member physics-1 sato
      cell-monitor admin rename-course physics-1 "Physics 1, spring"
      cell-monitor admin link-group physics-1 physics-staff instructor --issuer hub
      cell-monitor admin open-joining physics-1 --minutes 90
      cell-monitor admin create-api-key "lab 3" --scope events:write --person tanaka --days 180
      cell-monitor admin list-api-keys
      cell-monitor admin audit --course physics-1 --action work_opened
      cell-monitor admin failed-events
    """  # noqa: D301 - click's own mark


for _command in (
    roster.create_course,
    roster.add_member,
    roster.remove_member,
    roster.list_members,
    joining.open_joining,
    joining.close_joining,
    joining.join_code,
    thresholds.set_thresholds,
    course_settings.rename_course,
    course_settings.set_ruling_source,
    course_settings.link_group,
    course_settings.unlink_group,
    course_settings.list_group_links,
    api_keys.create_api_key,
    api_keys.list_api_keys,
    api_keys.revoke_api_key,
    audit.show_audit,
    failed_events.list_failed_events,
    failed_events.replay_failed_events,
):
    admin.add_command(_command)


@admin.command()
@click.option("--signing", is_flag=True, help="Rotate the key that signs access tokens instead.")
@DATA_DIR_OPTION
def rotate_keys(*, signing: bool, data_dir: str | None) -> None:
    """Encrypt all personal data with a new key; or sign tokens with a new key.

    In a data directory the new key is made here, and the services must be stopped for it. For an installation given by
    the environment add the new key to the services' key ring first (as "active", the old ones kept), restart them, then
    run this: it rewrites what older keys encrypted. It may be cut off and started again.
    """
    with opened(data_dir) as deployment:
        if signing:
            _rotate_signing(deployment)
            return
        if deployment.data is not None:
            if deployment.running:
                raise fail("Stop `cell-monitor up` first: the running services do not know the new key.")
            ring = _add_encryption_key(deployment.data.secrets)
        else:
            ring = KeyRing.from_settings(deployment.settings)

        def show(now: RotationProgress) -> None:
            say(f"{now.table}.{now.column}: {now.done:,} of {now.total:,}")

        async def work(connection: Connection) -> RotationResult:
            # Entered first: the rows are rewritten in many transactions, of which the last may never come.
            await record(connection, AuditAction.ENCRYPTION_KEY_ROTATED, OPERATOR)
            return await rotate(connection, ring, on_progress=show)

        result = with_connection(deployment, work)
    for line in result.unreadable:
        say(line)
    say(f"{result.rewritten:,} values are now encrypted with the key {ring.active}.")
    if result.unreadable:
        raise fail(f"{len(result.unreadable):,} values cannot be read with any key of the ring; they are as they were.")


def _add_encryption_key(secrets: SecretFolder) -> KeyRing:
    ring: dict[str, Any] = json.loads(secrets.get(ENCRYPTION_KEYS_FILE))
    name = next(name for name in (f"k{number}" for number in range(1, 10_000)) if name not in ring["keys"])
    ring["keys"][name] = generate_key()
    ring["active"] = name
    text = json.dumps(ring)
    # The old keys stay in the ring: a backup is encrypted with them.
    secrets.put(ENCRYPTION_KEYS_FILE, text)
    return KeyRing.from_json(text)


def _rotate_signing(deployment: Deployment) -> None:
    if deployment.data is None:
        raise fail("Signing keys of an installation given by the environment are rotated where they are kept.")
    with_connection(deployment, lambda connection: record(connection, AuditAction.SIGNING_KEY_ROTATED, OPERATOR))
    keys = SigningKeys.load(deployment.data.secrets.get(SIGNING_KEYS_FILE))
    deployment.data.secrets.put(SIGNING_KEYS_FILE, keys.with_new_key().to_json())
    say("Tokens are signed with a new key; those already given out stay valid until they end, within ten minutes.")


@admin.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--postgres-host", default="postgres:5432", show_default=True)
@click.option("--valkey-host", default="valkey:6379", show_default=True)
@click.option(
    "--service-folders",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder with one folder or volume per service; each gets a copy of the secrets that the service reads.",
)
def create_secrets(*, folder: Path, postgres_host: str, valkey_host: str, service_folders: Path | None) -> None:
    """Create the secrets of an installation in containers, one per file. Existing ones are kept.

    See compose.yaml for their use. Keep a copy of FOLDER: without its encryption keys the personal data in the database
    cannot be decrypted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    secrets = SecretFolder(folder)
    container_secrets.create_secrets(secrets, postgres_host=postgres_host, valkey_host=valkey_host)
    say(f"The secrets are in {folder}.")
    if service_folders is not None:
        container_secrets.copy_to_services(secrets, service_folders)
        say(f"The copies for the services are in {service_folders}.")


@admin.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def prepare(*, folder: Path) -> None:
    """Migrate the database, create the services' logins and the sample course; print how its instructor signs in.

    FOLDER contains the secrets that create-secrets created. The command can be run at every start.
    """
    secrets = SecretFolder(folder)
    dsn = secrets.get("database-url")
    try:
        asyncio.run(migrate(dsn, say, keys=read_keys(secrets)))
        asyncio.run(make_login_roles(dsn, secrets))
        asyncio.run(seed_sample_course(dsn, secrets))
    except (MigrationError, StoreUnavailable) as error:
        raise fail(str(error)) from error
    # The output of a container is kept in a log, which is no place for a password or a link.
    say(f"The sample course is ready. For a link that signs its instructor {INSTRUCTOR} in once:")
    say("    docker compose run --rm tools sign-in-link --url http://127.0.0.1:8900")
