"""What several tests of the commands need."""

from __future__ import annotations

import pytest

from cell_monitor_testing.keys import SampleSecrets


@pytest.fixture
def api_rights(database: str, secrets: SampleSecrets, monkeypatch: pytest.MonkeyPatch) -> str:
    """Set the environment of a container of the API: the commands have its rights alone. Return the owner's DSN."""
    for name, value in {
        "DATABASE_URL": f"{database}?role=cell_monitor_api",
        "REDIS_URL": "redis://127.0.0.1:9",
        "ENCRYPTION_KEYS": secrets.encryption_keys,
        "INDEX_KEY": secrets.index_key,
    }.items():
        monkeypatch.setenv(f"CELL_MONITOR_{name}", value)
    return database
