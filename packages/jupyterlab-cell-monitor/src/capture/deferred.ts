import type { IClock, IMoment } from '../runtime/clock';

/** An act of the student whose report waits for what follows, so that many acts are one event. */
export interface IDeferredAct {
  /** The student goes on with it: it has the time of now. */
  again(): void;
  /** It is not reported. */
  cancel(): void;
}

/**
 * The acts of the student in one notebook that are reported a while after they began. Each is reported with the time of its
 * end, and before any later event of the notebook (`flush`): what the student did last is the last event. Otherwise an edit
 * would bring the student back to a cell that was left meanwhile.
 */
export class DeferredActs {
  /** @param _now - the present, by the clocks that show how long an event waited */
  constructor(
    private readonly _clock: Pick<IClock, 'after'>,
    private readonly _now: () => IMoment
  ) {}

  /**
   * An act began now.
   *
   * @param ms - it is reported after this time at the latest, however long it goes on
   * @param report - called once, with the time at which it ended; may emit events, and does not throw
   */
  begin(ms: number, report: (at: IMoment) => void): IDeferredAct {
    const act: IPendingAct = { at: this._now(), report, cancelTimer: () => undefined };
    act.cancelTimer = this._clock.after(ms, () => this.flush());
    this._pending.add(act);
    return {
      again: () => {
        act.at = this._now();
      },
      cancel: () => {
        act.cancelTimer();
        this._pending.delete(act);
      }
    };
  }

  /** Reports all that wait, in the order in which they began. */
  flush(): void {
    if (this._flushing) {
      // A report emits an event, which those that wait behind it do not precede.
      return;
    }
    this._flushing = true;
    for (const act of this._pending) {
      act.cancelTimer();
      this._pending.delete(act);
      act.report(act.at);
    }
    this._flushing = false;
  }

  private readonly _pending = new Set<IPendingAct>();
  private _flushing = false;
}

interface IPendingAct {
  at: IMoment;
  readonly report: (at: IMoment) => void;
  cancelTimer: () => void;
}
