import type { IClock } from '../runtime/clock';
import type { IRefusal } from '../tokens';
import type { SendResult } from '../transport/transport';

/** How long a loss is shown after it happened. */
const SHOWN_MS = 10 * 60_000;

const MAX_REASONS = 16;

interface ILoss {
  events: number;
  /** By the monotonic clock, in milliseconds. */
  at: number;
}

/** What became of events that are not recorded: refused further on, or lost on this page. */
export class Outcomes {
  constructor(private readonly _clock: Pick<IClock, 'monotonic'>) {}

  /** What the last answer reports as refused, and what this page lost in the last ten minutes. */
  get refusals(): readonly IRefusal[] {
    const since = this._clock.monotonic() - SHOWN_MS;
    const lost = [...this._losses]
      .filter(([, loss]) => loss.at > since)
      .map(([reason, { events }]) => ({ reason, course: null, events, everything: false }));
    return [...this._refusals, ...lost];
  }

  /** Takes what an answer reports as refused. */
  answered(answer: Extract<SendResult, { kind: 'answer' }>): void {
    this._refusals = answer.refusals ?? [];
  }

  /** Counts events that this page deleted, or that were refused without the server half's account of it. */
  lose(reason: string, events: number): void {
    const before = this._losses.get(reason);
    if (events > 0 && (before || this._losses.size < MAX_REASONS)) {
      this._losses.set(reason, { events: (before?.events ?? 0) + events, at: this._clock.monotonic() });
    }
  }

  private _refusals: readonly IRefusal[] = [];
  private readonly _losses = new Map<string, ILoss>();
}

/** The code of what somebody must do before a Jupyter server takes events that it did not, or null. */
export function problemOf(reason: string): string | null {
  if (/^HTTP 40[13]$/.test(reason)) {
    return 'signed_out';
  }
  // Neither the server half nor Jupyter answers a request of ours so: a proxy or a firewall does.
  return /^HTTP (400|411|413|415|422|431|451)$/.test(reason) ? 'request_intercepted' : null;
}
