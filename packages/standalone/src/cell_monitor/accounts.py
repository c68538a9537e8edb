"""What ``up`` puts into a database: login roles of the services, the sample course and who is in it.

All of it may be done at every start: what is there already stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Final
from uuid import UUID

from cell_monitor.secret_folder import SecretFolder
from cell_monitor_core.auth.audit import OPERATOR, AuditAction
from cell_monitor_core.auth.passwords import hash_password, verify_password
from cell_monitor_core.auth.signing_keys import SigningKeys
from cell_monitor_core.crypto import BlindIndex, KeyRing, generate_key
from cell_monitor_core.storage.postgres import (
    accounts,
    api_keys,
    audit,
    courses,
    memberships,
    people,
    sign_in_links,
    sign_ins,
)
from cell_monitor_core.storage.postgres.pool import Connection, connect
from cell_monitor_core.storage.postgres.roles import API_ROLE, WORKER_ROLE
from cell_monitor_core.storage.postgres.sign_in_links import EndedBy

__all__ = [
    "ENCRYPTION_KEYS_FILE",
    "INDEX_KEY_FILE",
    "INSTRUCTOR",
    "INSTRUCTOR_PASSWORD_FILE",
    "SAMPLE_COURSE",
    "SIGNING_KEYS_FILE",
    "SIMULATOR_KEY_FILE",
    "STUDENT",
    "STUDENT_KEY_FILE",
    "copy_sample_notebooks",
    "login_of",
    "make_login_roles",
    "make_sign_in_link",
    "prepare_keys",
    "read_keys",
    "seed_sample_course",
]

SAMPLE_COURSE: Final = "intro-python"
SAMPLE_TITLE: Final = "Introduction to Python"
INSTRUCTOR: Final = "instructor"
STUDENT: Final = "student"

ENCRYPTION_KEYS_FILE: Final = "encryption-keys.json"
INDEX_KEY_FILE: Final = "index-key"
SIGNING_KEYS_FILE: Final = "signing-keys.json"
INSTRUCTOR_PASSWORD_FILE: Final = "instructor-password"  # noqa: S105 - the name of its file
STUDENT_KEY_FILE: Final = "student-api-key"
SIMULATOR_KEY_FILE: Final = "simulator-api-key"

_KEY_LIFETIME: Final = timedelta(days=365)
_RENEW_BEFORE: Final = timedelta(days=30)


def prepare_keys(secrets: SecretFolder) -> None:
    """Make the keys that a new installation needs; those that exist stay."""
    secrets.get(ENCRYPTION_KEYS_FILE, lambda: json.dumps({"active": "k1", "keys": {"k1": generate_key()}}))
    secrets.get(INDEX_KEY_FILE, generate_key)
    secrets.get(SIGNING_KEYS_FILE, lambda: SigningKeys.generate().to_json())


def read_keys(secrets: SecretFolder) -> tuple[KeyRing, BlindIndex]:
    """Return the keys that encrypt people's data and index their names."""
    return KeyRing.from_json(secrets.get(ENCRYPTION_KEYS_FILE)), BlindIndex.from_text(secrets.get(INDEX_KEY_FILE))


def login_of(role: str, secrets: SecretFolder) -> tuple[str, str]:
    """Return the login that a service uses for a role, and its password."""
    login = f"{role}_login"
    return login, secrets.get(f"{login}-password")


async def make_login_roles(dsn: str, secrets: SecretFolder) -> dict[str, tuple[str, str]]:
    """Make a database login of least privilege for each service; return ``{role: (login, password)}``.

    Args:
        dsn: of the migrated database, as its owner.
        secrets: keeps the passwords.
    """
    logins = {}
    connection = await connect(dsn, application_name="cell-monitor-up")
    try:
        for role in (API_ROLE, WORKER_ROLE):
            login, password = login_of(role, secrets)
            if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", login):
                await connection.execute(f"CREATE ROLE {login} LOGIN IN ROLE {role}")
            # A statement of this kind takes no parameters; format() quotes.
            await connection.execute(
                await connection.fetchval(
                    "SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text)", login, password
                )
            )
            logins[role] = (login, password)
    finally:
        await connection.close()
    return logins


async def seed_sample_course(dsn: str, secrets: SecretFolder) -> None:
    """Make the sample course with its instructor, its student and the API keys of JupyterLab and the simulator."""
    keyring, index = read_keys(secrets)
    connection = await connect(dsn, application_name="cell-monitor-up")
    try:
        async with connection.transaction():
            await courses.create(connection, SAMPLE_COURSE, SAMPLE_TITLE)
            instructor = await people.upsert(connection, keyring, index, username=INSTRUCTOR, display_name="Instructor")
            student = await people.upsert(connection, keyring, index, username=STUDENT, display_name="Student")
            await memberships.upsert_many(connection, SAMPLE_COURSE, {instructor: "instructor", student: "student"})
            await _keep_password(connection, instructor, secrets.get(INSTRUCTOR_PASSWORD_FILE))
            await _keep_api_key(connection, secrets, STUDENT_KEY_FILE, ["events:write"], student)
            await _keep_api_key(
                connection, secrets, SIMULATOR_KEY_FILE, ["events:write", "people:act_as", "roster:write"], None
            )
    finally:
        await connection.close()


async def make_sign_in_link(dsn: str, secrets: SecretFolder, lifetime: timedelta) -> str:
    """Make a link that signs the sample course's instructor in once; return its secret part."""
    keyring, index = read_keys(secrets)
    connection = await connect(dsn, application_name="cell-monitor-up")
    try:
        instructor = await people.find(connection, keyring, index, INSTRUCTOR)
        assert instructor is not None  # seed_sample_course made it
        async with connection.transaction():
            await audit.record(connection, AuditAction.SIGN_IN_LINK_CREATED, OPERATOR, subject=instructor.person_id)
            return await sign_in_links.create(connection, instructor.person_id, lifetime)
    finally:
        await connection.close()


async def _keep_password(connection: Connection, person_id: UUID, password: str) -> None:
    """Let the password in the installation's secrets be the one that works; another one ends the sign-ins."""
    account = await accounts.of_person(connection, person_id)
    same = verify_password(account.password_hash, password)
    if same and account.by_installation:
        return
    await accounts.set_installation_password(connection, person_id, hash_password(password))
    if account.password_hash is not None and not same:
        await sign_ins.revoke_person(connection, person_id)
        await sign_in_links.revoke_person(connection, person_id, EndedBy.PASSWORD_RESET, by=OPERATOR)
        await audit.record(connection, AuditAction.PASSWORD_RESET, OPERATOR, subject=person_id)


async def _keep_api_key(
    connection: Connection, secrets: SecretFolder, file: str, scopes: Sequence[str], person_id: UUID | None
) -> None:
    if secrets.has(file):
        key = await api_keys.verify(connection, secrets.get(file))
        if key is not None and set(key.scopes) == set(scopes) and key.expires_at - datetime.now(UTC) > _RENEW_BEFORE:
            return
    _, text = await api_keys.create(
        connection,
        name=f"{file} of this machine",
        scopes=scopes,
        expires_at=datetime.now(UTC) + _KEY_LIFETIME,
        person_id=person_id,
    )
    secrets.put(file, text)


def copy_sample_notebooks(work: Path) -> None:
    """Put the sample notebook into JupyterLab's folder; a student's copy is never overwritten."""
    work.mkdir(exist_ok=True)
    for entry in resources.files("cell_monitor").joinpath("sample").iterdir():
        target = work / entry.name
        if entry.name.endswith(".ipynb") and not target.exists():
            target.write_bytes(entry.read_bytes())
