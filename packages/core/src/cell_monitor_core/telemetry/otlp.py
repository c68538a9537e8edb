"""Spans to an OpenTelemetry collector, whose own answers alone mean that it took them.

OpenTelemetry's exporter takes every status from 200 to 399 for success, also a sign-in page or the way to one. OTLP says that a
collector answers 200 in the type of the request, protobuf: https://opentelemetry.io/docs/specs/otlp/#otlphttp-response
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import requests
import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

__all__ = ["CollectorExporter"]

_log = structlog.get_logger(__name__)

_TYPES: Final = ("application/x-protobuf", "application/json")


class _NotOfACollector(requests.RequestException):
    """Something else answered; the message says what, without a word of its page."""


def _require_collector(answer: requests.Response, **_: Any) -> None:
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    # OpenTelemetry knows what to do about failures. Collectors of vendors answer without a body, too.
    if answer.status_code >= 400 or (answer.status_code < 300 and (kind in _TYPES or not answer.content)):
        return
    raise _NotOfACollector(f"{answer.status_code} {kind or 'of no type'} is no answer of a collector")


class CollectorExporter(SpanExporter):
    """Sends spans over HTTP, and logs when a collector stops to take them, and when it takes them again.

    Args:
        endpoint: the collector's address, without ``/v1/traces``.
    """

    def __init__(self, endpoint: str) -> None:
        session = requests.Session()
        session.hooks["response"].append(_require_collector)
        self._inner = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=5, session=session)
        self._taken = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; those that nobody takes are lost."""
        result = self._inner.export(spans)
        taken = result is SpanExportResult.SUCCESS
        if taken != self._taken:
            self._taken = taken
            if taken:
                _log.info("traces_exported")
            else:
                # OpenTelemetry's own line before this one has the reason.
                _log.warning("traces_not_exported", spans=len(spans))
        return result

    def shutdown(self) -> None:
        """Send nothing more."""
        self._inner.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Do nothing: nothing is kept here."""
        return self._inner.force_flush(timeout_millis)
