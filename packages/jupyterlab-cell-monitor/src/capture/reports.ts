import type { NotebookSession } from '../events/session';
import { capBytes, storableText, timeText, utf8Length } from '../events/text';
import type { Cell, CellExecutedData } from '../events/types';
import { LIMITS } from '../events/types';
import type { OpenRuns } from '../queue/open_runs';
import type { IClock } from '../runtime/clock';
import { errorOf } from './errors';
import type { OutputCollector } from './outputs';
import type { IOutcome } from './request';

/** Finds a cell of the notebook as events name it. */
export interface ICellFinder {
  /** Null when it is no cell of this notebook. */
  reference(cellId: string): Cell | null;
}

/** A run as its two events name it. */
export interface IReportedRun {
  readonly executionId: string;
  readonly cell: Cell;
  readonly code: string;
  /** Whether the author of the cell says that it may fail. */
  readonly mayFail: boolean;
  /** Whether it waits for runs before it, or a program asks for it: the student may be elsewhere when it starts. */
  readonly queued: boolean;
  /** When it was asked for, by the page's monotonic clock. */
  readonly askedTick: number;
  /** When its start was reported, by the page's monotonic clock; null before that. */
  startedTick: number | null;
  /** The event id of its start. It is chosen when the run is asked for, because the server half may report the start. */
  readonly startId: string;
}

/** What is known of a run at its end. */
export interface IRunEnd extends IOutcome {
  outputs: OutputCollector;
  executionCount: number | null;
  /** By the kernel's clock, or null. */
  startedAt: string | null;
  endedAt: string | null;
}

/** What runs need of the session whose events they make. */
export type RunSession = Pick<NotebookSession, 'emit' | 'withNames' | 'lastAct'>;

/** The page's runs that are open. */
export type OpenRunList = Pick<OpenRuns, 'opened' | 'closed'>;

/** What the server half must know of a run when it is asked for. */
export interface IRequestedRun {
  /** The id of its kernel, or null. */
  readonly kernel: string | null;
  /** Whether the server executes it, in place of this page. */
  readonly byServer: boolean;
}

/** Characters of the code of a run that the server executes, by which the server half finds its request. */
const HEAD_CHARS = 128;

/** Makes the events of runs: at most one start of each, and its end. */
export class RunReports {
  /** @param _open - notified of each run that is asked for and of each whose end is reported; null for none */
  constructor(
    private readonly _session: RunSession,
    private readonly _clock: IClock,
    private readonly _open: OpenRunList | null = null
  ) {}

  /** A run is asked for: until its end is reported, the server half may have to report it. */
  requested(run: IReportedRun, { kernel, byServer }: IRequestedRun): void {
    if (!this._open) {
      return;
    }
    const open = this._open;
    const requestedAt = timeText(this._clock.now());
    const at = this._clock.monotonic();
    this._session.withNames(run.cell, (names, cell) => {
      if (this._ended.has(run)) {
        return;
      }
      const handed = {
        execution_id: run.executionId,
        start_id: run.startId,
        ...names,
        cell,
        ...(kernel === null ? {} : { kernel }),
        requested_at: requestedAt,
        ...(run.mayFail ? { error_expected: true } : {}),
        ...(byServer ? { server_code: { head: headOf(run.code), bytes: utf8Length(run.code) } } : {})
      };
      open.opened(handed, at);
    });
  }

  /** The kernel has begun to execute a run; a second call does nothing. */
  started(run: IReportedRun): void {
    if (run.startedTick === null) {
      run.startedTick = this._clock.monotonic();
      // A kernel that starts may begin it when the student has reported to be in another cell.
      const queued = run.queued || this._session.lastAct > run.askedTick;
      const data = { execution_id: run.executionId, ...(queued ? { queued: true } : {}) };
      this._session.emit('cell_execution_started', data, run.cell, run.startId);
    }
  }

  /** A run has ended; the caller sees to it that this is called once. */
  ended(run: IReportedRun, end: IRunEnd): void {
    const ran = run.startedTick !== null;
    const code = capBytes(storableText(run.code), LIMITS.code);
    const { outputs, truncated } = end.outputs.records();
    const error = end.error ?? (end.status === 'error' ? errorOf({ name: '', value: '', traceback: '' }) : null);
    const data: CellExecutedData = {
      execution_id: run.executionId,
      ...(end.executionCount !== null ? { execution_count: end.executionCount } : {}),
      status: end.status,
      ...(run.mayFail ? { error_expected: true } : {}),
      // A cell that was skipped has no duration; zero would distort the medians.
      ...(ran ? { duration_ms: this._duration(run, end) } : {}),
      ...(ran && end.startedAt ? timeField(end.startedAt) : {}),
      code: code.text,
      ...(code.truncated ? { code_truncated: true } : {}),
      outputs,
      ...(truncated ? { outputs_truncated: true } : {}),
      ...(error ? { error } : {})
    };
    this._ended.add(run);
    this._open?.closed(run.executionId);
    this._session.emit('cell_executed', data, run.cell, endId(run.startId));
  }

  private _duration(run: IReportedRun, { startedAt, endedAt }: IRunEnd): number {
    const byKernel = startedAt && endedAt ? Date.parse(endedAt) - Date.parse(startedAt) : Number.NaN;
    const wall = this._clock.monotonic() - (run.startedTick ?? this._clock.monotonic());
    return Math.max(0, Math.round(Number.isFinite(byKernel) ? byKernel : wall));
  }

  private readonly _ended = new WeakSet<IReportedRun>();
}

/**
 * The event id of a run's end: that of its start with the last bit inverted. The server half, which reports the end of a
 * run whose page is gone, makes the same one, so that an end that both report counts once.
 */
export function endId(startId: string): string {
  return withBit(startId, 1);
}

/** The event id of the death of the kernel that a run caused: that of its start with the last bit but two inverted; see endId. */
export function deathId(startId: string): string {
  return withBit(startId, 4);
}

function withBit(id: string, bit: number): string {
  return id.slice(0, -1) + (Number.parseInt(id.slice(-1), 16) ^ bit).toString(16);
}

/** The beginning of a code, without half of a surrogate pair, which UTF-8 cannot express. */
function headOf(code: string): string {
  return code.slice(0, HEAD_CHARS).replace(/[\ud800-\udbff]$/, '');
}

function timeField(text: string): { started_at?: string } {
  const at = Date.parse(text);
  return Number.isFinite(at) ? { started_at: new Date(at).toISOString() } : {};
}
