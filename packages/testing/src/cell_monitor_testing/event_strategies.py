"""Hypothesis strategies of valid events, made from the schemas."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from hypothesis import strategies as st

from cell_monitor_testing.generation.schemas import ENVELOPE, load_schemas

__all__ = ["EVENT_IDS", "TEXT", "TIMES", "UUIDS", "event_of", "events"]

_SCHEMAS: Final = load_schemas()

TEXT: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
UUIDS: Final = st.uuids().map(str)
EVENT_IDS: Final = st.builds(
    lambda head, tail, variant: f"{head[:14]}7{head[15:19]}{variant}{tail[20:]}", UUIDS, UUIDS, st.sampled_from("89ab")
)
TIMES: Final = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)).map(  # noqa: DTZ001 - the contract's are UTC
    lambda at: at.isoformat(timespec="milliseconds") + "Z"
)


def _values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return valid instances of the part of JSON Schema that the schemas use."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        known = {"uuid": UUIDS, "event_id": EVENT_IDS, "time": TIMES}
        return known[name] if name in known else _values(_SCHEMAS[ENVELOPE]["$defs"][name])
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema:
        return st.one_of(*map(_values, schema["anyOf"]))
    kind = schema["type"]
    if isinstance(kind, list):
        return st.one_of(*(_values({**schema, "type": one}) for one in kind))
    match kind:
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(schema["minimum"], schema["maximum"])
        case "string":
            short = TEXT.filter(lambda text: len(text) >= schema.get("minLength", 0))
            return st.one_of(short, st.just("x" * schema["maxLength"]))
        case "array":
            return st.lists(_values(schema["items"]), max_size=3)
        case "object":
            properties = schema.get("properties", {})
            required = set(schema.get("required", ()))
            return st.fixed_dictionaries(
                {name: _values(prop) for name, prop in properties.items() if name in required},
                optional={name: _values(prop) for name, prop in properties.items() if name not in required},
            )
    raise ValueError(f"no strategy for {schema}")


def event_of(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return events of one type that its schema allows, but for rules between two properties."""
    envelope, schema = _SCHEMAS[ENVELOPE], _SCHEMAS[f"{name}.yaml"]
    return _values(
        {
            "type": "object",
            "properties": {**envelope["properties"], **schema["properties"]},
            "required": [*envelope["required"], *schema.get("required", [])],
        }
    )


def events() -> st.SearchStrategy[dict[str, Any]]:
    """Return events of all types."""
    names = sorted(name.removesuffix(".yaml") for name in _SCHEMAS if name != ENVELOPE)
    return st.sampled_from(names).flatmap(event_of)
