"""Hazard: the documented schema and the reader that the API runs disagree about which events are valid."""

import copy
import json
import re
from datetime import datetime

import jsonschema
import pytest
import referencing
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from referencing.jsonschema import DRAFT202012

from cell_monitor_core.events.codec import EventError, decode_event
from cell_monitor_core.events.types import EVENT_TYPES
from cell_monitor_testing.event_strategies import TEXT, events
from cell_monitor_testing.generation.schemas import load_schemas

SCHEMAS = load_schemas()
FORMATS = FormatChecker(formats=())


@FORMATS.checks("date-time", raises=ValueError)
def is_date(value):
    return not isinstance(value, str) or bool(datetime.fromisoformat(value))


def pattern(_validator, expression, instance, _schema):
    # ECMA-262's $ is the end of the text; Python's also matches before a last newline.
    if isinstance(instance, str) and not re.search(re.sub(r"\$$", r"\\Z", expression), instance):
        yield ValidationError("pattern")


def integer(_checker, value):
    # 1.0 is an integer to JSON Schema; our readers take integers as integers are written.
    return isinstance(value, int) and not isinstance(value, bool)


def const(_validator, constant, instance, _schema):
    # 1.0 equals 1 to JSON Schema, see integer().
    if type(instance) is not type(constant) or instance != constant:
        yield ValidationError("const")


STRICT = jsonschema.validators.extend(
    Draft202012Validator,
    {"pattern": pattern, "const": const},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", integer),
)
# jsonschema checks a resource that names its dialect by that dialect's own validator, which is not the strict one.
REGISTRY = referencing.Registry().with_resources(
    (name, DRAFT202012.create_resource({key: value for key, value in schema.items() if key != "$schema"}))
    for name, schema in SCHEMAS.items()
)
VALIDATORS = {name: STRICT(SCHEMAS[f"{name}.yaml"], registry=REGISTRY, format_checker=FORMATS) for name in EVENT_TYPES}

EVENTS = events()

# What a sender may get wrong; each replaces one value somewhere in a valid event.
BROKEN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2**60),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXT,
    st.just({}),
    st.just([]),
    st.just([{}]),
    st.sampled_from(
        [
            "2026-02-30T09:00:00Z",
            "2026-04-01T09:00:00.123Z\n",
            "2026-04-01T09:00:00.123+00:00",
            "2026-04-01 09:00:00Z",
            "2026-04-01T09:00:00.1234567891Z",
            "2026-04-01T24:00:00Z",
            "1969-12-31T23:59:59Z",
            "2200-01-01T00:00:00Z",
            "0190a0a0-0000-4000-8000-000000000000",
            "0190a0a0-0000-7000-8000-000000000000",
            "0190A0A0-0000-7000-8000-000000000000",
            "0190a0a000007000800000000000000000000",
            "ok",
            "error",
            "x" * 1025,
            "あ" * 16_385,
        ]
    ),
)


def paths(value, prefix=()):
    yield prefix
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, (*prefix, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from paths(inner, (*prefix, index))


@st.composite
def broken_events(draw):
    event = copy.deepcopy(draw(EVENTS))
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from([path for path in paths(event) if path]))
        holder = event
        for part in path[:-1]:
            holder = holder[part]
        if draw(st.booleans()):
            holder[path[-1]] = copy.deepcopy(draw(BROKEN))
        elif isinstance(holder, dict):
            del holder[path[-1]]
        else:
            holder.append(copy.deepcopy(draw(BROKEN)))
        if not isinstance(event, dict):
            break
    return event


# What is documented of an event of another release: the envelope, whatever its notebook, cell and data look like.
OPAQUE = STRICT(
    {
        **SCHEMAS["envelope.yaml"],
        "properties": {
            name: schema
            for name, schema in SCHEMAS["envelope.yaml"]["properties"].items()
            if name not in {"notebook", "cell", "data"}
        },
        "required": [name for name in SCHEMAS["envelope.yaml"]["required"] if name != "data"],
    },
    registry=REGISTRY,
    format_checker=FORMATS,
)
NEWEST = 1


def verdicts(event):
    name, version = event.get("type"), event.get("schema_version")
    if isinstance(name, str) and name in VALIDATORS and not (integer(None, version) and version > NEWEST):
        documented = VALIDATORS[name].is_valid(event)
    else:
        documented = OPAQUE.is_valid(event)
    try:
        decode_event(json.dumps(event).encode())
        read = True
    except EventError as error:
        read = error.reason == "event_too_large" and documented
    return documented, read


@settings(max_examples=300)
@given(EVENTS)
def test_valid_events_are_read(event):
    documented, read = verdicts(event)
    # A run with status error needs its error: the one rule between two properties.
    data = event["data"]
    expected = not (event["type"] == "cell_executed" and data["status"] == "error" and not data.get("error"))
    assert documented == read == expected


@settings(max_examples=600)
@given(broken_events())
def test_broken_events_get_the_same_verdict(event):
    documented, read = verdicts(event)
    assert documented == read


LATEST = {
    "event_id": "0190a0a0-0000-7000-8000-000000000000",
    "type": "cell_executed",
    "schema_version": 1,
    "occurred_at": "2026-04-01T09:00:00.123Z",
    "session_id": "0190a0a0-0000-4000-8000-000000000000",
    "seq": 1,
    "notebook": {"id": "n", "path": "p"},
    "cell": {"id": "c", "source_id": "c", "index": 0, "type": "code"},
    "data": {
        "execution_id": "0190a0a0-0000-4000-8000-000000000000",
        "started_at": "2026-04-01T09:00:00Z",
        "status": "ok",
        "code": "",
        "outputs": [],
    },
}


@pytest.mark.parametrize(
    ("time", "valid"),
    [
        ("1970-01-01T00:00:00Z", True),
        # No clock is too wrong: any year that a time of this form can have.
        ("1969-12-31T23:59:59.999Z", True),
        ("2199-12-31T23:59:59.999999999Z", True),
        ("2200-01-01T00:00:00Z", True),
        ("0001-01-01T00:00:00Z", True),
        ("9999-12-31T23:59:59.999Z", True),
        ("0000-01-01T00:00:00Z", False),
        ("2028-02-29T00:00:00Z", True),
        ("2026-02-29T00:00:00Z", False),
        ("2026-04-31T00:00:00Z", False),
        ("2026-13-01T00:00:00Z", False),
        ("2026-00-01T00:00:00Z", False),
        ("2026-04-01T24:00:00Z", False),
        ("2026-04-01T23:60:00Z", False),
        ("2026-04-01T23:59:60Z", False),
        ("2026-04-01T09:00:00.Z", False),
        ("2026-04-01T09:00:00.1Z", True),
        ("2026-04-01T09:00:00.1234567891Z", False),
        ("2026-04-01T09:00:00", False),
        ("2026-04-01T09:00:00z", False),
        ("2026-04-01t09:00:00Z", False),
        ("2026-04-01 09:00:00Z", False),
        ("2026-04-01T09:00:00+00:00", False),
        ("2026-04-01T09:00:00Z\n", False),
        ("\n2026-04-01T09:00:00Z", False),
        ("２026-04-01T09:00:00Z", False),  # noqa: RUF001
        ("2026-W14-3T09:00:00Z", False),
        ("20260401T090000.0000Z", False),
    ],
)
def test_edges_of_times_are_the_same_in_both(time, valid):
    for event in (LATEST | {"occurred_at": time}, LATEST | {"data": LATEST["data"] | {"started_at": time}}):
        assert verdicts(event) == (valid, valid)


@settings(max_examples=50)
@given(EVENTS, st.dictionaries(TEXT.map(lambda key: f"x_{key}"), st.integers() | TEXT, min_size=1, max_size=3))
def test_unknown_properties_are_no_fault_at_any_level(event, unknown):
    for place in (event, event["data"], event.get("notebook"), event.get("cell")):
        if place is not None:
            place.update(unknown)
    documented, read = verdicts(event)
    assert documented == read


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({"seq": 1.0}, False),
        ({"seq": True}, False),
        ({"schema_version": 1.0}, False),
        ({"schema_version": 2.0}, False),
        ({"session_id": LATEST["session_id"] + "\n"}, False),
        ({"cell": LATEST["cell"] | {"index": 0.0}}, False),
        ({"type": "made_by_a_newer_release", "seq": 1.0}, False),
        ({"type": "made_by_a_newer_release\n"}, False),
        ({"type": "made_by_a_newer_release"}, True),
    ],
)
def test_a_number_with_a_point_is_no_integer_and_a_newline_no_end_anywhere(change, valid):
    assert verdicts(LATEST | change) == (valid, valid)


@pytest.mark.parametrize("name", sorted(EVENT_TYPES))
def test_schemas_are_valid_schemas(name):
    Draft202012Validator.check_schema(SCHEMAS[f"{name}.yaml"])
