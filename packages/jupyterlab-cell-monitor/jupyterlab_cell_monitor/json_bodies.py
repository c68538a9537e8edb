"""Bodies of the front end's requests that are one JSON object, other than events: read bounded, part by part."""

from __future__ import annotations

import json
from typing import Any

from .ingest_body import BodyError

__all__ = ["invalid", "json_object", "text_in"]


def invalid(msg: str) -> BodyError:
    """Returns the error of a body that is not as the contract says."""
    return BodyError(400, "invalid_body", msg)


def json_object(body: bytes, most: int) -> dict[str, Any]:
    """Reads a body of at most so many bytes.

    Raises:
        BodyError: it is longer, or no JSON object.
    """
    if len(body) > most:
        raise invalid(f"The body is longer than {most} bytes.")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise invalid("The body is no JSON.") from None
    if not isinstance(value, dict):
        raise invalid("The body must be an object.")
    return value


def text_in(body: dict[str, Any], name: str, most: int, *, least: int = 1) -> str:
    """Returns a text of a body.

    Raises:
        BodyError: it is missing, no text, or not of ``least`` to ``most`` characters.
    """
    value = body.get(name)
    if not isinstance(value, str) or not least <= len(value) <= most:
        raise invalid(f"{name} must be a text of {least} to {most} characters.")
    return value
