"""Settings of the gateway: core's, and these. All are environment variables ``CELL_MONITOR_<NAME>``."""

from __future__ import annotations

from typing import ClassVar, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from cell_monitor_core.settings import ENV_PREFIX, CoreSettings, HttpAddress

__all__ = ["GatewaySettings"]


class GatewaySettings(CoreSettings):
    """What the gateway reads from its environment."""

    service: ClassVar[str] = "gateway"

    gateway_host: str = Field("127.0.0.1", min_length=1, description="Address to listen on; `0.0.0.0` in a container.")
    gateway_port: int = Field(8901, ge=0, le=65535, description="Port to listen on.")
    gateway_inside_host: str = Field(
        "127.0.0.1", min_length=1, description="Address of `CELL_MONITOR_GATEWAY_INSIDE_PORT`."
    )
    gateway_inside_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port of probes and metrics, which the other port then does not serve; without it that one does.",
    )
    jwks_url: HttpAddress | None = Field(
        None, description="Where the API publishes its keys: `http://api:8900/api/v1/auth/jwks.json`."
    )
    allowed_origins: str = Field(
        "",
        max_length=4000,
        description="Comma-separated origins whose pages may connect, such as `https://monitor.example.org`; empty "
        "allows pages of the gateway's own host and port only. Programs send no Origin and may always connect.",
    )
    gateway_coalesce_ms: int = Field(
        50, ge=0, le=1000, description="Shortest time between two frames of one channel; the first goes out at once."
    )
    gateway_max_connections: int = Field(
        5000, ge=1, le=100_000, description="Connections of this process; while it has them the handshake answers 503."
    )
    gateway_max_subscriptions: int = Field(50, ge=1, le=1000, description="Channels that one connection may follow.")
    gateway_max_backlog_bytes: int = Field(
        1024 * 1024,
        ge=16 * 1024,
        le=64 * 1024 * 1024,
        description="Bytes that may wait for one connection; over it 3008.",
    )
    gateway_requests_per_s: float = Field(
        20.0, gt=0, le=10_000, description="Requests a second that one connection may send continuously; over it 3013."
    )
    gateway_request_burst: int = Field(
        60, ge=5, le=100_000, description="Requests that one connection may send in a burst."
    )
    gateway_recovery_publications: int = Field(
        500, ge=1, le=10_000, description="Publications that a subscription recovers at most; more means a snapshot."
    )
    gateway_ping_interval_s: float = Field(25.0, gt=0, le=3600, description="Time between two pings of a connection.")
    gateway_pong_timeout_s: float = Field(10.0, gt=0, le=600, description="Time to answer a ping; over it 3012.")
    gateway_connect_timeout_s: float = Field(
        10.0, gt=0, le=600, description="Time for the connect frame; over it 3502."
    )
    gateway_position_check_s: float = Field(
        10.0, gt=0, le=600, description="How often each followed channel's position is compared with Redis."
    )
    gateway_drain_s: float = Field(
        20.0, ge=0, le=600, description="Time over which a shutdown closes its connections, in batches."
    )

    @field_validator("allowed_origins")
    @classmethod
    def _check_origins(cls, value: str) -> str:
        for origin in _split(value):
            parts = urlsplit(origin)
            if (
                parts.scheme not in {"http", "https"}
                or not parts.netloc
                or f"{parts.scheme}://{parts.netloc}" != origin
            ):
                raise ValueError("is a list of origins such as https://monitor.example.org, without a path")
        return value

    @model_validator(mode="after")
    def _check_needed(self) -> Self:
        if self.jwks_url is None:
            raise ValueError(f"{ENV_PREFIX}JWKS_URL is needed")
        if self.gateway_inside_port == self.gateway_port:
            raise ValueError(f"{ENV_PREFIX}GATEWAY_PORT and _GATEWAY_INSIDE_PORT must differ")
        return self

    @property
    def origins(self) -> frozenset[str]:
        """The allowed origins, lower case."""
        return frozenset(_split(self.allowed_origins.lower()))


def _split(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]
