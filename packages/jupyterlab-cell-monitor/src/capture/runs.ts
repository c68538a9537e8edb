import { v4 as uuid4, v7 as uuid7 } from 'uuid';
import { OPEN_RUNS } from '../events/limits';
import type { IClock } from '../runtime/clock';
import type { ICellFinder, IReportedRun, OpenRunList, RunSession } from './reports';
import { RunReports } from './reports';
import type { IKernelMessage } from './request';
import { mayFail, publishedState, requestedCode, RequestProgress } from './request';
import type { IUnseenCell } from './unseen';
import { UnseenRuns } from './unseen';

interface IRun extends IReportedRun {
  readonly progress: RequestProgress;
  /** The connection was lost since it was sent, and its reply may have been lost with it. */
  mayBeLost: boolean;
  cancelGrace: (() => void) | null;
}

/** How long the other of reply and idle status, and the last outputs, may come after the first of them. */
const LAST_OUTPUTS_MS = 2000;

/**
 * How long the end of a kernel may take after a reply that announces it, or that died with it: the server looks for it
 * every three seconds.
 */
const EXIT_MS = 10_000;

/** Later requests remembered after a loss of the connection; one answered is enough. */
const PROBES = 32;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/**
 * Follows every run of one notebook from the request to its end. A run belongs to one request, and the messages that
 * name that request as their parent are all that is believed of it (docs/dev/jupyterlab-signals.md): the status of the
 * kernel says that some request ended, on whatever channel and of whichever page, and not which.
 *
 * A run ends with its own reply and idle status, with a restart, a replacement or the death of the kernel, and when its
 * reply can no longer come: the connection was lost, and a later request was answered. Interrupted, skipped and lost
 * runs end as `aborted`; of those that were lost with the connection the server half reports the end, if it follows runs.
 */
export class RunTracker {
  /**
   * @param _followed - whether the server half reports the ends that this page does not see
   * @param open - the runs that the server half has to know for that; null where it takes none
   */
  constructor(
    private readonly _cells: ICellFinder,
    private readonly _session: RunSession,
    private readonly _clock: IClock,
    private readonly _followed: boolean,
    private readonly _isOwnAct: () => boolean = () => true,
    open: OpenRunList | null = null,
    private readonly _kernelId: () => string | null = () => null
  ) {
    this._reports = new RunReports(_session, _clock, open);
    this._unseen = new UnseenRuns(_cells, this._reports, _clock, _isOwnAct);
  }

  /** How many runs have not ended. */
  get open(): number {
    return this._runs.size + this._unseen.open;
  }

  /**
   * The run that the kernel executes now, or null; only runs of this page are known. Where none has started it is the
   * oldest one: a cell that kills the kernel at once does so before the kernel has sent that it begins. Not where it may
   * wait behind a run of another page, which began before this one was connected. Where no other has begun it is the
   * one that has said that it ended and was not answered.
   */
  get running(): IReportedRun | null {
    const begun = [...this._runs.values()].filter(({ progress }) => progress.started);
    const ended = begun.find(({ progress }) => progress.endsWithKernel);
    return begun.find(({ progress }) => !progress.ended) ?? ended ?? this._executing ?? this._unseen.running;
  }

  /** JupyterLab is about to run a code cell. */
  scheduled(cellId: string, cell: IUnseenCell): void {
    this._unseen.scheduled(cellId, cell);
  }

  /** JupyterLab reports a code cell as executed; the error is what it reports of a failure. */
  executed(cellId: string, success: boolean, error: unknown): void {
    this._unseen.executed(cellId, success, error);
  }

  /** The state or the outputs of a code cell changed in the notebook's model. */
  cellChanged(cellId: string): void {
    this._unseen.changed(cellId);
  }

  /** A message between this page and the kernel. */
  message(message: IKernelMessage, direction: 'send' | 'recv'): void {
    if (direction === 'send') {
      this._sent(message);
      return;
    }
    if (message.channel === 'shell') {
      this.answered();
    }
    const parent = message.parent_header?.msg_id ?? '';
    const run = this._runs.get(parent);
    if (run) {
      this._received(parent, run, message);
    } else if (message.channel === 'shell') {
      this._answered(parent);
    } else if (publishedState(message) === 'starting') {
      // What a new process says first.
      this.processGone();
    } else {
      this._ofAnother(message);
    }
  }

  /** The student, here or elsewhere, asked for an interrupt of what the kernel executes. */
  interrupted(): void {
    this._executing?.progress.interrupt();
    this._unseen.interrupted();
  }

  /** The kernel answered this page: what was sent to it before has ended, and this page receives the beginning of what follows. */
  answered(): void {
    this._connected = true;
  }

  /** The connection to the kernel was lost; JupyterLab tries to restore it. */
  connectionLost(): void {
    // An answer to what was sent before says nothing of what was sent since.
    this._probes.clear();
    this._foreign = null;
    this._connected = false;
    for (const run of this._runs.values()) {
      run.mayBeLost = true;
    }
  }

  /** JupyterLab stopped connecting: this page will not see how its runs end. */
  disconnected(): void {
    if (this._followed) {
      this.handOver();
    } else {
      this.kernelGone();
    }
  }

  /** The kernel was restarted, replaced or died: open runs will not be answered. */
  kernelGone(): void {
    for (const [id, run] of [...this._runs]) {
      this._close(id, run, run.progress.endsWithKernel);
    }
    this._unseen.kernelGone();
    this._probes.clear();
    this._foreign = null;
  }

  /**
   * The kernel's process ends or has ended, by the act of whichever page: what it executed is gone. What had not begun may
   * still reach the process that follows.
   */
  processGone(): void {
    this._foreign = null;
    for (const [id, run] of [...this._runs]) {
      if (run.progress.started) {
        this._close(id, run, run.progress.endsWithKernel);
      } else {
        run.mayBeLost = true;
      }
    }
  }

  /** Stops following the open runs, which go on: the server half reports their ends. */
  handOver(): void {
    this._runs.forEach(run => run.cancelGrace?.());
    this._runs.clear();
    this._unseen.forget();
    this._probes.clear();
  }

  private _sent(message: IKernelMessage): void {
    const id = message.header.msg_id;
    if (message.channel === 'shell' && this._probes.size < PROBES && this._anyMayBeLost) {
      this._probes.set(id, message.header.msg_type === 'execute_request');
    }
    const request = requestedCode(message);
    if (!request || this._runs.has(id)) {
      return;
    }
    const askedTick = this._unseen.seen(request.cellId) ?? this._clock.monotonic();
    const cell = this._cells.reference(request.cellId);
    if (cell && this._runs.size < OPEN_RUNS) {
      const run: IRun = {
        // The server half, which receives the kernel's messages but not this page's, knows the run by it.
        executionId: UUID.test(id) ? id : uuid4(),
        cell,
        code: request.code,
        mayFail: mayFail(message.metadata),
        queued: this._runs.size > 0 || this._foreign !== null || !this._isOwnAct(),
        askedTick,
        startedTick: null,
        startId: uuid7(),
        progress: new RequestProgress(),
        mayBeLost: false,
        cancelGrace: null
      };
      this._runs.set(id, run);
      if (run.executionId === id) {
        this._reports.requested(run, { kernel: this._kernelId(), byServer: false });
      }
    }
  }

  private _received(id: string, run: IRun, message: IKernelMessage): void {
    const { progress } = run;
    progress.receive(message);
    if (progress.started) {
      this._reports.started(run);
    }
    if (progress.replied) {
      this._answered(id);
      this._closeUnanswered(id);
    }
    if (progress.asksExit) {
      // Its outcome is that of its kernel: a reply `ok` says nothing of a cell that ends it.
      run.cancelGrace?.();
      run.cancelGrace = this._clock.after(EXIT_MS, () => this._close(id, run));
    } else if (progress.complete) {
      this._close(id, run);
    } else if (progress.ended) {
      // A reply that is missing on a connection that held may have died with the kernel, which is known later.
      const ms = progress.endsWithKernel && !run.mayBeLost ? EXIT_MS : LAST_OUTPUTS_MS;
      run.cancelGrace ??= this._clock.after(ms, () => this._close(id, run));
    }
  }

  /**
   * A request was answered. A kernel answers the requests of its shell in their order, so that the reply to one sent
   * before will not come any more. JupyterLab keeps execute requests back until the kernel has answered its first
   * question: an answer to a request of another kind says nothing about a run that has not started.
   */
  private _answered(id: string): void {
    const isRun = this._probes.get(id);
    if (isRun === undefined) {
      return;
    }
    let lost = false;
    for (const [lostId, run] of [...this._runs]) {
      if (lostId === id) {
        break;
      }
      if (run.mayBeLost && !run.progress.ended && (run.progress.started || isRun)) {
        lost = true;
        this._lose(lostId, run);
      }
    }
    if (lost && this._followed) {
      // The run has ended, also if the server half did not see it either.
      this._session.emit('kernel_connected', {});
    }
    if (!this._anyMayBeLost) {
      this._probes.clear();
    }
  }

  /** A kernel that answers this request is alive and will not answer those before it: their ends come before this one's. */
  private _closeUnanswered(id: string): void {
    for (const [earlierId, run] of [...this._runs]) {
      if (earlierId === id) {
        break;
      }
      if (run.progress.ended && !run.progress.replied) {
        this._close(earlierId, run);
      }
    }
  }

  /** Notes which request of a console or of another page the kernel executes: a run of this page waits behind it. */
  private _ofAnother(message: IKernelMessage): void {
    const { msg_id: id, msg_type: type } = message.parent_header;
    if (type !== 'execute_request' || !id) {
      return;
    }
    const state = publishedState(message);
    if (state === 'busy') {
      this._foreign = id;
    } else if (state === 'idle' && this._foreign === id) {
      this._foreign = null;
    }
  }

  /** The run that the kernel executes, or ends with; where none has begun the oldest one, unless it executes another's. */
  private get _executing(): IRun | null {
    const going = [...this._runs.values()].filter(({ progress }) => !progress.ended || progress.asksExit);
    return going.find(run => run.progress.started) ?? (this._mayWait ? null : going[0]) ?? null;
  }

  /** Whether a run of this page may wait behind one of another client. */
  private get _mayWait(): boolean {
    return this._foreign !== null || !this._connected;
  }

  private get _anyMayBeLost(): boolean {
    for (const run of this._runs.values()) {
      if (run.mayBeLost) {
        return true;
      }
    }
    return false;
  }

  /** A run ended without this page seeing how. */
  private _lose(id: string, run: IRun): void {
    if (this._followed) {
      this._runs.delete(id);
    } else {
      this._close(id, run);
    }
  }

  private _close(id: string, run: IRun, lost = false): void {
    if (this._runs.delete(id)) {
      run.cancelGrace?.();
      const { outputs, executionCount, startedAt, endedAt, outcome } = run.progress;
      const end = lost ? { status: 'aborted' as const, error: null } : outcome;
      this._reports.ended(run, { ...end, outputs, executionCount, startedAt, endedAt });
    }
  }

  private readonly _reports: RunReports;
  private readonly _unseen: UnseenRuns;
  private readonly _runs = new Map<string, IRun>();
  /** Requests sent after a loss of the connection, and whether each was a run. */
  private readonly _probes = new Map<string, boolean>();
  /** The request of another client that the kernel executes, or null. */
  private _foreign: string | null = null;
  /** Whether the kernel has answered this page since it was connected. */
  private _connected = false;
}
