"""The address `cell-monitor/join`: joining a class by its code."""

from __future__ import annotations

import json
import math
from typing import Any, Final

from tornado import web

from .answers import Answer
from .joining import CODE_CHARS, NAME_CHARS, Joining, JoinRefused
from .routes import CellMonitorHandler

__all__ = ["JoinHandler"]

_MAX_BODY_BYTES: Final = 4096
_ADDRESS_CHARS: Final = 200


class JoinHandler(CellMonitorHandler):
    """Says whether this computer joined, and joins. The secret never leaves the server."""

    @property
    def joining(self) -> Joining | None:
        """None where another credential is configured."""
        joining: Joining | None = self.settings["cell_monitor_joining"]
        return joining

    @web.authenticated
    def get(self) -> None:
        """Answers whether this computer joined, as whom, and where."""
        if self.joining is None:
            self.refuse(404, "not_found", "This server has another credential.")
        else:
            self.give(Answer(200, self.joining.state()))

    @web.authenticated
    async def post(self) -> None:
        """Joins the class that a code opens."""
        if self.joining is None:
            self.refuse(404, "not_found", "This server has another credential.")
            return
        try:
            address, code, name = _body(self.request.body)
        except ValueError as error:
            self.refuse(400, "invalid_body", str(error))
            return
        try:
            await self.joining.join(address, code, name)
        except JoinRefused as refused:
            if refused.retry_after > 0:
                self.set_header("Retry-After", str(math.ceil(refused.retry_after)))
            self.refuse(refused.status, refused.error, "This computer did not join.")
        except OSError as error:
            self.log.warning("The secret of joining could not be stored: %s.", error.strerror)
            self.refuse(503, "storage_unavailable", "The server's data directory cannot be written to.")
        else:
            self.give(Answer(200, self.joining.state()))


def _body(body: bytes) -> tuple[str, str, str]:
    """Returns the address, the code and the name.

    Raises:
        ValueError: the message says what is wrong.
    """
    if len(body) > _MAX_BODY_BYTES:
        raise ValueError(f"The body is longer than {_MAX_BODY_BYTES} bytes.")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("The body is no JSON.") from None
    if not isinstance(value, dict) or value.keys() != {"address", "code", "name"}:
        raise ValueError("The body must have address, code and name.")
    return (
        _text(value, "address", 0, _ADDRESS_CHARS),
        _text(value, "code", 1, CODE_CHARS),
        _text(value, "name", 1, NAME_CHARS),
    )


def _text(value: dict[str, Any], field: str, least: int, most: int) -> str:
    text = value[field]
    if not isinstance(text, str) or not least <= len(text) <= most:
        raise ValueError(f"{field} must be {least} to {most} characters.")
    return text
