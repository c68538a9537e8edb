"""Hazards: the command prints a link that cannot be used, of another person, or more than the link; a reset leaves who
knows the password signed in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

import pytest
from click.testing import CliRunner, Result

from cell_monitor.cli import main
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.settings import CoreSettings
from cell_monitor_core.storage.postgres import accounts, people, sign_in_links, sign_ins
from cell_monitor_core.storage.postgres.pool import Connection, connect

T = TypeVar("T")
URL = "https://monitor.example.org"


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, arguments)


def ask(database: str, work: Callable[[Connection], Awaitable[T]]) -> T:
    """Look into the database, or change it."""

    async def main() -> T:
        connection = await connect(database, application_name="test")
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(main())


def index() -> BlindIndex:
    return BlindIndex.from_settings(CoreSettings.load())


def person_of(database: str, username: str) -> UUID:
    keyring = KeyRing.from_settings(CoreSettings.load())
    found = ask(database, lambda connection: people.find(connection, keyring, index(), username))
    assert found is not None
    return found.person_id


@pytest.fixture
def site(api_rights: str) -> str:
    assert run("admin", "create-course", "physics-1", "Physics").exit_code == 0
    assert run("admin", "add-member", "physics-1", "sato", "--role", "instructor").exit_code == 0
    return api_rights


def test_the_link_is_the_only_output_and_ends_when_it_was_said(site: str) -> None:
    before = datetime.now(UTC)
    result = run("sign-in-link", "sato", "--url", URL, "--minutes", "60")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{URL}/courses#sign-in=")
    assert len(result.stdout.splitlines()) == 1

    async def expires_at(connection: Connection) -> datetime:
        ends: datetime = await connection.fetchval("SELECT expires_at FROM sign_in_links")
        return ends

    assert timedelta(minutes=59) < ask(site, expires_at) - before < timedelta(minutes=62)


@pytest.mark.usefixtures("site")
def test_an_unknown_person_or_address_is_named_with_what_to_do() -> None:
    unknown = run("sign-in-link", "nobody", "--url", URL)
    assert unknown.exit_code == 1
    assert "There is nobody called 'nobody': add them to a course first" in unknown.stderr
    without = run("sign-in-link", "sato")
    assert without.exit_code == 1
    assert "The dashboard's URL is not known here: give it with --url." in without.stderr
    assert run("sign-in-link", "sato", "--url", URL, "--minutes", "1441").exit_code == 2


@pytest.mark.parametrize("path", ["", "/", "//", "/monitor", "/monitor/"])
def test_a_slash_at_the_end_of_the_address_is_not_doubled(site: str, path: str) -> None:
    link = run("sign-in-link", "sato", "--url", f"https://monitor.example.org{path}").stdout.strip()
    assert link.partition("#")[0] == f"https://monitor.example.org{path.rstrip('/')}/courses"


@pytest.mark.parametrize(
    "url",
    [
        "monitor.example.org",
        "ftp://a.example",
        "https://",
        "https://[",
        "https://a/?b",
        "https://a/#b",
        "",
        "http://a b",
        "https://a:99999",
    ],
)
def test_what_is_no_address_of_a_dashboard_makes_no_link(site: str, url: str) -> None:
    refused = run("sign-in-link", "sato", "--url", url)
    assert refused.exit_code == 2
    assert "https://monitor.example.org" in refused.output


def test_a_reset_ends_the_password_and_the_sign_ins_with_it(site: str) -> None:
    assert run("admin", "add-member", "physics-1", "tanaka").exit_code == 0
    sato, tanaka = person_of(site, "sato"), person_of(site, "tanaka")
    later = datetime.now(UTC) + timedelta(days=1)

    async def signed_in(connection: Connection) -> str:
        for person_id, cookie in ((sato, b"thief" * 7), (tanaka, b"other" * 7)):
            await accounts.set_password(connection, person_id, "$argon2id$one")
            await sign_ins.create(connection, cookie, person_id, later)
        return await sign_in_links.create(connection, sato, timedelta(minutes=5))

    earlier = ask(site, signed_in)
    result = run("sign-in-link", "sato", "--reset-password", "--url", URL)
    assert result.exit_code == 0, result.output
    assert "signed out within seconds" in result.stderr
    link = result.stdout.strip().partition("#sign-in=")[2]

    async def left(connection: Connection) -> None:
        assert await accounts.find(connection, index(), "sato") is None
        assert await sign_ins.get(connection, b"thief" * 7) is None
        # Nobody had used it: it says that the reset ended it.
        refused = await sign_in_links.use(connection, earlier)
        assert isinstance(refused, sign_in_links.RefusedLink)
        assert (refused.why, refused.ended_by) == (
            sign_in_links.Refusal.ENDED,
            sign_in_links.EndedBy.PASSWORD_RESET,
        )
        used = await sign_in_links.use(connection, link)
        assert isinstance(used, sign_in_links.LinkUse)
        assert used.person_id == sato
        # Nobody else.
        assert await accounts.find(connection, index(), "tanaka") is not None
        assert await sign_ins.get(connection, b"other" * 7) is not None

    ask(site, left)


def test_without_a_reset_a_link_changes_nothing(site: str) -> None:
    sato = person_of(site, "sato")
    ask(site, lambda connection: accounts.set_password(connection, sato, "$argon2id$one"))
    assert run("sign-in-link", "sato", "--url", URL).exit_code == 0
    assert ask(site, lambda connection: accounts.find(connection, index(), "sato")) is not None


def test_a_reset_of_what_cannot_be_reset_here_says_what_to_do(site: str) -> None:
    keyring = KeyRing.from_settings(CoreSettings.load())

    async def prepare(connection: Connection) -> None:
        await people.upsert_many(connection, keyring, index(), [people.NewPerson("ueda")], issuer="https://hub.example")
        await accounts.set_installation_password(connection, person_of_sato, "$argon2id$one")

    person_of_sato = person_of(site, "sato")
    ask(site, prepare)
    elsewhere = run("sign-in-link", "ueda", "--reset-password", "--url", URL)
    assert (elsewhere.exit_code, "signs in elsewhere" in elsewhere.stderr) == (1, True)
    kept = run("sign-in-link", "sato", "--reset-password", "--url", URL)
    assert (kept.exit_code, "instructor-password" in kept.stderr) == (1, True)
    assert elsewhere.stdout == kept.stdout == ""
    assert ask(site, lambda connection: accounts.find(connection, index(), "sato")) is not None
