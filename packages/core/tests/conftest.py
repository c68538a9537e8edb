"""What tests of several packages need: servers of the stores, a pool on a fresh database, keys."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import asyncpg
import pytest

from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.storage.postgres.pool import create_pool


@pytest.fixture(params=["valkey", "cluster"])
def redis_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("valkey" if request.param == "valkey" else "valkey_cluster"))


@pytest.fixture(params=["memory", "valkey", "cluster"])
def store_url(request: pytest.FixtureRequest) -> str | None:
    """The same, or None for the implementation in memory."""
    if request.param == "memory":
        return None
    return str(request.getfixturevalue("valkey" if request.param == "valkey" else "valkey_cluster"))


@pytest.fixture
async def pool(database: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await create_pool(database, application_name="storage-tests", max_size=8)
    yield pool
    await pool.close()


@pytest.fixture
def keyring() -> KeyRing:
    return KeyRing({"k1": os.urandom(32)}, "k1")


@pytest.fixture
def index() -> BlindIndex:
    return BlindIndex(os.urandom(32))
