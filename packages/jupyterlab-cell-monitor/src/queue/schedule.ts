import type { IClock } from '../runtime/clock';
import type { FaultGuard } from '../runtime/guard';

/**
 * Decides when the next attempt to send begins: one at a time, and none during a pause. The time is that of a monotonic
 * clock, so that a computer whose clock is set back does not wait for hours.
 */
export class SendSchedule {
  /** @param _attempt - sends what is stored; when it rejects, `_failed` is called and decides when to try again */
  constructor(
    private readonly _clock: IClock,
    private readonly _guard: FaultGuard,
    private readonly _attempt: () => Promise<void>,
    private readonly _failed: () => void
  ) {}

  /** Whether no attempt may begin now. */
  get pausing(): boolean {
    return this._clock.monotonic() < this._notBefore;
  }

  /** Begins an attempt within `delay` milliseconds, or at the end of the pause, which holds for urgent events too. */
  within(delay: number): void {
    if (this._stopped) {
      return;
    }
    const now = this._clock.monotonic();
    const at = Math.max(now + delay, this._notBefore);
    if (at <= now) {
      this._begin();
    } else if (!this._cancelTimer || at < this._timerAt) {
      this._setTimer(at, () => this._begin());
    }
  }

  /**
   * Begins no attempt for `ms` milliseconds.
   *
   * @param then - called at the end of the pause instead of an attempt
   */
  pause(ms: number, then: () => void = () => this._begin()): void {
    this._notBefore = this._clock.monotonic() + ms;
    // A timer that is due earlier must not send during the pause.
    this._setTimer(this._notBefore, then);
  }

  /** Ends the pause. */
  resume(): void {
    this._notBefore = 0;
  }

  /** Cancels the timer; no further attempt begins. */
  stop(): void {
    this._stopped = true;
    this._cancelTimer?.();
  }

  private _setTimer(at: number, action: () => void): void {
    this._cancelTimer?.();
    if (this._stopped) {
      return;
    }
    this._timerAt = at;
    this._cancelTimer = this._clock.after(at - this._clock.monotonic(), () => {
      this._cancelTimer = null;
      action();
    });
  }

  /** Begins the next attempt when the one that runs has ended. Uses no timer, which hidden pages run late. */
  private _begin(): void {
    if (this._waiting) {
      return;
    }
    this._waiting = true;
    this._running = this._running
      .then(() => {
        this._waiting = false;
        return this._attempt();
      })
      .catch(error => {
        this._guard.note(error);
        this._failed();
      });
  }

  private _stopped = false;
  private _notBefore = 0;
  private _timerAt = 0;
  private _cancelTimer: (() => void) | null = null;
  /** Whether an attempt waits for the one that runs. */
  private _waiting = false;
  private _running: Promise<void> = Promise.resolve();
}
