"""An API with its database, whose people sign in at another site."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import httpx

from cell_monitor_core.auth.passwords import hash_password
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.storage.postgres import accounts, identities, memberships, people
from cell_monitor_core.storage.postgres.pool import close_pool, create_pool
from cell_monitor_testing.keys import SampleSecrets
from cell_monitor_testing.servers import run_apart

__all__ = ["ApiSite"]

T = TypeVar("T")


@dataclass(kw_only=True)
class ApiSite:
    """An API with its database.

    Attributes:
        api: address of the API.
        dsn: of the database.
        secrets: of the API.
    """

    api: str
    dsn: str
    secrets: SampleSecrets

    def token(self, browser: httpx.Client) -> str | None:
        """Return an access token of the browser's sign-in, None if nobody is signed in."""
        answer = browser.post(f"{self.api}/api/v1/auth/refresh")
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            return None
        token: str = answer.raise_for_status().json()["access_token"]
        return token

    def get(self, path: str, token: str) -> httpx.Response:
        """Ask the API with an access token."""
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(f"{self.api}/api/v1/{path}", headers=headers, timeout=30, trust_env=False)

    def courses_of(self, token: str) -> dict[str, str]:
        """Return the courses that a token's person sees as theirs, with the roles, by the API."""
        answer = self.get("me", token)
        assert answer.status_code == httpx.codes.OK, answer.text
        return {course["course_id"]: course["role"] for course in answer.json()["courses"]}

    def sql(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Return what a function makes of a pool of connections to the database."""

        async def run() -> T:
            pool = await create_pool(self.dsn, application_name="test", min_size=0, max_size=2)
            try:
                return await work(pool)
            finally:
                await close_pool(pool)

        return run_apart(run)

    def person_of(self, issuer: str, subject: str) -> UUID | None:
        """Return the id of the person of an identity, None if there is none."""
        index = BlindIndex.from_text(self.secrets.index_key)
        return self.sql(lambda pool: identities.person_of(pool, index, issuer, subject))

    def add_local_admin(self, username: str, password: str, *, course_id: str) -> UUID:
        """Add a local account of an admin of the site, who is an instructor of a course; return its person's id."""
        keyring, index = KeyRing.from_json(self.secrets.encryption_keys), BlindIndex.from_text(self.secrets.index_key)

        async def add(pool: Any) -> UUID:
            person_id = await people.upsert(pool, keyring, index, username=username)
            await accounts.set_password(pool, person_id, hash_password(password))
            await memberships.upsert_many(pool, course_id, {person_id: "instructor"})
            await people.set_admin(pool, person_id, is_admin=True)
            return person_id

        return self.sql(add)
