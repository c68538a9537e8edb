"""The OpenAPI document of the application. ``python -m cell_monitor_api openapi`` prints it."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from cell_monitor_api.answers import documented_types
from cell_monitor_api.version import VERSION
from cell_monitor_core.events.limits import MAX_EVENTS
from cell_monitor_core.events.types import Event, OpaqueEvent

__all__ = ["document"]

_REF = "#/components/schemas/{name}"

_ERROR_SCHEMAS: dict[str, Any] = {
    "Error": {
        "type": "object",
        "title": "Error",
        "required": ["detail"],
        "properties": {"detail": {"type": "array", "minItems": 1, "items": {"$ref": _REF.format(name="Fault")}}},
    },
    "Fault": {
        "type": "object",
        "title": "Fault",
        "required": ["type", "msg"],
        "properties": {
            "type": {"type": "string", "description": "Stable code of the fault."},
            "msg": {"type": "string", "description": "What is wrong and what to do, in English."},
            "loc": {
                "type": "array",
                "description": "Where in the request.",
                "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            },
        },
    },
}


def document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of an application, computed from its routes; the application is not changed."""
    schema = get_openapi(
        title="Cell Monitor API",
        version=VERSION,
        summary="Ingest, sign-in and queries.",
        description="Every error answer has the form of `Error`; `type` is a stable code.",
        routes=app.routes,
    )
    components = schema.setdefault("components", {}).setdefault("schemas", {})
    # FastAPI's own shape of a validation error is not ours.
    components.pop("HTTPValidationError", None)
    components.pop("ValidationError", None)
    _, structs = msgspec.json.schema_components([*documented_types(), Event, OpaqueEvent], ref_template=_REF)
    components.update(structs)
    components.update(_ERROR_SCHEMAS)
    components["IngestBody"] = _ingest_body()
    for path in schema["paths"].values():
        for operation in path.values():
            responses = operation["responses"]
            responses.pop("422", None)
            responses["default"] = {
                "description": "Refused or failed",
                "content": {"application/json": {"schema": {"$ref": _REF.format(name="Error")}}},
            }
    schema["components"]["schemas"] = dict(sorted(components.items()))
    return schema


def _ingest_body() -> dict[str, Any]:
    [event], _ = msgspec.json.schema_components([Event], ref_template=_REF)
    # Types and versions of a newer release are taken too: see docs/adr/0014.
    item = {"anyOf": [event, {"$ref": _REF.format(name=OpaqueEvent.__name__)}]}
    return {
        "type": "object",
        "title": "IngestBody",
        "required": ["events"],
        "additionalProperties": False,
        "properties": {
            "sent_at": {
                "type": ["string", "null"],
                "description": "The sender's clock when it sent the request; an event waited from its `occurred_at` until then.",
            },
            "waited_ms": {
                "type": ["array", "null"],
                "maxItems": MAX_EVENTS,
                "items": {"type": "integer"},
                "description": "How long each event waited; counts instead of `sent_at`.",
            },
            "events": {"type": "array", "maxItems": MAX_EVENTS, "items": item},
        },
    }
