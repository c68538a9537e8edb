"""The address `cell-monitor/notebooks`: the ids of notebooks, and what the front end stores about their cells."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from tornado import web

from .ingest_body import MAX_ID_CHARS
from .kernel_listener import KernelListener
from .notebook_files import MAX_CELLS, NotebookFiles
from .notebook_ids import NotebookIds, Proposal
from .routes import CellMonitorHandler

__all__ = ["NotebooksHandler"]

_MAX_BODY_BYTES = 1024 * 1024
_PATH_CHARS = 4096
# Cells that the notebook has, and those that it had.
_MAX_STORED_CELLS = 2 * MAX_CELLS
_STORED_CELL_PARTS = 4


class _BodyError(ValueError):
    """A body that is not as the contract says; the message says what is wrong."""


class NotebooksHandler(CellMonitorHandler):
    """Finds out which notebook is opened."""

    @web.authenticated
    async def post(self) -> None:
        """Answers the notebook's id, the ids that its file has for its cells, and what is stored about them."""
        try:
            proposal = _proposal(self._body())
        except _BodyError as error:
            self.refuse(400, "invalid_body", str(error))
            return
        ids: NotebookIds = self.settings["cell_monitor_notebook_ids"]
        files: NotebookFiles = self.settings["cell_monitor_notebook_files"]
        listener: KernelListener | None = self.settings.get("cell_monitor_listener")
        if listener is not None:
            listener.opened(proposal.path)
        if files.is_new(proposal.path):
            proposal = replace(proposal, shared=False)
        try:
            identity = await ids.open(proposal, files.signature(proposal.path))
        except OSError as error:
            self._not_stored("The id of a notebook", error)
            return
        self._answer(
            {
                "notebook_id": identity,
                "cell_ids": await files.cell_ids(proposal.path),
                "cells": ids.cells(identity),
            }
        )

    @web.authenticated
    def put(self) -> None:
        """Stores what the front end knows of a notebook's cells."""
        try:
            body = self._body()
            identity = _text(body, "notebook_id", MAX_ID_CHARS)
            cells = _cells(body.get("cells"))
        except _BodyError as error:
            self.refuse(400, "invalid_body", str(error))
            return
        ids: NotebookIds = self.settings["cell_monitor_notebook_ids"]
        try:
            ids.remember(identity, cells)
        except OSError as error:
            self._not_stored("The ids of a notebook's cells", error)
            return
        self._answer({})

    def _body(self) -> dict[str, Any]:
        if len(self.request.body) > _MAX_BODY_BYTES:
            raise _BodyError(f"The body is longer than {_MAX_BODY_BYTES} bytes.")
        try:
            body = json.loads(self.request.body)
        except (ValueError, RecursionError) as error:
            raise _BodyError("The body is no JSON.") from error
        if not isinstance(body, dict):
            raise _BodyError("The body must be an object.")
        return body

    def _not_stored(self, what: str, error: OSError) -> None:
        self.log.warning("%s could not be stored: %s.", what, error)
        self.refuse(503, "storage_unavailable", "The server's data directory cannot be written to.")

    def _answer(self, body: dict[str, Any]) -> None:
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps(body), set_content_type="application/json")


def _proposal(body: dict[str, Any]) -> Proposal:
    return Proposal(
        path=_text(body, "path", _PATH_CHARS),
        id=_text(body, "id", MAX_ID_CHARS),
        named=body.get("named") is True,
        shared=body.get("shared") is not False,
        moved_from=_text(body, "moved_from", _PATH_CHARS) if body.get("moved_from") is not None else None,
        remembered=_text(body, "remembered", MAX_ID_CHARS) if body.get("remembered") is not None else None,
    )


def _text(body: dict[str, Any], name: str, most: int) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise _BodyError(f"{name} must be a text of 1 to {most} characters.")
    return value


def _cells(value: Any) -> list[list[str | int]] | None:
    """Read the list of `[source id, cell id, hash, whether it is in the notebook]`."""
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > _MAX_STORED_CELLS:
        raise _BodyError(f"cells must be a list of at most {_MAX_STORED_CELLS}.")
    for cell in value:
        if not isinstance(cell, list) or len(cell) != _STORED_CELL_PARTS:
            raise _BodyError("Each of cells must be a list of four.")
        *texts, present = cell
        if not all(isinstance(text, str) and len(text) <= MAX_ID_CHARS for text in texts) or present not in (0, 1):
            raise _BodyError(f"Each of cells must hold three texts of at most {MAX_ID_CHARS} characters and 0 or 1.")
    return value
