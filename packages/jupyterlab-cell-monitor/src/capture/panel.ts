import type { Cell as CellWidget, ICodeCellModel } from '@jupyterlab/cells';
import type { DocumentRegistry } from '@jupyterlab/docregistry';
import type { CellList, Notebook as NotebookWidget, NotebookPanel } from '@jupyterlab/notebook';
import type { Kernel } from '@jupyterlab/services';
import type { DataOf, IBuiltEvent } from '../events/builder';
import type { Cell, CellExecutedData, Client, EventType, Notebook } from '../events/types';
import { LIMITS } from '../events/types';
import type { IClock } from './clock';
import { EditWatch, SelectionWatch } from './edits';
import type { FaultGuard } from './guard';
import type { IRenameMemory } from './identity';
import { courseHintOf, locationOf, notebookIdOf } from './identity';
import { KernelWatch } from './kernel';
import type { ICellList, ICellView } from './outline';
import { indexOf, outlineOf, referenceOf } from './outline';
import type { IKernelMessage, IRunHost, IUnseenRun } from './runs';
import { RunTracker } from './runs';
import type { ISessionSubject } from './session';
import { NotebookSession } from './session';
import { capChars, joinedText, storableText } from './text';

/** What all captured notebooks share. */
export interface ICaptureHost {
  readonly clock: IClock;
  readonly guard: FaultGuard;
  readonly renames: IRenameMemory;
  readonly extensionVersion: string;
  readonly labVersion: string;
  /** The path of the file without its drive's name. */
  localPath(path: string): string;
  /** The course of notebooks that name none, or null. */
  defaultCourse(): string | null;
  /** Takes an event; an urgent one is sent at once. */
  take(event: IBuiltEvent, urgent: boolean): void;
}

type CellModel = NonNullable<NotebookPanel['model']>['cells'] extends CellList ? ReturnType<CellList['get']> : never;

/** How close a save command must be to a save to count as the student's own. */
const MANUAL_SAVE_MS = 1500;

/** Connects one notebook panel of JupyterLab to the capture core. Every slot is guarded: none of them throws. */
export class PanelCapture implements ISessionSubject, IRunHost {
  constructor(
    readonly panel: NotebookPanel,
    private readonly _host: ICaptureHost
  ) {
    this._edits = new EditWatch(_host.clock, (cellId, pasted) => this._edited(cellId, pasted));
    this._selection = new SelectionWatch(_host.clock, cellId => this._selected(cellId));
    this._runs = new RunTracker(this, _host.clock);
    this._kernel = new KernelWatch(
      {
        gone: () => this._runs.kernelGone(),
        restarted: reason => this._emit('kernel_restarted', { reason }),
        died: () => this._emit('kernel_died', {}),
        busy: () => this._runs.kernelBusy(),
        idle: () => this._runs.kernelIdle()
      },
      _host.clock
    );
  }

  get notebook(): Notebook {
    return this._notebook;
  }

  get course(): string | null {
    return this._course ?? this._host.defaultCourse();
  }

  /** Whether events of this notebook are being recorded. */
  get recording(): boolean {
    return this._session !== null;
  }

  /** Starts listening. The panel's context must be ready. */
  attach(): void {
    const { context, content, sessionContext } = this.panel;
    const metadata = this._metadata();
    const path = this._host.localPath(context.path);
    this._notebook = { id: notebookIdOf(metadata, path, this._host.renames), ...locationOf(path) };
    this._course = courseHintOf(metadata);
    this._attached = true;

    context.pathChanged.connect(this._onPathChanged, this);
    context.saveState.connect(this._onSaveState, this);
    content.activeCellChanged.connect(this._onActiveCellChanged, this);
    content.node.addEventListener('paste', this._onPaste, { capture: true, passive: true });
    sessionContext.statusChanged.connect(this._onStatusChanged, this);
    sessionContext.kernelChanged.connect(this._onKernelChanged, this);
    this._listenTo(sessionContext.session?.kernel ?? null);
    const cells = this.panel.model?.cells;
    if (cells) {
      cells.changed.connect(this._onCellsChanged, this);
      for (const cell of cells) {
        cell.sharedModel.changed.connect(this._onCellChanged, this);
      }
    }
  }

  /** Begins a session, if none is under way. */
  begin(): void {
    if (this._session || !this._attached || this.panel.isDisposed) {
      return;
    }
    this._session = this._newSession();
    this._emit('session_started', { client: this._client() });
    this._emit('notebook_opened', { cells: outlineOf(this._cells, this._hasStableIds()) });
  }

  /** Ends the session, if one is under way: what still runs is given up, since its end will not be seen. */
  end(reason: DataOf<'session_ended'>['reason']): void {
    if (this._session) {
      this._runs.kernelGone();
      if (reason === 'closed') {
        this._emit('notebook_closed', {});
      }
      this._emit('session_ended', { reason });
      this._session = null;
    }
  }

  dispose(): void {
    this._edits.dispose();
    this._selection.dispose();
    this._kernel.dispose();
    this._listenTo(null);
    this.panel.content?.node?.removeEventListener('paste', this._onPaste, { capture: true });
  }

  heartbeat(data: DataOf<'heartbeat'>): void {
    this._emit('heartbeat', data);
  }

  /** Emits a help event at once, also while recording is paused: asking is the student's own act. */
  help<T extends 'help_requested' | 'help_cancelled'>(type: T, data: DataOf<T>): string {
    const session = this._session ?? (this._helpSession ??= this._newSession(true));
    this._urgent = true;
    try {
      const activeId = this.panel.content.activeCell?.model.id;
      return session.emit(type, data, activeId ? this.locate(activeId) : null);
    } finally {
      this._urgent = false;
    }
  }

  /** A save command was carried out for this notebook. */
  savedByHand(): void {
    this._saveCommandAt = this._host.clock.monotonic();
  }

  scheduled(cell: CellWidget): void {
    if (cell.model.type === 'code') {
      this._runs.scheduled(cell.model.id);
    }
  }

  executed(cell: CellWidget, success: boolean, error: unknown): void {
    if (cell.model.type === 'code') {
      this._runs.executed(cell.model.id, () => readUnseenRun(cell.model as ICodeCellModel, success, error));
    }
  }

  // IRunHost

  locate(cellId: string): Cell | null {
    const index = indexOf(this._cells, cellId);
    return index < 0 ? null : referenceOf(this._cells, index, this._hasStableIds());
  }

  started(cell: Cell, executionId: string): void {
    this._emit('cell_execution_started', { execution_id: executionId }, cell);
  }

  finished(cell: Cell, data: CellExecutedData): void {
    this._emit('cell_executed', data, cell);
  }

  private _emit<T extends EventType>(type: T, data: DataOf<T>, cell: Cell | null = null): void {
    this._session?.emit(type, data, cell);
  }

  private _newSession(urgent = false): NotebookSession {
    return new NotebookSession(this, this._host.clock, event => this._host.take(event, urgent || this._urgent));
  }

  private _edited(cellId: string, pasted: number): void {
    this._host.guard.run(() => {
      const cell = this.recording ? this.locate(cellId) : null;
      if (cell) {
        const length = this._cells.get(cell.index).source.length;
        this._emit('cell_edited', { length, ...(pasted > 0 ? { pasted_length: pasted } : {}) }, cell);
      }
    });
  }

  private _selected(cellId: string): void {
    this._host.guard.run(() => {
      const cell = this.recording && this.panel.isVisible ? this.locate(cellId) : null;
      if (cell) {
        this._emit('cell_selected', {}, cell);
      }
    });
  }

  private _client(): Client {
    const { kernelPreference: preference, session } = this.panel.sessionContext;
    // A new session has no kernel yet; the notebook says which one it will be.
    const kernelspec = named(this._metadata()['kernelspec']);
    const language = named(this._metadata()['language_info'])?.['name'] ?? kernelspec?.['language'] ?? preference.language;
    const kernel = session?.kernel?.name ?? preference.name ?? kernelspec?.['name'];
    return {
      extension_version: this._host.extensionVersion,
      lab_version: capChars(this._host.labVersion, 64),
      ...(typeof kernel === 'string' && kernel ? { kernel_name: capChars(storableText(kernel), 128) } : {}),
      ...(typeof language === 'string' && language ? { language: capChars(storableText(language), 64) } : {})
    };
  }

  private _metadata(): Readonly<Record<string, unknown>> {
    return this.panel.model?.metadata ?? {};
  }

  private _hasStableIds(): boolean {
    const model = this.panel.model;
    return !model || model.nbformat > 4 || (model.nbformat === 4 && model.nbformatMinor >= 5);
  }

  private _listenTo(kernel: Kernel.IKernelConnection | null): void {
    if (this._listened !== kernel) {
      this._listened?.anyMessage.disconnect(this._onAnyMessage, this);
      this._listened = kernel;
      kernel?.anyMessage.connect(this._onAnyMessage, this);
    }
  }

  private _onAnyMessage(_: unknown, args: Kernel.IAnyMessageArgs): void {
    this._host.guard.run(() => {
      if (this.recording) {
        this._runs.message(args.msg as unknown as IKernelMessage, args.direction);
      }
    });
  }

  private _onStatusChanged(_: unknown, status: Kernel.Status): void {
    this._host.guard.run(() => this._kernel.status(status));
  }

  private _onKernelChanged(
    _: unknown,
    change: { oldValue: Kernel.IKernelConnection | null; newValue: Kernel.IKernelConnection | null }
  ): void {
    this._host.guard.run(() => {
      if (change.oldValue && change.oldValue.id !== change.newValue?.id) {
        this._runs.kernelGone();
      }
      this._listenTo(change.newValue);
    });
  }

  private _onPathChanged(_: unknown, newPath: string): void {
    this._host.guard.run(() => {
      const path = this._host.localPath(newPath);
      this._notebook = { id: this._notebook.id, ...locationOf(path) };
      this._host.renames.moved(path, this._notebook.id);
    });
  }

  private _onSaveState(_: unknown, state: DocumentRegistry.SaveState): void {
    this._host.guard.run(() => {
      const now = this._host.clock.monotonic();
      if (state === 'started') {
        this._saveStartedAt = now;
      } else if (state.startsWith('completed')) {
        const manual = Math.abs(this._saveStartedAt - this._saveCommandAt) < MANUAL_SAVE_MS;
        this._emit('notebook_saved', { manual });
      }
    });
  }

  private _onActiveCellChanged(_: NotebookWidget, cell: CellWidget | null): void {
    this._host.guard.run(() => {
      if (cell && this.recording) {
        this._selection.moved(cell.model.id);
      }
    });
  }

  private _onCellsChanged(_: CellList, change: { newValues: CellModel[]; type: string }): void {
    this._host.guard.run(() => {
      if (change.type === 'add' || change.type === 'set') {
        for (const cell of change.newValues) {
          cell.sharedModel.changed.connect(this._onCellChanged, this);
        }
      }
    });
  }

  private _onCellChanged(sender: { getId(): string }, change: { sourceChange?: unknown }): void {
    if (change.sourceChange !== undefined && this.recording) {
      this._host.guard.run(() => {
        // In a shared document others' edits arrive here too; the student's own are in the active cell.
        const cellId = sender.getId();
        if (cellId === this.panel.content.activeCell?.model.id) {
          this._edits.changed(cellId);
        }
      });
    }
  }

  private readonly _onPaste = (event: ClipboardEvent): void => {
    this._host.guard.run(() => {
      const target = event.target;
      const cellId = this.panel.content.activeCell?.model.id;
      if (this.recording && cellId && target instanceof Element && target.closest('.jp-InputArea-editor')) {
        const length = event.clipboardData?.getData('text/plain').length ?? 0;
        if (length > 0) {
          this._edits.pasted(cellId, length);
        }
      }
    });
  };

  private readonly _edits: EditWatch;
  private readonly _selection: SelectionWatch;
  private readonly _runs: RunTracker;
  private readonly _kernel: KernelWatch;
  private readonly _cells: ICellList = new PanelCells(() => this.panel.model?.cells ?? null);
  private _notebook: Notebook = { id: 'unknown', path: 'unknown' };
  private _course: string | null = null;
  private _session: NotebookSession | null = null;
  private _helpSession: NotebookSession | null = null;
  private _listened: Kernel.IKernelConnection | null = null;
  private _attached = false;
  private _urgent = false;
  private _saveStartedAt = Number.NEGATIVE_INFINITY;
  private _saveCommandAt = Number.POSITIVE_INFINITY;
}

function named(value: unknown): Record<string, unknown> | null {
  return value && typeof value === 'object' ? (value as Record<string, unknown>) : null;
}

/** The cells of a panel as the capture core reads them: nothing is copied before it is asked for. */
class PanelCells implements ICellList {
  constructor(private readonly _list: () => CellList | null) {}

  get length(): number {
    return this._list()?.length ?? 0;
  }

  get(index: number): ICellView {
    const model = (this._list() as CellList).get(index);
    return {
      id: model.id,
      type: model.type === 'markdown' || model.type === 'raw' ? model.type : 'code',
      get source() {
        return model.sharedModel.getSource();
      },
      get metadata() {
        return model.metadata as Readonly<Record<string, unknown>>;
      }
    };
  }
}

/** Reads a run from the cell itself; null for a blank cell, which JupyterLab reports as executed too. */
function readUnseenRun(model: ICodeCellModel, success: boolean, error: unknown): IUnseenRun | null {
  const code = model.sharedModel.getSource();
  if (!code.trim()) {
    return null;
  }
  const timing = model.getMetadata('execution') as Record<string, unknown> | undefined;
  const time = (key: string): string | null => {
    const value = timing?.[key];
    return typeof value === 'string' ? value : null;
  };
  const outputs = (model.outputs.toJSON()).slice(0, 2 * LIMITS.outputs);
  const failure = (error ?? {}) as Record<string, unknown>;
  return {
    success,
    code,
    executionCount: model.executionCount,
    error: success
      ? null
      : { name: failure['errorName'], value: joinedText(failure['errorValue']), traceback: failure['traceback'] },
    outputs: outputs.map(output => ({
      type: String(output.output_type),
      content: output
    })),
    startedAt: time('shell.execute_reply.started') ?? time('iopub.execute_input'),
    endedAt: time('shell.execute_reply')
  };
}
