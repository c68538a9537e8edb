"""The address `cell-monitor/join`: joining a class by its code."""

from __future__ import annotations

import math
from typing import Final

from tornado import web

from .answers import Answer
from .ingest_body import BodyError
from .joining import CODE_CHARS, NAME_CHARS, Joining, JoinRefused
from .json_bodies import invalid, json_object, text_in
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
            address, code, name = _form(self.request.body)
        except BodyError as error:
            self.refuse(error.status, error.error, error.msg)
            return
        try:
            kept = await self.joining.join(address, code, name)
        except JoinRefused as refused:
            if refused.retry_after > 0:
                self.set_header("Retry-After", str(math.ceil(refused.retry_after)))
            self.refuse(refused.status, refused.error, "This computer did not join.")
        except OSError as error:
            self.log.warning("The secret of joining could not be stored: %s.", error.strerror)
            self.refuse(503, "storage_unavailable", "The server's data directory cannot be written to.")
        else:
            self.give(Answer(200, {**self.joining.state(), "name_kept": kept}))


def _form(body: bytes) -> tuple[str, str, str]:
    """Returns the address, the code and the name.

    Raises:
        BodyError: one is missing or out of its bounds, or there is something else.
    """
    value = json_object(body, _MAX_BODY_BYTES)
    if value.keys() != {"address", "code", "name"}:
        raise invalid("The body must have address, code and name.")
    return (
        text_in(value, "address", _ADDRESS_CHARS, least=0),
        text_in(value, "code", CODE_CHARS),
        text_in(value, "name", NAME_CHARS),
    )
