import type { Cell as CellWidget } from '@jupyterlab/cells';
import type { DocumentRegistry } from '@jupyterlab/docregistry';
import type { CellList, Notebook as NotebookWidget, NotebookPanel } from '@jupyterlab/notebook';
import type { DataOf, IEventOrigin } from '../events/session';
import { NotebookSession } from '../events/session';
import { capChars, storableText } from '../events/text';
import type { Client } from '../events/types';
import type { EventQueue } from '../queue/queue';
import { NotebookCells } from './cells';
import { CellListWatch, EditWatch, SelectionWatch } from './edits';
import type { IExecutionContext } from './execution';
import { ExecutionCapture } from './execution';
import type { IRenameMemory } from './identity';
import { courseHintOf, locationOf, notebookIdOf } from './identity';

/** What all captured notebooks share. */
export interface ICaptureContext extends IExecutionContext {
  readonly renames: IRenameMemory;
  readonly extensionVersion: string;
  readonly labVersion: string;
  readonly queue: Pick<EventQueue, 'push' | 'holds' | 'queued' | 'dropped' | 'flushOnHide'>;
  /** The path of the file without its drive's name. */
  localPath(path: string): string;
}

type CellModel = NonNullable<NotebookPanel['model']>['cells'] extends CellList ? ReturnType<CellList['get']> : never;

/** Maximum time between a save command and a save that is the student's own. */
const MANUAL_SAVE_MS = 1500;

/** The document of a notebook, which all its views in this page share. */
export type NotebookDocument = NotebookPanel['context'];

/**
 * Records one open notebook: JupyterLab's signals go to the trackers of edits, selection and execution, and what
 * those find to the notebook's session. Every slot is guarded: none of them throws.
 *
 * There is one capture for each document, however many views show it: model, kernel and file are the document's, and a
 * listener in each view would report every act as often as the notebook is shown.
 */
export class NotebookCapture {
  /** @param defaultCourse - the course of a notebook that names none, or null */
  constructor(
    private readonly _document: NotebookDocument,
    private readonly _context: ICaptureContext,
    defaultCourse: string | null
  ) {
    const { clock, guard, queue } = _context;
    this._defaultCourse = defaultCourse;
    this._session = new NotebookSession(this._origin, clock, queue);
    this._helpSession = new NotebookSession(this._origin, clock, queue);
    this._edits = new EditWatch(clock, (cellId, pasted) => this._edited(cellId, pasted));
    this._selection = new SelectionWatch(clock, cellId => this._selected(cellId));
    this._cellList = new CellListWatch(this._cells, clock, guard, (type, first, count) =>
      this._session.emit(type, { count }, first)
    );
    this._execution = new ExecutionCapture(_document.sessionContext, this._cells, this._session, _context);
  }

  /** Whether events of this notebook are being recorded. */
  get recording(): boolean {
    return this._session.id !== null;
  }

  /** The course that the notebook's events name, or null. */
  get course(): string | null {
    return this._origin.course;
  }

  set defaultCourse(course: string | null) {
    this._defaultCourse = course;
    this._origin.course = this._courseHint ?? course;
  }

  /** Starts listening to the document, which must be ready. */
  attach(): void {
    const metadata = this._metadata();
    const path = this._context.localPath(this._document.path);
    this._origin.notebook = { id: notebookIdOf(metadata, path, this._context.renames), ...locationOf(path) };
    this._courseHint = courseHintOf(metadata);
    this._origin.course = this._courseHint ?? this._defaultCourse;
    this._attached = true;

    this._document.pathChanged.connect(this._onPathChanged, this);
    this._document.saveState.connect(this._onSaveState, this);
    this._execution.attach();
    const { cells } = this._document.model;
    cells.changed.connect(this._onCellsChanged, this);
    for (const cell of cells) {
      cell.sharedModel.changed.connect(this._onCellChanged, this);
    }
  }

  /** Listens to a view of the document, too; what the student does counts in the view that had the focus last. */
  addView(panel: NotebookPanel): void {
    const { content } = panel;
    this._views.add(panel);
    this._view ??= panel;
    const onFocus = (): void => {
      this._view = panel;
    };
    content.activeCellChanged.connect(this._onActiveCellChanged, this);
    content.node.addEventListener('focusin', onFocus, { passive: true });
    content.node.addEventListener('paste', this._onPaste, { capture: true, passive: true });
  }

  /** A view was closed. Returns how many are left. */
  removeView(panel: NotebookPanel): number {
    this._views.delete(panel);
    if (this._view === panel) {
      this._view = [...this._views].pop() ?? null;
    }
    return this._views.size;
  }

  /** Starts a session if none is open. */
  begin(): void {
    if (this.recording || !this._attached || this._document.isDisposed) {
      return;
    }
    this._session.begin();
    this._session.emit('session_started', { client: this._client(), ends_runs: false });
    this._session.emit('notebook_opened', { cells: this._cells.outline() });
    this._cellList.begin();
  }

  /** Ends the session if one is open. */
  end(reason: DataOf<'session_ended'>['reason']): void {
    if (this.recording) {
      this._execution.end(reason !== 'unknown');
      if (reason === 'closed') {
        this._session.emit('notebook_closed', {});
      }
      this._session.emit('session_ended', { reason, ends_runs: false });
      this._session.end();
      this._cellList.dispose();
    }
  }

  dispose(): void {
    this._edits.dispose();
    this._selection.dispose();
    this._cellList.dispose();
    this._execution.dispose();
  }

  heartbeat(data: DataOf<'heartbeat'>): void {
    this._session.emit('heartbeat', data);
  }

  /**
   * Emits a help event, also while recording is paused: asking is the student's own act. Those made while it is paused
   * are a session of their own. Returns the event's id, or null when the event could not be made.
   */
  help<T extends 'help_requested' | 'help_cancelled'>(type: T, data: DataOf<T>): string | null {
    const session = this.recording ? this._session : this._helpSession;
    if (session.id === null) {
      session.begin();
    }
    const activeId = this._activeId;
    return session.emit(type, data, activeId ? this._cells.reference(activeId) : null);
  }

  /** A save command was carried out for this notebook. */
  savedByHand(): void {
    this._saveCommandAt = this._context.clock.monotonic();
  }

  scheduled(cell: CellWidget): void {
    this._execution.scheduled(cell);
  }

  executed(cell: CellWidget, success: boolean, error: unknown): void {
    this._execution.executed(cell, success, error);
  }

  private _edited(cellId: string, pasted: number): void {
    this._context.guard.run(() => {
      const cell = this.recording ? this._cells.reference(cellId) : null;
      if (cell) {
        const length = this._cells.get(cell.index).source.length;
        this._session.emit('cell_edited', { length, ...(pasted > 0 ? { pasted_length: pasted } : {}) }, cell);
      }
    });
  }

  private _selected(cellId: string): void {
    this._context.guard.run(() => {
      const cell = this.recording && this._view?.isVisible ? this._cells.reference(cellId) : null;
      if (cell) {
        this._session.emit('cell_selected', {}, cell);
      }
    });
  }

  private _client(): Client {
    const { kernelPreference: preference, session } = this._document.sessionContext;
    // A new session has no kernel yet; the notebook names it.
    const kernelspec = named(this._metadata()['kernelspec']);
    const language = named(this._metadata()['language_info'])?.['name'] ?? kernelspec?.['language'] ?? preference.language;
    const kernel = session?.kernel?.name ?? preference.name ?? kernelspec?.['name'];
    return {
      extension_version: this._context.extensionVersion,
      lab_version: capChars(this._context.labVersion, 64),
      ...(typeof kernel === 'string' && kernel ? { kernel_name: capChars(storableText(kernel), 128) } : {}),
      ...(typeof language === 'string' && language ? { language: capChars(storableText(language), 64) } : {})
    };
  }

  private _metadata(): Readonly<Record<string, unknown>> {
    return this._document.model.metadata;
  }

  /** The id of the active cell of the view that the student is in. */
  private get _activeId(): string | undefined {
    return this._view?.content.activeCell?.model.id;
  }

  private _onPathChanged(_: unknown, newPath: string): void {
    this._context.guard.run(() => {
      const path = this._context.localPath(newPath);
      const { id } = this._origin.notebook;
      this._origin.notebook = { id, ...locationOf(path) };
      this._context.renames.moved(path, id);
    });
  }

  private _onSaveState(_: unknown, state: DocumentRegistry.SaveState): void {
    this._context.guard.run(() => {
      const now = this._context.clock.monotonic();
      if (state === 'started') {
        this._saveStartedAt = now;
      } else if (state.startsWith('completed')) {
        const manual = Math.abs(this._saveStartedAt - this._saveCommandAt) < MANUAL_SAVE_MS;
        this._session.emit('notebook_saved', { manual });
      }
    });
  }

  private _onActiveCellChanged(notebook: NotebookWidget, cell: CellWidget | null): void {
    this._context.guard.run(() => {
      if (cell && this.recording && notebook === this._view?.content) {
        this._selection.moved(cell.model.id);
      }
    });
  }

  private _onCellsChanged(_: CellList, change: { newValues: CellModel[]; type: string }): void {
    this._context.guard.run(() => {
      if (change.type === 'add' || change.type === 'set') {
        for (const cell of change.newValues) {
          cell.sharedModel.changed.connect(this._onCellChanged, this);
        }
      }
      if (this.recording) {
        this._cellList.changed();
      }
    });
  }

  private _onCellChanged(
    sender: { getId(): string },
    change: { sourceChange?: unknown; executionStateChange?: unknown; executionCountChange?: unknown; outputsChange?: unknown }
  ): void {
    if (!this.recording) {
      return;
    }
    const cellId = sender.getId();
    if (change.sourceChange !== undefined) {
      this._context.guard.run(() => {
        // In a shared document others' edits arrive here too; the student's own are in the active cell.
        if (cellId === this._activeId) {
          this._edits.changed(cellId);
        }
      });
    }
    if (change.executionStateChange ?? change.executionCountChange ?? change.outputsChange) {
      this._context.guard.run(() => this._execution.cellChanged(cellId));
    }
  }

  private readonly _onPaste = (event: ClipboardEvent): void => {
    this._context.guard.run(() => {
      const target = event.target;
      const cellId = this._activeId;
      if (this.recording && cellId && target instanceof Element && target.closest('.jp-InputArea-editor')) {
        const length = event.clipboardData?.getData('text/plain').length ?? 0;
        if (length > 0) {
          this._edits.pasted(cellId, length);
        }
      }
    });
  };

  private readonly _origin: IEventOrigin = { notebook: { id: 'unknown', path: 'unknown' }, course: null };
  private readonly _cells = new NotebookCells(() => (this._document.isDisposed ? null : this._document.model));
  private readonly _session: NotebookSession;
  /** For help asked for while recording is paused. */
  private readonly _helpSession: NotebookSession;
  private readonly _edits: EditWatch;
  private readonly _selection: SelectionWatch;
  private readonly _cellList: CellListWatch;
  private readonly _execution: ExecutionCapture;
  private readonly _views = new Set<NotebookPanel>();
  private _view: NotebookPanel | null = null;
  private _courseHint: string | null = null;
  private _defaultCourse: string | null;
  private _attached = false;
  private _saveStartedAt = Number.NEGATIVE_INFINITY;
  private _saveCommandAt = Number.POSITIVE_INFINITY;
}

function named(value: unknown): Record<string, unknown> | null {
  return value && typeof value === 'object' ? (value as Record<string, unknown>) : null;
}
