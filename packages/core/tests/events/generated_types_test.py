"""Hazard: the schemas say one thing and the types, in either language, another."""

from pathlib import Path

import pytest

from cell_monitor_core.events import types
from cell_monitor_core.events.codegen import SCHEMAS, generate_python, generate_typescript, load_schemas

REPOSITORY = Path(__file__).parents[4]
COMMAND = "python -m cell_monitor_core.events.codegen --python ... --typescript ..."


def test_python_types_are_those_of_the_schemas():
    committed = (SCHEMAS.parent / "types.py").read_text(encoding="utf-8")
    assert committed == generate_python(load_schemas()), f"run {COMMAND}"


def test_typescript_types_are_those_of_the_schemas():
    committed = REPOSITORY / "packages/jupyterlab-cell-monitor/src/events/types.ts"
    assert committed.read_text(encoding="utf-8") == generate_typescript(load_schemas()), f"run {COMMAND}"


def test_every_schema_file_is_an_event_type_of_its_name():
    names = {path.stem for path in SCHEMAS.glob("*.yaml")} - {"envelope"}
    assert names == types.EVENT_TYPES
    assert len(names) == 14


def test_personal_data_is_marked_where_students_write():
    assert "data.message" in types.PERSONAL_DATA["help_requested"]
    assert {"data.code", "data.outputs[].text", "data.error.value", "data.error.traceback"} <= set(
        types.PERSONAL_DATA["cell_executed"]
    )
    assert all("notebook.path" in paths for paths in types.PERSONAL_DATA.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"multipleOf": 3}, "does not understand"),
        ({"pattern": "^a$"}, None),
    ],
)
def test_codegen_refuses_what_it_would_silently_drop(change, message):
    schemas = load_schemas()
    schemas["cell_edited.yaml"]["properties"]["data"]["properties"]["note"] = {"type": ["string", "null"], **change}
    if message is None:
        assert "note" in generate_python(schemas)
    else:
        with pytest.raises(ValueError, match=message):
            generate_python(schemas)
