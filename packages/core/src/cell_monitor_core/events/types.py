"""The events as msgspec structs, and their traits. Made from the schemas by `make generate`. Do not edit."""

# fmt: off

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from cell_monitor_core.events.traits import EventType

__all__ = ["EVENT_TYPES", "Cell", "CellAdded", "CellAddedData", "CellEdited", "CellEditedData", "CellExecuted", "CellExecutedData", "CellExecutionStarted", "CellExecutionStartedData", "CellRemoved", "CellRemovedData", "CellSelected", "CellSelectedData", "Client", "Count", "Event", "EventId", "ExecutionError", "Heartbeat", "HeartbeatData", "HelpCancelled", "HelpCancelledData", "HelpRequested", "HelpRequestedData", "KernelConnected", "KernelConnectedData", "KernelDied", "KernelDiedData", "KernelRestarted", "KernelRestartedData", "Notebook", "NotebookClosed", "NotebookClosedData", "NotebookOpened", "NotebookOpenedData", "NotebookRenamed", "NotebookRenamedData", "NotebookSaved", "NotebookSavedData", "OpaqueEvent", "Output", "SessionEnded", "SessionEndedData", "SessionStarted", "SessionStartedData", "Time", "Uuid"]

EventId = Annotated[str, Meta(min_length=36, max_length=36)]
Time = Annotated[str, Meta(min_length=20, max_length=30)]
Uuid = Annotated[str, Meta(min_length=36, max_length=36)]
Count = Annotated[int, Meta(ge=0, le=9007199254740991)]


class Notebook(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Which notebook."""

    # Stable across renames.
    id: Annotated[str, Meta(min_length=1, max_length=128)]

    # Where the student keeps it; may hold a name.
    path: Annotated[str, Meta(min_length=1, max_length=1024)]

    title: Annotated[str, Meta(max_length=256)] | None = None


class Cell(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Which cell."""

    # The cell's id in this copy of the notebook (nbformat).
    id: Annotated[str, Meta(min_length=1, max_length=128)]

    # The cell's id in the assignment that the student started from.
    source_id: Annotated[str, Meta(min_length=1, max_length=128)]

    index: Annotated[int, Meta(ge=0, le=2147483647)]

    type: Literal["code", "markdown", "raw"]

    # The heading above the cell.
    heading: Annotated[str, Meta(max_length=256)] | None = None

    # Of a code cell, its number among the notebook's code cells below a heading of this text, from 1.
    ordinal: Annotated[int, Meta(ge=1, le=2147483647)] | None = None


class CellAddedData(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The ``data`` of CellAdded."""

    # How many cells were added.
    count: Count

    # The source_id of each cell that had been removed and is there again, as far as they fit.
    source_ids: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=128)], ...], Meta(max_length=100)] | None = None

    # False where it was not the student's own act; another person of a shared notebook, or a program.
    own: bool | None = None


class CellEditedData(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The ``data`` of CellEdited."""

    # Characters in the cell afterwards.
    length: Count

    # Characters that were pasted.
    pasted_length: Count | None = None


class Output(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One output, its text cut at the limit."""

    type: Literal["stream", "result", "display"]

    # stdout or stderr.
    name: Annotated[str, Meta(max_length=64)] | None = None

    mime: Annotated[str, Meta(max_length=128)] | None = None

    text: Annotated[str, Meta(max_length=8192)]

    # Characters before cutting.
    size: Count

    truncated: bool | None = None


class ExecutionError(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The exception that ended the run."""

    name: Annotated[str, Meta(max_length=256)]

    value: Annotated[str, Meta(max_length=2048)]

    traceback: Annotated[str, Meta(max_length=16384)]

    truncated: bool | None = None


class CellExecutedData(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The ``data`` of CellExecuted."""

    execution_id: Uuid

    execution_count: Annotated[int, Meta(ge=0, le=2147483647)] | None = None

    # error: the student sees an error for it; aborted: interrupted, skipped, or its end is not known.
    status: Literal["ok", "error", "aborted"]

    # The author says that the cell may fail (tag raises-exception); an error of it is no failure.
    error_expected: bool | None = None

    # By the kernel's own times.
    duration_ms: Count | None = None

    started_at: Time | None = None

    code: Annotated[str, Meta(max_length=16384)]

    code_truncated: bool | None = None

    outputs: Annotated[tuple[Output, ...], Meta(max_length=20)]

    outputs_truncated: bool | None = None

    # Required when the status is error.
    error: ExecutionError | None = None


class CellExecutionStartedData(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The ``data`` of CellExecutionStarted."""

    # This run; the same in cell_executed.
    execution_id: Uuid

    # It waited for runs before it, or a program asked for it; the student may be elsewhere when it starts.
    queued: bool | None = None


class CellRemovedData(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The ``data`` of CellRemoved."""

    # How many cells were removed.
    count: Count

    # The source_id of each cell that is gone, as far as they fit; a cell whose type was changed is not.
    source_ids: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=128)], ...], Meta(max_length=100)] | None = None

    # False where it was not the student's own act; another person of a shared notebook, or a program.
    own: bool | None = None


class CellSelectedData(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The ``data`` of CellSelected."""


class HeartbeatData(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The ``data`` of Heartbeat."""

    # Events that still wait in the browser.
    queued: Count

    # Events that were dropped since the session began.
    dropped: Count

    visible: bool


class HelpCancelledData(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The ``data`` of HelpCancelled."""

    # The event_id of help_requested.
    request_id: EventId


class HelpRequestedData(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The ``data`` of HelpRequested."""

    message: Annotated[str, Meta(max_length=500)] | None = None


class KernelConnectedData(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The ``data`` of KernelConnected."""


class KernelDiedData(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The ``data`` of KernelDied."""

    # Whether a run of the sender was lost with it, whose cell is the event's. Absent in older senders.
    running: bool | None = None


class KernelRestartedData(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The ``data`` of KernelRestarted."""

    reason: Literal["user", "auto"] | None = None

    # Of an automatic restart whether a run of the sender was lost with it, whose cell is the event's. Absent
    # in older senders.
    running: bool | None = None


class NotebookClosedData(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The ``data`` of NotebookClosed."""


class NotebookOpenedData(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The ``data`` of NotebookOpened."""

    cells: Annotated[tuple[Cell, ...], Meta(max_length=500)]

    # Opened by JupyterLab when it restored its tabs, or behind another tab; not by the student.
    restored: bool | None = None


class NotebookRenamedData(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The ``data`` of NotebookRenamed."""

    # False when a program or another person of a shared notebook renamed it.
    own: bool | None = None


class NotebookSavedData(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The ``data`` of NotebookSaved."""

    # Saved by the student, not by autosave.
    manual: bool | None = None


class SessionEndedData(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The ``data`` of SessionEnded."""

    reason: Literal["closed", "hidden", "unknown"]

    # False: it ends no runs, the sender reports the end of each. Absent in older senders, where it ends them.
    ends_runs: bool | None = None


class Client(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The software that captures."""

    extension_version: Annotated[str, Meta(min_length=1, max_length=64)]

    lab_version: Annotated[str, Meta(max_length=64)] | None = None

    kernel_name: Annotated[str, Meta(max_length=128)] | None = None

    language: Annotated[str, Meta(max_length=64)] | None = None


class SessionStartedData(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The ``data`` of SessionStarted."""

    # False: it ends no runs, the sender reports the end of each. Absent in older senders, where it ends them.
    ends_runs: bool | None = None

    # The software that captures.
    client: Client


class CellAdded(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag="cell_added"):
    """Cells were added; those of one second are one event, and cell is the first of them."""

    # Made once, where the event happened; a UUID of version 7, whatever time it holds.
    event_id: EventId

    # Version of the type's schema.
    schema_version: Literal[1]

    # When it happened, by the sender's clock, however wrong; only its distance to sent_at counts.
    occurred_at: Time

    # One browser session of one notebook.
    session_id: Uuid

    # Counts the events of the session from 1; a gap shows what is missing.
    seq: Annotated[int, Meta(ge=1, le=9007199254740991)]

    notebook: Notebook

    cell: Cell

    data: CellAddedData

    # A hint; the server decides by the sender's memberships.
    course: Annotated[str, Meta(max_length=63)] | None = None


class CellEdited(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag="cell_edited"):
    """A cell's text changed; several changes within a few seconds are one event, which comes before what the student does next."""

    # Made once, where the event happened; a UUID of version 7, whatever time it holds.
    event_id: EventId

    # Version of the type's schema.
    schema_version: Literal[1]

    # When it happened, by the sender's clock, however wrong; only its distance to sent_at counts.
    occurred_at: Time

    # One browser session of one notebook.
    session_id: Uuid

    # Counts the events of the session from 1; a gap shows what is missing.
    seq: Annotated[int, Meta(ge=1, le=9007199254740991)]

    notebook: Notebook

    cell: Cell

    data: CellEditedData

    # A hint; the server decides by the sender's memberships.
    course: Annotated[str, Meta(max_length=63)] | None = None


class CellExecuted(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag="cell_executed"):
    """A cell's run ended."""

    # Made once, where the event happened; a UUID of version 7, whatever time it holds.
    event_id: EventId

    # Version of the type's schema.
    schema_version: Literal[1]

    # When it happened, by the sender's clock, however wrong; only its distance to sent_at counts.
    occurred_at: Time

    # One browser session of one notebook.
    session_id: Uuid

    # Counts the events of the session from 1; a gap shows what is missing.
    seq: Annotated[int, Meta(ge=1, le=9007199254740991)]

    notebook: Notebook

    cell: Cell

    data: CellExecutedData

    # A hint; the server decides by the sender's memberships.
    course: Annotated[str, Meta(max_length=63)] | None = None


class CellExecutionStarted(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag="cell_execution_started"):
    """A cell's run was sent to the kernel."""

    # Made once, where the event happened; a UUID of version 7, whatever time it holds.
    event_id: EventId

    # Version of the type's schema.
    schema_version: Literal[1]

    # When it happened, by the sender's clock, however wrong; only its distance to sent_at counts.
    occurred_at: Time

    # One browser session of one notebook.
    session_id: Uuid

    # Counts the events of the session from 1; a gap shows what is missing.
    seq: Annotated[int, Meta(ge=1, le=9007199254740991)]

    notebook: Notebook

    cell: Cell

    data: CellExecutionStartedData

    # A hint; the server decides by the sender's memberships.
    course: Annotated[str, Meta(max_length=63)] | None = None


class CellRemoved(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag="cell_removed"):
    """Cells were removed; those of one second are one event, and cell is the first of them, where it was."""

    # Made once, where the event happened; a UUID of version 7, whatever time it holds.
    event_id: EventId

    # Version of the type's schema.
    schema_version: Literal[1]

    # When it happened, by the sender's clock, however wrong; only its distance to sent_at counts.
    occurred_at: Time

    # One browser session of one notebook.
    session_id: Uuid

    # Counts the events of the session from 1; a gap shows what is missing.
    seq: Annotated[int, Meta(ge=1, le=9007199254740991)]

    notebook: Notebook

    cell: Cell

    data: CellRemovedData

    # A hint; the server decides by the sender's memberships.
    course: Annotated[str, Meta(max_length=63)] | None = None


class CellSelected(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag="cell_selected"):
    """Another cell became the active one."""

    # Made once, where the event happened; a UUID of version 7, whatever time it holds.
    event_id: EventId

    # Version of the type's schema.
    schema_version: Literal[1]

    # When it happened, by the sender's clock, however wrong; only its distance to sent_at counts.
    occurred_at: Time

    # One browser session of one notebook.
    session_id: Uuid

    # Counts the events of the session from 1; a gap shows what is missing.
    seq: Annotated[int, Meta(ge=1, le=9007199254740991)]

    notebook: Notebook

    cell: Cell

    data: CellSelectedData

    # A hint; the server decides by the sender's memberships.
    course: Annotated[str, Meta(max_length=63)] | None = None


class Heartbeat(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag="heartbeat"):
    """The page is open: every 15 s while it is visible, once a minute at least while it is hidden."""

    # Made once, where the event happened; a UUID of version 7, whatever time it holds.
    event_id: EventId

    # Version of the type's schema.
    schema_version: Literal[1]

    # When it happened, by the sender's clock, however wrong; only its distance to sent_at counts.
    occurred_at: Time

    # One browser session of one notebook.
    session_id: Uuid

    # Counts the events of the session from 1; a gap shows what is missing.
    seq: Annotated[int, Meta(ge=1, le=9007199254740991)]

    notebook: Notebook | None = None

    cell: Cell | None = None

    data: HeartbeatData

    # A hint; the server decides by the sender's memberships.
    course: Annotated[str, Meta(max_length=63)] | None = None


class HelpCancelled(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag="help_cancelled"):
    """The student cancels a help request."""

    # Made once, where the event happened; a UUID of version 7, whatever time it holds.
    event_id: EventId

    # Version of the type's schema.
    schema_version: Literal[1]

    # When it happened, by the sender's clock, however wrong; only its distance to sent_at counts.
    occurred_at: Time

    # One browser session of one notebook.
    session_id: Uuid

    # Counts the events of the session from 1; a gap shows what is missing.
    seq: Annotated[int, Meta(ge=1, le=9007199254740991)]

    notebook: Notebook

    cell: Cell | None = None

    data: HelpCancelledData

    # A hint; the server decides by the sender's memberships.
    course: Annotated[str, Meta(max_length=63)] | None = None


class HelpRequested(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag="help_requested"):
    """The student asks for help. The request's id is this event's event_id; the student's open request in the course, if any, becomes cancelled."""

    # Made once, where the event happened; a UUID of version 7, whatever time it holds.
    event_id: EventId

    # Version of the type's schema.
    schema_version: Literal[1]

    # When it happened, by the sender's clock, however wrong; only its distance to sent_at counts.
    occurred_at: Time

    # One browser session of one notebook.
    session_id: Uuid

    # Counts the events of the session from 1; a gap shows what is missing.
    seq: Annotated[int, Meta(ge=1, le=9007199254740991)]

    notebook: Notebook

    cell: Cell | None = None

    data: HelpRequestedData

    # A hint; the server decides by the sender's memberships.
    course: Annotated[str, Meta(max_length=63)] | None = None


class KernelConnected(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag="kernel_connected"):
    """The notebook's kernel answered the page for the first time. It answers in order, so what it had begun before has ended."""

    # Made once, where the event happened; a UUID of version 7, whatever time it holds.
    event_id: EventId

    # Version of the type's schema.
    schema_version: Literal[1]

    # When it happened, by the sender's clock, however wrong; only its distance to sent_at counts.
    occurred_at: Time

    # One browser session of one notebook.
    session_id: Uuid

    # Counts the events of the session from 1; a gap shows what is missing.
    seq: Annotated[int, Meta(ge=1, le=9007199254740991)]

    notebook: Notebook

    cell: Cell | None = None

    data: KernelConnectedData

    # A hint; the server decides by the sender's memberships.
    course: Annotated[str, Meta(max_length=63)] | None = None


class KernelDied(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag="kernel_died"):
    """The notebook's kernel died."""

    # Made once, where the event happened; a UUID of version 7, whatever time it holds.
    event_id: EventId

    # Version of the type's schema.
    schema_version: Literal[1]

    # When it happened, by the sender's clock, however wrong; only its distance to sent_at counts.
    occurred_at: Time

    # One browser session of one notebook.
    session_id: Uuid

    # Counts the events of the session from 1; a gap shows what is missing.
    seq: Annotated[int, Meta(ge=1, le=9007199254740991)]

    notebook: Notebook

    cell: Cell | None = None

    data: KernelDiedData

    # A hint; the server decides by the sender's memberships.
    course: Annotated[str, Meta(max_length=63)] | None = None


class KernelRestarted(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag="kernel_restarted"):
    """The notebook's kernel was restarted."""

    # Made once, where the event happened; a UUID of version 7, whatever time it holds.
    event_id: EventId

    # Version of the type's schema.
    schema_version: Literal[1]

    # When it happened, by the sender's clock, however wrong; only its distance to sent_at counts.
    occurred_at: Time

    # One browser session of one notebook.
    session_id: Uuid

    # Counts the events of the session from 1; a gap shows what is missing.
    seq: Annotated[int, Meta(ge=1, le=9007199254740991)]

    notebook: Notebook

    cell: Cell | None = None

    data: KernelRestartedData

    # A hint; the server decides by the sender's memberships.
    course: Annotated[str, Meta(max_length=63)] | None = None


class NotebookClosed(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag="notebook_closed"):
    """A notebook was closed."""

    # Made once, where the event happened; a UUID of version 7, whatever time it holds.
    event_id: EventId

    # Version of the type's schema.
    schema_version: Literal[1]

    # When it happened, by the sender's clock, however wrong; only its distance to sent_at counts.
    occurred_at: Time

    # One browser session of one notebook.
    session_id: Uuid

    # Counts the events of the session from 1; a gap shows what is missing.
    seq: Annotated[int, Meta(ge=1, le=9007199254740991)]

    notebook: Notebook

    cell: Cell | None = None

    data: NotebookClosedData

    # A hint; the server decides by the sender's memberships.
    course: Annotated[str, Meta(max_length=63)] | None = None


class NotebookOpened(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag="notebook_opened"):
    """A notebook was opened; its outline says which cells there are."""

    # Made once, where the event happened; a UUID of version 7, whatever time it holds.
    event_id: EventId

    # Version of the type's schema.
    schema_version: Literal[1]

    # When it happened, by the sender's clock, however wrong; only its distance to sent_at counts.
    occurred_at: Time

    # One browser session of one notebook.
    session_id: Uuid

    # Counts the events of the session from 1; a gap shows what is missing.
    seq: Annotated[int, Meta(ge=1, le=9007199254740991)]

    notebook: Notebook

    cell: Cell | None = None

    data: NotebookOpenedData

    # A hint; the server decides by the sender's memberships.
    course: Annotated[str, Meta(max_length=63)] | None = None


class NotebookRenamed(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag="notebook_renamed"):
    """A notebook has another name or is in another folder; its id is the same, and the event names its new path."""

    # Made once, where the event happened; a UUID of version 7, whatever time it holds.
    event_id: EventId

    # Version of the type's schema.
    schema_version: Literal[1]

    # When it happened, by the sender's clock, however wrong; only its distance to sent_at counts.
    occurred_at: Time

    # One browser session of one notebook.
    session_id: Uuid

    # Counts the events of the session from 1; a gap shows what is missing.
    seq: Annotated[int, Meta(ge=1, le=9007199254740991)]

    notebook: Notebook

    cell: Cell | None = None

    data: NotebookRenamedData

    # A hint; the server decides by the sender's memberships.
    course: Annotated[str, Meta(max_length=63)] | None = None


class NotebookSaved(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag="notebook_saved"):
    """A notebook was saved."""

    # Made once, where the event happened; a UUID of version 7, whatever time it holds.
    event_id: EventId

    # Version of the type's schema.
    schema_version: Literal[1]

    # When it happened, by the sender's clock, however wrong; only its distance to sent_at counts.
    occurred_at: Time

    # One browser session of one notebook.
    session_id: Uuid

    # Counts the events of the session from 1; a gap shows what is missing.
    seq: Annotated[int, Meta(ge=1, le=9007199254740991)]

    notebook: Notebook

    cell: Cell | None = None

    data: NotebookSavedData

    # A hint; the server decides by the sender's memberships.
    course: Annotated[str, Meta(max_length=63)] | None = None


class SessionEnded(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag="session_ended"):
    """A notebook's browser session ended."""

    # Made once, where the event happened; a UUID of version 7, whatever time it holds.
    event_id: EventId

    # Version of the type's schema.
    schema_version: Literal[1]

    # When it happened, by the sender's clock, however wrong; only its distance to sent_at counts.
    occurred_at: Time

    # One browser session of one notebook.
    session_id: Uuid

    # Counts the events of the session from 1; a gap shows what is missing.
    seq: Annotated[int, Meta(ge=1, le=9007199254740991)]

    notebook: Notebook

    cell: Cell | None = None

    data: SessionEndedData

    # A hint; the server decides by the sender's memberships.
    course: Annotated[str, Meta(max_length=63)] | None = None


class SessionStarted(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag="session_started"):
    """A notebook's browser session began."""

    # Made once, where the event happened; a UUID of version 7, whatever time it holds.
    event_id: EventId

    # Version of the type's schema.
    schema_version: Literal[1]

    # When it happened, by the sender's clock, however wrong; only its distance to sent_at counts.
    occurred_at: Time

    # One browser session of one notebook.
    session_id: Uuid

    # Counts the events of the session from 1; a gap shows what is missing.
    seq: Annotated[int, Meta(ge=1, le=9007199254740991)]

    notebook: Notebook

    cell: Cell | None = None

    data: SessionStartedData

    # A hint; the server decides by the sender's memberships.
    course: Annotated[str, Meta(max_length=63)] | None = None


class OpaqueEvent(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What all events share, of an event whose type or version is not known here."""

    # Made once, where the event happened; a UUID of version 7, whatever time it holds.
    event_id: EventId

    type: Annotated[str, Meta(min_length=1, max_length=64)]

    # Version of the type's schema.
    schema_version: Annotated[int, Meta(ge=1, le=2147483647)]

    # When it happened, by the sender's clock, however wrong; only its distance to sent_at counts.
    occurred_at: Time

    # One browser session of one notebook.
    session_id: Uuid

    # Counts the events of the session from 1; a gap shows what is missing.
    seq: Annotated[int, Meta(ge=1, le=9007199254740991)]

    # A hint; the server decides by the sender's memberships.
    course: Annotated[str, Meta(max_length=63)] | None = None


Event = (
    CellAdded
    | CellEdited
    | CellExecuted
    | CellExecutionStarted
    | CellRemoved
    | CellSelected
    | Heartbeat
    | HelpCancelled
    | HelpRequested
    | KernelConnected
    | KernelDied
    | KernelRestarted
    | NotebookClosed
    | NotebookOpened
    | NotebookRenamed
    | NotebookSaved
    | SessionEnded
    | SessionStarted
)

EVENT_TYPES: Final[dict[str, EventType]] = {
    "cell_added": EventType(
        "cell_added",
        CellAdded,
        version=1,
        activity=True,
        place=False,
        urgent=False,
        notices=False,
        program=("own", False),
        ends_runs=None,
        personal=("notebook.path", "notebook.title"),
    ),
    "cell_edited": EventType(
        "cell_edited",
        CellEdited,
        version=1,
        activity=True,
        place=True,
        urgent=False,
        notices=False,
        program=None,
        ends_runs=None,
        personal=("notebook.path", "notebook.title"),
    ),
    "cell_executed": EventType(
        "cell_executed",
        CellExecuted,
        version=1,
        activity=True,
        place=False,
        urgent=True,
        notices=False,
        program=None,
        ends_runs=None,
        personal=("data.code", "data.error.traceback", "data.error.value", "data.outputs[].text", "notebook.path", "notebook.title"),
    ),
    "cell_execution_started": EventType(
        "cell_execution_started",
        CellExecutionStarted,
        version=1,
        activity=True,
        place=True,
        urgent=True,
        notices=False,
        program=("queued", True),
        ends_runs=None,
        personal=("notebook.path", "notebook.title"),
    ),
    "cell_removed": EventType(
        "cell_removed",
        CellRemoved,
        version=1,
        activity=True,
        place=False,
        urgent=False,
        notices=False,
        program=("own", False),
        ends_runs=None,
        personal=("notebook.path", "notebook.title"),
    ),
    "cell_selected": EventType(
        "cell_selected",
        CellSelected,
        version=1,
        activity=True,
        place=True,
        urgent=False,
        notices=False,
        program=None,
        ends_runs=None,
        personal=("notebook.path", "notebook.title"),
    ),
    "heartbeat": EventType(
        "heartbeat",
        Heartbeat,
        version=1,
        activity=False,
        place=False,
        urgent=False,
        notices=True,
        program=None,
        ends_runs=None,
        personal=("notebook.path", "notebook.title"),
    ),
    "help_cancelled": EventType(
        "help_cancelled",
        HelpCancelled,
        version=1,
        activity=True,
        place=False,
        urgent=True,
        notices=True,
        program=None,
        ends_runs=None,
        personal=("notebook.path", "notebook.title"),
    ),
    "help_requested": EventType(
        "help_requested",
        HelpRequested,
        version=1,
        activity=True,
        place=True,
        urgent=True,
        notices=True,
        program=None,
        ends_runs=None,
        personal=("data.message", "notebook.path", "notebook.title"),
    ),
    "kernel_connected": EventType(
        "kernel_connected",
        KernelConnected,
        version=1,
        activity=False,
        place=False,
        urgent=False,
        notices=False,
        program=None,
        ends_runs="notebook",
        personal=("notebook.path", "notebook.title"),
    ),
    "kernel_died": EventType(
        "kernel_died",
        KernelDied,
        version=1,
        activity=False,
        place=False,
        urgent=True,
        notices=False,
        program=None,
        ends_runs="notebook",
        personal=("notebook.path", "notebook.title"),
    ),
    "kernel_restarted": EventType(
        "kernel_restarted",
        KernelRestarted,
        version=1,
        activity=True,
        place=True,
        urgent=True,
        notices=False,
        program=("reason", "auto"),
        ends_runs="notebook",
        personal=("notebook.path", "notebook.title"),
    ),
    "notebook_closed": EventType(
        "notebook_closed",
        NotebookClosed,
        version=1,
        activity=True,
        place=False,
        urgent=False,
        notices=False,
        program=None,
        ends_runs=None,
        personal=("notebook.path", "notebook.title"),
    ),
    "notebook_opened": EventType(
        "notebook_opened",
        NotebookOpened,
        version=1,
        activity=True,
        place=True,
        urgent=False,
        notices=False,
        program=("restored", True),
        ends_runs=None,
        personal=("notebook.path", "notebook.title"),
    ),
    "notebook_renamed": EventType(
        "notebook_renamed",
        NotebookRenamed,
        version=1,
        activity=True,
        place=False,
        urgent=True,
        notices=False,
        program=("own", False),
        ends_runs=None,
        personal=("notebook.path", "notebook.title"),
    ),
    "notebook_saved": EventType(
        "notebook_saved",
        NotebookSaved,
        version=1,
        activity=True,
        place=True,
        urgent=False,
        notices=False,
        program=("manual", False),
        ends_runs=None,
        personal=("notebook.path", "notebook.title"),
    ),
    "session_ended": EventType(
        "session_ended",
        SessionEnded,
        version=1,
        activity=True,
        place=False,
        urgent=True,
        notices=False,
        program=None,
        ends_runs="session",
        personal=("notebook.path", "notebook.title"),
    ),
    "session_started": EventType(
        "session_started",
        SessionStarted,
        version=1,
        activity=True,
        place=False,
        urgent=True,
        notices=False,
        program=None,
        ends_runs="notebook",
        personal=("notebook.path", "notebook.title"),
    ),
}
"""The types that this version reads, by name."""
