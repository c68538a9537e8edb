"""Settings that all services share, read from ``CELL_MONITOR_*`` environment variables and secret files.

A secret ``NAME`` can also be read from the file that ``NAME_FILE`` points to, as Docker and Kubernetes mount them.
An unknown variable stops the service at start, because a misspelled setting that is ignored is found in production
only. A variable that was renamed is unknown too; the message gives its new name.
"""

from __future__ import annotations

import difflib
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self, get_args

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as NotJsonError

from cell_monitor_core.store_urls import check_http_url, check_redis_url, parse_postgres_url

__all__ = [
    "ENV_PREFIX",
    "OTHER_PROGRAMS",
    "RENAMED",
    "CoreSettings",
    "HttpAddress",
    "SettingsError",
    "is_secret",
    "missing_secret",
    "read_secret_file",
]

ENV_PREFIX: Final = "CELL_MONITOR_"

RENAMED: Final[dict[str, str]] = {
    "COALESCE_MS": "GATEWAY_COALESCE_MS",
    "TEST_ROAD": "TEST_MODE",
    "WORKER_ALONE_AFTER_DELIVERIES": "WORKER_ISOLATE_AFTER_DELIVERIES",
    "WORKER_ASIDE_AFTER_DELIVERIES": "WORKER_DEAD_LETTER_AFTER_DELIVERIES",
    "WORKER_LANES": "WORKER_CONCURRENCY",
    "WORKER_SERIES_GATHER_S": "WORKER_SERIES_LINGER_S",
}
"""New name by old name, without the prefix. Every service refuses an old name, whichever service reads the setting."""

OTHER_PROGRAMS: Final = frozenset(
    {
        # The JupyterLab extension
        "API_KEY",
        "API_KEY_FILE",
        "API_URL",
        "COURSE",
        "HUB_TOKEN",
        "SPOOL_DIR",
        # The command cell-monitor
        "DATA_DIR",
        # The tests
        "INFLUXD",
        "REQUIRE_BROWSER",
        "REQUIRE_INFLUXD",
        "REQUIRE_PGBOUNCER",
        "REQUIRE_ROOT",
        "REQUIRE_STORES",
    }
)
"""Variables, without the prefix, that share the environment with the services' settings and are read by no service."""

_SERVICES: Final = ("API", "WORKER", "GATEWAY")
# Settings of single services whose names do not begin with the service.
_OF_ONE_SERVICE: Final = frozenset(
    {
        "ALLOWED_ORIGINS",
        "DASHBOARD_DIR",
        "GATEWAY_URL",
        "JWKS_URL",
        "PUBLIC_URL",
        "SIGNING_KEYS",
        "SIGNING_KEYS_FILE",
        "TEST_MODE",
    }
)
# Kubernetes sets these for each Service (CELL_MONITOR_API_SERVICE_HOST, ..._PORT_8900_TCP_ADDR); they are not settings.
_SERVICE_LINK: Final = re.compile(r"_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)$|_PORT_\d+_(TCP|UDP)(_(ADDR|PORT|PROTO))?$")
# The one of them that a setting may be named like: CELL_MONITOR_API_PORT=tcp://10.0.0.1:8900.
_SERVICE_PORT: Final = re.compile(r"(tcp|udp|sctp)://\S+:\d+")
_MAX_SECRET_FILE: Final = 64 * 1024


def _is_service_port(name: str, value: object) -> bool:
    """Return whether Kubernetes set the variable for a Service; a setting of that name then has its default."""
    return name.upper().endswith("_PORT") and isinstance(value, str) and _SERVICE_PORT.fullmatch(value) is not None


def _checked_http_url(value: str) -> str:
    check_http_url(value)
    return value


HttpAddress = Annotated[str, AfterValidator(_checked_http_url)]
"""A setting that is the URL of a service that speaks HTTP; see ``check_http_url``."""


class SettingsError(Exception):
    """The environment does not configure the service. The message names each variable and contains no value."""


def is_secret(field: FieldInfo) -> bool:
    """Return whether a field holds a secret and can therefore be read from ``NAME_FILE``."""
    return field.annotation is SecretStr or SecretStr in get_args(field.annotation)


def missing_secret(variable: str) -> str:
    """Return the message about a secret that is not set."""
    return f"{variable} or {variable}_FILE is needed"


def read_secret_file(variable: str, path: str) -> str:
    """Return the value of a secret from the file that ``<variable>_FILE`` names.

    Raises:
        SettingsError: it cannot be read, or is empty or too large.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MAX_SECRET_FILE + 1)
        value = content.decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"{variable}_FILE: cannot read {path}: {reason}") from error
    if not value or len(content) > _MAX_SECRET_FILE:
        raise SettingsError(f"{variable}_FILE: {path} is empty or larger than {_MAX_SECRET_FILE} bytes")
    return value


class _SecretFiles(PydanticBaseSettingsSource):
    """Reads ``CELL_MONITOR_<NAME>_FILE`` for each field that is a secret."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        variable = f"{ENV_PREFIX}{field_name.upper()}"
        path = os.environ.get(f"{variable}_FILE")
        if not path or not is_secret(field):
            return None, field_name, False
        if os.environ.get(variable):
            raise SettingsError(f"{variable} and {variable}_FILE are both set: keep one of them")
        return read_secret_file(variable, path), field_name, False

    def __call__(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, name)
            if value is not None:
                values[key] = value
        return values


class CoreSettings(BaseSettings):
    """The settings of every service. Services subclass it in their ``config.py`` and call ``load()``."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, extra="forbid", env_ignore_empty=True, hide_input_in_errors=True, frozen=True
    )

    service: ClassVar[str] = ""
    """``api``, ``worker`` or ``gateway``. Variables with another service's prefix are not checked."""

    redis_url: SecretStr = Field(
        description="Redis or Valkey: `redis://host:port/db`, `rediss://` with TLS, "
        "`redis+cluster://host:port,host:port` for a cluster."
    )
    partitions: int = Field(8, ge=1, le=64, description="Partitions of streams and channels; the same in all services.")
    database_url: SecretStr | None = Field(None, description="PostgreSQL: `postgresql://user:password@host:port/db`.")
    encryption_keys: SecretStr | None = Field(
        None, description='Key ring as JSON: `{"active": "k1", "keys": {"k1": "<base64 of 32 bytes>"}}`.'
    )
    index_key: SecretStr | None = Field(None, description="Base64 of 32 bytes: the key of look-up hashes.")
    token_issuer: str = Field(
        "cell-monitor",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="Name of this installation in its access tokens (`iss`); the same in all services. Tokens that name another "
        "are refused.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level that is logged; the signal SIGUSR1 toggles `debug` at run time."
    )
    log_format: Literal["json", "console"] = Field("json", description="`json` for machines, `console` for people.")
    otlp_endpoint: HttpAddress | None = Field(
        None, description="OTLP/HTTP base URL for traces; without it no traces are recorded."
    )
    trace_sample_ratio: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Share of requests without a trace that start one; at most 100 requests per second and process "
        "are traced.",
    )
    influxdb_url: HttpAddress | None = Field(
        None, description="URL of InfluxDB 2; without it time series are stored in PostgreSQL."
    )
    influxdb_token: SecretStr | None = Field(
        None, description="InfluxDB token with read and write access to the bucket."
    )
    influxdb_org: str | None = Field(None, description="Organisation in InfluxDB.")
    influxdb_bucket: str | None = Field(None, description="Bucket in InfluxDB.")
    instance: str = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}",
        min_length=1,
        max_length=200,
        description="Name of this process in consumer groups and logs; the default is host name and process id.",
    )

    @classmethod
    def load(cls) -> Self:
        """Read the settings from the environment.

        Raises:
            SettingsError: a variable is missing, invalid or unknown. The message has one line for each error.
        """
        try:
            settings = cls()
        except ValidationError as error:
            faults = error.errors(include_input=False, include_url=False)
            raise SettingsError("\n".join(map(cls._sentence, faults))) from None
        except NotJsonError as error:
            # pydantic-settings names the field in its message, and nothing of the value.
            named = next((name for name in cls.model_fields if f'"{name}"' in str(error)), "")
            raise SettingsError(f"{ENV_PREFIX}{named.upper()}: must be a JSON object") from None
        settings.check_keys()
        return settings

    @classmethod
    def _sentence(cls, fault: ErrorDetails) -> str:
        if not fault["loc"]:
            return fault["msg"].removeprefix("Value error, ")
        field = str(fault["loc"][0])
        name = f"{ENV_PREFIX}{field.upper()}"
        if fault["type"] == "missing":
            return missing_secret(name) if is_secret(cls.model_fields[field]) else f"{name} is needed"
        return f"{name}: {fault['msg'].removeprefix('Value error, ')}"

    def check_keys(self) -> None:
        """Check the keys that the service needs, at the start rather than at their first use; see ``crypto.check_keys``.

        Raises:
            SettingsError: one is malformed.
        """

    @classmethod
    def settings_customise_sources(  # noqa: D102
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _SecretFiles(settings_cls)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, values: Any) -> Any:
        unknown = cls.unknown_variables(os.environ)
        if unknown:
            raise ValueError("; ".join(unknown))
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if not _is_service_port(name, value)}

    @classmethod
    def unknown_variables(cls, environ: Mapping[str, str]) -> list[str]:
        """Return one message for each ``CELL_MONITOR_*`` variable that no service reads, renamed ones included."""
        known = {name.upper() for name in cls.model_fields}
        known |= {f"{name.upper()}_FILE" for name, field in cls.model_fields.items() if is_secret(field)}
        elsewhere = _OF_ONE_SERVICE | OTHER_PROGRAMS
        others = tuple(f"{service}_" for service in _SERVICES if service != cls.service.upper())
        messages = []
        for variable in sorted(environ):
            if not variable.startswith(ENV_PREFIX):
                continue
            name = variable.removeprefix(ENV_PREFIX)
            if (new_name := RENAMED.get(name.removesuffix("_FILE"))) is not None:
                suffix = "_FILE" if name.endswith("_FILE") else ""
                messages.append(f"{variable} was renamed: set {ENV_PREFIX}{new_name}{suffix} instead")
                continue
            if name in known or name in elsewhere or name.startswith(others) or _SERVICE_LINK.search(name):
                continue
            if _is_service_port(name, environ[variable]):
                continue
            close = difflib.get_close_matches(name, known, n=1)
            hint = f", did you mean {ENV_PREFIX}{close[0]}?" if close else ""
            messages.append(f"{variable} is not a setting{hint}")
        return messages

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, value: SecretStr | None) -> SecretStr | None:
        # None: of a command that needs no Redis.
        if value is not None:
            check_redis_url(value.get_secret_value())
        return value

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_postgres_url(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _check_influxdb(self) -> Self:
        if self.influxdb_url is not None:
            for name in ("influxdb_token", "influxdb_org", "influxdb_bucket"):
                if getattr(self, name) is None:
                    raise ValueError(f"{ENV_PREFIX}INFLUXDB_URL is set, so {ENV_PREFIX}{name.upper()} is needed")
        return self
