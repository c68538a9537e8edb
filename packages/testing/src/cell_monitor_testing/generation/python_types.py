"""``core/events/types.py``: the events as msgspec structs, and their traits."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator

from cell_monitor_testing.generation.schemas import Catalogue, EventModel

__all__ = ["python_types"]


def python_types(catalogue: Catalogue) -> str:
    """Return the module's text."""
    structs = [*catalogue.structs.values(), *(event.struct for event in catalogue.events), catalogue.opaque]
    names = ["EVENT_TYPES", *sorted([*catalogue.aliases, *(struct.name for struct in structs), "Event"])]
    lines = [
        '"""The events as msgspec structs, and their traits. Made from the schemas by `make generate`. Do not edit."""',
        "",
        "# fmt: off",
        "",
        "from typing import Annotated, Final, Literal",
        "",
        "from msgspec import Meta, Struct",
        "",
        "from cell_monitor_core.events.traits import EventType",
        "",
        f"__all__ = {json.dumps(names)}",
        "",
    ]
    lines += [f"{alias} = {python}" for alias, (python, _) in catalogue.aliases.items()]
    for struct in structs:
        tag = f', tag_field="type", tag="{struct.tag}"' if struct.tag else ""
        doc = struct.description or f"The ``data`` of {struct.name.removesuffix('Data')}."
        lines += ["", "", f"class {struct.name}(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False{tag}):"]
        lines += [f'    """{doc}"""']
        for item in struct.fields:
            lines += ["", *textwrap.wrap(item.description, 110, initial_indent="    # ", subsequent_indent="    # ")]
            lines += [f"    {item.name}: {item.python}{'' if item.required else ' = None'}"]
    choices = (event.struct.name for event in catalogue.events)
    lines += ["", "", "Event = (", *(f"    {'| ' if i else ''}{name}" for i, name in enumerate(choices)), ")", ""]
    lines += ["EVENT_TYPES: Final[dict[str, EventType]] = {"]
    for event in catalogue.events:
        lines += _entry(event)
    lines += ["}", '"""The types that this version reads, by name."""', ""]
    return "\n".join(lines)


def _entry(event: EventModel) -> Iterator[str]:
    yield f'    "{event.name}": EventType('
    yield f'        "{event.name}",'
    yield f"        {event.struct.name},"
    yield f"        version={event.version},"
    yield f"        activity={event.activity},"
    yield f"        place={event.place},"
    yield f"        urgent={event.urgent},"
    yield f"        notices={event.notices},"
    yield f"        program={_program(event)},"
    yield f"        ends_runs={json.dumps(event.ends_runs) if event.ends_runs else None},"
    comma = "," if len(event.personal) == 1 else ""
    yield f"        personal=({', '.join(json.dumps(path) for path in event.personal)}{comma}),"
    yield "    ),"


def _program(event: EventModel) -> str:
    if event.program is None:
        return "None"
    name, value = event.program
    return f"({json.dumps(name)}, {value if isinstance(value, bool) else json.dumps(value)})"
