import type { IClock } from '../src/runtime/clock';

/** A clock that only the test advances. */
export class StillClock implements IClock {
  static readonly start = Date.UTC(2026, 3, 1, 9);
  time = StillClock.start;

  now(): number {
    return this.time;
  }

  monotonic(): number {
    return this.time;
  }

  after(ms: number, callback: () => void): () => void {
    const timer = { at: this.time + ms, order: this._order++, callback };
    this._timers.add(timer);
    return () => this._timers.delete(timer);
  }

  /** The number of pending timers. */
  get waiting(): number {
    return this._timers.size;
  }

  /** Advances by `ms` and runs due timers in their order. */
  advance(ms: number): void {
    const until = this.time + ms;
    for (;;) {
      const due = [...this._timers].filter(timer => timer.at <= until).sort((a, b) => a.at - b.at || a.order - b.order);
      const next = due[0];
      if (!next) {
        break;
      }
      this._timers.delete(next);
      this.time = Math.max(this.time, next.at);
      next.callback();
    }
    this.time = until;
  }

  /** The same in steps, settling promises in between. */
  async pass(ms: number, step = 100): Promise<void> {
    for (let passed = 0; passed < ms; passed += step) {
      this.advance(Math.min(step, ms - passed));
      await settle();
    }
  }

  private _order = 0;
  private readonly _timers = new Set<{ at: number; order: number; callback: () => void }>();
}

/** Runs pending promises and immediates. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 6; turn++) {
    await new Promise(resolve => setImmediate(resolve));
  }
}
