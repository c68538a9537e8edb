"""Answers of the monitor: read bounded, and believed only as far as they are in the form of ours."""

from __future__ import annotations

import json
from typing import Any, Final

import httpx

__all__ = ["answer_object", "answer_text", "error_type", "fault_in"]

_MAX_ERROR_CHARS: Final = 64


async def answer_text(response: httpx.Response, most: int) -> bytes | None:
    """Reads the body of a streamed answer; None if it has more bytes than ``most``."""
    text = bytearray()
    async for part in response.aiter_bytes():
        text += part
        if len(text) > most:
            return None
    return bytes(text)


def answer_object(text: bytes) -> dict[str, Any]:
    """Returns the JSON object that an answer is; empty for anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _first_fault(answer: dict[str, Any]) -> dict[str, Any]:
    detail = answer.get("detail")
    first = detail[0] if isinstance(detail, list) and detail else None
    return first if isinstance(first, dict) else {}


def error_type(answer: dict[str, Any]) -> str:
    """Returns the name of the error that an answer reports; empty where it reports none in our form."""
    error = _first_fault(answer).get("type")
    # It goes into logs and the status: only a name of ours, never a stranger's text.
    named = isinstance(error, str) and error.replace("_", "").isalnum() and len(error) <= _MAX_ERROR_CHARS
    return str(error) if named else ""


def fault_in(answer: dict[str, Any], field: str) -> bool:
    """Returns whether the error is about a field of the request."""
    where = _first_fault(answer).get("loc")
    return isinstance(where, list) and field in where
