"""A fact: what derivation reads of an event, without code, outputs and messages, which only a person reads.

The canonical order of facts is (time, number in the session, event id). The time is the server's: when the API received the
event minus how long the event waited before, and never before an event with a lower number of its session (``placing``). The
sender's clock is kept and decides nothing. Facts that a release stored before that have the sender's time and no number in
their key: what derives from them is what it was.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple, TypeAlias, get_args

import msgspec

from cell_monitor_core.derivation.errors import ErrorSigner
from cell_monitor_core.derivation.opaque_types import opaque_type
from cell_monitor_core.derivation.places import place_lag_ms, stored_activity, stored_place
from cell_monitor_core.events import types
from cell_monitor_core.events.codec import EventError, decode_event
from cell_monitor_core.publications import MAX_ERROR_VALUE, CellRef, NotebookRef
from cell_monitor_core.timestamps import to_text

__all__ = [
    "NO_KEY",
    "ErrorClass",
    "Fact",
    "FactError",
    "Key",
    "OutlineCell",
    "ReadEvent",
    "decode_fact",
    "encode_fact",
    "fact_key",
    "milliseconds",
    "moment",
    "read_event",
    "rfc3339",
]

Key: TypeAlias = tuple[int, int, str]
"""(milliseconds since the epoch, number in the session, event id): the place of a fact in the canonical order."""

NO_KEY: Final[Key] = (0, 0, "")
"""Before every fact."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
# An escaped NUL: jsonb and text of PostgreSQL hold none. The number of backslashes before "u" must be odd.
_NUL: Final = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


class FactError(ValueError):
    """An event that the API should not have let through; ``reason`` is a code of ``events.reasons``."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ErrorClass(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The part of an error that is kept without its text.

    Attributes:
        name: its class.
        signature: ``errors.ErrorSigner.sign``; None in facts stored before there were signatures.
    """

    name: str
    signature: str | None = None


class OutlineCell(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One cell of a notebook when it was opened."""

    id: str
    source_id: str
    index: int
    type: str
    heading: str | None = None


class Fact(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What derivation reads of an event.

    Attributes:
        at: the server's time of the event, milliseconds since the epoch.
        id: event id, lower case with hyphens.
        type: the event's type; of an opaque event its type and version (``opaque_types``).
        session: session id, likewise.
        execution: id of the run.
        status: how the run counts: an error that the cell's author expects (``error_expected``) is no failure, but ``ok``.
        request: the event id of the ``help_requested`` that a ``help_cancelled`` names.
        outline: the cells of a ``notebook_opened``.
        place: whether it says where the student is; None where its type implies that (``places``).
        activity: whether it is the student's activity, likewise.
        occurred: ``occurred_at`` as the sender's clock had it, milliseconds since the epoch; None in facts of releases whose
            ``at`` was that clock.
        kernel_death: the kernel died, and nothing says that no cell of the sender ran: the cell, where there is one, killed it.
        place_lag_ms: how long before ``at`` the student was at the place, milliseconds (``places.place_lag_ms``).
        listed: how many cells were added; negative where they were removed.
        removed: the source ids of the cells that a `cell_removed` names.
        restored: those of the cells that a `cell_added` says are there again.
        ends_runs: False where the sender reports the end of each run itself, although events of the type end runs.
    """

    at: int
    id: str
    type: str
    session: str
    seq: int
    notebook: NotebookRef | None = None
    cell: CellRef | None = None
    execution: str | None = None
    status: Literal["ok", "error", "aborted"] | None = None
    duration_ms: int | None = None
    execution_count: int | None = None
    error: ErrorClass | None = None
    request: str | None = None
    outline: tuple[OutlineCell, ...] | None = None
    place: bool | None = None
    activity: bool | None = None
    occurred: int | None = None
    kernel_death: bool = False
    ends_runs: bool = True
    place_lag_ms: int = 0
    listed: int = 0
    removed: tuple[str, ...] = ()
    restored: tuple[str, ...] = ()


class ReadEvent(NamedTuple):
    """A fact, and the text that a page shows in addition to it, which is stored separately and encrypted.

    ``text`` is a help request's message or the first 200 characters of an error's.
    """

    fact: Fact
    text: str | None


_fact_decoder = msgspec.json.Decoder(Fact)
encode_fact = msgspec.json.Encoder().encode
"""Return a fact's JSON, as stored in ``events.fact``."""


def decode_fact(text: str | bytes) -> Fact:
    """Read a stored fact."""
    return _fact_decoder.decode(text)


def fact_key(fact: Fact) -> Key:
    """Return the fact's place in the canonical order."""
    return (fact.at, 0 if fact.occurred is None else fact.seq, fact.id)


def moment(at: int) -> datetime:
    """Return milliseconds since the epoch as an aware datetime, without rounding."""
    return _EPOCH + timedelta(milliseconds=at)


def milliseconds(at: datetime) -> int:
    """Return an aware datetime as milliseconds since the epoch, cut, not rounded."""
    return (at - _EPOCH) // _MILLISECOND


def rfc3339(at: int) -> str:
    """Return milliseconds since the epoch as ``2026-04-01T09:00:00.123Z``."""
    return to_text(moment(at))


_TYPE_OF: Final[dict[type, str]] = {cls: str(cls.__struct_config__.tag) for cls in get_args(types.Event)}


def read_event(raw: bytes, received_at: int, signer: ErrorSigner | None = None, *, waited_ms: int = 0) -> ReadEvent:
    """Return the fact of an event as its sender wrote it, at its receipt minus its wait.

    Of an event whose type or version is not known here the fact has only what all events share; see ``opaque_types``.

    Args:
        raw: the event's JSON.
        received_at: milliseconds since the epoch, the API's clock.
        signer: signs errors; without it they have no signature.
        waited_ms: how long the event had waited before it was received.

    Raises:
        FactError: it is no valid event.
    """
    if b"\\u0000" in raw:
        raw = _NUL.sub(rb"\1\\ufffd", raw)
    try:
        event = decode_event(raw)
    except EventError as refusal:
        raise FactError(refusal.reason, str(refusal)) from refusal
    try:
        occurred = milliseconds(datetime.fromisoformat(event.occurred_at))
    except ValueError as fault:
        raise FactError("invalid_event", f"occurred_at is no time: {fault}") from fault
    at = max(1, received_at - waited_ms)
    if isinstance(event, types.OpaqueEvent):
        opaque = Fact(at, event.event_id, opaque_type(event), event.session_id, event.seq, occurred=occurred)
        return ReadEvent(opaque, None)
    notebook = event.notebook
    cell = event.cell
    execution = status = duration_ms = execution_count = error = request = text = outline = None
    kernel_death = False
    ends_runs = True
    listed = 0
    removed: tuple[str, ...] = ()
    restored: tuple[str, ...] = ()
    if isinstance(event, types.CellExecuted):
        data = event.data
        execution = data.execution_id
        status = "ok" if data.status == "error" and data.error_expected else data.status
        duration_ms = data.duration_ms
        execution_count = data.execution_count
        if data.error is not None and status == "error":
            name, value = data.error.name, data.error.value
            error = ErrorClass(name, None if signer is None else signer.sign(name, value))
            text = value[:MAX_ERROR_VALUE]
    elif isinstance(event, types.CellExecutionStarted):
        execution = event.data.execution_id
    elif isinstance(event, types.CellAdded):
        listed = event.data.count
        restored = tuple(event.data.source_ids or ())
    elif isinstance(event, types.CellRemoved):
        listed = -event.data.count
        removed = tuple(event.data.source_ids or ())
    elif isinstance(event, types.HelpRequested):
        text = event.data.message
    elif isinstance(event, types.HelpCancelled):
        request = event.data.request_id
    elif isinstance(event, types.NotebookOpened):
        outline = tuple(
            OutlineCell(cell.id, cell.source_id, cell.index, cell.type, cell.heading) for cell in event.data.cells
        )
    elif isinstance(event, types.KernelDied):
        kernel_death = event.data.running is not False
    elif isinstance(event, types.KernelRestarted):
        kernel_death = event.data.reason == "auto" and event.data.running is not False
    elif isinstance(event, (types.SessionStarted, types.SessionEnded)):
        ends_runs = event.data.ends_runs is not False
    kind = _TYPE_OF[type(event)]
    fact = Fact(
        at,
        event.event_id,
        kind,
        event.session_id,
        event.seq,
        None if notebook is None else NotebookRef(notebook.id, notebook.path, notebook.title),
        None if cell is None else CellRef(cell.source_id, cell.index, cell.type, cell.heading, cell.ordinal),
        execution,
        status,
        duration_ms,
        execution_count,
        error,
        request,
        outline,
        stored_place(kind, event),
        stored_activity(kind, event),
        occurred,
        kernel_death,
        ends_runs,
        place_lag_ms(kind),
        listed,
        removed,
        restored,
    )
    return ReadEvent(fact, text or None)
