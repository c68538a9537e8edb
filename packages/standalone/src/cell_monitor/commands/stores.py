"""Access of the commands to an installation's stores, and to what is in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

from cell_monitor.commands.terminal import fail, say
from cell_monitor.data_directory import DataDirectory, DataDirectoryError, default_data_dir
from cell_monitor.deployment import Deployment, open_deployment
from cell_monitor.embedded.process import EmbeddedServerError
from cell_monitor_core.administration.refusals import Refusal
from cell_monitor_core.broker.redis_broker import RedisBroker
from cell_monitor_core.counters import Counters
from cell_monitor_core.crypto import BlindIndex, DecryptionError, KeyRing
from cell_monitor_core.publishing import Publisher
from cell_monitor_core.redis_client import REDIS_ERRORS, aclose
from cell_monitor_core.redis_client import connect as connect_redis
from cell_monitor_core.settings import SettingsError
from cell_monitor_core.storage.ports import LogUnavailable, StoreUnavailable
from cell_monitor_core.storage.postgres import courses, people
from cell_monitor_core.storage.postgres.migrations import SchemaMismatch, check_schema
from cell_monitor_core.storage.postgres.pool import Connection, connect, create_pool

__all__ = [
    "admin_command",
    "broker_of",
    "keys_of",
    "opened",
    "publish_roster",
    "require_course",
    "require_person",
    "with_connection",
]

T = TypeVar("T")


@contextmanager
def opened(data_dir: str | None) -> Iterator[Deployment]:
    """Open the installation for the duration of a command; an error ends the command with a message."""
    data = DataDirectory(Path(data_dir) if data_dir else default_data_dir())
    try:
        with open_deployment(data) as deployment:
            yield deployment
    except Refusal as error:
        raise fail(f"{error.msg[:1].upper()}{error.msg[1:]}.") from error
    except (
        DataDirectoryError,
        EmbeddedServerError,
        SettingsError,
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
        connection = await connect(deployment.database_url, application_name="cell-monitor-admin")
        try:
            await check_schema(connection)
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(main())


def publish_roster(deployment: Deployment, course_id: str, *, left: bool) -> None:
    """Let open pages show a change of a course's roster at once, as the API does; see ``Counters.roster_changed``."""

    async def main() -> None:
        pool = await create_pool(deployment.database_url, application_name="cell-monitor-admin", max_size=1)
        try:
            without = "Pages that are open show it with the next change in the course"
            async with broker_of(deployment, name="cell-monitor-admin", without=without) as broker:
                await Counters(pool, broker, Publisher(broker)).roster_changed(course_id, left=left)
        finally:
            await pool.close()

    asyncio.run(main())


@asynccontextmanager
async def broker_of(deployment: Deployment, *, name: str, without: str) -> AsyncIterator[RedisBroker]:
    """The broker of an installation for one block, which ends early with a message where a store is unavailable.

    Args:
        deployment: the installation.
        name: of the connection, in Redis' list of clients.
        without: what open pages show then, for the message.
    """
    redis = connect_redis(deployment.settings.redis_url.get_secret_value(), name=name)
    try:
        yield RedisBroker(redis, partitions=deployment.settings.partitions)
    except (*REDIS_ERRORS, StoreUnavailable) as error:
        say(f"{without}: Redis is unavailable ({error}).")
    finally:
        await aclose(redis)


def admin_command(deployment: Deployment, *arguments: str) -> str:
    """Return the command line of an ``admin`` command for this installation, for use in a message."""
    return deployment.command_line("admin", *arguments)


async def require_course(connection: Connection, deployment: Deployment, course_id: str) -> courses.Course:
    """Return a course, or end the command with a message that contains the command to create it."""
    course = await courses.get(connection, course_id)
    if course is None:
        create = admin_command(deployment, "create-course", course_id, "TITLE")
        raise fail(f"There is no course {course_id!r}. Create it: {create}")
    return course


async def require_person(connection: Connection, keyring: KeyRing, index: BlindIndex, username: str) -> people.Person:
    """Return the person whom somebody typed, or end the command with a message.

    The name may be typed in another case where only one person is called so; between several nobody is chosen.
    """
    found = await people.search(connection, keyring, index, username)
    exact = await people.find(connection, keyring, index, username)
    if exact is not None:
        return exact
    if len(found) > 1:
        names = ", ".join(repr(person.username) for person in found)
        raise fail(f"Several people are called like {username!r}: {names}. Spell the name exactly.")
    if not found:
        raise fail(f"There is nobody called {username!r}: add them to a course first, with add-member.")
    return found[0]


def keys_of(deployment: Deployment) -> tuple[KeyRing, BlindIndex]:
    """Return the keys that encrypt people's data and index their names."""
    return KeyRing.from_settings(deployment.settings), BlindIndex.from_settings(deployment.settings)
