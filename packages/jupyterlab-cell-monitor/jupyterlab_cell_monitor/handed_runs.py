"""The runs that a page hands over: those that it asked for and whose end it has not reported yet.

A request's body has them in the key ``runs``, beside the events (docs/dev/contracts.md, "Jupyter Server half"). They are read
here and never sent on. What is not as the contract says is left out: a page must not lose events because of it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .run_reports import shared_of

__all__ = ["MAX_HANDED_RUNS", "HandedRun", "ServerCode", "is_small", "is_uuid", "page_time", "read_runs"]

MAX_HANDED_RUNS = 500
"""Runs of one request that are read."""

_MAX_RUN_BYTES = 16 * 1024
_MAX_KERNEL_CHARS = 128
_MAX_HEAD_CHARS = 256
_MAX_AGE_MS = 7 * 24 * 3600 * 1000

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?Z")


@dataclass(frozen=True, slots=True)
class ServerCode:
    """The code of a run that the Jupyter server asks the kernel for, under a request id that no page knows.

    Attributes:
        head: its beginning.
        size: its length in bytes of UTF-8.
    """

    head: str
    size: int


@dataclass(frozen=True, slots=True)
class HandedRun:
    """One run.

    Attributes:
        execution_id: the run; where the page sent the request, the request's message id.
        start_id: the event id of its ``cell_execution_started``.
        seq: the highest number that its session had used.
        shared: what its events have in common: ``session_id``, ``notebook``, ``cell`` and, if there is one, ``course``.
        requested_at: when the student asked for it, by the page's clock.
        age_s: how long ago that was when the page sent this, in seconds.
        kernel: the id of its kernel; None where the page does not know it.
        error_expected: whether the author of the cell says that it may fail.
        server_code: None where the page sent the request.
    """

    execution_id: str
    start_id: str
    seq: int
    shared: dict[str, Any]
    requested_at: datetime
    age_s: float
    kernel: str | None
    error_expected: bool
    server_code: ServerCode | None

    @property
    def session_id(self) -> str:
        """The session that asked for it."""
        return str(self.shared["session_id"])


def read_runs(value: Any) -> list[HandedRun]:
    """Return the runs of a body's ``runs``, which is not validated; without those that cannot be read."""
    if not isinstance(value, list):
        return []
    return [run for run in map(_run, value[:MAX_HANDED_RUNS]) if run is not None]


def is_small(value: Any) -> bool:
    """Return whether what a page says of a run, or of the end of a session, is so short that it may be kept."""
    return len(json.dumps(value)) <= _MAX_RUN_BYTES


def is_uuid(value: Any) -> bool:
    """Return whether a JSON value is a UUID as events have them."""
    return isinstance(value, str) and _UUID.fullmatch(value) is not None


def page_time(text: Any) -> datetime | None:
    """Return a time that a page wrote; None where it names no time that exists."""
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _run(value: Any) -> HandedRun | None:
    if not isinstance(value, dict) or not is_small(value):
        return None
    shared = shared_of(value)
    ids = (value.get("execution_id"), value.get("start_id"), shared.get("session_id"))
    requested_at, seq = page_time(value.get("requested_at")), value.get("seq")
    server_code = _server_code(value.get("server_code"))
    if (
        not all(map(is_uuid, ids))
        or requested_at is None
        or not isinstance(seq, int)
        or not 0 <= seq < 2**31
        or not isinstance(shared.get("notebook"), dict)
        or not isinstance(shared.get("cell"), dict)
        or not isinstance(shared.get("course", ""), str)
        or (server_code is None) != (value.get("server_code") is None)
    ):
        return None
    age_ms, kernel = value.get("age_ms"), value.get("kernel")
    return HandedRun(
        execution_id=value["execution_id"],
        start_id=value["start_id"],
        seq=seq,
        shared=shared,
        requested_at=requested_at,
        age_s=min(max(age_ms, 0), _MAX_AGE_MS) / 1000 if isinstance(age_ms, int) else 0.0,
        kernel=kernel if isinstance(kernel, str) and 0 < len(kernel) <= _MAX_KERNEL_CHARS else None,
        error_expected=value.get("error_expected") is True,
        server_code=server_code,
    )


def _server_code(value: Any) -> ServerCode | None:
    if not isinstance(value, dict):
        return None
    head, size = value.get("head"), value.get("bytes")
    if not isinstance(head, str) or len(head) > _MAX_HEAD_CHARS or not isinstance(size, int):
        return None
    return ServerCode(head, size)
