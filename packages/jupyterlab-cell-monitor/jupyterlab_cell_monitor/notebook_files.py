"""What the ids of notebooks depend on in their files, read by Jupyter's contents manager."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from jupyter_core.utils import ensure_async
from tornado import web

from .notebook_ids import FileSignature, NotebookIds

__all__ = ["MAX_CELLS", "NotebookFiles", "follow_changes"]

MAX_CELLS = 2000
_MAX_NOTEBOOK_BYTES = 32 * 1024 * 1024


class NotebookFiles:
    """The notebooks of a contents manager, by their paths as Jupyter names them."""

    def __init__(self, contents_manager: Any) -> None:
        self._contents = contents_manager

    async def exists(self, path: str, was_here: bool) -> bool:
        """Return whether a path is that of a file.

        True where it cannot be asked, as on another drive: then nothing takes the file's id.

        Args:
            path: with the drive's name, if it is on another drive.
            was_here: whether the file was one of this server's before.
        """
        try:
            found = bool(await ensure_async(self._contents.file_exists(path)))
        except (OSError, web.HTTPError):
            found = False
        return found or (not was_here and _may_name_drive(path))

    def is_new(self, path: str) -> bool:
        """Return whether a file has the name of a new one, which depends on the server's language and configuration."""
        name = path.rpartition("/")[2]
        names = (getattr(self._contents, f"untitled_{kind}", "") for kind in ("notebook", "file"))
        return any(new and re.fullmatch(rf"{re.escape(new)}\d*(\.\w+)?", name) for new in names)

    def signature(self, path: str) -> FileSignature | None:
        """Return a file's signature; None where the contents manager has no local files."""
        os_path = getattr(self._contents, "_get_os_path", None)
        if os_path is None:
            return None
        try:
            # That of another drive's path is none here.
            status = Path(os_path(path)).stat()
        except (OSError, web.HTTPError):
            return None
        return FileSignature(status.st_ino, status.st_mtime_ns)

    async def cell_ids(self, path: str) -> list[str | None] | None:
        """Return the ids that the file itself has for its cells, None for a cell without one.

        Jupyter makes ids up while it reads a file that has none, or two cells of one id, and others at each load.

        Returns:
            As many as there are cells, at most 2,000; an empty list for a file whose format has no ids; None where it
            cannot be read, as on another drive.
        """
        try:
            about = await ensure_async(self._contents.get(path, content=False))
            size = about.get("size")
            if isinstance(size, int) and size > _MAX_NOTEBOOK_BYTES:
                return None
            model = await ensure_async(self._contents.get(path, content=True, type="file", format="text"))
            return await asyncio.to_thread(_ids_in, str(model["content"]))
        except (OSError, KeyError, web.HTTPError):
            return None


def follow_changes(event_logger: Any, schema_id: str, ids: NotebookIds, files: NotebookFiles, log: Any) -> None:
    """Report what the contents manager renames, deletes and saves to ``ids``, also for requests of other clients.

    Args:
        event_logger: of the Jupyter server.
        schema_id: of the contents manager's events.
        ids: of this server's notebooks.
        files: its notebooks.
        log: takes a warning where the ids cannot be stored.
    """

    async def listener(logger: Any, schema_id: str, data: dict[str, Any]) -> None:  # noqa: ARG001 - the names are Jupyter's
        path = str(data.get("path", "")).strip("/")
        source = str(data.get("source_path", "")).strip("/")
        try:
            if data.get("action") == "rename" and source:
                await ids.moved(source, path)
            elif data.get("action") == "delete":
                await ids.deleted(path)
            elif data.get("action") == "save":
                await ids.saved(path, files.signature(path))
        except OSError as error:
            log.warning("The id of a notebook could not be stored: %s.", error)

    event_logger.add_listener(schema_id=schema_id, listener=listener)


def _may_name_drive(path: str) -> bool:
    """Return whether a path may be on a drive that only the front end has, such as ``s3:a.ipynb``; so may a file be named."""
    return ":" in path.partition("/")[0]


def _ids_in(text: str) -> list[str | None]:
    try:
        notebook = json.loads(text)
    except (ValueError, RecursionError):
        # A script that is opened as a notebook.
        return []
    if not isinstance(notebook, dict):
        return []
    version = (notebook.get("nbformat"), notebook.get("nbformat_minor"))
    cells = notebook.get("cells")
    if not isinstance(cells, list) or not all(isinstance(part, int) for part in version) or version < (4, 5):
        return []
    found: list[str | None] = []
    for cell in cells[:MAX_CELLS]:
        identity = cell.get("id") if isinstance(cell, dict) else None
        found.append(identity if isinstance(identity, str) else None)
    return found
