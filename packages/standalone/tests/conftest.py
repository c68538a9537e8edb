"""What several tests of the commands need."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from cell_monitor.cli import main
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


@pytest.fixture
def run(database: str, secrets: SampleSecrets, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run ``cell-monitor admin`` with the owner's rights and without Redis; the course physics-1 is there."""
    for name, value in {"DATABASE_URL": database, "REDIS_URL": "redis://127.0.0.1:1/0"}.items():
        monkeypatch.setenv(f"CELL_MONITOR_{name}", value)
    for name in ("CELL_MONITOR_ENCRYPTION_KEYS", "CELL_MONITOR_INDEX_KEY"):
        monkeypatch.setenv(name, secrets.environment[name])

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["admin", *arguments])

    assert run("create-course", "physics-1", "Physics 1").exit_code == 0
    return run
