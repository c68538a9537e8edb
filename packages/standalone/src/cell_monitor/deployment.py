"""Which installation an administrative command works on, and how it reaches the stores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import SecretStr

from cell_monitor.accounts import ENCRYPTION_KEYS_FILE, INDEX_KEY_FILE
from cell_monitor.data_directory import DataDirectory, DataDirectoryError
from cell_monitor.embedded.postgres import EmbeddedPostgres
from cell_monitor.embedded.valkey import EmbeddedValkey
from cell_monitor.invocation import command_line
from cell_monitor_core.settings import CoreSettings

__all__ = ["Deployment", "embedded_postgres", "embedded_valkey", "open_deployment"]


@dataclass(frozen=True, slots=True)
class Deployment:
    """An installation whose stores answer.

    Attributes:
        settings: addresses and keys.
        data: the data directory, None for an installation given by the environment.
        running: whether the services are known to run.
    """

    settings: CoreSettings
    data: DataDirectory | None
    running: bool

    @property
    def database_url(self) -> str:
        """The database's address."""
        assert self.settings.database_url is not None  # both ways of opening see to it
        return self.settings.database_url.get_secret_value()


def embedded_postgres(data: DataDirectory) -> EmbeddedPostgres:
    """Describe the data directory's PostgreSQL."""
    return EmbeddedPostgres(
        data.postgres, password=data.secrets.get("postgres-password"), log_path=data.logs / "postgres.log"
    )


def embedded_valkey(data: DataDirectory) -> EmbeddedValkey:
    """Describe the data directory's Valkey."""
    return EmbeddedValkey(data.valkey, password=data.secrets.get("valkey-password"), log_path=data.logs / "valkey.log")


@contextmanager
def open_deployment(data: DataDirectory) -> Iterator[Deployment]:
    """Open an installation for as long as the command works.

    That is the one the environment describes (``CELL_MONITOR_DATABASE_URL`` and the other settings of the services);
    else the data directory's: as it runs, or with its stores started for the command alone.

    Raises:
        SettingsError: the environment describes it wrongly.
        DataDirectoryError: there is no such installation, or another command works on it.
    """
    if any(os.environ.get(f"CELL_MONITOR_DATABASE_URL{suffix}") for suffix in ("", "_FILE")):
        yield Deployment(CoreSettings.load(), None, running=True)
        return
    if not data.secrets.has(ENCRYPTION_KEYS_FILE):
        raise DataDirectoryError(
            f"There is no Cell Monitor in {data.path}. Name its folder with --data-dir, make one with "
            f"`{command_line('up', data_dir=data.path)}`, or set CELL_MONITOR_DATABASE_URL and the other settings of the services."
        )
    instance = data.running_instance()
    if instance is not None:
        yield Deployment(_settings(data, instance.postgres_port, instance.valkey_port), data, running=True)
        return
    with data.locked():
        postgres, valkey = embedded_postgres(data), embedded_valkey(data)
        try:
            valkey.launch()
            postgres.start()
            valkey.wait_ready()
            yield Deployment(_settings(data, postgres.port, valkey.port), data, running=False)
        finally:
            valkey.stop()
            postgres.stop()


def _settings(data: DataDirectory, postgres_port: int, valkey_port: int) -> CoreSettings:
    postgres = EmbeddedPostgres(data.postgres, password=data.secrets.get("postgres-password"), port=postgres_port)
    valkey = EmbeddedValkey(data.valkey, password=data.secrets.get("valkey-password"), port=valkey_port)
    return CoreSettings(
        redis_url=SecretStr(valkey.url),
        database_url=SecretStr(postgres.dsn),
        encryption_keys=SecretStr(data.secrets.get(ENCRYPTION_KEYS_FILE)),
        index_key=SecretStr(data.secrets.get(INDEX_KEY_FILE)),
    )
