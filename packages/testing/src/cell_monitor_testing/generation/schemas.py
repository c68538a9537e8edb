"""The schemas of events, read into a model from which all generated files are written.

It understands the part of JSON Schema that the schemas use and refuses the rest, so that nothing is dropped silently.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import yaml

import cell_monitor_core.events

__all__ = ["ENVELOPE", "SCHEMAS", "Catalogue", "EventModel", "Field", "Struct", "load_schemas"]

SCHEMAS: Final = Path(cell_monitor_core.events.__file__).parent / "schemas"
ENVELOPE: Final = "envelope.yaml"

_PRIMITIVES = {"string": ("str", "string"), "integer": ("int", "number"), "boolean": ("bool", "boolean")}
_CONSTRAINTS = {
    "minimum": "ge",
    "maximum": "le",
    "minLength": "min_length",
    "maxLength": "max_length",
    "maxItems": "max_length",
    "pattern": "pattern",
}
_ANNOTATIONS = {"title", "description", "format", "x-personal-data"}
_FLAGS: Final = ("x-activity", "x-place", "x-urgent", "x-notices")
_NOT_READ_OF_OPAQUE: Final = {"notebook", "cell", "data"}
_STRUCTURE: Final = {"$schema", "$id", "title", "description", "allOf", "required", "properties"}

Schema = dict[str, Any]


def load_schemas(folder: Path = SCHEMAS) -> dict[str, Schema]:
    """Return all schemas of a folder by their ``$id``, in the order of their names."""
    schemas = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.yaml"))]
    return {schema["$id"]: schema for schema in schemas}


@dataclass
class Field:
    """A property of an object, with its type in both languages."""

    name: str
    python: str
    typescript: str
    required: bool
    description: str


@dataclass
class Struct:
    """An object with a title. An event's has the type's name as ``tag``."""

    name: str
    description: str
    fields: list[Field] = field(default_factory=list)
    tag: str | None = None


@dataclass
class EventModel:
    """One event type.

    Attributes:
        name: the event's ``type``.
        struct: its properties.
        schema: the schema as loaded.
        version: the newest ``schema_version`` that is read.
        activity: it counts as the student's activity; likewise the other traits, see ``schemas/envelope.yaml``.
        program: property of `data` and its value where a program caused the event.
        ends_runs: whose runs it ends.
        student: what students read about it, by language; ``order`` is its place in their list.
        personal: paths of the properties that hold personal data, such as ``data.outputs[].text``.
    """

    name: str
    struct: Struct
    schema: Schema
    version: int
    activity: bool
    place: bool
    urgent: bool
    notices: bool
    program: tuple[str, bool | str] | None
    ends_runs: Literal["notebook", "session"] | None
    student: dict[str, Any]
    personal: list[str]


class Catalogue:
    """The event types, structs and aliases of all schemas.

    Raises:
        ValueError: a schema lacks a trait or uses what is not understood here.
    """

    def __init__(self, schemas: dict[str, Schema]) -> None:
        self.envelope = schemas[ENVELOPE]
        self.aliases: dict[str, tuple[str, str]] = {}
        self.structs: dict[str, Struct] = {}
        self.events: list[EventModel] = [
            self._event(name.removesuffix(".yaml"), schema) for name, schema in schemas.items() if name != ENVELOPE
        ]
        self.opaque = self._opaque_event()

    def _opaque_event(self) -> Struct:
        """Return what is read of an event whose type or version this release does not know."""
        struct = Struct("OpaqueEvent", "What all events share, of an event whose type or version is not known here.")
        for name, prop in self.envelope["properties"].items():
            if name not in _NOT_READ_OF_OPAQUE:
                struct.fields.append(self._field(name, prop, required=name in self.envelope["required"]))
        return struct

    def _event(self, name: str, schema: Schema) -> EventModel:
        properties = self.envelope["properties"] | schema["properties"]
        if properties["type"] != {"const": name}:
            raise ValueError(f"{name}.yaml: its type must be the constant {name!r}, like its file")
        required = {*self.envelope["required"], *schema.get("required", [])}
        struct = Struct(schema["title"], schema["description"], tag=name)
        for prop_name, prop in properties.items():
            if prop_name == "type":
                continue
            merged = {"description": self.envelope["properties"][prop_name].get("description", "")} | prop
            struct.fields.append(self._field(prop_name, merged, required=prop_name in required))
        unknown = schema.keys() - _STRUCTURE - {*_FLAGS, "x-program", "x-ends-runs", "x-student"}
        if unknown:
            raise ValueError(f"{name}.yaml: {sorted(unknown)} is no trait")
        for flag in _FLAGS:
            # `is`, for 1 and 0 are not flags.
            if schema.get(flag) is not True and schema.get(flag) is not False:
                raise ValueError(f"{name}.yaml: {flag} must be true or false")
        ends_runs = schema.get("x-ends-runs")
        if ends_runs not in {None, "notebook", "session"}:
            raise ValueError(f"{name}.yaml: x-ends-runs must be notebook or session")
        student = schema.get("x-student")
        if not isinstance(student, dict) or student.keys() != {"order", "en", "ja"}:
            raise ValueError(f"{name}.yaml: x-student must have order, en and ja: what students read about it")
        return EventModel(
            name,
            struct,
            schema,
            version=_newest_version(name, schema["properties"].get("schema_version", {})),
            activity=schema["x-activity"],
            place=schema["x-place"],
            urgent=schema["x-urgent"],
            notices=schema["x-notices"],
            program=_program(name, schema),
            ends_runs=ends_runs,
            student=student,
            personal=sorted(self._personal_paths(properties, "")),
        )

    def _field(self, name: str, schema: Schema, *, required: bool) -> Field:
        python, typescript = self._type(schema)
        if required == python.endswith(" | None"):
            raise ValueError(f"{name}: optional properties must allow null, required ones must not")
        return Field(name, python, typescript, required, schema.get("description", ""))

    def _type(self, schema: Schema) -> tuple[str, str]:
        if "$ref" in schema:
            return self._reference(schema["$ref"])
        if "const" in schema:
            return _enum([schema["const"]])
        if "anyOf" in schema:
            choice, null = schema["anyOf"]
            if null != {"type": "null"}:
                raise ValueError(f"anyOf is for null only: {schema}")
            python, typescript = self._type(choice)
            return f"{python} | None", f"{typescript} | null"
        if "enum" in schema:
            return _enum(schema["enum"])
        kind = schema["type"]
        nullable = isinstance(kind, list)
        if nullable:
            kind, null = kind
            if null != "null":
                raise ValueError(f"a union of types is for null only: {schema}")
        python, typescript = self._plain(kind, schema)
        return (f"{python} | None", f"{typescript} | null") if nullable else (python, typescript)

    def _plain(self, kind: str, schema: Schema) -> tuple[str, str]:
        if kind == "object":
            return self._object(schema)
        if kind == "array":
            python, typescript = self._type(schema["items"])
            item = f"({typescript})" if " " in typescript else typescript
            return _annotated(f"tuple[{python}, ...]", schema, {"items"}), f"{item}[]"
        python, typescript = _PRIMITIVES[kind]
        return _annotated(python, schema, set()), typescript

    def _reference(self, reference: str) -> tuple[str, str]:
        name = reference.rpartition("/$defs/")[2]
        schema = self.envelope["$defs"][name]
        if schema["type"] == "object":
            return self._object(schema)
        alias = "".join(part.title() for part in name.split("_"))
        if alias not in self.aliases:
            self.aliases[alias] = self._plain(schema["type"], schema)
        return alias, alias

    def _object(self, schema: Schema) -> tuple[str, str]:
        name = schema["title"]
        if name not in self.structs:
            required = schema.get("required", [])
            struct = Struct(name, schema.get("description", ""))
            struct.fields = [
                self._field(key, prop, required=key in required) for key, prop in schema.get("properties", {}).items()
            ]
            self.structs[name] = struct
        return name, name

    def _personal_paths(self, properties: Schema, prefix: str) -> Iterator[str]:
        for name, schema in properties.items():
            path = f"{prefix}{name}"
            if schema.get("x-personal-data"):
                yield path
            for nested in (schema, schema.get("items", {}), *schema.get("anyOf", [])):
                resolved = self.resolve(nested)
                suffix = "[]." if nested is schema.get("items") else "."
                yield from self._personal_paths(resolved.get("properties", {}), f"{path}{suffix}")

    def resolve(self, schema: Schema) -> Schema:
        """Return a schema, or the definition of the envelope that it refers to."""
        if "$ref" not in schema:
            return schema
        found: Schema = self.envelope["$defs"][schema["$ref"].rpartition("/")[2]]
        return found


def _newest_version(name: str, schema: Schema) -> int:
    versions = schema.get("enum", [schema.get("const")])
    newest: object = versions[-1]
    if not isinstance(newest, int) or versions != [version for version in (newest - 1, newest) if version >= 1]:
        raise ValueError(f"{name}.yaml: schema_version must be const: 1, or enum: [N-1, N] from version 2 on")
    return newest


def _program(name: str, schema: Schema) -> tuple[str, bool | str] | None:
    """Return the property of ``data`` that says that a program caused the event, with its value."""
    given = schema.get("x-program")
    if given is None:
        return None
    properties = schema["properties"]["data"].get("properties", {})
    if isinstance(given, dict) and len(given) == 1:
        [(prop, value)] = given.items()
        known = properties.get(prop, {})
        if isinstance(value, bool) and "boolean" in known.get("type", ()):
            return prop, value
        if isinstance(value, str) and value in known.get("enum", ()):
            return prop, value
    raise ValueError(f"{name}.yaml: x-program must be one property of data with one of its values, not {given}")


def _enum(values: list[str | int | None]) -> tuple[str, str]:
    present = [value for value in values if value is not None]
    python = f"Literal[{', '.join(json.dumps(value) for value in present)}]"
    typescript = " | ".join(f"'{value}'" if isinstance(value, str) else json.dumps(value) for value in present)
    return (f"{python} | None", f"{typescript} | null") if None in values else (python, typescript)


def _annotated(python: str, schema: Schema, more: set[str]) -> str:
    unknown = schema.keys() - _CONSTRAINTS.keys() - _ANNOTATIONS - more - {"type"}
    if unknown:
        raise ValueError(f"not understood in a schema: {sorted(unknown)} in {schema}")
    arguments = [
        f"{argument}={schema[name]}"
        for name, argument in _CONSTRAINTS.items()
        # The codec checks ids and times itself: msgspec would call Python's re for each.
        if name in schema and name != "pattern"
    ]
    return f"Annotated[{python}, Meta({', '.join(arguments)})]" if arguments else python
