"""The address `cell-monitor/notebooks`: the ids of notebooks, and what the front end stores about their cells."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tornado import web

from .answers import Answer
from .ingest_body import MAX_ID_CHARS, BodyError
from .json_bodies import invalid, json_object, text_in
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


class NotebooksHandler(CellMonitorHandler):
    """Finds out which notebook is opened."""

    @web.authenticated
    async def post(self) -> None:
        """Answers the notebook's id, the ids that its file has for its cells, and what is stored about them."""
        try:
            proposal = _proposal(json_object(self.request.body, _MAX_BODY_BYTES))
        except BodyError as error:
            self.refuse(error.status, error.error, error.msg)
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
        answer = {
            "notebook_id": identity,
            "cell_ids": await files.cell_ids(proposal.path),
            "cells": ids.cells(identity),
        }
        self.give(Answer(200, answer))

    @web.authenticated
    def put(self) -> None:
        """Stores what the front end knows of a notebook's cells."""
        try:
            body = json_object(self.request.body, _MAX_BODY_BYTES)
            identity = text_in(body, "notebook_id", MAX_ID_CHARS)
            cells = _cells(body.get("cells"))
        except BodyError as error:
            self.refuse(error.status, error.error, error.msg)
            return
        ids: NotebookIds = self.settings["cell_monitor_notebook_ids"]
        try:
            ids.remember(identity, cells)
        except OSError as error:
            self._not_stored("The ids of a notebook's cells", error)
            return
        self.give(Answer(200, {}))

    def _not_stored(self, what: str, error: OSError) -> None:
        self.log.warning("%s could not be stored: %s.", what, error)
        self.refuse(503, "storage_unavailable", "The server's data directory cannot be written to.")


def _proposal(body: dict[str, Any]) -> Proposal:
    return Proposal(
        path=text_in(body, "path", _PATH_CHARS),
        id=text_in(body, "id", MAX_ID_CHARS),
        named=body.get("named") is True,
        shared=body.get("shared") is not False,
        moved_from=text_in(body, "moved_from", _PATH_CHARS) if body.get("moved_from") is not None else None,
        remembered=text_in(body, "remembered", MAX_ID_CHARS) if body.get("remembered") is not None else None,
    )


def _cells(value: Any) -> list[list[str | int]] | None:
    """Read the list of `[source id, cell id, hash, whether it is in the notebook]`."""
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > _MAX_STORED_CELLS:
        raise invalid(f"cells must be a list of at most {_MAX_STORED_CELLS}.")
    for cell in value:
        if not isinstance(cell, list) or len(cell) != _STORED_CELL_PARTS:
            raise invalid("Each of cells must be a list of four.")
        *texts, present = cell
        if not all(isinstance(text, str) and len(text) <= MAX_ID_CHARS for text in texts) or present not in (0, 1):
            raise invalid(f"Each of cells must hold three texts of at most {MAX_ID_CHARS} characters and 0 or 1.")
    return value
