"""Baseline: an API as a good tutorial would write it.

A FastAPI route with a Pydantic model, ``await redis.xadd`` and OpenTelemetry's FastAPI instrumentor. It has no
authentication, no per-event answers and no metrics, unlike the API.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from pydantic import BaseModel, Field
from redis.asyncio import Redis

__all__ = ["app"]


class Notebook(BaseModel):
    id: str = Field(max_length=128)
    path: str = Field(max_length=1024)
    title: str | None = None


class Cell(BaseModel):
    id: str = Field(max_length=128)
    source_id: str = Field(max_length=128)
    index: int = Field(ge=0)
    type: Literal["code", "markdown", "raw"]
    heading: str | None = None


class Event(BaseModel):
    event_id: UUID
    type: str
    schema_version: int
    occurred_at: datetime
    session_id: UUID
    seq: int = Field(ge=1)
    notebook: Notebook
    cell: Cell
    course: str
    data: dict[str, Any]


class Accepted(BaseModel):
    event_id: UUID
    status: str


class _Nowhere(SpanExporter):
    """The cost of the export is not included: it would only make this baseline slower."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(_Nowhere()))
trace.set_tracer_provider(provider)
app = FastAPI()
redis = Redis.from_url(os.environ["BENCH_REDIS_URL"])


@app.post("/api/v1/events", status_code=202)
async def ingest(event: Event) -> Accepted:
    await redis.xadd("textbook:events", {"event": event.model_dump_json()})
    return Accepted(event_id=event.event_id, status="accepted")


FastAPIInstrumentor.instrument_app(app)
