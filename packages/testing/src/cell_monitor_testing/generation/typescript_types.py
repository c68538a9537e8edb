"""The extension's ``src/events/types.ts``: the events, the traits that the browser acts on, and the limits of texts."""

from __future__ import annotations

import json
from collections.abc import Iterator

from cell_monitor_testing.generation.schemas import ENVELOPE, Catalogue, Schema

__all__ = ["typescript_types"]


def typescript_types(catalogue: Catalogue) -> str:
    """Return the module's text."""
    events = [event.struct for event in catalogue.events]
    lines = ["// Made from the schemas by `make generate`. Do not edit.", ""]
    lines += [f"export type {alias} = {typescript};" for alias, (_, typescript) in catalogue.aliases.items()]
    for struct in [*catalogue.structs.values(), *events]:
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
    lines += ["", "/** Any event; `type` is the discriminator. */", "export type Event ="]
    lines += [f"  | {struct.name}{';' if struct is events[-1] else ''}" for struct in events]
    lines += ["", "export type EventType = Event['type'];", ""]
    lines += _traits(catalogue)
    schemas = {f"{event.name}.yaml": event.schema for event in catalogue.events} | {ENVELOPE: catalogue.envelope}
    limits = list(_text_limits(schemas))
    lines += [
        "",
        "/** The longest text, in code points, that the server takes in each place. */",
        "export const LIMITS = {",
        *(f"  {name}: {limit}{'' if index == len(limits) - 1 else ','}" for index, (name, limit) in enumerate(limits)),
        "} as const;",
        "",
    ]
    return "\n".join(lines)


def _traits(catalogue: Catalogue) -> Iterator[str]:
    yield "/** What the browser does with events of a type. */"
    yield "export interface IEventTraits {"
    yield "  /** The `schema_version` that is written. */"
    yield "  readonly version: number;"
    yield "  /** It is sent within 100 ms; others wait for it, or up to 10 s. */"
    yield "  readonly urgent: boolean;"
    yield "  /** The answer to it carries the student's notices. */"
    yield "  readonly notices: boolean;"
    yield "}"
    yield ""
    yield "export const TRAITS: Readonly<Record<EventType, IEventTraits>> = {"
    for event in catalogue.events:
        comma = "" if event is catalogue.events[-1] else ","
        traits = {"version": event.version, "urgent": event.urgent, "notices": event.notices}
        body = ", ".join(f"{name}: {json.dumps(value)}" for name, value in traits.items())
        yield f"  {event.name}: {{ {body} }}{comma}"
    yield "};"


def _text_limits(schemas: dict[str, Schema]) -> Iterator[tuple[str, int]]:
    executed = schemas["cell_executed.yaml"]["properties"]["data"]["properties"]
    error = executed["error"]["anyOf"][0]["properties"]
    notebook = schemas[ENVELOPE]["$defs"]["notebook"]["properties"]
    cell = schemas[ENVELOPE]["$defs"]["cell"]["properties"]
    yield "notebookPath", notebook["path"]["maxLength"]
    yield "notebookTitle", notebook["title"]["maxLength"]
    yield "cellId", cell["id"]["maxLength"]
    yield "heading", cell["heading"]["maxLength"]
    yield "outlineCells", schemas["notebook_opened.yaml"]["properties"]["data"]["properties"]["cells"]["maxItems"]
    yield "removedCells", schemas["cell_removed.yaml"]["properties"]["data"]["properties"]["source_ids"]["maxItems"]
    yield "code", executed["code"]["maxLength"]
    yield "outputs", executed["outputs"]["maxItems"]
    yield "outputText", executed["outputs"]["items"]["properties"]["text"]["maxLength"]
    yield "errorName", error["name"]["maxLength"]
    yield "errorValue", error["value"]["maxLength"]
    yield "traceback", error["traceback"]["maxLength"]
    yield "message", schemas["help_requested.yaml"]["properties"]["data"]["properties"]["message"]["maxLength"]
