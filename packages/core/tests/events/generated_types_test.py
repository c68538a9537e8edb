"""Hazard: a schema and the types and traits made from it disagree, or a schema is not understood and silently cut."""

import copy

import pytest

from cell_monitor_core.events.registry import ACTIVITY_TYPES, EVENTS_WITH_NOTICES, PLACE_TYPES, RUN_END_SCOPES
from cell_monitor_core.events.types import EVENT_TYPES, Heartbeat, HelpCancelled, HelpRequested
from cell_monitor_testing.generation.python_types import python_types
from cell_monitor_testing.generation.schemas import SCHEMAS, Catalogue, load_schemas


def changed(name, change):
    schemas = copy.deepcopy(load_schemas())
    change(schemas[f"{name}.yaml"])
    return schemas


def test_every_schema_file_is_an_event_type_of_its_name():
    assert {path.stem for path in SCHEMAS.glob("*.yaml")} - {"envelope"} == EVENT_TYPES.keys()


def test_traits_are_those_of_the_schemas():
    # Types that every version had, so that the expectation does not come from the schemas.
    assert "heartbeat" not in ACTIVITY_TYPES
    assert {"cell_executed", "session_ended"} <= ACTIVITY_TYPES
    assert {"cell_execution_started", "help_requested", "notebook_opened"} <= PLACE_TYPES
    assert not {"heartbeat", "session_ended", "notebook_closed", "cell_executed", "session_started"} & PLACE_TYPES
    assert EVENT_TYPES["notebook_saved"].program == ("manual", False)
    assert EVENT_TYPES["kernel_restarted"].program == ("reason", "auto")
    assert RUN_END_SCOPES["session_ended"] == "session"
    assert {RUN_END_SCOPES[name] for name in ("kernel_restarted", "kernel_died", "session_started")} == {"notebook"}
    assert {Heartbeat, HelpRequested, HelpCancelled} == EVENTS_WITH_NOTICES
    assert {name for name, event_type in EVENT_TYPES.items() if event_type.urgent} == {
        "cell_executed",
        "cell_execution_started",
        "help_cancelled",
        "help_requested",
        "kernel_died",
        "kernel_restarted",
        "notebook_renamed",
        "session_ended",
        "session_started",
    }


def test_personal_data_is_marked_where_students_write():
    assert "data.message" in EVENT_TYPES["help_requested"].personal
    assert {"data.code", "data.outputs[].text", "data.error.value", "data.error.traceback"} <= set(
        EVENT_TYPES["cell_executed"].personal
    )
    assert all("notebook.path" in event_type.personal for event_type in EVENT_TYPES.values())


@pytest.mark.parametrize("trait", ["x-activity", "x-place", "x-urgent", "x-notices", "x-student"])
def test_a_type_without_a_trait_is_no_type_of_default_traits(trait):
    with pytest.raises(ValueError, match=rf"cell_edited\.yaml: {trait}"):
        Catalogue(changed("cell_edited", lambda schema: schema.pop(trait)))


def test_a_misspelled_trait_is_refused():
    with pytest.raises(ValueError, match="x-activty"):
        Catalogue(changed("cell_edited", lambda schema: schema.update({"x-activty": True})))


@pytest.mark.parametrize(
    "program", [True, {}, {"manual": True, "reason": 1}, {"manul": False}, {"manual": "no"}, {"manual": 0}, "manual"]
)
def test_a_mark_of_programs_that_no_event_can_have_is_refused(program):
    with pytest.raises(ValueError, match=r"notebook_saved\.yaml: x-program"):
        Catalogue(changed("notebook_saved", lambda schema: schema.update({"x-program": program})))


@pytest.mark.parametrize(
    ("versions", "newest"),
    [({"const": 1}, 1), ({"enum": [1, 2]}, 2), ({"enum": [6, 7]}, 7)],
)
def test_versions_are_the_newest_and_the_one_before(versions, newest):
    schemas = changed("cell_edited", lambda schema: schema["properties"].update(schema_version=versions))
    [event] = [event for event in Catalogue(schemas).events if event.name == "cell_edited"]
    assert event.version == newest


@pytest.mark.parametrize("versions", [{"const": 2}, {"enum": [1, 3]}, {"enum": [1, 2, 3]}, {"type": "integer"}])
def test_a_gap_between_versions_or_a_third_one_is_refused(versions):
    with pytest.raises(ValueError, match="schema_version"):
        Catalogue(changed("cell_edited", lambda schema: schema["properties"].update(schema_version=versions)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"multipleOf": 3}, "not understood"),
        ({"pattern": "^a$"}, None),
    ],
)
def test_what_would_be_dropped_silently_is_refused(change, message):
    schemas = load_schemas()
    schemas["cell_edited.yaml"]["properties"]["data"]["properties"]["note"] = {"type": ["string", "null"], **change}
    if message is None:
        assert "note" in python_types(Catalogue(schemas))
    else:
        with pytest.raises(ValueError, match=message):
            Catalogue(schemas)
