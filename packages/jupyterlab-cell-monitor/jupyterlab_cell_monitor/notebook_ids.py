"""Which notebook of this Jupyter server has which id, and what is known of its cells.

An id must be the same for all students who were given the same file, so the front end proposes one that is made from the
file's path or written in it. It must also belong to one file: a copy proposes the same id as its original, and a new file
the one of an earlier file that was renamed. So the ids that were given out are stored, by path, where every browser of
the student finds them: in Jupyter's data directory. The student's files are never written to.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .ingest_body import MAX_ID_CHARS

__all__ = ["FileSignature", "NotebookIds", "Proposal"]

_MAX_NOTEBOOKS = 2000
_MAX_CELL_FILES = 1000
_MAX_FILE_BYTES = 4 * 1024 * 1024
_SUFFIX_BYTES = 6


class FileSignature(NamedTuple):
    """What a file keeps when a program other than Jupyter moves it: its inode number and the time of its last change.

    Both together: an inode number is used again for a new file, which has another time.
    """

    inode: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """A notebook that is opened, and the id that it should have.

    Attributes:
        path: where it is on this server, or with its drive's name where another drive has it.
        id: what the file proposes: the id in its metadata or one made from its path; at most 128 characters.
        named: whether it is the id in the file's metadata, which a copy has too.
        shared: whether other students may have the same file. False for a new notebook that has no name yet: its path is
            the same for every new notebook, of this student and of all others.
        moved_from: its path before, where the page saw that it was renamed.
        remembered: the id that this browser stored for the path, of an earlier version of the extension.
    """

    path: str
    id: str
    named: bool = False
    shared: bool = True
    moved_from: str | None = None
    remembered: str | None = None


@dataclass(slots=True)
class _Entry:
    id: str
    named: str | None
    file: FileSignature | None


class NotebookIds:
    """The ids of the notebooks below one root directory.

    Args:
        directory: where they are stored; made at the first write.
        root: names the root directory; several servers may share ``directory``.
        exists: whether a path is that of a file, or may be on a drive that cannot be asked; called with whether it was a
            file of this server before.
    """

    def __init__(self, directory: Path, root: str, exists: Callable[[str, bool], Awaitable[bool]]) -> None:
        self._directory = directory
        self._root = _digest(root)
        self._path = directory / f"notebooks-{self._root}.json"
        self._exists = exists
        self._lock = asyncio.Lock()

    async def open(self, proposal: Proposal, file: FileSignature | None) -> str:
        """Return the id of a notebook, the same as before wherever it was moved, and store it.

        Args:
            proposal: the notebook.
            file: of its file; None where it is not known.

        Raises:
            OSError: the ids cannot be stored.
        """
        async with self._lock:
            return await self._open(proposal, file)

    async def _open(self, proposal: Proposal, file: FileSignature | None) -> str:
        entries = self._load()
        before = {path: (entry.id, entry.named, entry.file) for path, entry in entries.items()}
        path = proposal.path
        if proposal.moved_from and path not in entries:
            _move(entries, proposal.moved_from, path)
        if file is not None and (path not in entries or entries[path].file != file):
            for other, entry in list(entries.items()):
                if other != path and entry.file == file and not await self._exists(other, True):
                    # What was at this path before was removed without Jupyter, or this file was moved over it.
                    entries.pop(path, None)
                    _move(entries, other, path)
                    break
        found = entries.get(path)
        if found is None or (proposal.named and found.named != proposal.id):
            entries.pop(path, None)
            identity = await self._claim(entries, proposal)
            found = _Entry(identity, proposal.id if proposal.named else None, file)
        found.file = file
        # The newest last: the oldest are forgotten first.
        entries.pop(path, None)
        entries[path] = found
        if before != {path: (entry.id, entry.named, entry.file) for path, entry in entries.items()}:
            self._save(entries)
        return found.id

    async def _claim(self, entries: dict[str, _Entry], proposal: Proposal) -> str:
        for wanted in (proposal.remembered, proposal.id if proposal.shared else None):
            if wanted and not await self._is_held(entries, wanted):
                return wanted
        kept = MAX_ID_CHARS - 2 * _SUFFIX_BYTES - 1
        return f"{proposal.id[:kept]}~{secrets.token_hex(_SUFFIX_BYTES)}"

    async def _is_held(self, entries: dict[str, _Entry], identity: str) -> bool:
        for path, entry in list(entries.items()):
            if entry.id == identity:
                if await self._exists(path, entry.file is not None):
                    return True
                del entries[path]
        return False

    async def moved(self, source: str, target: str) -> None:
        """A file or a folder was renamed or moved.

        Raises:
            OSError: the ids cannot be stored.
        """
        async with self._lock:
            entries = self._load()
            if _move(entries, source, target):
                self._save(entries)

    async def deleted(self, path: str) -> None:
        """A file or a folder was deleted: a new one of the same path is another notebook.

        Raises:
            OSError: the ids cannot be stored.
        """
        async with self._lock:
            entries = self._load()
            gone = [other for other in entries if _inside(other, path)]
            for other in gone:
                del entries[other]
            if gone:
                self._save(entries)

    async def saved(self, path: str, file: FileSignature | None) -> None:
        """A notebook was written; its file may be another one now.

        Raises:
            OSError: the ids cannot be stored.
        """
        async with self._lock:
            entries = self._load()
            if path in entries and entries[path].file != file:
                entries[path].file = file
                self._save(entries)

    def cells(self, identity: str) -> Any:
        """Return what ``remember`` stored for a notebook, or None."""
        return _read_json(self._cell_file(identity))

    def remember(self, identity: str, cells: Any) -> None:
        """Store what the front end knows of a notebook's cells; None removes it.

        Raises:
            OSError: it cannot be stored.
        """
        file = self._cell_file(identity)
        if cells is None:
            file.unlink(missing_ok=True)
            return
        _write_json(file, cells)
        files = sorted(file.parent.glob("*.json"), key=_written_at)
        for oldest in files[:-_MAX_CELL_FILES]:
            oldest.unlink(missing_ok=True)

    def _cell_file(self, identity: str) -> Path:
        return self._directory / f"cells-{self._root}" / f"{_digest(identity)}.json"

    def _load(self) -> dict[str, _Entry]:
        return dict(_entries(_read_json(self._path)))

    def _save(self, entries: dict[str, _Entry]) -> None:
        newest = list(entries.items())[-_MAX_NOTEBOOKS:]
        _write_json(self._path, {path: asdict(entry) for path, entry in newest})


def _entries(stored: Any) -> Iterator[tuple[str, _Entry]]:
    for path, entry in stored.items() if isinstance(stored, dict) else ():
        with contextlib.suppress(KeyError, TypeError, ValueError):
            named, file = entry["named"], entry["file"]
            yield (
                path,
                _Entry(
                    str(entry["id"]),
                    None if named is None else str(named),
                    None if file is None else FileSignature(*(int(part) for part in file)),
                ),
            )


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _move(entries: dict[str, _Entry], source: str, target: str) -> bool:
    moved = [path for path in entries if _inside(path, source)]
    for path in moved:
        entries[target + path[len(source) :]] = entries.pop(path)
    return bool(moved)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _read_json(path: Path) -> Any:
    """Return what a file holds; None where it is missing, unreadable or longer than this program writes."""
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            return None
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}.new")
    try:
        temporary.write_text(json.dumps(value, ensure_ascii=True), "ascii")
        temporary.chmod(0o600)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
