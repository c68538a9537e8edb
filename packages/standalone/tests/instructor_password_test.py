"""Hazard: the password in the secrets of an installation does not sign in, or an earlier one still does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from cell_monitor.accounts import (
    INSTRUCTOR,
    INSTRUCTOR_PASSWORD_FILE,
    prepare_keys,
    read_keys,
    seed_sample_course,
)
from cell_monitor.secret_folder import SecretFolder
from cell_monitor_core.auth.passwords import verify_password
from cell_monitor_core.storage.postgres import accounts, sign_ins
from cell_monitor_core.storage.postgres.pool import Connection, connect

T = TypeVar("T")
COOKIE = b"thief" * 7


class Installation:
    """A database and the secrets of an installation on this machine."""

    def __init__(self, database: str, folder: Path) -> None:
        self._database = database
        self._folder = folder
        prepare_keys(SecretFolder(folder))

    def start(self) -> str:
        """Do what a start does with the database; return the password that the secrets then contain."""
        secrets = SecretFolder(self._folder)
        asyncio.run(seed_sample_course(self._database, secrets))
        return secrets.get(INSTRUCTOR_PASSWORD_FILE)

    def forget_password(self) -> None:
        (self._folder / INSTRUCTOR_PASSWORD_FILE).unlink()

    def ask(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async def main() -> T:
            connection = await connect(self._database, application_name="test")
            try:
                return await work(connection)
            finally:
                await connection.close()

        return asyncio.run(main())

    def account(self) -> accounts.Account:
        _, index = read_keys(SecretFolder(self._folder))
        found = self.ask(lambda connection: accounts.find(connection, index, INSTRUCTOR))
        assert found is not None
        return found

    def sign_in(self) -> None:
        person_id, later = self.account().person_id, datetime.now(UTC) + timedelta(days=1)
        self.ask(lambda connection: sign_ins.create(connection, COOKIE, person_id, later))

    def is_signed_in(self) -> bool:
        return self.ask(lambda connection: sign_ins.get(connection, COOKIE)) is not None


@pytest.fixture
def site(database: str, tmp_path: Path) -> Installation:
    return Installation(database, tmp_path)


def test_the_password_in_the_secrets_is_the_instructors_and_a_restart_signs_nobody_out(site: Installation) -> None:
    password = site.start()
    assert verify_password(site.account().password_hash, password)
    person_id = site.account().person_id
    own = site.ask(lambda connection: accounts.of_person(connection, person_id))
    assert own.by_installation
    before = site.account().password_hash
    site.sign_in()
    assert site.start() == password
    assert site.account().password_hash == before
    assert site.is_signed_in()


def test_a_new_password_in_the_secrets_ends_the_sign_ins_with_the_earlier_one(site: Installation) -> None:
    earlier = site.start()
    site.sign_in()
    site.forget_password()
    password = site.start()
    assert password != earlier
    assert verify_password(site.account().password_hash, password)
    assert not site.is_signed_in()
    (reset,) = site.ask(
        lambda connection: connection.fetch("SELECT * FROM audit_entries WHERE action = 'password_reset'")
    )
    assert (reset["actor_kind"], reset["subject_id"]) == ("operator", site.account().person_id)


def test_an_account_of_an_earlier_release_keeps_its_password_and_sign_ins(site: Installation) -> None:
    password = site.start()
    site.sign_in()
    site.ask(lambda connection: connection.execute("UPDATE local_accounts SET by_installation = false"))
    assert site.start() == password
    assert site.is_signed_in()
    person_id = site.account().person_id
    own = site.ask(lambda connection: accounts.of_person(connection, person_id))
    assert own.by_installation
