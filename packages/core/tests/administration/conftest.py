"""A pool on a fresh database, and keys."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import asyncpg
import pytest

from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.storage.postgres.pool import create_pool


@pytest.fixture
async def pool(database: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await create_pool(database, application_name="test", max_size=8)
    yield pool
    await pool.close()


@pytest.fixture
def keyring() -> KeyRing:
    return KeyRing({"k1": os.urandom(32)}, "k1")


@pytest.fixture
def index() -> BlindIndex:
    return BlindIndex(os.urandom(32))
