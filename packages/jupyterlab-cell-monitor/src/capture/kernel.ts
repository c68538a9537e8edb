import type { IClock } from '../runtime/clock';
import type { IKernelMessage } from './request';
import { publishedState } from './request';

/** What a message says of the kernel itself. */
export type KernelNews = 'interrupt' | 'shutdown' | 'dead';

/**
 * What a message between a page and its kernel says of the kernel, or null. Requests on the control channel are published
 * to all pages as the parent of a `busy` status, also while a cell is executed: an interrupt where the kernel wants it as a
 * message, and a shutdown, which comes before each change, restart and end of a kernel that somebody asks for.
 */
export function newsOf(message: IKernelMessage): KernelNews | null {
  if (message.channel === 'control' && message.header.msg_type === 'interrupt_request') {
    return 'interrupt';
  }
  const state = publishedState(message);
  if (state === 'dead') {
    return 'dead';
  }
  const request = state === 'busy' ? message.parent_header.msg_type : '';
  return request === 'interrupt_request' ? 'interrupt' : request === 'shutdown_request' ? 'shutdown' : null;
}

/** Called when the kernel's status changes. */
export interface IKernelHost {
  /** Open runs will not be answered. */
  gone(): void;
  restarted(reason: 'user' | 'auto'): void;
  died(): void;
}

/** A kernel that the server restarted reports `restarting` first and `autorestarting` right after it. */
const SETTLE_MS = 100;

/** Detects restarts and deaths from the kernel's status, one event each. */
export class KernelWatch {
  constructor(
    private readonly _host: IKernelHost,
    private readonly _clock: IClock
  ) {}

  /** The server said in a message that the kernel died. */
  saidDead(): void {
    this._saidDead = true;
  }

  /** The kernel answered a request; its status, which comes over another socket, may be missed after a restart. */
  answered(): void {
    this._alive = true;
    // Not before the restart is reported: what was on its way when the kernel died does not make one restart two.
    this._restarting = this._cancel !== null;
    this._dead = false;
  }

  status(status: string): void {
    switch (status) {
      case 'restarting':
      case 'autorestarting':
        if (status === 'autorestarting') {
          this._reason = 'auto';
        }
        if (!this._restarting) {
          this._restarting = true;
          this._alive = false;
          this._host.gone();
          this._cancel = this._clock.after(SETTLE_MS, () => {
            this._cancel = null;
            this._restarting = !this._alive;
            this._host.restarted(this._reason);
            this._reason = 'user';
          });
        }
        break;
      case 'dead':
        this._restarting = false;
        this._host.gone();
        // Without such a message the page only no longer finds the kernel: it was shut down, or its server was killed.
        if (!this._dead && this._saidDead) {
          this._dead = true;
          this._host.died();
        }
        this._saidDead = false;
        break;
      case 'terminating':
        this._host.gone();
        break;
      case 'busy':
      case 'idle':
        // Some request began or ended, perhaps another page's: all that it says is that the kernel is alive.
        this.answered();
        break;
      default:
        break;
    }
  }

  dispose(): void {
    this._cancel?.();
    this._cancel = null;
  }

  private _restarting = false;
  /** The kernel was busy or idle, or answered, since its restart began. */
  private _alive = false;
  private _dead = false;
  private _saidDead = false;
  private _reason: 'user' | 'auto' = 'user';
  private _cancel: (() => void) | null = null;
}
