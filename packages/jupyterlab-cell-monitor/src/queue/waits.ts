import { v4 as uuid4 } from 'uuid';
import type { IEncodedEvent } from '../events/session';
import { timeText } from '../events/text';
import type { IClock, IMoment } from '../runtime/clock';

/** The monitor believes no longer wait. */
const MAX_WAIT_MS = 7 * 24 * 3600 * 1000;

/** Bytes of a request body without events. */
export const BODY_BYTES = '{"sent_at":"2026-04-01T09:00:00.000Z","waited_ms":[],"events":[]}'.length;

/** Bytes that each event adds to a body besides its own: two commas and the longest wait. */
export const EVENT_EXTRA_BYTES = ',,'.length + String(MAX_WAIT_MS).length;

/** Measures how long events wait in this browser, and makes the bodies of requests, which contain it. */
export class WaitClock {
  /** @param _page - an id of this page load */
  constructor(
    private readonly _clock: IClock,
    private readonly _page: string = uuid4()
  ) {}

  /** The present, to be stored with an event. */
  now(): IMoment {
    return { page: this._page, monotonic: this._clock.monotonic(), wall: this._clock.now() };
  }

  /**
   * A request's body. An older server does not know the waits: see `omitWaits`.
   *
   * @param runs - the key with the runs that are handed over, with a comma behind it, or nothing
   */
  bodyOf(events: readonly IEncodedEvent[], runs = ''): string {
    const list = `${runs}"events":[${events.map(event => event.json).join(',')}]`;
    if (this._omit || events.length === 0) {
      return `{${list}}`;
    }
    const now = this.now();
    const waits = events.map(event => waitOf(event, now));
    return `{"sent_at":"${timeText(now.wall)}","waited_ms":[${waits.join(',')}],${list}}`;
  }

  /**
   * Called when the server refuses a body. Returns whether that may be because of the waits, which are then left out for
   * as long as this page is open.
   */
  omitWaits(reason: string): boolean {
    const changed = !this._omit && reason === 'invalid_body';
    this._omit ||= changed;
    return changed;
  }

  private _omit = false;
}

/**
 * How long an event has waited, in whole milliseconds; 0 where that is not known.
 *
 * The monotonic clock cannot be set, but stops while a computer sleeps, except on Windows (Chromium issue 1206450,
 * hr-time issue 115): after a sleep the wall clock has the longer and right answer. A clock that is set forward while an
 * event waits gives too long a wait; the server bounds it by the session's event before.
 */
export function waitOf(event: IEncodedEvent, now: IMoment): number {
  const made = event.made ?? { page: '', monotonic: 0, wall: occurredAt(event.json) };
  const byWall = now.wall - made.wall;
  const wait = made.page === now.page ? Math.max(now.monotonic - made.monotonic, byWall) : byWall;
  return Number.isFinite(wait) ? Math.round(Math.min(Math.max(wait, 0), MAX_WAIT_MS)) : 0;
}

/** When an event happened that a version without `made` stored, in milliseconds since 1970; NaN where it does not say. */
function occurredAt(json: string): number {
  try {
    const event = JSON.parse(json) as { occurred_at?: unknown } | null;
    return typeof event?.occurred_at === 'string' ? Date.parse(event.occurred_at) : NaN;
  } catch {
    return NaN;
  }
}
