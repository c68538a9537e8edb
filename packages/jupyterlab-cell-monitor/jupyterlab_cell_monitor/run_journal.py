"""The open runs on disk: a Jupyter server that is killed takes its kernels with it, and the next one reports their ends.

One small file for each running server, written when a run is open for longer than its page's first request after it, and
when such a run ends. It names notebooks and cells and contains no code and no output.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from .spool import SpoolLocked, hold
from .waits import HoldClock, Moment, hold_clock

__all__ = ["RecoveredRuns", "RunJournal"]

_SLOTS = 32
_MAX_BYTES = 16 * 1024 * 1024


@dataclass(slots=True)
class RecoveredRuns:
    """What processes that are gone left.

    Attributes:
        runs: as they were saved, not validated.
        ago_s: seconds since the last of them was saved.
    """

    runs: list[Any] = field(default_factory=list)
    ago_s: float = 0.0


class RunJournal:
    """The file of this process. Where the disk refuses it, runs are followed without it.

    Args:
        directory: made when something is saved.
        log: takes the reason where the disk cannot be used.
        clock: measures how long ago something was saved.
    """

    def __init__(
        self,
        directory: Path,
        log: logging.Logger | logging.LoggerAdapter[Any],
        clock: HoldClock | None = None,
    ) -> None:
        self._directory = directory
        self._log = log
        self._clock = clock or hold_clock()
        # One thread: writes follow each other, and their waits must not stop the server.
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="cell-monitor-runs")
        self._lock: BinaryIO | None = None
        self._path: Path | None = None
        self._stored = "[]"

    async def open(self) -> RecoveredRuns | None:
        """Take a file for this process, and return what processes that are gone left in theirs; None if no file can be used."""
        try:
            recovered: RecoveredRuns = await self._on_disk(self._open)
        except OSError as error:
            self._log.warning("Open runs cannot be stored (%s): after a kill of this server they have no end.", error)
            return None
        if recovered.runs:
            self._stored = ""
        return recovered

    async def save(self, runs: list[dict[str, Any]]) -> None:
        """Store the open runs, if they are others than before."""
        text = json.dumps(runs, separators=(",", ":"))
        if self._path is None or text == self._stored:
            return
        # Before it is written: a later call must not take what is replaced now for what is stored.
        self._stored = text
        try:
            await self._on_disk(self._write, self._path, text)
        except OSError as error:
            self._stored = ""
            self._log.warning("Open runs could not be stored (%s).", error)

    async def close(self) -> None:
        """Let another process take the file; what is in it stays."""
        self._disk.shutdown(wait=True)
        self._path = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _open(self) -> RecoveredRuns:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        recovered = RecoveredRuns()
        others: list[Path] = []
        for slot in range(_SLOTS):
            path = self._directory / f"{slot}.json"
            if self._path is not None and not path.exists():
                continue
            try:
                lock = hold(path.with_suffix(".lock"))
            except SpoolLocked:
                continue
            self._read(path, recovered)
            if self._path is None:
                self._path, self._lock = path, lock
                continue
            others.append(path)
            if lock is not None:
                lock.close()
        if self._path is None:
            raise SpoolLocked(f"all {_SLOTS} files in {self._directory} are in use")
        if others:
            # Before the others are removed: a kill in between only has some of them twice.
            self._write(self._path, json.dumps(recovered.runs))
            for path in others:
                path.unlink(missing_ok=True)
        return recovered

    def _read(self, path: Path, recovered: RecoveredRuns) -> None:
        try:
            if path.stat().st_size > _MAX_BYTES:
                return
            value = json.loads(path.read_text("utf-8"))
            ago_s = self._clock.held_ms(Moment(**value["saved"])) / 1000
            runs = value["runs"]
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            self._log.warning("The open runs of an earlier server cannot be read (%s).", type(error).__name__)
            return
        if isinstance(runs, list) and runs:
            recovered.ago_s = min(recovered.ago_s, ago_s) if recovered.runs else ago_s
            recovered.runs += runs

    def _write(self, path: Path, runs: str) -> None:
        saved = json.dumps(asdict(self._clock.now()))
        new = path.with_suffix(".new")
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        new.touch(0o600)
        new.write_text(f'{{"saved":{saved},"runs":{runs}}}', "utf-8")
        new.replace(path)

    async def _on_disk(self, action: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._disk, action, *arguments)
