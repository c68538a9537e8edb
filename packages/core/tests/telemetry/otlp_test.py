"""Hazard: spans count as exported although a sign-in page answered, and nobody learns that there are no traces."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from structlog.testing import capture_logs

from cell_monitor_core.telemetry.otlp import CollectorExporter
from cell_monitor_testing.http_answers import HttpAnswer, answering

PAGE = b"<html>Sign in to the campus network</html>"
COLLECTOR: HttpAnswer = (200, {"content-type": "application/x-protobuf"}, b"")


@pytest.mark.parametrize(
    "foreign",
    [
        (200, {"content-type": "text/html; charset=utf-8"}, PAGE),
        (200, {}, PAGE),
        (302, {"location": "/sign-in"}, b""),
        (403, {"content-type": "text/html"}, PAGE),
    ],
)
async def test_an_answer_of_somebody_else_is_not_taken_for_the_collectors(foreign: HttpAnswer) -> None:
    answer = foreign
    provider = TracerProvider(shutdown_on_exit=False)
    with provider.get_tracer("test").start_as_current_span("one") as span:
        pass
    async with answering(lambda _head, _body: answer) as url:
        exporter = CollectorExporter(url)

        async def export() -> SpanExportResult:
            return await asyncio.to_thread(exporter.export, [span])  # type: ignore[list-item]

        with capture_logs() as lines:
            for _ in range(3):
                assert await export() is SpanExportResult.FAILURE
            answer = COLLECTOR
            for _ in range(3):
                assert await export() is SpanExportResult.SUCCESS
        exporter.shutdown()
    # Each is said once, and nothing of the page.
    assert [line["event"] for line in lines] == ["traces_not_exported", "traces_exported"]
    assert "campus" not in str(lines)
