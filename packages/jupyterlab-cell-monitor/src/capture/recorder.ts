import type { Cell } from '@jupyterlab/cells';
import type { INotebookTracker, Notebook, NotebookPanel } from '@jupyterlab/notebook';
import { NotebookActions } from '@jupyterlab/notebook';
import type { ICaptureHost } from './panel';
import { PanelCapture } from './panel';
import { HEARTBEAT_MS, Pulse } from './pulse';

/** What the recorder tells the queue, and asks of it. */
export interface IRecorderHost extends ICaptureHost {
  /** Numbers for the heartbeat, or null when one already waits to be sent. */
  heartbeat(): { queued: number; dropped: number } | null;
  /** The page is being hidden or left. */
  leaving(): void;
}

/**
 * Watches all notebooks of this page while it is switched on. Switching it off ends their sessions;
 * switching it on again begins new ones, so that numbering never hides a gap.
 */
export class Recorder {
  constructor(
    private readonly _tracker: INotebookTracker,
    private readonly _host: IRecorderHost
  ) {}

  /** Begins to watch; records only once switched on. */
  start(): void {
    const guard = this._host.guard;
    NotebookActions.executionScheduled.connect(this._onScheduled, this);
    NotebookActions.executed.connect(this._onExecuted, this);
    this._tracker.widgetAdded.connect((_, panel) => guard.run(() => this._add(panel)));
    this._tracker.forEach(panel => guard.run(() => this._add(panel)));
    document.addEventListener(
      'visibilitychange',
      guard.wrap(() => (document.visibilityState === 'hidden' ? this._host.leaving() : this._heartbeat()))
    );
    window.addEventListener(
      'pagehide',
      guard.wrap(() => {
        this._panels.forEach(capture => capture.end('hidden'));
        this._host.leaving();
      })
    );
    // A page that comes back from the browser's cache goes on as a new session.
    window.addEventListener(
      'pageshow',
      guard.wrap((event: PageTransitionEvent) => {
        if (event.persisted && this._on) {
          this._panels.forEach(capture => capture.begin());
        }
      })
    );
    setInterval(
      guard.wrap(() => this._heartbeat()),
      HEARTBEAT_MS
    );
  }

  get on(): boolean {
    return this._on;
  }

  switch(on: boolean): void {
    if (on !== this._on) {
      this._on = on;
      this._panels.forEach(capture => (on ? capture.begin() : capture.end('unknown')));
    }
  }

  /** The capture of the notebook that the student is in, or null. */
  get current(): PanelCapture | null {
    const panel = this._tracker.currentWidget;
    return (panel && this._panels.get(panel.content)) ?? null;
  }

  /** The capture of this panel, or null. */
  captureOf(panel: NotebookPanel): PanelCapture | null {
    return this._panels.get(panel.content) ?? null;
  }

  private _add(panel: NotebookPanel): void {
    const ready = panel.context.ready.then(() => {
      if (panel.isDisposed || this._panels.has(panel.content)) {
        return;
      }
      const content = panel.content;
      const capture = new PanelCapture(panel, this._host);
      this._panels.set(content, capture);
      panel.disposed.connect(() => {
        this._panels.delete(content);
        this._host.guard.run(() => capture.end('closed'));
        this._host.guard.run(() => capture.dispose());
      });
      capture.attach();
      if (this._on) {
        capture.begin();
      }
    });
    this._host.guard.watch(ready);
  }

  private _heartbeat(): void {
    const capture = this.current;
    if (!this._on || !capture?.recording) {
      return;
    }
    const visible = document.visibilityState === 'visible';
    const now = Date.now();
    const numbers = this._pulse.due(visible, now) ? this._host.heartbeat() : null;
    if (numbers) {
      this._pulse.beat(now);
      capture.heartbeat({ ...numbers, visible });
    }
  }

  private _onScheduled(_: unknown, args: { notebook: Notebook; cell: Cell }): void {
    this._host.guard.run(() => this._panels.get(args.notebook)?.scheduled(args.cell));
  }

  private _onExecuted(
    _: unknown,
    args: { notebook: Notebook; cell: Cell; success: boolean; error?: unknown }
  ): void {
    this._host.guard.run(() =>
      this._panels.get(args.notebook)?.executed(args.cell, args.success, args.error)
    );
  }

  private readonly _panels = new Map<Notebook, PanelCapture>();
  private _on = false;
  private readonly _pulse = new Pulse();
}
