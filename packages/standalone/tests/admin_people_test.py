"""Hazards: a former member keeps access; a name reaches somebody else; keys cannot be revoked."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from click.testing import CliRunner, Result

from cell_monitor.cli import main
from cell_monitor_core.broker.redis_broker import RedisBroker
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.redis_client import aclose
from cell_monitor_core.redis_client import connect as connect_redis
from cell_monitor_core.settings import CoreSettings
from cell_monitor_core.storage.ports import Recovery
from cell_monitor_core.storage.postgres import api_keys, courses, identities, joined_computers, memberships, people
from cell_monitor_core.storage.postgres.memberships import Source
from cell_monitor_core.storage.postgres.pool import Connection, connect

T = TypeVar("T")


class Installation:
    """A database, and the command that works on it with the rights of the API alone."""

    def __init__(self, database: str) -> None:
        self._database = database

    def admin(self, *arguments: str, answer: str | None = None) -> Result:
        """Run a command; ``answer`` is typed at its question."""
        return CliRunner(env={"COLUMNS": "200"}).invoke(main, ["admin", *arguments], input=answer)

    def done(self, *arguments: str, answer: str | None = None) -> Result:
        """Run a command that succeeds."""
        result = self.admin(*arguments, answer=answer)
        assert result.exit_code == 0, result.output
        return result

    def ask(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Look into the database."""

        async def run() -> T:
            connection = await connect(self._database, application_name="test")
            try:
                return await work(connection)
            finally:
                await connection.close()

        return asyncio.run(run())

    def person(self, username: str) -> people.Person:
        """Return a person."""
        settings = CoreSettings.load()
        keyring, index = KeyRing.from_settings(settings), BlindIndex.from_settings(settings)
        found = self.ask(lambda connection: people.find(connection, keyring, index, username))
        assert found is not None
        return found

    def courses_of(self, username: str) -> dict[str, str]:
        """Return role by course, as the person's next token has it."""
        person_id = self.person(username).person_id
        return self.ask(lambda connection: memberships.roles_of(connection, person_id))

    def members(self, course_id: str) -> list[dict[str, Any]]:
        """Return what list-members prints for programs."""
        return [json.loads(line) for line in self.done("list-members", course_id, "--json").stdout.splitlines()]


@pytest.fixture
def site(api_rights: str) -> Installation:
    made = Installation(api_rights)
    for course_id in ("physics-1", "physics-2"):
        made.done("create-course", course_id, "Physics")
        made.done("add-member", course_id, "sato", "--role", "instructor", "--display-name", "佐藤 葵")
    made.done("add-member", "physics-1", "tanaka")
    return made


def test_a_member_is_removed_from_one_course_once_that_is_confirmed(site: Installation) -> None:
    kept = site.admin("remove-member", "physics-1", "sato", answer="n\n")
    assert kept.exit_code == 1
    assert "Remove sato (instructor) from physics-1?" in kept.stderr
    assert site.courses_of("sato") == {"physics-1": "instructor", "physics-2": "instructor"}
    # Without a terminal nobody can say yes.
    assert site.admin("remove-member", "physics-1", "sato").exit_code == 1
    removed = site.done("remove-member", "physics-1", "SATO", answer="y\n")
    # Nobody of the course can add one.
    assert "physics-1 has no instructor now" in removed.stderr
    assert "add-member physics-1 USERNAME --role instructor" in removed.stderr
    added = site.done("add-member", "physics-1", "suzuki", "--role", "instructor")
    assert "no instructor" not in added.stderr + site.done("remove-member", "physics-1", "tanaka", "--yes").stderr
    assert site.courses_of("sato") == {"physics-2": "instructor"}
    site.done("remove-member", "physics-2", "sato", "--yes")
    assert site.courses_of("sato") == {}


@pytest.mark.parametrize("username", ["nobody", "tanaka"])
def test_removing_somebody_who_is_no_member_says_how_to_find_out_who_is(site: Installation, username: str) -> None:
    refused = site.admin("remove-member", "physics-2", username, "--yes")
    assert refused.exit_code == 1
    assert f"Nobody called '{username}' is a member of physics-2" in refused.stderr
    assert "admin list-members physics-2" in refused.stderr
    missing = site.admin("remove-member", "physics-9", "sato", "--yes")
    assert (missing.exit_code, "There is no course 'physics-9'" in missing.stderr) == (1, True)


def test_who_joined_by_code_is_listed_with_that_source_and_their_computer_sends_no_more_once_removed(
    site: Installation,
) -> None:
    secret = "s" * 43

    async def join(connection: Connection) -> joined_computers.Computer | None:
        settings = CoreSettings.load()
        keyring, index = KeyRing.from_settings(settings), BlindIndex.from_settings(settings)
        return await joined_computers.add(
            connection, keyring, index, course_id="physics-1", name="tanaka", secret=secret
        )

    assert site.ask(join) is not None
    [listed] = [member for member in site.members("physics-1") if "join" in member["sources"]]
    assert (listed["display_name"], listed["sources"]) == ("tanaka", {"join": "student"})
    site.done("remove-member", "physics-1", listed["username"], "--yes")
    assert site.ask(lambda connection: joined_computers.find(connection, secret)) is None
    # The student of the roster whose name was typed stays.
    assert [member["username"] for member in site.members("physics-1")] == ["sato", "tanaka"]


def test_a_name_gives_the_administrators_terminal_no_order(site: Installation) -> None:
    name = "\x1b]0;owned\x07\x9b2J Ann\u202e [red]x[/red]\nLee"
    settings = CoreSettings.load()
    keyring, index = KeyRing.from_settings(settings), BlindIndex.from_settings(settings)

    async def enrol(connection: Connection) -> None:
        person = await people.upsert(connection, keyring, index, username="ann\u202eeve", display_name=name)
        await memberships.upsert_many(connection, "physics-1", {person: "student"})

    site.ask(enrol)
    outputs = [
        site.done("list-members", "physics-1").output,
        site.done("list-members", "physics-1", "--json").output,
        site.admin("remove-member", "physics-1", "ann\u202eeve", answer="n\n").output,
        site.done("remove-member", "physics-1", "ann\u202eeve", "--yes").output,
    ]
    for output in outputs:
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", output), output
        assert "ann" in output
    assert "[red]x[/red]" in outputs[0]
    assert "\\x1b]0;owned\\x07" in outputs[0]
    # A program reads the name as it is.
    assert name in {json.loads(line)["display_name"] for line in outputs[1].splitlines()}


def test_an_admin_of_the_site_can_be_made_one_no_longer(site: Installation) -> None:
    site.done("add-member", "physics-1", "sato", "--role", "instructor", "--site-admin")
    # Without the option the right is unchanged.
    site.done("add-member", "physics-1", "sato", "--role", "assistant")
    assert site.person("sato").is_admin
    site.done("add-member", "physics-1", "sato", "--role", "assistant", "--no-site-admin")
    assert not site.person("sato").is_admin


def test_removing_an_admin_says_that_they_still_see_everything_unless_that_goes_too(site: Installation) -> None:
    site.done("add-member", "physics-1", "sato", "--site-admin")
    said = site.done("remove-member", "physics-1", "sato", "--yes").stderr
    assert "still see every course" in said
    assert "--no-site-admin" in said
    assert site.person("sato").is_admin
    site.done("remove-member", "physics-2", "sato", "--yes", "--no-site-admin")
    assert not site.person("sato").is_admin


def test_members_are_listed_with_what_they_may_do(site: Installation) -> None:
    site.done("add-member", "physics-1", "[b]ito", "--role", "observer", "--site-admin")
    listed = [(member["username"], member["role"], member["site_admin"]) for member in site.members("physics-1")]
    assert listed == [("sato", "instructor", False), ("[b]ito", "observer", True), ("tanaka", "student", False)]
    assert {member["username"]: member["display_name"] for member in site.members("physics-2")} == {"sato": "佐藤 葵"}
    assert {json.dumps(member["sources"]) for member in site.members("physics-2")} == {'{"roster": "instructor"}'}
    shown = site.done("list-members", "physics-1").stdout
    assert "3 members of physics-1" in shown
    # A name is text, whatever brackets it has.
    assert "[b]ito" in shown


def test_members_show_their_source_and_are_removed_from_the_roster_only(site: Installation) -> None:
    sato, tanaka = site.person("sato").person_id, site.person("tanaka").person_id

    async def speak(connection: Connection) -> None:
        await memberships.upsert_many(
            connection, "physics-1", {sato: "assistant", tanaka: "student"}, source=Source.HUB
        )

    site.ask(speak)
    shown = site.done("list-members", "physics-1").stdout
    assert re.search(r"sato .* instructor .* hub: assistant, roster: instructor", shown)
    assert re.search(r"tanaka .* student .* hub, roster", shown)
    said = site.done("remove-member", "physics-1", "sato", "--yes").stderr
    assert "no longer in the roster of physics-1, but still assistant" in said
    assert site.courses_of("sato")["physics-1"] == "assistant"
    refused = site.admin("remove-member", "physics-1", "sato", "--yes")
    assert (refused.exit_code, "by hub: remove them there" in refused.stderr) == (1, True)
    site.ask(lambda connection: courses.set_ruling_source(connection, "physics-1", Source.HUB))
    said = site.done("add-member", "physics-1", "sato", "--role", "instructor").stderr
    assert "In the roster they are instructor, but what counts is what another source says: assistant." in said


def test_a_person_of_another_issuer_gets_a_role_and_no_local_account_does(site: Installation) -> None:
    issuer = "https://login.example.org"
    said = site.done("add-member", "physics-1", "ueda", "--role", "assistant", "--issuer", issuer).stderr
    assert f"ueda is assistant of physics-1. They sign in at {issuer}." in said
    index = BlindIndex.from_settings(CoreSettings.load())
    there = site.ask(lambda connection: identities.person_of(connection, index, issuer, "ueda"))
    assert site.ask(lambda connection: identities.person_of(connection, index, "local", "ueda")) is None
    assert site.ask(lambda connection: memberships.roles_of(connection, there)) == {"physics-1": "assistant"}
    # Once more: the same person.
    site.done("add-member", "physics-1", "ueda", "--role", "instructor", "--issuer", issuer)
    assert site.ask(lambda connection: memberships.roles_of(connection, there)) == {"physics-1": "instructor"}
    assert site.admin("add-member", "physics-1", "ueda", "--issuer", "two words").exit_code == 2


_WIDE_MORI = "\uff4d\uff4f\uff52\uff49"
"""Folds to "mori"."""


def test_of_people_of_one_name_at_several_issuers_the_command_reaches_the_one_that_is_meant(site: Installation) -> None:
    """The Hub's mori and the local one are two people; so are those of two Hubs, and one whose name folds to theirs."""
    login = "https://login.example.org"
    site.done("add-member", "physics-1", "mori", "--role", "assistant", "--issuer", "jupyterhub")
    site.done("add-member", "physics-2", "mori")
    # One of them is a member: no other is meant.
    assert "mori is no longer a member of physics-1" in site.done("remove-member", "physics-1", "mori", "--yes").stderr
    for issuer in ("jupyterhub", login):
        site.done("add-member", "physics-1", "mori", "--role", "assistant", "--issuer", issuer)
    site.done("add-member", "physics-1", _WIDE_MORI, "--issuer", "jupyterhub")
    refused = site.admin("remove-member", "physics-1", "mori", "--yes")
    assert (refused.exit_code, f"with --issuer: {login}, jupyterhub" in " ".join(refused.stderr.split())) == (1, True)
    site.done("remove-member", "physics-1", "mori", "--issuer", login, "--yes")
    unknown = site.admin("remove-member", "physics-1", "mori", "--issuer", login, "--yes")
    assert (unknown.exit_code, f"who signs in at {login} is a member of physics-1" in unknown.stderr) == (1, True)
    site.done("remove-member", "physics-1", "mori", "--yes")
    site.done("remove-member", "physics-1", _WIDE_MORI, "--yes")
    index = BlindIndex.from_settings(CoreSettings.load())
    for issuer, courses_left in (("jupyterhub", {}), (login, {}), ("local", {"physics-2": "student"})):
        there = site.ask(lambda connection, issuer=issuer: identities.person_of(connection, index, issuer, "mori"))
        assert site.ask(lambda connection, there=there: memberships.roles_of(connection, there)) == courses_left
    # Where no course says it, the account of this installation is meant.
    for whose in ([], ["--issuer", "jupyterhub"]):
        key = site.done("create-api-key", "k", "--scope", "events:write", "--person", "mori", *whose).stdout.strip()
        issuer = whose[1] if whose else "local"
        there = site.ask(lambda connection, issuer=issuer: identities.person_of(connection, index, issuer, "mori"))
        made = site.ask(lambda connection, key=key: api_keys.verify(connection, key))
        assert made.person_id == there


def test_a_name_that_is_typed_in_another_case_reaches_nobody_by_chance(site: Installation) -> None:
    said = site.done("add-member", "physics-1", "Sato").stderr
    assert "'Sato' was added as a new person; others are called 'sato'" in said
    assert site.person("Sato").person_id != site.person("sato").person_id
    refused = site.admin("create-api-key", "k", "--scope", "events:write", "--person", "SATO")
    assert (refused.exit_code, "Several people are called like 'SATO': 'sato', 'Sato'" in refused.stderr) == (1, True)
    assert "Spell the name exactly" in refused.stderr


def test_a_key_is_listed_and_revoked_without_showing_its_secret(site: Installation) -> None:
    key = site.done("create-api-key", "lab 3", "--scope", "events:write", "--person", "tanaka").stdout.strip()
    site.done("create-api-key", "reports", "--scope", "courses:read")
    key_id = key.split("_")[1]
    table, lines = site.done("list-api-keys").stdout, site.done("list-api-keys", "--json").stdout
    for word in (key_id, "lab 3", "tanaka", "events:write", "reports", "none: a service", "2 API keys work"):
        assert word in table
    assert key.split("_", 2)[2] not in table + lines
    assert [json.loads(line)["username"] for line in lines.splitlines()] == [None, "tanaka"]

    def works() -> bool:
        return site.ask(lambda connection: api_keys.verify(connection, key)) is not None

    kept = site.admin("revoke-api-key", key_id, answer="n\n")
    assert (kept.exit_code, "lab 3" in kept.stderr, works()) == (1, True, True)
    site.done("revoke-api-key", key_id, answer="y\n")
    assert not works()
    assert key_id not in site.done("list-api-keys").stdout
    assert re.search(rf"{key_id}.*revoked", site.done("list-api-keys", "--all").stdout)
    again = site.admin("revoke-api-key", key_id, "--yes")
    assert (again.exit_code, "list-api-keys --all" in again.stderr) == (1, True)
    # Somebody gives the key itself: it must not go into a log of the terminal once more.
    assert key not in site.admin("revoke-api-key", key, "--yes").output


def test_the_command_makes_no_key_that_outlives_those_of_the_api(site: Installation) -> None:
    days = str(api_keys.MAX_DAYS)
    site.done("create-api-key", "lab", "--scope", "events:write", "--days", days)
    refused = site.admin("create-api-key", "lab", "--scope", "events:write", "--days", str(api_keys.MAX_DAYS + 1))
    assert (refused.exit_code, f"1<=x<={days}" in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    "command", [("admin", "failed-events"), ("admin", "list-members", "physics-1"), ("rebuild", "--check")]
)
def test_a_database_of_another_release_is_refused_with_what_to_do(site: Installation, command: tuple[str, ...]) -> None:
    async def older(connection: Connection) -> None:
        await connection.execute("DELETE FROM schema_version WHERE version = (SELECT max(version) FROM schema_version)")

    site.ask(older)
    result = CliRunner(env={"COLUMNS": "200"}).invoke(main, command)
    assert result.exit_code == 1
    assert "database schema is version" in result.output
    assert "migrate it" in result.output
    assert isinstance(result.exception, SystemExit)


def publications(redis_url: str, position: tuple[str, int] | None = None) -> tuple[tuple[str, int], Recovery]:
    """Return where the channel of physics-1 is, and what a page recovers that has followed it until a position."""

    async def run() -> tuple[tuple[str, int], Recovery]:
        client = connect_redis(redis_url, name="test")
        try:
            broker = RedisBroker(client, partitions=CoreSettings.load().partitions)
            now = await broker.position("course:physics-1")
            epoch, offset = position or (now.epoch, now.offset)
            return (now.epoch, now.offset), await broker.recover("course:physics-1", epoch, offset, limit=100)
        finally:
            await aclose(client)

    return asyncio.run(run())


def test_an_open_page_sees_a_change_of_the_roster_at_once(
    site: Installation, valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELL_MONITOR_REDIS_URL", valkey)
    start, _ = publications(valkey)
    site.done("add-member", "physics-1", "suzuki")
    added, recovery = publications(valkey, start)
    assert [json.loads(bytes(each.state))["students"] for each in recovery.publications] == [2]
    removed = site.done("remove-member", "physics-1", "suzuki", "--yes")
    assert "Redis" not in removed.output
    _, recovery = publications(valkey, added)
    assert [json.loads(bytes(each.state))["students"] for each in recovery.publications] == [1]
    # A page that missed something of the former member fetches the course as it is now.
    assert not publications(valkey, start)[1].recovered


def test_without_redis_the_change_is_made_and_the_message_says_what_is_missing(site: Installation) -> None:
    added = site.done("add-member", "physics-1", "suzuki")
    assert "Redis is unavailable" in added.output
    assert site.courses_of("suzuki") == {"physics-1": "student"}


@pytest.mark.parametrize("columns", ["80", "40"])
def test_ids_of_keys_are_never_broken(site: Installation, columns: str) -> None:
    scopes = [part for scope in ("events:write", "courses:read", "roster:write") for part in ("--scope", scope)]
    for name in ("lab 3", "a name of a key that is longer than anybody will ever need", "実験室の鍵"):
        site.done("create-api-key", name, *scopes, "--person", "tanaka")
    ids = [json.loads(line)["key_id"] for line in site.done("list-api-keys", "--json").stdout.splitlines()]
    assert len(ids) == 3
    listed = CliRunner(env={"COLUMNS": columns}).invoke(main, ["admin", "list-api-keys"])
    for key_id in ids:
        assert key_id in listed.stdout


def test_no_hidden_character_of_a_name_reaches_the_terminal(site: Installation) -> None:
    hidden = "\u202e\u200b\u200d\ufe0f\xa0\u2800\U000e0041\ue000\x9b"
    name = f"e{hidden}" + 9 * "\u0301"
    site.done("add-member", "physics-1", name, "--display-name", f"X{hidden}")
    outputs = [
        site.done("list-members", "physics-1"),
        site.done("list-members", "physics-1", "--json"),
        site.admin("add-member", "physics-1", name.upper()),
        site.done("create-api-key", f"k{hidden}", "--scope", "events:write", "--person", name),
        site.done("list-api-keys"),
        site.admin("remove-member", "physics-2", name),
        site.done("remove-member", "physics-1", name, answer="y\n"),
    ]
    for result in outputs:
        assert not set(hidden) & set(result.output), result.output
        assert 5 * "\u0301" not in result.output


WRONG = [
    ("create-course", "Physics", "T"),
    ("create-course", "c3\n", "T"),
    ("create-course", "c3", "a\x00b"),
    ("create-course", "c3", "\ud800"),
    ("create-course", "c3", "t" * 201),
    ("add-member", "physics-1", ""),
    ("add-member", "physics-1", " ann"),
    ("add-member", "physics-1", "a\x00b"),
    ("add-member", "physics-1", "\ud800"),
    ("add-member", "physics-1", "x" * 151),
    ("add-member", "physics-1", "ann", "--display-name", "\x1b[2J"),
    ("add-member", "c\x00", "ann"),
    ("remove-member", "physics-1", "\ud800", "--yes"),
    ("list-members", "\ud800"),
    ("set-thresholds", "c\x00"),
    ("create-api-key", "n" * 101, "--scope", "events:write"),
    ("create-api-key", "", "--scope", "events:write"),
    ("create-api-key", "n", "--scope", "events:write", "--person", "\ud800"),
]


@pytest.mark.parametrize("command", WRONG, ids=lambda command: ascii(" ".join(command))[:60])
def test_what_no_store_takes_is_refused_before_anything_is_done(site: Installation, command: tuple[str, ...]) -> None:
    refused = site.admin(*command)
    assert refused.exit_code == 2
    assert isinstance(refused.exception, SystemExit)
    assert "Invalid value" in refused.output
    assert not {"\x00", "\x1b", "\ud800"} & set(refused.output)
