import { v4 as uuid4 } from 'uuid';
import { OPEN_RUNS } from '../events/limits';
import type { NotebookSession } from '../events/session';
import { capBytes, capChars, joinedText, storableText, withoutEscapes } from '../events/text';
import type { Cell, CellExecutedData, ExecutionError } from '../events/types';
import { LIMITS } from '../events/types';
import type { IClock } from '../runtime/clock';
import type { IOutputMessage } from './outputs';
import { OutputCollector } from './outputs';

/** The parts of a Jupyter kernel message that runs are read from. */
export interface IKernelMessage {
  readonly channel: string;
  readonly header: { readonly msg_id: string; readonly msg_type: string; readonly date?: string };
  readonly parent_header: { readonly msg_id?: string };
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly content: Readonly<Record<string, unknown>>;
}

/** How a run ended that the kernel's messages did not show, for example one executed by the server. */
export interface IUnseenRun {
  success: boolean;
  code: string;
  executionCount: number | null;
  error: { name: unknown; value: unknown; traceback: unknown } | null;
  outputs: readonly IOutputMessage[];
  /** Times from the cell's metadata, if it records them. */
  startedAt: string | null;
  endedAt: string | null;
}

/** Finds a cell of the notebook as events name it. */
export interface ICellFinder {
  /** Null when it is no cell of this notebook. */
  reference(cellId: string): Cell | null;
}

interface IRun {
  readonly executionId: string;
  readonly cell: Cell;
  readonly code: string;
  readonly outputs: OutputCollector;
  startedAt: string | null;
  startedTick: number | null;
  executionCount: number | null;
  error: ExecutionError | null;
  reply: IReply | null;
  idle: boolean;
  cancelGrace: (() => void) | null;
}

interface IReply {
  status: CellExecutedData['status'];
  startedAt: string | null;
  endedAt: string | null;
}

interface IIntent {
  tick: number;
  seenByKernel: boolean;
}

/** How long the last outputs may come after the reply. */
const IDLE_GRACE_MS = 2000;

/** How long a kernel may be idle before runs that it did not answer end as aborted. */
const LOST_REPLY_MS = 10_000;

/**
 * Follows every run of one notebook from the request to its end, by the kernel's own messages: each request is
 * one run, however quickly it follows the last, and its times are the kernel's.
 *
 * A run ends when its reply and its idle status have both arrived, when the kernel is lost, or when the kernel has
 * been idle for a while without a reply. Interrupted, skipped and lost runs end as `aborted`.
 */
export class RunTracker {
  constructor(
    private readonly _cells: ICellFinder,
    private readonly _session: Pick<NotebookSession, 'emit'>,
    private readonly _clock: IClock
  ) {}

  /** How many runs have not ended. */
  get open(): number {
    return this._runs.size;
  }

  /** JupyterLab is about to run a code cell. */
  scheduled(cellId: string): void {
    const intents = this._intents.get(cellId) ?? [];
    intents.push({ tick: this._clock.monotonic(), seenByKernel: false });
    // The intent of a cancelled run remains; only the latest few can still be answered.
    this._intents.set(cellId, intents.slice(-20));
  }

  /**
   * JupyterLab reports a cell as executed, including blank and markdown cells. `read` returns
   * null for those; it is called only when the kernel's messages did not show the run.
   */
  executed(cellId: string, read: () => IUnseenRun | null): void {
    const intents = this._intents.get(cellId);
    const intent = intents?.shift();
    if (!intents?.length) {
      this._intents.delete(cellId);
    }
    if (!intent || intent.seenByKernel) {
      return;
    }
    const unseen = read();
    const cell = unseen ? this._cells.reference(cellId) : null;
    if (!unseen || !cell) {
      return;
    }
    const run = this._newRun(cell, unseen.code);
    run.startedTick = intent.tick;
    run.startedAt = unseen.startedAt;
    run.executionCount = unseen.executionCount;
    unseen.outputs.forEach(output => run.outputs.add(output));
    run.error = unseen.error ? errorOf(unseen.error) : null;
    this._emitStart(run);
    this._end(run, {
      status: unseen.success ? 'ok' : endOf(run.error),
      startedAt: unseen.startedAt,
      endedAt: unseen.endedAt
    });
  }

  /** A message between this page and the kernel. */
  message(message: IKernelMessage, direction: 'send' | 'recv'): void {
    if (direction === 'send') {
      if (message.channel === 'shell' && message.header.msg_type === 'execute_request') {
        this._request(message);
      }
      return;
    }
    const run = this._runs.get(message.parent_header?.msg_id ?? '');
    if (!run) {
      return;
    }
    if (message.channel === 'iopub') {
      this._iopub(run, message);
    } else if (message.channel === 'shell' && message.header.msg_type === 'execute_reply') {
      this._reply(run, message);
    }
    if (run.reply && run.idle) {
      this._close(message.parent_header.msg_id as string, run);
    }
  }

  /** The kernel was restarted, replaced or died: open runs will not be answered. */
  kernelGone(): void {
    this._cancelLost();
    this._intents.clear();
    for (const [id, run] of [...this._runs]) {
      this._close(id, run);
    }
  }

  /** The kernel reports idle. */
  kernelIdle(): void {
    if (this._runs.size > 0 && !this._cancelLostTimer) {
      this._cancelLostTimer = this._clock.after(LOST_REPLY_MS, () => {
        this._cancelLostTimer = null;
        this.kernelGone();
      });
    }
  }

  /** The kernel reports busy. */
  kernelBusy(): void {
    this._cancelLost();
  }

  private _request(message: IKernelMessage): void {
    const cellId = message.metadata['cellId'];
    const id = message.header.msg_id;
    if (typeof cellId !== 'string' || this._runs.has(id) || message.content['silent'] === true) {
      return;
    }
    const intent = this._intents.get(cellId)?.find(waiting => !waiting.seenByKernel);
    const cell = this._cells.reference(cellId);
    if (!cell || this._runs.size >= OPEN_RUNS) {
      return;
    }
    if (intent) {
      intent.seenByKernel = true;
    }
    this._cancelLost();
    this._runs.set(id, this._newRun(cell, joinedText(message.content['code'])));
  }

  private _iopub(run: IRun, message: IKernelMessage): void {
    switch (message.header.msg_type) {
      case 'execute_input':
        run.executionCount = countOf(message.content['execution_count']) ?? run.executionCount;
        this._start(run, message);
        break;
      case 'status':
        if (message.content['execution_state'] === 'idle') {
          run.idle = true;
        }
        break;
      case 'error':
        this._start(run, message);
        run.error = errorOf({
          name: message.content['ename'],
          value: message.content['evalue'],
          traceback: message.content['traceback']
        });
        break;
      case 'stream':
      case 'execute_result':
      case 'display_data':
      case 'clear_output':
        this._start(run, message);
        run.outputs.add({ type: message.header.msg_type, content: message.content });
        break;
      default:
        break;
    }
  }

  private _start(run: IRun, message: IKernelMessage): void {
    if (run.startedTick === null) {
      run.startedTick = this._clock.monotonic();
      run.startedAt = message.header.date ?? null;
      this._emitStart(run);
    }
  }

  private _emitStart(run: IRun): void {
    this._session.emit('cell_execution_started', { execution_id: run.executionId }, run.cell);
  }

  private _reply(run: IRun, message: IKernelMessage): void {
    const status = message.content['status'];
    run.executionCount = countOf(message.content['execution_count']) ?? run.executionCount;
    if (status === 'error') {
      run.error ??= errorOf({
        name: message.content['ename'],
        value: message.content['evalue'],
        traceback: message.content['traceback']
      });
    }
    const started = message.metadata['started'];
    run.reply = {
      status: status === 'ok' ? 'ok' : status === 'error' ? endOf(run.error) : 'aborted',
      startedAt: typeof started === 'string' ? started : null,
      endedAt: message.header.date ?? null
    };
    const id = message.parent_header.msg_id as string;
    run.cancelGrace ??= this._clock.after(IDLE_GRACE_MS, () => this._close(id, run));
  }

  private _close(id: string, run: IRun): void {
    if (this._runs.delete(id)) {
      this._end(run, run.reply ?? { status: 'aborted', startedAt: null, endedAt: null });
    }
  }

  private _end(run: IRun, reply: IReply): void {
    run.cancelGrace?.();
    const ran = run.startedTick !== null;
    const startedAt = reply.startedAt ?? run.startedAt;
    const code = capBytes(storableText(run.code), LIMITS.code);
    const { outputs, truncated } = run.outputs.records();
    const error = run.error ?? (reply.status === 'error' ? errorOf({ name: '', value: '', traceback: '' }) : null);
    const data: CellExecutedData = {
      execution_id: run.executionId,
      ...(run.executionCount !== null ? { execution_count: run.executionCount } : {}),
      status: reply.status,
      // A cell that was skipped has no duration; zero would distort the medians.
      ...(ran ? { duration_ms: this._duration(run, startedAt, reply.endedAt) } : {}),
      ...(ran && startedAt ? timeField(startedAt) : {}),
      code: code.text,
      ...(code.truncated ? { code_truncated: true } : {}),
      outputs,
      ...(truncated ? { outputs_truncated: true } : {}),
      ...(error ? { error } : {})
    };
    this._session.emit('cell_executed', data, run.cell);
  }

  private _duration(run: IRun, startedAt: string | null, endedAt: string | null): number {
    const byKernel = startedAt && endedAt ? Date.parse(endedAt) - Date.parse(startedAt) : Number.NaN;
    const wall = this._clock.monotonic() - (run.startedTick ?? this._clock.monotonic());
    return Math.max(0, Math.round(Number.isFinite(byKernel) ? byKernel : wall));
  }

  private _newRun(cell: Cell, code: string): IRun {
    return {
      executionId: uuid4(),
      cell,
      code,
      outputs: new OutputCollector(),
      startedAt: null,
      startedTick: null,
      executionCount: null,
      error: null,
      reply: null,
      idle: false,
      cancelGrace: null
    };
  }

  private _cancelLost(): void {
    this._cancelLostTimer?.();
    this._cancelLostTimer = null;
  }

  private readonly _runs = new Map<string, IRun>();
  private readonly _intents = new Map<string, IIntent[]>();
  private _cancelLostTimer: (() => void) | null = null;
}

/** An interrupt is not an error in the code: the run ends as aborted. */
function endOf(error: ExecutionError | null): 'error' | 'aborted' {
  return error?.name === 'KeyboardInterrupt' ? 'aborted' : 'error';
}

function errorOf(parts: { name: unknown; value: unknown; traceback: unknown }): ExecutionError {
  const lines = parts.traceback;
  const raw = Array.isArray(lines) ? lines.filter(line => typeof line === 'string').join('\n') : joinedText(lines);
  const value = capBytes(storableText(withoutEscapes(joinedText(parts.value))), LIMITS.errorValue);
  const traceback = capTraceback(storableText(withoutEscapes(raw)));
  const truncated = value.truncated || traceback.truncated;
  return {
    name: capChars(storableText(joinedText(parts.name)), LIMITS.errorName) || 'Error',
    value: value.text,
    traceback: traceback.text,
    ...(truncated ? { truncated } : {})
  };
}

/** Cuts the middle of a traceback: of a deep recursion both ends are needed. */
function capTraceback(text: string): { text: string; truncated: boolean } {
  const whole = capBytes(text, LIMITS.traceback);
  if (!whole.truncated) {
    return whole;
  }
  const half = LIMITS.traceback / 2 - 8;
  const head = capBytes(text, half).text;
  // The tail in characters may have up to three times as many bytes: shorten it until it fits.
  let tail = text.slice(-half);
  while (capBytes(tail, half).truncated) {
    tail = tail.slice(Math.ceil(tail.length / 4));
  }
  return { text: `${head}\n…\n${storableText(tail)}`, truncated: true };
}

function countOf(value: unknown): number | null {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value <= 2147483647 ? value : null;
}

function timeField(text: string): { started_at?: string } {
  const at = Date.parse(text);
  return Number.isFinite(at) ? { started_at: new Date(at).toISOString() } : {};
}
