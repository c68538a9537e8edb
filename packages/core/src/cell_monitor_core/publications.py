"""Publications: the absolute states that dashboards show, with versions and offsets.

A publication replaces a dashboard's state of one row; it is never a difference. ``version`` begins with the time at
which a row is created (see ``storage.postgres.versions``) and grows by one with every change, under the row's lock, so
that an older state can be distinguished from a newer one in the broker's script, in the gateway's recovery and in the
dashboard's cache. Publications contain no names: a dashboard has them from its snapshot.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

__all__ = [
    "CellRef",
    "CourseState",
    "ErrorRef",
    "ExecutionRef",
    "HelpRef",
    "HelpState",
    "HelpStatus",
    "KernelDeathsRef",
    "NotebookRef",
    "Publication",
    "PublicationKind",
    "Snapshot",
    "StudentState",
    "StudentStatus",
    "Watermark",
]

PublicationKind = Literal["student", "help", "course", "test"]
StudentStatus = Literal["waiting", "working", "running", "ok", "error"]
"""``waiting``: enrolled, nothing seen yet; ``working``: opened or edits, no run yet in this course; ``running``: a cell
runs now; ``ok``/``error``: how the newest run ended. Being stuck, idle or offline depends on the clock and is derived
where it is shown, from the timestamps and the course's thresholds."""
HelpStatus = Literal["open", "claimed", "resolved", "cancelled", "expired"]
"""``expired``: closed by itself, because the student had left for half an hour."""

MAX_ERROR_VALUE: Final = 200


class NotebookRef(msgspec.Struct, frozen=True):
    """Which notebook; ``id`` is stable across renames."""

    id: str
    path: str
    title: str | None = None


class CellRef(msgspec.Struct, frozen=True):
    """Which cell; ``source_id`` is the cell's id in the assignment that the student started from.

    ``ordinal`` tells the code cells below one heading apart: the cell's number among them, from 1.
    """

    source_id: str
    index: int
    type: str = "code"
    heading: str | None = None
    ordinal: int | None = None


class ErrorRef(msgspec.Struct, frozen=True):
    """An error's class name and its message, cut to 200 characters."""

    name: str
    value: str = ""


class ExecutionRef(msgspec.Struct, frozen=True):
    """The newest run that succeeded or failed; an aborted one only where there is no other.

    Times are RFC 3339 UTC with milliseconds; durations are milliseconds. ``notebook`` and ``cell`` are those of the run,
    which need not be where the student is now. With ``cell_removed`` the cell is gone: its name may be another cell's now.
    """

    event_id: str
    at: str
    status: Literal["ok", "error", "aborted"]
    notebook_id: str
    cell: CellRef | None = None
    duration_ms: int | None = None
    execution_count: int | None = None
    error: ErrorRef | None = None
    notebook: NotebookRef | None = None
    cell_removed: bool = False


class KernelDeathsRef(msgspec.Struct, frozen=True):
    """A cell that killed the kernel, and how often in a row: since a run of it last ended by itself.

    ``cell`` is None where the sender did not say which cell ran; then the deaths since any run last ended by itself count.
    """

    count: int
    since: str
    notebook: NotebookRef | None = None
    cell: CellRef | None = None


class HelpRef(msgspec.Struct, frozen=True):
    """The student's newest help request that is still open or claimed."""

    request_id: str
    since: str
    status: HelpStatus
    claimed_by: str | None = None


class StudentState(msgspec.Struct, frozen=True):
    """One student's row in one course. Facts of different cells are side by side, so each names its own.

    Attributes:
        notebook: where the student is; likewise ``cell``.
        running_since: when the run that goes on began, of several the first; its cell is ``running_cell``, in ``running_notebook``.
        error_streak: failed runs of the cell of ``last_execution`` since it last succeeded (aborted runs do not count).
        streak_error: the error class of the streak if all of it is the same class.
        streak_since: when the streak began.
        cells_ok: number of cells whose newest completed run succeeded.
        missing: events that the sessions' ``seq`` counters say exist but that are not stored.
        last_activity_at: the newest event that the student caused; heartbeats come by themselves and do not count.
        sessions_open: browser sessions without an end; the session of a crashed browser never ends.
        last_seen_at: the minute in which the API received the newest event of any kind, heartbeats included, by the
            API's clock. A page sends a heartbeat at least once a minute, also while it is hidden. A student who was not
            seen for longer has left, even with open sessions.
        kernel_deaths: the cell that killed the kernel last, unless a run of it has ended by itself since, or it is gone.
    """

    student_id: str
    version: int
    status: StudentStatus
    notebook: NotebookRef | None = None
    cell: CellRef | None = None
    last_execution: ExecutionRef | None = None
    running_since: str | None = None
    running_notebook: NotebookRef | None = None
    running_cell: CellRef | None = None
    error_streak: int = 0
    streak_error: str | None = None
    streak_since: str | None = None
    runs: int = 0
    errors: int = 0
    aborted: int = 0
    cells_ok: int = 0
    missing: int = 0
    sessions_open: int = 0
    last_activity_at: str | None = None
    last_seen_at: str | None = None
    help: HelpRef | None = None
    kernel_deaths: KernelDeathsRef | None = None


class HelpState(msgspec.Struct, frozen=True):
    """One help request. ``claimed_by`` and ``resolved_by`` are person ids of staff.

    ``requested_at`` is the receipt minus how long the request waited; ``received_at`` is the receipt, by which requests are
    ordered (of a request of before that was not stored, None). ``notebook`` and ``cell`` are where the student asked; ``error`` is that of the newest run before it, which was in
    ``error_notebook`` and ``error_cell``.
    """

    request_id: str
    version: int
    student_id: str
    status: HelpStatus
    requested_at: str
    notebook: NotebookRef | None = None
    cell: CellRef | None = None
    message: str | None = None
    error: ErrorRef | None = None
    claimed_by: str | None = None
    claimed_at: str | None = None
    closed_at: str | None = None
    resolved_by: str | None = None
    error_notebook: NotebookRef | None = None
    error_cell: CellRef | None = None
    received_at: str | None = None


class CourseState(msgspec.Struct, frozen=True):
    """A course's own counters: the sums over its students, taken in one query.

    ``help_open`` counts requests that are open or claimed, also those whose students have left: who has left changes
    with the time, so each reader decides it.
    """

    course_id: str
    version: int
    students: int
    started: int
    runs: int
    errors: int
    help_open: int


class Publication(msgspec.Struct, frozen=True, omit_defaults=True):
    """One numbered publication on a channel, as stored in the history and sent over Pub/Sub and WebSocket.

    ``state`` is the JSON of the kind's state. ``traceparent`` is there when the event that caused it was sampled.
    ``received_at`` is when the API received the first of the events that caused it, milliseconds since the epoch; it
    measures the delay until the screen shows it and is absent where no event was the cause.
    """

    channel: str
    epoch: str
    offset: int
    kind: PublicationKind
    state: msgspec.Raw
    traceparent: str | None = None
    received_at: int | None = None


class Snapshot(msgspec.Struct, frozen=True):
    """The position of a channel: subscribe with it to receive all publications after a snapshot."""

    epoch: str
    offset: int


class Watermark(msgspec.Struct, frozen=True):
    """Proof of how current a channel is: every event that was queued before ``at`` is committed and published.

    It is no state: it has no version, no offset of its own and no history. Both times are milliseconds since the epoch by
    the clock of the Redis node that holds the channel, so their difference is how long the beat travelled.

    Attributes:
        offset: the channel's newest publication at ``published_at``. Who lacks any up to it is not that current.
    """

    channel: str
    epoch: str
    offset: int
    at: int
    published_at: int
