import type { Cell } from '@jupyterlab/cells';
import type { INotebookTracker, Notebook, NotebookPanel } from '@jupyterlab/notebook';
import { NotebookActions } from '@jupyterlab/notebook';
import type { ICaptureContext, NotebookDocument } from './context';
import { NotebookCapture } from './notebook';
import { HEARTBEAT_MS, HeartbeatSchedule } from './heartbeat';

/**
 * Records all notebooks of this page while it is switched on. Switching it off ends their sessions;
 * switching it on again begins new ones, so that the numbering has no hidden gap.
 */
export class Recorder {
  constructor(
    private readonly _tracker: INotebookTracker,
    private readonly _context: ICaptureContext
  ) {}

  /** Connects to JupyterLab; records only once switched on. */
  start(): void {
    const guard = this._context.guard;
    NotebookActions.executionScheduled.connect(this._onScheduled, this);
    NotebookActions.executed.connect(this._onExecuted, this);
    this._tracker.widgetAdded.connect((_, panel) => guard.run(() => this._add(panel)));
    this._tracker.forEach(panel => guard.run(() => this._add(panel)));
    document.addEventListener(
      'visibilitychange',
      guard.wrap(() => {
        if (document.visibilityState === 'hidden') {
          this._here = null;
          this._notebooks.forEach(capture => capture.left());
          this._context.queue.flushOnHide();
        } else {
          this._heartbeat();
        }
      })
    );
    // In another window of the student the last act may be in another notebook.
    window.addEventListener('blur', () => {
      this._here = null;
    });
    this._context.acts.onInput = guard.wrap(() => this._follow());
    this._context.onFrontChanged(guard.wrap(() => this._follow()));
    window.addEventListener(
      'pagehide',
      guard.wrap(() => {
        this._notebooks.forEach(capture => capture.end('hidden'));
        this._context.queue.flushOnHide();
      })
    );
    // A page restored from the browser's back/forward cache begins a new session.
    window.addEventListener(
      'pageshow',
      guard.wrap((event: PageTransitionEvent) => {
        if (event.persisted && this._on) {
          this._notebooks.forEach(capture => capture.begin());
        }
      })
    );
    setInterval(
      guard.wrap(() => this._heartbeat()),
      HEARTBEAT_MS
    );
  }

  /** The course of notebooks that name none, or null. */
  set defaultCourse(course: string | null) {
    this._defaultCourse = course;
    this._notebooks.forEach(capture => (capture.defaultCourse = course));
  }

  switch(on: boolean): void {
    if (on !== this._on) {
      this._on = on;
      this._notebooks.forEach(capture => (on ? capture.begin() : capture.end('unknown')));
    }
  }

  /** Somebody asked for an interrupt of a kernel. */
  interrupted(kernelId: string): void {
    this._context.guard.run(() => this._notebooks.forEach(capture => capture.interrupted(kernelId)));
  }

  /** The capture of the notebook that the student is in, or null. */
  get current(): NotebookCapture | null {
    const panel = this._tracker.currentWidget;
    return panel && this.captureOf(panel);
  }

  /** The capture of the open notebook with this id, or null. */
  captureOfId(notebookId: string): NotebookCapture | null {
    return [...this._notebooks.values()].find(capture => capture.id === notebookId) ?? null;
  }

  /** The capture of this panel, or null. */
  captureOf(panel: NotebookPanel): NotebookCapture | null {
    return this._notebooks.get(panel.context) ?? null;
  }

  private _add(panel: NotebookPanel): void {
    const { content, context } = panel;
    const ready = context.ready.then(() => {
      if (panel.isDisposed) {
        return;
      }
      const known = this._notebooks.get(context);
      const capture = known ?? new NotebookCapture(context, this._context, this._defaultCourse);
      capture.addView(panel);
      this._views.set(content, capture);
      panel.disposed.connect(() => {
        this._views.delete(content);
        if (capture.removeView(panel) === 0) {
          this._notebooks.delete(context);
          this._context.guard.run(() => capture.end('closed'));
          this._context.guard.run(() => capture.dispose());
        }
      });
      if (!known) {
        this._notebooks.set(context, capture);
        capture.attach();
        if (this._on) {
          capture.begin();
        }
      }
    });
    this._context.guard.watch(ready);
  }

  /** Follows the student from one notebook of this page to another, or to what is none. */
  private _follow(): void {
    const capture = this._inFront;
    if (capture !== this._here && (capture === null || this._context.acts.recent())) {
      this._here = capture;
      capture?.entered();
    }
  }

  /** The capture of the notebook in front of the student, or null. */
  private get _inFront(): NotebookCapture | null {
    const found = [...this._notebooks.values()].find(capture => capture.inFront);
    return found ?? null;
  }

  private _heartbeat(): void {
    const capture = this.current;
    if (!this._on || !capture?.recording) {
      return;
    }
    const visible = document.visibilityState === 'visible';
    const now = Date.now();
    const { queue } = this._context;
    // A heartbeat that is still queued has the same information.
    if (this._schedule.due(visible, now) && !queue.holds('heartbeat')) {
      this._schedule.sent(now);
      capture.heartbeat({ queued: queue.queued, dropped: queue.dropped, visible });
    }
  }

  private _onScheduled(_: unknown, args: { notebook: Notebook; cell: Cell }): void {
    this._context.guard.run(() => this._views.get(args.notebook)?.scheduled(args.cell));
  }

  private _onExecuted(
    _: unknown,
    args: { notebook: Notebook; cell: Cell; success: boolean; error?: unknown }
  ): void {
    this._context.guard.run(() =>
      this._views.get(args.notebook)?.executed(args.cell, args.success, args.error)
    );
  }

  /** By document: two views of one document are one notebook. */
  private readonly _notebooks = new Map<NotebookDocument, NotebookCapture>();
  private readonly _views = new Map<Notebook, NotebookCapture>();
  /** The notebook of the student's last act in this page; null once the student left the page. */
  private _here: NotebookCapture | null = null;
  private _on = false;
  private _defaultCourse: string | null = null;
  private readonly _schedule = new HeartbeatSchedule();
}
