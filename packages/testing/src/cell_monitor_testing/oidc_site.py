"""An OpenID Connect provider with an API whose people sign in there."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import httpx

from cell_monitor_core.storage.postgres import courses
from cell_monitor_testing.api_site import ApiSite
from cell_monitor_testing.keys import SampleSecrets
from cell_monitor_testing.oidc_provider import CLIENT_ID, CLIENT_SECRET, OidcProviderProcess
from cell_monitor_testing.processes import ServiceProcess
from cell_monitor_testing.servers import TestDatabases, run_apart

__all__ = ["OidcSite", "OidcSites", "callback_of"]

T = TypeVar("T")


@dataclass(kw_only=True)
class OidcSite(ApiSite):
    """A provider, and an API with its database that signs people in there."""

    provider: OidcProviderProcess

    def started(self, browser: httpx.Client) -> str:
        """Begin a sign-in as the page's button does, and return the address of the provider."""
        answer = browser.get(f"{self.api}/api/v1/auth/oidc/start", follow_redirects=False)
        assert answer.status_code == 303, answer.text
        return str(answer.headers["location"])

    def begun(self, browser: httpx.Client, subject: str) -> str:
        """Sign in at the provider, and return the address with which it sends the browser back, unopened."""
        return self.provider.answered(browser, self.started(browser), subject)

    def sign_in(self, browser: httpx.Client, subject: str) -> httpx.Response:
        """Sign in, and return the answer that sends the browser to the dashboard."""
        return browser.get(self.begun(browser, subject), follow_redirects=False)

    def person(self, subject: str) -> UUID | None:
        """Return the id of the person of a subject of the provider."""
        return self.person_of(self.provider.issuer, subject)


def callback_of(api_port: int) -> str:
    """Return where a provider sends browsers back to."""
    return f"http://127.0.0.1:{api_port}/api/v1/auth/oidc/callback"


@dataclass
class OidcSites:
    """Makes APIs, each over an empty database with the courses physics and chemistry; ``stop`` ends them."""

    databases: TestDatabases
    valkey: str
    secrets: SampleSecrets
    folder: Path
    _started: list[tuple[ServiceProcess, str]] = field(default_factory=list)

    def __call__(self, provider: OidcProviderProcess, api_port: int, **settings: str) -> OidcSite:
        """Start an API for a provider."""
        dsn = run_apart(self.databases.create)
        api = ServiceProcess(
            "cell_monitor_api",
            env={
                "CELL_MONITOR_API_PORT": str(api_port),
                "CELL_MONITOR_REDIS_URL": self.valkey,
                "CELL_MONITOR_DATABASE_URL": dsn,
                "CELL_MONITOR_PUBLIC_URL": f"http://127.0.0.1:{api_port}",
                "CELL_MONITOR_API_OIDC_ISSUER": provider.issuer,
                "CELL_MONITOR_API_OIDC_CLIENT_ID": CLIENT_ID,
                "CELL_MONITOR_API_OIDC_CLIENT_SECRET": CLIENT_SECRET,
                "CELL_MONITOR_API_OIDC_LABEL": "Example University",
                "CELL_MONITOR_API_OIDC_GROUPS_CLAIM": "groups",
                "CELL_MONITOR_API_OIDC_GROUP_PATTERN": "course-(?P<course>.+)-(?P<role>[a-z]+)",
                "CELL_MONITOR_API_OIDC_ROLES": '{"teachers": "instructor", "tas": "assistant"}',
                **settings,
                **self.secrets.environment,
            },
            port=api_port,
            log_path=self.folder / f"api-{api_port}.log",
        )
        site = OidcSite(provider=provider, api=api.url, dsn=dsn, secrets=self.secrets)
        site.sql(lambda pool: courses.create(pool, "physics", "Physics"))
        site.sql(lambda pool: courses.create(pool, "chemistry", "Chemistry"))
        self._started.append((api, dsn))
        # Started in this thread, whose end would end it; awaited apart, since a browser runs an event loop here.
        api.launch()
        run_apart(api.wait_ready)
        return site

    def stop(self) -> None:
        """Stop all APIs and drop their databases."""
        for api, dsn in self._started:
            run_apart(api.stop)
            run_apart(functools.partial(self.databases.drop, dsn))
