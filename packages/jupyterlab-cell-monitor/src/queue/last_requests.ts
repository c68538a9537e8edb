import type { IEncodedEvent } from '../events/session';
import type { ITransport, SendResult } from '../transport/transport';
import type { OpenRuns } from './open_runs';
import type { RecentEvents } from './store';
import { KEEPALIVE_BYTES } from './store';
import type { WaitClock } from './waits';
import { BODY_BYTES, EVENT_EXTRA_BYTES } from './waits';

/** Of the bytes that a page may send when it is left: for what it still has to say then, the end of its sessions. */
const LAST_EVENTS_BYTES = 8 * 1024;

/** Events that were in a last request, and how it ended. */
export interface ILastRequest {
  readonly batch: readonly IEncodedEvent[];
  readonly result: SendResult;
}

/** Requests that may outlive the page. The browser limits all that are on their way together. */
export class LastRequests {
  constructor(
    private readonly _recent: RecentEvents,
    private readonly _openRuns: OpenRuns,
    private readonly _waits: WaitClock,
    private readonly _transport: ITransport
  ) {}

  /** Sends the newest events and the open runs that are in no such request yet; null where there are none. */
  send(): Promise<ILastRequest> | null {
    const batch = this._recent.takeForLastRequest();
    const used = batch.reduce((bytes, event) => bytes + event.bytes + EVENT_EXTRA_BYTES, BODY_BYTES);
    // No more recent events are known than fit; the runs get what is left.
    const runs = this._openRuns.take(KEEPALIVE_BYTES - LAST_EVENTS_BYTES - used - this._bytes);
    if (batch.length === 0 && runs.ids.length === 0) {
      return null;
    }
    const bytes = used + runs.bytes;
    this._bytes += bytes;
    return this._transport.send(this._waits.bodyOf(batch, runs.json), batch.length, true).then(result => {
      this._bytes -= bytes;
      this._recent.release(batch);
      this._openRuns.answered(runs.ids, result.kind === 'answer');
      return { batch, result };
    });
  }

  /** Of the requests that are not answered. */
  private _bytes = 0;
}
