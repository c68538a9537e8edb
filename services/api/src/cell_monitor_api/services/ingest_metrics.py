"""Ingest's counters, bound once: counting is a handful of additions a request."""

from __future__ import annotations

from collections.abc import Sequence

from cell_monitor_core.events.reasons import Reason
from cell_monitor_core.telemetry import metrics
from cell_monitor_core.telemetry.instruments import Counter

__all__ = ["IngestMetrics"]


class IngestMetrics:
    """What ingest counts. See ``core.telemetry.metrics`` for what each metric means."""

    __slots__ = ("_limited", "_ok", "_rejected", "_retry", "_statuses")

    def __init__(self) -> None:
        self._statuses: dict[int, Counter] = {}
        self._ok = self._status(200)
        self._limited = metrics.RATE_LIMITED.labels("ingest")
        self._retry = metrics.EVENTS_RETRY.labels(Reason.LOG_UNAVAILABLE)
        self._rejected = {
            str(reason): metrics.EVENTS_REJECTED.labels(reason)
            for reason in Reason
            if reason is not Reason.LOG_UNAVAILABLE
        }

    def _status(self, status: int) -> Counter:
        counter = self._statuses.get(status)
        if counter is None:
            counter = self._statuses[status] = metrics.INGEST_REQUESTS.labels(status)
        return counter

    def request(self, status: int, seconds: float) -> None:
        """Count an answered request."""
        if status == 200:
            self._ok.value += 1
        else:
            self._status(status).value += 1
        metrics.INGEST_SECONDS.observe(seconds)

    def limited(self) -> None:
        """Count a request that its sender's bucket did not admit."""
        self._limited.value += 1

    @staticmethod
    def received(count: int) -> None:
        """Count the events of a request that could be read."""
        metrics.EVENTS_RECEIVED.value += count

    @staticmethod
    def appended(statuses: Sequence[str], seconds: float) -> None:
        """Count the answers of the log, and how long it took to be durable."""
        count = len(statuses)
        accepted = statuses.count("accepted")
        metrics.EVENTS_ACCEPTED.value += accepted
        if accepted != count:
            metrics.EVENTS_DUPLICATE.value += count - accepted
        metrics.STREAM_APPEND_SECONDS.observe(seconds)

    def rejected(self, reasons: Sequence[str]) -> None:
        """Count events that were rejected."""
        for reason in reasons:
            self._rejected[reason].value += 1

    def log_unavailable(self, count: int) -> None:
        """Count events that are to be sent again."""
        self._retry.value += count
