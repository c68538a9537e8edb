"""Where the stores' contract suites run: on one real Valkey and on a real Valkey Cluster of three masters."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["valkey", "cluster"])
def redis_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("valkey" if request.param == "valkey" else "valkey_cluster"))


@pytest.fixture(params=["memory", "valkey", "cluster"])
def store_url(request: pytest.FixtureRequest) -> str | None:
    """The same, or None for the twin in memory."""
    if request.param == "memory":
        return None
    return str(request.getfixturevalue("valkey" if request.param == "valkey" else "valkey_cluster"))
