"""Makes ``types.py`` and the extension's ``types.ts`` from the YAML schemas.

``python -m cell_monitor_core.events.codegen --python PATH --typescript PATH``; a test compares both files with a fresh
run. It understands the part of JSON Schema that our schemas use and refuses the rest.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

__all__ = ["SCHEMAS", "generate_python", "generate_typescript", "load_schemas", "main"]

SCHEMAS = Path(__file__).parent / "schemas"

_HEADER = "Made from the schemas by cell_monitor_core.events.codegen. Do not edit."
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

Schema = dict[str, Any]


def load_schemas() -> dict[str, Schema]:
    """Return all schemas by their ``$id``."""
    schemas = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(SCHEMAS.glob("*.yaml"))]
    return {schema["$id"]: schema for schema in schemas}


@dataclass
class _Field:
    name: str
    python: str
    typescript: str
    required: bool
    description: str


@dataclass
class _Struct:
    name: str
    description: str
    fields: list[_Field] = field(default_factory=list)
    tag: str | None = None


class _Reader:
    """Collects the structs and aliases of all schemas."""

    def __init__(self, schemas: dict[str, Schema]) -> None:
        self.envelope = schemas["envelope.yaml"]
        self.aliases: dict[str, tuple[str, str]] = {}
        self.structs: dict[str, _Struct] = {}
        self.events: list[_Struct] = []
        self.personal: dict[str, list[str]] = {}
        for name, schema in schemas.items():
            if name != "envelope.yaml":
                self._event(schema)

    def _event(self, schema: Schema) -> None:
        properties = self.envelope["properties"] | schema["properties"]
        tag = properties["type"]["const"]
        required = {*self.envelope["required"], *schema.get("required", [])}
        struct = _Struct(schema["title"], schema["description"], tag=tag)
        for name, prop in properties.items():
            if name == "type":
                continue
            merged = {"description": self.envelope["properties"][name].get("description", "")} | prop
            struct.fields.append(self._field(name, merged, required=name in required))
        self.events.append(struct)
        self.personal[tag] = sorted(self._personal_paths(properties, ""))

    def _field(self, name: str, schema: Schema, *, required: bool) -> _Field:
        python, typescript = self._type(schema)
        if required == python.endswith(" | None"):
            raise ValueError(f"{name}: optional properties must allow null, required ones must not")
        return _Field(name, python, typescript, required, schema.get("description", ""))

    def _type(self, schema: Schema) -> tuple[str, str]:
        if "$ref" in schema:
            return self._reference(schema["$ref"])
        if "const" in schema:
            return f"Literal[{schema['const']!r}]", _ts_literal(schema["const"])
        if "anyOf" in schema:
            choice, null = schema["anyOf"]
            if null != {"type": "null"}:
                raise ValueError(f"anyOf is for null only: {schema}")
            python, typescript = self._type(choice)
            return f"{python} | None", f"{typescript} | null"
        if "enum" in schema:
            return self._enum(schema["enum"])
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

    @staticmethod
    def _enum(values: list[str | None]) -> tuple[str, str]:
        names = [value for value in values if value is not None]
        python = f"Literal[{', '.join(json.dumps(name) for name in names)}]"
        typescript = " | ".join(f"'{name}'" for name in names)
        return (f"{python} | None", f"{typescript} | null") if None in values else (python, typescript)

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
            struct = _Struct(name, schema.get("description", ""))
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
                resolved = nested
                if "$ref" in nested:
                    resolved = self.envelope["$defs"][nested["$ref"].rpartition("/")[2]]
                suffix = "[]." if nested is schema.get("items") else "."
                yield from self._personal_paths(resolved.get("properties", {}), f"{path}{suffix}")


def _annotated(python: str, schema: Schema, more: set[str]) -> str:
    unknown = schema.keys() - _CONSTRAINTS.keys() - _ANNOTATIONS - more - {"type"}
    if unknown:
        raise ValueError(f"codegen does not understand {sorted(unknown)} in {schema}")
    arguments = []
    for name, argument in _CONSTRAINTS.items():
        if name in schema:
            value = schema[name]
            if name == "pattern":
                continue  # The codec checks ids and times itself: msgspec would call Python's re for each.
            arguments.append(f"{argument}={value}")
    return f"Annotated[{python}, Meta({', '.join(arguments)})]" if arguments else python


def _ts_literal(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) else json.dumps(value)


def generate_python(schemas: dict[str, Schema]) -> str:
    """Return the text of ``types.py``."""
    reader = _Reader(schemas)
    structs = [*reader.structs.values(), *reader.events]
    names = sorted([*reader.aliases, *(struct.name for struct in structs), "Event"])
    names = ["EVENT_TYPES", "PERSONAL_DATA", *names]
    lines = [
        f'"""The events as msgspec structs. {_HEADER}"""',
        "",
        "# fmt: off",
        "",
        "from typing import Annotated, Final, Literal",
        "",
        "from msgspec import Meta, Struct",
        "",
        f"__all__ = {json.dumps(names)}",
        "",
    ]
    lines += [f"{alias} = {python}" for alias, (python, _) in reader.aliases.items()]
    for struct in structs:
        tag = f', tag_field="type", tag="{struct.tag}"' if struct.tag else ""
        doc = struct.description or f"The ``data`` of {struct.name.removesuffix('Data')}."
        lines += ["", "", f"class {struct.name}(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False{tag}):"]
        lines += [f'    """{doc}"""']
        for item in struct.fields:
            lines += ["", *textwrap.wrap(item.description, 110, initial_indent="    # ", subsequent_indent="    # ")]
            lines += [f"    {item.name}: {item.python}{'' if item.required else ' = None'}"]
    lines += ["", "", "Event = (", *(f"    {'| ' if i else ''}{s.name}" for i, s in enumerate(reader.events)), ")", ""]
    lines += ["EVENT_TYPES: Final[frozenset[str]] = frozenset({"]
    lines += [*(f'    "{struct.tag}",' for struct in reader.events), "})"]
    lines += ["", "# Properties that hold personal data, by event type."]
    lines += ["PERSONAL_DATA: Final[dict[str, tuple[str, ...]]] = {"]
    for tag, paths in reader.personal.items():
        lines += [f"    {json.dumps(tag)}: ({', '.join(json.dumps(path) for path in paths)}),"]
    lines += ["}", ""]
    return "\n".join(lines)


def generate_typescript(schemas: dict[str, Schema]) -> str:
    """Return the text of ``types.ts``."""
    reader = _Reader(schemas)
    lines = [f"// {_HEADER}", ""]
    lines += [f"export type {alias} = {typescript};" for alias, (_, typescript) in reader.aliases.items()]
    for struct in [*reader.structs.values(), *reader.events]:
        lines.append("")
        if struct.description:
            lines.append(f"/** {struct.description} */")
        if not struct.fields and not struct.tag:
            lines.append(f"export type {struct.name} = Record<string, never>;")
            continue
        lines.append(f"export type {struct.name} = {{")
        if struct.tag:
            lines.append(f"  type: '{struct.tag}';")
        for item in struct.fields:
            if item.description:
                lines.append(f"  /** {item.description} */")
            lines.append(f"  {item.name}{'' if item.required else '?'}: {item.typescript};")
        lines.append("};")
    lines += ["", "/** Any event, told apart by its type. */", "export type Event ="]
    lines += [f"  | {struct.name}{';' if struct is reader.events[-1] else ''}" for struct in reader.events]
    lines += ["", "export type EventType = Event['type'];", ""]
    lines += [
        "/** The longest text, in code points, that the server takes in each place. */",
        "export const LIMITS = {",
    ]
    limits = list(_text_limits(schemas))
    lines += [
        f"  {name}: {limit}{'' if index == len(limits) - 1 else ','}" for index, (name, limit) in enumerate(limits)
    ]
    lines += ["} as const;", ""]
    return "\n".join(lines)


def _text_limits(schemas: dict[str, Schema]) -> Iterator[tuple[str, int]]:
    executed = schemas["cell_executed.yaml"]["properties"]["data"]["properties"]
    error = executed["error"]["anyOf"][0]["properties"]
    notebook = schemas["envelope.yaml"]["$defs"]["notebook"]["properties"]
    cell = schemas["envelope.yaml"]["$defs"]["cell"]["properties"]
    yield "notebookPath", notebook["path"]["maxLength"]
    yield "notebookTitle", notebook["title"]["maxLength"]
    yield "cellId", cell["id"]["maxLength"]
    yield "heading", cell["heading"]["maxLength"]
    yield "outlineCells", schemas["notebook_opened.yaml"]["properties"]["data"]["properties"]["cells"]["maxItems"]
    yield "code", executed["code"]["maxLength"]
    yield "outputs", executed["outputs"]["maxItems"]
    yield "outputText", executed["outputs"]["items"]["properties"]["text"]["maxLength"]
    yield "errorName", error["name"]["maxLength"]
    yield "errorValue", error["value"]["maxLength"]
    yield "traceback", error["traceback"]["maxLength"]
    yield "message", schemas["help_requested.yaml"]["properties"]["data"]["properties"]["message"]["maxLength"]


def main() -> None:
    """Write the files named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", type=Path)
    parser.add_argument("--typescript", type=Path)
    arguments = parser.parse_args()
    schemas = load_schemas()
    if arguments.python:
        arguments.python.write_text(generate_python(schemas), encoding="utf-8")
    if arguments.typescript:
        arguments.typescript.write_text(generate_typescript(schemas), encoding="utf-8")


if __name__ == "__main__":
    main()
