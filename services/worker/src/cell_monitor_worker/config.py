"""Settings of the worker, in addition to core's: environment variables ``CELL_MONITOR_<NAME>``."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, field_validator, model_validator

from cell_monitor_core import keys
from cell_monitor_core.crypto import check_keys
from cell_monitor_core.settings import ENV_PREFIX, CoreSettings, missing_secret

__all__ = ["WorkerSettings"]


class WorkerSettings(CoreSettings):
    """The settings of the worker."""

    service: ClassVar[str] = "worker"

    worker_host: str = Field(
        "127.0.0.1", min_length=1, description="Address of probes and metrics; `0.0.0.0` in a container."
    )
    worker_port: int = Field(8902, ge=0, le=65535, description="Port of probes and metrics.")
    worker_groups: str = Field(
        ",".join(keys.REQUIRED_GROUPS),
        description="Comma-separated consumer groups that this process works for: `postgres`, `influxdb` or both.",
    )
    worker_database_connections: int = Field(8, ge=4, le=100, description="PostgreSQL connections of this process.")
    worker_batch_events: int = Field(
        1000, ge=1, le=5000, description="Maximum number of events of one transaction or write."
    )
    worker_concurrency: int = Field(2, ge=1, le=16, description="Batches that each group processes at the same time.")
    worker_series_linger_s: float = Field(
        0.2, ge=0, le=60, description="Seconds that time-series points wait for further points of the same write."
    )
    worker_reclaim_idle_s: float = Field(
        60.0,
        ge=0.1,
        le=86_400,
        description="Seconds after which an entry that another worker has not finished is claimed.",
    )
    worker_trim_interval_s: float = Field(
        10.0, gt=0, le=3600, description="How often entries that all groups have finished are deleted."
    )
    worker_lag_interval_s: float = Field(5.0, gt=0, le=3600, description="How often the backlog is measured.")
    worker_course_interval_s: float = Field(
        0.5, ge=0, le=60, description="Shortest time between two publications of a course's counters."
    )
    worker_isolate_after_deliveries: int = Field(
        5,
        ge=1,
        le=1000,
        description="An entry delivered more often than this is processed in a batch of its own, so that it cannot break "
        "others.",
    )
    worker_dead_letter_after_deliveries: int = Field(
        20,
        ge=2,
        le=10_000,
        description="An entry delivered more often than this is moved to failed_events without processing.",
    )
    worker_failed_share: float = Field(
        0.5, gt=0, le=1, description="Share of failed events, among the last 1,000, above which the worker stops."
    )
    worker_failed_at_least: int = Field(
        100, ge=1, le=1000, description="Events below which no share of failed ones stops the worker."
    )
    worker_halt_hold_s: float = Field(
        60.0,
        ge=0,
        le=3600,
        description="Seconds that a worker that halted because of failed events stays not ready before it exits: "
        "restarts must not drain the stream into failed_events.",
    )

    worker_audit_days: int = Field(
        365, ge=30, le=3650, description="Days after which entries of the audit log are deleted."
    )

    @field_validator("worker_groups")
    @classmethod
    def _check_groups(cls, value: str) -> str:
        names = [part.strip() for part in value.split(",") if part.strip()]
        if not names or not set(names) <= set(keys.REQUIRED_GROUPS):
            raise ValueError(f"is a list of {' and '.join(keys.REQUIRED_GROUPS)}")
        return ",".join(dict.fromkeys(names))

    @model_validator(mode="after")
    def _check_needed(self) -> Self:
        # The group influxdb needs them too, for failed_events.
        for name in ("database_url", "encryption_keys"):
            if getattr(self, name) is None:
                raise ValueError(missing_secret(f"{ENV_PREFIX}{name.upper()}"))
        if self.worker_dead_letter_after_deliveries <= self.worker_isolate_after_deliveries:
            raise ValueError("WORKER_DEAD_LETTER_AFTER_DELIVERIES must be greater than WORKER_ISOLATE_AFTER_DELIVERIES")
        return self

    @property
    def groups(self) -> tuple[str, ...]:
        """The consumer groups that this process works for."""
        return tuple(self.worker_groups.split(","))

    def check_keys(self) -> None:
        """Check the keys that are set."""
        check_keys(self)
