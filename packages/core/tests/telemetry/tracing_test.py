"""Hazards: a broken traceparent breaks a request, clients have every request traced, batches get one parent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cell_monitor_core.settings import CoreSettings
from cell_monitor_core.telemetry import tracing
from cell_monitor_core.telemetry.tracing import (
    configure_tracing,
    continue_trace,
    format_traceparent,
    link,
    new_trace,
    parse_traceparent,
    sample,
    shutdown_tracing,
    span,
)

TRACE = 0x0AF7651916CD43DD8448EB211C80319C
PARENT = 0xB7AD6B7169203331
SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = SAMPLED[:-2] + "00"


@pytest.fixture
def spans(monkeypatch):
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(tracing._state, "ratio", 0.0)
    monkeypatch.setattr(tracing._state, "sampled", 0)
    configure_tracing(CoreSettings(redis_url="redis://x", trace_sample_ratio=0.0), "api", exporter=exporter)

    def finished():
        tracing._state.provider.force_flush()
        return exporter.get_finished_spans()

    yield finished
    shutdown_tracing()


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_traceparent_round_trip(trace_id, span_id, sampled):
    text = format_traceparent(trace_id, span_id, sampled=sampled)
    assert parse_traceparent(text) == (trace_id, span_id, sampled)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "00",
        SAMPLED.upper(),
        SAMPLED + "-extra",
        SAMPLED + "\n",
        " " + SAMPLED,
        "ff" + SAMPLED[2:],
        "00-" + "0" * 32 + SAMPLED[35:],
        SAMPLED[:36] + "0" * 16 + "-01",
        "01" + SAMPLED[2:] + "-" + "x" * 200,
        SAMPLED.replace("0af", "0ag"),
    ],
)
def test_invalid_traceparents_are_none(text):
    assert parse_traceparent(text) is None


def test_later_versions_are_parsed_by_the_known_fields():
    assert parse_traceparent("01" + SAMPLED[2:] + "-more") == (TRACE, PARENT, True)


def test_without_an_endpoint_nothing_is_sampled():
    configure_tracing(CoreSettings(redis_url="redis://x"), "api")
    assert sample(SAMPLED) is None
    assert sample(None) is None
    assert new_trace() is None
    with span("ingest", None) as active:
        active.set("events", 1)
        active.fail("x")
        assert active.traceparent is None


def test_trace_continues_from_hop_to_hop(spans):
    with span("ingest", sample(SAMPLED), attributes={"events": 2}) as ingest:
        pass
    with span("publish", continue_trace(ingest.traceparent)) as publish:
        pass
    first, second = spans()
    assert (first.name, first.context.trace_id, first.parent.span_id) == ("ingest", TRACE, PARENT)
    assert first.attributes == {"events": 2}
    assert (second.name, second.context.trace_id, second.parent.span_id) == ("publish", TRACE, first.context.span_id)
    assert publish.traceparent == format_traceparent(TRACE, second.context.span_id)


def test_unsampled_requests_cost_no_span(spans):
    for traceparent in (UNSAMPLED, "garbage", None):
        assert sample(traceparent) is None
    assert spans() == ()


def test_share_of_requests_without_a_parent_start_a_trace(spans, monkeypatch):
    monkeypatch.setattr(tracing._state, "ratio", 1.0)
    with span("ingest", sample(None)):
        pass
    [recorded] = spans()
    assert recorded.parent is None


@pytest.mark.parametrize("traceparent", [SAMPLED, None], ids=["clients' wish", "busy hour"])
def test_number_of_traced_requests_is_limited(spans, monkeypatch, traceparent):
    now = 1000.0
    monkeypatch.setattr(tracing.time, "monotonic", lambda: now)
    monkeypatch.setattr(tracing._state, "second", 0)
    monkeypatch.setattr(tracing._state, "ratio", 1.0)
    sampled = [sample(traceparent) is not None for _ in range(500)]
    assert sampled == [True] * 100 + [False] * 400
    now += 1
    assert sample(traceparent) is not None
    # What the API has sampled continues without a limit.
    assert continue_trace(SAMPLED) is not None


def test_batch_links_to_its_events_and_has_no_parent(spans):
    other = format_traceparent(5, 6)
    with span("process_batch", new_trace(), links=[link(SAMPLED), link(None), link(UNSAMPLED), link(other)]):
        pass
    [batch] = spans()
    assert batch.parent is None
    assert [(item.context.trace_id, item.context.span_id) for item in batch.links] == [(TRACE, PARENT), (5, 6)]


def test_exception_fails_the_span_with_its_class_only(spans):
    with pytest.raises(ValueError, match="secret"), span("publish", sample(SAMPLED)):
        raise ValueError("secret")
    [recorded] = spans()
    assert not recorded.status.is_ok
    assert recorded.status.description == "ValueError"
    assert recorded.events == ()
