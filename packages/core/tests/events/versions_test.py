"""Hazards: a rolling upgrade loses the events of the newer extension; a newer event is read as if it were today's."""

import contextlib
import copy
import json
import types as python

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_monitor_core.events.codec import EventError, EventReader, decode_event, decode_request
from cell_monitor_core.events.types import EVENT_TYPES, Heartbeat, OpaqueEvent
from cell_monitor_testing.event_strategies import EVENT_IDS, TEXT, TIMES, UUIDS, events
from cell_monitor_testing.generation.python_types import python_types
from cell_monitor_testing.generation.schemas import Catalogue, load_schemas

HEARTBEAT = {
    "event_id": "019d4835-c9fb-7006-8a00-5e1f00000001",
    "type": "heartbeat",
    "schema_version": 1,
    "occurred_at": "2026-04-01T09:00:00.123Z",
    "session_id": "0190a0a0-0000-4000-8000-000000000000",
    "seq": 1,
    "data": {"queued": 0, "dropped": 0, "visible": True},
}


def release(heartbeat=1, without=()):
    """Return the reader of a release: its heartbeat has this version, and some types are not yet known to it."""
    schemas = {
        name: copy.deepcopy(schema)
        for name, schema in load_schemas().items()
        if name.removesuffix(".yaml") not in without
    }
    if heartbeat > 1:
        schemas["heartbeat.yaml"]["properties"]["schema_version"] = {"enum": [heartbeat - 1, heartbeat]}
    module = python.ModuleType("types_of_a_release")
    exec(python_types(Catalogue(schemas)), module.__dict__)
    return EventReader(module.Event, module.EVENT_TYPES)


def read(reader, **changes):
    return reader.read(json.dumps(HEARTBEAT | changes).encode())


THIRD = release(heartbeat=3)


@pytest.mark.parametrize("version", [3, 2])
def test_the_newest_version_and_the_one_before_are_derived(version):
    event = read(THIRD, schema_version=version)
    assert (type(event).__name__, event.data.visible) == ("Heartbeat", True)


@pytest.mark.parametrize("version", [3, 2])
def test_a_wrong_event_of_a_version_that_is_read_is_wrong_and_not_old(version):
    with pytest.raises(EventError) as caught:
        read(THIRD, schema_version=version, data={"queued": -1})
    assert caught.value.reason == "invalid_event"


@pytest.mark.parametrize("version", [4, 5, 2**31 - 1])
def test_a_newer_version_is_kept_whatever_it_looks_like(version):
    event = read(THIRD, schema_version=version, data=["another", "form"], notebook=7)
    assert (type(event).__name__, event.type, event.schema_version) == ("OpaqueEvent", "heartbeat", version)


def test_an_older_version_is_refused_and_the_answer_names_those_that_are_read():
    with pytest.raises(EventError, match="2 and 3") as caught:
        read(THIRD, schema_version=1)
    assert caught.value.reason == "unsupported_schema_version"
    assert caught.value.event_id == HEARTBEAT["event_id"]


@pytest.mark.parametrize("version", [0, -1, 2**31, 1.0, "3", True, None])
def test_what_is_no_version_is_an_invalid_event(version):
    with pytest.raises(EventError) as caught:
        read(THIRD, schema_version=version)
    assert caught.value.reason == "invalid_event"


def test_todays_type_is_opaque_to_yesterdays_release_and_derived_by_todays():
    yesterday = release(without={"heartbeat"})
    assert type(read(yesterday)).__name__ == "OpaqueEvent"
    assert isinstance(decode_event(json.dumps(HEARTBEAT).encode()), Heartbeat)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
NEW_TYPES = st.from_regex(r"[a-z][a-z0-9_]{0,63}", fullmatch=True).filter(lambda name: name not in EVENT_TYPES)


@settings(max_examples=300)
@given(
    envelope=st.fixed_dictionaries(
        {
            "event_id": EVENT_IDS,
            "type": NEW_TYPES,
            "schema_version": st.integers(1, 2**31 - 1),
            "occurred_at": TIMES,
            "session_id": UUIDS,
            "seq": st.integers(1, 2**53 - 1),
        },
        optional={"course": st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=63)},
    ),
    rest=st.dictionaries(st.sampled_from(["notebook", "cell", "data", "extra", "é"]), JSON),
)
def test_an_unknown_type_is_read_whatever_it_holds_and_kept_byte_for_byte(envelope, rest):
    sent = json.dumps(rest | envelope, ensure_ascii=False).encode()
    [raw] = decode_request(b'{"events": [' + sent + b"]}").events
    event = decode_event(raw)
    assert type(event) is OpaqueEvent
    assert bytes(raw) == sent
    assert msgspec.to_builtins(event) == {name: value for name, value in envelope.items() if value is not None}


@settings(max_examples=300)
@given(event=events(), version=st.integers(2, 2**31 - 1))
def test_the_next_version_of_every_type_is_kept(event, version):
    kept = decode_event(json.dumps(event | {"schema_version": version}).encode())
    assert (type(kept), kept.type, kept.event_id) == (OpaqueEvent, event["type"], event["event_id"])


@settings(max_examples=300)
@given(JSON, JSON, JSON)
def test_nothing_that_looks_like_another_releases_event_raises_anything_but_the_codecs_error(name, version, seq):
    with contextlib.suppress(EventError):
        event = decode_event(json.dumps(HEARTBEAT | {"type": name, "schema_version": version, "seq": seq}).encode())
        assert event.seq == seq


def without_nulls(value):
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


@settings(max_examples=300)
@given(events())
def test_an_event_that_is_read_and_written_is_the_same(event):
    data = event["data"]
    if event["type"] == "cell_executed" and data["status"] == "error" and not data.get("error"):
        data["status"] = "ok"
    written = msgspec.json.encode(decode_event(json.dumps(event).encode()))
    assert json.loads(written) == without_nulls(event)
