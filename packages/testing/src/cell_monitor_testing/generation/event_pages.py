"""What the documentation says about events: the table of docs/dev/contracts.md and the list of docs/user/student*.md."""

from __future__ import annotations

import json

from cell_monitor_testing.generation.pages import table
from cell_monitor_testing.generation.schemas import Catalogue, EventModel, Schema

__all__ = ["event_table", "student_list"]


def event_table(catalogue: Catalogue) -> str:
    """Return the table of all event types."""
    return table(
        ("type", "version", "meaning", "notebook", "cell", "`data`", "personal data", "traits"),
        (_row(catalogue, event) for event in catalogue.events),
    )


def _row(catalogue: Catalogue, event: EventModel) -> tuple[object, ...]:
    required = event.schema.get("required", [])
    data = event.schema["properties"]["data"]
    return (
        f"`{event.name}`",
        event.version,
        event.schema["description"],
        "required" if "notebook" in required else "optional",
        "required" if "cell" in required else "optional",
        ", ".join(_properties(catalogue, data)) or "none",
        # That of the notebook's place is the same in all, and said above the table.
        ", ".join(f"`{path}`" for path in event.personal if path.startswith("data.")) or "none",
        ", ".join(_traits(event)) or "none",
    )


def _traits(event: EventModel) -> list[str]:
    names = [name for name in ("activity", "place", "urgent", "notices") if getattr(event, name)]
    if event.program is not None:
        name, value = event.program
        names.append(f"by a program where `{name}` is `{json.dumps(value) if isinstance(value, bool) else value}`")
    return names + ([f"ends the runs of its {event.ends_runs}"] if event.ends_runs else [])


def _properties(catalogue: Catalogue, schema: Schema) -> list[str]:
    required = schema.get("required", [])
    return [
        f"`{name}{'' if name in required else '?'}{_shape(catalogue, prop)}`"
        for name, prop in schema.get("properties", {}).items()
    ]


def _shape(catalogue: Catalogue, schema: Schema) -> str:
    """Return a property's type in a few characters; its description has the rest."""
    if "anyOf" in schema:
        schema = schema["anyOf"][0]
    if "$ref" in schema and schema["$ref"].endswith(("uuid", "event_id")):
        return " UUID"
    if "$ref" in schema and schema["$ref"].endswith("time"):
        return " time"
    schema = catalogue.resolve(schema)
    if "enum" in schema:
        return " " + "|".join(value for value in schema["enum"] if value is not None)
    kind = schema["type"] if isinstance(schema["type"], str) else schema["type"][0]
    if kind == "object":
        inner = (part.strip("`") for part in _properties(catalogue, schema))
        return f" {{{', '.join(inner)}}}"
    if kind == "array":
        return f" [{_shape(catalogue, schema['items']).strip()}] ≤ {schema['maxItems']}"
    if kind == "string":
        return f" ≤ {_size(schema['maxLength'])}"
    return ""


def _size(characters: int) -> str:
    return f"{characters // 1024} KiB" if characters % 1024 == 0 and characters > 1024 else str(characters)


def student_list(catalogue: Catalogue, language: str) -> str:
    """Return what students read about each type, as a list."""
    ordered = sorted(catalogue.events, key=lambda event: (event.student["order"], event.name))
    return "\n".join(f"- {event.student[language]}" for event in ordered)
