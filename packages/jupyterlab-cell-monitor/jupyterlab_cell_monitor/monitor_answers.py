"""Answers of the monitor: read bounded, and believed only as far as they are in the form of ours.

A proxy, a firewall or a sign-in page between may answer instead, with any status. Only an error in our own form is the
monitor's refusal; after any other answer the same request is sent again.
"""

from __future__ import annotations

import json
from typing import Any, Final

import httpx

__all__ = [
    "ADDRESS_WRONG",
    "KEY_REFUSED",
    "REQUEST_INTERCEPTED",
    "answer_object",
    "answer_text",
    "error_type",
    "fault_in",
    "problem_of",
    "reason_of",
]

KEY_REFUSED: Final = "api_key_refused"
"""The monitor refuses the credential of this server."""
ADDRESS_WRONG: Final = "api_address_wrong"
"""What answers at the configured address is not the monitor, or the address is that of another path."""
REQUEST_INTERCEPTED: Final = "request_intercepted"
"""Something between answers instead of the monitor, or changes the requests."""

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


def reason_of(status: int, error: str) -> str:
    """Returns what an unusable answer was, for the log and the status of this server."""
    return f"HTTP {status} {error}" if error else f"HTTP {status}, not in the monitor's form"


def problem_of(status: int, error: str) -> str | None:
    """Returns what must be changed before a retry can succeed; None where waiting is enough.

    Args:
        status: of an answer that is neither a success nor a refusal of the events.
        error: its error in our form; empty where it is not the monitor's.
    """
    if status in {404, 405} or 300 <= status < 400:
        return ADDRESS_WRONG
    if error and status in {401, 403}:
        return KEY_REFUSED
    # An overloaded or restarting proxy answers with these for the monitor. 511: a network that wants a sign-in first.
    if status in {408, 425, 429} or (status >= 500 and status != 511):
        return None
    # Ours too, such as 411 or 415: this server never sends a request that deserves it.
    return REQUEST_INTERCEPTED


def fault_in(answer: dict[str, Any], field: str) -> bool:
    """Returns whether the error is about a field of the request."""
    where = _first_fault(answer).get("loc")
    return isinstance(where, list) and field in where
