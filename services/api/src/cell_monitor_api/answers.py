"""Answers as msgspec structs: encoded in one go, described in OpenAPI from the same definition.

FastAPI's response models would validate and copy what the database has just given us; a snapshot of 500 students costs
tens of milliseconds that way.
"""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

__all__ = ["StructResponse", "answers", "documented_types"]

_encoder = msgspec.json.Encoder()
_documented: dict[str, type[msgspec.Struct]] = {}


class StructResponse(Response):
    """JSON of a struct. Never kept by a cache: every answer of the API is about people or is about to change."""

    media_type = "application/json"

    def __init__(self, content: Any, status_code: int = 200, headers: dict[str, str] | None = None) -> None:
        super().__init__(content, status_code, {"cache-control": "no-store", **(headers or {})})

    def render(self, content: Any) -> bytes:
        """Encode."""
        return _encoder.encode(content)


def answers(struct: type[msgspec.Struct], description: str, *, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses=`` of a route that answers with a struct."""
    known = _documented.setdefault(struct.__name__, struct)
    if known is not struct:
        raise ValueError(f"two answers are called {struct.__name__}")
    schema = {"$ref": f"#/components/schemas/{struct.__name__}"}
    return {status: {"description": description, "content": {"application/json": {"schema": schema}}}}


def documented_types() -> list[type[msgspec.Struct]]:
    """Return the structs that routes answer with, for ``components`` of the OpenAPI document."""
    return [_documented[name] for name in sorted(_documented)]
