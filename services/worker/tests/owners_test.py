"""Hazards: points wait for an outage of PostgreSQL; points of an erased person are written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_testing.people import add_people
from cell_monitor_worker.owners import StoredOwners

ANN, BEN, EVE = uuid4(), uuid4(), uuid4()


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def records(*people: UUID) -> list[StreamRecord]:
    return [StreamRecord(person.bytes, "c1", 0, b"{}") for person in people]


@pytest.fixture
async def pool(stage: Any) -> AsyncIterator[asyncpg.Pool]:
    """A pool that a test may close: every request fails from then on, as in an outage."""
    await add_people(stage.db, [ANN, BEN, EVE])
    async with asyncpg.create_pool(stage.dsn, min_size=1, max_size=2) as pool:
        yield pool


async def test_people_who_existed_when_last_asked_do_not_wait_for_an_outage(pool: asyncpg.Pool) -> None:
    owners = StoredOwners(pool)
    batch = records(ANN, BEN)
    assert await owners.existing(batch) == batch
    await pool.close()
    assert await owners.existing(batch) == batch
    assert await owners.existing(records(BEN)) == records(BEN)


async def test_a_person_who_was_not_asked_for_waits_for_the_end_of_the_outage(pool: asyncpg.Pool) -> None:
    owners = StoredOwners(pool)
    await owners.existing(records(ANN))
    await pool.close()
    with pytest.raises(StoreUnavailable):
        await owners.existing(records(ANN, EVE))


async def test_somebody_who_was_erased_before_the_outage_does_not_count_as_existing(
    stage: Any, pool: asyncpg.Pool
) -> None:
    owners = StoredOwners(pool)
    await owners.existing(records(ANN, BEN))
    await stage.db.execute("DELETE FROM people WHERE person_id = $1", ANN)
    assert await owners.existing(records(ANN, BEN)) == records(BEN)
    await pool.close()
    with pytest.raises(StoreUnavailable):
        await owners.existing(records(ANN))


async def test_an_outage_costs_one_attempt_in_a_while_and_ends_by_itself(stage: Any, pool: asyncpg.Pool) -> None:
    clock = Clock()
    owners = StoredOwners(pool, retry_s=5, clock=clock)
    await owners.existing(records(ANN, BEN))
    await pool.close()
    await owners.existing(records(ANN))
    # PostgreSQL is back, and ANN was erased: that counts as soon as it is asked again.
    owners._pool = stage.db
    await stage.db.execute("DELETE FROM people WHERE person_id = $1", ANN)
    clock.now = 4.9
    assert await owners.existing(records(ANN, BEN)) == records(ANN, BEN)
    clock.now = 5.1
    assert await owners.existing(records(ANN, BEN)) == records(BEN)
