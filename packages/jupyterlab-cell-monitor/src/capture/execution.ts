import type { Cell as CellWidget, ICodeCellModel } from '@jupyterlab/cells';
import type { ISessionContext } from '@jupyterlab/apputils';
import type { Kernel } from '@jupyterlab/services';
import type { NotebookSession } from '../events/session';
import type { Cell } from '../events/types';
import type { IClock } from '../runtime/clock';
import type { FaultGuard } from '../runtime/guard';
import { KernelWatch, newsOf } from './kernel';
import { ModelCell } from './model';
import { deathId, type ICellFinder, type IReportedRun, type OpenRunList } from './reports';
import type { IKernelMessage } from './request';
import { RunTracker } from './runs';

/** What the capture of runs needs of the page. */
export interface IExecutionContext {
  readonly clock: IClock;
  readonly guard: FaultGuard;
  /** Whether the Jupyter server reports the ends of runs that go on after their page is gone. */
  readonly followsRuns: boolean;
  /** The open runs, which the server half must know to report how they go on; null where it takes none. */
  readonly openRuns: OpenRunList | null;
}

/** Records the runs of one notebook and what happens to its kernel. Every slot is guarded: none of them throws. */
export class ExecutionCapture {
  constructor(
    private readonly _sessionContext: ISessionContext,
    cells: ICellFinder,
    private readonly _session: Pick<NotebookSession, 'id' | 'emit' | 'withNames' | 'lastAct'>,
    private readonly _context: IExecutionContext,
    isOwnAct: () => boolean
  ) {
    const { clock, followsRuns, openRuns } = _context;
    this._runs = new RunTracker(cells, _session, clock, followsRuns, isOwnAct, openRuns, () => this._kernelId);
    this._kernel = new KernelWatch(
      {
        gone: () => this._gone(),
        restarted: reason => this._restarted(reason),
        died: () => {
          const { running, cell, id } = this._death();
          this._session.emit('kernel_died', { running }, cell, id);
        }
      },
      clock
    );
  }

  /** Starts listening. */
  attach(): void {
    const context = this._sessionContext;
    context.statusChanged.connect(this._onStatusChanged, this);
    context.connectionStatusChanged.connect(this._onConnectionStatusChanged, this);
    context.kernelChanged.connect(this._onKernelChanged, this);
    this._listenTo(context.session?.kernel ?? null);
  }

  /**
   * The session ends. Runs that go on are reported by the server half, if it does that; otherwise they end as aborted,
   * because their end will not be observed.
   *
   * @param pageLeft - whether the page or the notebook was closed, as opposed to recording being switched off
   */
  end(pageLeft: boolean): void {
    if (pageLeft && this._context.followsRuns) {
      this._runs.handOver();
    } else {
      this._runs.kernelGone();
    }
  }

  dispose(): void {
    this._kernel.dispose();
    this._runs.handOver();
    this._listenTo(null);
  }

  /** JupyterLab is about to run a cell. */
  scheduled(cell: CellWidget): void {
    if (cell.model.type === 'code' && this._recording) {
      this._runs.scheduled(cell.model.id, new ModelCell(cell.model as ICodeCellModel, () => this._kernelId));
    }
  }

  /** JupyterLab reports a cell as executed. */
  executed(cell: CellWidget, success: boolean, error: unknown): void {
    if (cell.model.type === 'code') {
      this._runs.executed(cell.model.id, success, error);
    }
  }

  /** State, count or outputs of a cell changed in the notebook's model. */
  cellChanged(cellId: string): void {
    this._runs.cellChanged(cellId);
  }

  /** Somebody asked for an interrupt of a kernel. */
  interrupted(kernelId: string): void {
    if (kernelId === this._kernelId) {
      this._runs.interrupted();
    }
  }

  private get _kernelId(): string | null {
    return this._sessionContext.session?.kernel?.id ?? null;
  }

  private get _recording(): boolean {
    return this._session.id !== null;
  }

  private _gone(): void {
    this._killed = this._runs.running;
    this._runs.kernelGone();
  }

  private _restarted(reason: 'user' | 'auto'): void {
    if (reason === 'auto') {
      const { running, cell, id } = this._death();
      this._session.emit('kernel_restarted', { reason, running }, cell, id);
    } else {
      this._session.emit('kernel_restarted', { reason });
    }
  }

  /** What an event of a death says. The server half makes the same id, where it takes the page for gone. */
  private _death(): { running: boolean; cell: Cell | null; id: string | undefined } {
    const killed = this._killed;
    return { running: killed !== null, cell: killed?.cell ?? null, id: killed ? deathId(killed.startId) : undefined };
  }

  private _listenTo(kernel: Kernel.IKernelConnection | null): void {
    if (this._listened === kernel) {
      return;
    }
    this._listened?.anyMessage.disconnect(this._onAnyMessage, this);
    this._listened = kernel;
    if (kernel) {
      kernel.anyMessage.connect(this._onAnyMessage, this);
      const answered = kernel.info.then(() => this._connected(kernel));
      // A kernel connection that is disposed before its answer rejects the promise.
      answered.catch(() => undefined);
    }
  }

  /** The kernel answered this page's first question, which waits in its queue behind everything that was sent before. */
  private _connected(kernel: Kernel.IKernelConnection): void {
    this._context.guard.run(() => {
      if (this._listened !== kernel) {
        return;
      }
      this._runs.answered();
      if (this._recording) {
        this._session.emit('kernel_connected', {});
      }
    });
  }

  private _onAnyMessage(_: unknown, args: Kernel.IAnyMessageArgs): void {
    this._context.guard.run(() => {
      const message = args.msg as unknown as IKernelMessage;
      const news = newsOf(message);
      if (news === 'dead') {
        this._kernel.saidDead();
      } else if (news === 'interrupt') {
        this._runs.interrupted();
      } else if (news === 'shutdown') {
        this._runs.processGone();
      }
      if (args.direction === 'recv' && message.channel === 'shell') {
        this._kernel.answered();
      }
      if (this._recording) {
        this._runs.message(message, args.direction);
      }
    });
  }

  private _onStatusChanged(_: unknown, status: Kernel.Status): void {
    this._context.guard.run(() => {
      if (!this._sessionContext.isDisposed) {
        this._kernel.status(status);
      }
    });
  }

  private _onConnectionStatusChanged(_: unknown, status: Kernel.ConnectionStatus): void {
    this._context.guard.run(() => {
      if (this._sessionContext.isDisposed) {
        // Closing the notebook closes the connection: the kernel goes on.
        return;
      }
      if (status === 'connecting') {
        this._runs.connectionLost();
      } else if (status === 'disconnected' && !this._listened?.isDisposed) {
        // Where the connection is disposed, the page no longer finds the kernel, and `kernelChanged` follows.
        this._runs.disconnected();
      }
    });
  }

  private _onKernelChanged(
    _: unknown,
    change: { oldValue: Kernel.IKernelConnection | null; newValue: Kernel.IKernelConnection | null }
  ): void {
    this._context.guard.run(() => {
      if (this._sessionContext.isDisposed) {
        return;
      }
      if (change.oldValue && change.oldValue.id !== change.newValue?.id) {
        this._runs.connectionLost();
        this._runs.kernelGone();
      }
      this._listenTo(change.newValue);
    });
  }

  private readonly _runs: RunTracker;
  private readonly _kernel: KernelWatch;
  private _listened: Kernel.IKernelConnection | null = null;
  /** The run that the kernel executed when it was lost last, or null. */
  private _killed: IReportedRun | null = null;
}
