import type { IClock } from '../runtime/clock';

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

  status(status: string): void {
    switch (status) {
      case 'restarting':
      case 'autorestarting':
        if (status === 'autorestarting') {
          this._reason = 'auto';
        }
        if (!this._restarting) {
          this._restarting = true;
          this._host.gone();
          this._cancel = this._clock.after(SETTLE_MS, () => {
            this._cancel = null;
            this._host.restarted(this._reason);
            this._reason = 'user';
          });
        }
        break;
      case 'dead':
        this._restarting = false;
        this._host.gone();
        if (!this._dead) {
          this._dead = true;
          this._host.died();
        }
        break;
      case 'terminating':
        this._host.gone();
        break;
      case 'busy':
      case 'idle':
        // Some request began or ended, perhaps another page's: all that it says is that the kernel is alive.
        this._restarting = false;
        this._dead = false;
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
  private _dead = false;
  private _reason: 'user' | 'auto' = 'user';
  private _cancel: (() => void) | null = null;
}
