import { v4 as uuid4, v7 as uuid7 } from 'uuid';
import type { IClock } from '../runtime/clock';
import { errorOf } from './errors';
import type { IOutputMessage } from './outputs';
import { errorOnStderr, OutputCollector } from './outputs';
import type { ICellFinder, IReportedRun, RunReports } from './reports';
import type { IOutcome } from './request';
import { endedBy } from './request';

/** A code cell in the notebook's model, read on access. */
export interface IUnseenCell {
  readonly code: string;
  /** Whether its author says that it may fail. */
  readonly mayFail: boolean;
  readonly executionCount: number | null;
  /** Whether the model says that it is being executed. */
  readonly running: boolean;
  /** Its stored outputs, errors included. */
  readonly outputs: readonly IOutputMessage[];
  /** Times from the cell's metadata, if it records them. */
  readonly startedAt: string | null;
  readonly endedAt: string | null;
  /** The id of the kernel that could execute it, or null. */
  readonly kernelId: string | null;
}

interface IUnseenRun extends IReportedRun {
  readonly model: IUnseenCell;
  readonly scheduledCount: number | null;
  readonly hadKernel: boolean;
  /** Whether it is known that this page sends no request for it. */
  unseen: boolean;
  /** What JupyterLab reported of its end; null before that. */
  report: { success: boolean; error: unknown } | null;
  cancelTimer: (() => void) | null;
  /** The student asked for an interrupt while it was executed. */
  interrupted: boolean;
}

/** How long the model may take to show the end of a run that JupyterLab has reported: they take different ways. */
const MODEL_MS = 2000;

/** Runs of one cell that wait for their end. */
const WAITING = 20;

/**
 * Follows runs whose messages do not pass through this page, because the Jupyter server executes them and writes outputs
 * and state into the shared notebook (jupyter-server-nbmodel), or because there is no kernel yet.
 *
 * Such a run starts when the model says that its cell is being executed, and ends when JupyterLab says that it was
 * executed. How it ended is read from what the cell shows then. A run that nothing executed ends as `aborted`.
 */
export class UnseenRuns {
  constructor(
    private readonly _cells: ICellFinder,
    private readonly _reports: RunReports,
    private readonly _clock: IClock,
    private readonly _isOwnAct: () => boolean
  ) {}

  get open(): number {
    let open = 0;
    this._waiting.forEach(runs => (open += runs.length));
    return open;
  }

  /** The run that has started, or null. */
  get running(): IReportedRun | null {
    return this._executing;
  }

  /** The student asked for an interrupt of what the kernel executes. */
  interrupted(): void {
    const run = this._executing;
    if (run) {
      run.interrupted = true;
    }
  }

  /** JupyterLab is about to run a cell. Its request, if this page sends one, follows at once. */
  scheduled(cellId: string, model: IUnseenCell): void {
    const cell = model.code.trim() ? this._cells.reference(cellId) : null;
    if (!cell) {
      return;
    }
    const runs = this._waiting.get(cellId) ?? [];
    const run: IUnseenRun = {
      executionId: uuid4(),
      cell,
      code: model.code,
      mayFail: model.mayFail,
      queued: this._waiting.size > 0 || !this._isOwnAct(),
      askedTick: this._clock.monotonic(),
      startedTick: null,
      startId: uuid7(),
      model,
      scheduledCount: model.executionCount,
      hadKernel: model.kernelId !== null,
      unseen: false,
      report: null,
      cancelTimer: null,
      interrupted: false
    };
    const kernel = model.kernelId;
    run.cancelTimer = this._clock.after(0, () => {
      run.unseen = true;
      if (run.hadKernel) {
        this._reports.requested(run, { kernel, byServer: true });
      }
      this.changed(cellId);
    });
    runs.push(run);
    // The runs of a cell whose end is never reported must not gather.
    this._waiting.set(cellId, runs.slice(-WAITING));
  }

  /**
   * The newest run of this cell has a request of its own, whose messages are followed.
   *
   * @returns when it was asked for, or null where that is not known
   */
  seen(cellId: string): number | null {
    const runs = this._waiting.get(cellId);
    const run = runs?.pop();
    run?.cancelTimer?.();
    if (runs?.length === 0) {
      this._waiting.delete(cellId);
    }
    return run?.askedTick ?? null;
  }

  /** The model of a cell changed. */
  changed(cellId: string): void {
    const run = this._waiting.get(cellId)?.[0];
    if (!run) {
      return;
    }
    if (run.unseen && run.startedTick === null && run.model.running) {
      this._closeBefore(run);
      this._reports.started(run);
    }
    if (run.report && this._settled(run)) {
      this._close(cellId, run);
    }
  }

  /** JupyterLab reports a cell as executed, a blank one and one that was never sent included. */
  executed(cellId: string, success: boolean, error: unknown): void {
    const run = this._waiting.get(cellId)?.find(waiting => waiting.report === null);
    if (!run) {
      return;
    }
    run.report = { success, error };
    run.unseen = true;
    run.cancelTimer?.();
    if (this._settled(run)) {
      this._close(cellId, run);
    } else {
      run.cancelTimer = this._clock.after(MODEL_MS, () => this._close(cellId, run));
    }
  }

  /** Open runs will not be executed any further. */
  kernelGone(): void {
    const waiting = [...this._waiting];
    this._waiting.clear();
    for (const [, runs] of waiting) {
      for (const run of runs) {
        run.cancelTimer?.();
        this._end(run, { status: 'aborted', error: null });
      }
    }
  }

  /** Forgets open runs without reporting their ends. */
  forget(): void {
    this._waiting.forEach(runs => runs.forEach(run => run.cancelTimer?.()));
    this._waiting.clear();
  }

  private get _executing(): IUnseenRun | null {
    for (const [run] of this._waiting.values()) {
      if (run && run.startedTick !== null && run.report === null) {
        return run;
      }
    }
    return null;
  }

  /** Whether the model shows all of a run that JupyterLab has reported. */
  private _settled(run: IUnseenRun): boolean {
    if (!run.hadKernel) {
      return true;
    }
    const { model } = run;
    const failed = run.report?.success === false;
    // A count of the run before is no sign: the server writes through another connection than it answers on.
    const executed = run.startedTick !== null || model.executionCount !== run.scheduledCount;
    return executed && !model.running && model.executionCount !== null && (!failed || showsFailure(model));
  }

  /**
   * A run begins or ends: the server executes one at a time and writes what they show in their order, so that the runs
   * before it that JupyterLab has reported show all that they will.
   */
  private _closeBefore(run: IUnseenRun): void {
    for (const [cellId, runs] of [...this._waiting]) {
      for (const earlier of runs) {
        if (earlier !== run && earlier.report && earlier.askedTick <= run.askedTick) {
          this._close(cellId, earlier);
        }
      }
    }
  }

  private _close(cellId: string, run: IUnseenRun): void {
    run.cancelTimer?.();
    const left = (this._waiting.get(cellId) ?? []).filter(waiting => waiting !== run);
    if (left.length > 0) {
      this._waiting.set(cellId, left);
    } else {
      this._waiting.delete(cellId);
    }
    this._closeBefore(run);
    this._end(run, this._outcome(run));
  }

  private _outcome(run: IUnseenRun): IOutcome {
    const { model } = run;
    const executed = run.hadKernel && (run.startedTick !== null || model.executionCount !== null);
    if (!executed) {
      return { status: 'aborted', error: null };
    }
    const shown = shownError(model);
    if (shown) {
      return endedBy(shown, run.interrupted);
    }
    if (run.report?.success) {
      return { status: 'ok', error: null };
    }
    const failure = (run.report?.error ?? {}) as Record<string, unknown>;
    const reported = { name: failure['errorName'], value: failure['errorValue'], traceback: failure['traceback'] };
    if (typeof reported.name === 'string' && reported.name) {
      return endedBy(errorOf(reported), run.interrupted);
    }
    // A mistake in a magic is text on stderr and no error. What has no count was skipped, or its request failed.
    const failed = !model.running && model.executionCount !== null;
    return failed ? endedBy(errorOnStderr(model.outputs), run.interrupted) : { status: 'aborted', error: null };
  }

  private _end(run: IUnseenRun, outcome: IOutcome): void {
    const { model } = run;
    const outputs = new OutputCollector();
    const ran = run.startedTick !== null || outcome.status !== 'aborted';
    if (ran) {
      model.outputs.forEach(output => outputs.add(output));
      if (run.startedTick === null) {
        this._reports.started(run);
        run.startedTick = run.askedTick;
      }
    }
    this._reports.ended(run, {
      ...outcome,
      outputs,
      executionCount: ran ? model.executionCount : null,
      startedAt: ran ? model.startedAt : null,
      endedAt: ran ? model.endedAt : null
    });
  }

  /** By cell, the oldest first: the server executes them in this order. */
  private readonly _waiting = new Map<string, IUnseenRun[]>();
}

/**
 * Whether the student reads why a run failed. IPython writes a mistake in a magic to stderr; any other text there may be a
 * warning before the error.
 */
function showsFailure(model: IUnseenCell): boolean {
  return shownError(model) !== null || errorOnStderr(model.outputs).name === 'UsageError';
}

function shownError(model: IUnseenCell): IOutcome['error'] {
  const outputs = new OutputCollector();
  model.outputs.forEach(output => outputs.add(output));
  return outputs.error;
}
