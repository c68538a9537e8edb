"""Traces from the click to the screen: ``ingest``, ``process_batch``, ``publish``, ``frame``.

Whether a request is traced is decided before OpenTelemetry is touched, because its own samplers cost as much as its
spans. Without an OTLP endpoint nothing is traced and nothing of OpenTelemetry is imported.
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
"""Enough to see how a class goes; beyond it neither a client's wish nor a busy hour makes more requests cost a span."""


class SpanStart(NamedTuple):
    """Where a span begins: in a trace that is there (``trace_id``, ``parent_id``), or as the first of its own."""

    trace_id: int | None
    parent_id: int | None


class _State:
    """The process's tracer; one, because the decision must be a look at a variable."""

    def __init__(self) -> None:
        self.tracer: Tracer | None = None
        self.provider: TracerProvider | None = None
        self.ratio = 0.0
        self.second = 0
        self.sampled = 0


_state: Final = _State()
_NEW_TRACE: Final = SpanStart(None, None)


def parse_traceparent(text: str | None) -> tuple[int, int, bool] | None:
    """Read a W3C ``traceparent``: (trace id, parent span id, sampled). None where it is missing or invalid."""
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
    """Write a W3C ``traceparent`` of version 00."""
    return f"00-{trace_id:032x}-{span_id:016x}-{_SAMPLED if sampled else 0:02x}"


def configure_tracing(settings: CoreSettings, service: str, *, exporter: SpanExporter | None = None) -> None:
    """Start tracing if an OTLP endpoint is set. Call it in the process that serves, after any fork.

    Args:
        settings: endpoint and share of requests that are sampled.
        service: name of the service.
        exporter: instead of OTLP over HTTP.
    """
    if settings.otlp_endpoint is None and exporter is None:
        return
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - costs start-up time and memory
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: PLC0415

    if exporter is None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        exporter = OTLPSpanExporter(endpoint=f"{(settings.otlp_endpoint or '').rstrip('/')}/v1/traces", timeout=5)
    resource = Resource.create({"service.name": f"cell-monitor-{service}", "service.instance.id": settings.instance})
    provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=2048))
    _state.provider = provider
    _state.tracer = provider.get_tracer("cell_monitor")
    _state.ratio = settings.trace_sample_ratio


def shutdown_tracing() -> None:
    """Send what waits and stop; blocks for seconds at most."""
    provider, _state.provider, _state.tracer = _state.provider, None, None
    if provider is not None:
        provider.shutdown()


def tracing_enabled() -> bool:
    """Tell whether spans are made at all."""
    return _state.tracer is not None


def sample(traceparent: str | None) -> SpanStart | None:
    """Decide whether a request is traced: as its ``traceparent`` says, or a share of those without; bounded."""
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
    """Return the place in a sampled trace that a ``traceparent`` of ours names, as carried by events."""
    if _state.tracer is None or traceparent is None:
        return None
    parsed = parse_traceparent(traceparent)
    return SpanStart(parsed[0], parsed[1]) if parsed is not None and parsed[2] else None


def new_trace() -> SpanStart | None:
    """Return the start of a trace of its own, such as a batch's, if spans are made at all."""
    return None if _state.tracer is None else _NEW_TRACE


def link(traceparent: str | None) -> Link | None:
    """Return a link to a sampled trace: a batch links to its events, it has no one parent."""
    start = continue_trace(traceparent)
    if start is None or start.trace_id is None or start.parent_id is None:
        return None
    from opentelemetry.trace import Link, SpanContext, TraceFlags  # noqa: PLC0415

    return Link(SpanContext(start.trace_id, start.parent_id, is_remote=True, trace_flags=TraceFlags(_SAMPLED)))


class ActiveSpan:
    """A span that is going on, or nothing where it is not sampled."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, recorded: Span | None) -> None:
        self._span = recorded
        self.traceparent: str | None = None
        if recorded is not None:
            context = recorded.get_span_context()
            self.traceparent = format_traceparent(context.trace_id, context.span_id)

    def set(self, name: str, value: str | float) -> None:
        """Add an attribute; ids and numbers only, never what a person wrote."""
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
    """Record a span around a block, or nothing where ``start`` is None. An exception marks it by its class's name.

    ``traceparent`` of what it yields is what the next hop carries on.
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
