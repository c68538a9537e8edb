"""Settings of the API: core's, and these. All are environment variables ``CELL_MONITOR_<NAME>``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from cell_monitor_core.settings import ENV_PREFIX, CoreSettings

__all__ = ["ApiSettings"]


class ApiSettings(CoreSettings):
    """What the API reads from its environment."""

    service: ClassVar[str] = "api"

    api_host: str = Field("127.0.0.1", min_length=1, description="Address to listen on; `0.0.0.0` in a container.")
    api_port: int = Field(8900, ge=0, le=65535, description="Port to listen on.")
    api_workers: int = Field(1, ge=1, le=64, description="Worker processes; one for each core given to the API.")
    api_forwarded_allow_ips: str = Field(
        "127.0.0.1",
        description="Comma-separated addresses or networks of the proxies whose `X-Forwarded-For` and "
        "`X-Forwarded-Proto` are believed. Sign-in limits count by the client's address, so name exactly the proxies.",
    )
    api_database_connections: int = Field(8, ge=1, le=100, description="PostgreSQL connections of one worker process.")
    api_bucket_events: int = Field(
        2000, ge=200, le=1_000_000, description="Events that one person may send at once, in one worker process."
    )
    api_bucket_refill_per_s: float = Field(
        100.0, gt=0, le=100_000, description="Events per second that one person may send continuously."
    )
    api_token_lifetime_s: int = Field(600, ge=5, le=600, description="Life of an access token, at most 10 minutes.")
    api_sign_in_days: float = Field(
        14.0, gt=0, le=90, description="Days after which a person who stayed signed in must sign in again."
    )
    api_sign_in_window_s: int = Field(300, ge=1, le=86_400, description="Window of the limits on sign-in attempts.")
    api_sign_in_per_account: int = Field(10, ge=1, le=10_000, description="Sign-in attempts on one account a window.")
    api_sign_in_per_address: int = Field(
        100, ge=1, le=100_000, description="Sign-in attempts from one address a window; a whole class may share one."
    )
    dashboard_dir: Path | None = Field(
        None, description="The dashboard's build, served at `/`; without it the API serves no pages."
    )
    gateway_url: str = Field(
        "/ws",
        max_length=500,
        description="Where browsers reach the gateway: `ws(s)://host/ws`, or a path on this origin.",
    )
    signing_keys: SecretStr | None = Field(
        None, description="Private JWK set that signs access tokens. Changes of the file are noticed."
    )
    test_mode: bool = Field(False, description="Opens `/api/v1/test/events/{test_id}`.")

    @property
    def signing_keys_path(self) -> Path | None:
        """The file that the signing keys come from, if they come from one: it is watched for changes."""
        path = os.environ.get(f"{ENV_PREFIX}SIGNING_KEYS_FILE")
        return Path(path) if path else None

    @field_validator("gateway_url")
    @classmethod
    def _check_gateway_url(cls, value: str) -> str:
        if not value.startswith(("ws://", "wss://", "http://", "https://", "/")) or any(c in value for c in " ;,\"'\n"):
            raise ValueError("must begin with ws://, wss://, http://, https:// or /")
        return value

    @model_validator(mode="after")
    def _check_needed(self) -> Self:
        for name in ("database_url", "encryption_keys", "index_key", "signing_keys"):
            if getattr(self, name) is None:
                raise ValueError(f"{ENV_PREFIX}{name.upper()} or {ENV_PREFIX}{name.upper()}_FILE is needed")
        return self
