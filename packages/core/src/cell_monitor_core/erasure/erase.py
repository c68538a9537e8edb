"""Erasing a person, deleting a course: in an order in which events that are on their way bring nothing back.

First the person's or the course's own row is deleted: from then on the worker discards their records in every batch that
begins, and the person's tokens end (docs/adr/0024). Records that wait in the streams are taken out of their entries. Then we wait for the batches that had begun before:
a consumer acknowledges an entry only when it has committed and published. After that nothing is stored or published any more, and
what was is deleted: rows, points, histories of channels. Each step may be repeated: an erasing that stopped half-way is run again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg

from cell_monitor_core.channels import course_channel, partition_of
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.erasure import channels, entries, tables
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.redis_client import RedisClient
from cell_monitor_core.storage.ports import TimeSeries
from cell_monitor_core.storage.postgres.pool import store_errors
from cell_monitor_core.storage.postgres.rebuild import rebuild
from cell_monitor_core.streams.revocations import RedisRevocations

__all__ = ["ErasureBusy", "Stores", "delete_course", "erase_person"]

WAIT_S: Final = 120.0
"""Longer than it takes until the entries of a worker that died are taken over (``CELL_MONITOR_WORKER_RECLAIM_IDLE_S``)."""


class ErasureBusy(Exception):  # noqa: N818 - says what is the matter
    """A worker that was given the events before does not finish them. Nothing new is stored; run the erasing again."""


@dataclass(frozen=True, slots=True)
class Stores:
    """Where something may be.

    Attributes:
        pool: PostgreSQL, as the owner of the schema: no service may delete facts.
        keyring: to search failed entries that name nobody, and to derive again.
        redis: streams and channels.
        partitions: number of partitions, as in every process.
        series: the store of the time series.
        wait_s: seconds to wait for workers.
    """

    pool: asyncpg.Pool[asyncpg.Record]
    keyring: KeyRing
    redis: RedisClient
    partitions: int
    series: TimeSeries
    wait_s: float = WAIT_S


async def erase_person(stores: Stores, person_id: UUID) -> int:
    """Delete everything of a person (``places``); return how many rows of PostgreSQL that were.

    Where the person helped others, those requests stay and nobody takes the person's place in them.

    Raises:
        ErasureBusy: see there.
        StoreUnavailable: a store is unavailable; run it again.
    """
    pool = stores.pool
    with store_errors():
        async with pool.acquire() as connection:
            await tables.begin_person(connection, person_id)
            courses = await tables.courses_of(connection, person_id)
    await _empty_streams(stores, range(stores.partitions), lambda record: record.person_id == person_id.bytes)
    with store_errors():
        async with pool.acquire() as connection:
            deleted = await tables.delete_person_rows(connection, stores.keyring, person_id)
            helped = await tables.release_staff(connection, person_id)
        await rebuild(pool, stores.keyring, check=False, students=helped)
    await stores.series.erase_person(person_id)
    await channels.forget_courses(stores.redis, stores.partitions, courses)
    await channels.forget_tests(stores.redis, stores.partitions, person_id)
    await RedisRevocations(stores.redis).forget(str(person_id))
    with store_errors():
        async with pool.acquire() as connection:
            await tables.finish_person(connection, person_id)
    return deleted


async def delete_course(stores: Stores, course_id: str) -> int:
    """Delete a course with everything of it; return how many rows of PostgreSQL that were. Its people stay.

    Raises:
        ErasureBusy: see there.
        StoreUnavailable: a store is unavailable; run it again.
    """
    with store_errors():
        async with stores.pool.acquire() as connection:
            deleted = await tables.delete_course_rows(connection, course_id)
    partition = partition_of(course_channel(course_id), stores.partitions)
    await _empty_streams(stores, [partition], lambda record: record.test_id is None and record.course_id == course_id)
    with store_errors():
        async with stores.pool.acquire() as connection:
            deleted += await tables.delete_course_rows(connection, course_id)
    await stores.series.erase_course(course_id)
    await channels.forget_courses(stores.redis, stores.partitions, [course_id])
    await channels.delete_presence(stores.redis, stores.partitions, course_id)
    return deleted


async def _empty_streams(stores: Stores, partitions: Sequence[int], belongs: Callable[[StreamRecord], bool]) -> None:
    """Take records out of streams and wait for the batches that hold them.

    Raises:
        ErasureBusy: see there.
    """
    await entries.take_out(stores.redis, partitions, belongs)
    if not await entries.wait_for_consumers(stores.redis, partitions, seconds=stores.wait_s):
        raise ErasureBusy(
            "a worker holds events of before and does not finish them; end it, or start one that takes over its work, "
            "and run the erasing again"
        )
