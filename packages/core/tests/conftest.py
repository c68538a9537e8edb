"""Servers for the contract tests of the stores: one real Valkey and a Valkey Cluster of three masters."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["valkey", "cluster"])
def redis_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("valkey" if request.param == "valkey" else "valkey_cluster"))


@pytest.fixture(params=["memory", "valkey", "cluster"])
def store_url(request: pytest.FixtureRequest) -> str | None:
    """The same, or None for the implementation in memory."""
    if request.param == "memory":
        return None
    return str(request.getfixturevalue("valkey" if request.param == "valkey" else "valkey_cluster"))
