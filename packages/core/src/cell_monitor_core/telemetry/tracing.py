"""Traces of an event from JupyterLab to the dashboard, in four spans.

The spans are ``ingest``, ``process_batch``, ``publish`` and ``frame``.

The sampling decision is made before OpenTelemetry is called, because its samplers cost as much as its spans. Without an
OTLP endpoint nothing is traced and OpenTelemetry is not imported.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cell_monitor_core.settings import CoreSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Link, Span, Tracer

__all__ = [
    "ActiveSpan",
    "SpanStart",
    "configure_tracing",
    "continue_trace",
    "format_traceparent",
    "link",
    "new_trace",
    "parse_traceparent",
    "sample",
    "shutdown_tracing",
    "span",
    "tracing_enabled",
]

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MAX_TRACEPARENT: Final = 128
_SAMPLED: Final = 1
_MAX_SAMPLED_PER_S: Final = 100
"""Bounds the cost of tracing, even when all clients ask for it: requests per second and process that get a span."""


class SpanStart(NamedTuple):
    """The parent of a span: trace and span id of an existing trace, or None twice for the root of a new one."""

    trace_id: int | None
    parent_id: int | None


class _State:
    """The process's tracer. A global, so that the sampling decision costs one attribute access."""

    def __init__(self) -> None:
        self.tracer: Tracer | None = None
        self.provider: TracerProvider | None = None
        self.ratio = 0.0
        self.second = 0
        self.sampled = 0


_state: Final = _State()
_NEW_TRACE: Final = SpanStart(None, None)


def parse_traceparent(text: str | None) -> tuple[int, int, bool] | None:
    """Parse a W3C ``traceparent`` into (trace id, parent span id, sampled); None if it is missing or invalid."""
    if text is None or len(text) > _MAX_TRACEPARENT:
        return None
    match = _TRACEPARENT.fullmatch(text)
    # Versions above 00 may add fields, version ff is forbidden (W3C Trace Context, "versioning").
    if match is None or match[1] == "ff" or (match[1] == "00" and match[5] is not None):
        return None
    trace_id, parent_id = int(match[2], 16), int(match[3], 16)
    if not trace_id or not parent_id:
        return None
    return trace_id, parent_id, bool(int(match[4], 16) & _SAMPLED)


def format_traceparent(trace_id: int, span_id: int, *, sampled: bool = True) -> str:
    """Return a W3C ``traceparent`` of version 00."""
    return f"00-{trace_id:032x}-{span_id:016x}-{_SAMPLED if sampled else 0:02x}"


def configure_tracing(settings: CoreSettings, service: str, *, exporter: SpanExporter | None = None) -> None:
    """Start tracing if an OTLP endpoint is set. Call it in each serving process, after the fork.

    Args:
        settings: endpoint and share of requests that are sampled.
        service: name of the service.
        exporter: used instead of OTLP over HTTP.
    """
    if settings.otlp_endpoint is None and exporter is None:
        return
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - costs start-up time and memory
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: PLC0415

    if exporter is None:
        from cell_monitor_core.telemetry.otlp import CollectorExporter  # noqa: PLC0415

        exporter = CollectorExporter(settings.otlp_endpoint or "")
    resource = Resource.create({"service.name": f"cell-monitor-{service}", "service.instance.id": settings.instance})
    provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=2048))
    _state.provider = provider
    _state.tracer = provider.get_tracer("cell_monitor")
    _state.ratio = settings.trace_sample_ratio


def shutdown_tracing() -> None:
    """Send the buffered spans and stop tracing. Blocks for a few seconds at most."""
    provider, _state.provider, _state.tracer = _state.provider, None, None
    if provider is not None:
        provider.shutdown()


def tracing_enabled() -> bool:
    """Return whether tracing is configured."""
    return _state.tracer is not None


def sample(traceparent: str | None) -> SpanStart | None:
    """Return the start of a request's span, or None if the request is not traced.

    A request with a ``traceparent`` is traced if that is sampled, one without with the configured probability. Both are
    limited to ``_MAX_SAMPLED_PER_S``.
    """
    if _state.tracer is None:
        return None
    if traceparent is None:
        start = _NEW_TRACE if random.random() < _state.ratio else None  # noqa: S311 - no secret
    else:
        start = continue_trace(traceparent)
    if start is None:
        return None
    second = int(time.monotonic())
    if second != _state.second:
        _state.second, _state.sampled = second, 0
    _state.sampled += 1
    return start if _state.sampled <= _MAX_SAMPLED_PER_S else None


def continue_trace(traceparent: str | None) -> SpanStart | None:
    """Return the parent that an event's ``traceparent`` names, or None if it is not sampled or tracing is off."""
    if _state.tracer is None or traceparent is None:
        return None
    parsed = parse_traceparent(traceparent)
    return SpanStart(parsed[0], parsed[1]) if parsed is not None and parsed[2] else None


def new_trace() -> SpanStart | None:
    """Return the start of a new trace, such as a batch's, or None if tracing is off."""
    return None if _state.tracer is None else _NEW_TRACE


def link(traceparent: str | None) -> Link | None:
    """Return a link to a sampled trace. A batch has many events and therefore links instead of a parent."""
    start = continue_trace(traceparent)
    if start is None or start.trace_id is None or start.parent_id is None:
        return None
    from opentelemetry.trace import Link, SpanContext, TraceFlags  # noqa: PLC0415

    return Link(SpanContext(start.trace_id, start.parent_id, is_remote=True, trace_flags=TraceFlags(_SAMPLED)))


class ActiveSpan:
    """A span that has not ended. Without a recorded span all methods do nothing."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, recorded: Span | None) -> None:
        self._span = recorded
        self.traceparent: str | None = None
        if recorded is not None:
            context = recorded.get_span_context()
            self.traceparent = format_traceparent(context.trace_id, context.span_id)

    def set(self, name: str, value: str | float) -> None:
        """Set an attribute. Only ids and numbers are allowed, no text that a person wrote."""
        if self._span is not None:
            self._span.set_attribute(name, value)

    def fail(self, reason: str) -> None:
        """Mark the span as failed."""
        if self._span is not None:
            from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415

            self._span.set_status(Status(StatusCode.ERROR, reason))


_NO_SPAN: Final = ActiveSpan(None)


@contextmanager
def span(
    name: str,
    start: SpanStart | None,
    *,
    links: Iterable[Link | None] = (),
    attributes: Mapping[str, str | int | float] | None = None,
) -> Iterator[ActiveSpan]:
    """Record a span around a block; do nothing if ``start`` is None. An exception fails the span with its class name.

    Yields:
        The span. Its ``traceparent`` is passed to the next hop, which continues the trace.
    """
    tracer = _state.tracer
    if start is None or tracer is None:
        yield _NO_SPAN
        return
    from opentelemetry.context import Context  # noqa: PLC0415
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context  # noqa: PLC0415

    context = Context()
    if start.trace_id is not None and start.parent_id is not None:
        parent = SpanContext(start.trace_id, start.parent_id, is_remote=True, trace_flags=TraceFlags(_SAMPLED))
        context = set_span_in_context(NonRecordingSpan(parent), context)
    arguments: dict[str, Any] = {"links": [item for item in links if item is not None], "attributes": attributes}
    recorded = tracer.start_span(name, context, **arguments)
    active = ActiveSpan(recorded)
    try:
        yield active
    except BaseException as error:
        active.fail(type(error).__name__)
        raise
    finally:
        recorded.end()
