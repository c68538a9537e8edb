import type { Cell as CellWidget } from '@jupyterlab/cells';
import type { DocumentRegistry } from '@jupyterlab/docregistry';
import type { CellList, Notebook as NotebookWidget, NotebookPanel } from '@jupyterlab/notebook';
import type { DataOf, IEventOrigin, INames } from '../events/session';
import { NotebookSession } from '../events/session';
import type { IMoment } from '../runtime/clock';
import { NotebookCells } from './cells';
import { clientOf } from './client';
import type { ICaptureContext, NotebookDocument } from './context';
import { DeferredActs } from './deferred';
import { CellListWatch, EditWatch, SelectionWatch } from './edits';
import { ExecutionCapture } from './execution';
import { Identification } from './identification';
import { courseHintOf, locationOf } from './identity';
import type { IOpenedNotebook } from '../transport/notebooks';
import { openedByStudent } from './front';
import { CellMemory } from './memory';
import { SaveWatch } from './saves';
import { LocalChanges } from './transactions';
import { NotebookViews } from './views';

type CellModel = NonNullable<NotebookPanel['model']>['cells'] extends CellList ? ReturnType<CellList['get']> : never;

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
    this._identification = new Identification(
      {
        get metadata() {
          return _document.model.metadata;
        },
        get isDisposed() {
          return _document.isDisposed;
        },
        identified: opened => this._identified(opened),
        renamed: own => void this._session.emit('notebook_renamed', own ? {} : { own }),
        replaced: id => this._replaced(id)
      },
      _context.identity,
      guard
    );
    const now = (): IMoment => queue.moment();
    this._acts = new DeferredActs(clock, now);
    const before = (): void => this._acts.flush();
    this._session = new NotebookSession(this._origin, clock, queue, before);
    this._helpSession = new NotebookSession(this._origin, clock, queue, before);
    this._saves = new SaveWatch(clock);
    this._edits = new EditWatch(this._acts, (cellId, pasted, at) => this._edited(cellId, pasted, at));
    this._selection = new SelectionWatch(
      clock,
      now,
      () => this.inFront,
      (cellId, at) => this._selected(cellId, at)
    );
    this._cellList = new CellListWatch(this._cells, this._acts, guard, (type, first, { count, own, sourceIds }, at) => {
      const data = { count, ...(own ? {} : { own }), ...(sourceIds.length > 0 ? { source_ids: sourceIds } : {}) };
      this._session.emitAct(type, data, first, at);
    });
    this._memory = new CellMemory(this._cells.sourceIds, clock, async cells => {
      const { notebook } = this._origin;
      return notebook !== null && _context.identity.remember(notebook.id, cells);
    });
    this._execution = new ExecutionCapture(
      _document.sessionContext,
      this._cells,
      this._session,
      _context,
      () => this.inFront && _context.acts.recent()
    );
  }

  /** Whether events of this notebook are being recorded. */
  get recording(): boolean {
    return this._session.id !== null;
  }

  /** The notebook's id as its events name it, or null while it is not known. */
  get id(): string | null {
    return this._origin.notebook?.id ?? null;
  }

  /** The course that the notebook's events name, or null. */
  get course(): string | null {
    return this._origin.course;
  }

  set defaultCourse(course: string | null) {
    this._defaultCourse = course;
    this._origin.course = this._courseHint ?? course;
  }

  /**
   * Starts listening to the document, which must be ready, and finds out which notebook it is. That takes a moment, in
   * which the student works: the events of that time are kept until then.
   */
  attach(): void {
    this._courseHint = courseHintOf(this._metadata());
    this._origin.course = this._courseHint ?? this._defaultCourse;
    this._cells.opened();
    this._attached = true;
    this._identification.opened(this._context.localPath(this._document.path));
    this._changes = new LocalChanges(this._document.model.sharedModel);
    // The notebook is closed; its model can still be read.
    this._document.sessionContext.disposed.connect(() => this._acts.flush());

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
    content.activeCellChanged.connect(this._onActiveCellChanged, this);
    content.node.addEventListener('paste', this._onPaste, { capture: true, passive: true });
  }

  /** A view was closed. Returns how many are left. */
  removeView(panel: NotebookPanel): number {
    return this._views.remove(panel);
  }

  /** Starts a session if none is open. */
  begin(): void {
    if (this.recording || !this._attached || this._document.isDisposed) {
      return;
    }
    const restored = !openedByStudent(
      this.inFront,
      withinMs => this._context.acts.recent(withinMs),
      this._context.isAddressed(this._identification.path)
    );
    this._session.begin();
    this._session.emit('session_started', { client: clientOf(this._document, this._context), ends_runs: false });
    this._session.emit('notebook_opened', { cells: this._cells.outline(), ...(restored ? { restored } : {}) });
    this._cellList.begin();
  }

  /** Ends the session if one is open. */
  end(reason: DataOf<'session_ended'>['reason']): void {
    if (this.recording) {
      if (reason === 'hidden') {
        this.left();
      }
      this._execution.end(reason !== 'unknown');
      if (reason === 'closed') {
        this._session.emit('notebook_closed', {});
      }
      this._session.emit('session_ended', { reason, ends_runs: false });
      this._session.end();
      this._cellList.dispose();
    }
    if (reason === 'hidden') {
      this._identification.settle();
    }
  }

  dispose(): void {
    this._edits.dispose();
    this._selection.dispose();
    this._cellList.dispose();
    this._memory.dispose();
    this._execution.dispose();
  }

  /** Emits a heartbeat, which names the notebook and the cell if they are in front of the student. */
  heartbeat(data: DataOf<'heartbeat'>): void {
    if (this.inFront) {
      const activeId = this._views.activeId;
      this._session.emit('heartbeat', data, activeId ? this._cells.reference(activeId) : null);
    } else {
      this._session.emitOutside('heartbeat', data);
    }
  }

  /** The student leaves the page, whose timers may stop: what waits to be reported is reported now. */
  left(): void {
    this._acts.flush();
    this._selection.left();
  }

  /** The student came to this notebook from elsewhere: another tab, another window, or what is not a notebook. */
  entered(): void {
    const activeId = this._views.activeId;
    if (this.recording && activeId) {
      this._selection.entered(activeId);
    }
  }

  /**
   * Emits a help event, also while recording is paused: asking is the student's own act. Those made while it is paused
   * are a session of their own. Returns the event's id, or null when the event could not be made.
   *
   * @param course - the course that the event names, null for none; undefined for the notebook's
   */
  help<T extends 'help_requested' | 'help_cancelled'>(type: T, data: DataOf<T>, course?: string | null): string | null {
    const session = this._helpIn;
    if (session.id === null) {
      session.begin();
    }
    const activeId = this._views.activeId;
    return session.emitFor(type, data, activeId ? this._cells.reference(activeId) : null, course);
  }

  /** The session of the next help event, or null where it begins one or the notebook is closed. */
  get helpSession(): string | null {
    return this._document.isDisposed ? null : this._helpIn.id;
  }

  /** Calls back once it is known what the events of the notebook name. */
  named(callback: (names: INames) => void): void {
    this._helpIn.named(callback);
  }

  private get _helpIn(): NotebookSession {
    return this.recording ? this._session : this._helpSession;
  }

  /** A save command was carried out for this notebook. */
  savedByHand(): void {
    this._saves.commanded();
  }

  scheduled(cell: CellWidget): void {
    this._cells.used(cell.model);
    this._execution.scheduled(cell);
  }

  executed(cell: CellWidget, success: boolean, error: unknown): void {
    this._execution.executed(cell, success, error);
  }

  /** Somebody asked for an interrupt of a kernel, this notebook's or another's. */
  interrupted(kernelId: string): void {
    this._execution.interrupted(kernelId);
  }

  private _edited(cellId: string, pasted: number, at: IMoment): void {
    this._context.guard.run(() => {
      this._memory.changed();
      const cell = this.recording ? this._cells.reference(cellId) : null;
      if (cell) {
        const length = this._cells.get(cell.index).source.length;
        this._session.emitAct('cell_edited', { length, ...(pasted > 0 ? { pasted_length: pasted } : {}) }, cell, at);
      }
    });
  }

  private _selected(cellId: string, at: IMoment): boolean {
    const cell = this.recording ? this._cells.reference(cellId) : null;
    return cell !== null && this._session.emitAct('cell_selected', {}, cell, at) !== null;
  }

  /** Whether a view of the notebook is in front of the student. */
  get inFront(): boolean {
    return this._context.isInFront(this._views.all);
  }

  /** Whether what happens in the notebook now is the student's act. */
  private get _own(): boolean {
    return this._changes?.local !== false && this.inFront && this._context.acts.recent();
  }

  private _metadata(): Readonly<Record<string, unknown>> {
    return this._document.model.metadata;
  }

  /** It is known which notebook this is: what was kept until now is sent. */
  private _identified({ id, cellIds, cells: stored }: IOpenedNotebook): void {
    // It may have been renamed meanwhile.
    this._origin.notebook = { id, ...locationOf(this._identification.path) };
    this._cells.load(cellIds, stored);
    if (!this._document.isDisposed) {
      this._memory.loaded(stored);
    }
    this._session.identified();
    this._helpSession.identified();
  }

  /** The session of the notebook that it was ends, and one of another begins. */
  private _replaced(id: string): void {
    const recording = this.recording;
    this.end('closed');
    this._origin.notebook = { id, ...locationOf(this._identification.path) };
    // Nothing is stored about this one's cells.
    this._memory.loaded(null);
    if (recording) {
      this.begin();
    }
  }

  private _onPathChanged(_: unknown, newPath: string): void {
    this._context.guard.run(() => {
      const path = this._context.localPath(newPath);
      if (this._origin.notebook) {
        this._origin.notebook = { id: this._origin.notebook.id, ...locationOf(path) };
      }
      this._identification.moved(path, this._context.renamedFrom(path), this._context.acts.recent());
    });
  }

  private _onSaveState(_: unknown, state: DocumentRegistry.SaveState): void {
    this._context.guard.run(() => {
      const manual = this._saves.completed(state);
      if (manual !== null) {
        this._session.emit('notebook_saved', { manual });
        this._memory.saved();
      }
    });
  }

  private _onActiveCellChanged(notebook: NotebookWidget, cell: CellWidget | null): void {
    this._context.guard.run(() => {
      if (cell && this.recording && notebook === this._views.current && this._own) {
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
      this._cells.sourceIds.changed();
      this._memory.changed();
      if (this.recording) {
        this._cellList.changed(this._own);
      }
    });
  }

  private _onCellChanged(
    sender: { getId(): string },
    change: { sourceChange?: unknown; executionStateChange?: unknown; executionCountChange?: unknown; outputsChange?: unknown }
  ): void {
    const cellId = sender.getId();
    if (change.sourceChange !== undefined) {
      this._cells.sourceIds.edited(cellId);
    }
    if (!this.recording) {
      return;
    }
    if (change.sourceChange !== undefined) {
      this._context.guard.run(() => {
        // Others' edits of a shared document, and those of programs, arrive here too.
        if (cellId === this._views.activeId && this._own) {
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
      const cellId = this._views.activeId;
      if (this.recording && cellId && target instanceof Element && target.closest('.jp-InputArea-editor')) {
        const length = event.clipboardData?.getData('text/plain').length ?? 0;
        if (length > 0) {
          this._edits.pasted(cellId, length);
        }
      }
    });
  };

  private readonly _origin: IEventOrigin = {
    notebook: null,
    course: null,
    identified: cell => this._cells.identified(cell)
  };
  private readonly _cells = new NotebookCells(() => (this._document.model.isDisposed ? null : this._document.model));
  private readonly _session: NotebookSession;
  /** For help asked for while recording is paused. */
  private readonly _helpSession: NotebookSession;
  private readonly _acts: DeferredActs;
  private readonly _saves: SaveWatch;
  private readonly _edits: EditWatch;
  private readonly _selection: SelectionWatch;
  private readonly _cellList: CellListWatch;
  private readonly _memory: CellMemory;
  private readonly _execution: ExecutionCapture;
  private readonly _identification: Identification;
  private readonly _views = new NotebookViews();
  private _changes: LocalChanges | null = null;
  private _courseHint: string | null = null;
  private _defaultCourse: string | null;
  private _attached = false;
}
