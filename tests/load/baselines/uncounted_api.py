"""Our API without ingest's counters, to measure what counting costs. gunicorn reads this module as its settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cell_monitor_api import context, main
from cell_monitor_api.gunicorn_conf import *  # noqa: F403 - the settings are the module's names
from cell_monitor_api.services.ingest_metrics import IngestMetrics

wsgi_app = "baselines.uncounted_api:create_app()"


class SilentIngestMetrics(IngestMetrics):
    """Counts nothing."""

    __slots__ = ()

    def request(self, status: int, seconds: float) -> None:
        pass

    def limited(self) -> None:
        pass

    @staticmethod
    def received(count: int) -> None:
        pass

    @staticmethod
    def appended(statuses: Sequence[str], seconds: float) -> None:
        pass

    def rejected(self, reasons: Sequence[str]) -> None:
        pass

    def log_unavailable(self, count: int) -> None:
        pass


def create_app() -> Any:
    """Return the application whose ingest counts nothing."""
    context.IngestMetrics = SilentIngestMetrics  # type: ignore[misc]
    return main.create_app()
