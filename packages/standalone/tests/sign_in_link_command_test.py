"""Hazard: the command prints a link that cannot be used, of another person, or more than the link."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner, Result

from cell_monitor.cli import main
from cell_monitor_core.storage.postgres.pool import connect

URL = "https://monitor.example.org"


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, arguments)


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

    async def expires_at() -> datetime:
        connection = await connect(site, application_name="test")
        try:
            ends: datetime = await connection.fetchval("SELECT expires_at FROM sign_in_links")
            return ends
        finally:
            await connection.close()

    assert timedelta(minutes=59) < asyncio.run(expires_at()) - before < timedelta(minutes=62)


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
    "url", ["monitor.example.org", "ftp://a.example", "https://", "https://[", "https://a/?b", "https://a/#b", ""]
)
def test_what_is_no_address_of_a_dashboard_makes_no_link(site: str, url: str) -> None:
    refused = run("sign-in-link", "sato", "--url", url)
    assert refused.exit_code == 2
    assert "https://monitor.example.org" in refused.output
