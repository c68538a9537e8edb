// Made from the schemas by `make generate`. Do not edit.

export type EventId = string;
export type Time = string;
export type Uuid = string;
export type Count = number;

/** Which notebook. */
export type Notebook = {
  /** Stable across renames. */
  id: string;
  /** Where the student keeps it; may hold a name. */
  path: string;
  title?: string | null;
};

/** Which cell. */
export type Cell = {
  /** The cell's id in this copy of the notebook (nbformat). */
  id: string;
  /** The cell's id in the assignment that the student started from. */
  source_id: string;
  index: number;
  type: 'code' | 'markdown' | 'raw';
  /** The heading above the cell. */
  heading?: string | null;
  /** Of a code cell, its number among the notebook's code cells below a heading of this text, from 1. */
  ordinal?: number | null;
};

export type CellAddedData = {
  /** How many cells were added. */
  count: Count;
  /** The source_id of each cell that had been removed and is there again, as far as they fit. */
  source_ids?: string[] | null;
  /** False where it was not the student's own act; another person of a shared notebook, or a program. */
  own?: boolean | null;
};

export type CellEditedData = {
  /** Characters in the cell afterwards. */
  length: Count;
  /** Characters that were pasted. */
  pasted_length?: Count | null;
};

/** One output, its text cut at the limit. */
export type Output = {
  type: 'stream' | 'result' | 'display';
  /** stdout or stderr. */
  name?: string | null;
  mime?: string | null;
  text: string;
  /** Characters before cutting. */
  size: Count;
  truncated?: boolean | null;
};

/** The exception that ended the run. */
export type ExecutionError = {
  name: string;
  value: string;
  traceback: string;
  truncated?: boolean | null;
};

export type CellExecutedData = {
  execution_id: Uuid;
  execution_count?: number | null;
  /** error: the student sees an error for it; aborted: interrupted, skipped, or its end is not known. */
  status: 'ok' | 'error' | 'aborted';
  /** The author says that the cell may fail (tag raises-exception); an error of it is no failure. */
  error_expected?: boolean | null;
  /** By the kernel's own times. */
  duration_ms?: Count | null;
  started_at?: Time | null;
  code: string;
  code_truncated?: boolean | null;
  outputs: Output[];
  outputs_truncated?: boolean | null;
  /** Required when the status is error. */
  error?: ExecutionError | null;
};

export type CellExecutionStartedData = {
  /** This run; the same in cell_executed. */
  execution_id: Uuid;
  /** It waited for runs before it, or a program asked for it; the student may be elsewhere when it starts. */
  queued?: boolean | null;
};

export type CellRemovedData = {
  /** How many cells were removed. */
  count: Count;
  /** The source_id of each cell that is gone, as far as they fit; a cell whose type was changed is not. */
  source_ids?: string[] | null;
  /** False where it was not the student's own act; another person of a shared notebook, or a program. */
  own?: boolean | null;
};

export type CellSelectedData = Record<string, never>;

export type HeartbeatData = {
  /** Events that still wait in the browser. */
  queued: Count;
  /** Events that were dropped since the session began. */
  dropped: Count;
  visible: boolean;
};

export type HelpCancelledData = {
  /** The event_id of help_requested. */
  request_id: EventId;
};

export type HelpRequestedData = {
  message?: string | null;
};

export type KernelConnectedData = Record<string, never>;

export type KernelDiedData = {
  /** Whether a run of the sender was lost with it, whose cell is the event's. Absent in older senders. */
  running?: boolean | null;
};

export type KernelRestartedData = {
  reason?: 'user' | 'auto' | null;
  /** Of an automatic restart whether a run of the sender was lost with it, whose cell is the event's. Absent in older senders. */
  running?: boolean | null;
};

export type NotebookClosedData = Record<string, never>;

export type NotebookOpenedData = {
  cells: Cell[];
  /** Opened by JupyterLab when it restored its tabs, or behind another tab; not by the student. */
  restored?: boolean | null;
};

export type NotebookRenamedData = {
  /** False when a program or another person of a shared notebook renamed it. */
  own?: boolean | null;
};

export type NotebookSavedData = {
  /** Saved by the student, not by autosave. */
  manual?: boolean | null;
};

export type SessionEndedData = {
  reason: 'closed' | 'hidden' | 'unknown';
  /** False: it ends no runs, the sender reports the end of each. Absent in older senders, where it ends them. */
  ends_runs?: boolean | null;
};

/** The software that captures. */
export type Client = {
  extension_version: string;
  lab_version?: string | null;
  kernel_name?: string | null;
  language?: string | null;
};

export type SessionStartedData = {
  /** False: it ends no runs, the sender reports the end of each. Absent in older senders, where it ends them. */
  ends_runs?: boolean | null;
  /** The software that captures. */
  client: Client;
};

/** Cells were added; those of one second are one event, and cell is the first of them. */
export type CellAdded = {
  type: 'cell_added';
  /** Made once, where the event happened; a UUID of version 7, whatever time it holds. */
  event_id: EventId;
  /** Version of the type's schema. */
  schema_version: 1;
  /** When it happened, by the sender's clock, however wrong; only its distance to sent_at counts. */
  occurred_at: Time;
  /** One browser session of one notebook. */
  session_id: Uuid;
  /** Counts the events of the session from 1; a gap shows what is missing. */
  seq: number;
  notebook: Notebook;
  cell: Cell;
  data: CellAddedData;
  /** A hint; the server decides by the sender's memberships. */
  course?: string | null;
};

/** A cell's text changed; several changes within a few seconds are one event, which comes before what the student does next. */
export type CellEdited = {
  type: 'cell_edited';
  /** Made once, where the event happened; a UUID of version 7, whatever time it holds. */
  event_id: EventId;
  /** Version of the type's schema. */
  schema_version: 1;
  /** When it happened, by the sender's clock, however wrong; only its distance to sent_at counts. */
  occurred_at: Time;
  /** One browser session of one notebook. */
  session_id: Uuid;
  /** Counts the events of the session from 1; a gap shows what is missing. */
  seq: number;
  notebook: Notebook;
  cell: Cell;
  data: CellEditedData;
  /** A hint; the server decides by the sender's memberships. */
  course?: string | null;
};

/** A cell's run ended. */
export type CellExecuted = {
  type: 'cell_executed';
  /** Made once, where the event happened; a UUID of version 7, whatever time it holds. */
  event_id: EventId;
  /** Version of the type's schema. */
  schema_version: 1;
  /** When it happened, by the sender's clock, however wrong; only its distance to sent_at counts. */
  occurred_at: Time;
  /** One browser session of one notebook. */
  session_id: Uuid;
  /** Counts the events of the session from 1; a gap shows what is missing. */
  seq: number;
  notebook: Notebook;
  cell: Cell;
  data: CellExecutedData;
  /** A hint; the server decides by the sender's memberships. */
  course?: string | null;
};

/** A cell's run was sent to the kernel. */
export type CellExecutionStarted = {
  type: 'cell_execution_started';
  /** Made once, where the event happened; a UUID of version 7, whatever time it holds. */
  event_id: EventId;
  /** Version of the type's schema. */
  schema_version: 1;
  /** When it happened, by the sender's clock, however wrong; only its distance to sent_at counts. */
  occurred_at: Time;
  /** One browser session of one notebook. */
  session_id: Uuid;
  /** Counts the events of the session from 1; a gap shows what is missing. */
  seq: number;
  notebook: Notebook;
  cell: Cell;
  data: CellExecutionStartedData;
  /** A hint; the server decides by the sender's memberships. */
  course?: string | null;
};

/** Cells were removed; those of one second are one event, and cell is the first of them, where it was. */
export type CellRemoved = {
  type: 'cell_removed';
  /** Made once, where the event happened; a UUID of version 7, whatever time it holds. */
  event_id: EventId;
  /** Version of the type's schema. */
  schema_version: 1;
  /** When it happened, by the sender's clock, however wrong; only its distance to sent_at counts. */
  occurred_at: Time;
  /** One browser session of one notebook. */
  session_id: Uuid;
  /** Counts the events of the session from 1; a gap shows what is missing. */
  seq: number;
  notebook: Notebook;
  cell: Cell;
  data: CellRemovedData;
  /** A hint; the server decides by the sender's memberships. */
  course?: string | null;
};

/** Another cell became the active one. */
export type CellSelected = {
  type: 'cell_selected';
  /** Made once, where the event happened; a UUID of version 7, whatever time it holds. */
  event_id: EventId;
  /** Version of the type's schema. */
  schema_version: 1;
  /** When it happened, by the sender's clock, however wrong; only its distance to sent_at counts. */
  occurred_at: Time;
  /** One browser session of one notebook. */
  session_id: Uuid;
  /** Counts the events of the session from 1; a gap shows what is missing. */
  seq: number;
  notebook: Notebook;
  cell: Cell;
  data: CellSelectedData;
  /** A hint; the server decides by the sender's memberships. */
  course?: string | null;
};

/** The page is open: every 15 s while it is visible, once a minute at least while it is hidden. */
export type Heartbeat = {
  type: 'heartbeat';
  /** Made once, where the event happened; a UUID of version 7, whatever time it holds. */
  event_id: EventId;
  /** Version of the type's schema. */
  schema_version: 1;
  /** When it happened, by the sender's clock, however wrong; only its distance to sent_at counts. */
  occurred_at: Time;
  /** One browser session of one notebook. */
  session_id: Uuid;
  /** Counts the events of the session from 1; a gap shows what is missing. */
  seq: number;
  notebook?: Notebook | null;
  cell?: Cell | null;
  data: HeartbeatData;
  /** A hint; the server decides by the sender's memberships. */
  course?: string | null;
};

/** The student cancels a help request. */
export type HelpCancelled = {
  type: 'help_cancelled';
  /** Made once, where the event happened; a UUID of version 7, whatever time it holds. */
  event_id: EventId;
  /** Version of the type's schema. */
  schema_version: 1;
  /** When it happened, by the sender's clock, however wrong; only its distance to sent_at counts. */
  occurred_at: Time;
  /** One browser session of one notebook. */
  session_id: Uuid;
  /** Counts the events of the session from 1; a gap shows what is missing. */
  seq: number;
  notebook: Notebook;
  cell?: Cell | null;
  data: HelpCancelledData;
  /** A hint; the server decides by the sender's memberships. */
  course?: string | null;
};

/** The student asks for help. The request's id is this event's event_id; the student's open request in the course, if any, becomes cancelled. */
export type HelpRequested = {
  type: 'help_requested';
  /** Made once, where the event happened; a UUID of version 7, whatever time it holds. */
  event_id: EventId;
  /** Version of the type's schema. */
  schema_version: 1;
  /** When it happened, by the sender's clock, however wrong; only its distance to sent_at counts. */
  occurred_at: Time;
  /** One browser session of one notebook. */
  session_id: Uuid;
  /** Counts the events of the session from 1; a gap shows what is missing. */
  seq: number;
  notebook: Notebook;
  cell?: Cell | null;
  data: HelpRequestedData;
  /** A hint; the server decides by the sender's memberships. */
  course?: string | null;
};

/** The notebook's kernel answered the page for the first time. It answers in order, so what it had begun before has ended. */
export type KernelConnected = {
  type: 'kernel_connected';
  /** Made once, where the event happened; a UUID of version 7, whatever time it holds. */
  event_id: EventId;
  /** Version of the type's schema. */
  schema_version: 1;
  /** When it happened, by the sender's clock, however wrong; only its distance to sent_at counts. */
  occurred_at: Time;
  /** One browser session of one notebook. */
  session_id: Uuid;
  /** Counts the events of the session from 1; a gap shows what is missing. */
  seq: number;
  notebook: Notebook;
  cell?: Cell | null;
  data: KernelConnectedData;
  /** A hint; the server decides by the sender's memberships. */
  course?: string | null;
};

/** The notebook's kernel died. */
export type KernelDied = {
  type: 'kernel_died';
  /** Made once, where the event happened; a UUID of version 7, whatever time it holds. */
  event_id: EventId;
  /** Version of the type's schema. */
  schema_version: 1;
  /** When it happened, by the sender's clock, however wrong; only its distance to sent_at counts. */
  occurred_at: Time;
  /** One browser session of one notebook. */
  session_id: Uuid;
  /** Counts the events of the session from 1; a gap shows what is missing. */
  seq: number;
  notebook: Notebook;
  cell?: Cell | null;
  data: KernelDiedData;
  /** A hint; the server decides by the sender's memberships. */
  course?: string | null;
};

/** The notebook's kernel was restarted. */
export type KernelRestarted = {
  type: 'kernel_restarted';
  /** Made once, where the event happened; a UUID of version 7, whatever time it holds. */
  event_id: EventId;
  /** Version of the type's schema. */
  schema_version: 1;
  /** When it happened, by the sender's clock, however wrong; only its distance to sent_at counts. */
  occurred_at: Time;
  /** One browser session of one notebook. */
  session_id: Uuid;
  /** Counts the events of the session from 1; a gap shows what is missing. */
  seq: number;
  notebook: Notebook;
  cell?: Cell | null;
  data: KernelRestartedData;
  /** A hint; the server decides by the sender's memberships. */
  course?: string | null;
};

/** A notebook was closed. */
export type NotebookClosed = {
  type: 'notebook_closed';
  /** Made once, where the event happened; a UUID of version 7, whatever time it holds. */
  event_id: EventId;
  /** Version of the type's schema. */
  schema_version: 1;
  /** When it happened, by the sender's clock, however wrong; only its distance to sent_at counts. */
  occurred_at: Time;
  /** One browser session of one notebook. */
  session_id: Uuid;
  /** Counts the events of the session from 1; a gap shows what is missing. */
  seq: number;
  notebook: Notebook;
  cell?: Cell | null;
  data: NotebookClosedData;
  /** A hint; the server decides by the sender's memberships. */
  course?: string | null;
};

/** A notebook was opened; its outline says which cells there are. */
export type NotebookOpened = {
  type: 'notebook_opened';
  /** Made once, where the event happened; a UUID of version 7, whatever time it holds. */
  event_id: EventId;
  /** Version of the type's schema. */
  schema_version: 1;
  /** When it happened, by the sender's clock, however wrong; only its distance to sent_at counts. */
  occurred_at: Time;
  /** One browser session of one notebook. */
  session_id: Uuid;
  /** Counts the events of the session from 1; a gap shows what is missing. */
  seq: number;
  notebook: Notebook;
  cell?: Cell | null;
  data: NotebookOpenedData;
  /** A hint; the server decides by the sender's memberships. */
  course?: string | null;
};

/** A notebook has another name or is in another folder; its id is the same, and the event names its new path. */
export type NotebookRenamed = {
  type: 'notebook_renamed';
  /** Made once, where the event happened; a UUID of version 7, whatever time it holds. */
  event_id: EventId;
  /** Version of the type's schema. */
  schema_version: 1;
  /** When it happened, by the sender's clock, however wrong; only its distance to sent_at counts. */
  occurred_at: Time;
  /** One browser session of one notebook. */
  session_id: Uuid;
  /** Counts the events of the session from 1; a gap shows what is missing. */
  seq: number;
  notebook: Notebook;
  cell?: Cell | null;
  data: NotebookRenamedData;
  /** A hint; the server decides by the sender's memberships. */
  course?: string | null;
};

/** A notebook was saved. */
export type NotebookSaved = {
  type: 'notebook_saved';
  /** Made once, where the event happened; a UUID of version 7, whatever time it holds. */
  event_id: EventId;
  /** Version of the type's schema. */
  schema_version: 1;
  /** When it happened, by the sender's clock, however wrong; only its distance to sent_at counts. */
  occurred_at: Time;
  /** One browser session of one notebook. */
  session_id: Uuid;
  /** Counts the events of the session from 1; a gap shows what is missing. */
  seq: number;
  notebook: Notebook;
  cell?: Cell | null;
  data: NotebookSavedData;
  /** A hint; the server decides by the sender's memberships. */
  course?: string | null;
};

/** A notebook's browser session ended. */
export type SessionEnded = {
  type: 'session_ended';
  /** Made once, where the event happened; a UUID of version 7, whatever time it holds. */
  event_id: EventId;
  /** Version of the type's schema. */
  schema_version: 1;
  /** When it happened, by the sender's clock, however wrong; only its distance to sent_at counts. */
  occurred_at: Time;
  /** One browser session of one notebook. */
  session_id: Uuid;
  /** Counts the events of the session from 1; a gap shows what is missing. */
  seq: number;
  notebook: Notebook;
  cell?: Cell | null;
  data: SessionEndedData;
  /** A hint; the server decides by the sender's memberships. */
  course?: string | null;
};

/** A notebook's browser session began. */
export type SessionStarted = {
  type: 'session_started';
  /** Made once, where the event happened; a UUID of version 7, whatever time it holds. */
  event_id: EventId;
  /** Version of the type's schema. */
  schema_version: 1;
  /** When it happened, by the sender's clock, however wrong; only its distance to sent_at counts. */
  occurred_at: Time;
  /** One browser session of one notebook. */
  session_id: Uuid;
  /** Counts the events of the session from 1; a gap shows what is missing. */
  seq: number;
  notebook: Notebook;
  cell?: Cell | null;
  data: SessionStartedData;
  /** A hint; the server decides by the sender's memberships. */
  course?: string | null;
};

/** Any event; `type` is the discriminator. */
export type Event =
  | CellAdded
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
  | SessionStarted;

export type EventType = Event['type'];

/** What the browser does with events of a type. */
export interface IEventTraits {
  /** The `schema_version` that is written. */
  readonly version: number;
  /** It is sent within 100 ms; others wait for it, or up to 10 s. */
  readonly urgent: boolean;
  /** The answer to it carries the student's notices. */
  readonly notices: boolean;
}

export const TRAITS: Readonly<Record<EventType, IEventTraits>> = {
  cell_added: { version: 1, urgent: false, notices: false },
  cell_edited: { version: 1, urgent: false, notices: false },
  cell_executed: { version: 1, urgent: true, notices: false },
  cell_execution_started: { version: 1, urgent: true, notices: false },
  cell_removed: { version: 1, urgent: false, notices: false },
  cell_selected: { version: 1, urgent: false, notices: false },
  heartbeat: { version: 1, urgent: false, notices: true },
  help_cancelled: { version: 1, urgent: true, notices: true },
  help_requested: { version: 1, urgent: true, notices: true },
  kernel_connected: { version: 1, urgent: false, notices: false },
  kernel_died: { version: 1, urgent: true, notices: false },
  kernel_restarted: { version: 1, urgent: true, notices: false },
  notebook_closed: { version: 1, urgent: false, notices: false },
  notebook_opened: { version: 1, urgent: false, notices: false },
  notebook_renamed: { version: 1, urgent: true, notices: false },
  notebook_saved: { version: 1, urgent: false, notices: false },
  session_ended: { version: 1, urgent: true, notices: false },
  session_started: { version: 1, urgent: true, notices: false }
};

/** The longest text, in code points, that the server takes in each place. */
export const LIMITS = {
  notebookPath: 1024,
  notebookTitle: 256,
  cellId: 128,
  heading: 256,
  outlineCells: 500,
  removedCells: 100,
  code: 16384,
  outputs: 20,
  outputText: 8192,
  errorName: 256,
  errorValue: 2048,
  traceback: 16384,
  message: 500
} as const;
