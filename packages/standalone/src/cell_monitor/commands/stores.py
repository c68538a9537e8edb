"""Access of the commands to an installation's stores, and to what is in them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from cell_monitor.commands.terminal import fail, fail_settings, say
from cell_monitor.data_directory import DataDirectory, DataDirectoryError, default_data_dir
from cell_monitor.deployment import Deployment, open_deployment
from cell_monitor.embedded.process import EmbeddedServerError
from cell_monitor_core.administration.join_codes import JoinCodes
from cell_monitor_core.administration.refusals import Refusal, UnknownCourse
from cell_monitor_core.administration.roster import Roster
from cell_monitor_core.broker.redis_broker import RedisBroker
from cell_monitor_core.counters import Counters
from cell_monitor_core.crypto import BlindIndex, DecryptionError, KeyRing
from cell_monitor_core.publishing import Publisher
from cell_monitor_core.redis_client import REDIS_ERRORS, aclose
from cell_monitor_core.redis_client import connect as connect_redis
from cell_monitor_core.settings import SettingsError
from cell_monitor_core.storage.ports import Draft, LogUnavailable, StoreUnavailable
from cell_monitor_core.storage.postgres import identities, memberships, people
from cell_monitor_core.storage.postgres.migrations import SchemaMismatch, check_schema
from cell_monitor_core.storage.postgres.pool import Connection, connect, create_pool

__all__ = [
    "admin_command",
    "keys_of",
    "opened",
    "require_person",
    "with_connection",
    "with_counters",
    "with_join_codes",
    "with_roster",
]

T = TypeVar("T")

_NAME: Final = "cell-monitor-admin"
"""Of the commands' connections, in the stores' lists of clients."""


@contextmanager
def opened(data_dir: str | None) -> Iterator[Deployment]:
    """Open the installation for the duration of a command; an error ends the command with a message."""
    data = DataDirectory(Path(data_dir) if data_dir else default_data_dir())
    try:
        with open_deployment(data) as deployment:
            try:
                yield deployment
            except UnknownCourse as error:
                raise _no_course(deployment, error.course_id) from error
    except Refusal as error:
        raise fail(f"{error.msg[:1].upper()}{error.msg[1:]}.") from error
    except SettingsError as error:
        raise fail_settings(error) from error
    except (
        DataDirectoryError,
        EmbeddedServerError,
        StoreUnavailable,
        LogUnavailable,
        SchemaMismatch,
        DecryptionError,
    ) as error:
        raise fail(str(error)) from error


def with_connection(deployment: Deployment, work: Callable[[Connection], Awaitable[T]]) -> T:
    """Call ``work`` with a connection to the database and return its result.

    Raises:
        SchemaMismatch: the database has another version's schema, as after an upgrade of the program.
    """

    async def main() -> T:
        connection = await connect(deployment.database_url, application_name=_NAME)
        try:
            await check_schema(connection)
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(main())


def with_roster(deployment: Deployment, work: Callable[[Roster], Awaitable[T]]) -> T:
    """Call ``work`` with the service of courses' members and return its result.

    Open pages show changes at once. Where Redis is unavailable the change is made, and a message says what they do not
    show yet.

    Raises:
        SchemaMismatch: the database has another version's schema, as after an upgrade of the program.
    """
    keyring, index = keys_of(deployment)

    async def with_roster(pool: Any, counters: Counters) -> T:
        return await work(Roster(pool, keyring, index, counters))

    return with_counters(deployment, with_roster)


def with_join_codes(deployment: Deployment, work: Callable[[JoinCodes], Awaitable[T]]) -> T:
    """Call ``work`` with the service of courses' join codes and return its result, see ``with_roster``."""
    index = BlindIndex.from_settings(deployment.settings)

    async def with_codes(pool: Any, counters: Counters) -> T:
        return await work(JoinCodes(pool, index, counters))

    return with_counters(deployment, with_codes, publishes=False)


def with_counters(
    deployment: Deployment, work: Callable[[Any, Counters], Awaitable[T]], *, publishes: bool = True
) -> T:
    """Call ``work`` with a pool of one connection, and counters that publish to open pages, and return its result.

    Args:
        deployment: the installation.
        work: what is done.
        publishes: whether it may change whom a course has; otherwise Redis is not needed.

    Raises:
        SettingsError: Redis is needed, and the environment has no URL of it.
        SchemaMismatch: the database has another version's schema, as after an upgrade of the program.
    """

    async def main() -> T:
        pool = await create_pool(deployment.database_url, application_name=_NAME, max_size=1)
        redis = None if redis_url is None else connect_redis(redis_url, name=_NAME)
        try:
            async with pool.acquire() as connection:
                await check_schema(connection)
            if redis is None:
                return await work(pool, _NoCounters())
            broker = RedisBroker(redis, partitions=deployment.settings.partitions)
            return await work(pool, Counters(pool, broker, _CommandPublisher(Publisher(broker))))
        finally:
            if redis is not None:
                await aclose(redis)
            await pool.close()

    # Before anything is done.
    redis_url = deployment.redis_url if publishes else None
    return asyncio.run(main())


class _NoCounters(Counters):
    """Of commands that change nothing that open pages count, and so need no Redis."""

    def __init__(self) -> None:
        """Publish nothing."""

    async def roster_changed(self, course_id: str, *, left: bool) -> None:
        """Fail: a command that changes the roster must publish it."""
        raise AssertionError(f"{course_id}: a changed roster must be published ({left})")


class _CommandPublisher:
    """Publishes what a command committed, or says that open pages do not show it yet: a command cannot try again later."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def publish(self, channel: str, drafts: Sequence[Draft]) -> bool:
        """Publish; return False where Redis is unavailable."""
        try:
            await self._publisher.publish(channel, drafts)
        except (*REDIS_ERRORS, StoreUnavailable) as error:
            say(f"Pages that are open show it with the next change in the course: Redis is unavailable ({error}).")
            return False
        return True


def admin_command(deployment: Deployment, *arguments: str) -> str:
    """Return the command line of an ``admin`` command for this installation, for use in a message."""
    return deployment.command_line("admin", *arguments)


def _no_course(deployment: Deployment, course_id: str) -> SystemExit:
    create = admin_command(deployment, "create-course", course_id, "TITLE")
    return fail(f"There is no course {course_id!r}. Create it: {create}")


async def require_person(
    connection: Connection,
    keyring: KeyRing,
    index: BlindIndex,
    username: str,
    *,
    issuer: str | None = None,
    course_id: str | None = None,
) -> people.Person:
    """Return the person whom somebody typed, or end the command with a message.

    The name may be typed in another case where only one person is called so; between several nobody is chosen.

    Args:
        connection: PostgreSQL.
        keyring: decrypts names.
        index: finds names.
        username: as typed.
        issuer: where the person signs in; None where the name alone has to do.
        course_id: of whose members the person is one; None for anybody. Of people of one name and no course the one of
            this installation is meant.
    """
    found = await people.search(connection, keyring, index, username)
    if course_id is not None:
        said = await memberships.said_of(connection, course_id, [person.person_id for person in found])
        found = [person for person in found if any(one.role is not None for one in said.get(person.person_id, []))]
    issuers = await identities.issuers_of(connection, [person.person_id for person in found])
    if issuer is not None:
        found = [person for person in found if issuer in issuers[person.person_id]]
    exact = [person for person in found if person.username == username]
    local = [person for person in exact if identities.LOCAL in issuers[person.person_id]]
    candidates = (local if course_id is None else []) or exact or found
    if len(candidates) == 1:
        return candidates[0]
    if len(exact) > 1:
        known = ", ".join(sorted({each for person in exact for each in issuers[person.person_id]}))
        raise fail(
            f"Several people are called exactly {username!r}. Say where the one signs in, with --issuer: {known}."
        )
    if len(found) > 1:
        names = ", ".join(repr(person.username) for person in found)
        raise fail(f"Several people are called like {username!r}: {names}. Spell the name exactly.")
    where = "" if issuer is None else f" who signs in at {issuer}"
    if course_id is not None:
        raise fail(
            f"Nobody called {username!r}{where} is a member of {course_id}. Who is: admin list-members {course_id}"
        )
    raise fail(f"There is nobody called {username!r}{where}: add them to a course first, with add-member.")


def keys_of(deployment: Deployment) -> tuple[KeyRing, BlindIndex]:
    """Return the keys that encrypt people's data and index their names."""
    return KeyRing.from_settings(deployment.settings), BlindIndex.from_settings(deployment.settings)
