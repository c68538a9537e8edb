"""The installation that an administrative command works on, and its connections to the stores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import Field, SecretStr

from cell_monitor.accounts import ENCRYPTION_KEYS_FILE, INDEX_KEY_FILE
from cell_monitor.data_directory import DataDirectory, DataDirectoryError
from cell_monitor.embedded.postgres import EmbeddedPostgres
from cell_monitor.embedded.valkey import EmbeddedValkey
from cell_monitor.invocation import command_line
from cell_monitor_core.crypto import check_keys
from cell_monitor_core.settings import ENV_PREFIX, CoreSettings, SettingsError

__all__ = ["CommandSettings", "Deployment", "embedded_postgres", "embedded_valkey", "open_deployment"]


class CommandSettings(CoreSettings):
    """The settings of a command: those of the services, of which each command needs what it uses."""

    redis_url: SecretStr | None = Field(  # type: ignore[assignment]  # optional here
        None, description=CoreSettings.model_fields["redis_url"].description
    )


@dataclass(frozen=True, slots=True)
class Deployment:
    """An installation whose stores are running.

    Attributes:
        settings: URLs and keys of the stores.
        data: the data directory; None for an installation that the environment describes.
        running: whether the services are known to run.
    """

    settings: CoreSettings
    data: DataDirectory | None
    running: bool

    @property
    def database_url(self) -> str:
        """The URL of the database."""
        assert self.settings.database_url is not None  # open_deployment always sets it
        return self.settings.database_url.get_secret_value()

    @property
    def redis_url(self) -> str:
        """The URL of Redis.

        Raises:
            SettingsError: the environment has none.
        """
        url: SecretStr | None = self.settings.redis_url
        if url is None:
            raise SettingsError(f"this command needs Redis: set {ENV_PREFIX}REDIS_URL or {ENV_PREFIX}REDIS_URL_FILE")
        return url.get_secret_value()

    def command_line(self, *arguments: str) -> str:
        """Return a ``cell-monitor`` command line for this installation, for use in a message."""
        return command_line(*arguments, data_dir=self.data.path if self.data is not None else None)


def embedded_postgres(data: DataDirectory) -> EmbeddedPostgres:
    """Return the PostgreSQL server of a data directory; it is not started."""
    return EmbeddedPostgres(
        data.postgres, password=data.secrets.get("postgres-password"), log_path=data.logs / "postgres.log"
    )


def embedded_valkey(data: DataDirectory) -> EmbeddedValkey:
    """Return the Valkey server of a data directory; it is not started."""
    return EmbeddedValkey(data.valkey, password=data.secrets.get("valkey-password"), log_path=data.logs / "valkey.log")


@contextmanager
def open_deployment(data: DataDirectory) -> Iterator[Deployment]:
    """Open an installation for the duration of a command.

    If the environment contains ``CELL_MONITOR_DATABASE_URL`` and the other settings of the services, it is the one that
    they describe; each command needs those that it uses. Otherwise it is the one in the data directory; its stores are started if they do not run, and stopped
    afterwards.

    Raises:
        SettingsError: the settings in the environment are invalid.
        DataDirectoryError: the data directory contains no installation, or another command uses it.
    """
    if any(os.environ.get(f"CELL_MONITOR_DATABASE_URL{suffix}") for suffix in ("", "_FILE")):
        settings = CommandSettings.load()
        check_keys(settings)
        yield Deployment(settings, None, running=True)
        return
    if not data.secrets.has(ENCRYPTION_KEYS_FILE):
        raise DataDirectoryError(
            f"There is no Cell Monitor in {data.path}. Give its folder with --data-dir, create one with "
            f"`{command_line('up', data_dir=data.path)}`, or set CELL_MONITOR_DATABASE_URL and the other settings of the "
            "services."
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
